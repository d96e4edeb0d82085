"""Figures of protocol S: bars, letter values, coefficients, confidence."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from saltrust.analysis.protocols.localization.protocol import in_study_order
from saltrust.analysis.protocols.result import ProtocolResult
from saltrust.analysis.result import Result
from saltrust.analysis.scores.score_rows import EXPERT
from saltrust.analysis.stored.readings import read_as
from saltrust.report.catalog.case import draw_cases
from saltrust.report.catalog.choosing import (
    Case,
    high_middle_low,
    pixel_scores,
    ranked,
    shown_models,
)
from saltrust.report.catalog.maps import draw_maps, maps_of_image
from saltrust.report.catalog.shapes import DESCRIPTORS, draw_descriptors
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
            figures["descriptors_examples"] = draw_descriptors(
                cubes, _extreme_shapes(drawn), drawn)
    figures |= _examples(cubes, located)
    if "regressions" in results:
        for names, rows in _by_map(results["regressions"]["estimates"]).items():
            figures["_".join(["coefficients", *names])] = estimates.coefficients(rows,
                                                                                 level=level)
    return figures | (_draw_confidence(protocol, cubes) if "confidence" in results else {})


def _extreme_shapes(drawn: pd.DataFrame) -> list[Case]:
    """The mask of the highest value of each descriptor, each once."""
    first = drawn.drop_duplicates(["image", "finding"])
    largest = [case for name in DESCRIPTORS
               for case in ranked(first.assign(score=first[name].astype(float)), "best", 1, "")]
    return [Case(image, finding) for image, finding in
            dict.fromkeys((case.image, case.finding) for case in largest)]


def _examples(cubes: xr.DataTree, located: Result) -> dict[str, Figure]:
    """Cases of the best, the median and the worst IoU, and all maps of the median one."""
    scores = located["scores"]
    maps = scores[(scores["explainer"] != EXPERT) & (scores["area_reference"] > 0)]
    if maps["iou"].isna().all():
        return {}
    read = read_as(cubes, located.meta["map"])
    explainer, model = maps["explainer"].iloc[0], shown_models(cubes)[0]
    ranking = maps[(maps["explainer"] == explainer) & (maps["model"] == model)]
    chosen = high_middle_low(ranking.assign(score=ranking["iou"]), f"IoU of {explainer}")
    if not chosen:
        return {}
    return {"examples": draw_cases(read, chosen, scores),
            "maps": draw_maps(read, maps_of_image(read, chosen[len(chosen) // 2]),
                              pixel_scores(cubes, chosen, located.meta["map"]))}


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
