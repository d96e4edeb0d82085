"""The section of a page on gaze, for studies that have it."""

from __future__ import annotations

import pandas as pd
import xarray as xr

from saltrust.analysis.gaze.analysis import ALL
from saltrust.analysis.result import Result
from saltrust.analysis.result.cells import UNDEFINED, interval, significant
from saltrust.analysis.result.text import confidence_level
from saltrust.report.figures import gaze as gaze_figures
from saltrust.report.page.blocks import Section, Text, picture, split_phrase, table


def gaze(result: Result, cubes: xr.DataTree, title: str) -> Section:
    """Agreement of every map with gaze beside chance, and examples.

    Parameters
    ----------
    result : Result
        Of :func:`saltrust.analysis.gaze.analysis.gaze`.
    cubes : xarray.DataTree
        What it was made from.
    title : str
    """
    level = f"{100 * confidence_level(result.meta):g}%"
    images = split_phrase(result.meta)
    return Section("gaze", title, [
        Text(f"Heatmaps beside where {result.meta['reader']} looked, on the images{images} that "
             "show the finding of the map. Gaze is central whatever an image shows, so two maps "
             "that know nothing of the image stand beside: a central Gaussian (centre-prior) and "
             "the mean gaze of other patients (average-gaze). A map worth its name agrees "
             "with gaze more than they do, and more with the gaze on its own image than with that "
             "on others."),
        picture(gaze_figures.agreement(result),
                f"Mean agreement with {level} intervals from a bootstrap over patients; hollow: "
                "with the gaze on other images; dashed: a map that tells nothing.",
                "Dots of agreement with gaze, one row per map, one panel per measure"),
        table("Agreement with gaze, all findings together", agreement_table(result),
              stacked=True, note="Higher is better, but for the KL divergence. Definitions: "
                                 "docs/gaze.md."),
        picture(gaze_figures.examples(cubes, result),
                "Radiographs with fixations, and maps with the gaze outlined at half of its "
                "maximum: images of high, middling and low agreement.",
                "Radiographs and heatmaps with outlines of gaze")])


def agreement_table(result: Result) -> pd.DataFrame:
    """One row per map, one column of texts per measure.

    Parameters
    ----------
    result : Result
        Of :func:`saltrust.gaze`.
    """
    summary = result.tables["summary"]
    findings = list(dict.fromkeys(summary["finding"]))
    rows = summary[summary["finding"] == (ALL if ALL in findings else findings[0])]
    lines = []
    for (explainer, model), part in rows.groupby(["explainer", "model"], sort=False):
        row = {"explainer": str(explainer), "model": str(model) or UNDEFINED,
               "n": int(part["n"].max())}
        for one in part.to_dict("records"):
            text = f"{significant(one['estimate'])} {interval(one['conf_low'], one['conf_high'])}"
            row[gaze_figures.TITLES[str(one["term"])].partition(" (")[0]] = text.removesuffix(
                f" {UNDEFINED}")
        lines.append(row)
    return pd.DataFrame(lines)
