"""Figures of protocol S: bars, letter values, coefficients, confidence."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from saltrust.analysis.protocols.localization.protocol import in_study_order
from saltrust.analysis.protocols.result import ProtocolResult
from saltrust.analysis.scores.score_rows import EXPERT
from saltrust.report.figures import distributions, estimates


def draw_localization(protocol: ProtocolResult, cubes: xr.DataTree) -> dict[str, Figure]:
    """Draw what the protocol computed.

    Parameters
    ----------
    protocol : ProtocolResult
        Of :func:`saltrust.protocol_localization`.
    cubes : xarray.DataTree
        What it was computed from, for the order of the findings.

    Returns
    -------
    dict of str to Figure
    """
    results, figures = protocol.results, {}
    located, level = results["localization"], protocol.meta["confidence_level"]
    summary, falls = located["summary"], located["decrease"]
    # The expert as in Table 1, not reader by reader.
    people = located["expert"].assign(model="")
    summary = pd.concat([part for part in (people, summary[summary["explainer"] != EXPERT])
                         if len(part)], ignore_index=True)
    for metric in ("iou", "hit"):
        if summary.loc[summary["metric"] == metric, "estimate"].notna().any():
            figures[f"bars_{metric}"] = estimates.localization(summary, metric, decrease=falls,
                                                               level=level)
    if "descriptors" in results:
        shapes = results["descriptors"]["descriptors"]
        drawn = shapes[shapes["reader"].isin(located.meta["reference_readers"])
                       & (shapes["n_instances"] > 0)]
        if len(drawn):
            figures["descriptors"] = distributions.descriptors(in_study_order(drawn, cubes))
    if "regressions" in results:
        for names, rows in _by_map(results["regressions"]["estimates"]).items():
            figures["_".join(["coefficients", *names])] = estimates.coefficients(rows,
                                                                                 level=level)
    return figures | (_draw_confidence(protocol, cubes) if "confidence" in results else {})


def _draw_confidence(protocol: ProtocolResult, cubes: xr.DataTree) -> dict[str, Figure]:
    related = protocol.results["confidence"]
    table, figures = related["estimates"], {}
    rho = table[(table["term"] == "spearman") & (table["scheme"] == "iou")]
    points = related["points"]
    for names, rows in _by_map(in_study_order(points[points["area_reference"] > 0],
                                              cubes)).items():
        if rows[["iou", "probability"]].notna().all(axis=1).any():
            of_map = rho[(rho["explainer"] == rows["explainer"].iloc[0])
                         & (rho["model"] == rows["model"].iloc[0])]
            figures["_".join(["confidence", *names])] = estimates.confidence_scatter(rows, of_map)
    return figures


def _by_map(table: pd.DataFrame) -> Mapping[tuple[str, ...], pd.DataFrame]:
    """Rows of each explainer and model, named by what differs between them."""
    several = [name for name in ("explainer", "model") if len(table[name].unique()) > 1]
    return {tuple(str(rows[name].iloc[0]) for name in several): rows
            for _, rows in table.groupby(["explainer", "model"], sort=False)}
