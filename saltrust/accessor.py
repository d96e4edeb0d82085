"""``cubes.saltrust``: what is done with opened cubes most often, under one name.

:func:`saltrust.open_cubes` registers it.  It has no logic of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xarray as xr

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from saltrust.analysis.options import Execution, Scoring
    from saltrust.choices import MapChoice


class Cubes:
    """The accessor ``cubes.saltrust`` of an ``xarray.DataTree`` of cubes.

    Parameters
    ----------
    cubes : xarray.DataTree

    Examples
    --------
    ::

        cubes = saltrust.open_cubes("study.zarr")
        cubes.saltrust.select(split="test", explainer="gradcam").saltrust.scores()
    """

    def __init__(self, cubes: xr.DataTree) -> None:
        self._cubes = cubes

    def select(self, *, stored: bool = False, **labels: Any) -> xr.DataTree:
        """The part of the cubes that has these labels (:func:`saltrust.select`).

        Parameters
        ----------
        stored : bool
            Only labels of which a usable heatmap is stored.
        **labels
            A label or a list of labels, by dimension or by coordinate of images.

        Returns
        -------
        xarray.DataTree
        """
        from saltrust.analysis.select import select

        return select(self._cubes, stored=stored, **labels)

    def scores(self, *, scoring: Scoring | None = None, execution: Execution | None = None
               ) -> pd.DataFrame:
        """A tidy table with one row per map, or benchmark reader, and reference reader.

        Parameters
        ----------
        scoring : Scoring, optional
            How maps are scored.
        execution : Execution, optional
            Workers, progress, and whether scores are kept in the store.

        Returns
        -------
        pandas.DataFrame
            Image and its coordinates, finding, label, explainer, model, reader, probability, IoU,
            hit, and the descriptors of the reference mask
            (:func:`saltrust.analysis.shape.score_frame.score_frame`).
        """
        from saltrust.analysis.options import Execution, Scoring
        from saltrust.analysis.shape.score_frame import score_frame

        return score_frame(self._cubes, scoring or Scoring(), execution or Execution())

    def overlay(self, image: str, finding: str, explainer: str, *, model: str | None = None,
                reader: str | None = None, map: MapChoice = "auto",
                axes: Axes | None = None) -> Axes:
        """Draw a radiograph, a map over it, and what readers drew; y downwards.

        Parameters
        ----------
        image, finding, explainer : str
            Labels of the map.
        model : str, optional
            By default the ensemble where there is one, else the first.
        reader : str, optional
            Whose contours; all readers' by default.
        map : {"auto", "raw", "absolute", "positive"}
            What of the map is drawn; by default what its explainer declares, as it is scored.
        axes : matplotlib.axes.Axes, optional
            Where to draw; a new figure's by default.

        Returns
        -------
        matplotlib.axes.Axes
        """
        from saltrust.analysis.stored.readings import read_as
        from saltrust.report.figures.gallery import overlay

        return overlay(read_as(self._cubes, map), image, finding, explainer, model=model,
                       reader=reader, axes=axes)

    def gallery(self, finding: str, explainer: str | None = None, *, model: str | None = None,
                map: MapChoice = "auto", rows: int = 3, columns: int = 4) -> Figure:
        """Draw the maps of several images of a finding.

        Parameters
        ----------
        finding : str
        explainer : str, optional
            Whose maps, one per panel; by default every line is one image with its first maps.
        model : str, optional
            By default the ensemble where there is one, else the first.
        map : {"auto", "raw", "absolute", "positive"}
            What of the maps is drawn; by default what their explainers declare.
        rows, columns : int
            Of panels, at most.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from saltrust.analysis.stored.readings import read_as
        from saltrust.report.figures.gallery import gallery

        return gallery(read_as(self._cubes, map), finding, explainer, model=model, rows=rows,
                       columns=columns)

    def status(self) -> pd.DataFrame:
        """How many maps are stored, flat, not finite and missing, by explainer and model.

        Returns
        -------
        pandas.DataFrame
            ``explainer, model``, and a column of counts per status.
        """
        from saltrust.analysis.stored.contents import status_counts

        return status_counts(self._cubes)
