"""Which figures can be asked for by name, in the order in which they are listed.

A module of this folder declares its figures as ``FIGURES``; its name among :data:`MODULES` is all
that a new one takes.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path

import xarray as xr
from matplotlib.figure import Figure

from saltrust.analysis.select import as_cubes
from saltrust.cache.identity import of_one_store
from saltrust.choices import MapChoice, Rank
from saltrust.errors import UsageError, nearest
from saltrust.reading import shown
from saltrust.report.catalog.declaration import NamedFigure, Request

#: Modules of this folder that declare figures.
MODULES = ("maps", "case", "shapes", "randomization", "similarity", "precision_recall",
           "overview", "gaze", "free_response", "faithfulness")


@cache
def named_figures() -> dict[str, NamedFigure]:
    """All figures by name."""
    return {one.name: one for module in MODULES
            for one in import_module(f"saltrust.report.catalog.{module}").FIGURES}


def named_figure(name: str) -> NamedFigure:
    """The figure of a name.

    Raises
    ------
    UsageError
        If there is none; the nearest is named.
    """
    figures = named_figures()
    if name not in figures:
        raise UsageError(f"there is no figure {shown(name)}; {nearest(shown(name), figures)}")
    return figures[name]


@of_one_store
def figure(cubes: xr.DataTree | str | Path, name: str, *, image: str | list[str] | None = None,
           rank: Rank | None = None, by: str | None = None, count: int | None = None,
           map: MapChoice = "auto", progress: bool = False) -> Figure:
    """Draw one of the figures of the papers, by name.

    Parameters
    ----------
    cubes : xarray.DataTree or path
        Any selection (:func:`saltrust.select`): findings, explainers, models, readers, a split.
    name : str
        One that ``saltrust figure --list`` names.
    image : str or list of str, optional
        Images by name; by default they are chosen by rank.
    rank : {"best", "median", "worst"}, optional
        Which images: those of the highest (the default), the middle or the lowest score.
    by : str, optional
        Score that ranks them, one of the figure's, of the first explainer and model; by default
        the first that the cubes allow.
    count : int, optional
        How many are chosen by rank; 1 by default.
    map : {"auto", "raw", "absolute", "positive"}
        What of the maps is drawn and scored: by default what every explainer declares.
    progress : bool
        Whether bars are shown on stderr.

    Returns
    -------
    matplotlib.figure.Figure
        Outside pyplot's state: ``saltrust.figure(cubes, "maps").savefig("maps.png")``.

    Raises
    ------
    UsageError
        If a name or a label is not known, or the figure shows no single images and one is named.
    DataError
        If the cubes do not hold what the figure shows.
    """
    one = named_figure(name)
    images = () if image is None else (image,) if isinstance(image, str) else tuple(image)
    asked = {"image": image, "rank": rank, "by": by, "count": count}
    given = [option for option, value in asked.items() if value is not None]
    if given and not one.ranked_by:
        raise UsageError(f"the figure {name} shows no single images; leave {given[0]} out")
    if images and given[1:]:
        raise UsageError(f"images are named, or chosen by {given[1]}; leave one of the two out")
    if by is not None and by not in one.ranked_by:
        raise UsageError(f"the figure {name} cannot choose images by {shown(by)}; "
                         f"{nearest(shown(by), one.ranked_by)}")
    return one.draw(as_cubes(cubes), Request(
        tuple(dict.fromkeys(images)), rank or "best", by, 1 if count is None else count, map,
        progress))
