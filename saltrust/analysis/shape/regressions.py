"""How localization depends on the shape of the finding: 24 simple regressions per map.

Per explainer and model, two schemes (overlap, hit) times three responses (saliency, expert,
expert - saliency) times four descriptors of the reference mask, each descriptor min-max
normalised and the only regressor (protocol S, Table 2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from saltrust.analysis.inference.multiplicity import ADJUSTMENTS, adjust_families
from saltrust.analysis.localization.analysis import Cut, score_maps
from saltrust.analysis.pixels.overlap import IOU_SLICES, check_slice
from saltrust.analysis.pixels.shape import check_definition
from saltrust.analysis.result import Result
from saltrust.analysis.scores.selection import (
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
from saltrust.analysis.scores.tidy_scores import read_tidy_scores
from saltrust.analysis.shape.descriptors import descriptors as descriptors_of
from saltrust.analysis.shape.regression_fits import FITS, Design, logit_table, mixed_table
from saltrust.analysis.stored.contents import (
    one_of,
    require_heatmaps,
    require_masks,
    require_reader,
    source,
)
from saltrust.choices import Adjustment, Definition, Family, Fit, IouSlice, Resolution
from saltrust.errors import DataError, UsageError, nearest

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


def regressions(scores: pd.DataFrame, descriptors: pd.DataFrame, *, benchmark: str | None = None,
                reader: str | None = None, explainers: Sequence[str] | None = None,
                models: Sequence[str] | None = None,
                definition: Definition = "default",
                iou_slice: IouSlice | None = None, adjustment: Adjustment = "bonferroni",
                family: Family = "response", fits: Sequence[Fit] = (),
                confidence_level: float = 0.95) -> Result:
    """Regress localization scores on the descriptors of the reference masks.

    Rows are images x findings whose reference mask is not empty.  Within a scheme, saliency,
    expert and difference use the same rows: those where both scores and all descriptors are
    known, so that the slope of the difference is the difference of the slopes.

    Parameters
    ----------
    scores : pandas.DataFrame
        As :mod:`saltrust.analysis.localization.analysis` gives: one row per map or benchmark mask.
    descriptors : pandas.DataFrame
        Columns ``image, finding, reader`` and the four descriptors; rows of the reference
        reader are used.
    benchmark : str, optional
        The one benchmark reader whose scores are the expert's; by default the mean over all
        benchmark readers that scored the row.
    reader : str, optional
        Reference reader; needed where there are several.
    explainers, models : sequence of str, optional
        Only these.
    definition : {"default", "peer"}
        Sets the default of ``iou_slice``: ``positive``, or ``both_nonempty`` as the code
        released with protocol S, which selects on the outcome.
    iou_slice : {"positive", "both_nonempty", "all"}, optional
        Which overlaps count (see :data:`saltrust.analysis.pixels.overlap.IOU_SLICES`).  An empty
        reference mask has no shape, so that ``all`` is ``positive`` here.
    adjustment : {"bonferroni", "holm", "bh", "none"}
        For multiplicity.
    family : {"response", "scheme", "explainer", "study"}
        Which regressions are adjusted for each other; 4, 12, 24 or all.
    fits : sequence of {"ols", "cluster", "mixed", "logit"}
        Further models beside least squares: :data:`saltrust.analysis.shape.regression_fits.FITS`.
    confidence : float
        Level of the intervals, which are not adjusted for multiplicity.

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
        If a table lacks a column or repeats rows, or not one regression can be computed.
    UsageError
        If an option or a name is not known.

    References
    ----------
    A. Saporta et al., "Deep learning saliency maps do not accurately highlight diagnostically
    relevant regions for medical image interpretation" (2021), Table 2.
    """
    check_confidence_level(confidence_level)
    iou_slice = _iou_slice(definition, iou_slice)
    for value, known in ((family, FAMILIES), (adjustment, ADJUSTMENTS)):
        if value not in known:
            raise UsageError(f"{value!r} is not known; {nearest(value, known)}")
    for fit in fits:
        if fit not in FITS:
            raise UsageError(f"fit {fit!r} is not known; {nearest(fit, FITS)}")
    scores = check_scores(scores)
    shapes = check_columns(descriptors, ("image", "finding", "reader"), DESCRIPTORS,
                           "descriptors")
    reference = reference_reader(scores, reader)
    scores = scores[scores["reader"] == reference]
    shapes = shapes[shapes["reader"] == reference].drop(columns="reader")
    people = benchmark_rows(scores, benchmark)
    rows: list[_Row] = []
    excluded: dict[tuple[str, str, str], dict[str, int]] = {}
    for explainer, model in maps(scores, explainers, models):
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
    readers = sorted(people["model"].unique())
    meta = {
        "definition": definition, "slice": iou_slice, "slice_meaning": IOU_SLICES[iou_slice],
        "rows": "images x findings with a non-empty reference mask; within a scheme the same "
                "complete rows for saliency, expert and difference (expert - saliency)",
        "descriptors": f"of {reference}, min-max normalised over the rows of the regression",
        "expert": who_stands_for_expert(people), "reference_readers": [reference],
        "benchmark_readers": readers, "confidence_level": confidence_level,
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
    return Result(meta, {"estimates": table, "robust": robust, **further})


def from_cubes(cubes: xr.DataTree, *, resolution: Resolution | None = None,
               split: str | None = None, findings: Sequence[str] | None = None,
               explainers: Sequence[str] | None = None, models: Sequence[str] | None = None,
               benchmark: str | None = None, reader: str | None = None,
               definition: Definition = "default", iou_slice: IouSlice | None = None,
               adjustment: Adjustment = "bonferroni", family: Family = "response",
               fits: Sequence[Fit] = (), confidence_level: float = 0.95, threshold: Cut = None,
               cutoff: Cut = None,
               keep: bool = False, workers: int = 1, scheduler: str | None = None,
               progress: bool = False) -> Result:
    """Score the maps of cubes, describe their reference masks, and :func:`regressions`.

    Parameters
    ----------
    cubes : xarray.DataTree
        As :func:`saltrust.open_cubes` gives, with saliency maps and reference masks.
    resolution : {"native", "grid"}, optional
        Size at which maps are scored and masks described; by default native where it is stored.
    split : {"train", "val", "test", "none"}, optional
        Only images of this split.
    findings, explainers, models : sequence of str, optional
        Only these.
    definition : {"default", "peer"}
        How maps are scored, shapes measured, and which slice is used.
    benchmark, reader, iou_slice, adjustment, family, fits, confidence
        As :func:`regressions`.
    threshold, cutoff, keep, workers, scheduler
        As :func:`saltrust.analysis.localization.analysis.score_maps`.
    progress : bool
        Show bars on stderr.

    Returns
    -------
    Result

    Raises
    ------
    DataError
        If the cubes hold no maps or no reference masks, or as :func:`regressions`.
    UsageError
        If an option or a name is not known.
    """
    purpose = "localization cannot be regressed on the shape of findings"
    require_masks(cubes, purpose)
    require_heatmaps(cubes, purpose)
    require_reader(cubes, reader, "reference")
    require_reader(cubes, benchmark, "benchmark")
    iou_slice = _iou_slice(definition, iou_slice)
    scores = score_maps(cubes, resolution=resolution, definition=definition, iou_slice=iou_slice,
                        split=split, findings=findings, explainers=explainers, models=models,
                        threshold=threshold, cutoff=cutoff, keep=keep, workers=workers,
                        scheduler=scheduler, progress=progress)
    shapes = descriptors_of(cubes, resolution=resolution, definition=definition, split=split,
                            findings=findings, progress=progress)
    try:
        result = regressions(scores, shapes.tables["descriptors"], benchmark=benchmark,
                             reader=reader, explainers=explainers, models=models,
                             definition=definition, iou_slice=iou_slice, adjustment=adjustment,
                             family=family, fits=fits, confidence_level=confidence_level)
    except DataError as error:
        raise DataError(f"{source(cubes)}: {error}") from None
    meta = {"resolution": shapes.meta["resolution"], "split": split, **result.meta}
    return Result(meta, result.tables)


def from_table(path: str | Path, *, findings: Sequence[str] | None = None, **options: Any
               ) -> Result:
    """:func:`regressions` of scores from a tidy CSV (:mod:`saltrust.analysis.scores.tidy_scores`).

    Parameters
    ----------
    path : path
    findings : sequence of str, optional
        Only these.
    **options
        As :func:`regressions`.

    Raises
    ------
    DataError, UsageError
        As :func:`regressions` and :func:`saltrust.analysis.scores.tidy_scores.read_tidy_scores`.
    """
    scores, shapes = read_tidy_scores(path)
    for name in findings or ():
        one_of(name, list(dict.fromkeys(scores["finding"])), "finding")
    if findings:
        scores = scores[scores["finding"].isin(findings)]
    try:
        result = regressions(scores, shapes, **options)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return Result({"scores": str(path), **result.meta}, result.tables)


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
    found = result.tables["estimates"]
    cells = {(*(getattr(row, name) for name in IDENTIFY[:3]), row.descriptor, row.response):
             cell(row) for row in found.itertuples()}
    heads = found[list(IDENTIFY[:3])].drop_duplicates()
    rows = {tuple(key): int(n) for *key, n in found.groupby(
        [*IDENTIFY[:3], "descriptor"], sort=False)["n"].max().reset_index().itertuples(
            index=False)}
    table = pd.DataFrame(
        [(*head, descriptor, rows[*head, descriptor],
          *(cells[*head, descriptor, name] for name in RESPONSES))
         for head in heads.itertuples(index=False) for descriptor in DESCRIPTORS],
        columns=["explainer", "model", "scheme", "characteristic", "n", *RESPONSES])
    table["scheme"] = table["scheme"].map({"iou": "IoU", "hit": "Hit/Miss"})
    table["characteristic"] = table["characteristic"].map(_TITLES)
    constant = [name for name in ("explainer", "model") if len(found[name].unique()) == 1]
    return table.drop(columns=constant).rename(
        columns={"difference": "difference (expert - saliency)"})


def _iou_slice(definition: Definition, iou_slice: IouSlice | None) -> IouSlice:
    check_definition(definition)
    if iou_slice is None:
        return "positive" if definition == "default" else "both_nonempty"
    check_slice(iou_slice)
    return iou_slice


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
