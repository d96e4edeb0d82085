"""Localization: every heatmap and every benchmark reader against the reference masks.

Per map: bring it to the size of the masks, segment it, take the IoU with the reference mask,
and see whether its peak lies inside (protocol S; Saporta et al., 2022).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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
from saltrust.analysis.localization.non_inferiority import non_inferiorities
from saltrust.analysis.localization.random_readers import (
    ENOUGH_READERS,
    decreases_among_readers,
    random_readers,
)
from saltrust.analysis.localization.reader_agreement import (
    agreement,
    pairwise_scores,
    share_of_agreement,
)
from saltrust.analysis.localization.study_wide import families_of, study_wide
from saltrust.analysis.localization.subgroups import localization_subgroups
from saltrust.analysis.localization.summary import (
    summarize,
    summarize_expert,
    summarize_relevance,
)
from saltrust.analysis.options import KINDS, Execution, Margins, Resampling, Scoring
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
from saltrust.analysis.stored.subgroups import groupings
from saltrust.cache.identity import of_one_store
from saltrust.choices import StudyFamily, check_word


@of_one_store
def localization(cubes: xr.DataTree | str | Path, *, scoring: Scoring = Scoring(),
                 resampling: Resampling = Resampling(), execution: Execution = Execution(),
                 benchmark: str | None = None, margin: float | Margins | None = None,
                 by: str | None = None, family: StudyFamily = "finding") -> Result:
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
    margin : float or Margins, optional
        Means closer than this are to be shown equivalent: adds the table ``equivalence``;
        ``Margins(non_inferiority=...)`` adds ``non_inferiority``
        (:mod:`saltrust.analysis.localization.non_inferiority`).
    by : str, optional
        Coordinates of images whose groups are compared, such as ``"sex,age:40:60"``
        (:func:`saltrust.analysis.stored.subgroups.groupings`): adds the tables of
        :func:`saltrust.analysis.localization.subgroups.localization_subgroups`.
    family : {"finding", "study"}
        Which tests are adjusted for each other: by question and finding, as every table says, or
        all but those of subgroups (:func:`saltrust.analysis.localization.study_wide.study_wide`).

    Returns
    -------
    Result
        ``summary``, ``expert`` (mean over those who stand for the expert) and ``decrease``
        (:mod:`saltrust.analysis.localization.decreases`; of three readers the test is that of
        ``random_readers``), ``decrease_change``, ``scores``
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
        and ``agreement_share`` (:mod:`saltrust.analysis.localization.reader_agreement`), with two
        benchmark readers and more ``random_readers``
        (:mod:`saltrust.analysis.localization.random_readers`).

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
    groups = groupings(tree, by)
    check_word(family, StudyFamily, "family")
    margins, together = Margins.of(margin), family == "study"
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
    drawing = resampling.describe()
    if peer and resampling.kind == "auto":
        # The released code has percentiles, however few the patients.
        resampling = replace(resampling, kind="percentile")
    meta = {**scored.meta, **drawing, "expert": who_stands_for_expert(people),
            "expert_readers": list(dict.fromkeys(map(str, people["model"]))),
            **_meanings(resampling, each_alone=each_alone, paired=bool(paired),
                        readers=people["model"].nunique()), **margins.describe()}
    tables = {**_tables(scored, compared, people, resampling, paired, together=together),
              **_within_margins(compared, margins, drawing)}
    if together:
        tables = study_wide(tables, 1 - resampling.confidence_level)
    meta["families"] = families_of(tables, family)
    if groups:
        meta["by"] = {one.by: one.describe() for one in groups}
        tables |= localization_subgroups(compared, groups,
                                         confidence_level=resampling.confidence_level)
    return Result(meta, tables, "localization")


def _tables(scored: ScoredMaps, compared: pd.DataFrame, people: pd.DataFrame,
            resampling: Resampling, paired: Sequence[Scheme], *, together: bool
            ) -> dict[str, pd.DataFrame]:
    """The tables that are always made; all tests of a metric together, or by finding."""
    drawing = resampling.describe()
    means: dict[str, Any] = {**drawing, "chance": scored.meta["hit_chance"],
                             "method": resampling.kind}
    falls, change = decrease(compared, paired=paired, together=together, **drawing)
    shared, _ = decrease(on_shared_positives(compared), together=together, **drawing)
    annotations = scored.annotations
    readers = [r for r in range(len(annotations.readers)) if annotations.annotated[..., r].any()]
    pairs = pairwise_scores(scored.drawings, readers, scored.areas)
    tables = {
        "summary": summarize(scored.table, **means), "expert": summarize_expert(people, **means),
        "decrease": falls, "decrease_change": change, "scores": scored.table,
        "overlap": _overlap(scored),
        "relevance": summarize_relevance(scored.table, **drawing, method=resampling.kind),
        "decrease_shared": shared,
        "differences": map_differences(scored.table, together=together, **drawing),
        **_hit_baselines(scored, drawing, together=together),
        "agreement": agreement(pairs, **drawing),
        "agreement_share": share_of_agreement(scored.table, pairs, **drawing)}
    return tables | _among_readers(tables, compared, paired, resampling.confidence_level)


def _within_margins(compared: pd.DataFrame, margins: Margins, drawing: dict[str, Any]
                    ) -> dict[str, pd.DataFrame]:
    """Equivalence and non-inferiority, where their margins are given."""
    tables = {}
    if margins.equivalence is not None:
        tables["equivalence"] = equivalences(compared, margins.equivalence, **drawing)
    if margins.non_inferiority is not None:
        tables["non_inferiority"] = non_inferiorities(
            compared, margins.non_inferiority, confidence_level=drawing["confidence_level"])
    return tables


def _meanings(resampling: Resampling, *, each_alone: bool, paired: bool, readers: int
              ) -> dict[str, str]:
    """What the tables say, for their readers."""
    by_patient = ("of the difference between the means of expert and map, by patient; p by "
                  "step-down max-T over the findings of a map and metric")
    change = ("of its change from one metric to the other, t with the jackknife's error over "
              "patients, by Holm over the findings of a map")
    among = (f"of the mean difference between each of {readers} readers and the map, readers and "
             "patients random, with Hillis' degrees of freedom (2007); p by Holm over the findings "
             "of a map and metric")
    return {
        "interval": f"{KINDS[resampling.kind]} bootstrap by patient; Wilson where all are hits "
                    "or all misses",
        "decrease": "100 * (expert - saliency) / expert, on "
        + ("images that both have" if not each_alone else
           "the images that each has" + ("; hits on images that both have" if paired else "")),
        "decrease_test": (f"{among}; beside it that {by_patient}; {change}"
                          if readers >= ENOUGH_READERS else f"{by_patient}; {change}"),
        **({"random_readers": among} if readers > 1 else {}),
        "decrease_shared": "the same on images where the reference and every reader who "
                           "stands for the expert drew something",
        "differences": "paired by image, percentile bootstrap by patient; p by step-down max-T "
                       "over the contrasts of a metric and finding, with 400 resamples for "
                       "each of them up to 9,999; effect "
                       "size: mean difference / its standard deviation over images",
        "hit_baselines": "the image centre; the peak of the mean reference mask of all other "
                         "patients; chance is the mean area ratio",
        "agreement": "every pair of readers, on positives that both annotated"}


def _among_readers(tables: Mapping[str, pd.DataFrame], compared: pd.DataFrame,
                   paired: Collection[Scheme], confidence_level: float) -> dict[str, pd.DataFrame]:
    """Tables that are other, or more, where there are several benchmark readers."""
    among = random_readers(compared, paired=paired, confidence_level=confidence_level)
    if among.empty:
        return {}
    shared = random_readers(on_shared_positives(compared), confidence_level=confidence_level)
    return {"decrease": decreases_among_readers(tables["decrease"], among),
            "decrease_shared": decreases_among_readers(tables["decrease_shared"], shared),
            "random_readers": among}


def _overlap(scored: ScoredMaps) -> pd.DataFrame:
    if scored.scan is None or scored.cut is None:
        return pd.DataFrame(columns=list(OVERLAP_COLUMNS))
    areas = of_maps(scored.areas, scored.scan, scored.annotations)
    return overlap_rows(scored.scan, areas, scored.annotations, scored.cut)


def _hit_baselines(scored: ScoredMaps, drawing: dict[str, Any], *, together: bool
                   ) -> dict[str, pd.DataFrame]:
    """Hit rates of the baselines, and how far every map is above them."""
    baselines = baseline_hits(scored.drawings, scored.references, scored.areas)
    shared = [name for name in baselines.columns if name in scored.table.columns]
    both = pd.concat([part[shared] for part in (scored.table, baselines) if len(part)],
                     ignore_index=True)
    series = [(str(e), str(m)) for e, m in
              dict.fromkeys(zip(both["explainer"], both["model"], strict=True))]
    maps = [(e, m) for e, m in series if e != EXPERT and m != NO_MODEL]
    points = [(e, m) for e, m in series if m == NO_MODEL]
    rates = summarize(baselines, chance=scored.meta["hit_chance"], **drawing)
    rates = rates[rates["metric"] == "hit"].reset_index(drop=True)
    contrasts = [(one, two) for one in maps for two in points]
    above = paired_differences(both, contrasts, metrics=("hit",), together=together,
                               **drawing)
    return {"hit_baselines": rates, "hit_above_baseline": above}
