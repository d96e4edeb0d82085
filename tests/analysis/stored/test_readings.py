"""What of a map is read: by hand, by name, as stated; the maps themselves stay as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from saltrust.analysis.select import select
from saltrust.analysis.stored.readings import as_read, described, read_as, readings_of
from saltrust.cache.readings import BY_NAME, READING, declared_readings
from saltrust.cache.store import open_cubes
from saltrust.errors import DataError, UsageError
from saltrust.testing import simulate_cubes


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("readings") / "study.zarr"
    simulate_cubes(path, patients=4, grid=12, parts=("randomization",), findings=("Edema",))
    return path


def _group(**coords: Any) -> xr.Dataset:
    return xr.Dataset(coords=coords)


@given(arrays(np.float32, (3, 4), elements=st.floats(-2.0**99, 2.0**99, width=32,
                                                     allow_subnormal=False)))
def test_readings_are_those_by_hand(values: np.ndarray) -> None:
    by_hand = [[abs(v) for v in row] for row in values.tolist()]
    assert as_read(values, "absolute").tolist() == by_hand
    assert as_read(values, "positive").tolist() == [[v if v > 0 else 0 for v in row]
                                                    for row in values.tolist()]
    assert as_read(values, "raw") is values
    for reading in ("absolute", "positive"):
        assert as_read(values, reading).dtype == np.float32


@pytest.mark.parametrize("reading", ["raw", "absolute", "positive"])
def test_what_is_not_finite_stays_so(reading: Any) -> None:
    values = np.array([np.nan, np.inf, -np.inf, -1.0], dtype=np.float32)
    assert np.isfinite(as_read(values, reading)).tolist() == [False, False, False, True]


def test_a_stated_reading_is_taken_before_the_name() -> None:
    group = _group(explainer=["grad", "ig", "gradcam", "mine", "xrai"],
                   explainer_reading=("explainer", ["raw", "", "positive", "absolute", ""]))
    expected = {"grad": "raw", "ig": "positive", "gradcam": "positive", "mine": "absolute",
                "xrai": "positive"}
    assert readings_of(group) == expected
    assert readings_of(group, "absolute") == dict.fromkeys(expected, "absolute")


def test_without_a_stated_reading_the_name_tells() -> None:
    names = ["smoothgrad", "deeplift", "eigencam", "net:mine"]
    assert readings_of(_group(explainer=names)) == {
        "smoothgrad": "absolute", "deeplift": "positive", "eigencam": "raw", "net:mine": "raw"}


def test_one_explainer_that_was_selected_keeps_its_reading() -> None:
    group = _group(explainer=["grad", "mine"],
                   explainer_reading=("explainer", ["raw", "positive"]))
    assert readings_of(group.sel(explainer="mine")) == {"mine": "positive"}
    assert readings_of(group.isel(explainer=[1, 0])) == {"mine": "positive", "grad": "raw"}


def test_what_joined_groups_lack_is_told_by_name() -> None:
    joined = xr.merge([_group(explainer=["grad"]), _group(explainer=["mine"])], join="outer")
    stated = joined.assign_coords({READING: ("explainer", np.array([np.nan, "positive"], object))})
    assert readings_of(stated) == {"grad": "absolute", "mine": "positive"}


def test_an_unknown_reading_is_named() -> None:
    group = _group(explainer=["mine"], explainer_reading=("explainer", ["absolut"]))
    with pytest.raises(DataError, match=r"'mine' has the reading 'absolut'.*'absolute'"):
        readings_of(group)
    assert readings_of(group, "raw") == {"mine": "raw"}
    with pytest.raises(DataError, match="no coordinate 'explainer'"):
        readings_of(_group())


def test_stating_a_reading_changes_no_map_and_not_the_cubes(store: Path) -> None:
    cubes = open_cubes(store)
    stated = read_as(cubes, "positive")
    for group in ("saliency", "randomization"):
        assert set(readings_of(stated[group].to_dataset()).values()) == {"positive"}
        assert readings_of(cubes[group].to_dataset()) == {
            "gradcam": "raw", "guided_backprop": "absolute", "grad": "absolute"}
    xr.testing.assert_identical(stated["saliency/heatmap"].drop_vars(READING),
                                cubes["saliency/heatmap"].drop_vars(READING))
    assert read_as(cubes, "auto") is cubes
    assert stated.attrs["source"] == cubes.attrs["source"]
    with pytest.raises(UsageError, match="map 'absolut' is not known"):
        read_as(cubes, "absolut")  # type: ignore[arg-type]


def test_a_selection_is_stated_too(store: Path) -> None:
    one = open_cubes(store).sel(explainer="grad", finding="Edema")
    assert readings_of(read_as(one, "positive")["saliency"].to_dataset()) == {"grad": "positive"}
    part = select(open_cubes(store), explainer=["grad", "gradcam"])
    assert readings_of(part["saliency"].to_dataset()) == {"gradcam": "raw", "grad": "absolute"}
    without = xr.DataTree.from_dict({"/": xr.Dataset()})
    assert read_as(without, "raw").identical(without)


def test_what_is_said_of_it() -> None:
    assert described("raw", {"grad": "raw"}) == {"map": "raw", "map_readings": {"grad": "raw"}}


def test_names_of_the_table_are_no_cams() -> None:
    assert not {"gradcam", "gradcam_plus_plus", "eigencam"} & set(BY_NAME)
    assert declared_readings(_group(explainer=["gradcam"])) == {"gradcam": "raw"}
