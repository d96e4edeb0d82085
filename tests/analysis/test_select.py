"""Selecting a part of the cubes: what is kept, what is refused, and that nothing is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from saltrust.analysis.select import as_cubes, select
from saltrust.analysis.stored.annotations import read_annotations
from saltrust.analysis.stored.images import images_of
from saltrust.cache.schema import Status
from saltrust.cache.store import open_cubes
from saltrust.errors import DataError, UsageError
from saltrust.testing import simulate_cubes


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("select") / "study.zarr"
    simulate_cubes(place, patients=8, parts=("localizer", "randomization"), grid=24, seed=3)
    return place


@pytest.fixture
def cubes(path: Path) -> xr.DataTree:
    return open_cubes(path)


def labels(tree: xr.DataTree, group: str, dim: str) -> list[str]:
    return [str(label) for label in tree[group][dim].values]


def test_by_a_dimension_a_scalar_stays_a_dimension(cubes: xr.DataTree) -> None:
    part = select(cubes, finding="Edema")
    assert labels(part, "saliency", "finding") == ["Edema"]
    assert part["saliency/heatmap"].dims == cubes["saliency/heatmap"].dims
    np.testing.assert_array_equal(part["saliency/heatmap"].values,
                                  cubes["saliency/heatmap"].sel(finding=["Edema"]).values)


def test_labels_stay_in_the_order_of_the_cubes(cubes: xr.DataTree) -> None:
    names = labels(cubes, "saliency", "finding")
    assert labels(select(cubes, finding=names[::-1]), "saliency", "finding") == names


@pytest.mark.parametrize("name", ["split", "view", "patient", "study"])
def test_by_any_coordinate_of_images(cubes: xr.DataTree, name: str) -> None:
    values = cubes.coords[name].values.astype(object).astype(str)
    value = values[0]
    part = select(cubes, **{name: value})
    expected = cubes.coords["image"].values[values == value].tolist()
    for group in ("reference", "prediction", "saliency", "localizer"):
        assert part[group]["image"].values.tolist() == expected
        assert set(part[group][name].values.astype(object).astype(str)) == {value}
    assert select(cubes, **{name: [value]})["image"].values.tolist() == expected


def test_several_coordinates_narrow_each_other(cubes: xr.DataTree) -> None:
    part = select(cubes, split="test", explainer="gradcam", view=cubes.coords["view"].values[0])
    assert set(part.coords["split"].values.astype(object).astype(str)) == {"test"}
    assert labels(part, "saliency", "explainer") == ["gradcam"]
    assert labels(part, "randomization", "explainer") == ["gradcam"]


def test_networks_that_localize_stay_unless_one_is_named(cubes: xr.DataTree) -> None:
    model = labels(cubes, "saliency", "model")[0]
    networks = labels(cubes, "localizer", "model")
    part = select(cubes, model=model)
    assert labels(part, "prediction", "model") == [model]
    assert labels(part, "localizer", "model") == networks
    assert labels(select(cubes, model=networks[0]), "localizer", "model") == networks[:1]


def test_none_restricts_nothing(cubes: xr.DataTree) -> None:
    part = select(cubes, split=None, finding=None)
    assert part["saliency/heatmap"].shape == cubes["saliency/heatmap"].shape
    assert part.attrs == cubes.attrs


def test_stored_leaves_out_what_no_usable_map_is_of(cubes: xr.DataTree) -> None:
    status = cubes["saliency/status"]
    part = select(cubes, stored=True)["saliency/status"]
    usable = (status == Status.OK).any(["finding", "explainer", "model"])
    assert part["image"].values.tolist() == status["image"].values[usable.values].tolist()
    assert (part == Status.OK).any(["finding", "explainer", "model"]).all()
    assert (part == Status.OK).sum() == (status == Status.OK).sum()


def test_maps_are_not_read(cubes: xr.DataTree) -> None:
    part = select(cubes, split="test", finding=["Edema"], stored=True)
    assert not part["saliency/heatmap"].variable._in_memory


def test_a_path_will_do(path: Path) -> None:
    assert labels(select(str(path), finding="Edema"), "reference", "finding") == ["Edema"]
    assert as_cubes(path).attrs["source"] == str(path)


@pytest.mark.parametrize(("wanted", "error", "message"), [
    ({"finding": "Oedema"}, UsageError, "did you mean 'Edema'"),
    ({"explainer": "gradcm"}, UsageError, "did you mean 'gradcam'"),
    ({"splt": "test"}, UsageError, "did you mean 'split'"),
    ({"split": "tset"}, UsageError, "did you mean 'test'"),
    ({"view": "sideways"}, DataError, "view 'sideways'"),
    ({"image": "nobody"}, UsageError, "no image 'nobody'"),
    ({"reader": "nobody"}, UsageError, "no reader 'nobody'"),
])
def test_what_is_not_there_is_refused_in_a_sentence(
        cubes: xr.DataTree, wanted: dict[str, str], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        select(cubes, **wanted)


def test_labels_may_come_as_arrays(cubes: xr.DataTree) -> None:
    finding = cubes["finding"]
    for wanted in (finding[0], finding[:1], finding.values[:1], tuple(finding.values[:1])):
        assert labels(select(cubes, finding=wanted), "saliency", "finding") == [
            str(finding.values[0])]


def test_a_single_image_is_selected_from_too(cubes: xr.DataTree) -> None:
    one = cubes.isel(image=0)
    split = str(one.coords["split"].values)
    other = next(name for name in ("train", "val", "test") if name != split)
    assert select(one, split=split)["saliency/heatmap"].dims == one["saliency/heatmap"].dims
    with pytest.raises(DataError, match=f"split '{other}'"):
        select(one, split=other)
    with pytest.raises(UsageError, match="no image"):
        select(one, image=str(cubes["image"].values[1]))
    alone = cubes.sel(finding="Edema")
    with pytest.raises(UsageError, match=r"no finding|alone"):
        select(alone, finding="Pneumothorax")


def test_numbers_are_compared_as_numbers(cubes: xr.DataTree) -> None:
    tree = cubes.copy()
    ages = np.arange(cubes.sizes["image"], dtype=np.float64)
    ages[1] = np.nan
    tree.coords["age"] = ("image", ages)
    assert select(tree, age=[0, "2"])["image"].values.tolist() == cubes["image"].values[
        [0, 2]].tolist()
    assert select(tree, age=np.nan)["image"].values.tolist() == cubes["image"].values[[1]].tolist()
    with pytest.raises(UsageError, match="'old' is none"):
        select(tree, age="old")


@pytest.mark.parametrize("name", ["finding", "split", "image", "explainer"])
def test_an_empty_list_chooses_nothing_and_is_refused(cubes: xr.DataTree, name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} is an empty list"):
        select(cubes, **{name: []})


def test_a_label_twice_is_refused(cubes: xr.DataTree) -> None:
    with pytest.raises(DataError, match="more than once"):
        as_cubes(cubes.isel(image=[0, 0, 1]))


def test_an_unknown_patient_is_nobody(cubes: xr.DataTree) -> None:
    tree = cubes.copy()
    names = np.array([None, np.nan, *cubes.coords["patient"].values[2:]], dtype=object)
    tree.coords["patient"] = ("image", names)
    images = images_of(tree)
    assert images.patients[:2] == [str(name) for name in cubes["image"].values[:2]]
    assert read_annotations(tree).patients[:2] == [None, None]


def test_other_things_than_cubes_are_refused() -> None:
    with pytest.raises(UsageError, match="not list"):
        as_cubes([1])  # type: ignore[arg-type]
