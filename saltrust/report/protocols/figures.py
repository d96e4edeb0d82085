"""The figures of any protocol, and those of protocols A and W."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from saltrust.analysis.protocols.guided_training.arms import Arm
from saltrust.analysis.protocols.result import ProtocolResult
from saltrust.analysis.stored.maps import TRAINED
from saltrust.analysis.stored.readings import read_as
from saltrust.analysis.trustworthiness.utility import METRICS
from saltrust.choices import MapChoice
from saltrust.errors import UsageError
from saltrust.report.catalog.choosing import (
    Case,
    high_middle_low,
    ranked,
    scores_by_name,
    shown_models,
)
from saltrust.report.catalog.gaze import draw_recorded
from saltrust.report.catalog.maps import average_masks, draw_maps
from saltrust.report.catalog.overview import draw_overview
from saltrust.report.catalog.precision_recall import draw_curves
from saltrust.report.catalog.randomization import draw_stages
from saltrust.report.catalog.similarity import draw_models
from saltrust.report.figures import (
    classification,
    faithfulness,
    guided_training,
    trustworthiness,
)
from saltrust.report.protocols.localization import draw_localization


def figures_of(protocol: ProtocolResult, cubes: xr.DataTree) -> dict[str, Figure]:
    """Draw the figures of a protocol.

    Parameters
    ----------
    protocol : ProtocolResult
    cubes : xarray.DataTree
        What it was computed from.

    Returns
    -------
    dict of str to Figure
        By the name of its file; outside pyplot's state.

    Raises
    ------
    UsageError
        If the result is of no protocol.
    """
    if protocol.topic not in _DRAW:
        raise UsageError(f"a result of {protocol.topic or 'no stated topic'} is of no protocol; "
                         "give what saltrust.protocol_localization and its like return")
    return _DRAW[protocol.topic](protocol, cubes)


def draw_trustworthiness(protocol: ProtocolResult, cubes: xr.DataTree) -> dict[str, Figure]:
    """Draw what the protocol computed.

    Parameters
    ----------
    protocol : ProtocolResult
        Of :func:`saltrust.protocol_trustworthiness`.
    cubes : xarray.DataTree
        What it was computed from, for the examples.

    Returns
    -------
    dict of str to Figure
    """
    results, figures = protocol.results, dict[str, Figure]()
    if "decisions" in protocol.tables:
        figures["overview"] = draw_overview(protocol.tables["decisions"])
    if "utility" in results:
        for finding, scores in _by(results["utility"]["scores"], "finding"):
            for metric in METRICS:
                figures[f"utility_{metric}{finding}"] = trustworthiness.utility(scores, metric)
            figures |= _examples(cubes, results["utility"].meta["map"], scores, finding)
    if "randomization" in results:
        result = results["randomization"]
        for finding, of_finding in _by(result["stages"], "finding"):
            for model, rows in _by(of_finding, "model"):
                figures[f"randomization{finding}{model}"] = trustworthiness.stages(
                    rows, result.meta["stages"])
        for finding, scores in _by(result["scores"], "finding"):
            figures[f"randomization_maps{finding}"] = draw_stages(
                cubes, _of_median_similarity(scores), scores)
    if "faithfulness" in results and "curves" in results["faithfulness"]:
        figures["faithfulness"] = faithfulness.curves(results["faithfulness"])
    criteria: tuple[str, ...] = ("repeatability", "reproducibility")
    similar = {name: results[name] for name in criteria if name in results}
    findings = dict.fromkeys(finding for result in similar.values()
                             for finding in result["scores"]["finding"])
    for finding in findings:
        shown = {name: result["scores"][result["scores"]["finding"] == finding]
                 for name, result in similar.items()}
        suffix = f"_{finding}" if len(findings) > 1 else ""
        low = next(iter(similar.values())).meta["low_baseline"]
        figures[f"similarity{suffix}"] = trustworthiness.similarity(shown, low)
        for name, scores in ((name, table) for name, table in shown.items() if len(table)):
            figures[f"{name}_maps{suffix}"] = draw_models(
                cubes, _of_median_similarity(scores), scores)
    return figures


def _examples(cubes: xr.DataTree, map: MapChoice, scores: pd.DataFrame, finding: str
              ) -> dict[str, Figure]:
    """Maps and curves of the best, the median and the worst image; none without maps."""
    # Of maps that say nothing there is nothing to see.
    trained = scores[(scores["condition"] == TRAINED) & ~scores["failed"].astype(bool)]
    if trained.empty:
        return {}
    explainer, model = trained["explainer"].iloc[0], shown_models(cubes)[0]
    ranking = trained[(trained["explainer"] == explainer) & (trained["model"] == model)]
    chosen = high_middle_low(ranking.assign(score=ranking["average_precision"]),
                             f"AP of {explainer}")
    if not chosen:
        return {}
    averages = average_masks(cubes, {case.finding for case in chosen})
    return {f"examples{finding}": draw_maps(read_as(cubes, map), chosen, scores_by_name(scores),
                                            averages),
            f"precision_recall{finding}": draw_curves(cubes, chosen, map=map)}


def _of_median_similarity(scores: pd.DataFrame) -> list[Case]:
    """The image whose maps are, over all that is compared, as similar as the median image's."""
    means = scores.groupby(["image", "finding"], sort=False, as_index=False)["ssim"].mean()
    return ranked(means.assign(score=means["ssim"]), "median", 1, "mean SSIM")


def _by(table: pd.DataFrame, name: str) -> list[tuple[str, pd.DataFrame]]:
    """Rows of each label, with what to add to a file's name where there are several."""
    labels = list(dict.fromkeys(table[name]))
    return [(f"_{label}" if len(labels) > 1 else "", table[table[name] == label])
            for label in labels]


def draw_guided_training(protocol: ProtocolResult, cubes: xr.DataTree) -> dict[str, Figure]:
    """Draw what the protocol computed.

    Parameters
    ----------
    protocol : ProtocolResult
        Of :func:`saltrust.protocol_guided_training`.
    cubes : xarray.DataTree
        What it was computed from, for the examples.

    Returns
    -------
    dict of str to Figure
    """
    arms = [Arm(**{name: arm[name] for name in ("model", "loss", "rule", "seed", "baseline")})
            for arm in protocol.meta["arms"]]
    # One model of each way of training: curves of replicates would lie over each other.
    first = list({arm.label: arm.model for arm in reversed(arms)}.values())
    result = protocol.results["classification"]
    cases = result["cases"]
    shown = replace(result, tables={**result.tables, "cases": cases[cases["model"].isin(first)]})
    figures = {"roc": classification.roc(shown), "calibration": classification.calibration(shown),
               **draw_recorded(cubes)}
    agreement = protocol.results.get("gaze")
    if agreement is None:
        return figures
    cubes, scores = read_as(cubes, agreement.meta["map"]), agreement["scores"]
    for explainer in dict.fromkeys(scores.loc[scores["source"] == "saliency", "explainer"]):
        figure = guided_training.examples(cubes, scores, arms, explainer,
                                          agreement.meta["reader"])
        if figure is not None:
            figures[f"examples_{explainer}"] = figure
    return figures


_DRAW: dict[str, Callable[[ProtocolResult, xr.DataTree], dict[str, Figure]]] = {
    "protocol_localization": draw_localization,
    "protocol_trustworthiness": draw_trustworthiness,
    "protocol_guided_training": draw_guided_training,
}
