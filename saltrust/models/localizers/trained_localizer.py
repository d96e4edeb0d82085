"""A trained network that localises, ready to be asked about the findings of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from saltrust.errors import UsageError, nearest
from saltrust.models.localizers.network import Localization, localize, round_heatmaps
from saltrust.models.localizers.registry import LOCALIZERS, build_localizer, check_localizer
from saltrust.models.trained import Family, Trained, load_trained
from saltrust.study import LocalizerSpec, Study

_FAMILY = Family(build_localizer, LOCALIZERS, check_localizer)


@dataclass(frozen=True)
class Localizer(Trained):
    """A network that localises and what one must know to use it.

    Its module is a segmenter or a detector (:mod:`saltrust.models.localizers.network`).

    Attributes
    ----------
    rounded : bool
        Whether its maps are multiplied by 255 and rounded.
    """

    rounded: bool = False

    def localize(self, inputs: Tensor) -> Localization:
        """Heatmaps and scores of ``findings``; inputs are preprocessed, on the module's device."""
        localization = localize(self.module, inputs)
        columns = list(self.output_index)
        heatmaps = localization.heatmaps[:, columns]
        return Localization(round_heatmaps(heatmaps) if self.rounded else heatmaps,
                            localization.scores[:, columns])


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
    return Localizer(**vars(load_trained(spec, study, chosen, _FAMILY)), rounded=spec.rounded)


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
