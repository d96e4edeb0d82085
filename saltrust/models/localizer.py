"""A trained network that localises, ready to be asked about the findings of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from saltrust.errors import UsageError, nearest
from saltrust.models.localizer_registry import (
    build_localizer,
    check_localize,
    localizer_preprocessing,
)
from saltrust.models.localizing import Localization, localize, rounded
from saltrust.models.preprocessing import Preprocessing
from saltrust.models.trained import Family, load_trained
from saltrust.study import LocalizerSpec, Study

_FAMILY = Family(build_localizer, localizer_preprocessing, check_localize)


@dataclass(frozen=True)
class Localizer:
    """A network in evaluation mode and what one must know to use it.

    Attributes
    ----------
    name : str
        Label of the model in ``/localizer`` of the cubes.
    module : torch.nn.Module
        A segmenter or a detector (:mod:`saltrust.models.localizing`), on the CPU.
    findings : tuple of str
        Those of the study that it localises.
    output_index : tuple of int
        The output of the module for each of ``findings``.
    outputs : tuple of str
        Names of all outputs of the module.
    preprocessing : Preprocessing
    architecture : str
    seed : int
        It was trained with; -1 unknown.
    checkpoint_sha256 : str
    rounded : bool
        Whether its maps are multiplied by 255 and rounded.
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
    rounded: bool = False
    card: dict[str, Any] = field(default_factory=dict)

    def localize(self, inputs: Tensor) -> Localization:
        """Heatmaps and scores of ``findings``; inputs are preprocessed, on the module's device."""
        found = localize(self.module, inputs)
        columns = list(self.output_index)
        heatmaps = found.heatmaps[:, columns]
        return Localization(rounded(heatmaps) if self.rounded else heatmaps,
                            found.scores[:, columns])


def load_localizer(spec: LocalizerSpec, study: Study, findings: Sequence[str]) -> Localizer:
    """Load one localizer of a study and check that it fits.

    Parameters
    ----------
    spec : LocalizerSpec
    study : Study
    findings : sequence of str
        Of the data set; ``spec.findings`` may name some of them.

    Raises
    ------
    UsageError
        If there are no weights yet, or study and card do not agree.
    DataError
        If weights or card cannot be read, belong to something else, or lack a finding.
    """
    chosen = localized_findings(spec, findings)
    found = load_trained(spec, study, chosen, _FAMILY)
    return Localizer(spec.name, found.module, chosen, found.output_index, found.outputs,
                     found.preprocessing, found.architecture, found.seed,
                     found.checkpoint_sha256, spec.rounded, found.card)


def localized_findings(spec: LocalizerSpec, findings: Sequence[str]) -> tuple[str, ...]:
    """Which findings of a data set a localizer is about, in the order of the data set.

    Raises
    ------
    UsageError
        If it names one that the data set does not have.
    """
    for name in spec.findings:
        if name not in findings:
            raise UsageError(f"localizer {spec.name!r} names the finding {name!r}, which the data "
                             f"set does not have; {nearest(name, findings)}")
    return tuple(name for name in findings if not spec.findings or name in spec.findings)
