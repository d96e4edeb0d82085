"""Gaze heatmaps of fixations: static, or one for each window of time."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from saltrust.cache.collection import Fixations
from saltrust.errors import UsageError

WEIGHTS = ("duration", "count")

#: Of the longer side of the image: the 150 native pixels of the code released with Eye Gaze Data
#: for Chest X-rays (Karargyris et al. 2021) are 4.9% of a radiograph of 3056 x 2544 pixels.
DEFAULT_SIGMA = "5%"


@dataclass(frozen=True)
class GazeSmoothing:
    """How fixations become a heatmap.

    Attributes
    ----------
    sigma : str
        Standard deviation of the Gaussian around each fixation: native pixels (``"150px"``) or a
        part of the longer side of the image (``"5%"``).
    weight : str
        ``"duration"``: a fixation counts as long as it lasted; ``"count"``: all count the same.

    Raises
    ------
    UsageError
        If either is not valid.

    Examples
    --------
    >>> GazeSmoothing("5%").pixels(3056, 2544), GazeSmoothing("150px").pixels(3056, 2544)
    (152.8, 150.0)
    """

    sigma: str = DEFAULT_SIGMA
    weight: str = "duration"

    def __post_init__(self) -> None:
        match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(px|%)\s*", self.sigma)
        if match is None or not float(match[1]) > 0:
            raise UsageError(f"the sigma of gaze heatmaps must be like '150px' (native pixels) or "
                             f"'5%' (of the longer side of the image), not {self.sigma!r}")
        if self.weight not in WEIGHTS:
            raise UsageError(f"fixations are weighted by 'duration' or 'count', not "
                             f"{self.weight!r}")

    def pixels(self, height: int, width: int) -> float:
        """Sigma in native pixels of an image of this size."""
        text = self.sigma.strip()
        if text.endswith("px"):
            return float(text[:-2])
        return float(text[:-1]) * max(height, width) / 100


def within(fixations: Fixations, size: tuple[int, int]) -> tuple[Fixations, int]:
    """The fixations within an image, and how many were outside it or not finite.

    Parameters
    ----------
    fixations : Fixations
    size : (int, int)
        Native height and width.

    Examples
    --------
    >>> y, x = np.array([-1.0, 0.0, 3.6]), np.array([2.0, 2.0, 2.0])
    >>> kept, dropped = within(Fixations(y, x, np.ones(3)), (4, 4))
    >>> kept.y, dropped
    (array([0.]), 2)
    """
    height, width = size
    inside = ((fixations.y >= -0.5) & (fixations.y < height - 0.5)
              & (fixations.x >= -0.5) & (fixations.x < width - 0.5))
    return _subset(fixations, inside), int((~inside).sum())


def fixation_heatmap(fixations: Fixations, size: tuple[int, int], grid: tuple[int, int],
                     smoothing: GazeSmoothing) -> npt.NDArray[np.float32] | None:
    """Sum of Gaussians around fixations, at the centres of the grid's pixels, maximum 1.

    At a native point (y, x) the map is ``sum_i w_i exp(-((y - y_i)^2 + (x - x_i)^2) / (2 s^2))``,
    divided by its largest value on the grid.  It is evaluated where the centre of a grid pixel lies
    in the native image, ``(row + 1/2) * height / grid_height - 1/2``, so that no resampling comes
    between, whatever the grid.  Gaussians are not cut off and lose what falls outside the image.

    Parameters
    ----------
    fixations : Fixations
        Those outside the image are left out, and under weight ``duration`` also those without a
        positive duration.
    size, grid : (int, int)
        Height and width, native and of the result.
    smoothing : GazeSmoothing

    Returns
    -------
    ndarray of float32, shape grid, or None
        None where no fixation is left.

    Examples
    --------
    >>> one = Fixations(np.array([1.0]), np.array([2.0]), np.array([0.3]))
    >>> fixation_heatmap(one, (3, 4), (3, 4), GazeSmoothing("1px"))[:, 2].round(4).tolist()
    [0.6065000295639038, 1.0, 0.6065000295639038]
    """
    kept, weights = _counted(fixations, size, smoothing)
    if not len(kept):
        return None
    rows, columns = _profiles(kept, weights, size, grid, smoothing)
    # No BLAS: its threads cost more than the product, and its sums depend on the processor.
    total = np.einsum("if,jf->ij", rows, columns)
    return np.asarray(total / total.max(), dtype=np.float32)


def window_heatmaps(fixations: Fixations, size: tuple[int, int], grid: tuple[int, int],
                    smoothing: GazeSmoothing, edges: npt.NDArray[np.float64],
                    ) -> npt.NDArray[np.float32] | None:
    """One heatmap for each window of time, all on one scale: the maximum of their sum is 1.

    A fixation counts in a window by the part of it that lies there; one of no known duration
    where it began.  Where the windows hold every fixation whole, their sum is
    :func:`fixation_heatmap`.

    Parameters
    ----------
    fixations : Fixations
        As for :func:`fixation_heatmap`; those of unknown onset are left out too.
    size, grid : (int, int)
        Height and width, native and of the result.
    smoothing : GazeSmoothing
    edges : ndarray of float64, shape (n_windows + 1,)
        Ascending, in seconds as the onsets; the last window holds its end.

    Returns
    -------
    ndarray of float32, shape (n_windows, *grid), or None
        A window without a fixation is 0; None where no fixation is left in any.

    Examples
    --------
    >>> at, one = np.array([1.0]), np.ones(1)
    >>> looked = Fixations(at, at, 2 * one, 3 * one)    # from the third second to the fifth
    >>> made = window_heatmaps(looked, (3, 3), (3, 3), GazeSmoothing("1px"),
    ...                        np.array([3.0, 3.5, 6.0]))
    >>> made.max(axis=(1, 2)).tolist()
    [0.25, 0.75]
    """
    kept, weights = _counted(fixations, size, smoothing)
    shares = _shares(kept, edges)
    placed = shares.sum(axis=0) > 0
    if not placed.any():
        return None
    kept, weights, shares = _subset(kept, placed), weights[placed], shares[:, placed]
    rows, columns = _profiles(kept, weights, size, grid, smoothing)
    frames = np.stack([
        np.einsum("if,jf->ij", rows[:, share > 0] * share[share > 0], columns[:, share > 0])
        for share in shares])
    return np.asarray(frames / frames.sum(axis=0).max(), dtype=np.float32)


def period(fixations: Fixations) -> tuple[float, float] | None:
    """When the first fixation began and the last to end ended; None where no onset is known.

    Examples
    --------
    >>> at = np.zeros(2)
    >>> period(Fixations(at, at, np.array([0.5, np.nan]), np.array([2.0, 2.25])))
    (2.0, 2.5)
    """
    known = np.isfinite(fixations.onset)
    if not known.any():
        return None
    onset = fixations.onset[known]
    return float(onset.min()), float((onset + _lasted(fixations)[known]).max())


def _counted(fixations: Fixations, size: tuple[int, int], smoothing: GazeSmoothing,
             ) -> tuple[Fixations, npt.NDArray[np.float64]]:
    """The fixations that have a weight, and their weights."""
    kept, _ = within(fixations, size)
    weights = kept.duration if smoothing.weight == "duration" else np.ones(len(kept))
    counted = weights > 0
    return _subset(kept, counted), weights[counted]


def _subset(fixations: Fixations, chosen: npt.NDArray[np.bool_]) -> Fixations:
    return Fixations(fixations.y[chosen], fixations.x[chosen], fixations.duration[chosen],
                     fixations.onset[chosen])


def _lasted(fixations: Fixations) -> npt.NDArray[np.float64]:
    """Durations, 0 where unknown."""
    return np.where(fixations.duration > 0, fixations.duration, 0.0)


def _shares(fixations: Fixations, edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Which part of each fixation lies in each window, shape (n_windows, n_fixations)."""
    start, end = edges[:-1, None], edges[1:, None]
    onset, lasted = fixations.onset, _lasted(fixations)
    overlap = np.minimum(end, onset + lasted) - np.maximum(start, onset)
    begun = (start <= onset) & ((onset < end) | ((onset == end) & (end == edges[-1])))
    # Without a duration a fixation is a moment; NaN, where an onset is unknown, is no share.
    return np.where(lasted > 0, np.nan_to_num(overlap / np.where(lasted > 0, lasted, 1.0))
                    .clip(0, 1), begun)


def _profiles(fixations: Fixations, weights: npt.NDArray[np.float64], size: tuple[int, int],
              grid: tuple[int, int], smoothing: GazeSmoothing,
              ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Factors along rows and columns of the weighted Gaussians, shapes (cells, n_fixations)."""
    sigma = smoothing.pixels(*size)
    rows = _log_profiles(fixations.y, size[0], grid[0], sigma)
    columns = _log_profiles(fixations.x, size[1], grid[1], sigma)
    # Each Gaussian has its largest value on the grid set apart, since a sigma far below a grid
    # pixel would leave nothing but underflow.
    heights = np.log(weights) + rows.max(axis=0) + columns.max(axis=0)
    return (np.exp(rows - rows.max(axis=0) + (heights - heights.max())),
            np.exp(columns - columns.max(axis=0)))


def _log_profiles(positions: npt.NDArray[np.float64], size: int, cells: int, sigma: float,
                  ) -> npt.NDArray[np.float64]:
    """Logarithms of the Gaussians along one axis, shape (cells, n_fixations)."""
    centers = (np.arange(cells) + 0.5) * (size / cells) - 0.5
    logs: npt.NDArray[np.float64] = -0.5 * ((centers[:, None] - positions) / sigma) ** 2
    return logs
