"""Running the analyses of a report, each on what the one before has already computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd
import xarray as xr

from saltrust.analysis.confidence.analysis import confidence
from saltrust.analysis.gaze.analysis import gaze
from saltrust.analysis.localization.analysis import localization
from saltrust.analysis.options import Resampling
from saltrust.analysis.result import Result
from saltrust.analysis.select import select
from saltrust.analysis.shape.descriptors import descriptors
from saltrust.analysis.shape.regressions import regressions
from saltrust.analysis.stored.contents import probabilities, require_heatmaps, require_masks
from saltrust.cache.schema import Status
from saltrust.errors import DataError

#: One wording for all sections, so that the page can say it once.
_WITHOUT_MASKS = "neither shapes nor localization can be measured"
_WITHOUT_MAPS = "no heatmap can be compared with the masks"

#: Analyses of a report, in its order.
TOPICS = ("localization", "descriptors", "regressions", "confidence")
#: Analyses of studies that have what few have, with nothing to say of all others.
OPTIONAL_TOPICS = ("gaze",)


def analyse(cubes: xr.DataTree, *, seed: int = 0, keep: bool = False, progress: bool = False,
            ) -> dict[str, Result]:
    """Run every analysis that the cubes allow.

    Parameters
    ----------
    cubes : xarray.DataTree
        As :func:`saltrust.open_cubes` gives.
    seed : int
        Of the bootstraps.
    keep : bool
        Whether to read and keep scores in the store; only for cubes as they were opened.
    progress : bool
        Whether to show bars on stderr.

    Returns
    -------
    dict of str to Result
        By the names in ``TOPICS`` and ``OPTIONAL_TOPICS``; what the cubes cannot give is left out.
    """
    attempted = attempt(cubes, seed=seed, keep=keep, progress=progress)
    return {topic: result for topic, result in attempted.items() if isinstance(result, Result)}


def attempt(cubes: xr.DataTree, *, seed: int = 0, keep: bool = False, progress: bool = False,
            ) -> dict[str, Result | str]:
    """As :func:`analyse`, with the reason as a text in the place of a missing result.

    The pixels are read once: regressions and confidence start from the scores and the
    descriptors.
    """
    found: dict[str, Result | str] = {}

    def run(topic: str, compute: Callable[[], Result]) -> None:
        try:
            found[topic] = compute()
        except DataError as error:
            found[topic] = str(error)

    split = mapped_split(cubes)
    run("localization", lambda: _localize(cubes, split=split, seed=seed, keep=keep,
                                           progress=progress))
    run("descriptors", lambda: _describe(cubes, split=split, progress=progress))
    run("regressions", lambda: _regress(cubes, found))
    run("confidence", lambda: _relate(cubes, found, seed))
    if "reference" in cubes.children and "gaze" in cubes["reference"].data_vars:
        run("gaze", lambda: gaze(select(cubes, split=split), fitted_on=cubes,
                                 resampling=Resampling(seed=seed), progress=progress))
    return {topic: found[topic] for topic in (*TOPICS, *OPTIONAL_TOPICS) if topic in found}


def mapped_split(cubes: xr.DataTree) -> str | None:
    """The split that all images with heatmaps belong to; None without one.

    Experts often annotated more images than were explained.  Their scores and the shapes are
    to be of the images that have maps, or the two would not be comparable.
    """
    if "saliency" not in cubes.children or "split" not in cubes.coords:
        return None
    status = cubes["saliency"].to_dataset()["status"]
    mapped = (status != int(Status.MISSING)).any([dim for dim in status.dims if dim != "image"])
    splits = cubes.coords["split"].sel(image=mapped.coords["image"].values).values
    found = {str(split) for split, known in zip(splits, mapped.values, strict=True) if known}
    return found.pop() if len(found) == 1 else None


def _localize(cubes: xr.DataTree, *, split: str | None, seed: int, keep: bool,
              progress: bool) -> Result:
    require_masks(cubes, _WITHOUT_MASKS)
    return localization(cubes, split=split, seed=seed, keep=keep, progress=progress)


def _describe(cubes: xr.DataTree, *, split: str | None, progress: bool) -> Result:
    require_masks(cubes, _WITHOUT_MASKS)
    return descriptors(cubes, split=split, progress=progress)


def _regress(cubes: xr.DataTree, found: Mapping[str, Result | str]) -> Result:
    require_masks(cubes, _WITHOUT_MASKS)
    require_heatmaps(cubes, _WITHOUT_MAPS)
    scores, shapes = (_table(found, topic, name) for topic, name in
                      (("localization", "scores"), ("descriptors", "descriptors")))
    return regressions(scores, shapes)


def _relate(cubes: xr.DataTree, found: Mapping[str, Result | str], seed: int) -> Result:
    require_masks(cubes, _WITHOUT_MASKS)
    require_heatmaps(cubes, _WITHOUT_MAPS)
    predicted = probabilities(cubes, "confidence cannot be related to localization")
    return confidence(_table(found, "localization", "scores"), predicted, seed=seed)


def _table(found: Mapping[str, Result | str], topic: str, name: str) -> pd.DataFrame:
    """A table of an analysis that has been run; its reason where it failed."""
    result = found[topic]
    if isinstance(result, str):
        raise DataError(result)
    return result.tables[name]
