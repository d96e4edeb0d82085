"""Everything that is known of every scored map, as one tidy table."""

from __future__ import annotations

import pandas as pd
import xarray as xr

from saltrust.analysis.options import Execution, Scoring
from saltrust.analysis.scores.scored_maps import ScoredMaps, score_maps
from saltrust.analysis.scores.scores_table import SCORE_COLUMNS
from saltrust.analysis.shape.descriptors import COLUMNS, describe_masks
from saltrust.analysis.stored.arrays import labels_of, texts_of, values_of
from saltrust.cache.identity import of_one_store
from saltrust.errors import DataError

#: Coordinates of images that come first, where they are known; covariates follow.
_COORDINATES = ("patient", "study", "split", "view")
_READING = "map_reading"
#: Sizes are no property of a case that anybody regresses on.
_LEFT_OUT = ("native_height", "native_width")


@of_one_store
def score_frame(cubes: xr.DataTree, scoring: Scoring, execution: Execution) -> pd.DataFrame:
    """One row per map, or per benchmark reader's mask, and reference reader.

    Parameters
    ----------
    cubes : xarray.DataTree
    scoring : Scoring
    execution : Execution

    Returns
    -------
    pandas.DataFrame
        ``image``, the coordinates of images (``patient, study, split, view``, covariates),
        ``finding``, ``label``, ``explainer`` (``expert`` for a person, whose name stands in
        ``model``), ``model``, ``map_reading`` (what of the map was scored), ``reader``,
        ``probability``, ``iou``, ``hit``, what else a score has, and the descriptors of the
        reference mask: the columns that :func:`saltrust.regressions_from_scores` and
        :func:`saltrust.confidence_from_scores` read.
    """
    scored = score_maps(cubes, scoring, execution)
    taken = [name for name in _images(cubes).columns if name not in {"image", "patient"}
             and name in (*SCORE_COLUMNS, *COLUMNS, _READING)]
    if taken:
        raise DataError(f"the images have a coordinate {taken[0]!r}, which is also a column of the "
                        "scores; rename it")
    shapes = describe_masks(scored.annotations, scoring.definition, scored.drawings.store,
                            progress=execution.progress)
    table = (_images(cubes).merge(scored.table.drop(columns="patient"), on="image", how="right")
             .merge(_labels(scored), on=["image", "finding"], how="left"))
    probability = _probabilities(scored)
    table = (table.merge(probability, on=["image", "finding", "explainer", "model"], how="left")
             .merge(shapes, on=["image", "finding", "reader"], how="left")
             # Not known of every mask, so that its type would depend on the selection.
             .astype({"n_instances": "float64"}))
    # Of people's masks there is nothing to read.
    table[_READING] = table["explainer"].map(scored.meta["map_readings"])
    coordinates = [name for name in _images(cubes).columns if name != "image"]
    names = ["image", *coordinates, "finding", "label", "explainer", "model", _READING, "reader",
             "probability", "iou", "hit"]
    return table[[*names, *(name for name in table if name not in names)]]


def _images(cubes: xr.DataTree) -> pd.DataFrame:
    """Every image with its coordinates; an unknown patient is empty."""
    root = cubes.to_dataset()
    columns = {"image": labels_of(root, "image")}
    others = [str(name) for name, array in root.coords.items()
              if str(name) not in {"image", *_LEFT_OUT} and array.dims in {("image",), ()}
              and str(name) not in {"finding"}]
    for name in sorted(others, key=lambda name: (*_COORDINATES, name).index(name)):
        numeric = root[name].dtype.kind in "iufb"
        columns[name] = (values_of(root[name], ["image"]).tolist() if numeric
                         else texts_of(root[name], ["image"]))
    return pd.DataFrame(columns)


def _labels(scored: ScoredMaps) -> pd.DataFrame:
    annotations = scored.annotations
    index = pd.MultiIndex.from_product([annotations.images, annotations.findings],
                                       names=["image", "finding"])
    return pd.DataFrame({"label": annotations.labels.ravel()}, index).reset_index()


def _probabilities(scored: ScoredMaps) -> pd.DataFrame:
    names = ["image", "finding", "explainer", "model"]
    if scored.scan is None:
        return pd.DataFrame(columns=[*names, "probability"]).astype({"probability": "float64"})
    return pd.DataFrame({name: scored.scan[name].values for name in (*names, "probability")})
