"""How localization depends on the shape of the finding: 24 simple regressions per map.

Per explainer and model, two schemes (overlap, hit) times three responses (saliency, expert,
expert - saliency) times four descriptors of the reference mask, each descriptor min-max
normalised and the only regressor (protocol S, Table 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import xarray as xr

from saltrust.analysis.inference.estimate import STARS_LEGEND, cell
from saltrust.analysis.inference.multiplicity import adjust_families
from saltrust.analysis.inference.turned_signs import turned_signs
from saltrust.analysis.options import Execution, Scoring, Testing, former_keywords
from saltrust.analysis.pixels.overlap import IOU_SLICES
from saltrust.analysis.result import Result
from saltrust.analysis.scores.score_rows import (
    EXPERT,
    SCHEMES,
    benchmark_rows,
    check_columns,
    check_scores,
    maps,
    reference_reader,
    shared_exclusions,
    who_stands_for_expert,
    why_nothing,
)
from saltrust.analysis.scores.scored_maps import score_maps
from saltrust.analysis.scores.tidy_scores import read_frame, tidy_scores
from saltrust.analysis.select import as_cubes
from saltrust.analysis.shape.descriptors import describe_masks
from saltrust.analysis.shape.diagnostics import diagnostics_table, residuals_table
from saltrust.analysis.shape.joint_model import joint_table
from saltrust.analysis.shape.regression_fits import (
    FITS,
    fractional_table,
    gee_table,
    logit_table,
    mixed_table,
    ordbeta_table,
    two_part_table,
)
from saltrust.analysis.shape.regression_rows import (
    DESCRIPTORS,
    EXTRA,
    IDENTIFY,
    RESPONSES,
    Row,
    complete_rows,
    join_scores,
    scheme_rows,
    slopes_table,
)
from saltrust.analysis.shape.subgroups import regression_subgroups
from saltrust.analysis.stored.contents import require_scorable, source
from saltrust.analysis.stored.subgroups import groupings
from saltrust.cache.identity import of_one_store
from saltrust.choices import Adjustment, Errors, Family, Fit, check_word
from saltrust.errors import DataError

#: What a family is, and how many regressions it has; 0: all of the table.
FAMILIES: dict[Family, tuple[str, int]] = {
    "response": ("explainer x model x scheme x response (4 descriptors)", 4),
    "scheme": ("explainer x model x scheme", 12),
    "explainer": ("explainer x model", 24),
    "study": ("all regressions of the table", 0),
}
_TITLES = {"n_instances": "Number of instances", "area_ratio": "Area ratio",
           "elongation": "Elongation", "irrectangularity": "Irrectangularity"}
#: What the errors of the headline are, for people.
ERRORS: dict[Errors, str] = {
    "cr2": "clustered by patient (image where unknown): CR2, t with Satterthwaite's degrees of "
           "freedom",
    "classical": "of least squares, rows taken as independent",
}
__all__ = ["DESCRIPTORS", "ERRORS", "EXTRA", "FAMILIES", "IDENTIFY", "RESPONSES", "regress",
           "regressions", "regressions_from_scores", "table2"]

#: Tables of further fits, by the words of these.
_FURTHER = {"mixed": mixed_table, "logit": logit_table, "fractional": fractional_table,
            "gee": gee_table, "two_part": two_part_table, "ordbeta": ordbeta_table}


@former_keywords("confidence_level", "by")
@of_one_store
def regressions(cubes: xr.DataTree | str | Path, *, scoring: Scoring = Scoring(),
                execution: Execution = Execution(), benchmark: str | None = None,
                adjustment: Adjustment = "bonferroni", family: Family = "response",
                fits: Sequence[Fit] = (), testing: Testing = Testing()) -> Result:
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
    fits : sequence of str
        Further models beside least squares: :data:`saltrust.analysis.shape.regression_fits.FITS`.
    testing : Testing
        Whose errors come first, the level of the intervals, which are not adjusted for
        multiplicity, and whose slopes are compared: a keyword ``by`` is taken too, and adds the
        tables ``subgroups``, ``subgroup_differences`` and ``subgroup_tests``
        (:func:`saltrust.analysis.shape.subgroups.regression_subgroups`).

    Returns
    -------
    Result
        Table ``estimates``: ``explainer, model, scheme, response, descriptor``, the uniform
        columns (the slope per full range of the descriptor), the slope per raw unit
        (``estimate_raw``) and per standard deviation of the descriptor (``estimate_per_sd``),
        ``r_squared``, the number of ``clusters``, and ``errors``: ``cr2``, clustered by patient
        (by image where the patient is unknown), or ``classical``, as under ``peer``.  Table
        ``classical``: the same with the errors of least squares, as the paper; ``robust``: with
        CR2 errors, which will be gone in 0.3.  Tables ``mixed``, ``logit``, ``fractional``,
        ``two_part``, ``ordbeta``, ``gee``, ``joint``, ``diagnostics`` and ``residuals``
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
    groups = [] if testing.by is None else groupings(tree, testing.by)
    testing = replace(testing, by=None)
    scored = score_maps(tree, scoring, execution)
    shapes = describe_masks(scored.annotations, scoring.definition, scored.drawings.store,
                            progress=execution.progress)
    try:
        result = regress(scored.table, shapes, scoring=scoring, benchmark=benchmark,
                         adjustment=adjustment, family=family, fits=fits,
                         testing=testing)
    except DataError as error:
        raise DataError(f"{source(tree)}: {error}") from None
    meta = {name: scored.meta[name] for name in ("resolution", "split", "map", "map_readings")}
    if not groups:
        return Result({**meta, **result.meta}, result.tables, result.topic)
    rows, _ = _rows(check_scores(scored.table), shapes, scoring, benchmark, testing)
    by_group = regression_subgroups([row.design for row in rows], groups,
                                    confidence_level=testing.level())
    return Result({**meta, **result.meta, "by": {one.by: one.describe() for one in groups}},
                  {**result.tables, **by_group}, result.topic)


@former_keywords("confidence_level")
def regressions_from_scores(scores: pd.DataFrame | str | Path, *, scoring: Scoring = Scoring(),
                            benchmark: str | None = None,
                            adjustment: Adjustment = "bonferroni", family: Family = "response",
                            fits: Sequence[Fit] = (), testing: Testing = Testing()) -> Result:
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
    fits : sequence of str
        Further models beside least squares: :data:`saltrust.analysis.shape.regression_fits.FITS`.
    testing : Testing
        Whose errors come first, and the level of the intervals, which are not adjusted for
        multiplicity.

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
                         testing=testing)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    return Result({"scores": where, **result.meta}, result.tables, result.topic)


@former_keywords("confidence_level")
def regress(scores: pd.DataFrame, descriptors: pd.DataFrame, *, scoring: Scoring = Scoring(),
            benchmark: str | None = None, adjustment: Adjustment = "bonferroni",
            family: Family = "response", fits: Sequence[Fit] = (),
            testing: Testing = Testing()) -> Result:
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
    fits : sequence of str
    testing : Testing

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
    testing.refuse_groups()
    iou_slice = scoring.sliced()
    errors, confidence_level = testing.chosen(scoring.definition), testing.level()
    check_word(family, Family, "family")
    check_word(adjustment, Adjustment, "adjustment")
    for fit in fits:
        check_word(fit, Fit, "fit")
    scores = check_scores(scores)
    reference = reference_reader(scores)
    scores = scores[scores["reader"] == reference]
    people = benchmark_rows(scores, benchmark)
    rows, excluded = _rows(scores, descriptors, scoring, benchmark, testing)
    slopes = {name: _adjusted(slopes_table(rows, name), adjustment, family)
              for name in ERRORS}
    table = slopes[errors]
    designs = [row.design for row in rows]
    further = {name: _adjusted(make(designs, IDENTIFY, confidence_level), adjustment, family)
               for name, make in _FURTHER.items() if name.replace("_", "-") in fits}
    if "joint" in fits:
        further["joint"] = _adjusted(joint_table(designs, IDENTIFY, confidence_level, errors),
                                     adjustment, family)
    if "diagnostics" in fits:
        further["diagnostics"] = diagnostics_table(designs, IDENTIFY)
        further["residuals"] = residuals_table(designs, IDENTIFY)
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
        "errors": errors,
        "intervals": f"not adjusted for multiplicity; estimates: {ERRORS[errors]}; "
                     + (f"classical: {ERRORS['classical']}" if errors == "cr2" else
                        f"robust: {ERRORS['cr2']}"),
        "multiplicity": {"method": adjustment, "family": FAMILIES[family][0],
                         "factor": FAMILIES[family][1] or len(table),
                         "planned tests without a p-value": "count in the factor"},
        "fits": {name: FITS[name] for name in FITS if name in (*fits, "ols", "cluster")},
        "stars": STARS_LEGEND,
        "counts": {"regressions": len(table), "computed": int(table["estimate"].notna().sum())},
        "exclusions": shared_exclusions(excluded),
    }
    if "mixed" in further:
        meta["turned_signs"] = turned_signs(
            slopes["classical"], further["mixed"], IDENTIFY[::-1],
            ("by least squares", "with random intercepts for image, patient and finding"))
    robust = slopes["cr2"].drop(columns=[name for name in EXTRA if name != "clusters"])
    return Result(meta, {"estimates": table, "classical": slopes["classical"], "robust": robust,
                         **further}, "regressions")


def _rows(scores: pd.DataFrame, descriptors: pd.DataFrame, scoring: Scoring,
          benchmark: str | None, testing: Testing
          ) -> tuple[list[Row], dict[tuple[str, str, str], dict[str, int]]]:
    """The regressions of checked scores on one reader's masks, and what is left out of each."""
    shapes = check_columns(descriptors, ("image", "finding", "reader"), DESCRIPTORS,
                           "descriptors")
    reference = next(name for name in scores.loc[scores["explainer"] != EXPERT, "reader"] if name)
    scores = scores[scores["reader"] == reference]
    shapes = shapes[shapes["reader"] == reference].drop(columns="reader")
    people = benchmark_rows(scores, benchmark)
    rows: list[Row] = []
    excluded: dict[tuple[str, str, str], dict[str, int]] = {}
    for explainer, model in maps(scores):
        stored = scores[(scores["explainer"] == explainer) & (scores["model"] == model)]
        for scheme in SCHEMES:
            joined = join_scores(stored, people, shapes, scheme, scoring.sliced())
            complete, excluded[explainer, model, scheme] = complete_rows(joined)
            name = {"explainer": explainer, "model": model, "scheme": scheme}
            rows += scheme_rows(name, complete, not people.empty, testing.level())
    return rows, excluded


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


def _adjusted(table: pd.DataFrame, adjustment: Adjustment, family: Family) -> pd.DataFrame:
    by = {"response": IDENTIFY[:4], "scheme": IDENTIFY[:3], "explainer": IDENTIFY[:2],
          "study": ()}[family]
    if table.empty:
        return table
    names = (table[list(by)].agg(", ".join, axis=1) if by
             else pd.Series("study", index=table.index))
    sizes = {str(name): int(count) for name, count in names.value_counts().items()}
    return adjust_families(table, names, adjustment, sizes)
