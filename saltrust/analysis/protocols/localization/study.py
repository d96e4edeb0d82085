"""The analyses of a localization study, each on what the one before has already computed.

The protocol, the page and the demo all run these; maps and masks are read once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from saltrust.analysis.classification.calibration import calibration_table
from saltrust.analysis.confidence.analysis import OPERATING_POINT, relate
from saltrust.analysis.localization.analysis import localization
from saltrust.analysis.options import Execution, Margins, Resampling, Scoring, Testing
from saltrust.analysis.result import Result
from saltrust.analysis.scores.score_rows import EXPERT
from saltrust.analysis.scores.scored_maps import score_maps
from saltrust.analysis.select import select
from saltrust.analysis.shape.descriptors import descriptors
from saltrust.analysis.shape.regressions import regress
from saltrust.analysis.stored.arrays import dataset_of, values_of
from saltrust.analysis.stored.contents import probabilities, require_heatmaps, require_masks
from saltrust.analysis.stored.examinations import at_level
from saltrust.cache.schema import Status
from saltrust.choices import Adjustment, Fit
from saltrust.errors import DataError

#: Analyses of a study, in the order in which they are shown.
TOPICS = ("localization", "descriptors", "regressions", "confidence")
#: Confidence once more, pooled as in the paper.
AS_PUBLISHED = "confidence_paper"

# One wording for all analyses, so that a page can say it once.
_WITHOUT_MASKS = "neither shapes nor localization can be measured"
_WITHOUT_MAPS = "no heatmap can be compared with the masks"
_WITHOUT_PROBABILITIES = "confidence cannot be related to localization"

Outcome = Result | str


@dataclass(frozen=True)
class StudyOptions:
    """How a localization study is computed; the attributes are those of the analyses.

    Attributes
    ----------
    scoring : Scoring
        Of the localization.  Regressions and confidence take the slice of the definition.
    resampling : Resampling
    execution : Execution
    benchmark : str or None
        The one benchmark reader that stands for the expert; None for the mean over all.
    margin : float, Margins or None
        Means closer than this are to be shown equivalent, or no worse than others by more.
    adjustment : {"bonferroni", "holm", "bh", "none"}
        Of the p-values of regressions and confidence.
    operating_point : float or path
        Probability above which a model calls a finding, or a file with one per finding.
    fits : sequence of str
        Models of the regressions beside least squares.
    """

    scoring: Scoring = Scoring()
    resampling: Resampling = Resampling()
    execution: Execution = Execution()
    benchmark: str | None = None
    margin: float | Margins | None = None
    adjustment: Adjustment = "bonferroni"
    operating_point: float | str | Path = OPERATING_POINT
    fits: Sequence[Fit] = ()


def localization_study(cubes: xr.DataTree, options: StudyOptions = StudyOptions(), *,
                       as_published: bool = False) -> dict[str, Outcome]:
    """Run localization, descriptors, regressions and confidence, as far as the cubes allow.

    Parameters
    ----------
    cubes : xarray.DataTree
        Any selection; :func:`explained_images` leaves out what has no heatmap.
    options : StudyOptions
    as_published : bool
        Whether to relate confidence once more as the paper pooled: false positives count, with
        the cut-off, and probabilities are normalized per finding.  Not under ``peer``, which
        does so by itself.

    Returns
    -------
    dict of str to Result or str
        By :data:`TOPICS` (and :data:`AS_PUBLISHED`); a text is the reason why there is no result.
        ``confidence`` has the tables of :func:`saltrust.confidence` and ``points``, the rows
        that it relates, without a probability cut-off, which would make part of it mechanical.
    """
    outcomes: dict[str, Outcome] = {}
    cubes = at_level(cubes, options.scoring.level)

    def attempt(topic: str, compute: Callable[[], Result]) -> None:
        try:
            outcomes[topic] = compute()
        except DataError as error:
            outcomes[topic] = str(error)

    attempt("localization", lambda: _localize(cubes, options))
    attempt("descriptors", lambda: _describe(cubes, options))
    attempt("regressions", lambda: _regress(cubes, options, outcomes))
    attempt("confidence", lambda: _relate(cubes, options, outcomes))
    if as_published and options.scoring.definition == "default":
        attempt(AS_PUBLISHED, lambda: _relate_as_published(cubes, options, outcomes))
    return outcomes


def explained_images(cubes: xr.DataTree) -> xr.DataTree:
    """The cubes with only the split that all images with heatmaps belong to, if it is one.

    Experts often annotated more images than were explained.  Their scores and the shapes are
    to be of the images that have maps, or the two would not be comparable.

    Parameters
    ----------
    cubes : xarray.DataTree

    Returns
    -------
    xarray.DataTree
    """
    saliency, root = dataset_of(cubes, "saliency"), cubes.to_dataset()
    if saliency is None or "split" not in root.variables:
        return cubes
    status = values_of(saliency["status"], ("image", "finding", "explainer", "model"))
    mapped = (status != int(Status.MISSING)).any(axis=(1, 2, 3))
    splits = np.array([str(name) for name in values_of(root["split"], ["image"])])
    present = set(splits[mapped].tolist())
    return select(cubes, split=present.pop()) if len(present) == 1 else cubes


def _localize(cubes: xr.DataTree, options: StudyOptions) -> Result:
    require_masks(cubes, _WITHOUT_MASKS)
    return localization(cubes, scoring=options.scoring, resampling=options.resampling,
                        execution=options.execution, benchmark=options.benchmark,
                        margin=options.margin)


def _describe(cubes: xr.DataTree, options: StudyOptions) -> Result:
    require_masks(cubes, _WITHOUT_MASKS)
    return descriptors(cubes, scoring=options.scoring, execution=options.execution)


def _regress(cubes: xr.DataTree, options: StudyOptions, outcomes: Mapping[str, Outcome]
             ) -> Result:
    require_masks(cubes, _WITHOUT_MASKS)
    require_heatmaps(cubes, _WITHOUT_MAPS)
    located = _result(outcomes, "localization")
    shapes = _result(outcomes, "descriptors")["descriptors"]
    return _as_located(located, regress(
        located["scores"], shapes, scoring=Scoring(definition=options.scoring.definition),
        benchmark=options.benchmark, adjustment=options.adjustment, fits=options.fits,
        testing=Testing(confidence_level=options.resampling.confidence_level)))


def _relate(cubes: xr.DataTree, options: StudyOptions, outcomes: Mapping[str, Outcome]
            ) -> Result:
    require_masks(cubes, _WITHOUT_MASKS)
    require_heatmaps(cubes, _WITHOUT_MAPS)
    predicted = probabilities(cubes, _WITHOUT_PROBABILITIES)
    located = _result(outcomes, "localization")
    scores = located["scores"]
    if options.scoring.cutoff is not None:
        scores = score_maps(cubes, replace(options.scoring, cutoff=None,
                                           slice=located.meta["slice"]),
                            options.execution).table
    result = _as_located(located, relate(
        scores, predicted, scoring=Scoring(definition=options.scoring.definition),
        resampling=options.resampling, adjustment=options.adjustment,
        operating_point=options.operating_point))
    used = predicted[predicted["image"].isin(scores["image"])
                     & predicted["finding"].isin(scores["finding"])]
    calibration = calibration_table(cubes, used, level=options.scoring.level,
                                    **options.resampling.describe())
    return replace(result, tables={**result.tables, "calibration": calibration,
                                   "points": _points(scores, predicted)})


def _relate_as_published(cubes: xr.DataTree, options: StudyOptions,
                         outcomes: Mapping[str, Outcome]) -> Result:
    predicted = probabilities(cubes, _WITHOUT_PROBABILITIES)
    located = _result(outcomes, "localization")
    return _as_located(located, relate(
        located["scores"], predicted, scoring=Scoring(slice="all"),
        resampling=options.resampling, normalize=True, adjustment=options.adjustment,
        operating_point=options.operating_point))


def _as_located(located: Result, result: Result) -> Result:
    """The result, which says what of the maps the scores that it relates are of."""
    read = {name: located.meta[name] for name in ("map", "map_readings")}
    return replace(result, meta={**read, **result.meta})


def _points(scores: pd.DataFrame, predicted: pd.DataFrame) -> pd.DataFrame:
    """Score and probability of every map."""
    columns = ["image", "finding", "explainer", "model", "reader", "area_reference", "iou", "hit"]
    maps = scores.loc[scores["explainer"] != EXPERT, columns]
    return maps.merge(predicted, on=["image", "finding", "model"])


def _result(outcomes: Mapping[str, Outcome], topic: str) -> Result:
    """The result of an analysis that has been run; its reason where it failed."""
    outcome = outcomes[topic]
    if isinstance(outcome, str):
        raise DataError(outcome)
    return outcome
