"""Gaze over time: windows of every image, on one scale, by label, and what has no time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

import saltrust
from saltrust.analysis.gaze import temporal
from saltrust.cache.gaze_maps import GazeSmoothing
from saltrust.cache.reference import import_collection
from saltrust.datasets.phantom.collection import phantom
from saltrust.errors import DataError, UsageError

GRID = 24


@pytest.fixture(scope="module")
def cubes(tmp_path_factory: pytest.TempPathFactory) -> xr.DataTree:
    data = phantom(patients=3, size=48, seed=5, findings=["Edema"],
                   gaze=GazeSmoothing("7px", "count"))
    return saltrust.open_cubes(import_collection(
        data, tmp_path_factory.mktemp("gaze") / "g.zarr", grid=(GRID, GRID)))


def changed(cubes: xr.DataTree, **variables: Any) -> xr.DataTree:
    """The cubes with other values of some variables of the reference."""
    tree = cubes.copy()
    reference = tree["reference"].to_dataset()
    tree["reference"] = xr.DataTree(reference.assign(
        {name: reference[name].copy(data=values) for name, values in variables.items()}))
    return tree


def test_sums_over_time_are_the_stored_heatmaps(cubes: xr.DataTree) -> None:
    made = saltrust.temporal_gaze(cubes, frames=6)
    assert made.dims == ("image", "time", "y", "x")
    assert made.dtype == np.float32
    assert str(made.reader.values) == "reference"
    assert made.attrs["sigma"] == "7px"
    stored = cubes["reference/gaze"].sel(reader="reference")
    assert made["image"].values.tolist() == stored["image"].values.tolist()
    np.testing.assert_allclose(made.sum("time").values, stored.values, atol=1e-5)
    # Where they looked first is not where they looked last.
    assert abs(made.isel(time=0) - made.isel(time=-1)).max() > 0.1


def test_windows_divide_the_reading_into_equal_parts(cubes: xr.DataTree) -> None:
    made = saltrust.temporal_gaze(cubes, frames=4)
    np.testing.assert_array_equal(made.time.values, [0.125, 0.375, 0.625, 0.875])
    fixations = cubes["reference"].to_dataset().sel(reader="reference")
    onset = fixations["fixation_onset"].values.astype(float)
    last = np.nanmax(onset + fixations["fixation_duration"].values, axis=1)
    np.testing.assert_allclose(made.start.values[:, 0], np.nanmin(onset, axis=1), atol=1e-5)
    np.testing.assert_allclose(made.end.values[:, -1], last, rtol=1e-5)
    np.testing.assert_array_equal(made.start.values[:, 1:], made.end.values[:, :-1])
    np.testing.assert_allclose(np.diff(made.start.values, axis=1, n=2), 0, atol=1e-5)
    # A recording that began a minute before gives the same windows, a minute later.
    later = saltrust.temporal_gaze(changed(cubes, fixation_onset=cubes[
        "reference/fixation_onset"].values + 60), frames=4)
    np.testing.assert_allclose(later.values, made.values, atol=1e-3)
    np.testing.assert_allclose(later.start.values, made.start.values + 60, rtol=1e-5)


def test_any_selection_gives_its_images(cubes: xr.DataTree) -> None:
    made = saltrust.temporal_gaze(cubes, frames=3)
    names = made["image"].values[[2, 1]].tolist()
    part = saltrust.temporal_gaze(cubes.sel(image=names), frames=3)
    xr.testing.assert_identical(part, made.sel(image=names))
    one = saltrust.temporal_gaze(cubes.sel(image=names[0]), frames=3)
    np.testing.assert_array_equal(one.values[0], made.sel(image=names[0]).values)
    of_reader = saltrust.temporal_gaze(cubes.sel(reader="reference", image=names), frames=3)
    np.testing.assert_array_equal(of_reader.values, part.values)


def test_the_smoothing_that_is_asked_for(cubes: xr.DataTree) -> None:
    made = saltrust.temporal_gaze(cubes, frames=2, sigma="2px", weight="duration")
    assert (made.attrs["sigma"], made.attrs["weight"]) == ("2px", "duration")
    wide = saltrust.temporal_gaze(cubes, frames=2)
    assert float((made > 0.2).mean()) < float((wide > 0.2).mean())
    # A study of cubes says in turn what those were made of; one that does not say has the default.
    cubes = cubes.copy()
    cubes.attrs["data"] = {"kind": "cubes", "data": cubes.attrs["data"]}
    assert temporal.stored_smoothing(cubes) == GazeSmoothing("7px", "count")
    cubes.attrs["data"] = {"kind": "manifest"}
    assert temporal.stored_smoothing(cubes) == GazeSmoothing("5%", "duration")


def test_images_without_gaze_or_size_are_nan() -> None:
    simulated = saltrust.simulate_cubes(patients=6, grid=16, parts=("gaze",))
    made = saltrust.temporal_gaze(simulated, frames=3)
    assert str(made.reader.values) == "radiologists"
    recorded = simulated["reference/gaze_recorded"].sel(reader="radiologists").values
    assert np.array_equal(np.isfinite(made.values).all(axis=(1, 2, 3)), recorded)
    assert np.array_equal(np.isnan(made.values).all(axis=(1, 2, 3)), ~recorded)
    assert np.array_equal(np.isnan(made.start.values).all(axis=1), ~recorded)
    sizes = simulated["native_height"].values.copy()
    sizes[0] = 0
    unknown = simulated.copy()
    unknown.dataset = unknown.to_dataset().assign_coords(native_height=("image", sizes))
    assert np.isnan(saltrust.temporal_gaze(unknown, frames=3).values[0]).all()


@pytest.mark.parametrize(("options", "words"), [
    ({"frames": 0}, "1 to 1,000 frames, not 0"), ({"frames": 2.5}, "not 2.5"),
    ({"frames": True}, "not True"), ({"reader": "referense"}, "'reference'"),
    ({"sigma": "7"}, "'150px'"), ({"weight": "time"}, "'count'")])
def test_wrong_options_are_named(cubes: xr.DataTree, options: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        saltrust.temporal_gaze(cubes, **options)


def test_without_times_there_are_no_windows(cubes: xr.DataTree,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"when any fixation of expert-1 began .*FPOGS"):
        saltrust.temporal_gaze(cubes, reader="expert-1")
    onset = np.full_like(cubes["reference/fixation_onset"].values, np.nan)
    with pytest.raises(DataError, match="when any fixation began"):
        saltrust.temporal_gaze(changed(cubes, fixation_onset=onset))
    for gone, words in (("fixation_onset", "when any fixation began"),
                        ("fixation_y", "holds no fixations")):
        tree = cubes.copy()
        tree["reference"] = xr.DataTree(tree["reference"].to_dataset().drop_vars(gone))
        with pytest.raises(DataError, match=words):
            saltrust.temporal_gaze(tree)
    monkeypatch.setattr(temporal, "MOST_BYTES", 10_000)
    with pytest.raises(DataError, match=r"in 8 frames on a grid of 24 x 24 take .* fewer images"):
        saltrust.temporal_gaze(cubes)
    assert saltrust.temporal_gaze(cubes.isel(image=slice(0, 2)), frames=2).shape[0] == 2
