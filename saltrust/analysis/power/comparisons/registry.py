"""All comparisons by name."""

from __future__ import annotations

from saltrust.analysis.power.comparisons import areas, criteria, paired, readers, slopes
from saltrust.analysis.power.comparisons.declaration import Comparison

COMPARISONS: dict[str, Comparison] = {
    **paired.COMPARISONS, **criteria.COMPARISONS, **slopes.COMPARISONS, **areas.COMPARISONS,
    **readers.COMPARISONS}
