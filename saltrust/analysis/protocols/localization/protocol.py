"""Protocol S as a whole: every analysis of a localization study, and Tables 1, 2 and 3."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import xarray as xr

from saltrust import __version__
from saltrust.analysis.confidence.analysis import OPERATING_POINT, table3
from saltrust.analysis.options import Execution, Margins, Resampling, Scoring
from saltrust.analysis.protocols.localization.dataset_summary import (
    dataset_labels,
    dataset_splits,
)
from saltrust.analysis.protocols.localization.methods import write_methods
from saltrust.analysis.protocols.localization.study import (
    AS_PUBLISHED,
    StudyOptions,
    explained_images,
    localization_study,
)
from saltrust.analysis.protocols.localization.tables import (
    auc_table,
    captions,
    data_summary,
    descriptor_means,
    table1,
)
from saltrust.analysis.protocols.result import ProtocolResult
from saltrust.analysis.result import Result
from saltrust.analysis.select import as_cubes
from saltrust.analysis.shape.regressions import table2
from saltrust.analysis.stored.arrays import labels_of
from saltrust.analysis.stored.examinations import at_level
from saltrust.analysis.stored.whole_study import whole_study
from saltrust.cache.identity import of_one_store
from saltrust.choices import Adjustment, CaseLevel
from saltrust.errors import DataError


@of_one_store
def protocol_localization(
    cubes: xr.DataTree | str | Path, *, scoring: Scoring = Scoring(),
    resampling: Resampling = Resampling(), execution: Execution = Execution(),
    benchmark: str | None = None, margin: float | Margins | None = None,
    adjustment: Adjustment = "bonferroni",
    operating_point: float | str | Path = OPERATING_POINT,
) -> ProtocolResult:
    """Run every analysis of protocol S that the cubes allow, and set its tables.

    Parameters
    ----------
    cubes : xarray.DataTree or path
        As :func:`saltrust.open_cubes` gives, or a part of it (:func:`saltrust.select`), with
        reference masks and heatmaps.  Where all images with heatmaps are of one split, only
        that is analysed.
    scoring : Scoring
        How maps are scored.  Without a slice, Table 1 is ``both_nonempty`` under ``peer``; else
        ``all`` where there is a probability cut-off, and ``positive`` where there is none,
        since without one every map on a negative would count as a false positive.
    resampling : Resampling
        The bootstrap by patient, and the level of every interval.
    execution : Execution
        Workers, progress, and whether scores are kept in the store.
    benchmark : str, optional
        The one benchmark reader that stands for the expert; by default the mean over all.
    margin : float or Margins, optional
        Means closer than this are to be shown equivalent, or no worse than others by more.
    adjustment : {"bonferroni", "holm", "bh", "none"}
        Of the p-values of regressions and confidence.
    operating_point : float or path
        Probability above which the model calls a finding, or a file with one per finding.

    Returns
    -------
    ProtocolResult
        Tables ``table1, table2, table3`` as printed, ``table3_paper`` as the paper pooled,
        ``data_summary``, ``dataset_splits`` and ``dataset_labels`` (of all splits of the store,
        whatever was selected), ``auc`` and ``descriptor_means``; what cannot be had is among
        ``missing``.

    Raises
    ------
    DataError
        If not even localization can be computed.
    UsageError
        If an option or a name is not known.

    References
    ----------
    A. Saporta et al. (2022), Nat. Mach. Intell. 4, 867-878.
    """
    # Before images without maps are left out, which are views of examinations all the same.
    tree = explained_images(at_level(as_cubes(cubes), scoring.level))
    if scoring.slice is None and scoring.definition != "peer":
        scoring = replace(scoring, slice="positive" if scoring.cutoff is None else "all")
    outcomes = localization_study(
        tree, StudyOptions(scoring, resampling, execution, benchmark, margin, adjustment,
                           operating_point, fits=("mixed", "logit")), as_published=True)
    results = {topic: result for topic, result in outcomes.items() if isinstance(result, Result)}
    missing = {topic: reason for topic, reason in outcomes.items() if isinstance(reason, str)}
    if "localization" in missing:
        raise DataError(missing["localization"])
    tables = _tables(tree, results, resampling, scoring.level)
    if "auc" not in tables:
        missing["auc"] = "no predicted probability beside labels of both classes is stored"
    meta = {"protocol": "S", "source": tree.attrs.get("source"),
            "finished": tree.attrs.get("finished"), "saltrust_version": __version__,
            **{name: results["localization"].meta[name] for name in
               ("split", "level", "definition", "map", "map_readings", "resamples", "seed",
                "confidence_level")}}
    return ProtocolResult(meta, tables, "protocol_localization", results, captions(results),
                          missing, write_methods(results, missing, tree))


def _tables(cubes: xr.DataTree, results: dict[str, Result], resampling: Resampling,
            level: CaseLevel) -> dict[str, pd.DataFrame]:
    located = results["localization"]
    tables = {"table1": table1(located)}
    if "regressions" in results:
        tables["table2"] = table2(results["regressions"])
    for name, topic in (("table3", "confidence"), ("table3_paper", AS_PUBLISHED)):
        if topic in results:
            tables[name] = table3(results[topic])
    tables["data_summary"] = data_summary(cubes, located)
    study = whole_study(cubes)
    tables |= {"dataset_splits": dataset_splits(study), "dataset_labels": dataset_labels(study)}
    areas = auc_table(cubes, level=level, resamples=resampling.resamples, seed=resampling.seed)
    if areas is not None:
        tables["auc"] = areas
    if "descriptors" in results:
        tables["descriptor_means"] = descriptor_means(
            in_study_order(results["descriptors"]["descriptors"], cubes),
            located.meta["reference_readers"])
    return tables


def in_study_order(table: pd.DataFrame, cubes: xr.DataTree) -> pd.DataFrame:
    """Rows by finding, in the order of the study.

    Parameters
    ----------
    table : pandas.DataFrame
        With a column ``finding``.
    cubes : xarray.DataTree

    Returns
    -------
    pandas.DataFrame
    """
    places = {name: k for k, name in enumerate(labels_of(cubes.to_dataset(), "finding"))}
    return table.sort_values("finding", key=lambda column: column.map(places), kind="stable")
