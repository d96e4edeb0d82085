"""FROC curves by name: they show no single images."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from saltrust.analysis.froc.analysis import froc
from saltrust.report.catalog.declaration import NamedFigure, Request
from saltrust.report.figures.froc import curves


def _draw(cubes: xr.DataTree, request: Request) -> Figure:
    return curves(froc(cubes, map=request.map, progress=request.progress))


FIGURES = (NamedFigure("froc", "FROC and weighted AFROC curves of the marks of every map, with "
                               "figures of merit", _draw),)
