"""Contours, overlays and the choice of cases."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from saltrust.analysis.result import Result
from saltrust.report.figures.contours import (
    OPACITY,
    jpeg_data_uri,
    largest,
    outlines,
    overlay,
    path_data,
    unit_range,
)
from saltrust.report.page import gallery
from saltrust.report.page.cases import choose, headline_model


def area(contour: np.ndarray) -> float:
    """Signed area of a closed polygon (shoelace)."""
    y, x = contour[:-1].T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2


def test_the_contour_of_a_square_lies_on_its_pixel_edges() -> None:
    mask = np.zeros((10, 12), dtype=bool)
    mask[2:6, 3:9] = True
    (contour,) = outlines(mask)
    assert np.array_equal(contour[0], contour[-1])
    assert contour.min(axis=0).tolist() == [2, 3]
    assert contour.max(axis=0).tolist() == [6, 9]
    # Each of the four corners is cut by a triangle with legs of half a pixel.
    assert abs(area(contour)) == 4 * 6 - 4 * 0.125


def test_masks_at_the_border_are_closed_and_holes_have_contours() -> None:
    full = np.ones((4, 5), dtype=bool)
    (contour,) = outlines(full)
    assert contour.min(axis=0).tolist() == [0, 0]
    assert contour.max(axis=0).tolist() == [4, 5]
    ring = np.ones((7, 7), dtype=bool)
    ring[3, 3] = False
    assert len(outlines(ring)) == 2
    assert outlines(np.zeros((3, 3), dtype=bool)) == []


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_contours_enclose_as_much_as_the_mask(seed: int) -> None:
    mask = np.random.default_rng(seed).random((9, 11)) < 0.5
    enclosed = abs(sum(area(contour) for contour in outlines(mask)))
    corners = sum(len(contour) - 1 for contour in outlines(mask))
    assert abs(enclosed - mask.sum()) <= 0.125 * corners


def test_path_data_is_scaled_and_has_x_first() -> None:
    square = np.array([[0, 0], [0, 2], [2, 2], [2, 0], [0, 0]], dtype=float)
    assert path_data([square], scale=(10, 100)) == "M0 0L200 0L200 20L0 20Z"
    assert path_data([]) == ""


def test_long_paths_lose_points_but_not_their_shape() -> None:
    rows, columns = np.mgrid[:60, :60]
    (contour,) = outlines((rows - 30) ** 2 + (columns - 30) ** 2 <= 20**2)
    text = path_data([contour])
    points = np.array([[float(v) for v in point.split()]
                       for point in re.split("[ML]", text.rstrip("Z"))[1:]])
    assert len(points) < len(contour)
    radius = np.hypot(points[:, 0] - 30.5, points[:, 1] - 30.5)
    assert radius.min() > 19.4
    assert radius.max() < 20.9


def test_only_the_longest_contours_are_kept() -> None:
    contours = [np.zeros((n, 2)) for n in (5, 9, 3, 9, 7)]
    assert [len(contour) for contour in largest(contours, 3)] == [9, 9, 7]
    assert largest(contours, 5) is contours


def test_overlay_leaves_the_radiograph_clear_below_the_median() -> None:
    pixels = np.full((4, 4), 100, dtype=np.uint8)
    heatmap = np.zeros((4, 4))
    heatmap[0, 0] = 3.0
    blended = overlay(pixels, heatmap)
    assert (blended[1:] == 100).all()
    assert abs(int(blended[0, 0].max()) - 100) > 20
    # At its maximum the map hides OPACITY of the ground.
    dark = overlay(np.zeros((4, 4), dtype=np.uint8), heatmap)[0, 0].astype(float)
    light = overlay(np.full((4, 4), 255, dtype=np.uint8), heatmap)[0, 0].astype(float)
    assert (light - dark) / 255 == pytest.approx([1 - OPACITY] * 3, abs=0.01)


def test_overlay_of_flat_missing_and_nonfinite_maps() -> None:
    pixels = np.arange(16, dtype=np.uint8).reshape(4, 4)
    gray = np.repeat(pixels[..., None], 3, axis=-1)
    assert np.array_equal(overlay(pixels, None), gray)
    assert np.array_equal(overlay(pixels, np.full((4, 4), 2.5)), gray)
    broken = np.zeros((4, 4))
    broken[0] = [np.nan, np.inf, -np.inf, 1.0]
    assert np.array_equal(overlay(pixels, broken)[1:], gray[1:])
    assert overlay(None, np.eye(4)).shape == (4, 4, 3)
    assert unit_range(np.array([[np.nan, np.nan]])).tolist() == [[0, 0]]


def test_pictures_are_made_small_but_not_larger() -> None:
    def size(rgb: np.ndarray) -> tuple[int, int]:
        uri = jpeg_data_uri(rgb, largest_side=50)
        assert uri.startswith("data:image/jpeg;base64,")
        return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).size

    assert size(np.zeros((100, 80, 3), dtype=np.uint8)) == (40, 50)
    assert size(np.zeros((20, 30, 3), dtype=np.uint8)) == (30, 20)


def test_cases_are_best_median_and_worst(cubes: xr.DataTree,
                                         analyses: dict[str, Result | str]) -> None:
    result = analyses["localization"]
    assert isinstance(result, Result)
    scores = result.tables["scores"]
    choices = choose(cubes, scores, explainer="gradcam", model="net")
    assert list(dict.fromkeys(c.finding for c in choices)) == [
        "Cardiomegaly", "Edema & co", "Lung_Lesion"]
    rows = scores[(scores["explainer"] == "gradcam") & (scores["finding"] == "Lung_Lesion")
                  & (scores["area_reference"] > 0)].sort_values("iou")
    found = {c.why: c.image for c in choices if c.finding == "Lung_Lesion"}
    assert found["best IoU"] == rows["image"].iloc[-1]
    assert found["worst IoU"] == rows["image"].iloc[0]
    middle = rows["iou"].iloc[[len(rows) // 2 - 1, len(rows) // 2]].tolist()
    assert rows.set_index("image")["iou"][found["median IoU"]] in middle
    probability = float(cubes.children["prediction"].to_dataset()["probability"].sel(
        image=found["best IoU"], finding="Lung_Lesion", model="net"))
    best = next(c for c in choices if c.image == found["best IoU"]
                and c.finding == "Lung_Lesion")
    assert best.probability == probability


def test_ties_and_few_images_choose_each_image_once(cubes: xr.DataTree) -> None:
    scores = pd.DataFrame({
        "image": ["image-03", "image-01", "image-02"], "finding": ["Cardiomegaly"] * 3,
        "explainer": ["gradcam"] * 3, "model": ["net"] * 3, "iou": [0.5, 0.5, np.nan],
        "area_reference": [9.0, 9.0, 9.0]})
    choices = choose(cubes, scores, explainer="gradcam", model="net")
    assert [(c.image, c.why) for c in choices] == [("image-01", "best IoU"),
                                                   ("image-03", "worst IoU")]


def test_without_scores_the_probability_decides(plain_cubes: xr.DataTree) -> None:
    choices = choose(plain_cubes, None, explainer="gradcam", model="net")
    stored = plain_cubes.children["prediction"].to_dataset()["probability"]
    table = stored.sel(model="net", finding="Cardiomegaly")
    positive = table[:8]
    found = {c.why: c.image for c in choices if c.finding == "Cardiomegaly"}
    assert found["highest probability"] == str(positive["image"].values[positive.values.argmax()])
    assert found["lowest probability"] == str(positive["image"].values[positive.values.argmin()])
    assert len(choices) == 9


def test_the_ensemble_is_the_headline() -> None:
    models = xr.Dataset(coords={"model": ["a", "b"], "model_role": ("model", ["member",
                                                                           "ensemble"])})
    assert headline_model(models) == "b"
    assert headline_model(models.drop_vars("model_role")) == "a"


def test_tiles_show_what_the_cubes_hold(cubes: xr.DataTree,
                                        analyses: dict[str, Result | str]) -> None:
    result = analyses["localization"]
    assert isinstance(result, Result)
    scores = result.tables["scores"]
    cases = gallery.build(cubes, scores)
    assert len(cases) == 9
    for case in cases:
        radiograph, first, second = case.tiles
        assert (first.title, second.title) == ("gradcam", "grad")
        # The aspect is that of the radiograph as acquired, 64 x 48.
        assert (radiograph.width, radiograph.height) == (24, 32)
        assert [o.kind for o in radiograph.outlines] == ["reference", "expert"]
        (marker,) = radiograph.markers
        native_x = float(cubes.children["reference"].to_dataset()["point_x"].sel(
            image=case.choice.image, finding=case.choice.finding, reader="third reader").item())
        assert (marker.kind, marker.x) == ("expert", (native_x + 0.5) * 24 / 48)
        row = scores[(scores["image"] == case.choice.image) & (scores["explainer"] == "gradcam")
                     & (scores["finding"] == case.choice.finding)].iloc[0]
        assert ("hit" in first.caption) == bool(row["hit"])
        said = float(first.caption.removeprefix("IoU ").partition(",")[0])
        assert said == pytest.approx(row["iou"], rel=0.005)
        assert [o.kind for o in first.outlines] == ["reference", "predicted"]
        (peak,) = first.markers
        heatmap = cubes.children["saliency"].to_dataset()["heatmap"].sel(
            image=case.choice.image, finding=case.choice.finding, explainer="gradcam",
            model="net").values
        y, x = np.unravel_index(heatmap.argmax(), heatmap.shape)
        assert (peak.y, peak.x) == (y + 0.5, (x + 0.5) * 24 / 32)


def test_flat_maps_say_so_and_get_no_contour(cubes: xr.DataTree) -> None:
    scores = pd.DataFrame({
        "image": ["image-00"] * 2, "finding": ["Lung_Lesion"] * 2,
        "explainer": ["gradcam", "grad"], "model": ["net"] * 2, "iou": [0.4, 0.0],
        "hit": [1.0, 0.0], "threshold": [100.0, np.nan], "area_reference": [9.0, 9.0]})
    (case,) = gallery.build(cubes, scores)
    flat = case.tiles[2]
    assert flat.caption == "flat map, IoU 0, miss"
    assert [o.kind for o in flat.outlines] == ["reference"]
    assert flat.markers == ()


def test_native_codes_serve_where_the_grid_has_no_masks(cubes: xr.DataTree) -> None:
    groups = {f"/{name}": node.to_dataset(inherit=False)
              for name, node in cubes.children.items()}
    groups["/"] = cubes.to_dataset(inherit=False)
    groups["/reference"] = groups["/reference"].drop_vars("mask")
    case = gallery.build(xr.DataTree.from_dict(groups), None)[0]
    code = next(o for o in case.tiles[0].outlines if o.kind == "reference")
    grid = next(o for o in gallery.build(cubes, None)[0].tiles[0].outlines
                if o.kind == "reference")

    def box(path: str) -> np.ndarray:
        points = np.array([[float(v) for v in point.split()]
                           for point in re.split("[MLZ]", path) if point])
        return np.concatenate([points.min(axis=0), points.max(axis=0)])

    assert box(code.path) == pytest.approx(box(grid.path), abs=1.0)


def test_no_maps_no_cases(cubes: xr.DataTree) -> None:
    tree = xr.DataTree.from_dict({"/": cubes.to_dataset(inherit=False)})
    assert gallery.build(tree, None) == []
