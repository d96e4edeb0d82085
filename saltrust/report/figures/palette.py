"""Colors, type and axes that all figures share, and how a figure gets into a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

#: Okabe and Ito's colors, told apart under the common color vision deficiencies, without the
#: yellow that vanishes on white; people are blue, maps are not.
EXPERTS = ("#0072B2", "#56B4E9", "#003D66", "#9CC9E8")
EXPERT = EXPERTS[0]
EXPLAINERS = ("#D55E00", "#E69F00", "#009E73", "#CC79A7", "#7F3C8D", "#8C6D31", "#666666")
DIFFERENCE = "#555555"
INK = "#222222"

#: Font size of figures in points, at the size at which the page shows them.
FONT_SIZE = 9.0
#: Marks beyond which a figure is embedded as pixels: an SVG would weigh megabytes.
MOST_VECTOR_MARKS = 3000
DOTS_PER_INCH = 150

# DejaVu Sans comes with matplotlib and with most Linux desktops; Verdana has its widths.
_FONTS = ["DejaVu Sans", "Verdana", "sans-serif"]


def dress(axes: Axes, *, grid: str = "x") -> None:
    """Take away the frame, keep faint lines along the axis that carries the numbers."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#888888")
    axes.tick_params(labelsize=FONT_SIZE, colors=INK, length=3)
    if grid == "x":
        # The other axis names things; ticks would only add ink.
        axes.tick_params(axis="y", length=0)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(visible=True, axis=grid, color="#E6E6E6", linewidth=0.8)  # type: ignore[arg-type]
    axes.xaxis.label.set_fontsize(FONT_SIZE)
    axes.yaxis.label.set_fontsize(FONT_SIZE)


def series_colors(names: Sequence[str]) -> dict[str, str]:
    """One color per series; experts are blue whatever stands beside them.

    Where there are more series than colors, lighter shades of the same follow.

    Examples
    --------
    >>> series_colors(["expert", "grad", "gradcam"])
    {'expert': '#0072B2', 'grad': '#D55E00', 'gradcam': '#E69F00'}
    """
    experts = [name for name in names if name.startswith("expert")]
    others = [name for name in names if not name.startswith("expert")]
    colors = {name: _shade(shades, i)
               for of_kind, shades in ((experts, EXPERTS), (others, EXPLAINERS))
               for i, name in enumerate(of_kind)}
    return {name: colors[name] for name in names}


def _shade(colors: Sequence[str], place: int) -> str:
    """The color at a place, mixed with white the more often all have been used."""
    share = 0.55 ** (place // len(colors))
    red, green, blue = (share * part + 1 - share for part in to_rgb(colors[place % len(colors)]))
    return to_hex((red, green, blue)).upper()


def count_marks(figure: Figure) -> int:
    """Points of lines, scatters and patches in a figure."""
    marks = 0
    for axes in figure.axes:
        marks += sum(np.shape(line.get_xydata())[0] for line in axes.lines)
        marks += sum(np.shape(collection.get_offsets())[0] for collection in axes.collections)
        marks += len(axes.patches)
    return marks


def to_data_uri(figure: Figure) -> str:
    """Encode a figure as a data URI: SVG, PNG where it has very many marks, JPEG of images.

    The bytes depend on nothing but the figure: no date, no random identifiers.
    """
    buffer = io.BytesIO()
    kind = "svg"
    if any(axes.images for axes in figure.axes):
        kind = "jpeg"
    elif count_marks(figure) > MOST_VECTOR_MARKS:
        kind = "png"
    settings: Any = {"svg.hashsalt": "saltrust", "font.sans-serif": _FONTS,
                     "font.family": "sans-serif",
                     # Texts stay texts, which a browser draws in its fonts.
                     **({"svg.fonttype": "none"} if kind == "svg" else {})}
    with mpl.rc_context(settings):
        if kind == "svg":
            figure.savefig(buffer, format=kind, metadata={"Date": None})
        else:
            extra: Any = ({"metadata": {"Software": None}} if kind == "png"
                          else {"pil_kwargs": {"quality": 88, "subsampling": 0}})
            figure.savefig(buffer, format=kind, dpi=DOTS_PER_INCH, **extra)
    media = {"svg": "image/svg+xml"}.get(kind, f"image/{kind}")
    return f"data:{media};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
