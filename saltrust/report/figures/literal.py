r"""Figures whose texts are drawn letter by letter: nothing in a label is a formula or a control.

Matplotlib takes what stands between two dollars for a formula, so that a label such as
``$\frac{a}{$`` ends the drawing, and writes control characters into SVG, which no browser shows
then.  Labels come from data; every text of a figure made here is drawn as it reads.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter

from saltrust.errors import DataError
from saltrust.printable import printable
from saltrust.report.figures.fonts import families_for, letters_of, warn

#: Width of a figure that fills the page, in inches.
WIDTH = 8.6
#: Longest line of a text; a longer one would leave no place for what is drawn.
MOST_CHARACTERS = 120
#: Largest height and width in inches: at 200 dots each, 150 by 9 inches are 200 MB of pixels.
MOST_INCHES = 150.0


class LiteralFigure(Figure):
    """A figure that draws its texts as they are, whatever they hold, in any script."""

    _warned = False

    def draw(self, renderer: Any) -> None:
        axes = [axis for axis in self.findobj(Axis) if isinstance(axis, Axis)]
        for axis in axes:
            formatter = axis.get_major_formatter()
            # The labels that `set_yticks` was given, which are texts only while it draws.
            if isinstance(formatter, FuncFormatter) and not isinstance(formatter.func, _Literal):
                formatter.func = _Literal(formatter.func)
        for text in self.findobj(Text):
            assert isinstance(text, Text)
            text.set_parse_math(False)
            text.set_text(literal(text.get_text()))
        self._take_fonts(axes)
        with _no_formulas():
            super().draw(renderer)

    def _take_fonts(self, axes: Sequence[Axis]) -> None:
        """Have fonts beside the figure's where its texts have letters that this one lacks."""
        for axis in axes:
            if axis.axes.axison and axis.get_visible():
                # Of labels that `set_yticks` was given there are no texts before they are asked
                # for.
                axis.get_ticklabels(which="both")
        texts = [text for text in self.findobj(Text) if isinstance(text, Text)]
        letters = letters_of(text.get_text() for text in texts)
        for families in {tuple(text.get_fontfamily()): None for text in texts}:
            more, missing = families_for(letters, families)
            if more:
                for text in texts:
                    if tuple(text.get_fontfamily()) == families:
                        text.set_fontfamily([*families, *more])
                for axis in axes:
                    # Ticks may be made while it is drawn.
                    axis.set_tick_params(which="both", labelfontfamily=[*families, *more])
            # Browsers have fonts of their own for a text that stays one.
            if mpl.rcParams["svg.fonttype"] != "none" and not self._warned:
                warn(missing, letters)
                self._warned = True

    def legend(self, *args: Any, **kwargs: Any) -> Legend:
        # Its width is asked for before it is drawn.
        with _no_formulas():
            legend = super().legend(*args, **kwargs)
        for text in legend.get_texts():
            text.set_text(literal(text.get_text()))
        return legend


def width_of(legend: Legend) -> float:
    """Width of a legend that is not drawn yet, in dots."""
    with _no_formulas():
        return float(legend.get_window_extent().width)


class _Literal:
    """A function that names ticks, its names made literal."""

    def __init__(self, name: Callable[..., str]) -> None:
        self.name = name

    def __call__(self, *args: Any) -> str:
        return literal(self.name(*args))


def literal(text: str) -> str:
    r"""A text without controls, its lines not longer than a figure has place for.

    Examples
    --------
    >>> literal("Edema\x1b[2J\nat all")
    'Edema\\x1b[2J\nat all'
    """
    lines = printable(text, kept="\n").split("\n")
    return "\n".join(line if len(line) <= MOST_CHARACTERS else line[:MOST_CHARACTERS - 3] + "..."
                     for line in lines)


@contextmanager
def _no_formulas() -> Iterator[None]:
    """Texts that are made meanwhile are no formulas; of letters that no font has, we warn."""
    with mpl.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        warnings.filterwarnings("ignore", "Matplotlib currently does not support", UserWarning)
        # Labels that leave no place for the axes are drawn over them.
        warnings.filterwarnings("ignore", "constrained_layout not applied", UserWarning)
        yield


def new_figure(height: float, width: float = WIDTH) -> LiteralFigure:
    """An empty figure outside pyplot's state, ``width`` by ``height`` inches.

    Raises
    ------
    DataError
        If it would be larger than a picture can be.
    """
    if not max(height, width) <= MOST_INCHES:
        raise DataError(f"the figure would be {height:.0f} by {width:.0f} inches, more than the "
                        f"{MOST_INCHES:.0f} that a picture may have; select fewer findings, "
                        "explainers, models or images")
    figure = LiteralFigure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure
