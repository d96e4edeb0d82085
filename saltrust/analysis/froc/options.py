"""How maps are turned into marks, and when a mark hits a lesion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from saltrust.analysis.inference.resampling import check_whole
from saltrust.choices import LesionKind, MarkKind, check_word
from saltrust.errors import UsageError
from saltrust.reading import shown

#: A number of pixels of the map, or a share of its shorter side such as "5%".
Distance = float | str

#: Pixels of a map's side that nobody has.
_MOST_PIXELS = 100_000


@dataclass(frozen=True)
class Marking:
    """How maps are turned into marks, and when a mark hits a lesion.

    Attributes
    ----------
    marks : {"peaks", "components"}
        Local maxima (:func:`saltrust.analysis.pixels.marks.peaks`), or the connected parts above
        a threshold, each at its highest pixel
        (:func:`saltrust.analysis.pixels.marks.components`).  The rating is the value there.
    minimum_distance : float or str
        Between two local maxima, the larger of the steps down and across; a number of pixels of
        the stored map, or a share of its shorter side such as ``"5%"``.  At least one pixel.
    threshold : float or "otsu"
        Above which components are: a share of the range of the map, in [0, 1), or Otsu's.
    per_map : int, optional
        Highest marks of a map that count; all by default.
    lesions : {"components", "boxes", "points"}
        Connected parts of the reference mask, the reference boxes, or the reference points.
    within : float or str
        Largest distance from a lesion of a mark that hits it, in the straight line; units as of
        ``minimum_distance``.  0: inside.

    Raises
    ------
    UsageError
        If a word is not known, a number is out of range, or points are to be hit without a
        distance.
    """

    marks: MarkKind = "peaks"
    minimum_distance: Distance = "5%"
    threshold: float | str = "otsu"
    per_map: int | None = None
    lesions: LesionKind = "components"
    within: Distance = 0.0

    def __post_init__(self) -> None:
        check_word(self.marks, MarkKind, "marks")
        check_word(self.lesions, LesionKind, "lesions")
        for name in ("minimum_distance", "within"):
            _pixels(getattr(self, name), name, 100)
        if self.threshold != "otsu":
            number = _number(self.threshold)
            if number is None or not 0 <= number < 1:
                raise UsageError(f"threshold = {shown(self.threshold)} must be otsu, or a share "
                                 "of the range of the map from 0 to below 1, such as 0.5")
        if self.per_map is not None:
            check_whole(self.per_map, "marks per map", 1, 1_000_000)
        if self.lesions == "points" and _pixels(self.within, "within", 100) == 0:
            raise UsageError("no mark lies inside a point; say within which distance a mark hits "
                             "one, such as --within 5%")

    def spacing(self, shape: tuple[int, int]) -> int:
        """Distance between marks in whole pixels of a map of this shape, at least 1."""
        return max(1, round(_pixels(self.minimum_distance, "minimum_distance", min(shape))))

    def reach(self, shape: tuple[int, int]) -> float:
        """Largest distance of a hit in pixels of a map of this shape."""
        return _pixels(self.within, "within", min(shape))

    def level(self) -> float | None:
        """Share of the range above which components are; None for Otsu's."""
        return None if self.threshold == "otsu" else float(self.threshold)

    def describe(self, shape: tuple[int, int]) -> dict[str, Any]:
        """What stands of it in the metadata of a result, for maps of this shape."""
        kept = "" if self.per_map is None else f", the highest {self.per_map} of a map"
        cut = "Otsu's threshold" if self.threshold == "otsu" else f"{self.threshold} of the range"
        reach = self.reach(shape)
        return {
            "marks": ((f"local maxima at least {self.spacing(shape) + 1} pixels of the map "
                       f"({shape[0]} x {shape[1]}) apart, down or across" if self.marks == "peaks"
                       else f"connected parts above {cut}, at their highest pixel") + kept),
            "lesions": {"components": "connected parts of the reference mask (8 neighbours)",
                        "boxes": "reference boxes", "points": "reference points"}[self.lesions],
            "hit": ("inside the lesion" if reach == 0 else
                    f"at most {reach:g} pixels of the map from the nearest lesion")}


def _number(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


def _pixels(value: Distance, name: str, side: int) -> float:
    """A distance in pixels of a map whose shorter side has so many."""
    share = isinstance(value, str) and value.strip().endswith("%")
    number = _number(value.strip()[:-1] if share and isinstance(value, str) else value)
    if number is None or not 0 <= number <= (100 if share else _MOST_PIXELS):
        raise UsageError(f"{name.replace('_', ' ')} = {shown(value)} must be a number of pixels of "
                         "the stored map, such as 8, or a share of its shorter side, such as 5%")
    return number * side / 100 if share else number
