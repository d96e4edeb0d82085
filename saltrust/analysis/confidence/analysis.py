"""Does a model localise better where it is more confident?

Per explainer, model, scheme (overlap, hit) and finding, and pooled over findings: the slope of
the score on the predicted probability and Spearman's correlation of the two (protocol S,
Table 3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from saltrust.analysis.classification.calibration import calibration_table
from saltrust.analysis.confidence.strata import confidence_strata
from saltrust.analysis.inference.clustered import robust_slope
from saltrust.analysis.inference.correlation import INTERVALS, spearman
from saltrust.analysis.inference.estimate import (
    STARS_LEGEND,
    Estimate,
    cell,
    check_confidence_level,
    estimates_table,
)
from saltrust.analysis.inference.linear import simple_regression
from saltrust.analysis.inference.multiplicity import ADJUSTMENTS, adjust_families
from saltrust.analysis.localization.analysis import Cut, score_maps
from saltrust.analysis.pixels.overlap import IOU_SLICES, check_slice
from saltrust.analysis.pixels.shape import check_definition
from saltrust.analysis.result import Result
from saltrust.analysis.scores.segmentation_rules import cutoff_choice
from saltrust.analysis.scores.selection import (
    SCHEMES,
    Scheme,
    check_columns,
    check_scores,
    maps,
    reference_reader,
    response,
    shared_exclusions,
    why_nothing,
)
from saltrust.analysis.stored.annotations import read_annotations
from saltrust.analysis.stored.contents import probabilities as stored_probabilities
from saltrust.analysis.stored.contents import (
    require_heatmaps,
    require_masks,
    require_reader,
    source,
)
from saltrust.choices import Adjustment, CorrelationInterval, Definition, IouSlice, Resolution
from saltrust.errors import DataError, UsageError, nearest

FloatArray = npt.NDArray[np.float64]

#: The pooled rows: within findings, and of all rows as if they were of one.
WITHIN = "All findings (with finding fixed effects)"
POOLED = "All findings"
TERMS = ("probability", "spearman")
#: Above which a model is taken to call a finding, unless told otherwise.
OPERATING_POINT = 0.5
IDENTIFY = ("explainer", "model", "scheme", "response", "finding")


def confidence(scores: pd.DataFrame, probabilities: pd.DataFrame, *, reader: str | None = None,
               explainers: Sequence[str] | None = None, models: Sequence[str] | None = None,
               definition: Definition = "default",
               iou_slice: IouSlice | None = None, normalise: bool | None = None,
               interval: CorrelationInterval | None = None, adjustment: Adjustment = "bonferroni",
               operating_point: float | str | Path = OPERATING_POINT,
               confidence_level: float = 0.95, resamples: int = 1000, seed: int = 0) -> Result:
    """Relate localization scores to predicted probabilities.

    Parameters
    ----------
    scores : pandas.DataFrame
        As :mod:`saltrust.analysis.localization.analysis` gives; rows of experts are ignored.
    probabilities : pandas.DataFrame
        Columns ``image, finding, model, probability``.
    reader : str, optional
        Reference reader; the first where there are several.
    explainers, models : sequence of str, optional
        Only these.
    definition : {"default", "peer"}
        Sets the defaults of the next three; ``peer`` as protocol S: slice ``all``, normalised
        probabilities in the pooled rows, Fisher's interval (with the n of the row).
    iou_slice : {"positive", "all", "both_nonempty"}, optional
        Which overlaps count (see :data:`saltrust.analysis.pixels.overlap.IOU_SLICES`).  ``all``
        scores false positives 0, which makes part of the relation mechanical.
    normalise : bool, optional
        Whether probabilities are min-max normalised per finding, over the rows in use, in the
        pooled rows.
    interval : {"bonett-wright", "fisher", "bootstrap"}, optional
        Of Spearman's correlation; the bootstrap resamples patients.
    adjustment : {"bonferroni", "holm", "bh", "none"}
        For multiplicity.  Per explainer, model, scheme and term, the findings are one family
        and the two pooled rows another.
    operating_point : float or path
        Probability above which the model calls a finding, or a file with one per finding in
        the column ``cutoff`` (:mod:`saltrust.analysis.scores.segmentation_rules`).
    confidence : float
        Level of the intervals, which are not adjusted for multiplicity.
    resamples, seed : int
        Of the bootstrap.

    Returns
    -------
    Result
        Table ``estimates``: ``explainer, model, scheme, response`` (``saliency``),
        ``finding``, the uniform columns and ``r_squared``.  Every finding has the term
        ``probability`` (slope per unit of probability) and the term ``spearman`` (rho).  Two
        pooled rows follow: :data:`WITHIN`, with an intercept per finding and with ranks taken
        within findings (see :mod:`saltrust.analysis.inference.correlation`), which differences
        between findings can neither make nor hide; and :data:`POOLED`, of all rows as if they
        were of one finding, as protocol S.  Table ``robust``: the same slopes with CR2 errors
        clustered by patient (by image where the patient is unknown), and the number of
        ``clusters``.  Table ``strata``: mean localization of true positives, of false
        negatives and by bin of probability (:mod:`saltrust.analysis.confidence.strata`).

    Raises
    ------
    DataError
        If a table lacks a column or repeats rows, or not one estimate can be computed.
    UsageError
        If an option or a name is not known.

    References
    ----------
    A. Saporta et al., "Deep learning saliency maps do not accurately highlight diagnostically
    relevant regions for medical image interpretation" (2021), Table 3.
    """
    check_confidence_level(confidence_level)
    iou_slice, normalise, interval = _by_definition(definition, iou_slice, normalise, interval)
    if adjustment not in ADJUSTMENTS:
        raise UsageError(f"adjustment {adjustment!r} is not known; "
                         f"{nearest(adjustment, ADJUSTMENTS)}")
    point = cutoff_choice(operating_point, "operating point")
    scores = check_scores(scores)
    predicted = check_columns(probabilities, ("image", "finding", "model"), ("probability",),
                              "probabilities")
    reference = reference_reader(scores, reader)
    scores = scores[scores["reader"] == reference].merge(
        predicted, on=["image", "finding", "model"], how="left", validate="many_to_one")
    options = {"interval": interval, "confidence_level": confidence_level, "resamples": resamples,
               "seed": seed}
    related = maps(scores, explainers, models)
    rows, robust_rows, excluded = _all_estimates(scores, related, iou_slice, normalise, options)
    table = _adjust(estimates_table(rows, IDENTIFY, ("r_squared",)), adjustment)
    clustered = estimates_table(robust_rows, IDENTIFY, ("clusters",)).astype({"clusters": "int64"})
    if table["estimate"].isna().all():
        # What the pooled rows lack, all rows lack.
        notes = table.loc[(table["finding"] == POOLED) & (table["term"] == TERMS[0]), "note"]
        raise DataError("no relation of probability and localization can be computed: "
                        f"{why_nothing(notes, excluded)}; add annotated positive images and "
                        "predictions")
    meta = {
        "definition": definition, "slice": iou_slice, "slice_meaning": IOU_SLICES[iou_slice],
        "hits": "rows with a non-empty reference mask",
        "operating_point": point.said.removesuffix(" for every map"),
        "probability": "as predicted" + (
            "; min-max normalised per finding in the pooled rows" if normalise else ""),
        "pooled": {WITHIN: "one intercept per finding; ranks within findings",
                   POOLED: "all rows as if of one finding"},
        "reference_readers": [reference], "confidence_level": confidence_level,
        "spearman_interval": interval,
        "intervals": "not adjusted for multiplicity; estimates: classical; robust: CR2 "
                     "clustered by patient (image where unknown)",
        "multiplicity": {
            "method": adjustment,
            "family": "explainer x model x scheme x term: all findings; the pooled rows apart",
            "factor": len(table["finding"].unique()) - 2, "factor of pooled rows": 2,
            "planned tests without a p-value": "count in the factor"},
        "stars": STARS_LEGEND,
        "resamples": resamples, "seed": seed,
        "counts": {"estimates": len(table), "computed": int(table["estimate"].notna().sum())},
        "exclusions": shared_exclusions(excluded),
    }
    chosen = pd.Series(list(zip(scores["explainer"], scores["model"], strict=True)),
                       index=scores.index).isin(related)
    strata = confidence_strata(scores[chosen], point, adjustment=adjustment,
                               confidence_level=confidence_level, resamples=resamples, seed=seed)
    return Result(meta, {"estimates": table, "robust": _adjust(clustered, adjustment),
                         "strata": strata})


# Below, the keyword for the level of intervals hides the function's name.
_relate = confidence


def from_cubes(cubes: xr.DataTree, *, resolution: Resolution | None = None,
               split: str | None = None, findings: Sequence[str] | None = None,
               explainers: Sequence[str] | None = None, models: Sequence[str] | None = None,
               reader: str | None = None, definition: Definition = "default",
               iou_slice: IouSlice | None = None, normalise: bool | None = None,
               interval: CorrelationInterval | None = None, adjustment: Adjustment = "bonferroni",
               operating_point: float | str | Path = OPERATING_POINT,
               confidence_level: float = 0.95, resamples: int = 1000, seed: int = 0,
               threshold: Cut = None, cutoff: Cut = None, keep: bool = False,
               workers: int = 1, scheduler: str | None = None, progress: bool = False) -> Result:
    """Score the maps of cubes and relate them to the stored probabilities.

    Parameters
    ----------
    cubes : xarray.DataTree
        As :func:`saltrust.open_cubes` gives, with maps, predictions and reference masks.
    resolution : {"native", "grid"}, optional
        Size at which maps are scored; by default native where it is stored.
    split : {"train", "val", "test", "none"}, optional
        Only images of this split.
    findings, explainers, models : sequence of str, optional
        Only these.
    reader, definition, iou_slice, normalise, interval, adjustment, operating_point, \
confidence, resamples, seed
        As :func:`confidence`; ``definition`` also sets how maps are scored.
    threshold, cutoff, keep, workers, scheduler
        As :func:`saltrust.analysis.localization.analysis.score_maps`.
    progress : bool
        Show a bar on stderr.

    Returns
    -------
    Result
        As :func:`confidence`, and ``calibration`` of the probabilities on all labelled images
        of the selection (:func:`saltrust.analysis.classification.calibration.calibration_table`).

    Raises
    ------
    DataError
        If the cubes hold no reference masks, maps or predictions, or as :func:`confidence`.
    UsageError
        If an option or a name is not known.
    """
    purpose = "confidence cannot be related to localization"
    require_masks(cubes, purpose)
    require_heatmaps(cubes, purpose)
    require_reader(cubes, reader, "reference")
    predicted = stored_probabilities(cubes, purpose)
    iou_slice, normalise, interval = _by_definition(definition, iou_slice, normalise, interval)
    scores = score_maps(cubes, resolution=resolution, definition=definition, iou_slice=iou_slice,
                        split=split, findings=findings, explainers=explainers, models=models,
                        threshold=threshold, cutoff=cutoff, keep=keep, workers=workers,
                        scheduler=scheduler, progress=progress)
    try:
        result = _relate(scores, predicted, reader=reader, explainers=explainers, models=models,
                        definition=definition, iou_slice=iou_slice, normalise=normalise,
                        interval=interval, adjustment=adjustment,
                        operating_point=operating_point, confidence_level=confidence_level,
                        resamples=resamples, seed=seed)
    except DataError as error:
        raise DataError(f"{source(cubes)}: {error}") from None
    used = read_annotations(cubes, resolution=resolution, split=split, findings=findings)
    chosen = predicted[predicted["image"].isin(used.images)
                       & predicted["finding"].isin(used.findings)]
    if models:
        chosen = chosen[chosen["model"].isin(models)]
    calibration = calibration_table(cubes, chosen, confidence_level=confidence_level,
                                    resamples=resamples,
                                    seed=seed)
    return Result({"resolution": used.resolution, "split": split,
                   "probability_cutoff": cutoff_choice(cutoff).said, **result.meta},
                  {**result.tables, "calibration": calibration})


def table3(result: Result) -> pd.DataFrame:
    """The estimates in the form of Table 3 of protocol S.

    Parameters
    ----------
    result : Result
        Of :func:`confidence`.

    Returns
    -------
    pandas.DataFrame
        One row per finding and pooled row, with ``n``, the slope and the correlation as
        ``estimate (low, high)`` and stars by the *adjusted* p-value; ``n/a`` and the reason
        where there is no estimate.  Explainer and model stand before where there are several.
    """
    found = result.tables["estimates"]
    names = ["explainer", "model", "scheme", "finding"]
    cells = {(*(getattr(row, name) for name in names), row.term): cell(row)
             for row in found.itertuples()}
    heads = found[[*names, "n"]].drop_duplicates(names)
    table = pd.DataFrame(
        [(*head, *(cells[*head[:-1], term] for term in TERMS))
         for head in heads.itertuples(index=False)],
        columns=[*names, "n", "linear regression coefficient", "Spearman correlation"])
    table["scheme"] = table["scheme"].map({"iou": "IoU", "hit": "Hit/Miss"})
    return table.drop(columns=[name for name in ("explainer", "model")
                               if len(found[name].unique()) == 1])


def _by_definition(definition: Definition, iou_slice: IouSlice | None, normalise: bool | None,
                   interval: CorrelationInterval | None) -> tuple[IouSlice, bool,
                                                                  CorrelationInterval]:
    check_definition(definition)
    peer = definition == "peer"
    iou_slice = iou_slice or ("all" if peer else "positive")
    check_slice(iou_slice)
    interval = interval or ("fisher" if peer else "bonett-wright")
    if interval not in INTERVALS:
        raise UsageError(f"interval {interval!r} is not known; {nearest(interval, INTERVALS)}")
    return iou_slice, peer if normalise is None else normalise, interval


def _complete(stored: pd.DataFrame, scheme: Scheme, iou_slice: IouSlice
              ) -> tuple[pd.DataFrame, dict[str, int]]:
    """Rows with a score in the slice and a probability, and why the others fell out."""
    rows = stored.assign(score=response(stored, scheme, iou_slice))
    reference = rows["area_reference"]
    scored = rows["score"].notna()
    counts = {
        "no reference annotation": reference.isna(),
        "an empty reference mask": (reference == 0) & ~scored,
        "no score of the map in this slice": (reference > 0) & ~scored,
        "no predicted probability": scored & rows["probability"].isna(),
    }
    kept = rows[scored & rows["probability"].notna()]
    return kept, {reason: int(out.sum()) for reason, out in counts.items() if out.any()}


def _all_estimates(
    scores: pd.DataFrame, related: Sequence[tuple[str, str]], iou_slice: IouSlice,
    normalise: bool, options: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[tuple[str, str, str], dict[str, int]]]:
    """Rows of the estimates, of the robust ones, and what is left out per map and scheme."""
    rows: list[dict[str, Any]] = []
    robust_rows: list[dict[str, Any]] = []
    excluded: dict[tuple[str, str, str], dict[str, int]] = {}
    for explainer, model in related:
        stored = scores[(scores["explainer"] == explainer) & (scores["model"] == model)]
        findings = list(dict.fromkeys(stored["finding"]))
        for scheme in SCHEMES:
            complete, excluded[explainer, model, scheme] = _complete(stored, scheme, iou_slice)
            name = {"explainer": explainer, "model": model, "scheme": scheme,
                    "response": "saliency"}
            for finding, slope, robust, rho, clusters in _estimates(complete, findings,
                                                                    normalise, options):
                full = {**name, "finding": finding}
                rows += [{**full, **slope.row("probability"), "r_squared": slope.r_squared},
                         {**full, **rho.row("spearman"), "r_squared": np.nan}]
                robust_rows.append({**full, **robust.row("probability"), "clusters": clusters})
    return rows, robust_rows, excluded


def _estimates(complete: pd.DataFrame, findings: Sequence[str], normalise: bool,
               options: Mapping[str, Any]
               ) -> Iterator[tuple[str, Estimate, Estimate, Estimate, int]]:
    """Name, slope, slope with clustered error, correlation and number of clusters.

    Of every finding, then of the two ways to pool.
    """
    score, label = complete["score"].to_numpy(), complete["finding"].to_numpy(dtype=object)
    probability, cluster = complete["probability"].to_numpy(), complete["cluster"].to_numpy()
    level, names = options["confidence_level"], ("the probability", "the score")

    def both(x: FloatArray, y: FloatArray, clusters: npt.NDArray[Any],
             groups: npt.NDArray[Any] | None) -> tuple[Estimate, Estimate, Estimate, int]:
        slope = simple_regression(x, y, confidence_level=level, groups=groups, names=names)
        robust = robust_slope(slope, x, y, clusters, groups=groups, confidence_level=level)
        rho = spearman(x, y, strata=groups, clusters=clusters, names=names, **options)
        return slope, robust, rho, len(np.unique(clusters))

    for finding in findings:
        own = label == finding
        yield finding, *both(probability[own], score[own], cluster[own], None)
    if normalise:
        by_finding = complete.groupby("finding", sort=False)["probability"]
        low, high = by_finding.transform("min"), by_finding.transform("max")
        width = (high - low).where(high > low, 1.0)
        probability = ((complete["probability"] - low) / width).to_numpy()
    for name, groups in ((WITHIN, label), (POOLED, None)):
        yield name, *both(probability, score, cluster, groups)


def _adjust(table: pd.DataFrame, adjustment: Adjustment) -> pd.DataFrame:
    pooled = table["finding"].isin([WITHIN, POOLED])
    names = table[["explainer", "model", "scheme", "term"]].agg(", ".join, axis=1)
    names = names.where(~pooled, names + ", pooled")
    sizes = {str(name): int(count) for name, count in names.value_counts().items()}
    return adjust_families(table, names, adjustment, sizes)
