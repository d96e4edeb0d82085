"""How localization depends on the shape of the finding: 24 simple regressions per map.

Per explainer and model, two schemes (overlap, hit) times three responses (saliency, expert,
expert - saliency) times four descriptors of the reference mask, each descriptor min-max
normalised and the only regressor (protocol S, Table 2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from saltrust.analysis.inference.clustered import robust_slope
from saltrust.analysis.inference.estimate import (
    STARS_LEGEND,
    Estimate,
    cell,
    check_confidence_level,
    estimates_table,
)
from saltrust.analysis.inference.linear import simple_regression
from saltrust.analysis.inference.multiplicity import adjust_families
from saltrust.analysis.options import Execution, Scoring
from saltrust.analysis.pixels.overlap import IOU_SLICES
from saltrust.analysis.result import Result
from saltrust.analysis.scores.score_rows import (
    SCHEMES,
    Scheme,
    benchmark_rows,
    check_columns,
    check_scores,
    maps,
    reference_reader,
    response,
    shared_exclusions,
    who_stands_for_expert,
    why_nothing,
)
from saltrust.analysis.scores.scored_maps import score_maps
from saltrust.analysis.scores.tidy_scores import read_frame, tidy_scores
from saltrust.analysis.select import as_cubes
from saltrust.analysis.shape.descriptors import describe_masks
from saltrust.analysis.shape.regression_fits import FITS, Design, logit_table, mixed_table
from saltrust.analysis.stored.contents import (
    require_scorable,
    source,
)
from saltrust.cache.identity import of_one_store
from saltrust.choices import Adjustment, Family, Fit, IouSlice, check_word
from saltrust.errors import DataError

FloatArray = npt.NDArray[np.float64]

#: Descriptors of the reference mask, in the order of protocol S.
DESCRIPTORS = ("n_instances", "area_ratio", "elongation", "irrectangularity")
RESPONSES = ("saliency", "expert", "difference")
#: What a family is, and how many regressions it has; 0: all of the table.
FAMILIES: dict[Family, tuple[str, int]] = {
    "response": ("explainer x model x scheme x response (4 descriptors)", 4),
    "scheme": ("explainer x model x scheme", 12),
    "explainer": ("explainer x model", 24),
    "study": ("all regressions of the table", 0),
}
_TITLES = {"n_instances": "Number of instances", "area_ratio": "Area ratio",
           "elongation": "Elongation", "irrectangularity": "Irrectangularity"}
IDENTIFY = ("explainer", "model", "scheme", "response", "descriptor")
EXTRA = ("estimate_raw", "estimate_per_sd", "r_squared")


@of_one_store
def regressions(cubes: xr.DataTree | str | Path, *, scoring: Scoring = Scoring(),
                execution: Execution = Execution(), benchmark: str | None = None,
                adjustment: Adjustment = "bonferroni", family: Family = "response",
                fits: Sequence[Fit] = (), confidence_level: float = 0.95) -> Result:
    """Score maps, describe the reference masks, and regress the one on the other.

    Rows are images x findings whose reference mask is not empty.  Within a scheme, saliency,
    expert and difference use the same rows: those where both scores and all descriptors are
    known, so that the slope of the difference is the difference of the slopes.

    Parameters
    ----------
    cubes : xarray.DataTree or path
        The tree that :func:`saltrust.open_cubes` gives, or a part of it
        (:func:`saltrust.select`, ``.sel``),
        with saliency maps and reference masks.  Of several reference readers the first counts;
        select another with ``reader=[...]``.
    scoring : Scoring
        How maps are scored and shapes measured.  Its slice says which overlaps count: by default
        ``positive``, or ``both_nonempty`` under ``peer``, as the code released with protocol S,
        which selects on the outcome.  An empty reference mask has no shape, so that ``all`` is
        ``positive`` here.
    execution : Execution
        Workers, progress, and whether scores and descriptors are kept in the store.
    benchmark : str, optional
        The one benchmark reader whose scores are the expert's; by default the mean over all
        benchmark readers that scored the row.
    adjustment : {"bonferroni", "holm", "bh", "none"}
        For multiplicity.
    family : {"response", "scheme", "explainer", "study"}
        Which regressions are adjusted for each other; 4, 12, 24 or all.
    fits : sequence of {"ols", "cluster", "mixed", "logit"}
        Further models beside least squares: :data:`saltrust.analysis.shape.regression_fits.FITS`.
    confidence_level : float
        Of the intervals, which are not adjusted for multiplicity.

    Returns
    -------
    Result
        Table ``estimates``: ``explainer, model, scheme, response, descriptor``, the uniform
        columns (the slope per full range of the descriptor, with the classical t interval of
        least squares), then the slope per raw unit (``estimate_raw``) and per standard
        deviation of the descriptor (``estimate_per_sd``), and ``r_squared``.  Table
        ``robust``: the same slopes with CR2 errors clustered by patient (by image where the
        patient is unknown), and the number of ``clusters``.  Tables ``mixed`` and ``logit``
        (:mod:`saltrust.analysis.shape.regression_fits`) where asked for, adjusted in the same
        families.

    Raises
    ------
    DataError
        If the cubes hold no maps or no reference masks, or not one regression can be computed.
    UsageError
        If an option or a name is not known, or a table of scores was given
        (:func:`regressions_from_scores` takes one).

    References
    ----------
    A. Saporta et al., "Deep learning saliency maps do not accurately highlight diagnostically
    relevant regions for medical image interpretation" (2021), Table 2.
    """
    tree = as_cubes(cubes, table="regressions_from_scores")
    purpose = "localization cannot be regressed on the shape of findings"
    require_scorable(tree, purpose, benchmark)
    scored = score_maps(tree, scoring, execution)
    shapes = describe_masks(scored.annotations, scoring.definition, scored.drawings.store,
                            progress=execution.progress)
    try:
        result = regress(scored.table, shapes, scoring=scoring, benchmark=benchmark,
                         adjustment=adjustment, family=family, fits=fits,
                         confidence_level=confidence_level)
    except DataError as error:
        raise DataError(f"{source(tree)}: {error}") from None
    meta = {name: scored.meta[name] for name in ("resolution", "split", "map", "map_readings")}
    return Result({**meta, **result.meta}, result.tables, result.topic)


def regressions_from_scores(scores: pd.DataFrame | str | Path, *, scoring: Scoring = Scoring(),
                            benchmark: str | None = None,
                            adjustment: Adjustment = "bonferroni", family: Family = "response",
                            fits: Sequence[Fit] = (), confidence_level: float = 0.95) -> Result:
    """The regressions of scores and descriptors that stand in one tidy table.

    Parameters
    ----------
    scores : pandas.DataFrame or path
        One row per map, or per expert, and reference mask
        (:func:`saltrust.analysis.scores.tidy_scores.tidy_scores`), as ``cubes.saltrust.scores()``
        gives, or a CSV of that.
    scoring : Scoring
        Its slice and definition; scores are as they stand in the table.
    benchmark : str, optional
        The one benchmark reader whose scores are the expert's; by default the mean over all.
    adjustment : {"bonferroni", "holm", "bh", "none"}
        For multiplicity.
    family : {"response", "scheme", "explainer", "study"}
        Which regressions are adjusted for each other; 4, 12, 24 or all.
    fits : sequence of {"ols", "cluster", "mixed", "logit"}
        Further models beside least squares: :data:`saltrust.analysis.shape.regression_fits.FITS`.
    confidence_level : float
        Of the intervals, which are not adjusted for multiplicity.

    Returns
    -------
    Result
        The tables of :func:`regressions`.

    Raises
    ------
    DataError
        If the table lacks a column, repeats rows, contradicts itself, or not one regression can
        be computed.
    UsageError
        If an option or a name is not known, or there is no such file.
    """
    frame, where = read_frame(scores)
    table, shapes = tidy_scores(frame, where)
    try:
        result = regress(table, shapes, scoring=scoring, benchmark=benchmark,
                         adjustment=adjustment, family=family, fits=fits,
                         confidence_level=confidence_level)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    return Result({"scores": where, **result.meta}, result.tables, result.topic)


def regress(scores: pd.DataFrame, descriptors: pd.DataFrame, *, scoring: Scoring = Scoring(),
            benchmark: str | None = None, adjustment: Adjustment = "bonferroni",
            family: Family = "response", fits: Sequence[Fit] = (),
            confidence_level: float = 0.95) -> Result:
    """The regressions of a table of scores on a table of descriptors.

    Parameters
    ----------
    scores : pandas.DataFrame
        As table ``scores`` of :func:`saltrust.localization`.
    descriptors : pandas.DataFrame
        Columns ``image, finding, reader`` and the four descriptors; rows of the reference
        reader are used.
    scoring : Scoring
        Its slice and definition.
    benchmark : str, optional
        The one benchmark reader whose scores are the expert's.
    adjustment : {"bonferroni", "holm", "bh", "none"}
    family : {"response", "scheme", "explainer", "study"}
    fits : sequence of {"ols", "cluster", "mixed", "logit"}
    confidence_level : float

    Returns
    -------
    Result

    Raises
    ------
    DataError
        If a table lacks a column or repeats rows, or not one regression can be computed.
    UsageError
        If an option or a name is not known.
    """
    check_confidence_level(confidence_level)
    iou_slice = scoring.sliced()
    check_word(family, Family, "family")
    check_word(adjustment, Adjustment, "adjustment")
    for fit in fits:
        check_word(fit, Fit, "fit")
    scores = check_scores(scores)
    shapes = check_columns(descriptors, ("image", "finding", "reader"), DESCRIPTORS,
                           "descriptors")
    reference = reference_reader(scores)
    scores = scores[scores["reader"] == reference]
    shapes = shapes[shapes["reader"] == reference].drop(columns="reader")
    people = benchmark_rows(scores, benchmark)
    rows: list[_Row] = []
    excluded: dict[tuple[str, str, str], dict[str, int]] = {}
    for explainer, model in maps(scores):
        stored = scores[(scores["explainer"] == explainer) & (scores["model"] == model)]
        for scheme in SCHEMES:
            joined = _join(stored, people, shapes, scheme, iou_slice)
            complete, excluded[explainer, model, scheme] = _complete(joined)
            name = {"explainer": explainer, "model": model, "scheme": scheme}
            rows += _scheme_rows(name, complete, not people.empty, confidence_level)
    table, robust = _tables(rows, adjustment, family)
    designs = [row.design for row in rows]
    further = {name: _adjusted(make(designs, IDENTIFY, confidence_level), adjustment, family)
               for name, make in (("mixed", mixed_table), ("logit", logit_table))
               if name in fits}
    if table["estimate"].isna().all():
        raise DataError(f"none of the {len(table)} regressions can be computed: "
                        f"{why_nothing(table['note'], excluded)}; add annotated positive images")
    meta = {
        "definition": scoring.definition, "slice": iou_slice,
        "slice_meaning": IOU_SLICES[iou_slice],
        "rows": "images x findings with a non-empty reference mask; within a scheme the same "
                "complete rows for saliency, expert and difference (expert - saliency)",
        "descriptors": f"of {reference}, min-max normalised over the rows of the regression",
        "expert": who_stands_for_expert(people), "reference_readers": [reference],
        "benchmark_readers": sorted(people["model"].unique()),
        "confidence_level": confidence_level,
        "intervals": "not adjusted for multiplicity; estimates: classical t intervals of least "
                     "squares; robust: CR2 clustered by patient (image where unknown)",
        "multiplicity": {"method": adjustment, "family": FAMILIES[family][0],
                         "factor": FAMILIES[family][1] or len(table),
                         "planned tests without a p-value": "count in the factor"},
        "fits": {name: FITS[name] for name in FITS if name in (*fits, "ols", "cluster")},
        "stars": STARS_LEGEND,
        "counts": {"regressions": len(table), "computed": int(table["estimate"].notna().sum())},
        "exclusions": shared_exclusions(excluded),
    }
    return Result(meta, {"estimates": table, "robust": robust, **further}, "regressions")


def table2(result: Result) -> pd.DataFrame:
    """The estimates in the form of Table 2 of protocol S.

    Parameters
    ----------
    result : Result
        Of :func:`regressions`.

    Returns
    -------
    pandas.DataFrame
        One block of four descriptors per scheme (and per explainer and model, named where there
        are several) with their n, one column per response.  Cells are ``slope (low, high)`` with
        stars by the *adjusted* p-value (see :data:`STARS_LEGEND`; the intervals are not
        adjusted); ``n/a`` and the reason where there is no estimate.
    """
    estimates = result.tables["estimates"]
    cells = {(*(getattr(row, name) for name in IDENTIFY[:3]), row.descriptor, row.response):
             cell(row) for row in estimates.itertuples()}
    heads = estimates[list(IDENTIFY[:3])].drop_duplicates()
    rows = {tuple(key): int(n) for *key, n in estimates.groupby(
        [*IDENTIFY[:3], "descriptor"], sort=False)["n"].max().reset_index().itertuples(
            index=False)}
    table = pd.DataFrame(
        [(*head, descriptor, rows[*head, descriptor],
          *(cells[*head, descriptor, name] for name in RESPONSES))
         for head in heads.itertuples(index=False) for descriptor in DESCRIPTORS],
        columns=["explainer", "model", "scheme", "characteristic", "n", *RESPONSES])
    table["scheme"] = table["scheme"].map({"iou": "IoU", "hit": "Hit/Miss"})
    table["characteristic"] = table["characteristic"].map(_TITLES)
    constant = [name for name in ("explainer", "model") if len(estimates[name].unique()) == 1]
    return table.drop(columns=constant).rename(
        columns={"difference": "difference (expert - saliency)"})


def _join(stored: pd.DataFrame, people: pd.DataFrame, shapes: pd.DataFrame, scheme: Scheme,
          iou_slice: IouSlice) -> pd.DataFrame:
    """One row per map: both responses (NaN outside the slice), the descriptors, the cluster."""
    key = ["image", "finding"]
    joined = stored[[*key, "cluster", "area_reference"]].assign(
        saliency=response(stored, scheme, iou_slice))
    expert = people[key].assign(expert=response(people, scheme, iou_slice))
    mean = expert.groupby(key, sort=False, as_index=False)["expert"].mean()
    joined = joined.merge(mean, on=key, how="left", validate="one_to_one")
    return joined.merge(shapes[[*key, *DESCRIPTORS]], on=key, how="left", validate="one_to_one")


def _complete(joined: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """Rows that all regressions of a scheme share, and how many others fell out, why.

    What no row has (an expert, a descriptor) is not asked of any.
    """
    positive = joined[joined["area_reference"] > 0]
    counts = {"an empty reference mask": int((joined["area_reference"] == 0).sum()),
              "no reference annotation": int(joined["area_reference"].isna().sum())}
    kept = positive
    asked = {"saliency": ("saliency", "no score of the map in this slice"),
             "expert": ("expert", "no score of a benchmark reader"),
             **{name: (name, f"no {name}") for name in DESCRIPTORS}}
    for column, reason in asked.values():
        known = kept[column].notna()
        if positive[column].notna().any() or column == "saliency":
            counts[reason] = int((~known).sum())
            kept = kept[known]
    reasons = {reason: count for reason, count in counts.items() if count}
    return kept.assign(difference=kept["expert"] - kept["saliency"]), reasons


@dataclass(frozen=True)
class _Row:
    """One regression: what it is of, its slope with either error, slopes in other units."""

    name: dict[str, str]
    fit: Estimate
    robust: Estimate
    extra: dict[str, float]
    clusters: int
    design: Design


def _scheme_rows(name: Mapping[str, str], complete: pd.DataFrame, experts: bool,
                 confidence_level: float) -> Iterator[_Row]:
    """The 12 regressions of one scheme, response by response."""
    for whose in RESPONSES:
        y = complete[whose].to_numpy()
        for descriptor in DESCRIPTORS:
            x = complete[descriptor].to_numpy()
            missing = ""
            if whose != "saliency" and not experts:
                missing = "no benchmark reader"
            elif len(y) and np.isnan(y).all():
                missing = "no benchmark reader scored a row in this scheme"
            elif len(x) and np.isnan(x).all():
                missing = f"no row has {descriptor}"
            full = {**name, "response": whose, "descriptor": descriptor}
            if missing:
                nothing = Estimate(note=missing)
                design = _design(full, x, y, complete, missing)
                yield _Row(full, nothing, nothing, dict.fromkeys(EXTRA, np.nan), 0, design)
            else:
                yield _fit(full, x, y, complete, confidence_level=confidence_level)


def _design(name: dict[str, str], raw: FloatArray, y: FloatArray, complete: pd.DataFrame,
            missing: str = "") -> Design:
    # A constant becomes 0 everywhere and is told by its note.
    x = raw if missing or not len(raw) else (raw - raw.min()) / (float(np.ptp(raw)) or 1.0)
    return Design(name, x, y, complete["image"].to_numpy(), complete["finding"].to_numpy(),
                  complete["cluster"].to_numpy(), missing)


def _fit(name: dict[str, str], raw: FloatArray, y: FloatArray, complete: pd.DataFrame, *,
         confidence_level: float) -> _Row:
    width = float(np.ptp(raw)) if len(raw) else 0.0
    design = _design(name, raw, y, complete)
    x, clusters = design.x, design.clusters
    fit = simple_regression(x, y, confidence_level=confidence_level,
                            names=(name["descriptor"], "the response"))
    robust = robust_slope(fit, x, y, clusters, confidence_level=confidence_level)
    in_raw_units = fit.estimate / width if width else float("nan")
    spread = float(np.std(raw, ddof=1)) if len(raw) > 1 else float("nan")
    return _Row(name, fit, robust,
                dict(zip(EXTRA, (in_raw_units, in_raw_units * spread, fit.r_squared),
                         strict=True)), len(np.unique(clusters)), design)


def _tables(rows: Sequence[_Row], adjustment: Adjustment, family: Family
            ) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables, adjusted for multiplicity within the declared families."""
    classical = estimates_table(
        [{**row.name, **row.fit.row(row.name["descriptor"]), **row.extra} for row in rows],
        IDENTIFY, EXTRA)
    robust = estimates_table(
        [{**row.name, **row.robust.row(row.name["descriptor"]), "clusters": row.clusters}
         for row in rows], IDENTIFY, ("clusters",)).astype({"clusters": "int64"})
    return (_adjusted(classical, adjustment, family), _adjusted(robust, adjustment, family))


def _adjusted(table: pd.DataFrame, adjustment: Adjustment, family: Family) -> pd.DataFrame:
    by = {"response": IDENTIFY[:4], "scheme": IDENTIFY[:3], "explainer": IDENTIFY[:2],
          "study": ()}[family]
    if table.empty:
        return table
    names = (table[list(by)].agg(", ".join, axis=1) if by
             else pd.Series("study", index=table.index))
    sizes = {str(name): int(count) for name, count in names.value_counts().items()}
    return adjust_families(table, names, adjustment, sizes)
