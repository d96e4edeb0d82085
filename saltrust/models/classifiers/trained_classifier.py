"""A trained classifier, ready to be asked about the findings of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from saltrust.models.classifiers.registry import ARCHITECTURES, build, check_forward
from saltrust.models.trained import Family, Trained, load_trained
from saltrust.study import ModelSpec, Study

_FAMILY = Family(build, ARCHITECTURES, check_forward)


@dataclass(frozen=True)
class Classifier(Trained):
    """A classifier in evaluation mode and what one must know to use it."""

    def logits(self, inputs: Tensor) -> Tensor:
        """Logits of the study's findings, shape (batch, finding), of preprocessed inputs."""
        outputs: Tensor = self.module(inputs)
        return outputs[:, list(self.output_index)]


def load_classifier(spec: ModelSpec, study: Study, findings: Sequence[str]) -> Classifier:
    """Load one model of a study and check that it fits.

    Parameters
    ----------
    spec : ModelSpec
    study : Study
    findings : sequence of str
        What to predict, in the order of the result.

    Raises
    ------
    UsageError, DataError
        As :func:`saltrust.models.trained.load_trained`, which says how outputs are chosen.
    """
    return Classifier(**vars(load_trained(spec, study, findings, _FAMILY)))
