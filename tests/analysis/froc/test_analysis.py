"""FROC of maps on cubes whose marks and lesions are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import saltrust
from saltrust import Marking
from saltrust.errors import DataError, UsageError

SIZE = (24, 32)
GRID = (12, 16)


def hill(places: dict[tuple[int, int], float]) -> np.ndarray:
    """A map that is zero but for single pixels of the grid."""
    values = np.zeros(GRID, dtype=np.float32)
    for place, rating in places.items():
        values[place] = rating
    return values


def blob(*corners: tuple[int, int]) -> np.ndarray:
    """A mask of squares of four by four native pixels, two by two of the grid."""
    mask = np.zeros(SIZE, dtype=bool)
    for y, x in corners:
        mask[2 * y:2 * y + 4, 2 * x:2 * x + 4] = True
    return mask


@pytest.fixture(scope="module")
def cubes(build_cubes: Any) -> xr.DataTree:
    """Two normal images, one with two lesions, one with one; explainers ``good`` and ``bad``."""
    masks = {("two", "F", "truth"): blob((2, 2), (8, 10)), ("one", "F", "truth"): blob((5, 5))}
    maps = {
        ("calm", "F", "good"): {(3, 3): 1.0},
        ("noisy", "F", "good"): {(3, 3): 4.0, (9, 9): 2.0},
        ("two", "F", "good"): {(2, 2): 5.0, (9, 11): 3.0, (0, 0): 6.0},
        ("one", "F", "good"): {(0, 15): 7.0},
        ("calm", "F", "bad"): {(3, 3): 9.0},
        ("noisy", "F", "bad"): {(3, 3): 8.0},
        ("two", "F", "bad"): {(0, 0): 1.0},
        ("one", "F", "bad"): {(6, 6): 2.0},
    }
    return build_cubes(
        masks, heatmaps={(*key, "net"): hill(places) for key, places in maps.items()},
        labels={("calm", "F"): 0, ("noisy", "F"): 0},
        images=["calm", "noisy", "two", "one"], patients=["p1", "p2", "p2", "p3"])


def estimates(result: Any, metric: str) -> dict[str, float]:
    table = result["summary"]
    rows = table[(table["metric"] == metric) & (table["finding"] == "F")]
    return dict(zip(rows["explainer"], rows["estimate"], strict=True))


def test_figures_of_merit_as_worked_out_by_hand(cubes: xr.DataTree) -> None:
    result = saltrust.froc(cubes, marking=Marking(minimum_distance=1), map="raw")
    # good: normal images 1 and 4; lesions 5 and 3 of `two`, none of `one`.
    assert estimates(result, "wafroc")["good"] == pytest.approx(
        (0.5 * (1 + 1) + 0.5 * (1 + 0) + 0 + 0) / 4)
    assert estimates(result, "afroc")["good"] == pytest.approx((2 + 1 + 0) / 6)
    # All images: false marks 1, 4, 6 and 7.
    assert estimates(result, "wafroc1")["good"] == pytest.approx(
        (0.5 * 2 + 0.5 * 1 + 0) / 8)
    assert estimates(result, "wafroc")["bad"] == 0
    row = result["summary"].iloc[0]
    assert [row[name] for name in ("normal_images", "lesion_images", "lesions", "patients")] == [
        2, 2, 3, 3]
    assert "fewer than 10 patients" in row["note"]
    assert np.isnan(row["conf_low"])


def test_marks_are_named_with_their_place_and_what_they_hit(cubes: xr.DataTree) -> None:
    result = saltrust.froc(cubes, marking=Marking(minimum_distance=1), map="raw")
    marks = result["marks"]
    two = marks[(marks["image"] == "two") & (marks["explainer"] == "good")]
    assert two[["y", "x", "rating", "lesion"]].values.tolist() == [
        [0, 0, 6.0, 0], [2, 2, 5.0, 1], [9, 11, 3.0, 2]]
    lesions = result["lesions"]
    unmarked = lesions[(lesions["image"] == "one") & (lesions["explainer"] == "good")]
    assert unmarked["rating"].tolist() == [-np.inf]
    marked = result["marked"].set_index("explainer")
    assert marked.loc["good", "lesion_share"] == pytest.approx(2 / 3)
    assert marked.loc["good", "false_per_image"] == pytest.approx(5 / 4)


def test_fewer_marks_and_a_distance_change_what_is_hit(cubes: xr.DataTree) -> None:
    one = saltrust.froc(cubes, marking=Marking(minimum_distance=1, per_map=1), map="raw")
    assert estimates(one, "wafroc")["good"] == pytest.approx(0.0 + (0 + 0) / 4)
    assert one["marks"].groupby(["image", "explainer"]).size().max() == 1
    # Of the map's 12 rows, 1 pixel is 1/12 of the height; (0, 0) is 2 rows and 2 columns away.
    near = saltrust.froc(cubes, marking=Marking(minimum_distance=1, within=2.9), map="raw")
    lesions = near["lesions"]
    rating = lesions[(lesions["image"] == "two") & (lesions["explainer"] == "good")]["rating"]
    assert rating.tolist() == [6.0, 3.0]
    far = saltrust.froc(cubes, marking=Marking(minimum_distance=1, within="5%"), map="raw")
    assert far.meta["hit"] == "at most 0.6 pixels of the map from the nearest lesion"


def test_components_mark_the_same_single_pixels(cubes: xr.DataTree) -> None:
    peaks = saltrust.froc(cubes, marking=Marking(minimum_distance=1), map="raw")
    parts = saltrust.froc(cubes, marking=Marking("components", threshold=0.0), map="raw")
    pd.testing.assert_frame_equal(peaks["marks"], parts["marks"])


def test_points_and_boxes_are_lesions_too(build_cubes: Any, cubes: xr.DataTree) -> None:
    masks = {("a", "F", "truth"): blob((2, 2))}
    maps = {("a", "F", "e", "m"): hill({(3, 3): 2.0}), ("n", "F", "e", "m"): hill({(3, 3): 1.0})}
    pointed = build_cubes(masks, heatmaps=maps, labels={("n", "F"): 0},
                          points={("a", "F", "truth"): [(6.0, 6.0)]})
    near = Marking(lesions="points", within=1)
    assert estimates(saltrust.froc(pointed, marking=near), "wafroc") == {"e": 1.0}
    with pytest.raises(DataError, match=r"no boxes.*--lesions components"):
        saltrust.froc(cubes, marking=Marking(lesions="boxes"))
    with pytest.raises(DataError, match="no points of reader 'truth'"):
        saltrust.froc(cubes, marking=near)


def test_maps_scaled_image_by_image_are_refused(cubes: xr.DataTree) -> None:
    scaled = cubes.copy()
    heatmap = scaled["saliency/heatmap"]
    scaled["saliency/heatmap"] = heatmap / heatmap.max(("y", "x"))
    with pytest.raises(DataError, match=r"scaled image by image.*saltrust generate"):
        saltrust.froc(scaled, map="raw")
    # With a negative part beside, the reading alone shows it.
    signed = scaled.copy()
    signed["saliency/heatmap"] = scaled["saliency/heatmap"] * 2 - 1
    with pytest.raises(DataError, match="are 1: they were scaled"):
        saltrust.froc(signed, map="positive")


def test_what_cannot_be_compared_is_said(cubes: xr.DataTree, build_cubes: Any) -> None:
    with pytest.raises(DataError, match=r"no normal image with maps.*generate"):
        saltrust.froc(saltrust.select(cubes, image=["two", "one"]))
    with pytest.raises(DataError, match="annotated"):
        saltrust.froc(saltrust.select(cubes, image=["calm", "noisy"]))
    for wrong, sentence in (({"within": "far"}, "within = 'far'"), ({"threshold": 1.0}, "range"),
                            ({"lesions": "points"}, "--within"), ({"per_map": 0}, "per map"),
                            ({"minimum_distance": float("nan")}, "minimum distance"),
                            ({"marks": "peak"}, "peaks"), ({"within": -1}, "within = -1")):
        with pytest.raises(UsageError, match=sentence):
            Marking(**wrong)
    # Labels that contradict the masks, and those that are not known, are left out and counted.
    masks = {("a", "F", "truth"): blob((2, 2)), ("b", "F", "truth"): blob((2, 2)),
             ("e", "F", "truth"): np.zeros(SIZE, dtype=bool)}
    maps = {(image, "F", "e", "m"): hill({(2, 2): 1.0 + k}) for k, image in enumerate("abcdefn")}
    odd = build_cubes(masks, heatmaps=maps, images=list("abcdefn"), labels={
        ("b", "F"): 0, ("c", "F"): 1, ("d", "F"): -1, ("e", "F"): 1, ("n", "F"): 0})
    assert saltrust.froc(odd).meta["exclusions"] == {
        "negative but with a lesion": 1, "positive but not annotated": 1,
        "label uncertain or not stated": 2, "positive but without a lesion": 1}


def test_a_flat_map_marks_nothing_and_a_gap_leaves_its_image_out(build_cubes: Any) -> None:
    masks = {("a", "F", "truth"): blob((2, 2)), ("b", "F", "truth"): blob((2, 2))}
    maps = {("a", "F", "e", "m"): hill({(2, 2): 3.0}), ("b", "F", "e", "m"): hill({}),
            ("n", "F", "e", "m"): hill({(2, 2): 2.0}), ("o", "F", "e", "m"): hill({}),
            ("a", "F", "g", "m"): hill({(2, 2): 1.0}), ("b", "F", "g", "m"): hill({(2, 2): 1.5}),
            ("n", "F", "g", "m"): hill({(2, 2): 2.0})}
    cubes = build_cubes(masks, heatmaps=maps, labels={("n", "F"): 0, ("o", "F"): 0},
                        statuses={("b", "F", "e", "m"): 2})
    result = saltrust.froc(cubes)
    # Lesions 3 and unmarked, against 2.
    assert estimates(result, "wafroc") == {"e": 0.5, "g": 0.0}
    assert result.meta["exclusions"] == {"without a map of every explainer and model": 1}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("froc") / "study.zarr")
    saltrust.simulate_cubes(path, patients=16, grid=16, findings=("Edema", "Pneumonia"),
                            parts=(), seed=2)
    return path


def test_explainers_are_compared_on_the_same_images(simulated: str) -> None:
    cubes = saltrust.select(simulated, model=["densenet-1"])
    result = saltrust.froc(cubes, resampling=saltrust.Resampling(resamples=300))
    table = result["differences"]
    assert set(table["finding"]) == {"Edema", "Pneumonia", "average"}
    assert set(table["metric"]) == {"wafroc", "wafroc1", "afroc"}
    summary = result["summary"].set_index(["finding", "explainer", "metric"])["estimate"]
    for row in table.itertuples():
        one, two = row.contrast.split(" - ")
        assert row.estimate == pytest.approx(summary[row.finding, one, row.metric]
                                             - summary[row.finding, two, row.metric])
        assert row.conf_low < row.estimate < row.conf_high
        assert row.p_value <= row.p_adjusted <= 1
        assert row.family.endswith("(3 tests)")
    edema = summary.xs("Edema").xs("wafroc", level="metric")
    assert edema["gradcam"] > edema["grad"]
    both = (summary.xs("Edema") + summary.xs("Pneumonia")) / 2
    np.testing.assert_allclose(summary.xs("average"), both.loc[summary.xs("average").index])


def test_curves_end_where_the_figures_say(simulated: str) -> None:
    result = saltrust.froc(saltrust.select(simulated, model=["densenet-1"], finding=["Edema"]))
    curves, marked = result["curves"], result["marked"].set_index("explainer")
    for explainer, points in curves[curves["curve"] == "froc"].groupby("explainer"):
        assert points["across"].iloc[-1] == pytest.approx(marked.loc[explainer, "false_per_image"])
        assert points["up"].iloc[-1] == pytest.approx(marked.loc[explainer, "lesion_share"])
        assert len(points) <= 400
    figure = result.plot()
    assert [axes.get_xlabel() for axes in figure.axes] == ["False marks per image",
                                                           "Normal images with a false mark"]
