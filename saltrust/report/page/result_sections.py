"""Sections that show what the analyses found."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import xarray as xr

from saltrust.analysis.confidence.analysis import table3
from saltrust.analysis.planning.checking import sentence
from saltrust.analysis.result import Result
from saltrust.analysis.result.cells import UNDEFINED, interval, significant
from saltrust.analysis.result.text import confidence_level
from saltrust.analysis.shape.regressions import table2
from saltrust.report.figures import distributions
from saltrust.report.figures import estimates as figures
from saltrust.report.figures.cases import probabilities
from saltrust.report.page import gaze_section
from saltrust.report.page.blocks import Block, Section, Text, facts, picture, split_phrase, table

TITLES = {
    "plan": "Plan",
    "localization": "Localization",
    "descriptors": "Shapes of the reference masks",
    "regressions": "Localization and shape",
    "confidence": "Localization and confidence",
    "gaze": "Heatmaps and gaze",
}
METRICS = {"iou": "Mean IoU", "hit": "Hit rate"}
#: What the localization tables call the mean over findings.
AVERAGE = "average"


def build(topic: str, result: Result, cubes: xr.DataTree, *, model: str,
          scores: pd.DataFrame | None) -> Section:
    """The section of one analysis.

    Parameters
    ----------
    topic : str
        A key of ``TITLES``.
    result : Result
        What the analysis returned.
    cubes : xarray.DataTree
        The study, for predictions and the roles of readers.
    model : str
        Whose maps are shown where there are several.
    scores : pandas.DataFrame or None
        Per-map scores.
    """
    if topic == "localization":
        return localization(result, model)
    if topic == "descriptors":
        return descriptors(result, cubes)
    if topic == "regressions":
        return regressions(result, model)
    if topic == "gaze":
        return gaze_section.gaze(result, cubes, TITLES[topic])
    if topic == "plan":
        return Section("plan", TITLES[topic], [
            Text(sentence(result.meta)),
            table("What was planned and what was done", result.tables["plan"])])
    return confidence(result, cubes, model, scores)


def of_model(frame: pd.DataFrame, model: str) -> pd.DataFrame:
    """Rows of one model and of experts; all rows where the model has none."""
    if "model" not in frame:
        return frame
    kept = frame[(frame["model"] == model) | (frame.get("explainer") == "expert")]
    return kept if (kept["model"] == model).any() else frame


def _others(frame: pd.DataFrame, model: str) -> list[Block]:
    count = frame.loc[frame["explainer"] != "expert", "model"].nunique()
    if count < 2:
        return []
    return [Text(f"Shown are the maps of model {model}; those of the other {count - 1} "
                 "models are in the tables of `saltrust analyze`.")]


# Localization -------------------------------------------------------------------------------


def localization(result: Result, model: str) -> Section:
    """IoU and hit rate of experts and maps, and how far the maps fall behind."""
    summary, decrease = result.tables["summary"], result.tables["decrease"]
    level = confidence_level(result.meta)
    shown, falls = of_model(summary, model), of_model(decrease, model)
    blocks: list[Block] = [Text(
        "IoU is the overlap of the map above Otsu's threshold with the reference mask, divided "
        "by their union. A hit is a map whose peak lies inside the reference; for an expert it "
        "is the point they marked. Chance is the hit rate of a point thrown at random: the mean "
        "share of the image that the reference covers.")]
    blocks += _others(summary, model)
    means = averages(shown, falls).rename(columns={"estimate": "decrease (%)"})
    means["metric"] = means["metric"].map(METRICS)
    blocks.append(table("Averages over findings, each counting alike", means, level=level,
                        note=_decrease_note(result)))
    compared = bool(falls["estimate"].notna().any())
    for metric, name in METRICS.items():
        order = ("; findings sorted by the decrease from expert to the first explainer"
                 if compared else "")
        blocks.append(picture(
            figures.localization(shown, metric, decrease=falls, level=level),
            f"{name} per finding with {100 * level:g}% intervals from a bootstrap over patients"
            f"{order}.",
            f"Bars of {name.lower()} per finding for the expert and every explainer"))
        blocks.append(table(name + (" and percentage decrease from expert to map"
                                    if compared else " per finding"),
                            localization_table(shown, falls, metric), stacked=True))
    change = result.tables.get("decrease_change")
    if change is not None and change["estimate"].notna().any():
        blocks.append(table(
            f"How much smaller the decrease is in hit rate than in IoU, in percentage points "
            f"with {100 * level:g}% intervals", change_table(of_model(change, model))))
    return Section("localization", TITLES["localization"], blocks)


def _decrease_note(result: Result) -> str:
    slice_name = result.meta.get("slice", "")
    note = ""
    if result.tables["decrease"]["estimate"].notna().any():
        meaning = result.meta.get("decrease", "100 * (expert - saliency) / expert")
        note = f"Decrease: {meaning}."
    if slice_name:
        note += f" IoU slice: {slice_name} ({result.meta.get('slice_meaning', '')})."
    if split_phrase(result.meta):
        note += f" Images{split_phrase(result.meta)}, which are those with heatmaps."
    return note.strip()


def averages(summary: pd.DataFrame, decrease: pd.DataFrame) -> pd.DataFrame:
    """Means over findings, each counting alike: expert, map and the decrease between them.

    Returns
    -------
    pandas.DataFrame
        ``metric, explainer, model, n, expert, map, estimate, conf_low, conf_high``; the last
        three are the decrease in percent.  Without experts ``map`` is the mean of the
        findings' means and the rest is null.
    """
    rows = []
    maps = summary[summary["explainer"] != "expert"]
    for (metric, explainer, model), group in maps.groupby(["metric", "explainer", "model"],
                                                          sort=False):
        falls = decrease[(decrease["metric"] == metric) & (decrease["explainer"] == explainer)
                         & (decrease["model"] == model) & (decrease["finding"] == AVERAGE)
                         & decrease["saliency"].notna()]
        row: dict[str, object] = {"metric": metric, "explainer": explainer, "model": model}
        if len(falls):
            fall = falls.iloc[0]
            row |= {"n": fall["n"], "expert": fall["expert"], "map": fall["saliency"],
                    **{name: fall[name] for name in ("estimate", "conf_low", "conf_high")}}
        else:
            missing = float("nan")
            row |= {"n": int(group["n"].sum()), "expert": missing,
                    "map": group["estimate"].mean(), "estimate": missing,
                    "conf_low": missing, "conf_high": missing}
        rows.append(row)
    return pd.DataFrame(rows, columns=["metric", "explainer", "model", "n", "expert", "map",
                                       "estimate", "conf_low", "conf_high"])


def localization_table(summary: pd.DataFrame, decrease: pd.DataFrame, metric: str,
                       ) -> pd.DataFrame:
    """One row per finding: every series' mean with its interval, and the decreases.

    Returns
    -------
    pandas.DataFrame
        ``finding``, ``n``, one column of texts per series, ``chance`` where known, one
        column ``decrease, <explainer> (%)`` per explainer; in the order of the figure.
    """
    rows = summary[summary["metric"] == metric]
    rows = rows.assign(series=figures.series_names(rows))
    falls = decrease[decrease["metric"] == metric]
    falls = falls.assign(series=figures.series_names(falls))
    findings = figures.by_decrease(rows, metric, decrease)
    table: dict[str, list[str]] = {
        "finding": findings,
        "n": [figures.count(rows.loc[rows["finding"] == name, "n"]) for name in findings]}
    for name in figures.experts_first(rows["series"].tolist()):
        of_series = rows[rows["series"] == name]
        table[name] = [_with_interval(of_series, finding) for finding in findings]
    if "chance" in rows and rows["chance"].notna().any():
        chance = dict(zip(rows["finding"], rows["chance"], strict=True))
        table["chance"] = [significant(float(chance[name])) for name in findings]
    for name in dict.fromkeys(falls["series"].tolist()):
        of_series = falls[falls["series"] == name]
        if of_series["estimate"].notna().any():
            table[f"decrease, {name} (%)"] = [_with_interval(of_series, finding)
                                              for finding in findings]
    return pd.DataFrame(table)


def change_table(change: pd.DataFrame) -> pd.DataFrame:
    """One row per finding, one column of texts per series: from IoU to hit rate."""
    rows = change.assign(series=figures.series_names(change))
    findings = dict.fromkeys(name for name in rows["finding"] if name != AVERAGE)
    table: dict[str, list[str]] = {"finding": [*findings, AVERAGE]}
    for name in dict.fromkeys(rows["series"].tolist()):
        of_series = rows[rows["series"] == name]
        table[name] = [_with_interval(of_series, finding) for finding in table["finding"]]
    return pd.DataFrame(table)


def _with_interval(rows: pd.DataFrame, finding: str) -> str:
    known = rows[(rows["finding"] == finding) & rows["estimate"].notna()]
    if known.empty:
        return UNDEFINED
    value, low, high = (float(known[name].iloc[0])
                        for name in ("estimate", "conf_low", "conf_high"))
    return f"{significant(value)} {interval(low, high)}".removesuffix(f" {UNDEFINED}")


# Shapes -------------------------------------------------------------------------------------


def descriptors(result: Result, cubes: xr.DataTree) -> Section:
    """Distribution of the shape descriptors of the reference masks."""
    shapes = result.tables["descriptors"]
    of_split = split_phrase(result.meta)
    readers = reference_readers(cubes, shapes)
    shown = shapes[shapes["reader"].isin(readers) & (shapes["n_instances"] > 0)]
    shown = _in_order(shown, cubes)
    if shown.empty:
        return Section("descriptors", TITLES["descriptors"], missing=(
            "All reference masks of this study are empty, so they have no shape."))
    blocks: list[Block] = [
        Text(f"Masks drawn by {', '.join(readers)}"
             + (f" on images{of_split}" if of_split else "")
             + "; empty masks have no shape and are left out."),
        picture(distributions.descriptors(shown),
                "Shape of the reference masks per finding. Boxes hold the middle half, three "
                "quarters, seven eighths and so on of the masks, the black line is the median, "
                "points lie outside the last box.",
                "Letter-value plots of four shape descriptors per finding"),
        table("Median and interquartile range per finding", quartiles(shown)),
    ]
    return Section("descriptors", TITLES["descriptors"], blocks)


def _in_order(frame: pd.DataFrame, cubes: xr.DataTree) -> pd.DataFrame:
    """Rows by finding in the order of the cubes."""
    places = {str(name): i for i, name in enumerate(cubes.coords["finding"].values)}
    return frame.sort_values("finding", key=lambda names: names.map(places), kind="stable")


def reference_readers(cubes: xr.DataTree, shapes: pd.DataFrame) -> list[str]:
    """Readers of the table whose role is reference; all where no role is known."""
    names = list(dict.fromkeys(shapes["reader"].tolist()))
    reference = cubes["reference"].to_dataset()
    if "reader_role" not in reference.coords:
        return names
    roles = dict(zip(map(str, reference.coords["reader"].values),
                     map(str, reference.coords["reader_role"].values), strict=True))
    return [name for name in names if roles.get(name) == "reference"] or names


def quartiles(shapes: pd.DataFrame) -> pd.DataFrame:
    """Median [first, third quartile] of every descriptor per finding, as texts."""
    rows = []
    for finding, group in shapes.groupby("finding", sort=False):
        row: dict[str, object] = {"finding": finding, "masks": len(group)}
        for name, _, _ in distributions.DESCRIPTORS:
            values = group[name].dropna()
            if len(values):
                low, middle, high = values.quantile([0.25, 0.5, 0.75])
                row[name] = (f"{middle:g} [{low:g}, {high:g}]" if name == "n_instances" else
                             f"{significant(middle)} {interval(low, high)}")
            else:
                row[name] = UNDEFINED
        rows.append(row)
    return pd.DataFrame(rows)


# Regressions and confidence -----------------------------------------------------------------


def regressions(result: Result, model: str) -> Section:
    """Coefficients of localization on shape, per explainer."""
    estimates = result.tables["estimates"]
    shown = of_model(estimates, model)
    level = confidence_level(result.meta)
    blocks: list[Block] = [Text(
        "Each coefficient is the expected change of the score from the smallest to the largest "
        "value of one descriptor of the reference mask, which is the only regressor. The "
        "response is the map's score, the expert's, or the difference expert - map: a positive "
        "coefficient of the difference means that the map falls further behind as the "
        "descriptor grows."), *_others(estimates, model)]
    for (explainer, _), rows in shown.groupby(["explainer", "model"], sort=False):
        blocks.append(picture(
            figures.coefficients(rows, level=level),
            f"{explainer}: regression coefficients with {100 * level:g}% intervals, which are "
            "not adjusted for multiplicity; a marker is filled where the adjusted p-value is "
            f"below {figures.ALPHA:g}.",
            f"Forest plot of regression coefficients for {explainer}"))
        frame = table2(Result(result.meta, {"estimates": rows}))
        blocks.append(table(f"{explainer}: coefficients with {100 * level:g}% intervals", frame,
                            note=_estimate_note(result, "regressions")))
    return Section("regressions", TITLES["regressions"], blocks)


def confidence(result: Result, cubes: xr.DataTree, model: str,
               scores: pd.DataFrame | None) -> Section:
    """Localization against the predicted probability, per finding and pooled."""
    estimates = result.tables["estimates"]
    shown = of_model(estimates, model)
    level = confidence_level(result.meta)
    ranks = shown[shown["term"] == "spearman"]
    ranks = ranks.assign(series=figures.series_names(ranks))
    blocks: list[Block] = [*_others(estimates, model)]
    if scores is not None:
        explainer = str(shown["explainer"].iloc[0])
        points = scores[(scores["explainer"] == explainer) & (scores["model"] == model)
                        & (scores["area_reference"] > 0)]
        points = _in_order(points, cubes)
        points = points.assign(probability=probabilities(cubes, model, points))
        if points[["probability", "iou"]].notna().all(axis=1).any():
            blocks.append(picture(
                figures.confidence_scatter(points),
                f"{explainer}, model {model}: IoU against predicted probability for every "
                "image with a non-empty reference mask.",
                "Scatter plots of IoU against predicted probability per finding"))
    blocks.append(picture(
        figures.correlations(ranks, level=level),
        f"Spearman's correlation with {100 * level:g}% intervals, which are not adjusted for "
        f"multiplicity; a marker is filled where the adjusted p-value is below "
        f"{figures.ALPHA:g}. Pooling all findings as if they were one mixes differences between "
        "findings with the relation inside each; the fixed effects take those out.",
        "Forest plot of Spearman correlations per finding"))
    for explainer in dict.fromkeys(shown["explainer"].tolist()):
        rows = shown[shown["explainer"] == explainer]
        frame = table3(Result(result.meta, {"estimates": rows}))
        blocks.append(table(f"{explainer}: score on probability, with {100 * level:g}% intervals",
                            frame, note=_estimate_note(result, "confidence")))
    return Section("confidence", TITLES["confidence"], blocks)


def _estimate_note(result: Result, topic: str) -> str:
    note = str(result.meta.get("stars", ""))
    if result.meta.get("errors") == "cr2":
        note += (". Intervals and p-values allow for several rows of one patient (CR2; of "
                 "correlations the jackknife over patients); those of independent rows are in "
                 f"table classical of `saltrust analyze {topic}`")
    elif "robust" in result.tables:
        note += (". Standard errors that allow for several rows of one patient are in table "
                 f"robust of `saltrust analyze {topic}`")
    return note.removeprefix(". ") + "." if note else ""


def methods(analyses: Mapping[str, Result | str]) -> Section:
    """Definitions, slices, seeds, counts and exclusions, as every analysis recorded them."""
    blocks: list[Block] = [facts(TITLES[topic], result.meta)
                           for topic, result in analyses.items() if isinstance(result, Result)]
    if not blocks:
        return Section("methods", "Methods and definitions", missing=(
            "No analysis could be run on this study, so there are no definitions to state."))
    return Section("methods", "Methods and definitions", blocks)
