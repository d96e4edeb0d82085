"""Localization: every heatmap and every benchmark reader against the reference masks.

Per map: bring it to the size of the masks, segment it, take the IoU with the reference mask,
and see whether its peak lies inside (protocol S; Saporta et al., 2022).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from saltrust.analysis.localization.contrasts import (
    equivalences,
    map_differences,
    paired_differences,
)
from saltrust.analysis.localization.decreases import decrease, on_shared_positives
from saltrust.analysis.localization.hit_baselines import NO_MODEL, baseline_hits
from saltrust.analysis.localization.reader_agreement import (
    agreement,
    pairwise_scores,
    share_of_agreement,
)
from saltrust.analysis.localization.summary import (
    summarize,
    summarize_expert,
    summarize_relevance,
)
from saltrust.analysis.options import KINDS, Execution, Resampling, Scoring
from saltrust.analysis.result import Result
from saltrust.analysis.scores.score_rows import (
    EXPERT,
    SCHEMES,
    Scheme,
    benchmark_rows,
    who_stands_for_expert,
)
from saltrust.analysis.scores.scored_maps import ScoredMaps, of_maps, score_maps
from saltrust.analysis.scores.scores_table import OVERLAP_COLUMNS, overlap_rows
from saltrust.analysis.select import as_cubes
from saltrust.analysis.stored.contents import require_reader
from saltrust.cache.identity import of_one_store


@of_one_store
def localization(cubes: xr.DataTree | str | Path, *, scoring: Scoring = Scoring(),
                 resampling: Resampling = Resampling(), execution: Execution = Execution(),
                 benchmark: str | None = None, margin: float | None = None) -> Result:
    """Mean IoU and hit rate per finding, and how far they fall short of the expert's.

    Parameters
    ----------
    cubes : xarray.DataTree or path
        The tree that :func:`saltrust.open_cubes` gives, or a part of it
        (:func:`saltrust.select`, ``.sel``).
        Of several reference readers, each is scored against.
    scoring : Scoring
        Resolution, definitions, slice, threshold and probability cut-off of the scores.
    resampling : Resampling
        The bootstrap by patient, and the level of the intervals.
    execution : Execution
        Workers, progress, and whether scores are kept in the store.
    benchmark : str, optional
        The one benchmark reader that stands for the expert where a map is compared with the
        expert; by default the mean over all of them.
    margin : float, optional
        Means closer than this are to be shown equivalent: adds the table ``equivalence``.

    Returns
    -------
    Result
        ``summary``, ``expert`` (mean over those who stand for the expert) and ``decrease``
        (:mod:`saltrust.analysis.localization.decreases`), ``decrease_change``, ``scores``
        (:func:`saltrust.analysis.scores.scored_maps.score_maps`), and ``overlap``: Dice,
        precision, recall, specificity, average
        precision and area under the ROC curve of every map on a positive
        (:func:`saltrust.analysis.scores.scores_table.overlap_rows`), and ``relevance``: means of
        the columns ``mass_accuracy, rank_accuracy, energy_pointing`` of ``scores``, the shares of
        a map that lie in the mask (:mod:`saltrust.analysis.pixels.relevance`).  Context:
        ``decrease_shared`` (on positives that everyone drew), ``differences`` between maps
        (:mod:`saltrust.analysis.localization.contrasts`) and their ``equivalence`` where a
        margin is given, ``hit_baselines`` and
        ``hit_above_baseline`` (:mod:`saltrust.analysis.localization.hit_baselines`), ``agreement``
        of readers
        and ``agreement_share`` (:mod:`saltrust.analysis.localization.reader_agreement`).

    Raises
    ------
    DataError
        If the cubes hold no reference masks, or neither heatmaps nor benchmark masks.
    UsageError
        If an option or a name is not known.

    References
    ----------
    A. Saporta et al. (2022), Nat. Mach. Intell. 4, 867-878, Table 1 and Fig. 2.

    Examples
    --------
    ::

        result = saltrust.localization(saltrust.select("study.zarr", split="test"))
        result["summary"]
    """
    tree = as_cubes(cubes)
    require_reader(tree, benchmark, "benchmark")
    scored = score_maps(tree, scoring, execution)
    # The released code takes each mean over its own images, whichever the other has; and under
    # `all` a map's false positive is the reader's true negative, which pairs would leave out.
    peer = scoring.definition == "peer"
    each_alone = peer or scored.meta["slice"] == "all"
    paired: tuple[Scheme, ...] = () if peer else ("hit",) if each_alone else SCHEMES
    people = benchmark_rows(scored.table, benchmark)
    # Maps, and whoever stands for the expert.
    compared = scored.table[(scored.table["explainer"] != EXPERT)
                            | scored.table.index.isin(people.index)]
    chance: dict[str, float] = scored.meta["hit_chance"]
    drawing = resampling.describe()
    if peer and resampling.kind == "auto":
        # The released code has percentiles, however few the patients.
        resampling = replace(resampling, kind="percentile")
    means: dict[str, Any] = {**drawing, "chance": chance, "method": resampling.kind}
    falls, change = decrease(compared, paired=paired, **drawing)
    shared, _ = decrease(on_shared_positives(compared), **drawing)
    annotations = scored.annotations
    readers = [r for r in range(len(annotations.readers)) if annotations.annotated[..., r].any()]
    pairs = pairwise_scores(scored.drawings, readers, scored.areas)
    meta = {**scored.meta, **drawing, "expert": who_stands_for_expert(people),
            "expert_readers": list(dict.fromkeys(map(str, people["model"]))),
            **_meanings(resampling, each_alone=each_alone, paired=bool(paired))}
    tables = {"summary": summarize(scored.table, **means),
              "expert": summarize_expert(people, **means),
              "decrease": falls, "decrease_change": change, "scores": scored.table,
              "overlap": _overlap(scored),
              "relevance": summarize_relevance(scored.table, **drawing, method=resampling.kind),
              "decrease_shared": shared,
              "differences": map_differences(scored.table, **drawing),
              **_hit_baselines(scored, drawing),
              "agreement": agreement(pairs, **drawing),
              "agreement_share": share_of_agreement(scored.table, pairs, **drawing)}
    if margin is not None:
        meta["equivalence_margin"] = margin
        tables["equivalence"] = equivalences(compared, margin, **drawing)
    return Result(meta, tables, "localization")


def _meanings(resampling: Resampling, *, each_alone: bool, paired: bool) -> dict[str, str]:
    """What the tables say, for their readers."""
    return {
        "interval": f"{KINDS[resampling.kind]} bootstrap by patient; Wilson where all are hits "
                    "or all misses",
        "decrease": "100 * (expert - saliency) / expert, on "
        + ("images that both have" if not each_alone else
           "the images that each has" + ("; hits on images that both have" if paired else "")),
        "decrease_test": "of the difference between the means of expert and map, by patient; p by "
                         "step-down max-T over the findings of a map and metric; of its change "
                         "from one metric to the other, t with the jackknife's error over "
                         "patients, by Holm over the findings of a map",
        "decrease_shared": "the same on images where the reference and every reader who "
                           "stands for the expert drew something",
        "differences": "paired by image, percentile bootstrap by patient; p by step-down max-T "
                       "over the contrasts of a metric and finding, with 400 resamples for "
                       "each of them up to 9,999; effect "
                       "size: mean difference / its standard deviation over images",
        "hit_baselines": "the image centre; the peak of the mean reference mask of all other "
                         "patients; chance is the mean area ratio",
        "agreement": "every pair of readers, on positives that both annotated"}


def _overlap(scored: ScoredMaps) -> pd.DataFrame:
    if scored.scan is None or scored.cut is None:
        return pd.DataFrame(columns=list(OVERLAP_COLUMNS))
    areas = of_maps(scored.areas, scored.scan, scored.annotations)
    return overlap_rows(scored.scan, areas, scored.annotations, scored.cut)


def _hit_baselines(scored: ScoredMaps, drawing: dict[str, Any]) -> dict[str, pd.DataFrame]:
    """Hit rates of the baselines, and how far every map is above them."""
    baselines = baseline_hits(scored.drawings, scored.references, scored.areas)
    shared = [name for name in baselines.columns if name in scored.table.columns]
    together = pd.concat([part[shared] for part in (scored.table, baselines) if len(part)],
                         ignore_index=True)
    series = [(str(e), str(m)) for e, m in
              dict.fromkeys(zip(together["explainer"], together["model"], strict=True))]
    maps = [(e, m) for e, m in series if e != EXPERT and m != NO_MODEL]
    points = [(e, m) for e, m in series if m == NO_MODEL]
    rates = summarize(baselines, chance=scored.meta["hit_chance"], **drawing)
    rates = rates[rates["metric"] == "hit"].reset_index(drop=True)
    contrasts = [(one, two) for one in maps for two in points]
    above = paired_differences(together, contrasts, metrics=("hit",), **drawing)
    return {"hit_baselines": rates, "hit_above_baseline": above}
