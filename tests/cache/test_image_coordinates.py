"""What is known of an image is a coordinate of every group, through every selection."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from saltrust.cache.schema import Status
from saltrust.cache.store import open_cubes
from saltrust.cache.validation import problems
from saltrust.cache.writing import create_store

GROUPS = ("radiograph", "reference", "prediction", "saliency", "randomization", "localizer")
OF_IMAGE = {"patient", "view", "split", "native_height", "native_width"}
VIEWS = ["PA", "AP", "PA", "lateral", "AP"]
SPLITS = ["train", "train", "test", "val", "test"]


@pytest.fixture
def store(squares: Any, tmp_path: Path) -> Path:
    """Five images, of which map i is i everywhere; all groups."""
    index = squares.index.assign_coords(view=("image", VIEWS), split=("image", SPLITS))
    models = xr.Dataset(coords={"model": ["net", "net-2"]})
    writer = create_store(
        tmp_path / "s.zarr", index=index, grid=(4, 6), groups=GROUPS, models=models,
        explainers=xr.Dataset(coords={"explainer": ["grad", "gradcam"]}),
        randomization=xr.Dataset(coords={"replicate": [0], "stage": ["trained", "top"]}),
        localizers=xr.Dataset(coords={"model": ["unet"]}))
    for i in range(5):
        writer.write("saliency/heatmap", i, np.full((2, 2, 2, 4, 6), i, np.float32))
    writer.write("saliency/status", slice(None), np.full((5, 2, 2, 2), Status.OK, np.uint8))
    for name in ("native_height", "native_width"):
        writer.write(name, slice(None), index[name].values)
    return writer.finish()


def test_every_group_has_them_and_the_disk_does_not(store: Path) -> None:
    cubes = open_cubes(store)
    assert problems(cubes) == []
    assert list(cubes.children) == list(GROUPS)
    for name in GROUPS:
        assert set(cubes[name].coords) >= OF_IMAGE, name
        assert cubes[name].to_dataset()["view"].values.tolist() == VIEWS
        assert not OF_IMAGE & {item.name for item in (store / name).iterdir()}


def test_they_group_and_filter_maps(store: Path) -> None:
    cubes = open_cubes(store)
    means = cubes["saliency/heatmap"].groupby("view").mean("image").mean(
        ["finding", "explainer", "model", "y", "x"])
    assert dict(zip(means["view"].values.tolist(), means.values.tolist(), strict=True)) == {
        "PA": 1.0, "AP": 2.5, "lateral": 3.0}
    group = cubes["saliency"].to_dataset()
    tested = group.where(group["split"] == "test", drop=True)
    assert tested["image"].values.tolist() == ["image-2", "image-4"]
    assert tested["heatmap"].isel(finding=0, explainer=0, model=0, y=0, x=0).values.tolist() == [
        2.0, 4.0]
    assert group.sel(image=group["patient"] == "patient-1")["view"].values.tolist() == [
        "PA", "lateral"]
    # Two groups meet without losing them.
    both = cubes["saliency/heatmap"] * cubes["prediction/probability"]
    assert set(both.coords) >= OF_IMAGE


@pytest.mark.parametrize(("indexers", "chosen"), [
    ({"image": ["image-3", "image-0"]}, [3, 0]),
    ({"image": "image-3"}, 3),
    ({"finding": "Edema"}, [0, 1, 2, 3, 4]),
    ({"finding": ["Edema"], "explainer": "grad", "model": "net"}, [0, 1, 2, 3, 4]),
    ({"reader": "expert-1"}, [0, 1, 2, 3, 4]),
    ({"stage": "top"}, [0, 1, 2, 3, 4]),
])
def test_they_follow_labels(store: Path, indexers: dict[str, Any], chosen: Any) -> None:
    # Only /saliency and its like have explainers; one localizer is called otherwise.
    cubes = open_cubes(store)
    del cubes["localizer"]
    part = cubes.sel(indexers)
    for name in part.children:
        assert part[name].to_dataset()["view"].values.tolist() == np.array(VIEWS)[chosen].tolist()
        assert set(part[name].coords) >= OF_IMAGE
    if "image" in indexers:
        assert part["image"].values.tolist() == np.array(
            [f"image-{i}" for i in range(5)])[chosen].tolist()
    heatmap = part["saliency/heatmap"]
    axes = [dim for dim in heatmap.dims if dim != "image"]
    assert heatmap.mean(axes).values.tolist() == np.arange(5.0)[chosen].tolist()


@pytest.mark.parametrize(("image", "chosen"), [
    (0, 0), ([4, 1], [4, 1]), (slice(1, 3), [1, 2]), (np.array([True, False] * 2 + [True]),
                                                     [0, 2, 4])])
def test_they_follow_positions(store: Path, image: Any, chosen: Any) -> None:
    part = open_cubes(store).isel(image=image)
    for name in ("reference", "saliency", "localizer"):
        assert part[name].to_dataset()["split"].values.tolist() == np.array(
            SPLITS)[chosen].tolist()


@pytest.mark.parametrize("chunks", ["auto", {}, {"image": 1}, {"image": "auto"}, 6])
def test_dask_cuts_what_has_pixels(store: Path, chunks: Any) -> None:
    pytest.importorskip("dask")
    cubes, plain = open_cubes(store, chunks=chunks), open_cubes(store)
    assert problems(cubes) == []
    for name in GROUPS:
        for label, array in cubes[name].data_vars.items():
            assert (array.chunks is not None) == (array.dims[-2:] == ("y", "x")), label
        xr.testing.assert_identical(cubes[name].to_dataset().compute(),
                                    plain[name].to_dataset().compute())
        assert set(cubes[name].to_dataset().chunks) >= {"image"} or name == "prediction"
    if chunks in ({}, {"image": 1}):
        assert cubes["saliency/heatmap"].chunks[0] == (1,) * 5  # type: ignore[index]
    means = cubes["saliency/heatmap"].groupby("view").mean()
    assert float(means.sel(view="AP").mean()) == 2.5


def test_cubes_travel_to_other_processes(store: Path) -> None:
    cubes = pickle.loads(pickle.dumps(open_cubes(store)))
    assert cubes["saliency/heatmap"].isel(image=3).mean() == 3
    assert cubes["reference"].to_dataset()["view"].values.tolist() == VIEWS
