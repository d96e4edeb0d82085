"""Figures by name: what they show is what the analyses say, of the images that were asked for."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

import saltrust
from saltrust.analysis.options import Scoring
from saltrust.analysis.protocols.result import ProtocolResult
from saltrust.analysis.result.cells import significant
from saltrust.analysis.scores.scored_maps import score_maps
from saltrust.analysis.select import select
from saltrust.analysis.trustworthiness.utility_scores import utility_scores
from saltrust.errors import DataError, UsageError
from saltrust.report.catalog import overview
from saltrust.report.catalog.choosing import Case, high_middle_low, ranked
from saltrust.report.catalog.panels import wrapped
from saltrust.report.catalog.registry import figure, named_figures
from saltrust.report.figures.files import save_figure

NAMES = ("maps", "case", "descriptors", "randomization", "repeatability", "reproducibility",
         "precision-recall", "overview")


def panels(drawn: Figure) -> list[Axes]:
    """Axes on which something is drawn."""
    return [axes for axes in drawn.axes if axes.images or axes.lines]


def titles(drawn: Figure) -> list[str]:
    return [axes.get_title() for axes in panels(drawn)]


def one(table: pd.DataFrame, **labels: Any) -> pd.Series:
    for name, value in labels.items():
        table = table[table[name] == value]
    (row,) = [row for _, row in table.iterrows()]
    return row


@pytest.fixture(scope="module")
def scores(test_split: xr.DataTree) -> pd.DataFrame:
    return utility_scores(test_split).table


def test_the_figures_of_the_papers_can_be_asked_for() -> None:
    assert tuple(named_figures())[:len(NAMES)] == NAMES
    assert saltrust.figure is figure
    for name, declared in named_figures().items():
        assert declared.name == name
        assert not declared.shows.endswith(".")


def test_maps_of_an_image_have_their_scores_below(test_split: xr.DataTree,
                                                  scores: pd.DataFrame) -> None:
    ranking = scores[(scores["explainer"] == "gradcam") & (scores["model"] == "densenet-1")
                     & (scores["condition"] == "trained")]
    best = ranking.loc[ranking["average_precision"].idxmax()]
    drawn = figure(test_split, "maps")
    shown = panels(drawn)
    assert [axes.get_title() for axes in shown] == [
        f"{best['image']}\n{best['finding']}", "gradcam", "guided_backprop", "grad",
        "average mask", "unet-1", "unet-2"]
    for axes, explainer in zip(shown[1:], ("gradcam", "guided_backprop", "grad", "average-mask",
                                           "unet-1", "unet-2"), strict=True):
        of_image = scores[(scores["image"] == best["image"]) & (scores["condition"] != "randomised")
                          & (scores["finding"] == best["finding"])
                          & scores["model"].isin(["densenet-1", explainer, ""])]
        row = one(of_image, explainer=explainer)
        if not row["failed"]:
            assert axes.get_xlabel().split("\n") == [
                f"AUPRC {significant(row['auprc'])}", f"AP {significant(row['average_precision'])}"]


def test_maps_of_one_explainer_are_those_of_every_finding(test_split: xr.DataTree) -> None:
    image = str(test_split["image"].values[0])
    drawn = figure(select(test_split, explainer="gradcam"), "maps", image=image)
    assert titles(drawn) == [image, "Edema", "Nodule"]


def test_a_case_says_iou_and_hit_of_map_and_readers(test_split: xr.DataTree) -> None:
    table = score_maps(test_split, Scoring(), saltrust.Execution()).table
    drawn = figure(test_split, "case", rank="worst", by="iou", count=2)
    maps = table[(table["explainer"] == "gradcam") & (table["model"] == "densenet-1")
                 & (table["area_reference"] > 0)].sort_values("iou", kind="stable")
    shown = panels(drawn)
    assert len(shown) == 8
    worst = maps.iloc[0]
    line = next(k for k, axes in enumerate(shown) if axes.get_title()
                == f"{worst['image']}\n{worst['finding']}")
    text = shown[line + 1].get_xlabel()
    assert ("hit" if worst["hit"] else "miss") in text
    assert "IoU" in text
    people = table[(table["image"] == worst["image"]) & (table["finding"] == worst["finding"])
                   & (table["explainer"] == "expert")]
    for _, row in people.iterrows():
        assert f"{row['model']}: IoU" in shown[line].get_xlabel()
    (legend,) = drawn.legends
    assert {"reference", "expert", "segmentation of the map", "peak of the map"} <= {
        text.get_text() for text in legend.get_texts()}


def test_a_legend_stays_within_a_narrow_figure(test_split: xr.DataTree) -> None:
    drawn = figure(select(test_split, explainer="gradcam"), "case")
    drawn.draw_without_rendering()
    (legend,) = drawn.legends
    box = legend.get_window_extent()
    assert len(legend.get_texts()) == 5
    assert box.x0 >= 0
    assert box.x1 <= drawn.bbox.width
    assert box.y0 >= 0
    assert box.y1 <= min(axes.bbox.y0 for axes in drawn.axes)


def test_descriptors_stand_above_a_rectangle_of_their_elongation(study: xr.DataTree) -> None:
    drawn = figure(study, "descriptors", by="elongation")
    table = saltrust.descriptors(study)["descriptors"]
    roles = study["reference/reader_role"]
    readers = [str(name) for name, role in zip(roles["reader"].values, roles.values, strict=True)
               if str(role) == "reference"]
    table = table[table["reader"].isin(readers)]
    longest = table.loc[table["elongation"].idxmax()]
    shown = panels(drawn)
    assert shown[0].get_title().replace("\n", " ").startswith(str(longest["image"])[:8])
    assert shown[2].get_title() == f"elongation {significant(longest['elongation'])}"
    (rectangle,) = [patch for patch in shown[2].patches if isinstance(patch, Polygon)]
    corners = rectangle.get_xy()[:4]
    height, width = (float(study[f"native_{side}"].sel(image=longest["image"]))
                     for side in ("height", "width"))
    # In pixels of the picture, whose longer side is that of the grid.
    sides = np.hypot(*(np.roll(corners, -1, axis=0) - corners).T) * max(height, width) / 16
    assert max(sides) / min(sides) == pytest.approx(longest["elongation"])


def test_stages_have_the_ssim_of_the_analysis(test_split: xr.DataTree) -> None:
    table = saltrust.randomization(test_split, pairs=2, decision=saltrust.Decision(
        resamples=200))["scores"]
    image = str(table["image"].iloc[0])
    chosen = select(test_split, finding="Edema")
    drawn = figure(chosen, "randomization", image=image)
    stages = test_split["randomization/stage"].values.tolist()
    shown = panels(drawn)
    assert len(shown) == 3 * len(stages)
    assert shown[1].get_title() == stages[1]
    replicate = table["replicate"].iloc[0]
    for line, explainer in enumerate(("gradcam", "guided_backprop", "grad")):
        for place, stage in enumerate(stages[1:], start=1):
            rows = table[(table["image"] == image) & (table["finding"] == "Edema")
                         & (table["explainer"] == explainer) & (table["stage"] == stage)
                         & (table["replicate"] == replicate)]
            text = shown[line * len(stages) + place].get_xlabel()
            expected = "" if rows.empty else f"SSIM {significant(rows['ssim'].iloc[0])}"
            assert text == expected


@pytest.mark.parametrize(("name", "models"), [
    ("repeatability", ("densenet-1", "densenet-2")),
    ("reproducibility", ("densenet-1", "inception-1"))])
def test_two_models_stand_below_each_other(test_split: xr.DataTree, name: str,
                                           models: tuple[str, str]) -> None:
    decision = saltrust.Decision(resamples=200)
    table = getattr(saltrust, name)(test_split, pairs=2, decision=decision)["scores"]
    chosen = table[(table["finding"] == "Edema") & ~table["failed"]
                   & (table["explainer"] == "gradcam")].iloc[0]
    drawn = figure(select(test_split, finding="Edema"), name, image=str(chosen["image"]))
    shown = panels(drawn)
    assert [axes.get_ylabel() for axes in shown if axes.get_ylabel()] == list(models)
    assert shown[1].get_title() == "gradcam"
    row = one(table, image=chosen["image"], finding="Edema", explainer="gradcam",
              model_a=models[0], model_b=models[1])
    assert shown[1].get_xlabel() == f"SSIM {significant(row['ssim'])}"
    assert "localizer unet" in titles(drawn)


def test_curves_have_the_areas_of_the_analysis(test_split: xr.DataTree, scores: pd.DataFrame
                                               ) -> None:
    drawn = figure(test_split, "precision-recall", rank="median", count=2)
    assert len(panels(drawn)) == 2
    axes = panels(drawn)[0]
    image, finding = axes.get_title().split("\n")[:2]
    legend = axes.get_legend()
    assert legend is not None
    text = [entry.get_text() for entry in legend.get_texts()]
    row = one(scores, image=image, finding=finding, explainer="gradcam", model="densenet-1",
              condition="trained")
    assert text[0] == (f"gradcam: AP {significant(row['average_precision'])}, "
                       f"AUPRC {significant(row['auprc'])}")
    curve = axes.lines[0]
    recall, precision = (np.asarray(values) for values in curve.get_data())
    assert np.trapezoid(precision, recall) == pytest.approx(row["auprc"])
    assert (np.diff(recall) * precision[1:]).sum() == pytest.approx(row["average_precision"])


def test_the_overview_is_the_table_of_decisions(monkeypatch: pytest.MonkeyPatch,
                                                test_split: xr.DataTree) -> None:
    decisions = pd.DataFrame({
        "explainer": ["gradcam", "grad"], "utility: average-mask": ["pass *", "did not pass"],
        "utility: unet": ["uncertain", "pass / uncertain"],
        "randomization: different images": ["pass", ""]})
    protocol = ProtocolResult({}, {"decisions": decisions}, "protocol_trustworthiness", {}, {},
                              {}, "")
    monkeypatch.setattr(overview, "protocol_trustworthiness", lambda *_, **__: protocol)
    (axes,) = figure(test_split, "overview").axes
    words = [" ".join(text.get_text().split()) for text in axes.texts]
    assert sorted(filter(None, words)) == sorted([
        "gradcam", "grad", "pass *", "did not pass", "uncertain", "pass / uncertain", "pass",
        "average-mask", "unet", "different images", "utility", "randomization"])
    colors = [patch.get_facecolor() for patch in axes.patches]
    # pass, uncertain, pass; did not pass, models that disagree, nothing.
    assert colors[0] == colors[2]
    assert len(set(colors)) == 5


def test_ranks_are_of_the_scores() -> None:
    table = pd.DataFrame({"image": list("abcdef"), "finding": "Edema",
                          "score": [0.1, 0.6, np.nan, 0.3, 0.9, 0.2]})
    def images(rank: Any, count: int) -> list[str]:
        return [case.image for case in ranked(table, rank, count, "AP")]

    assert images("best", 2) == ["e", "b"]
    assert images("median", 1) == ["d"]
    assert images("worst", 2) == ["f", "a"]
    assert images("worst", 99) == ["e", "b", "d", "f", "a"]
    assert high_middle_low(table[:1], "AP") == [Case("a", "Edema", "best AP")]


@pytest.mark.parametrize(("name", "options", "error", "words"), [
    ("mapz", {}, UsageError, "did you mean 'maps'"),
    ("maps", {"image": "patient-99"}, UsageError, "no image 'patient-99'"),
    ("maps", {"image": "x", "rank": "best"}, UsageError, "chosen by rank"),
    ("maps", {"by": "probabilty"}, UsageError, "did you mean 'probability'"),
    ("maps", {"rank": "first"}, UsageError, "rank 'first'"),
    ("maps", {"count": 99}, UsageError, "1 to 40 images"),
    ("overview", {"image": "x"}, UsageError, "shows no single images"),
    ("descriptors", {"image": "x"}, UsageError, "no image 'x'"),
])
def test_a_wrong_call_is_said(study: xr.DataTree, name: str, options: dict[str, Any],
                              error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        figure(study, name, **options)


@pytest.mark.parametrize(("group", "name", "words"), [
    ("randomization", "randomization", r"/randomization is absent"),
    ("saliency", "maps", r"/saliency is absent"),
    ("reference", "case", "no reference masks")])
def test_what_the_cubes_lack_is_said(study: xr.DataTree, group: str, name: str, words: str
                                     ) -> None:
    poorer = study.copy(deep=False)
    del poorer[group]
    with pytest.raises(DataError, match=words):
        figure(poorer, name, by="iou" if name == "case" else None)


def test_without_radiographs_and_masks_maps_are_ranked_by_probability(study: xr.DataTree) -> None:
    poorer = study.copy(deep=False)
    del poorer["radiograph"]
    del poorer["localizer"]
    poorer["reference"] = xr.DataTree(study["reference"].to_dataset()[["label"]].drop_vars(
        ["reader", "reader_role"], errors="ignore"))
    drawn = figure(poorer, "maps")
    assert panels(drawn)[0].get_xlabel() == "no radiograph stored\nbest probability of gradcam"
    assert [axes.get_title() for axes in panels(drawn)][1:] == ["gradcam", "guided_backprop",
                                                                "grad"]


@pytest.mark.parametrize("form", ["png", "svg", "pdf"])
def test_a_figure_is_the_same_bytes_each_time(test_split: xr.DataTree, form: str) -> None:
    def written() -> bytes:
        buffer = io.BytesIO()
        save_figure(figure(test_split, "descriptors"), buffer, form, dots=20)
        return buffer.getvalue()

    first = written()
    assert first == written()
    assert b"2026" not in first or form == "png"


@pytest.mark.parametrize("text", ["a_rather_long_name_of_an_explainer" * 4, "x" * 200,
                                  "\u80ba\u708e" * 30, "two words"])
def test_headings_fit_their_panels(text: str) -> None:
    lines = wrapped(text, 1.0, 8.0).split("\n")
    assert len(lines) <= 4
    assert max(map(len, lines)) <= 15
    assert lines[0][:2] == text[:2]


def test_no_heading_is_clipped(test_split: xr.DataTree) -> None:
    named = test_split.copy(deep=False)
    long = [f"a_rather_long_name_of_an_explainer_{k}_of_three" for k in range(3)]
    for group in ("saliency", "randomization"):
        node = named.children[group]
        node.dataset = node.to_dataset(inherit=False).assign_coords(
            explainer=np.array(long, dtype=np.dtypes.StringDType()))
    named = select(named, finding="Edema")
    for name in ("maps", "randomization", "descriptors", "precision-recall"):
        drawn = figure(named, name, by="area_ratio" if name == "descriptors" else "ap")
        drawn.draw_without_rendering()
        for axes in panels(drawn):
            box = axes.title.get_window_extent()
            assert box.x0 >= -1
            assert box.x1 <= drawn.bbox.width + 1
            assert box.y1 <= drawn.bbox.height + 1
