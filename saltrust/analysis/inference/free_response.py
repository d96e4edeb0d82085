r"""Figures of merit and curves of free-response (FROC) data.

Marks outside all lesions are false; the rating of a lesion is that of the highest mark that hits
it, and minus infinity where none does, as is that of an image without a false mark.  Every figure
of merit compares false ratings :math:`x_i` of images with ratings :math:`y_l` of lesions,

.. math:: \theta = \frac{\sum_i \sum_l v_l\, \psi(x_i, y_l)}{m \sum_l v_l},
          \qquad \psi = 1,\ \tfrac12,\ 0 \text{ where } y_l >, =, < x_i,

with equal weights (AFROC), or weights that add up to one in every image with lesions (wAFROC);
:math:`x_i` is the highest false rating of the m normal images, or of all images (wAFROC1).

References
----------
D. P. Chakraborty and H.-J. Yoon (2008), Medical Physics 35, 435-444 (weights); D. P. Chakraborty
(2017), Observer Performance Methods for Diagnostic Imaging, chapters 13 and 14 (CRC Press).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from saltrust.errors import DataError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

Figure = Literal["wafroc", "wafroc1", "afroc"]
FIGURES: tuple[Figure, ...] = get_args(Figure)
Curve = Literal["froc", "afroc", "wafroc", "wafroc1"]
CURVES: tuple[Curve, ...] = get_args(Curve)

#: Rating of what is not marked.
UNMARKED = float("-inf")


@dataclass(frozen=True)
class FreeResponse:
    """Ratings of one reader, or map, on one set of images.

    Attributes
    ----------
    false_rating : ndarray of float64, shape (images,)
        Of the highest false mark.
    normal : ndarray of bool, shape (images,)
        Images without a lesion.
    lesion_rating : ndarray of float64, shape (lesions,)
    lesion_image : ndarray of int64, shape (lesions,)
        Position of each lesion's image; every image that is not normal has one.
    false_marks : ndarray of float64, shape (marks,)
        Ratings of all false marks, of all images.
    lesion_weight : ndarray of float64, shape (lesions,), optional
        Adding up to 1 in every image; equal in each by default.
    """

    false_rating: FloatArray
    normal: npt.NDArray[np.bool_]
    lesion_rating: FloatArray
    lesion_image: IntArray
    false_marks: FloatArray
    lesion_weight: FloatArray | None = None

    def __post_init__(self) -> None:
        counts = np.bincount(self.lesion_image, minlength=len(self.normal))
        if ((counts == 0) != self.normal).any():
            raise DataError("every image that is not normal needs a lesion, and no other has one")
        if np.isnan(self.false_rating).any() or np.isnan(self.lesion_rating).any():
            raise DataError("a rating is not a number; what is not marked is minus infinity")
        weights = self.lesion_weight
        if weights is None:
            object.__setattr__(self, "lesion_weight", 1 / counts[self.lesion_image])
        else:
            sums = np.bincount(self.lesion_image, weights, len(self.normal))
            if (weights < 0).any() or not np.allclose(sums[~self.normal], 1):
                raise DataError("weights of lesions must not be negative and add up to 1 in "
                                "every image")

    def compared(self, figure: Figure) -> tuple[npt.NDArray[np.bool_], FloatArray]:
        """Which images' false ratings a figure takes, and the weights of the lesions."""
        images = np.ones_like(self.normal) if figure.endswith("1") else self.normal
        assert self.lesion_weight is not None
        weights = (self.lesion_weight if figure.startswith("w")
                   else np.ones(len(self.lesion_rating)))
        return images, weights


def figure_of_merit(data: FreeResponse, figure: Figure = "wafroc") -> float:
    """One figure of merit; NaN without images or lesions to compare.

    Parameters
    ----------
    data : FreeResponse
    figure : {"wafroc", "wafroc1", "afroc"}

    Examples
    --------
    >>> marked = FreeResponse(np.array([1.0, UNMARKED]), np.array([True, False]),
    ...                       np.array([2.0, 1.0, UNMARKED]), np.array([1, 1, 1]), np.array([1.0]))
    >>> figure_of_merit(marked), round(figure_of_merit(marked, "wafroc1"), 4)
    (0.5, 0.6667)
    """
    images, weights = data.compared(figure)
    wins, _ = _wins(data.false_rating[images], data.lesion_rating, weights)
    total = images.sum() * weights.sum()
    return float(wins.sum() / total) if total else float("nan")


def left_out_figures(data: FreeResponse, patients: IntArray, count: int,
                     figure: Figure = "wafroc") -> FloatArray:
    """A figure of merit without each patient.

    Parameters
    ----------
    data : FreeResponse
    patients : ndarray of int64, shape (images,)
        Below ``count``.
    count : int
    figure : {"wafroc", "wafroc1", "afroc"}

    Returns
    -------
    ndarray of float64, shape (count,)
        NaN where nothing is left to compare; that of all for a patient without an image.
    """
    images, weights = data.compared(figure)
    false, lesions = data.false_rating[images], data.lesion_rating
    of_false, of_lesion = patients[images], patients[data.lesion_image]
    of_image, of_each = _wins(false, lesions, weights)
    both = np.zeros(count)
    for patient in np.intersect1d(of_false, of_lesion):
        mine = of_lesion == patient
        both[patient] = _wins(false[of_false == patient], lesions[mine],
                              weights[mine])[0].sum()
    wins = (of_image.sum() - np.bincount(of_false, of_image, count)
            - np.bincount(of_lesion, of_each, count) + both)
    rest = ((len(false) - np.bincount(of_false, minlength=count))
            * (weights.sum() - np.bincount(of_lesion, weights, count)))
    return np.divide(wins, rest, out=np.full(count, np.nan), where=rest > 1e-9)


def _wins(false: FloatArray, lesions: FloatArray, weights: FloatArray
          ) -> tuple[FloatArray, FloatArray]:
    """Weighted comparisons that lesions win, ties one half, by image and by lesion."""
    order = np.argsort(lesions, kind="stable")
    ranked, upto = lesions[order], np.concatenate([[0.0], np.cumsum(weights[order])])
    below, through = (np.searchsorted(ranked, false, side) for side in ("left", "right"))
    of_image = upto[-1] - (upto[below] + upto[through]) / 2
    ordered = np.sort(false)
    less, most = (np.searchsorted(ordered, lesions, side) for side in ("left", "right"))
    return of_image, weights * (less + most) / 2


def operating_points(data: FreeResponse, curve: Curve) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Points of an empirical curve, from the highest threshold down.

    Parameters
    ----------
    data : FreeResponse
    curve : {"froc", "afroc", "wafroc", "wafroc1"}
        Across: false marks per image, of all images (froc); the share of normal images (afroc,
        wafroc), or of all images (wafroc1), whose highest false mark reaches the threshold.  Up:
        the share of the lesions that do, each alike (froc, afroc) or weighted within images.

    Returns
    -------
    thresholds, across, up : ndarray of float64, shape (points,)
        The first point is (0, 0), at plus infinity; of the others than ``froc`` the last is
        (1, 1), at minus infinity, joined to the one before by a straight line.
    """
    if curve == "froc":
        false, images = data.false_marks, float(len(data.normal))
        weights = np.ones(len(data.lesion_rating))
    else:
        chosen, weights = data.compared(curve)
        false, images = data.false_rating[chosen], float(chosen.sum())
    ratings = np.unique(np.concatenate([false, data.lesion_rating]))
    thresholds = ratings[np.isfinite(ratings)][::-1]
    ranked, total = np.sort(false), weights.sum()
    order = np.argsort(data.lesion_rating, kind="stable")
    upto = np.concatenate([[0.0], np.cumsum(weights[order])])
    across = (len(ranked) - np.searchsorted(ranked, thresholds, "left")) / max(images, 1)
    up = (total - upto[np.searchsorted(data.lesion_rating[order], thresholds, "left")]) / max(
        total, 1e-300)
    ends = ([], []) if curve == "froc" else ([UNMARKED], [1.0])
    return (np.concatenate([[np.inf], thresholds, ends[0]]),
            np.concatenate([[0.0], across, ends[1]]), np.concatenate([[0.0], up, ends[1]]))
