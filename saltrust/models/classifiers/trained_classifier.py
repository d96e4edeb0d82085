"""A trained classifier, ready to be asked about the findings of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from saltrust.models.answer import answer_with_logits
from saltrust.models.classifiers.registry import ARCHITECTURES, build
from saltrust.models.trained import Family, Trained, load_trained
from saltrust.models.trial import Expected, try_network
from saltrust.study import ModelSpec, Study


def check_classifier(module: nn.Module, expected: Expected) -> tuple[str, ...]:
    """Try a classifier, and have it answer with logits from then on.

    Parameters
    ----------
    module : torch.nn.Module
        Gets hooks (:func:`saltrust.models.answer.answer_with_logits`).
    expected : Expected

    Returns
    -------
    tuple of str
        What was assumed and what looks otherwise than stated, in words.

    Raises
    ------
    UsageError
        As :func:`saltrust.models.trial.try_network`.
    """
    trial = try_network(module, expected)
    answer_with_logits(module, trial.answer)
    return (*trial.assumed, *trial.warnings)


_FAMILY = Family(build, ARCHITECTURES, check_classifier)


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
