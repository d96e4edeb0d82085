"""Does a model localise better where it is more confident?

Per explainer, model, scheme (overlap, hit) and finding, and pooled over findings: the slope of
the score on the predicted probability and Spearman's correlation of the two (protocol S,
Table 3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from saltrust.analysis.classification.calibration import calibration_table
from saltrust.analysis.confidence.strata import confidence_strata
from saltrust.analysis.confidence.subgroups import confidence_subgroups, with_probabilities
from saltrust.analysis.inference.clustered import one_patient, robust_slope
from saltrust.analysis.inference.correlation import spearman
from saltrust.analysis.inference.estimate import STARS_LEGEND, Estimate, cell, estimates_table
from saltrust.analysis.inference.linear import simple_regression
from saltrust.analysis.inference.multiplicity import adjust_families
from saltrust.analysis.inference.rank_jackknife import clustered_spearman
from saltrust.analysis.inference.resampling import cluster_codes
from saltrust.analysis.inference.turned_signs import turned_signs
from saltrust.analysis.options import (
    Execution,
    Resampling,
    Scoring,
    Testing,
    former_keywords,
)
from saltrust.analysis.pixels.overlap import IOU_SLICES
from saltrust.analysis.result import Result
from saltrust.analysis.scores.score_rows import (
    EXPERT,
    SCHEMES,
    Scheme,
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
from saltrust.analysis.stored.examinations import at_level
from saltrust.analysis.stored.subgroups import groupings
from saltrust.cache.identity import of_one_store
from saltrust.choices import Adjustment, CorrelationInterval, Errors, IouSlice, check_word
from saltrust.errors import DataError

FloatArray = npt.NDArray[np.float64]

#: The pooled rows: within findings, and of all rows as if they were of one.
WITHIN = "All findings (with finding fixed effects)"
POOLED = "All findings"
TERMS = ("probability", "spearman")
#: Above which a model is taken to call a finding, unless told otherwise.
OPERATING_POINT = 0.5
IDENTIFY = ("explainer", "model", "scheme", "response", "finding")
EXTRA = ("r_squared", "clusters", "errors")
#: What the errors of the headline are, for people.
ERRORS: dict[Errors, str] = {
    "cr2": "clustered by patient (image where unknown): slopes CR2 with Satterthwaite's t, "
           "correlations the jackknife over patients on Fisher's z",
    "classical": "of rows taken as independent",
}


@former_keywords("interval", "by")
@of_one_store
def confidence(cubes: xr.DataTree | str | Path, *, scoring: Scoring = Scoring(),
               execution: Execution = Execution(), resampling: Resampling = Resampling(),
               testing: Testing = Testing(), normalize: bool | None = None,
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
    testing : Testing
        Whose errors come first, the interval of Spearman's correlation, and whose relations are
        compared; keywords ``interval`` and ``by`` are taken too.  With ``by`` there are tables
        ``subgroups``, ``subgroup_differences`` and ``subgroup_tests``
        (:func:`saltrust.analysis.confidence.subgroups.confidence_subgroups`).
    normalize : bool, optional
        Whether probabilities are min-max normalized per finding, over the rows in use, in the
        pooled rows; by default under ``peer`` only, as protocol S.
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
        ``finding``, the uniform columns, ``r_squared``, the number of ``clusters``, and
        ``errors``: ``cr2`` where the error is that of patients (of images where the patient is
        unknown; correlations have the jackknife over them), or ``classical``.  A correlation whose
        interval was named Bonett and Wright's or Fisher's is classical.  Every finding has the
        term ``probability`` (slope per unit of probability) and the term ``spearman`` (rho).  Two
        pooled rows follow: :data:`WITHIN`, with an intercept per finding and with ranks taken
        within findings (see :mod:`saltrust.analysis.inference.correlation`), which differences
        between findings can neither make nor hide; and :data:`POOLED`, of all rows as if they
        were of one finding, as protocol S.  Table ``classical``: the same with errors of rows
        taken as independent, as the paper.  Table ``robust``: the slopes with CR2 errors, which
        will be gone in 0.3.  Table ``strata``: mean localization of true positives, of false
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
    tree = at_level(as_cubes(cubes, table="confidence_from_scores"), scoring.level)
    purpose = "confidence cannot be related to localization"
    require_scorable(tree, purpose)
    groups, testing = groupings(tree, testing.by), replace(testing, by=None)
    predicted = stored_probabilities(tree, purpose)
    scored = score_maps(tree, scoring, execution, under_peer="all", readers=False)
    try:
        result = relate(scored.table, predicted, scoring=scoring, resampling=resampling,
                        testing=testing, normalize=normalize, adjustment=adjustment,
                        operating_point=operating_point)
    except DataError as error:
        raise DataError(f"{source(tree)}: {error}") from None
    calibration = calibration_table(tree, predicted, level=scoring.level,
                                    **_drawing(resampling, testing))
    meta = {name: scored.meta[name] for name in ("resolution", "split", "map", "map_readings",
                                                 "probability_cutoff", "level")}
    tables = {**result.tables, "calibration": calibration}
    if groups:
        meta["by"] = {one.by: one.describe() for one in groups}
        rows = with_probabilities(scored.table, predicted, result.meta["reference_readers"][0])
        tables |= confidence_subgroups(rows, scoring.sliced("all"), WITHIN, groups,
                                       confidence_level=_drawing(resampling, testing)[
                                           "confidence_level"])
    return Result({**meta, **result.meta}, tables, result.topic)


@former_keywords("interval")
def confidence_from_scores(scores: pd.DataFrame | str | Path, *, scoring: Scoring = Scoring(),
                           resampling: Resampling = Resampling(), testing: Testing = Testing(),
                           normalize: bool | None = None,
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
    testing : Testing
        Whose errors come first, and the interval of Spearman's correlation.
    normalize : bool, optional
        Whether probabilities are min-max normalized per finding in the pooled rows.
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
                        resampling=resampling, testing=testing, normalize=normalize,
                        adjustment=adjustment, operating_point=operating_point)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    return Result({"scores": where, **result.meta}, result.tables, result.topic)


@former_keywords("interval")
def relate(scores: pd.DataFrame, probabilities: pd.DataFrame, *, scoring: Scoring = Scoring(),
           resampling: Resampling = Resampling(), testing: Testing = Testing(),
           normalize: bool | None = None, adjustment: Adjustment = "bonferroni",
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
    testing : Testing
    normalize : bool, optional
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
    testing.refuse_groups()
    peer = scoring.definition == "peer"
    iou_slice = scoring.sliced("all")
    normalize = peer if normalize is None else normalize
    errors = testing.chosen(scoring.definition)
    interval: CorrelationInterval = testing.interval or (
        "jackknife" if errors == "cr2" else "fisher" if peer else "bonett-wright")
    check_word(adjustment, Adjustment, "adjustment")
    point = cutoff_choice(operating_point, "operating point")
    drawing = _drawing(resampling, testing)
    reference = reference_reader(check_scores(scores))
    scores = with_probabilities(scores, probabilities, reference)
    related = maps(scores)
    rows, excluded = _all_estimates(scores, related, iou_slice, normalize,
                                    {"interval": interval, "peer": peer, **drawing})
    tables = {name: _adjust(estimates_table([row[name] for row in rows], IDENTIFY, EXTRA)
                            .astype({"clusters": "int64"}), adjustment) for name in ERRORS}
    table = tables[errors]
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
        "errors": errors, "spearman_interval": interval,
        "intervals": f"not adjusted for multiplicity; estimates: {ERRORS[errors]}; "
                     + (f"classical: {ERRORS['classical']}" if errors == "cr2" else
                        f"robust: {ERRORS['cr2']}"),
        "turned_signs": turned_signs(
            table[table["finding"] == POOLED], table[table["finding"] == WITHIN],
            ("term", *IDENTIFY[:3]), ("with all findings pooled", "within findings")),
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
    robust = tables["cr2"].drop(columns=["r_squared", "errors"])
    robust = robust[robust["term"] == TERMS[0]].reset_index(drop=True)
    return Result(meta, {"estimates": table, "classical": tables["classical"], "robust": robust,
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


def _drawing(resampling: Resampling, testing: Testing) -> dict[str, Any]:
    drawing = resampling.describe()
    return {**drawing, "confidence_level": testing.level(drawing["confidence_level"])}


def _all_estimates(
    scores: pd.DataFrame, related: Sequence[tuple[str, str]], iou_slice: IouSlice,
    normalize: bool, options: Mapping[str, Any]
) -> tuple[list[dict[Errors, dict[str, Any]]], dict[tuple[str, str, str], dict[str, int]]]:
    """Rows with either error, and what is left out per map and scheme."""
    rows: list[dict[Errors, dict[str, Any]]] = []
    excluded: dict[tuple[str, str, str], dict[str, int]] = {}
    for explainer, model in related:
        stored = scores[(scores["explainer"] == explainer) & (scores["model"] == model)]
        findings = list(dict.fromkeys(stored["finding"]))
        for scheme in SCHEMES:
            complete, excluded[explainer, model, scheme] = _complete(stored, scheme, iou_slice)
            name = {"explainer": explainer, "model": model, "scheme": scheme,
                    "response": "saliency"}
            rows += [{errors: {**name, **row} for errors, row in either.items()}
                     for either in _estimates(complete, findings, normalize, options)]
    return rows, excluded


def _estimates(complete: pd.DataFrame, findings: Sequence[str], normalize: bool,
               options: Mapping[str, Any]) -> Iterator[dict[Errors, dict[str, Any]]]:
    """Slope and correlation, each with either error, of every finding and of both pooled rows."""
    score, label = complete["score"].to_numpy(), complete["finding"].to_numpy(dtype=object)
    probability, cluster = complete["probability"].to_numpy(), complete["cluster"].to_numpy()

    for finding in findings:
        of_finding = label == finding
        yield from _both(finding, probability[of_finding], score[of_finding], cluster[of_finding],
                         None, options)
    if normalize:
        by_finding = complete.groupby("finding", sort=False)["probability"]
        low, high = by_finding.transform("min"), by_finding.transform("max")
        width = (high - low).where(high > low, 1.0)
        probability = ((complete["probability"] - low) / width).to_numpy()
    for name, groups in ((WITHIN, label), (POOLED, None)):
        yield from _both(name, probability, score, cluster, groups, options)


def _both(finding: str, x: FloatArray, y: FloatArray, clusters: npt.NDArray[Any],
          groups: npt.NDArray[Any] | None, options: Mapping[str, Any]
          ) -> Iterator[dict[Errors, dict[str, Any]]]:
    """The slope with either error, then the correlation."""
    level, names = options["confidence_level"], ("the probability", "the score")
    count = cluster_codes(clusters)[1]
    slope = simple_regression(x, y, confidence_level=level, groups=groups, names=names)
    robust = robust_slope(slope, x, y, clusters, groups=groups, confidence_level=level)
    rho, clustered, errors = _correlation(x, y, clusters, groups, options)
    for term, fit, by_patient, whose in ((TERMS[0], slope, robust, "cr2"),
                                         (TERMS[1], rho, clustered, errors)):
        shared = {"r_squared": fit.r_squared, "clusters": count}
        yield {"cr2": {"finding": finding, **by_patient.row(term), **shared, "errors": whose},
               "classical": {"finding": finding, **one_patient(fit, count).row(term), **shared,
                             "errors": "classical"}}


def _correlation(x: FloatArray, y: FloatArray, clusters: npt.NDArray[Any],
                 groups: npt.NDArray[Any] | None, options: Mapping[str, Any]
                 ) -> tuple[Estimate, Estimate, Errors]:
    """Spearman's correlation with classical errors, with those of patients, and which these are."""
    level, interval = options["confidence_level"], options["interval"]
    closed: CorrelationInterval = "fisher" if options["peer"] else "bonett-wright"
    rho = spearman(x, y, strata=groups, clusters=clusters, names=("the probability", "the score"),
                   interval=closed if interval == "jackknife" else interval, confidence_level=level,
                   resamples=options["resamples"], seed=options["seed"])
    if interval in {"bonett-wright", "fisher"}:
        # Asked for by name: the interval and the test of independent rows.
        return rho, rho, "classical"
    return rho, clustered_spearman(rho, x, y, clusters, strata=groups, confidence_level=level,
                                   keep_interval=interval == "bootstrap"), "cr2"


def _adjust(table: pd.DataFrame, adjustment: Adjustment) -> pd.DataFrame:
    pooled = table["finding"].isin([WITHIN, POOLED])
    names = table[["explainer", "model", "scheme", "term"]].agg(", ".join, axis=1)
    names = names.where(~pooled, names + ", pooled")
    sizes = {str(name): int(count) for name, count in names.value_counts().items()}
    return adjust_families(table, names, adjustment, sizes)
