"""Structural similarity (SSIM) of pairs of heatmaps, many at a time.

The value is that of ``skimage.metrics.structural_similarity`` with the same window,
normalisation, data range and constants.  Where Numba is installed the filters are compiled
(:mod:`saltrust.analysis.pixels.ssim_kernel`); else they run over slabs of rows that stay in the
processor's cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from saltrust.choices import SsimSetting
from saltrust.errors import DataError, UsageError, nearest

FloatArray = npt.NDArray[np.float64]
Window = Literal["uniform", "gaussian"]
Scaling = Literal["map", "pair", "none"]

#: Rows of one slab under each window, and columns of one block of a product.
_SLAB: dict[str, int] = {"uniform": 64, "gaussian": 32}
_BLOCK = 32
_K1, _K2 = 0.01, 0.03
#: The Gaussian window of Wang et al.: 11 taps of standard deviation 1.5.
_SIGMA, _RADIUS = 1.5, 5


def _gaussian() -> FloatArray:
    taps = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / _SIGMA) ** 2)
    return np.asarray(taps / taps.sum(), dtype=np.float64)


def _band() -> FloatArray:
    """Row i holds the Gaussian taps from column i on, (32, 42)."""
    band = np.zeros((_BLOCK, _BLOCK + 2 * _RADIUS))
    for row in range(_BLOCK):
        band[row, row:row + 2 * _RADIUS + 1] = _gaussian()
    return band


_BAND = _band()
#: Weights at distance 0, 1, ... from the centre of each window, along one axis.
_TAPS: dict[str, FloatArray] = {"uniform": np.full(4, 1 / 7), "gaussian": _gaussian()[_RADIUS:]}


@dataclass(frozen=True)
class SsimSettings:
    """What has to be said for an SSIM to mean anything.

    Attributes
    ----------
    window : {"uniform", "gaussian"}
        7 x 7 pixels of equal weight, or 11 x 11 with a standard deviation of 1.5.
    sample_covariance : bool
        Whether variances are divided by N - 1 (scikit-image's default) or N (Wang et al.).
    scaling : {"map", "pair", "none"}
        Each map to [0, 1] by its own minimum and maximum; maps as they are with the range of
        the pair as data range; maps as they are.
    data_range : float
        L of the constants (K1 L)^2 and (K2 L)^2, K1 = 0.01, K2 = 0.03; a factor of the range of
        the pair under ``"pair"``.
    """

    window: Window = "gaussian"
    sample_covariance: bool = False
    scaling: Scaling = "map"
    data_range: float = 1.0

    @property
    def margin(self) -> int:
        """Pixels at each border without a whole window; they do not count."""
        return _RADIUS if self.window == "gaussian" else 3

    def describe(self) -> dict[str, Any]:
        """The settings as plain values for the metadata of a result."""
        scaled = {"map": "each map to [0, 1] by its own minimum and maximum, signs kept",
                  "pair": "none; data range is the joint range of the two maps",
                  "none": "none"}[self.scaling]
        window = ("Gaussian, sigma 1.5, 11 x 11" if self.window == "gaussian"
                  else "uniform, 7 x 7")
        return {"window": window, "covariance": "sample" if self.sample_covariance
                else "population", "scaling": scaled, "data_range": self.data_range,
                "K1": _K1, "K2": _K2}


#: By name.  ``default``: Wang et al.'s window on maps brought to one scale, so that neither the
#: units of an attribution nor its size at random weights count as structure.  ``paper``: what
#: the scripts released with protocol A do, where the text is silent: scikit-image's defaults on
#: floating-point maps in [0, 1], which take a data range of 2.  ``raw``: maps in their own units.
SSIM_SETTINGS: dict[SsimSetting, SsimSettings] = {
    "default": SsimSettings(),
    "paper": SsimSettings("uniform", sample_covariance=True, data_range=2.0),
    "raw": SsimSettings(scaling="pair"),
}


def ssim_settings(name: str) -> SsimSettings:
    """Settings by name.

    Raises
    ------
    UsageError
        If the name is not known.
    """
    if name not in SSIM_SETTINGS:
        raise UsageError(f"SSIM {name!r} is not known; {nearest(name, SSIM_SETTINGS)}")
    return SSIM_SETTINGS[name]


@cache
def compiled() -> bool:
    """Whether the compiled filters are available (the extra ``fast``, which brings Numba)."""
    return find_spec("numba") is not None


def ssim(first: npt.ArrayLike, second: npt.ArrayLike,
         settings: SsimSettings = SSIM_SETTINGS["default"], *,
         use_compiled: bool | None = None) -> FloatArray:
    """Mean structural similarity of pairs of maps.

    Parameters
    ----------
    first, second : array_like of float, shape (..., height, width)
        Leading dimensions broadcast: one map against many is ``ssim(one, many)``.
    settings : SsimSettings
        Window, scaling and data range.
    use_compiled : bool, optional
        By default where Numba is installed.  The values are the same but for rounding.

    Returns
    -------
    ndarray of float64, shape (...)
        At most 1, which identical maps have.  NaN where a map has a value that is not finite.
        A flat map, which cannot be scaled, stands as zeros under scaling ``"map"``; two flat
        maps are identical.

    Raises
    ------
    DataError
        If the maps differ in size or are smaller than the window.

    References
    ----------
    Z. Wang et al. (2004), IEEE Trans. Image Process. 13, 600-612, eqs. 13-17.

    Examples
    --------
    >>> ramp = np.linspace(0, 1, 400).reshape(20, 20)
    >>> round(float(ssim(ramp, ramp)), 12), bool(ssim(ramp, -ramp) < 0)
    (1.0, True)
    >>> round(float(ssim(ramp, 5 * ramp - 2)), 12)
    1.0
    """
    one, other = np.asarray(first), np.asarray(second)
    if one.ndim < 2 or other.ndim < 2 or one.shape[-2:] != other.shape[-2:]:
        raise DataError(f"maps of shapes {one.shape} and {other.shape} cannot be compared; bring "
                        "both to one size")
    height, width = one.shape[-2:]
    if min(height, width) < 2 * settings.margin + 1:
        raise DataError(f"maps of {height} x {width} pixels are smaller than the SSIM window of "
                        f"{2 * settings.margin + 1} pixels; generate them on a larger grid")
    shape = np.broadcast_shapes(one.shape[:-2], other.shape[:-2])
    left = np.broadcast_to(one, (*shape, height, width))
    right = np.broadcast_to(other, (*shape, height, width))
    result = np.empty(shape)
    work = _Work.of(height, width, settings,
                    compiled() if use_compiled is None else use_compiled)
    held: tuple[int, bool] = (-1, False)
    for index in np.ndindex(*shape):
        a, b = left[index], right[index]
        # One map against many is scaled once.
        where = a.__array_interface__["data"][0]
        if where != held[0]:
            held = (where, work.load(0, a))
        result[index] = work.compare() if work.load(1, b) and held[1] else np.nan
    return result


@dataclass
class _Work:
    """Scratch memory for maps of one size; every step writes into it, nothing is allocated.

    A slab is a group of rows and its planes are x, y, xy and x^2 + y^2, which one pass of the
    window turns into all the sums that an SSIM needs.
    """

    settings: SsimSettings
    use_compiled: bool
    maps: FloatArray
    bounds: FloatArray
    planes: FloatArray
    sums: FloatArray
    scratch: FloatArray

    @classmethod
    def of(cls, height: int, width: int, settings: SsimSettings, use_compiled: bool) -> _Work:
        # The compiled filters have rows of their own.
        rows = 0 if use_compiled else min(height, _SLAB[settings.window] + 2 * settings.margin)
        return cls(settings, use_compiled, np.empty((2, height, width)), np.empty((2, 2)),
                   *np.empty((3, 4, rows * width)))

    def load(self, which: int, values: npt.NDArray[Any]) -> bool:
        """Scale a map into place; False if it is not finite."""
        low, high = float(values.min()), float(values.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            return False
        self.bounds[which] = low, high
        place = self.maps[which]
        if self.settings.scaling != "map":
            np.copyto(place, values)
        elif high == low:
            place.fill(0.0)
        else:
            np.subtract(values, low, out=place, dtype=np.float64)
            place *= 1.0 / (high - low)
        return True

    def compare(self) -> float:
        """SSIM of the two maps in place."""
        data_range = self.settings.data_range
        if self.settings.scaling == "pair":
            joint = float(self.bounds[:, 1].max() - self.bounds[:, 0].min())
            if joint == 0:
                return 1.0
            data_range *= joint
        c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
        margin, slab = self.settings.margin, _SLAB[self.settings.window]
        if self.use_compiled:
            from saltrust.analysis.pixels.ssim_kernel import mean_similarity

            n = (2 * margin + 1) ** 2
            freedom = n / (n - 1) if self.settings.sample_covariance else 1.0
            return float(mean_similarity(self.maps[0], self.maps[1], _TAPS[self.settings.window],
                                         freedom, c1, c2))
        height, width = self.maps.shape[1:]
        total = 0.0
        for top in range(0, height - 2 * margin, slab):
            total += self._slab(top, min(top + slab + 2 * margin, height), c1, c2)
        return total / ((height - 2 * margin) * (width - 2 * margin))

    def _slab(self, top: int, bottom: int, c1: float, c2: float) -> float:
        """Sum of the local similarities of the rows whose windows lie within top and bottom.

        With weighted sums p, q of both maps, r of their product and t of their squares, all
        scaled so that the covariance is proportional to r - p q, the similarity is
        4 (p q + k1) (r - p q + k2) / ((p^2 + q^2 + 2 k1) (t - p^2 - q^2 + 2 k2)).
        """
        rows, width = bottom - top, self.maps.shape[2]
        gaussian, margin = self.settings.window == "gaussian", self.settings.margin
        n = (2 * margin + 1) ** 2
        # Gaussian taps add up to 1, the sums of the uniform window are n means.
        terms = 1 if gaussian else n
        freedom = terms * ((n - 1) / n if self.settings.sample_covariance else 1.0)
        k1, k2 = c1 * terms / 2, c2 * freedom / 2
        planes, spare = self.planes[:, :rows * width], self.scratch[0, :rows * width]
        x, y = (plane[top:bottom].reshape(-1) for plane in self.maps)
        np.multiply(x, terms ** -0.5, out=planes[0])
        np.multiply(y, terms ** -0.5, out=planes[1])
        np.multiply(x, y, out=planes[2])
        np.multiply(x, x, out=planes[3])
        np.multiply(y, y, out=spare)
        planes[3] += spare
        p, q, r, t = (self._gaussian_sums(rows, width) if gaussian
                      else self._uniform_sums(rows, width))
        similarity = self.scratch[0, :p.size].reshape(p.shape)
        np.multiply(p, q, out=similarity)
        r -= similarity
        p *= p
        q *= q
        p += q
        t -= p
        similarity += k1
        r += k2
        similarity *= r
        p += 2 * k1
        t += 2 * k2
        p *= t
        similarity /= p
        if not gaussian:
            similarity = similarity.reshape(rows, width)[margin:rows - margin,
                                                         margin:width - margin]
        return 4 * float(similarity.sum())

    def _gaussian_sums(self, rows: int, width: int) -> FloatArray:
        """Weighted sums of the planes where the window fits, (4, rows - 10, width - 10).

        Products with a band of the window's taps, block by block: matrix products are so fast
        that the zeros in the blocks cost less than a loop over the taps.
        """
        height, inner = rows - 2 * _RADIUS, width - 2 * _RADIUS
        planes = self.planes[:, :rows * width].reshape(4, rows, width)
        columns = self.scratch.reshape(-1)[:4 * height * width].reshape(4, height, width)
        np.matmul(_BAND[:height, :rows], planes, out=columns)
        flat = columns.reshape(4 * height, width)
        sums = self.sums.reshape(-1)[:4 * height * inner].reshape(4 * height, inner)
        for left in range(0, inner, _BLOCK):
            right = min(left + _BLOCK, inner)
            band = _BAND[:right - left, :right - left + 2 * _RADIUS]
            np.matmul(flat[:, left:right + 2 * _RADIUS], band.T, out=sums[:, left:right])
        return sums.reshape(4, height, inner)

    def _uniform_sums(self, rows: int, width: int) -> FloatArray:
        """Sums of the planes over 7 x 7 pixels, (4, rows * width), no matter in the margin."""
        n = rows * width
        sums = self.sums[:, :n]
        two, four, columns = self.scratch[:3, :n]
        for plane, summed in zip(self.planes[:, :n], sums, strict=True):
            _sum_of_seven(plane, columns, two, four, width)
            _sum_of_seven(columns, summed, two, four, 1)
        return sums


def _sum_of_seven(source: FloatArray, target: FloatArray, two: FloatArray, four: FloatArray,
                  step: int) -> None:
    """Sum of each element and its three neighbours on either side, ``step`` apart, in a flat array.

    Doubling needs four additions where seven terms need six.  Rows are not kept apart: along a
    row the sums run over its end, which falls into the margin.
    """
    n = len(source)
    two, four = two[:n - step], four[:n - 3 * step]
    np.add(source[:n - step], source[step:], out=two)
    np.add(two[:n - 3 * step], two[2 * step:], out=four)
    within = four[:n - 6 * step]
    within += two[4 * step:n - 2 * step]
    np.add(within, source[6 * step:], out=target[3 * step:n - 3 * step])
    # What is left from before could overflow.
    target[:3 * step] = 0
    target[n - 3 * step:] = 0
