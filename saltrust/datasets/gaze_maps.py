"""Static gaze heatmaps: from fixations, or brought to the grid of the study."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

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
    kept = Fixations(fixations.y[inside], fixations.x[inside], fixations.duration[inside],
                     fixations.onset[inside])
    return kept, int((~inside).sum())


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
    kept, _ = within(fixations, size)
    weights = kept.duration if smoothing.weight == "duration" else np.ones(len(kept))
    counted = weights > 0
    if not counted.any():
        return None
    sigma = smoothing.pixels(*size)
    rows = _log_profiles(kept.y[counted], size[0], grid[0], sigma)
    columns = _log_profiles(kept.x[counted], size[1], grid[1], sigma)
    # Each Gaussian has its largest value on the grid set apart, since a sigma far below a grid
    # pixel would leave nothing but underflow.
    heights = np.log(weights[counted]) + rows.max(axis=0) + columns.max(axis=0)
    rows = np.exp(rows - rows.max(axis=0) + (heights - heights.max()))
    # No BLAS: its threads cost more than the product, and its sums depend on the processor.
    total = np.einsum("if,jf->ij", rows, np.exp(columns - columns.max(axis=0)))
    return np.asarray(total / total.max(), dtype=np.float32)


def _log_profiles(positions: npt.NDArray[np.float64], size: int, cells: int, sigma: float,
                  ) -> npt.NDArray[np.float64]:
    """Logarithms of the Gaussians along one axis, shape (cells, n_fixations)."""
    centers = (np.arange(cells) + 0.5) * (size / cells) - 0.5
    logs: npt.NDArray[np.float64] = -0.5 * ((centers[:, None] - positions) / sigma) ** 2
    return logs


def resample_heatmap(heatmap: npt.NDArray[np.floating], grid: tuple[int, int],
                     ) -> npt.NDArray[np.float32]:
    """Bring a heatmap to ``grid`` (bilinear, averaging over area when reducing), maximum 1.

    Parameters
    ----------
    heatmap : ndarray, shape (height, width)
        Not negative, not zero everywhere.
    grid : (int, int)
        Height and width of the result.
    """
    values = np.asarray(heatmap, dtype=np.float32)
    if values.shape != tuple(grid):
        image = Image.fromarray(values).resize((grid[1], grid[0]), Image.Resampling.BILINEAR)
        values = np.asarray(image).clip(min=0)
    return np.asarray(values / values.max(), dtype=np.float32)
