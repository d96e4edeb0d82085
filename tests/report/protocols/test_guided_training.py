"""Protocol W as a whole: tables agree with the results, and say what was built in."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from saltrust.analysis.options import Resampling
from saltrust.analysis.protocols.guided_training.arms import arms_of
from saltrust.analysis.protocols.guided_training.protocol import (
    Areas,
    protocol_guided_training,
)
from saltrust.analysis.protocols.result import ProtocolResult
from saltrust.analysis.result.text import render_frame
from saltrust.analysis.select import select
from saltrust.cache.schema import Status
from saltrust.choices import AucInterval
from saltrust.errors import DataError, UsageError
from saltrust.report.protocols.figures import figures_of

FINDINGS = ["normal", "CHF", "pneumonia"]
GRID = 16
#: loss, rule, seed; how much of the gaze the map shows, how much of the label the probability.
MODELS: dict[str, tuple[str, str, int, float, float]] = {
    "plain": ("classification", "guided_backprop", 1, 0.0, 1.0),
    "set3-gbp-1": ("set3", "guided_backprop", 1, 1.0, 2.5),
    "base-1": ("decoder", "guided_backprop", 1, 0.1, 1.0),
    "base-2": ("decoder", "guided_backprop", 2, 0.1, 1.0),
    "set3-gbp-2": ("set3", "guided_backprop", 2, 1.0, 2.5),
    "set1-dec": ("set1", "deconvnet", 1, 0.5, 1.0),
}


def study(n: int = 40, *, has_gaze: bool = True, decoders: bool = True,
          models: dict[str, tuple[str, str, int, float, float]] = MODELS,
          splits: dict[str, int] | None = None) -> xr.DataTree:
    """Every third image is of each class; maps mix gaze and noise."""
    rng = np.random.default_rng(3)
    label = np.eye(3, dtype=np.int8)[np.arange(n) % 3]
    strength = np.array([entry[4] for entry in models.values()])
    logit = (2 * label[..., None] - 1) * strength + 1.5 * rng.normal(size=(n, 3, len(models)))
    rows = np.arange(GRID)
    centres = rng.uniform(4, 12, (n, 2))
    looked = np.exp(-0.5 * ((rows[:, None] - centres[:, :1, None]) ** 2
                            + (rows - centres[:, 1:, None]) ** 2) / 4).astype(np.float32)
    looked /= looked.max((1, 2), keepdims=True)
    share = np.array([entry[3] for entry in models.values()])[:, None, None]
    maps = share * looked[:, None, None, None] + 0.5 * rng.normal(
        size=(n, 3, 1, len(models), GRID, GRID))
    images = [f"image-{k:02d}" for k in range(n)]
    names = list(models)
    coords = {"model": names, "model_seed": ("model", [e[2] for e in models.values()])}
    split = {} if splits is None else {
        "split": ("image", np.repeat(list(splits), list(splits.values())))}
    reference: dict[str, Any] = {"label": (("image", "finding"), label)}
    if has_gaze:
        reference |= {"gaze": (("image", "reader", "y", "x"), looked[:, None]),
                      "gaze_recorded": (("image", "reader"), np.ones((n, 1), bool))}
    groups = {
        "/": xr.Dataset(coords={"image": images, "finding": FINDINGS,
                                "patient": ("image", images), **split}),
        "/radiograph": xr.Dataset({"pixels": (
            ("image", "y", "x"), rng.integers(0, 255, (n, GRID, GRID)).astype(np.uint8))}),
        "/reference": xr.Dataset(reference, coords={"reader": ["radiologist"]}),
        "/prediction": xr.Dataset({"probability": (
            ("image", "finding", "model"), 1 / (1 + np.exp(-logit)))}, coords=coords),
        "/saliency": xr.Dataset(
            {"heatmap": (("image", "finding", "explainer", "model", "y", "x"),
                         maps.astype(np.float32)),
             "status": (("image", "finding", "explainer", "model"),
                        np.full(maps.shape[:4], int(Status.OK), np.uint8))},
            coords={**coords, "explainer": ["guided_backprop"]}),
    }
    if decoders:
        trained = [k for k, entry in enumerate(models.values()) if entry[0] in ("decoder", "set3")]
        shown = np.broadcast_to(looked[:, None, None], (n, 3, len(trained), GRID, GRID))
        groups["/localizer"] = xr.Dataset(
            {"heatmap": (("image", "finding", "model", "y", "x"), shown + np.float32(0.1)),
             "status": (("image", "finding", "model"),
                        np.full((n, 3, len(trained)), int(Status.OK), np.uint8))},
            coords={"model": [names[k] for k in trained]})
    tree = xr.DataTree.from_dict(groups)
    tree.attrs["models"] = {name: {"guidance": {"loss": loss, "rule": rule,
                                                "classification_weight": 0.5}}
                            for name, (loss, rule, *_) in models.items()}
    return tree


def run(tree: xr.DataTree, resamples: int = 20, *, interval: AucInterval = "newcombe",
        **labels: Any) -> ProtocolResult:
    return protocol_guided_training(select(tree, **labels), areas=Areas(interval=interval),
                                    resampling=Resampling(resamples=resamples))


@pytest.fixture(scope="module")
def cubes() -> xr.DataTree:
    return study()


@pytest.fixture(scope="module")
def protocol(cubes: xr.DataTree) -> ProtocolResult:
    return run(cubes, 200)


@pytest.fixture(scope="module")
def figures(protocol: ProtocolResult, cubes: xr.DataTree) -> dict[str, Figure]:
    return figures_of(protocol, cubes)


def test_every_model_is_compared_with_the_baseline_of_its_seed() -> None:
    compared = arms_of(study())
    assert [arm.model for arm in compared] == ["plain", "base-1", "base-2", "set1-dec",
                                               "set3-gbp-1", "set3-gbp-2"]
    assert {arm.model: arm.baseline for arm in compared} == {
        "plain": "base-1", "base-1": "", "base-2": "", "set1-dec": "base-1",
        "set3-gbp-1": "base-1", "set3-gbp-2": "base-2"}
    assert compared[3].rule == "deconvnet"
    # Whose rule is not in its loss has none.
    assert compared[1].rule == ""
    chosen = {arm.model: arm.baseline for arm in arms_of(study(), baseline="plain")}
    assert set(chosen.values()) == {"plain", ""}
    with pytest.raises(UsageError, match="'nobody' is not among"):
        arms_of(study(), baseline="nobody")
    bare = study()
    bare.attrs.clear()
    with pytest.raises(DataError, match=r"models\.guidance"):
        arms_of(bare)
    assert arms_of(bare, baseline="plain")[0].loss == "classification"


def test_tables_one_to_four(protocol: ProtocolResult) -> None:
    assert {"table1", "table2", "table4", "gaze", "seeds"} <= set(protocol.tables)
    assert list(protocol.missing) == ["table3"]
    assert "set 2" in protocol.missing["table3"]
    table = protocol.tables["table4"]
    assert table["model"].tolist() == ["base-1", "base-2", "set3-gbp-1", "set3-gbp-2"]
    areas = protocol.results["classification"].tables["auc"].set_index(["finding", "model"])
    differences = protocol.results["classification"].tables["against_baseline"].set_index(
        ["finding", "model"])
    for row in table.itertuples(index=False):
        cell = row[table.columns.get_loc("CHF AUC")]
        area = areas.loc[("CHF", row.model)]
        text = f"{area['estimate']:.3f} ({area['conf_low']:.3f}, {area['conf_high']:.3f})"
        assert cell.startswith(text)
        if row.model.startswith("base"):
            assert cell == text
        else:
            difference = differences.loc[("CHF", row.model)]
            seed = row.model[-1]
            assert difference["baseline"] == f"base-{seed}"
            assert difference["estimate"] == pytest.approx(
                area["estimate"] - areas.loc[("CHF", f"base-{seed}"), "estimate"])
            printed = re.search(r"p (?:= |< )([0-9.]+)$", cell)
            assert printed is not None
            assert float(printed[1]) == pytest.approx(max(difference["p_adjusted"], 0.001),
                                                      abs=6e-4)
    # Four models are compared with a baseline: one family per finding.
    assert differences["family"].str.contains("4").all()


def test_improvement_over_both_baselines_in_percent(protocol: ProtocolResult) -> None:
    table = protocol.tables["improvement"]
    assert table["finding"].drop_duplicates().tolist() == ["macro average", *FINDINGS]
    pairs = table[table["finding"] == "CHF"]
    assert list(zip(pairs["model"], pairs["baseline"], strict=True)) == [
        ("plain", "base-1"), ("base-1", "plain"), ("base-2", "plain"), ("set1-dec", "base-1"),
        ("set1-dec", "plain"), ("set3-gbp-1", "base-1"), ("set3-gbp-1", "plain"),
        ("set3-gbp-2", "base-2"), ("set3-gbp-2", "plain")]
    assert set(pairs["over"]) == {"classification only", "baseline: decoder against gaze"}
    areas = protocol.results["classification"].tables["auc"].set_index(["finding", "model"])
    for row in table.itertuples():
        new, old = (areas.loc[(row.finding, name), "estimate"]
                    for name in (row.model, row.baseline))
        assert row.improvement_percent == pytest.approx(100 * (new - old))
        assert row.improvement_percent_relative == pytest.approx(100 * (new / old - 1))
        assert row.improvement_percent_low < row.improvement_percent_high
    # Tables 1 to 4 have it over the baseline of their seed.
    shown = protocol.tables["table4"].set_index("model")
    row = table.set_index(["finding", "model", "baseline"]).loc[
        ("macro average", "set3-gbp-2", "base-2")]
    assert shown.loc["set3-gbp-2", "improvement_percent average"] == (
        f"{row['improvement_percent']:+.1f} ({row['improvement_percent_low']:+.1f}, "
        f"{row['improvement_percent_high']:+.1f})")
    assert shown.loc["base-2", "improvement_percent average"] == ""
    assert not any(name.startswith("improvement") for name in protocol.tables["table4_paper"])
    assert "its 4.1%" in protocol.methods()


def test_grad_cam_is_shown_where_the_cubes_have_it(cubes: xr.DataTree) -> None:
    tree = cubes.copy()
    saliency = tree["saliency"].to_dataset()
    names = ["gradcam", "guided_backprop", "grad"]
    tree["saliency"] = xr.DataTree(xr.concat([saliency] * 3, "explainer").assign_coords(
        explainer=names))
    options: dict[str, Any] = {"model": ["base-1", "set3-gbp-1"], "finding": ["CHF"]}
    protocol = run(tree, **options)
    assert set(protocol.results["gaze"]["summary"]["explainer"]) == {
        "guided_backprop", "gradcam", "localizer", "centre-prior", "average-gaze"}
    assert protocol.tables["gaze"]["map"].drop_duplicates().tolist()[:3] == [
        "gradcam", "guided_backprop", "decoder"]
    figure = figures_of(protocol, tree)["examples_gradcam"]
    assert "gradcam of the classifier" in figure.get_suptitle()
    named = protocol_guided_training(select(tree, **options), explainers=["guided_backprop"],
                                     resampling=Resampling(resamples=20))
    assert "examples_gradcam" not in figures_of(named, tree)
    # Where no map was in a loss, all maps are shown, as before.
    others = tree.copy()
    others["saliency"] = xr.DataTree(tree["saliency"].to_dataset().sel(
        explainer=["gradcam", "grad"]))
    assert {"gradcam", "grad"} <= set(run(others, **options).results["gaze"]["summary"][
        "explainer"])


def test_the_papers_way_stands_beside(protocol: ProtocolResult) -> None:
    paper = protocol.results["classification_paper"].tables["auc"]
    area = paper.set_index(["finding", "model"]).loc[("CHF", "plain")]
    table = protocol.tables["table1_paper"].set_index("model")
    assert table.loc["plain", "CHF AUC"].startswith(f"{area['estimate']:.3f}")
    assert "; p" not in table.loc["plain", "CHF AUC"]


def test_maps_that_show_the_gaze_agree_with_it(protocol: ProtocolResult) -> None:
    table = protocol.tables["gaze"].set_index(["map", "model"])
    number = {key: float(cell.split()[0]) for key, cell in table["correlation"].items()}
    assert number["guided_backprop", "set3-gbp-1"] > number["guided_backprop", "base-1"] + 0.2
    assert number["decoder", "set3-gbp-1"] == pytest.approx(1, abs=1e-3)
    assert ("decoder", "set1-dec") not in number
    cell = table.loc[("guided_backprop", "set3-gbp-2"), "correlation against baseline"]
    assert cell.startswith("+0.")
    # No number of resamples bounds it.
    assert cell.endswith("p < 0.001")
    seeds = protocol.tables["seeds"].set_index(["quantity", "trained"])
    row = seeds.loc[("gaze correlation, guided_backprop",
                     "set 3: decoder and map against gaze, guided_backprop")]
    assert row["seeds"] == 2
    assert 0.2 < row["least_difference"] <= row["difference"] <= row["most_difference"]


def test_figures_and_methods(protocol: ProtocolResult, figures: dict[str, Figure]) -> None:
    assert set(figures) == {"roc", "calibration", "examples_guided_backprop", "gaze"}
    panels = [axes for axes in figures["examples_guided_backprop"].axes if axes.images]
    # Three images: radiograph and gaze, four ways of training, two of them with a decoder.
    assert len(panels) == 3 * (2 + 4 + 2)
    legend = figures["roc"].axes[0].get_legend()
    assert legend is not None
    # Replicates are drawn once.
    assert len(legend.get_texts()) == 4
    for words in ("Watanabe", "`set3-gbp-2`", "compared with `base-2`", "classification weight",
                  "Not computed", "holm"):
        assert words in protocol.methods()
    for table in protocol.tables.values():
        for form in ("markdown", "latex", "csv", "json"):
            assert render_frame(table, form)


def test_without_gaze_or_decoders_the_rest_is_there() -> None:
    protocol = run(study(30, has_gaze=False, decoders=False), 100, finding=["CHF"],
                   model=["base-1", "set3-gbp-1"])
    assert "gaze" in protocol.missing["gaze"]
    assert list(protocol.tables) == ["table4", "table4_paper", "improvement"]
    assert list(protocol.tables["table4"]) == ["trained", "model", "CHF AUC",
                                               "improvement_percent CHF"]
    tree = study(30, has_gaze=False, decoders=False)
    assert set(figures_of(protocol, tree)) == {"roc", "calibration"}


def test_without_a_choice_the_split_that_was_predicted_is_taken() -> None:
    """So that the average gaze is of other images than those that maps are compared on."""
    tree = study(60, splits={"train": 20, "test": 40})
    options: dict[str, Any] = {"resamples": 50, "model": ["base-1", "set3-gbp-1"]}
    assert run(tree, **options).results["gaze"].meta["split"] == "train, test"
    tree["prediction/probability"].values[:20] = np.nan
    protocol = run(tree, **options)
    for result in protocol.results.values():
        assert result.meta["split"] == "test"
    assert not protocol.results["classification"].meta["exclusions"]
    assert protocol.results["gaze"].meta["average_gaze"] == (
        "mean over 20 images of training and validation")


def test_all_eight_ways_of_training_are_told_apart() -> None:
    """Curves have color and line of their own; set 3 is in the figure of its own rule."""
    ways = [("classification", ""), ("decoder", ""), *(
        (f"set{k}", rule) for k in (1, 2, 3) for rule in ("guided_backprop", "deconvnet"))]
    tree = study(30, models={f"model {k}": (*way, 1, 0.5, 1.0) for k, way in enumerate(ways)})
    protocol = run(tree)
    figures = figures_of(protocol, tree)
    titles = [axes.get_title().split("\n")[0]
              for axes in figures["examples_guided_backprop"].axes]
    assert [title for title in titles if title.startswith("model")] == [
        "model 0", "model 1", "model 2", "model 4", "model 6"]
    for name in ("roc", "calibration"):
        legend = figures[name].axes[0].get_legend()
        assert legend is not None
        handles: Any = legend.legend_handles
        assert len({(line.get_color(), line.get_linestyle()) for line in handles}) == 8


def test_an_area_without_variance_has_no_interval() -> None:
    tree = study(30)
    label = tree["reference/label"].values
    tree["prediction/probability"].values[:, 1] = 0.2 + 0.6 * label[:, 1, None]
    protocol = run(tree, model=["base-1", "set3-gbp-1"], interval="delong")
    cells = protocol.tables["table4"]["CHF AUC"].tolist()
    assert cells == ["1.000", "1.000; p = -"]
    assert "an area without an interval" in protocol.methods()
    assert "an area without an interval" not in run(
        study(30), model=["base-1", "set3-gbp-1"], finding=["CHF"]).methods()


def test_without_a_baseline_it_is_said_and_areas_stand_alone() -> None:
    protocol = run(study(30), model=["set3-gbp-1", "set1-dec"], finding=["CHF"])
    assert "loss = \"decoder\"" in protocol.missing["comparison with a baseline"]
    assert protocol.tables["table4"]["model"].tolist() == ["set3-gbp-1"]
    assert "; p" not in protocol.tables["table4"]["CHF AUC"][0]
    assert list(protocol.tables["table4"]) == ["trained", "model", "CHF AUC"]
    assert "improvement" not in protocol.tables
