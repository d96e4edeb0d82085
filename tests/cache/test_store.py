"""Stores: what is written is what is read, nothing half-made looks whole."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

import saltrust
from saltrust.cache import rle
from saltrust.cache.checksums import seal
from saltrust.cache.inspection import describe
from saltrust.cache.reference import import_collection, instance_counts, write_annotations
from saltrust.cache.schema import GROUPS, SCHEMA_VERSION, Status
from saltrust.cache.validation import problems, validate
from saltrust.cache.writing import create_store
from saltrust.errors import DataError, NothingToDo, UsageError

MODELS = xr.Dataset(coords={"model": ["net"], "model_role": ("model", ["member"]),
                            "model_seed": ("model", [3])})
EXPLAINERS = xr.Dataset(coords={"explainer": ["grad", "gradcam"],
                                "explainer_parameters": ("explainer", ["{}", "{}"])})
ALL = ("radiograph", "reference", "prediction", "saliency")


def begin(squares, path, **options):
    return create_store(path, index=squares.index, grid=(20, 30), groups=ALL, models=MODELS,
                        explainers=EXPLAINERS, n_points=2, identity={"data": "squares"},
                        **options)


def test_what_is_imported_is_what_is_read(squares, tmp_path: Path) -> None:
    path = import_collection(squares, tmp_path / "s.zarr", grid=(20, 30))
    cubes = saltrust.open_cubes(path)
    assert problems(cubes) == []
    assert cubes["image"].values.tolist() == squares.index["image"].values.tolist()
    reference = cubes["reference"].to_dataset()
    at = {"image": "image-2", "finding": "Edema"}
    assert reference["mask_rle"].sel({**at, "reader": "reference"}).item() == rle.encode(
        squares.mask("image-2"))
    # 40 x 60 to 20 x 30 halves the block of rows 6..15, columns 8..19.
    mask = reference["mask"].sel({**at, "reader": "expert-1"}).values
    assert np.argwhere(mask).min(axis=0).tolist() == [3, 4]
    assert mask.sum() == 5 * 6
    assert reference["point_x"].sel({**at, "reader": "expert-1"}).values.tolist() == [10, 12]
    assert np.isnan(reference["point_x"].sel({**at, "reader": "reference"}).values).all()
    assert reference["annotated"].sel(image="image-0").values.tolist() == [
        [True, True], [True, False]]
    assert reference["n_polygons"].sel(at).values.tolist() == [1, 2]
    assert (cubes["radiograph/pixels"].sel(image="image-3").values == 3).all()
    assert cubes["native_width"].values.tolist() == [60] * 5
    assert cubes["reference/label"].sel(finding="Edema", image="image-1").item() == 1


def test_maps_are_labelled_and_missing_ones_say_so(squares, tmp_path: Path) -> None:
    writer = begin(squares, tmp_path / "s.zarr")
    block = np.arange(2 * 20 * 30, dtype=np.float32).reshape(2, 20, 30)
    writer.write("saliency/heatmap", (1, slice(None), 1, 0), block)
    writer.write("saliency/status", (1, slice(None), 1, 0), int(Status.OK))
    cubes = saltrust.open_cubes(writer.finish())
    got = cubes["saliency/heatmap"].sel(image="image-1", finding="Pneumothorax",
                                        explainer="gradcam", model="net")
    assert np.array_equal(got.values, block[1])
    status = cubes["saliency/status"]
    assert int((status == Status.MISSING).sum()) == 5 * 2 * 2 - 2
    assert cubes["saliency"].to_dataset()["model_seed"].values.tolist() == [3]
    # A group can be opened alone and still has its labels.
    alone = xr.open_zarr(tmp_path / "s.zarr", group="saliency", consolidated=False)
    assert alone["heatmap"].sel(finding="Edema").dims == ("image", "explainer", "model", "y", "x")


def test_one_shard_holds_all_findings_of_a_map(squares, tmp_path: Path) -> None:
    writer = begin(squares, tmp_path / "s.zarr")
    array = writer.array("saliency/heatmap")
    assert array.chunks == (1, 1, 1, 1, 20, 30)
    assert array.shards == (1, 2, 1, 1, 20, 30)


def test_an_unfinished_store_never_has_the_name(squares, tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    begin(squares, path)
    assert not path.exists()
    with pytest.raises(UsageError, match="--resume"):
        saltrust.open_cubes(path)
    with pytest.raises(DataError, match="unfinished"):
        saltrust.open_cubes(tmp_path / "s.zarr.partial")
    with pytest.raises(UsageError, match="--resume"):
        begin(squares, path)


def test_resume_goes_on_and_overwrite_starts_again(squares, tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    begin(squares, path).write("radiograph/pixels", 0, 7)
    resumed = begin(squares, path, resume=True)
    assert (resumed.array("radiograph/pixels")[0] == 7).all()
    resumed.owner.release()
    fresh = begin(squares, path, overwrite=True)
    assert (fresh.array("radiograph/pixels")[0] == 0).all()
    fresh.finish()
    with pytest.raises(UsageError, match="--overwrite"):
        begin(squares, path)
    with pytest.raises(NothingToDo, match="finished already"):
        begin(squares, path, resume=True)
    again = begin(squares, path, overwrite=True)
    assert saltrust.open_cubes(path) is not None, "the old store stays until the new is whole"
    again.finish()
    assert sorted(item.name for item in tmp_path.iterdir()) == ["s.zarr"]


def test_resume_names_what_differs(squares, tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    begin(squares, path)
    with pytest.raises(UsageError, match="another grid"):
        create_store(path, index=squares.index, grid=(8, 8), groups=ALL, models=MODELS,
                     explainers=EXPLAINERS, identity={"data": "squares"}, resume=True)
    other = squares.index.assign_coords(finding=["Edema", "Cardiomegaly"])
    with pytest.raises(UsageError, match="labels of finding"):
        create_store(path, index=other, grid=(20, 30), groups=ALL, models=MODELS,
                     explainers=EXPLAINERS, identity={"data": "squares"}, resume=True)


def test_a_store_killed_while_laid_out_is_begun_again(squares, tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    writer = begin(squares, path)
    metadata = writer.partial / "zarr.json"
    content = json.loads(metadata.read_text())
    del content["attributes"]["laid_out"]
    metadata.write_text(json.dumps(content))
    writer.owner.release()
    assert begin(squares, path, resume=True).attributes["laid_out"]


def test_annotations_resume_block_by_block(squares, tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "s.zarr"
    n_points, _ = instance_counts(squares)
    assert n_points == 2
    write_annotations(begin(squares, path), squares)
    calls = []
    monkeypatch.setattr(squares, "annotations", calls.append)
    write_annotations(begin(squares, path, resume=True), squares)
    assert calls == []


def test_overwrite_never_removes_what_is_not_a_store(squares, tmp_path: Path) -> None:
    precious = tmp_path / "thesis"
    precious.mkdir()
    (precious / "chapter.txt").write_text("ten years")
    with pytest.raises(UsageError, match="not a Zarr store"):
        begin(squares, precious, overwrite=True)
    assert (precious / "chapter.txt").exists()


def test_a_full_disk_is_said_and_leaves_nothing_that_looks_whole(
        squares, tmp_path: Path, monkeypatch) -> None:
    writer = begin(squares, tmp_path / "s.zarr")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zarr.Array, "__setitem__", full)
    with pytest.raises(DataError, match=r"disk is full.*--resume"):
        write_annotations(writer, squares)
    assert not (tmp_path / "s.zarr").exists()


def test_a_newer_schema_is_refused(squares, tmp_path: Path) -> None:
    path = import_collection(squares, tmp_path / "s.zarr", grid=(20, 30))
    metadata = path / "zarr.json"
    content = json.loads(metadata.read_text())
    content["attributes"]["saltrust_schema"] = SCHEMA_VERSION + 1
    metadata.write_text(json.dumps(content))
    with pytest.raises(DataError, match="update saltrust"):
        saltrust.open_cubes(path)


@pytest.mark.parametrize(("make", "word"), [
    (lambda path: None, "no cubes"),
    (lambda path: path.mkdir(), "not a Zarr v3 store"),
    (lambda path: zarr.open_group(path, mode="w", zarr_format=3), "not saltrust cubes"),
    (lambda path: (path.mkdir(), (path / "zarr.json").write_text("{")), "damaged"),
])
def test_what_is_no_store_is_refused(tmp_path: Path, make, word: str) -> None:
    make(tmp_path / "s.zarr")
    with pytest.raises((DataError, UsageError), match=word):
        saltrust.open_cubes(tmp_path / "s.zarr")


def test_duplicate_images_are_refused(squares, tmp_path: Path) -> None:
    twice = ["image-1", "image-2", "image-1", "image-3", "image-4"]
    squares.index = squares.index.assign_coords(image=twice)
    with pytest.raises(DataError, match="'image-1' occurs more than once"):
        import_collection(squares, tmp_path / "s.zarr", grid=(20, 30))
    assert not list(tmp_path.iterdir())


def test_validation_lists_everything_at_once(squares, tmp_path: Path) -> None:
    path = import_collection(squares, tmp_path / "s.zarr", grid=(20, 30))
    root = zarr.open_group(path, mode="r+")
    root["reference/label"][0, 0] = 9
    root["split"][0] = "holdout"
    root["reference/n_polygons"][0, 0, 0] = -5
    root.attrs.put(seal(path, dict(root.attrs)))
    faults = problems(saltrust.open_cubes(path))
    assert len(faults) == 3
    for word in ("label holds values outside -2 to 1", "'holdout'", "n_polygons holds values"):
        assert any(word in fault for fault in faults)
    with pytest.raises(DataError, match="does not follow"):
        validate(saltrust.open_cubes(path))


def test_description_counts_what_is_there(squares, tmp_path: Path) -> None:
    writer = begin(squares, tmp_path / "s.zarr")
    write_annotations(writer, squares)
    writer.write("saliency/status", (0, slice(None), 0, 0), [1, 2])
    content = describe(saltrust.open_cubes(writer.finish({"seed": 4})))
    assert content["images"] == 5
    assert content["patients"] == 3
    assert content["grid"] == [20, 30]
    assert content["splits"] == {"test": 5}
    assert content["findings"]["Edema"] == {"positive": 5, "negative": 0, "uncertain": 0,
                                            "not_stated": 0}
    assert content["groups"]["saliency"]["complete"] == {
        "maps": 20, "missing": 18, "ok": 1, "flat": 1, "nonfinite": 0}
    assert content["models"][0]["model"] == "net"
    assert content["provenance"]["seed"] == 4
    on_disk = sum(f.stat().st_size for f in (tmp_path / "s.zarr").rglob("*") if f.is_file())
    assert content["size_on_disk"] == on_disk
    assert content["problems"] == []


def test_every_declared_variable_is_sound() -> None:
    for group in GROUPS.values():
        names = [variable.name for variable in group.variables]
        assert len(set(names)) == len(names)
        for variable in group.variables:
            assert variable.meaning.endswith(".")
            assert "method" not in variable.dims
            if variable.dtype != "string":
                np.dtype(variable.dtype)


def test_stated_instance_counts_are_believed(squares) -> None:
    squares.index.attrs.update(n_points=7, n_boxes=3)
    assert instance_counts(squares) == (7, 3)


def test_annotations_that_cannot_be_read_are_no_silence(squares, tmp_path: Path) -> None:
    draw = squares.annotations

    def broken(image):
        if image in ("image-1", "image-2"):
            raise DataError(f"{image}.json is cut off; fetch it again")
        return draw(image)

    squares.annotations = broken
    with begin(squares, tmp_path / "s.zarr") as writer, pytest.raises(
            DataError, match="2 of 5 annotations of images cannot be read: image-1, image-2"):
        write_annotations(writer, squares)
