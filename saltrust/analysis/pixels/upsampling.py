"""Bilinear upsampling of a map to the radiograph's own size, in bands and in float32.

Half-pixel centres, edges repeated.  Rows are interpolated across first, then down, and only on
request, so that a map of 2,320 x 2,828 pixels is never held in float64, and its extremes are
found from the few rows that can hold them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from saltrust.errors import DataError, UsageError, nearest

Float32Array = npt.NDArray[np.float32]
Arithmetic = Literal["lerp", "torch"]
ARITHMETICS: tuple[Arithmetic, ...] = ("lerp", "torch")

_LARGEST = float(np.finfo(np.float32).max)
#: Pixels worked on at a time: few enough to stay in the processor's cache.
_BAND_PIXELS = 1 << 16


class Peak(NamedTuple):
    """The largest value of a map.

    Attributes
    ----------
    row, column : int
        First pixel in row order that has it.
    n : int
        Number of pixels that have it.
    value : float
    """

    row: int
    column: int
    n: int
    value: float


@dataclass(frozen=True)
class _Axis:
    lower: npt.NDArray[np.intp]
    upper: npt.NDArray[np.intp]
    weight: Float32Array


@dataclass(frozen=True)
class BilinearMap:
    """A map at its new size, computed row by row on request (see :func:`bilinear_map`)."""

    height: int
    width: int
    arithmetic: Arithmetic
    _across: Float32Array
    _down: _Axis
    _source: Float32Array
    _sampled: _Axis

    def rows(self, rows: slice | npt.NDArray[np.intp]) -> Float32Array:
        """Compute some rows.

        Returns
        -------
        ndarray of float32, shape (number of rows, width)
        """
        lower = self._across[self._down.lower[rows]]
        upper = self._across[self._down.upper[rows]]
        return _interpolate(lower, upper, self._down.weight[rows, None], self.arithmetic)

    def parts(self) -> tuple[Float32Array, npt.NDArray[np.intp], npt.NDArray[np.intp],
                             Float32Array]:
        """What :meth:`rows` interpolates between, for a pass that does it elsewhere.

        Returns
        -------
        across : ndarray of float32, shape (rows of the source, width)
        lower, upper : ndarray of int, shape (height,)
            Rows of ``across`` that each new row lies between.
        weight : ndarray of float32, shape (height,)
            Of the upper one.
        """
        return self._across, self._down.lower, self._down.upper, self._down.weight

    def bounds_of_strips(self, width: int) -> tuple[Float32Array, Float32Array]:
        """Bounds of the values in strips of columns, but for rounding: each lies between old ones.

        Parameters
        ----------
        width : int
            Of a strip; the last may be narrower.

        Returns
        -------
        least, most : ndarray of float32, shape (rows of the source, strips)
        """
        starts = np.arange(0, self.width, width)
        first = self._sampled.lower[starts]
        last = self._sampled.upper[np.minimum(starts + width, self.width) - 1]
        least = most = self._source[:, first]
        for step in range(1, int((last - first).max()) + 1):
            column = self._source[:, np.minimum(first + step, last)]
            least, most = np.minimum(least, column), np.maximum(most, column)
        return np.ascontiguousarray(least), np.ascontiguousarray(most)

    def bands(self) -> list[slice]:
        """Cut the rows into slices small enough to work on in the processor's cache."""
        step = max(1, _BAND_PIXELS // max(self.width, 1))
        return [slice(start, min(start + step, self.height))
                for start in range(0, self.height, step)]

    def values(self) -> Float32Array:
        """Compute the whole map.

        Returns
        -------
        ndarray of float32, shape (height, width)
        """
        result = np.empty((self.height, self.width), dtype=np.float32)
        for band in self.bands():
            result[band] = self.rows(band)
        return result

    def minimum(self) -> float:
        """Smallest value of the whole map."""
        return -float(self._row_maxima(-1, ties=False)[1])

    def peak(self) -> Peak:
        """Find the largest value of the whole map, its first place and its ties."""
        maxima, value = self._row_maxima(1, ties=True)
        rows = np.flatnonzero(maxima == value)
        at = self.rows(rows) == value
        return Peak(int(rows[0]), int(at[0].argmax()), int(np.count_nonzero(at)), float(value))

    def _row_maxima(self, sign: Literal[-1, 1], *, ties: bool) -> tuple[Float32Array, np.float32]:
        """Maxima of the rows that can hold the maximum of ``sign`` times the map, and it.

        A row cannot exceed the two rows it lies between, but for rounding.  Rows that were not
        computed have -inf; with ``ties``, every row that has the maximum is computed.
        """
        limit = (sign * self._across).max(axis=1).astype(np.float64)
        bound = np.maximum(limit[self._down.lower], limit[self._down.upper])
        largest = np.abs(self._across).max(axis=1)
        size = np.maximum(largest[self._down.lower], largest[self._down.upper])
        # Values of one sign cannot round across zero, so that a plateau of zeros needs no slack.
        slack = np.where(bound == 0, 0, 4 * np.finfo(np.float32).eps * size)
        bound = bound + slack
        order = np.argsort(-bound, kind="stable")
        maxima = np.full(self.height, -np.inf, dtype=np.float32)
        best = np.float32(-np.inf)
        step = max(1, _BAND_PIXELS // max(self.width, 1))
        for start in range(0, self.height, step):
            chunk = order[start:start + step]
            if bound[chunk[0]] < best or (bound[chunk[0]] == best and not ties):
                break
            maxima[chunk] = (sign * self.rows(chunk)).max(axis=1)
            best = max(best, maxima[chunk].max())
        return maxima, best


def bilinear_map(values: npt.ArrayLike, height: int, width: int,
                 arithmetic: Arithmetic = "lerp") -> BilinearMap:
    """Prepare a map for upsampling.

    Parameters
    ----------
    values : array_like of float, shape (rows, columns)
        Finite, with a range that float32 can hold (:func:`is_finite`).
    height, width : int
        New size in pixels, smaller or larger than the old one.
    arithmetic : {"lerp", "torch"}
        ``"lerp"``: ``p + (q - p) * w`` at every step, in float32.  It leaves plateaus level and
        stays within the range of the map.  ``"torch"``: ``fma(1 - w, p, w * q)``, sample
        positions by a fused multiply-add as well, which is what ``torch.nn.functional.
        interpolate(mode="bilinear", align_corners=False)`` computes on processors with fused
        multiply-add, to the last bit where height + width > 128; it reproduces published peaks
        and areas, but can raise single pixels of a plateau by a rounding error.

    Returns
    -------
    BilinearMap

    Raises
    ------
    DataError
        If the values are not finite or their range exceeds float32.
    UsageError
        If an argument is out of range.

    Examples
    --------
    >>> bilinear_map([[0.0, 1.0]], 1, 4).values()
    array([[0.  , 0.25, 0.75, 1.  ]], dtype=float32)
    """
    if arithmetic not in ARITHMETICS:
        raise UsageError(f"arithmetic {arithmetic!r} is not known; "
                         f"{nearest(arithmetic, ARITHMETICS)}")
    source = np.asarray(values, dtype=np.float32)
    if source.ndim != 2 or source.size == 0:
        raise UsageError(f"a map must have the shape (rows, columns), not {source.shape}")
    if height < 1 or width < 1:
        raise UsageError(f"a map cannot be brought to {height} x {width} pixels")
    if not is_finite(source):
        raise DataError("a heatmap has values that are not finite, or that span more than float32 "
                        "can hold")
    across = _axis(source.shape[1], width, arithmetic)
    if compiled():
        from saltrust.analysis.pixels.level_kernel import widen

        wide = widen(np.ascontiguousarray(source), across.lower.astype(np.uint32),
                     across.upper.astype(np.uint32), across.weight, arithmetic == "torch")
    else:
        wide = _interpolate(source[:, across.lower], source[:, across.upper], across.weight,
                            arithmetic)
    return BilinearMap(height, width, arithmetic, wide, _axis(source.shape[0], height, arithmetic),
                       source, across)


@lru_cache(maxsize=1)
def compiled() -> bool:
    """Whether compiled passes are available (the extra ``fast``, which brings Numba)."""
    return find_spec("numba") is not None


def sample_positions(n_from: int, n_to: int, arithmetic: Arithmetic
                     ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Float32Array]:
    """Between which old samples each new one lies, and the weight of the upper.

    Parameters
    ----------
    n_from, n_to : int
        Old and new number of samples along an axis.
    arithmetic : {"lerp", "torch"}
    """
    axis = _axis(n_from, n_to, arithmetic)
    return axis.lower, axis.upper, axis.weight


def is_finite(values: Float32Array) -> bool:
    """Whether all values are finite and float32 can hold their range."""
    # NaN makes both NaN, infinities make the difference one; the comparison is then false.
    return bool(float(values.max()) - float(values.min()) <= _LARGEST)


def _axis(n_from: int, n_to: int, arithmetic: Arithmetic) -> _Axis:
    centers = np.arange(n_to, dtype=np.float64) + 0.5
    if arithmetic == "torch":
        # One rounding after multiplying the float32 scale and subtracting: float64 does that.
        position = (centers * np.float64(np.float32(n_from) / np.float32(n_to)) - 0.5)
        position = position.astype(np.float32).astype(np.float64)
    else:
        position = centers * (n_from / n_to) - 0.5
    position = np.clip(position, 0, n_from - 1)
    lower = position.astype(np.intp)
    return _Axis(lower, np.minimum(lower + 1, n_from - 1),
                 (position - lower).astype(np.float32))


def _interpolate(lower: Float32Array, upper: Float32Array, weight: Float32Array,
                 arithmetic: Arithmetic) -> Float32Array:
    """Interpolate between two arrays; ``lower`` and ``upper`` are overwritten."""
    if arithmetic == "lerp":
        upper -= lower
        upper *= weight
        upper += lower
        return upper
    # float64 holds the product of two float32 exactly, so that adding and rounding once more
    # is the fused operation, but for double rounding in about one of 2**29 sums.
    upper *= weight
    exact = lower.astype(np.float64)
    exact *= np.float32(1) - weight
    exact += upper
    np.copyto(upper, exact, casting="same_kind")
    return upper
