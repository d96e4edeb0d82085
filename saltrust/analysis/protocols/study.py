"""Every analysis that a page shows of a study, as far as its cubes allow."""

from __future__ import annotations

import xarray as xr

from saltrust.analysis.gaze.analysis import gaze
from saltrust.analysis.options import Execution, GazeComparison, Resampling, Scoring
from saltrust.analysis.protocols.localization.study import (
    TOPICS,
    Outcome,
    StudyOptions,
    explained_images,
    localization_study,
)
from saltrust.analysis.stored.arrays import dataset_of
from saltrust.analysis.stored.whole_study import fitted_study
from saltrust.cache.identity import of_one_store
from saltrust.choices import MapChoice
from saltrust.errors import DataError

#: Analyses of studies that have what few have, with nothing to say of all others.
OPTIONAL_TOPICS = ("gaze", "plan")

__all__ = ["OPTIONAL_TOPICS", "TOPICS", "Outcome", "analyze_study"]


@of_one_store
def analyze_study(cubes: xr.DataTree, *, map: MapChoice = "auto",
                  resampling: Resampling = Resampling(), execution: Execution = Execution(),
                  ) -> dict[str, Outcome]:
    """Run every analysis that the cubes allow, on the images that have heatmaps.

    Parameters
    ----------
    cubes : xarray.DataTree
        As :func:`saltrust.open_cubes` gives, or a part of it.
    map : {"auto", "raw", "absolute", "positive"}
        What of the maps is scored; by default what every explainer declares.
    resampling : Resampling
        Of the bootstraps.
    execution : Execution
        Workers, progress, and whether scores are kept in the store.

    Returns
    -------
    dict of str to Result or str
        By :data:`TOPICS` and :data:`OPTIONAL_TOPICS`; a text is the reason why there is no
        result, and an optional topic that does not concern the study is left out.
    """
    explained = explained_images(cubes)
    outcomes = localization_study(explained, StudyOptions(
        scoring=Scoring(map=map), resampling=resampling, execution=execution))
    reference = dataset_of(cubes, "reference")
    if reference is not None and "gaze" in reference:
        try:
            outcomes["gaze"] = gaze(explained, comparison=GazeComparison(reading=map),
                                    fitted_on=fitted_study(cubes), resampling=resampling,
                                    progress=execution.progress)
        except DataError as error:
            outcomes["gaze"] = str(error)
    return outcomes
