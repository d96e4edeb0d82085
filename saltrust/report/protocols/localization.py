"""Protocol S as a whole: every table, figure and definition of a localization study at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from saltrust.analysis.classification.calibration import calibration_table
from saltrust.analysis.confidence import analysis as confidence_analysis
from saltrust.analysis.localization.analysis import Cut, localization, score_maps
from saltrust.analysis.result import Result
from saltrust.analysis.scores.score_rows import EXPERT
from saltrust.analysis.shape import regressions as regression_analysis
from saltrust.analysis.shape.descriptors import descriptors
from saltrust.analysis.stored.contents import probabilities
from saltrust.errors import DataError
from saltrust.report.figures import distributions
from saltrust.report.figures import estimates as figures
from saltrust.report.page.sections import mapped_split
from saltrust.report.protocols.localization_methods import methods
from saltrust.report.protocols.localization_tables import (
    auc_table,
    captions,
    data_summary,
    descriptor_means,
    table1,
)


@dataclass(frozen=True)
class ProtocolOptions:
    """Choices of a run of the protocol; see the analyses of the same names.

    Attributes
    ----------
    iou_slice : str or None
        Of Table 1.  By default ``both_nonempty`` under ``peer``; else ``all`` where there is a
        probability cut-off, and ``positive`` where there is none, since without one every map
        on a negative would count as a false positive.
    """

    definition: Any = "default"
    resolution: Any = None
    iou_slice: Any = None
    split: str | None = None
    findings: Sequence[str] | None = None
    explainers: Sequence[str] | None = None
    models: Sequence[str] | None = None
    threshold: Cut = None
    cutoff: Cut = None
    benchmark: str | None = None
    margin: float | None = None
    operating_point: Any = confidence_analysis.OPERATING_POINT
    fits: Sequence[Any] = ("mixed", "logit")
    adjustment: Any = "bonferroni"
    family: Any = "response"
    resamples: int = 1000
    confidence_level: float = 0.95
    seed: int = 0
    keep: bool = False
    workers: int = 1
    scheduler: str | None = None
    progress: bool = False


@dataclass
class Protocol:
    """What a run of the protocol found.

    Attributes
    ----------
    results : dict of str to Result
        Every analysis with all digits.
    tables : dict of str to pandas.DataFrame
        In the form in which they are printed.
    captions : dict of str to (str, str)
        What stands above and below tables, where they have more than their name.
    figures : dict of str to Figure
    methods : str
        Markdown.
    missing : dict of str to str
        Parts that could not be had, and why.
    """

    results: dict[str, Result] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    captions: dict[str, tuple[str, str]] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)
    methods: str = ""
    missing: dict[str, str] = field(default_factory=dict)


def run_protocol(cubes: xr.DataTree, options: ProtocolOptions | None = None) -> Protocol:
    """Run every analysis of the protocol that the cubes allow.

    Parameters
    ----------
    cubes : xarray.DataTree
        As :func:`saltrust.open_cubes` gives, with reference masks and heatmaps.
    options : ProtocolOptions, optional

    Returns
    -------
    Protocol

    Raises
    ------
    DataError
        If not even localization can be computed.
    UsageError
        If an option or a name is not known.
    """
    chosen = options or ProtocolOptions()
    selection: dict[str, Any] = {
        "resolution": chosen.resolution, "definition": chosen.definition,
        "split": chosen.split or mapped_split(cubes), "findings": chosen.findings}
    maps: dict[str, Any] = {**selection, "explainers": chosen.explainers, "models": chosen.models}
    scan: dict[str, Any] = {"keep": chosen.keep, "workers": chosen.workers,
                            "scheduler": chosen.scheduler, "progress": chosen.progress}
    drawing: dict[str, Any] = {"resamples": chosen.resamples,
                               "confidence_level": chosen.confidence_level,
                               "seed": chosen.seed}
    found = Protocol()
    iou_slice: Any = chosen.iou_slice or (
        None if chosen.definition == "peer" else "all" if chosen.cutoff is not None
        else "positive")
    located = localization(cubes, **maps, **scan, **drawing, iou_slice=iou_slice,
                           threshold=chosen.threshold, cutoff=chosen.cutoff,
                           benchmark=chosen.benchmark, margin=chosen.margin)
    found.results["localization"] = located
    scores = located.tables["scores"]
    # Confidence is related to maps without a cut-off, which would make part of it mechanical.
    free = scores if chosen.cutoff is None else score_maps(
        cubes, **maps, **scan, iou_slice=iou_slice, threshold=chosen.threshold)

    def attempt(name: str, compute: Callable[[], Result]) -> None:
        try:
            found.results[name] = compute()
        except DataError as error:
            found.missing[name] = str(error)

    attempt("descriptors", lambda: descriptors(cubes, **selection, progress=chosen.progress))
    if "descriptors" in found.results:
        shapes = found.results["descriptors"].tables["descriptors"]
        attempt("regressions", lambda: regression_analysis.regressions(
            scores, shapes, benchmark=chosen.benchmark, definition=chosen.definition,
            adjustment=chosen.adjustment, family=chosen.family, fits=chosen.fits,
            confidence_level=chosen.confidence_level))
    related: dict[str, Any] = {**drawing, "adjustment": chosen.adjustment,
                               "operating_point": chosen.operating_point}
    attempt("confidence", lambda: confidence_analysis.confidence(
        free, probabilities(cubes, "confidence cannot be related to localization"),
        definition=chosen.definition, **related))
    if chosen.definition == "default":
        # As the paper pooled: false positives count, probabilities normalised per finding.
        attempt("confidence_paper", lambda: confidence_analysis.confidence(
            scores, probabilities(cubes, "confidence cannot be related to localization"),
            iou_slice="all", normalise=True, **related))
    _tabulate(found, cubes, chosen, located.meta["split"])
    _draw(found, cubes, chosen, free)
    found.methods = methods(found.results, found.missing, cubes)
    return found


def _tabulate(found: Protocol, cubes: xr.DataTree, options: ProtocolOptions, split: str | None
              ) -> None:
    located = found.results["localization"]
    found.tables["table1"] = table1(located)
    if "regressions" in found.results:
        found.tables["table2"] = regression_analysis.table2(found.results["regressions"])
    if "confidence" in found.results:
        related = found.results["confidence"]
        used = probabilities(cubes, "calibration cannot be judged")
        used = used[used["image"].isin(located.tables["scores"]["image"])
                    & used["finding"].isin(located.tables["scores"]["finding"])]
        if options.models:
            used = used[used["model"].isin(options.models)]
        calibration = calibration_table(cubes, used, confidence_level=options.confidence_level,
                                        resamples=options.resamples, seed=options.seed)
        found.results["confidence"] = Result(related.meta, {**related.tables,
                                                            "calibration": calibration})
    for name, source in (("table3", "confidence"), ("table3_paper", "confidence_paper")):
        if source in found.results:
            found.tables[name] = confidence_analysis.table3(found.results[source])
    found.tables["data_summary"] = data_summary(cubes, located, split)
    aucs = auc_table(cubes, split, models=options.models, findings=options.findings,
                     resamples=options.resamples, seed=options.seed)
    if aucs is None:
        found.missing["auc"] = "no predicted probability beside labels of both classes is stored"
    else:
        found.tables["auc"] = aucs
    if "descriptors" in found.results:
        found.tables["descriptor_means"] = descriptor_means(
            _in_order(found.results["descriptors"].tables["descriptors"], cubes),
            located.meta["reference_readers"])
    found.captions = captions(found.results)


def _draw(found: Protocol, cubes: xr.DataTree, options: ProtocolOptions, free: pd.DataFrame
          ) -> None:
    located, level = found.results["localization"], options.confidence_level
    summary, falls = located.tables["summary"], located.tables["decrease"]
    # The expert as in Table 1, not reader by reader.
    people = located.tables["expert"].assign(model="")
    summary = pd.concat([part for part in (people, summary[summary["explainer"] != EXPERT])
                         if len(part)], ignore_index=True)
    for metric in ("iou", "hit"):
        if summary.loc[summary["metric"] == metric, "estimate"].notna().any():
            found.figures[f"bars_{metric}"] = figures.localization(
                summary, metric, decrease=falls, level=level)
    if "descriptors" in found.results:
        shapes = found.results["descriptors"].tables["descriptors"]
        own = shapes[shapes["reader"].isin(located.meta["reference_readers"])
                     & (shapes["n_instances"] > 0)]
        if len(own):
            found.figures["descriptors"] = distributions.descriptors(_in_order(own, cubes))
    if "regressions" in found.results:
        table = found.results["regressions"].tables["estimates"]
        for names, rows in _by_map(table).items():
            found.figures["_".join(["coefficients", *names])] = figures.coefficients(
                rows, level=level)
    if "confidence" in found.results:
        _draw_confidence(found, cubes, free)


def _draw_confidence(found: Protocol, cubes: xr.DataTree, free: pd.DataFrame) -> None:
    predicted = probabilities(cubes, "confidence cannot be drawn")
    related = found.results["confidence"].tables["estimates"]
    rho = related[(related["term"] == "spearman") & (related["scheme"] == "iou")]
    points = free.merge(predicted, on=["image", "finding", "model"])
    points = _in_order(points[points["area_reference"] > 0], cubes)
    for names, rows in _by_map(points).items():
        if rows[["iou", "probability"]].notna().all(axis=1).any():
            own = rho[(rho["explainer"] == rows["explainer"].iloc[0])
                      & (rho["model"] == rows["model"].iloc[0])]
            found.figures["_".join(["confidence", *names])] = figures.confidence_scatter(
                rows, own)


def _in_order(table: pd.DataFrame, cubes: xr.DataTree) -> pd.DataFrame:
    """Rows by finding, in the order of the study."""
    place = {str(name): k for k, name in enumerate(cubes.coords["finding"].values)}
    return table.sort_values("finding", key=lambda column: column.map(place), kind="stable")


def _by_map(table: pd.DataFrame) -> Mapping[tuple[str, ...], pd.DataFrame]:
    """Rows of each explainer and model, named by what differs between them."""
    several = [name for name in ("explainer", "model") if len(table[name].unique()) > 1]
    return {tuple(str(rows[name].iloc[0]) for name in several): rows
            for _, rows in table.groupby(["explainer", "model"], sort=False)}
