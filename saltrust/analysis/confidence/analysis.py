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
from saltrust.analysis.inference.correlation import spearman
from saltrust.analysis.inference.estimate import STARS_LEGEND, Estimate, cell, estimates_table
from saltrust.analysis.inference.linear import simple_regression
from saltrust.analysis.inference.multiplicity import adjust_families
from saltrust.analysis.options import Execution, Resampling, Scoring
from saltrust.analysis.pixels.overlap import IOU_SLICES
from saltrust.analysis.result import Result
from saltrust.analysis.scores.score_rows import (
    EXPERT,
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
from saltrust.analysis.scores.scored_maps import score_maps
from saltrust.analysis.scores.segmentation_rules import cutoff_choice
from saltrust.analysis.scores.tidy_scores import read_frame, tidy_scores
from saltrust.analysis.select import as_cubes
from saltrust.analysis.stored.contents import probabilities as stored_probabilities
from saltrust.analysis.stored.contents import require_scorable, source
from saltrust.cache.identity import of_one_store
from saltrust.choices import Adjustment, CorrelationInterval, IouSlice, check_word
from saltrust.errors import DataError

FloatArray = npt.NDArray[np.float64]

#: The pooled rows: within findings, and of all rows as if they were of one.
WITHIN = "All findings (with finding fixed effects)"
POOLED = "All findings"
TERMS = ("probability", "spearman")
#: Above which a model is taken to call a finding, unless told otherwise.
OPERATING_POINT = 0.5
IDENTIFY = ("explainer", "model", "scheme", "response", "finding")


@of_one_store
def confidence(cubes: xr.DataTree | str | Path, *, scoring: Scoring = Scoring(),
               execution: Execution = Execution(), resampling: Resampling = Resampling(),
               normalize: bool | None = None, interval: CorrelationInterval | None = None,
               adjustment: Adjustment = "bonferroni",
               operating_point: float | str | Path = OPERATING_POINT) -> Result:
    """Score the maps of cubes and relate their scores to the predicted probabilities.

    Parameters
    ----------
    cubes : xarray.DataTree or path
        The tree that :func:`saltrust.open_cubes` gives, or a part of it
        (:func:`saltrust.select`, ``.sel``),
        with maps, predictions and reference masks.  Of several reference readers the first
        counts; select another with ``reader=[...]``.
    scoring : Scoring
        How maps are scored.  Its slice says which overlaps count: by default ``positive``, or
        ``all`` under ``peer``, which scores false positives 0 and so makes part of the relation
        mechanical.
    execution : Execution
        Workers, progress, and whether scores are kept in the store.
    resampling : Resampling
        The bootstrap by patient, and the level of the intervals, which are not adjusted for
        multiplicity.
    normalize : bool, optional
        Whether probabilities are min-max normalized per finding, over the rows in use, in the
        pooled rows; by default under ``peer`` only, as protocol S.
    interval : {"bonett-wright", "fisher", "bootstrap"}, optional
        Of Spearman's correlation; by default Bonett and Wright's, under ``peer`` Fisher's (with
        the n of the row).  The bootstrap resamples patients.
    adjustment : {"bonferroni", "holm", "bh", "none"}
        For multiplicity.  Per explainer, model, scheme and term, the findings are one family
        and the two pooled rows another.
    operating_point : float or path
        Probability above which the model calls a finding, or a file with one per finding in
        the column ``cutoff`` (:mod:`saltrust.analysis.scores.segmentation_rules`).

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
        negatives and by bin of probability (:mod:`saltrust.analysis.confidence.strata`).  Table
        ``calibration``: of the probabilities on all labelled images
        (:func:`saltrust.analysis.classification.calibration.calibration_table`).

    Raises
    ------
    DataError
        If the cubes hold no reference masks, maps or predictions, or not one estimate can be
        computed.
    UsageError
        If an option or a name is not known, or a table of scores was given
        (:func:`confidence_from_scores` takes one).

    References
    ----------
    A. Saporta et al., "Deep learning saliency maps do not accurately highlight diagnostically
    relevant regions for medical image interpretation" (2021), Table 3.
    """
    tree = as_cubes(cubes, table="confidence_from_scores")
    purpose = "confidence cannot be related to localization"
    require_scorable(tree, purpose)
    predicted = stored_probabilities(tree, purpose)
    scored = score_maps(tree, scoring, execution, under_peer="all", readers=False)
    try:
        result = relate(scored.table, predicted, scoring=scoring, resampling=resampling,
                        normalize=normalize, interval=interval, adjustment=adjustment,
                        operating_point=operating_point)
    except DataError as error:
        raise DataError(f"{source(tree)}: {error}") from None
    drawing = resampling.describe()
    calibration = calibration_table(tree, predicted, **drawing)
    meta = {name: scored.meta[name] for name in ("resolution", "split", "map", "map_readings",
                                                 "probability_cutoff")}
    return Result({**meta, **result.meta}, {**result.tables, "calibration": calibration},
                  result.topic)


def confidence_from_scores(scores: pd.DataFrame | str | Path, *, scoring: Scoring = Scoring(),
                           resampling: Resampling = Resampling(), normalize: bool | None = None,
                           interval: CorrelationInterval | None = None,
                           adjustment: Adjustment = "bonferroni",
                           operating_point: float | str | Path = OPERATING_POINT) -> Result:
    """Relate scores to probabilities that stand beside them in one tidy table.

    Parameters
    ----------
    scores : pandas.DataFrame or path
        One row per map and reference mask, as ``cubes.saltrust.scores()`` gives, or a CSV of
        that: ``image, finding, explainer``, ``iou`` and/or ``hit``, ``probability``; optional
        ``patient, model, reader, area_predicted, area_reference``.  Rows of experts are ignored.
    scoring : Scoring
        Its slice and definition; scores are as they stand in the table.
    resampling : Resampling
        The bootstrap by patient, and the level of the intervals.
    normalize : bool, optional
        Whether probabilities are min-max normalized per finding in the pooled rows.
    interval : {"bonett-wright", "fisher", "bootstrap"}, optional
        Of Spearman's correlation.
    adjustment : {"bonferroni", "holm", "bh", "none"}
        For multiplicity.
    operating_point : float or path
        Probability above which the model calls a finding, or a file with one per finding.

    Returns
    -------
    Result
        The tables of :func:`confidence` but ``calibration``, which needs labels.

    Raises
    ------
    DataError
        If the table lacks a column, repeats rows, or not one estimate can be computed.
    UsageError
        If an option or a name is not known, or there is no such file.
    """
    frame, where = read_frame(scores)
    table, _ = tidy_scores(frame, where, measured=("probability",))
    maps_only = table[table["explainer"] != EXPERT]
    predicted = maps_only[["image", "finding", "model", "probability"]].dropna(
        subset="probability").drop_duplicates()
    try:
        result = relate(maps_only.drop(columns="probability"), predicted, scoring=scoring,
                        resampling=resampling, normalize=normalize, interval=interval,
                        adjustment=adjustment, operating_point=operating_point)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    return Result({"scores": where, **result.meta}, result.tables, result.topic)


def relate(scores: pd.DataFrame, probabilities: pd.DataFrame, *, scoring: Scoring = Scoring(),
           resampling: Resampling = Resampling(), normalize: bool | None = None,
           interval: CorrelationInterval | None = None, adjustment: Adjustment = "bonferroni",
           operating_point: float | str | Path = OPERATING_POINT) -> Result:
    """Relate a table of scores to a table of probabilities.

    Parameters
    ----------
    scores : pandas.DataFrame
        As table ``scores`` of :func:`saltrust.localization`; rows of experts are ignored.
    probabilities : pandas.DataFrame
        Columns ``image, finding, model, probability``.
    scoring : Scoring
        Its slice and definition.
    resampling : Resampling
    normalize : bool, optional
    interval : {"bonett-wright", "fisher", "bootstrap"}, optional
    adjustment : {"bonferroni", "holm", "bh", "none"}
    operating_point : float or path

    Returns
    -------
    Result
        The tables of :func:`confidence` but ``calibration``.

    Raises
    ------
    DataError
        If a table lacks a column or repeats rows, or not one estimate can be computed.
    UsageError
        If an option or a name is not known.
    """
    peer = scoring.definition == "peer"
    iou_slice = scoring.sliced("all")
    normalize = peer if normalize is None else normalize
    interval = check_word(interval or ("fisher" if peer else "bonett-wright"),
                          CorrelationInterval, "interval")
    check_word(adjustment, Adjustment, "adjustment")
    point = cutoff_choice(operating_point, "operating point")
    drawing = resampling.describe()
    scores = check_scores(scores)
    predicted = check_columns(probabilities, ("image", "finding", "model"), ("probability",),
                              "probabilities")
    reference = reference_reader(scores)
    scores = scores[scores["reader"] == reference].merge(
        predicted, on=["image", "finding", "model"], how="left", validate="many_to_one")
    related = maps(scores)
    rows, robust_rows, excluded = _all_estimates(scores, related, iou_slice, normalize,
                                                 {"interval": interval, **drawing})
    table = _adjust(estimates_table(rows, IDENTIFY, ("r_squared",)), adjustment)
    clustered = estimates_table(robust_rows, IDENTIFY, ("clusters",)).astype({"clusters": "int64"})
    if table["estimate"].isna().all():
        # What the pooled rows lack, all rows lack.
        notes = table.loc[(table["finding"] == POOLED) & (table["term"] == TERMS[0]), "note"]
        raise DataError("no relation of probability and localization can be computed: "
                        f"{why_nothing(notes, excluded)}; add annotated positive images and "
                        "predictions")
    meta = {
        "definition": scoring.definition, "slice": iou_slice,
        "slice_meaning": IOU_SLICES[iou_slice],
        "hits": "rows with a non-empty reference mask",
        "operating_point": point.description.removesuffix(" for every map"),
        "probability": "as predicted" + (
            "; min-max normalised per finding in the pooled rows" if normalize else ""),
        "pooled": {WITHIN: "one intercept per finding; ranks within findings",
                   POOLED: "all rows as if of one finding"},
        "reference_readers": [reference], **drawing,
        "spearman_interval": interval,
        "intervals": "not adjusted for multiplicity; estimates: classical; robust: CR2 "
                     "clustered by patient (image where unknown)",
        "multiplicity": {
            "method": adjustment,
            "family": "explainer x model x scheme x term: all findings; the pooled rows apart",
            "factor": len(table["finding"].unique()) - 2, "factor of pooled rows": 2,
            "planned tests without a p-value": "count in the factor"},
        "stars": STARS_LEGEND,
        "counts": {"estimates": len(table), "computed": int(table["estimate"].notna().sum())},
        "exclusions": shared_exclusions(excluded),
    }
    strata = confidence_strata(scores[scores["explainer"] != EXPERT], point,
                               adjustment=adjustment, **drawing)
    return Result(meta, {"estimates": table, "robust": _adjust(clustered, adjustment),
                         "strata": strata}, "confidence")


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
    estimates = result.tables["estimates"]
    names = ["explainer", "model", "scheme", "finding"]
    cells = {(*(getattr(row, name) for name in names), row.term): cell(row)
             for row in estimates.itertuples()}
    heads = estimates[[*names, "n"]].drop_duplicates(names)
    table = pd.DataFrame(
        [(*head, *(cells[*head[:-1], term] for term in TERMS))
         for head in heads.itertuples(index=False)],
        columns=[*names, "n", "linear regression coefficient", "Spearman correlation"])
    table["scheme"] = table["scheme"].map({"iou": "IoU", "hit": "Hit/Miss"})
    return table.drop(columns=[name for name in ("explainer", "model")
                               if len(estimates[name].unique()) == 1])


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
    normalize: bool, options: Mapping[str, Any]
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
                                                                    normalize, options):
                full = {**name, "finding": finding}
                rows += [{**full, **slope.row("probability"), "r_squared": slope.r_squared},
                         {**full, **rho.row("spearman"), "r_squared": np.nan}]
                robust_rows.append({**full, **robust.row("probability"), "clusters": clusters})
    return rows, robust_rows, excluded


def _estimates(complete: pd.DataFrame, findings: Sequence[str], normalize: bool,
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
        of_finding = label == finding
        yield finding, *both(probability[of_finding], score[of_finding], cluster[of_finding],
                             None)
    if normalize:
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
