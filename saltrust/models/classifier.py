"""A trained classifier, ready to be asked about the findings of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from saltrust.models.preprocessing import Preprocessing
from saltrust.models.registry import build, check_forward, preprocessing_of
from saltrust.models.trained import Family, load_trained
from saltrust.study import ModelSpec, Study


@dataclass(frozen=True)
class Classifier:
    """A classifier in evaluation mode and what one must know to use it.

    Attributes
    ----------
    name : str
        Label of the model in the cubes.
    module : torch.nn.Module
        In evaluation mode, on the CPU, its parameters without gradients; gradients with
        respect to the input flow.
    findings : tuple of str
        Findings of the study, in its order.
    output_index : tuple of int
        The column of the module's output for each of ``findings``.
    outputs : tuple of str
        Names of all outputs of the module.
    preprocessing : Preprocessing
    architecture : str
    seed : int
        It was trained with; -1 unknown.
    checkpoint_sha256 : str
        SHA-256 of the file of weights.
    card : dict
        All that its card says.
    """

    name: str
    module: nn.Module
    findings: tuple[str, ...]
    output_index: tuple[int, ...]
    outputs: tuple[str, ...]
    preprocessing: Preprocessing
    architecture: str
    seed: int
    checkpoint_sha256: str
    card: dict[str, Any] = field(default_factory=dict)

    def logits(self, inputs: Tensor) -> Tensor:
        """Logits of the study's findings, shape (batch, finding), of preprocessed inputs."""
        outputs: Tensor = self.module(inputs)
        return outputs[:, list(self.output_index)]


_FAMILY = Family(build, preprocessing_of, check_forward)


def load_classifier(spec: ModelSpec, study: Study, findings: Sequence[str]) -> Classifier:
    """Load one model of a study and check that it fits.

    A model may predict more findings than the study asks for, in any order: columns are
    chosen by the names on its card, with the aliases of
    :data:`saltrust.cache.schema.FINDING_ALIASES`.  Weights without a card must have exactly
    the study's findings, in its order.

    Parameters
    ----------
    spec : ModelSpec
    study : Study
    findings : sequence of str
        What to predict, in the order of the result.

    Returns
    -------
    Classifier

    Raises
    ------
    UsageError
        If there are no weights yet, or the study names another architecture than the card.
    DataError
        If weights or card cannot be read, belong to something else, or lack a finding.
    """
    found = load_trained(spec, study, findings, _FAMILY)
    return Classifier(
        name=spec.name,
        module=found.module,
        findings=tuple(findings),
        output_index=found.output_index,
        outputs=found.outputs,
        preprocessing=found.preprocessing,
        architecture=found.architecture,
        seed=found.seed,
        checkpoint_sha256=found.checkpoint_sha256,
        card=found.card,
    )
