"""Figures: what is drawn equals what the tables say."""

from __future__ import annotations

import base64
import itertools
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from saltrust.analysis.result import Result
from saltrust.report.figures import distributions, literal, palette
from saltrust.report.figures import estimates as figures
from saltrust.report.figures.distributions import letter_values
from saltrust.report.page.result_sections import of_model


def spans(axes: Axes, *, across: bool = False) -> set[tuple[float, float, float]]:
    """Horizontal (or vertical) lines drawn as collections: position, start, end."""
    values = set()
    for collection in axes.collections:
        if isinstance(collection, LineCollection):
            for (x0, y0), (x1, y1) in collection.get_segments():
                if y0 == y1 and not across:
                    values.add((round(y0, 9), round(x0, 9), round(x1, 9)))
                elif x0 == x1 and across:
                    values.add((round(x0, 9), round(y0, 9), round(y1, 9)))
    return values


def labels(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.get_yticklabels()]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.fixture
def summary() -> pd.DataFrame:
    rows = []
    for finding, ai, grad in (("Edema", 0.2, 0.1), ("Lesion", 0.05, 0.3), ("Fluid", 0.3, 0.2)):
        for explainer, model, value in (("gradcam", "net", ai), ("grad", "net", grad),
                                        ("expert", "reader", 0.5)):
            rows.append({"finding": finding, "explainer": explainer, "model": model,
                         "metric": "iou", "estimate": value, "conf_low": value - 0.04,
                         "conf_high": value + 0.08, "n": 40, "chance": 0.11})
    rows[0]["n"] = 38
    return pd.DataFrame(rows)


@pytest.fixture
def decrease() -> pd.DataFrame:
    return pd.DataFrame({"finding": ["Edema", "Fluid", "Lesion", "average"],
                         "explainer": ["gradcam"] * 4, "model": ["net"] * 4,
                         "metric": ["iou"] * 4, "estimate": [60.0, 40.0, 90.0, 63.3]})


def test_bars_are_the_estimates_and_lines_the_intervals(summary: pd.DataFrame,
                                                        decrease: pd.DataFrame) -> None:
    figure = figures.localization(summary, "iou", decrease=decrease)
    axes = figure.axes[0]
    assert [text.partition("  (")[0] for text in labels(axes)] == ["Lesion", "Edema", "Fluid"]
    bars = {round(bar.get_y() + bar.get_height() / 2, 9): bar.get_width()
            for bar in axes.patches if isinstance(bar, Rectangle)}
    assert len(bars) == 9
    values = spans(axes)
    for place, finding in enumerate(["Lesion", "Edema", "Fluid"]):
        for offset, explainer in ((-0.8 / 3, "expert"), (0, "gradcam"), (0.8 / 3, "grad")):
            row = summary[(summary["finding"] == finding)
                          & (summary["explainer"] == explainer)].iloc[0]
            at = round(place + offset, 9)
            assert bars[at] == row["estimate"]
            assert (at, round(row["conf_low"], 9), round(row["conf_high"], 9)) in values
    assert legend(figure) == ["expert", "gradcam", "grad", "95% CI", "chance"]
    assert {x for x, _, _ in spans(axes, across=True)} == {0.11}


def test_bars_count_their_rows_and_leave_out_what_is_unknown(summary: pd.DataFrame) -> None:
    summary.loc[summary["finding"] == "Lesion", "estimate"] = np.nan
    axes = figures.localization(summary.drop(columns="chance"), "iou").axes[0]
    assert labels(axes) == ["Edema  (n = 38 to 40)", "Lesion  (n = 40)", "Fluid  (n = 40)"]
    assert len([bar for bar in axes.patches if isinstance(bar, Rectangle)]) == 6
    assert not spans(axes, across=True)


def test_an_interval_may_lie_beside_its_estimate(summary: pd.DataFrame) -> None:
    # A percentile interval need not hold the estimate; the figure must show it all the same.
    summary.loc[0, ["conf_low", "conf_high"]] = [0.25, 0.4]
    axes = figures.localization(summary, "iou").axes[0]
    assert any(span[1:] == (0.25, 0.4) for span in spans(axes))


def test_series_are_named_by_model_and_reader_where_these_differ() -> None:
    table = pd.DataFrame({"explainer": ["expert", "expert", "grad", "grad", "gradcam"],
                          "model": ["b", "c", "net", "net", "net"]})
    assert figures.series_names(table).tolist() == [
        "expert (b)", "expert (c)", "grad", "grad", "gradcam"]
    assert figures.series_names(table[["explainer"]]).tolist()[0] == "expert"


def test_people_are_blue_and_no_two_series_share_a_color() -> None:
    names = ["expert (b)", "expert (c)", "grad", "gradcam", "xrai", "lime",
             *(f"explainer {k}" for k in range(17))]
    colors = palette.series_colors(names)
    assert len(set(colors.values())) == len(names)
    assert colors["expert (b)"] == palette.EXPERT


@pytest.fixture
def estimates() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    rows = []
    for scheme in ("iou", "hit"):
        for response in ("saliency", "expert", "difference"):
            for k, descriptor in enumerate(("n_instances", "area_ratio", "elongation",
                                            "irrectangularity")):
                value = rng.normal()
                rows.append({"scheme": scheme, "response": response, "descriptor": descriptor,
                             "estimate": value, "conf_low": value - 0.3,
                             "conf_high": value + 0.2, "p_value": 0.001,
                             "p_adjusted": [0.2, 0.04, 0.0499, 0.05][k], "n": 33})
    return pd.DataFrame(rows)


def test_forest_markers_are_filled_only_where_significant(estimates: pd.DataFrame) -> None:
    figure = figures.coefficients(estimates)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "IoU  (n = 33)", "Hit (1) or miss (0)  (n = 33)"]
    for axes, scheme in zip(figure.axes, ("iou", "hit"), strict=True):
        rows = estimates[estimates["scheme"] == scheme]
        markers = {round(float(np.ravel(line.get_xdata())[0]), 9): line for line in axes.lines
                   if line.get_marker() == "o"}
        assert len(markers) == 12
        drawn = {span[1:] for span in spans(axes)}
        for row in rows.to_dict("records"):
            marker = markers[round(row["estimate"], 9)]
            hollow = same_color(marker.get_markerfacecolor(), "white")
            assert hollow == (row["p_adjusted"] >= 0.05)
            assert (round(row["conf_low"], 9), round(row["conf_high"], 9)) in drawn


@pytest.mark.parametrize("names", [1, 4, 12])
def test_a_legend_stays_within_its_figure(estimates: pd.DataFrame, summary: pd.DataFrame,
                                          names: int) -> None:
    many = pd.concat([summary.assign(model=f"densenet121-{k}") for k in range(names)])
    for figure in (figures.coefficients(estimates), figures.localization(many, "iou")):
        (legend,) = figure.legends
        figure.draw_without_rendering()
        box = legend.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y1 <= figure.bbox.height
        assert box.y0 >= max(axes.bbox.y1 for axes in figure.axes)


def test_forest_says_what_cannot_be_estimated(estimates: pd.DataFrame) -> None:
    estimates.loc[0, ["estimate", "conf_low", "conf_high", "p_value", "p_adjusted"]] = np.nan
    estimates.loc[1, ["conf_low", "conf_high"]] = np.nan
    axes = figures.coefficients(estimates).axes[0]
    assert [text.get_text() for text in axes.texts] == ["not estimable"]
    assert len([line for line in axes.lines if line.get_marker() == "o"]) == 11
    assert len(spans(axes)) == 10


def test_correlations_follow_the_table(analyses: dict[str, Result | str]) -> None:
    result = analyses["confidence"]
    assert isinstance(result, Result)
    table = result.tables["estimates"]
    ranks = table[table["term"] == "spearman"]
    ranks = ranks.assign(series=figures.series_names(ranks))
    figure = figures.correlations(ranks)
    for axes, scheme in zip(figure.axes, ("iou", "hit"), strict=True):
        rows = ranks[(ranks["scheme"] == scheme) & ranks["estimate"].notna()]
        drawn = sorted(float(np.ravel(line.get_xdata())[0]) for line in axes.lines
                       if line.get_marker() == "o")
        assert drawn == pytest.approx(sorted(rows["estimate"]))


def test_scatter_tells_hits_from_misses() -> None:
    points = pd.DataFrame({"finding": ["A", "A", "A", "B", "B"],
                           "probability": [0.1, 0.5, 0.9, 0.4, np.nan],
                           "iou": [0.0, 0.3, 0.6, 0.2, 0.5], "hit": [0.0, 1.0, 1.0, 0.0, 1.0]})
    figure = figures.confidence_scatter(points)
    first, second = figure.axes
    assert [axes.get_title() for axes in (first, second)] == ["A\nn = 3", "B\nn = 1"]
    misses, hits = first.collections
    assert np.ma.getdata(misses.get_offsets()).tolist() == [[0.1, 0.0]]
    assert np.ma.getdata(hits.get_offsets()).tolist() == [[0.5, 0.3], [0.9, 0.6]]
    assert len(misses.get_facecolor()) == 0
    assert len(hits.get_facecolor()) == 1


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-1e6, 1e6), min_size=8, max_size=200))
def test_letter_values_nest_and_leave_equal_tails(values: list[float]) -> None:
    data = np.array(values)
    pairs = letter_values(data)
    for (inner_low, inner_high), (low, high) in itertools.pairwise(pairs):
        assert low <= inner_low <= inner_high <= high
    mirrored = [(-high, -low) for low, high in letter_values(-data)]
    assert mirrored == pairs
    outside = np.count_nonzero((data < pairs[0][0]) | (data > pairs[0][1]))
    assert outside <= len(data) / 2 + 1


def test_first_letter_values_are_tukeys_fourths() -> None:
    # Nine values: the fourths have depth (1 + 5) / 2 = 3.
    assert letter_values(np.arange(1.0, 10.0))[0] == (3.0, 7.0)
    assert letter_values(np.arange(7.0)) == []


def test_descriptor_medians_are_drawn(analyses: dict[str, Result | str]) -> None:
    result = analyses["descriptors"]
    assert isinstance(result, Result)
    table = result.tables["descriptors"]
    table = table[(table["reader"] == "radiologists") & (table["n_instances"] > 0)]
    figure = distributions.descriptors(table)
    assert labels(figure.axes[0]) == [f"{name}  (n = 8)" for name in
                                      ("Cardiomegaly", "Edema & co", "Lung_Lesion")]
    for axes, (column, _, _) in zip(figure.axes, distributions.DESCRIPTORS, strict=True):
        drawn = [float(np.ravel(line.get_xdata())[0]) for line in axes.lines
                 if line.get_gid() == "median"]
        expected = table.groupby("finding", sort=False)[column].median().tolist()
        assert drawn == pytest.approx(expected)


def test_probability_figure_counts_labels_and_writes_the_auc() -> None:
    table = pd.DataFrame({"finding": ["A"] * 9, "label": ["positive"] * 5 + ["negative"] * 4,
                          "probability": np.linspace(0.9, 0.1, 9)})
    aucs = pd.DataFrame({"finding": ["A"], "estimate": [0.876], "conf_low": [0.7],
                         "conf_high": [0.95]})
    figure = distributions.probabilities(table, aucs)
    axes = figure.axes[0]
    assert labels(axes) == ["A  (n = 5 + 4)"]
    assert legend(figure) == ["positive", "negative", "median"]
    margin = axes.child_axes[0]
    assert [text.get_text() for text in margin.get_yticklabels()] == ["AUC 0.88 [0.70, 0.95]"]


def test_one_model_of_many_is_shown() -> None:
    table = pd.DataFrame({"explainer": ["grad", "grad", "expert"], "model": ["a", "b", "reader"]})
    assert of_model(table, "b")["model"].tolist() == ["b", "reader"]
    assert len(of_model(table, "none")) == 3


def test_encoding_depends_on_the_figure_alone_and_on_its_marks() -> None:
    def draw(count: int) -> Figure:
        figure = literal.new_figure(2, 3)
        figure.subplots().scatter(np.arange(count), np.arange(count))
        return figure

    uri = palette.to_data_uri(draw(5))
    assert uri.startswith("data:image/svg+xml;base64,")
    assert uri == palette.to_data_uri(draw(5))
    text = base64.b64decode(uri.partition(",")[2]).decode()
    assert re.search(r"<text[^>]*>", text)  # letters stay letters: small, sharp, searchable
    many = palette.to_data_uri(draw(palette.MOST_VECTOR_MARKS + 1))
    assert many.startswith("data:image/png;base64,")
    picture = literal.new_figure(1, 1)
    picture.subplots().imshow(np.zeros((4, 4)))
    assert palette.to_data_uri(picture).startswith("data:image/jpeg;base64,")
