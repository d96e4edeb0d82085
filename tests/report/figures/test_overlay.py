"""Drawing a map over its radiograph, with contours and points."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from saltrust.analysis.localization.survey import survey_maps
from saltrust.errors import DataError, UsageError
from saltrust.report.figures.gallery import gallery, mean_maps, overlay
from saltrust.report.figures.overlay import (
    OPACITY,
    Contour,
    Point,
    blend,
    draw_overlay,
    is_signed,
)


def test_overlay_leaves_the_radiograph_clear_below_the_median() -> None:
    pixels = np.full((4, 4), 100, dtype=np.uint8)
    heatmap = np.zeros((4, 4))
    heatmap[0, 0] = 3.0
    blended = blend(pixels, heatmap)
    assert (blended[1:] == 100).all()
    assert abs(int(blended[0, 0].max()) - 100) > 20
    # At its maximum the map hides OPACITY of the ground.
    dark = blend(np.zeros((4, 4), dtype=np.uint8), heatmap)[0, 0].astype(float)
    light = blend(np.full((4, 4), 255, dtype=np.uint8), heatmap)[0, 0].astype(float)
    assert (light - dark) / 255 == pytest.approx([1 - OPACITY] * 3, abs=0.01)


def test_overlay_of_flat_missing_and_nonfinite_maps() -> None:
    pixels = np.arange(16, dtype=np.uint8).reshape(4, 4)
    gray = np.repeat(pixels[..., None], 3, axis=-1)
    assert np.array_equal(blend(pixels, None), gray)
    assert np.array_equal(blend(pixels, np.full((4, 4), 2.5)), gray)
    broken = np.zeros((4, 4))
    broken[0] = [np.nan, np.inf, -np.inf, 1.0]
    assert np.array_equal(blend(pixels, broken)[1:], gray[1:])
    assert blend(None, np.eye(4)).shape == (4, 4, 3)


def test_signed_maps_are_blue_below_and_red_above_zero() -> None:
    pixels = np.full((1, 4), 120, dtype=np.uint8)
    heatmap = np.array([[-2.0, 0.0, 1.0, 2.0]])
    assert is_signed(heatmap)
    assert not is_signed(np.array([[0.0, 1.0, -1e-6]]))
    low, zero, some, high = blend(pixels, heatmap)[0].astype(int)
    assert zero.tolist() == [120] * 3
    assert low[2] > low[0] + 40
    assert high[0] > high[2] + 40
    assert some[0] > some[2]
    # The same size on both sides, whatever the other side holds.
    assert np.array_equal(blend(pixels, heatmap)[0, 3], blend(pixels, np.maximum(heatmap, 0),
                                                              signed=True)[0, 3])
    assert not np.array_equal(blend(pixels, heatmap), blend(pixels, heatmap, signed=False))


def test_one_axes_holds_picture_contours_and_points_with_y_downwards() -> None:
    axes = Figure().add_subplot()
    mask = np.zeros((8, 4), dtype=bool)
    mask[2:4, 1:3] = True
    drawn = draw_overlay(axes, np.zeros((8, 4), dtype=np.uint8), np.eye(8, 4),
                         contours=[Contour(mask, "anna"), Contour(np.eye(8, 4) > 0, "bert",
                                                                  "expert")],
                         points=[Point(3.5, 1.5, "bert")], size=(16.0, 8.0))
    assert drawn is axes
    assert axes.get_ylim() == (16, 0)
    assert axes.get_xlim() == (0, 8)
    first = np.asarray(axes.lines[0].get_xydata())
    # Twice as large as the mask, on the edges of its pixels.
    assert first.min(axis=0).tolist() == [2, 4]
    assert first.max(axis=0).tolist() == [6, 8]
    labels = [line.get_label() for line in axes.lines]
    assert labels[0] == "anna"
    assert labels.count("bert") == 2
    assert len(axes.images) == 1


def test_an_overlay_is_read_from_the_cubes_by_labels(cubes: xr.DataTree) -> None:
    axes = overlay(cubes, "image-01", "Cardiomegaly", "gradcam")
    assert [line.get_label() for line in axes.lines] == [
        "radiologists", "third reader", "third reader", "gradcam"]
    # 64 x 48 as acquired.
    assert axes.get_ylim() == (32, 0)
    assert axes.get_xlim() == (0, 24)
    heatmap = cubes["saliency/heatmap"].sel(image="image-01", finding="Cardiomegaly",
                                            explainer="gradcam", model="net").values
    y, x = np.unravel_index(heatmap.argmax(), heatmap.shape)
    assert axes.lines[-1].get_xydata().tolist() == [[(x + 0.5) * 24 / 32, y + 0.5]]
    alone = overlay(cubes, "image-01", "Cardiomegaly", reader="radiologists")
    assert [line.get_label() for line in alone.lines] == ["radiologists"]
    part = cubes.sel(finding="Cardiomegaly").sel(image="image-01")
    again = overlay(part, "image-01", "Cardiomegaly", "gradcam")
    assert np.array_equal(again.images[0].get_array(), axes.images[0].get_array())
    mine = Figure().add_subplot()
    assert overlay(cubes, "image-01", "Cardiomegaly", "grad", axes=mine) is mine


def test_labels_that_are_not_known_are_named(cubes: xr.DataTree) -> None:
    with pytest.raises(UsageError, match="no explainer 'gradcm'; did you mean 'gradcam'"):
        overlay(cubes, "image-01", "Cardiomegaly", "gradcm")
    with pytest.raises(UsageError, match="no reader 'third readr'; did you mean 'third reader'"):
        overlay(cubes, "image-01", "Cardiomegaly", reader="third readr")
    with pytest.raises(UsageError, match="no image"):
        overlay(cubes, "image-99", "Cardiomegaly")
    bare = xr.DataTree.from_dict({"/": cubes.to_dataset(inherit=False)})
    with pytest.raises(DataError, match="no radiograph"):
        overlay(bare, "image-01", "Cardiomegaly")
    with pytest.raises(DataError, match="run `saltrust generate`"):
        gallery(bare, "Cardiomegaly")


def test_a_gallery_has_a_line_per_image(cubes: xr.DataTree) -> None:
    figure = gallery(cubes, "Cardiomegaly")
    titles = [axes.get_title() for axes in figure.axes]
    assert len(titles) == 3 * 3
    assert titles[1:3] == ["gradcam", "grad"]
    probability = cubes["prediction/probability"].sel(finding="Cardiomegaly", model="net")[:8]
    order = probability["image"].values[np.argsort(-probability.values)]
    # Of the eight positives the most and the least probable, and one between.
    assert titles[::3] == [str(order[0]), str(order[4]), str(order[7])]
    grid = gallery(cubes, "Cardiomegaly", "grad", rows=2, columns=3)
    assert [axes.get_title() for axes in grid.axes] == [
        str(order[k]) for k in (0, 1, 3, 4, 6, 7)]
    chosen = gallery(cubes, "Edema & co", "grad", images=["image-02"], reader="radiologists")
    assert [axes.get_title() for axes in chosen.axes] == ["image-02"]
    assert {line.get_label() for line in chosen.axes[0].lines} == {"radiologists", "grad"}


def test_mean_maps_count_what_they_show(cubes: xr.DataTree) -> None:
    seen = survey_maps(cubes, model="net")
    assert seen is not None
    titles = [axes.get_title() for axes in mean_maps(seen).axes if axes.get_title()]
    assert "Cardiomegaly\ngradcam, n = 8" in titles
    assert "grad, n = 7" in titles
