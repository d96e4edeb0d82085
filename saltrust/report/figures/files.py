"""Writing figures as files: the same figure is the same bytes, without a date or a random name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import matplotlib as mpl
from matplotlib.figure import Figure

#: Forms that a figure can be written in, by the ending of the file.
FORMS = ("png", "svg", "pdf")
#: Dots per inch of a file of pixels.
DOTS_PER_INCH = 200

_METADATA: dict[str, dict[str, Any]] = {"png": {"Software": None}, "svg": {"Date": None},
                                        "pdf": {"CreationDate": None}}


def save_figure(figure: Figure, file: Path | BinaryIO, form: str, *, dots: int = DOTS_PER_INCH,
                **settings: Any) -> None:
    """Write a figure.

    Parameters
    ----------
    figure : Figure
    file : path or binary file
    form : {"png", "svg", "pdf"}
        Other forms of matplotlib are written as they are.
    dots : int
        Per inch, of pixels.
    **settings
        Of matplotlib's ``savefig``.
    """
    # Names in an SVG are random without a salt.
    with mpl.rc_context({"svg.hashsalt": "saltrust"}):
        if form in _METADATA:
            settings["metadata"] = _METADATA[form]
        figure.savefig(file, format=form, dpi=dots, **settings)
