"""Scores of one heatmap, or of one expert, against one reference mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from saltrust.analysis.pixels.overlap import iou_of_counts
from saltrust.analysis.pixels.segmentation import Segmentation, segment
from saltrust.analysis.pixels.shape import check_definition
from saltrust.analysis.pixels.upsampling import Arithmetic, bilinear_map, is_finite
from saltrust.choices import Definition, IouSlice
from saltrust.errors import UsageError

Mask = npt.NDArray[np.bool_]
_NAN = float("nan")


@dataclass(frozen=True)
class MaskPixels:
    """A mask with its area, so that the pixels of an empty one are never made.

    Attributes
    ----------
    area : int
        Number of pixels.
    mask : ndarray of bool, shape (height, width), or None
        None stands for an empty mask only.
    """

    area: int
    mask: Mask | None

    def __post_init__(self) -> None:
        if self.mask is None and self.area:
            raise UsageError("only an empty mask can do without its pixels")

    def covers(self, row: int, column: int) -> bool:
        """Whether a pixel is inside; one outside the image is not."""
        if self.mask is None or not (0 <= row < self.mask.shape[0]
                                     and 0 <= column < self.mask.shape[1]):
            return False
        return bool(self.mask[row, column])

    def shared_with(self, other: MaskPixels) -> int:
        """Number of pixels inside both."""
        if self.mask is None or other.mask is None:
            return 0
        return int(np.count_nonzero(self.mask & other.mask))


class Region(Protocol):
    """A mask as pixels (:class:`MaskPixels`) or as runs (`run_masks.RunMask`)."""

    @property
    def area(self) -> int: ...

    def covers(self, row: int, column: int) -> bool: ...

    def shared_with(self, other: Self) -> int: ...


class Score(NamedTuple):
    """What one row of the scores table holds; NaN where there is nothing to say.

    Attributes
    ----------
    iou : float
        NaN outside the slice and without a reference.
    hit : float
        1 or 0; NaN where the reference is empty or there is none.
    threshold : float
        Otsu's, on 0..255.
    peak_y, peak_x : float
        Row and column of the maximum, or of the expert's point.
    n_peak : float
        Pixels that share the maximum.
    area_predicted, area_reference : float
        Numbers of pixels.
    """

    iou: float
    hit: float
    threshold: float
    peak_y: float
    peak_x: float
    n_peak: float
    area_predicted: float
    area_reference: float


R = TypeVar("R", bound=Region)


def segment_heatmap(values: npt.NDArray[np.float32], size: tuple[int, int],
                    definition: Definition = "default") -> Segmentation | None:
    """Bring a heatmap to the size of the masks and segment it.

    Parameters
    ----------
    values : ndarray of float32, shape (rows, columns)
        As stored: raw, signed where the explainer is.
    size : (int, int)
        Height and width of the masks.
    definition : {"default", "peer"}
        ``"peer"``: rounding of the released pipeline and contours filled.

    Returns
    -------
    Segmentation or None
        None for a map that is flat or has values that are not finite.

    Examples
    --------
    >>> segmented = segment_heatmap(np.float32([[0, 0, 1], [0, 0, 1]]), (2, 3))
    >>> segmented.mask.astype(int).tolist(), segmented.peak.row, segmented.peak.column
    ([[0, 0, 1], [0, 0, 1]], 0, 2)
    """
    check_definition(definition)
    if not is_finite(values):
        return None
    arithmetic: Arithmetic = "torch" if definition == "peer" else "lerp"
    return segment(bilinear_map(values, *size, arithmetic), definition)


def score_segmentation(segmentation: Segmentation | None, reference: MaskPixels | None,
                       iou_slice: IouSlice = "positive") -> Score:
    """Score a segmented heatmap against a reference mask.

    Parameters
    ----------
    segmentation : Segmentation or None
        None for a map that could not be segmented: an empty prediction that hits nothing.
    reference : MaskPixels or None
        None where the reader did not annotate, which is not a negative: no IoU, no hit.
    iou_slice : {"positive", "all", "both_nonempty"}
        See :func:`saltrust.analysis.pixels.overlap.intersection_over_union`.

    Returns
    -------
    Score
    """
    if segmentation is None:
        predicted, hit = MaskPixels(0, None), False
        peak_values = (_NAN, _NAN, _NAN, _NAN)
    else:
        predicted = MaskPixels(int(np.count_nonzero(segmentation.mask)), segmentation.mask)
        peak = segmentation.peak
        hit = reference is not None and reference.covers(peak.row, peak.column)
        peak_values = (float(segmentation.threshold), float(peak.row), float(peak.column),
                       float(peak.n))
    return _score(predicted, reference, float(hit), peak_values, iou_slice)


def score_expert(mask: R, points: Sequence[tuple[int, int]],
                 reference: R | None, iou_slice: IouSlice = "positive",
                 definition: Definition = "default") -> Score:
    """Score a benchmark reader's mask and most representative point.

    Parameters
    ----------
    mask : MaskPixels or RunMask
        What the benchmark reader drew.
    points : sequence of (row, column)
        Pixels of the most representative points; may be empty.
    reference : MaskPixels, RunMask or None
        Of the same kind; None where the reference reader did not annotate.
    iou_slice : {"positive", "all", "both_nonempty"}
    definition : {"default", "peer"}
        ``"default"``: the first point hits or misses, no point is no answer (NaN).
        ``"peer"``: any point may hit, no point is a miss, as in the released code.

    Returns
    -------
    Score
        ``peak_y``, ``peak_x`` are the first point's.
    """
    check_definition(definition)
    hit = _NAN
    if reference is not None:
        covered = [reference.covers(row, column) for row, column in points]
        if definition == "peer":
            hit = float(any(covered))
        elif covered:
            hit = float(covered[0])
    row, column = points[0] if points else (_NAN, _NAN)
    return _score(mask, reference, hit, (_NAN, float(row), float(column), _NAN), iou_slice)


def _score(predicted: R, reference: R | None, hit: float,
           peak_values: tuple[float, float, float, float], iou_slice: IouSlice) -> Score:
    area = float(predicted.area)
    if reference is None:
        return Score(_NAN, _NAN, *peak_values, area, _NAN)
    shared = predicted.shared_with(reference)
    iou = iou_of_counts(shared, predicted.area, reference.area, iou_slice)
    return Score(iou, hit if reference.area else _NAN, *peak_values, area, float(reference.area))
