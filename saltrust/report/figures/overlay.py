"""Drawing a radiograph, a map over it, contours and points: one way for every figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from saltrust.analysis.localization.survey import unit_range
from saltrust.report.figures.contours import outlines

#: Most opaque a heatmap gets over the radiograph.
OPACITY = 0.6
#: Ground where there is no radiograph, and the least negative share that makes a map signed.
_GROUND, _NEGATIVE = 40, 0.01

Kind = Literal["reference", "expert", "predicted"]
#: Color and line of what people drew and of what a map says.
STYLES: dict[Kind, tuple[str, object]] = {"reference": ("#35d0ff", "-"),
                                          "expert": ("#7dff6a", (0, (5, 3))),
                                          "predicted": ("#ffffff", (0, (1.5, 1.5)))}


@dataclass(frozen=True)
class Contour:
    """A mask to be outlined.

    Attributes
    ----------
    mask : ndarray of bool, shape (height, width)
        Of any size; it covers the whole picture.
    label : str
        Whose it is.
    kind : {"reference", "expert", "predicted"}
    """

    mask: npt.NDArray[np.bool_]
    label: str
    kind: Kind = "reference"


@dataclass(frozen=True)
class Point:
    """A point to be marked, in pixels of the picture: (0, 0) is the corner of the first pixel.

    Attributes
    ----------
    y, x : float
    label : str
    kind : {"reference", "expert", "predicted"}
    """

    y: float
    x: float
    label: str
    kind: Kind = "expert"


def is_signed(heatmap: npt.NDArray[np.floating]) -> bool:
    """Whether a map says something with its sign: more than a trace of it is below 0.

    Parameters
    ----------
    heatmap : ndarray

    Examples
    --------
    >>> is_signed(np.array([0.0, 2.0])), is_signed(np.array([-1.0, 2.0]))
    (False, True)
    """
    values = np.asarray(heatmap, dtype=np.float64)
    values = values[np.isfinite(values)]
    return bool(values.size and -values.min() > _NEGATIVE * np.abs(values).max() > 0)


def blend(pixels: npt.NDArray[np.uint8] | None, heatmap: npt.NDArray[np.floating] | None, *,
          signed: bool | None = None, alpha: float = OPACITY) -> npt.NDArray[np.uint8]:
    """Blend a heatmap into a radiograph of the same size.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (height, width), or None
        Without a radiograph the ground is dark gray.
    heatmap : ndarray, shape (height, width), or None
        Without a map the radiograph stays as it is.
    signed : bool, optional
        Whether the scale is diverging and centered at 0 (blue below, red above); by default
        where the map is signed (:func:`is_signed`).
    alpha : float
        Opacity where the map is strongest, 0 to 1.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)

    Notes
    -----
    Of a map without a sign, min-max normalized as it is for scoring, opacity rises from nothing
    at the median to ``alpha`` at the maximum; of a signed one from nothing at 0 to ``alpha`` at
    the largest magnitude.
    """
    if pixels is None:
        assert heatmap is not None
        pixels = np.full(np.shape(heatmap), _GROUND, dtype=np.uint8)
    ground = np.repeat(pixels[..., None] / 255.0, 3, axis=-1)
    if heatmap is not None:
        signed = is_signed(heatmap) if signed is None else signed
        colors, strength = (_diverging if signed else _sequential)(heatmap)
        opacity = alpha * np.sqrt(strength)[..., None]
        ground = (1 - opacity) * ground + opacity * colors
    return np.round(ground * 255).astype(np.uint8)


def _sequential(heatmap: npt.NDArray[np.floating]
                ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    values = unit_range(heatmap)
    median = float(np.median(values))
    rise = np.clip((values - median) / (1 - median), 0, 1) if median < 1 else values * 0
    return colormaps["inferno"](0.25 + 0.7 * values)[..., :3], rise


def _diverging(heatmap: npt.NDArray[np.floating]
               ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    values = np.where(np.isfinite(heatmap), heatmap, 0.0).astype(np.float64)
    largest = float(np.abs(values).max()) or 1.0
    # The middle of the scale is white, which would hide what the opacity lets through.
    return colormaps["seismic"](0.5 + 0.4 * values / largest)[..., :3], np.abs(values) / largest


def draw_overlay(axes: Axes, pixels: npt.NDArray[np.uint8] | None,
                 heatmap: npt.NDArray[np.floating] | None, *,
                 contours: Sequence[Contour] = (), points: Sequence[Point] = (),
                 signed: bool | None = None, alpha: float = OPACITY,
                 size: tuple[float, float] | None = None) -> Axes:
    """Draw a radiograph, a map over it, outlines of masks and points on one Axes.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Its y axis points downwards after, its frame is gone.
    pixels : ndarray of uint8, shape (height, width), or None
    heatmap : ndarray, shape (height, width), or None
        At least one of the two.
    contours : sequence of Contour
    points : sequence of Point
    signed : bool, optional
        Whether the scale of the map is diverging and centered at 0; by default where it is signed.
    alpha : float
        Opacity where the map is strongest.
    size : (float, float), optional
        Height and width of the coordinate system, which sets the aspect; by default those of the
        picture in pixels.

    Returns
    -------
    matplotlib.axes.Axes
        ``axes``.
    """
    picture = blend(pixels, heatmap, signed=signed, alpha=alpha)
    height, width = size or (float(picture.shape[0]), float(picture.shape[1]))
    axes.imshow(picture, extent=(0, width, height, 0), interpolation="bilinear")
    casing = [withStroke(linewidth=2.6, foreground="black", alpha=0.5)]
    for contour in contours:
        color, line = STYLES[contour.kind]
        scale = height / contour.mask.shape[0], width / contour.mask.shape[1]
        label = contour.label
        for polygon in outlines(contour.mask):
            axes.plot(polygon[:, 1] * scale[1], polygon[:, 0] * scale[0], color=color,
                      linestyle=line, linewidth=1.3, label=label, path_effects=casing)
            # One entry in a legend, however many pieces a mask has.
            label = "_"
    for point in points:
        axes.plot([point.x], [point.y], linestyle="none", label=point.label,
                  marker="+" if point.kind == "predicted" else "o", markersize=6,
                  markerfacecolor="none", markeredgecolor=STYLES[point.kind][0],
                  markeredgewidth=1.5, path_effects=casing)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_aspect("equal")
    axes.set_axis_off()
    return axes
