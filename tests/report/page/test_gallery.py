"""Pictures of the cases of a page."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from saltrust.analysis.result import Result
from saltrust.report.page import gallery


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
        stated = float(first.caption.removeprefix("IoU ").partition(",")[0])
        assert stated == pytest.approx(row["iou"], rel=0.005)
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
