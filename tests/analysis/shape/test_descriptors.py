"""Shape descriptors of studies: rows, resolutions, golden values."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

from saltrust.analysis.result import Result
from saltrust.analysis.shape.descriptors import descriptors
from saltrust.errors import DataError, UsageError

Mask = npt.NDArray[np.bool_]
BuildCubes = Callable[..., xr.DataTree]
GOLDEN = "patient64541_study1_view1_frontal"


def _box(top: int, left: int, height: int, width: int, size: tuple[int, int] = (60, 80)) -> Mask:
    mask = np.zeros(size, dtype=bool)
    mask[top:top + height, left:left + width] = True
    return mask


@pytest.fixture(scope="module")
def cubes(build_cubes: BuildCubes) -> xr.DataTree:
    return build_cubes(
        {("a", "Edema", "truth"): _box(10, 10, 8, 40),
         ("a", "Pneumothorax", "truth"): _box(0, 0, 0, 0),
         ("b", "Edema", "truth"): _box(4, 4, 1, 30),
         ("b", "Edema", "second"): _box(4, 4, 20, 20) | _box(40, 40, 4, 4)},
        readers={"truth": "reference", "second": "benchmark"}, images=["a", "b", "c"],
        splits=["test", "val", "test"], n_polygons={("a", "Edema", "truth"): 3}, grid=(30, 40))


def _rows(result: Result) -> dict[tuple[str, str, str], dict[Any, Any]]:
    table = result.tables["descriptors"]
    return {(row["image"], row["finding"], row["reader"]): row
            for row in table.to_dict("records")}


def test_rows_are_what_was_annotated(cubes: xr.DataTree) -> None:
    result = descriptors(cubes)
    rows = _rows(result)
    assert list(rows) == [("a", "Edema", "truth"), ("a", "Pneumothorax", "truth"),
                          ("b", "Edema", "truth"), ("b", "Edema", "second")]
    assert list(result.tables["descriptors"].columns) == [
        "image", "finding", "reader", "n_instances", "area_ratio", "elongation",
        "irrectangularity"]
    assert result.meta["resolution"] == "native"
    assert rows["a", "Edema", "truth"]["elongation"] == 5
    assert rows["a", "Edema", "truth"]["area_ratio"] == 320 / 4800
    assert rows["a", "Edema", "truth"]["irrectangularity"] == 0
    assert rows["b", "Edema", "truth"]["elongation"] == 30
    assert rows["b", "Edema", "second"]["n_instances"] == 2
    assert rows["b", "Edema", "second"]["elongation"] == 1
    empty = rows["a", "Pneumothorax", "truth"]
    assert (empty["n_instances"], empty["area_ratio"]) == (0, 0)
    assert math.isnan(empty["elongation"])
    assert result.meta["undefined"] == {"empty mask: no shape": 1}
    json.dumps(result.to_dict(), allow_nan=False)


def test_peer_counts_polygons_and_notes_rectangles_without_width(cubes: xr.DataTree) -> None:
    result = descriptors(cubes, definition="peer")
    rows = _rows(result)
    assert rows["a", "Edema", "truth"]["n_instances"] == 3
    assert rows["a", "Edema", "truth"]["elongation"] == pytest.approx(39 / 7)
    assert rows["b", "Edema", "second"]["n_instances"] == 2
    assert math.isnan(rows["b", "Edema", "truth"]["elongation"])
    assert result.meta["undefined"][
        "rectangle through pixel centres has no width: no elongation"] == 1


def test_the_grid_is_there_on_request_and_where_native_masks_are_not(
        cubes: xr.DataTree, build_cubes: BuildCubes) -> None:
    rows = _rows(descriptors(cubes, resolution="grid"))
    assert rows["a", "Edema", "truth"]["elongation"] == 5
    assert rows["a", "Edema", "truth"]["area_ratio"] == 80 / 1200
    only_grid = build_cubes({("a", "Edema", "truth"): _box(10, 10, 8, 40)}, grid=(30, 40),
                            native=False)
    assert descriptors(only_grid).meta["resolution"] == "grid"
    with pytest.raises(DataError, match=r"mask_rle is missing.*--resolution grid"):
        descriptors(only_grid, resolution="native")
    only_native = build_cubes({("a", "Edema", "truth"): _box(10, 10, 8, 40)})
    with pytest.raises(DataError, match="--resolution native"):
        descriptors(only_native, resolution="grid")


def test_selection_by_split_and_finding(cubes: xr.DataTree) -> None:
    assert {key[0] for key in _rows(descriptors(cubes, split="test"))} == {"a"}
    assert {key[1] for key in _rows(descriptors(cubes, findings=["Edema"]))} == {"Edema"}
    with pytest.raises(DataError, match="no reader annotated"):
        descriptors(cubes, split="val", findings=["Pneumothorax"])
    with pytest.raises(DataError, match=r"no image.*train"):
        descriptors(cubes, split="train")
    with pytest.raises(UsageError, match="did you mean 'Edema'"):
        descriptors(cubes, findings=["Oedema"])
    with pytest.raises(UsageError, match="split 'tset'"):
        descriptors(cubes, split="tset")
    with pytest.raises(UsageError, match="resolution 'nativ'"):
        descriptors(cubes, resolution="nativ")  # type: ignore[arg-type]


def test_extra_properties_are_columns(cubes: xr.DataTree) -> None:
    def rows_touched(mask: Mask) -> float:
        return float(mask.any(axis=1).sum())

    rows = _rows(descriptors(cubes, extra=[rows_touched]))
    assert rows["a", "Edema", "truth"]["rows_touched"] == 8
    assert math.isnan(rows["a", "Pneumothorax", "truth"]["rows_touched"])

    def area_ratio(mask: Mask) -> float:
        return 0.0

    def words(mask: Mask) -> float:
        return "many"  # type: ignore[return-value]

    for wrong, match in (([area_ratio], "another column"), ([lambda mask: 0.0], "name"),
                         ([rows_touched, rows_touched], "another column"), ([words], "number")):
        with pytest.raises(UsageError, match=match):
            descriptors(cubes, extra=wrong)


def test_cubes_without_masks_are_refused(build_cubes: BuildCubes) -> None:
    with pytest.raises(DataError, match=r"no reference masks.*no group reference"):
        descriptors(xr.DataTree.from_dict({"/": xr.Dataset(coords={"image": ["a"]})}))
    with pytest.raises(DataError, match="no reader annotated any image"):
        descriptors(build_cubes({}, images=["a"], findings=["Edema"]))
    nobody = build_cubes({}, images=["a"], findings=["Edema"])
    nobody = nobody.isel(reader=slice(0), missing_dims="ignore")
    with pytest.raises(DataError, match="names no reader"):
        descriptors(nobody)


def test_a_damaged_code_is_named(build_cubes: BuildCubes) -> None:
    cubes = build_cubes({("a", "Edema", "truth"): _box(1, 1, 5, 5)})
    cubes["reference"].to_dataset()["mask_rle"].values[0, 0, 0] = "nonsense~~"
    with pytest.raises(DataError, match="mask_rle of a, Edema, reader truth"):
        descriptors(cubes)


@pytest.mark.real_data
def test_released_values_of_a_real_radiograph(shared_data: Path, reference_folder: Path,
                                              build_cubes: BuildCubes) -> None:
    from saltrust.cache import rle

    folder = shared_data / "chexlocalize_sample"
    drawn = json.loads((folder / "gt_segmentations_val.json").read_text())[GOLDEN]
    contours = json.loads((folder / "gt_annotations_val.json").read_text())[GOLDEN]
    cubes = build_cubes(
        {(GOLDEN, finding, "truth"): rle.decode(code["counts"], *code["size"])
         for finding, code in drawn.items()},
        n_polygons={(GOLDEN, finding, "truth"): len(contours.get(finding, []))
                    for finding in drawn})
    rows = _rows(descriptors(cubes, definition="peer"))
    text = (reference_folder / "chexlocalize_patient64541.json").read_text()
    expected = {row["finding"]: row for row in json.loads(text)["rows"]}
    assert len(rows) == len(expected) == 10
    for (_, finding, _), row in rows.items():
        golden = expected[finding]
        assert row["n_instances"] == golden["n_instances_ann"]
        assert row["area_ratio"] == pytest.approx(golden["gt_area_ratio"], abs=1e-9)
        for name in ("elongation", "irrectangularity"):
            if golden[name] is None:
                assert math.isnan(row[name])
            else:
                assert row[name] == pytest.approx(golden[name], abs=1e-6)
