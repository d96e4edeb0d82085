"""Figures of gaze: what is drawn is what the tables say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from saltrust.analysis.gaze.analysis import gaze
from saltrust.analysis.options import Resampling
from saltrust.analysis.protocols.study import analyze_study
from saltrust.analysis.result import Result
from saltrust.cache.schema import Label, Status
from saltrust.report.figures import gaze as gaze_figures
from saltrust.report.page.gaze_section import agreement_table
from saltrust.report.page.page import build

GRID = 16


@pytest.fixture(scope="module")
def cubes() -> xr.DataTree:
    """Six images of six patients with gaze in memory; `near` sees it, `far` does not."""
    rng = np.random.default_rng(0)
    n = 6
    images = [f"image-{k}" for k in range(n)]
    centres = rng.uniform(4, 12, (n, 2))
    rows, columns = np.indices((GRID, GRID))
    seen = np.stack([np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 18) for y, x in centres])
    seen /= seen.max(axis=(1, 2), keepdims=True)
    noise = rng.normal(size=(n, GRID, GRID))
    dims = ("image", "finding", "explainer", "model")
    heatmap = np.stack([seen + 0.2 * noise, noise], axis=1)[:, None, :, None].astype(np.float32)
    points = centres[:, None, :, None] * 4 + rng.normal(size=(n, 1, 2, 5))
    return xr.DataTree.from_dict({
        "/": xr.Dataset(coords={
            "image": images, "finding": ["Edema"], "patient": ("image", images),
            "native_height": ("image", np.full(n, 4 * GRID, np.int32)),
            "native_width": ("image", np.full(n, 4 * GRID, np.int32))}),
        "/reference": xr.Dataset(
            {"label": (("image", "finding"), np.full((n, 1), int(Label.POSITIVE), np.int8)),
             "gaze": (("image", "reader", "y", "x"), seen[:, None].astype(np.float32)),
             "gaze_recorded": (("image", "reader"), np.ones((n, 1), bool)),
             "fixation_y": (("image", "reader", "fixation"), points[:, :, 0].astype(np.float32)),
             "fixation_x": (("image", "reader", "fixation"), points[:, :, 1].astype(np.float32)),
             "fixation_duration": (("image", "reader", "fixation"),
                                   np.full((n, 1, 5), 0.3, np.float32))},
            coords={"reader": ["reference"], "reader_role": ("reader", ["reference"])}),
        "/saliency": xr.Dataset(
            {"heatmap": ((*dims, "y", "x"), heatmap),
             "status": (dims, np.full((n, 1, 2, 1), int(Status.OK), np.uint8))},
            coords={"explainer": ["near", "far"], "model": ["net"]})})


@pytest.fixture(scope="module")
def result(cubes: xr.DataTree) -> Result:
    return gaze(cubes, resampling=Resampling(resamples=50))


def test_every_mean_and_interval_is_where_the_table_says(result: Result) -> None:
    figure = gaze_figures.agreement(result)
    panels = {axes.get_xlabel(): axes for axes in figure.axes if axes.axison}
    assert list(panels) == list(gaze_figures.TITLES.values())
    summary = result.tables["summary"]
    for measure, title in gaze_figures.TITLES.items():
        axes = panels[title]
        rows = summary[summary["term"] == measure]
        # Only the first panel of a line has names.
        names = [tick.get_text() for tick in axes.get_yticklabels()]
        assert names in ([], rows["explainer"].tolist())
        assert names or measure not in {"correlation", "auc_judd"}
        drawn = [np.asarray(line.get_xdata(), dtype=float) for line in axes.lines]
        for row in rows.itertuples():
            if not row.n:
                continue
            assert np.isnan(row.conf_low) or any(
                len(x) == 2 and np.allclose(x, [row.conf_low, row.conf_high]) for x in drawn)
            assert any(len(x) == 1 and np.isclose(x[0], row.estimate) for x in drawn)
            if np.isfinite(row.other):
                assert any(len(x) == 1 and np.isclose(x[0], row.other) for x in drawn)
            else:
                assert measure == "auc_shuffled" or row.explainer == "average-gaze"


def test_models_are_named_where_there_are_several(result: Result) -> None:
    summary = result.tables["summary"]
    maps = summary[summary["source"] == "saliency"]
    other = Result(result.meta, {"summary": pd.concat([summary, maps.assign(model="twin")],
                                                      ignore_index=True)})
    ticks = [tick.get_text() for tick in gaze_figures.agreement(other).axes[0].get_yticklabels()]
    assert ticks == ["centre-prior", "average-gaze", "near, net", "far, net", "near, twin",
                     "far, twin"]


def test_examples_show_gaze_and_maps_from_high_to_low(cubes: xr.DataTree, result: Result) -> None:
    figure = gaze_figures.examples(cubes, result)
    grid = np.array(figure.axes).reshape(3, 3)
    scores = result.tables["scores"].query("source == 'saliency'")
    means = scores.groupby("image")["nss"].mean()
    shown = [axes.get_title().split("\n")[0] for axes in grid[:, 0]]
    assert means[shown].is_monotonic_decreasing
    for row, image in zip(grid, shown, strict=True):
        # Five fixations, at their places on the grid.
        marks = row[0].collections[-1].get_offsets()
        native = cubes["reference/fixation_y"].sel(image=image).values.ravel()
        np.testing.assert_allclose(marks[:, 1], (native + 0.5) / 4 - 0.5, rtol=1e-5)
        for axes, explainer in zip(row[1:], ("near", "far"), strict=True):
            value = scores.query("image == @image and explainer == @explainer")["nss"].item()
            assert axes.get_title().startswith(explainer)
            assert float(axes.get_title().split()[-1]) == pytest.approx(value, rel=0.01, abs=0.01)
            heatmap = cubes["saliency/heatmap"].sel(image=image, explainer=explainer).values.ravel()
            picture = np.asarray(axes.images[0].get_array()).ravel()
            assert np.corrcoef(heatmap, picture)[0, 1] > 0.999


def test_without_fixations_or_nss_there_are_still_examples(cubes: xr.DataTree) -> None:
    plain = cubes.copy()
    plain["reference"] = plain["reference"].to_dataset().drop_vars(
        ["fixation_y", "fixation_x", "fixation_duration"])
    outcome = gaze(plain, measures=["kl"], resampling=Resampling(resamples=20))
    figure = gaze_figures.examples(plain, outcome)
    assert "KL" in figure.axes[1].get_title()
    assert len(figure.axes[0].collections[-1].get_offsets()) == 0


def test_the_page_has_a_section_where_there_is_gaze(
        cubes: xr.DataTree, result: Result) -> None:
    outcome = analyze_study(cubes)
    assert isinstance(outcome["gaze"], Result)
    assert outcome["gaze"].tables["summary"].equals(gaze(cubes).tables["summary"])
    text = build(cubes, title="t", source="s", results={"gaze": result})
    assert 'id="gaze"' in text
    shown = agreement_table(result)
    assert shown["explainer"].tolist() == ["centre-prior", "average-gaze", "near", "far"]
    near = result.tables["summary"].query("explainer == 'near' and term == 'nss'").iloc[0]
    cell = shown.set_index("explainer").loc["near", "NSS"]
    assert float(cell.split()[0]) == pytest.approx(near["estimate"], abs=0.01)
    for word in ("Heatmaps and gaze", "average-gaze", cell.split()[0]):
        assert word in text


def test_a_page_without_gaze_does_not_speak_of_it(cubes: xr.DataTree) -> None:
    blind = cubes.copy()
    blind["reference"] = blind["reference"].to_dataset()[["label"]]
    assert "gaze" not in analyze_study(blind)
