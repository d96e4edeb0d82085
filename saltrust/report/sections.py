"""Running the analyses of a report, each on what the one before has already computed."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pandas as pd
import xarray as xr

from saltrust.analysis.confidence import confidence
from saltrust.analysis.descriptors import descriptors
from saltrust.analysis.localization import localization
from saltrust.analysis.regressions import regressions
from saltrust.analysis.result import Result
from saltrust.errors import DataError

_log = logging.getLogger(__name__)

#: Analyses of a report, in its order.
TOPICS = ("localization", "descriptors", "regressions", "confidence")


def analyse(cubes: xr.DataTree, *, seed: int = 0, progress: bool = False) -> dict[str, Result]:
    """Run every analysis that the cubes allow.

    Parameters
    ----------
    cubes : xarray.DataTree
        As :func:`saltrust.open_cubes` gives.
    seed : int
        Of the bootstraps.
    progress : bool
        Whether to show bars on stderr.

    Returns
    -------
    dict of str to Result
        By the names in ``TOPICS``; what the cubes cannot give is left out.
    """
    attempted = attempt(cubes, seed=seed, progress=progress)
    return {topic: result for topic, result in attempted.items() if isinstance(result, Result)}


def attempt(cubes: xr.DataTree, *, seed: int = 0, progress: bool = False,
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

    run("localization", lambda: localization(cubes, seed=seed, progress=progress))
    run("descriptors", lambda: descriptors(cubes, progress=progress))
    scored, shaped = found["localization"], found["descriptors"]
    for topic, missing in (("regressions", (scored, shaped)), ("confidence", (scored,))):
        found[topic] = next((reason for reason in missing if isinstance(reason, str)), "")
    if isinstance(scored, Result):
        scores = scored.tables["scores"]
        if isinstance(shaped, Result):
            shapes = shaped.tables["descriptors"]
            run("regressions", lambda: regressions(scores, shapes))
        run("confidence", lambda: _confidence(cubes, scores, seed))
    return {topic: found[topic] for topic in TOPICS}


def _confidence(cubes: xr.DataTree, scores: pd.DataFrame, seed: int) -> Result:
    if "prediction" not in cubes.children:
        raise DataError("the cubes hold no predictions; `saltrust generate` makes them")
    array = cubes["prediction"].to_dataset()["probability"].transpose(
        "image", "finding", "model")
    labels = [[str(name) for name in array.coords[dim].values] for dim in array.dims]
    index = pd.MultiIndex.from_product(labels, names=["image", "finding", "model"])
    table = pd.DataFrame({"probability": array.values.ravel()}, index=index).reset_index()
    return confidence(scores, table, seed=seed)
