"""Curves of faithfulness, by name."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from saltrust.analysis.trustworthiness.faithfulness.analysis import faithfulness
from saltrust.report.catalog.declaration import NamedFigure, Request
from saltrust.report.figures.faithfulness import curves


def _draw(cubes: xr.DataTree, _request: Request) -> Figure:
    return curves(faithfulness(cubes))


FIGURES = (NamedFigure(
    "faithfulness", "mean predictions while what maps call relevant is removed or inserted, with "
                    "bands, beside random orders; positive images", _draw),)
