"""Stores of an older schema are read; what a later version adds is warned of and passed over."""

from __future__ import annotations

import logging
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from saltrust.cache.checksums import seal
from saltrust.cache.inspection import describe
from saltrust.cache.reference import import_collection
from saltrust.cache.schema import GROUPS, ROOT, SCHEMA_VERSION, covariate, covariate_fault
from saltrust.cache.store import open_cubes, root_attributes
from saltrust.cache.validation import problems, unknown_contents, validate
from saltrust.cache.writing import create_store
from saltrust.errors import DataError, UsageError

#: Nine phantoms of 48 pixels on a grid of 16, every group and variable but ``box`` and
#: ``completeness`` filled; written by saltrust 0.1.0 as it was before schema 2.
#: Variables that came without a new number.
LATER = {"radiograph": {"status", "remark", "source"}, "reference": {"fixation_onset"}}
#: Groups that came without a new number.
LATER_GROUPS = {"faithfulness", "perturbation"}
SCHEMA_1 = Path(__file__).parents[1] / "reference" / "schema1.zarr.zip"


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """The store of schema 1, unpacked."""
    with zipfile.ZipFile(SCHEMA_1) as archive:
        archive.extractall(tmp_path / "schema1.zarr")
    return tmp_path / "schema1.zarr"


def test_a_store_of_schema_1_is_whole_and_valid(first: Path) -> None:
    cubes = open_cubes(first)
    assert cubes.attrs["saltrust_schema"] == 1 < SCHEMA_VERSION
    validate(cubes)
    assert unknown_contents(cubes) == []
    assert list(cubes.children) == [name for name in GROUPS if name not in {"/", *LATER_GROUPS}]
    for name, node in cubes.children.items():
        assert set(node.data_vars) == {
            variable.name for variable in GROUPS[name].variables
            if variable.dims != (variable.name,) and not variable.name.startswith(
                ("model", "explainer", "reader", "replicate"))} - LATER.get(name, set()), name
        assert node.to_dataset()["view"].values[0] == "frontal AP"
    assert describe(cubes)["covariates"] == []


def test_an_unfinished_store_of_schema_1_is_resumed(squares: Any, tmp_path: Path) -> None:
    options: dict[str, Any] = {"index": squares.index, "grid": (20, 30), "groups": ("reference",)}
    writer = create_store(tmp_path / "s.zarr", **options)
    writer.set_attributes({"saltrust_schema": 1})
    writer.owner.release()
    resumed = create_store(tmp_path / "s.zarr", resume=True, **options)
    assert root_attributes(resumed.finish())["saltrust_schema"] == 1


def later_store(squares: Any, folder: Path) -> Path:
    """A store with a variable and groups that this version does not know."""
    path = import_collection(squares, folder / "s.zarr", grid=(20, 30))
    root = zarr.open_group(path, mode="r+")
    root["reference"].create_array("opinion", shape=(5,), dtype="int8",
                                   dimension_names=["image"])
    root.create_array("weight", shape=(2,), dtype="float32", dimension_names=["finding"])
    group = root.create_group("regions")
    group.create_array("outline", shape=(5, 3), dtype="float32",
                       dimension_names=["image", "region"])
    return path


def test_what_a_later_version_adds_is_warned_of_and_passed_over(
        squares: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = later_store(squares, tmp_path)
    cubes = open_cubes(path)
    assert problems(cubes) == []
    ending = "is not known to this version of saltrust and is passed over"
    assert sorted(unknown_contents(cubes)) == [
        f"/reference/opinion {ending}", f"/weight {ending}", f"the group /regions {ending}"]
    with caplog.at_level(logging.WARNING):
        validate(cubes)
    assert caplog.text.count(ending) == 3
    content = describe(cubes)
    assert (len(content["warnings"]), content["problems"]) == (3, [])
    # It can be looked at all the same.
    assert cubes["regions"].to_dataset()["split"].values.tolist() == ["test"] * 5


def test_a_strange_group_that_does_not_fit_is_left_out(
        squares: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = import_collection(squares, tmp_path / "s.zarr", grid=(20, 30))
    group = zarr.open_group(path, mode="r+").create_group("mine")
    group.create_array("image", data=np.arange(3), dimension_names=["image"])
    with caplog.at_level(logging.WARNING):
        cubes = open_cubes(path)
    assert list(cubes.children) == ["radiograph", "reference"]
    assert "the group /mine" in caplog.text
    assert "is left out" in caplog.text


def seal_again(path: Path) -> None:
    """As if what is there now had been written by the job itself."""
    attributes = zarr.open_group(path, mode="r+").attrs
    attributes.put(seal(path, dict(attributes)))


def test_a_known_group_that_does_not_fit_is_damage(squares: Any, tmp_path: Path) -> None:
    path = import_collection(squares, tmp_path / "s.zarr", grid=(20, 30))
    zarr.open_group(path, mode="r+")["reference/image"][0] = "another"
    with pytest.raises(DataError, match="reference/image is not what was written"):
        open_cubes(path)
    seal_again(path)
    with pytest.raises(DataError, match="it cannot be opened as cubes"):
        open_cubes(path)


def test_faults_are_still_faults(squares: Any, tmp_path: Path) -> None:
    path = later_store(squares, tmp_path)
    zarr.open_group(path, mode="r+")["reference/label"][0, 0] = 9
    seal_again(path)
    cubes = open_cubes(path)
    assert problems(cubes) == ["/reference/label holds values outside -2 to 1"]
    with pytest.raises(DataError, match=r"does not follow.*/reference/label"):
        validate(cubes)


@pytest.fixture
def stated(squares: Any) -> Any:
    """The squares with an age, a number of visits, a sex and a site."""
    squares.index = squares.index.assign_coords(
        age=("image", [61.5, np.nan, 48, 30, 12]), visits=("image", [1, 2, 3, 4, 5]),
        sex=("image", ["F", "M", "", "F", "M"]))
    return squares


def test_covariates_are_declared_by_pattern(stated: Any, tmp_path: Path) -> None:
    path = import_collection(stated, tmp_path / "s.zarr", grid=(20, 30))
    cubes = open_cubes(path)
    assert problems(cubes) == unknown_contents(cubes) == []
    group = cubes["reference"].to_dataset()
    for name in ("age", "visits"):
        assert group[name].dtype == np.float64
        np.testing.assert_array_equal(group[name].values, stated.index[name].values)
    assert group["sex"].values.tolist() == ["F", "M", "", "F", "M"]
    assert describe(cubes)["covariates"] == ["age", "sex", "visits"]
    assert not {"age", "sex"} & {item.name for item in (path / "reference").iterdir()}
    counts = cubes["reference/annotated"].groupby("sex").sum(["finding", "reader", "image"])
    assert counts.sel(sex="F").item() == 6
    for name, text in (("age", False), ("sex", True)):
        assert covariate(name, text=text).dims == ("image",)
        assert (covariate(name, text=text).dtype == "string") == text


def test_a_covariate_may_have_a_space_and_the_order_is_that_of_the_schema(
        squares: Any, tmp_path: Path) -> None:
    squares.index = squares.index.assign_coords({
        "smoking status": ("image", ["never", "", "ex", "ex", "never"]),
        "Age (years)": ("image", np.arange(5.0))})
    cubes = open_cubes(import_collection(squares, tmp_path / "s.zarr", grid=(20, 30)))
    assert problems(cubes) == unknown_contents(cubes) == []
    assert describe(cubes)["covariates"] == ["Age (years)", "smoking status"]
    for node in (cubes, cubes["reference"]):
        assert [str(name) for name, values in node.coords.items()
                if values.dims == ("image",) and name != "image"] == [
            "patient", "split", "native_height", "native_width", "Age (years)", "smoking status"]
    groups = cubes["reference/annotated"].groupby("smoking status").groups
    assert groups["ex"] == [2, 3]


def test_covariates_count_when_a_store_is_resumed(stated: Any, tmp_path: Path) -> None:
    options: dict[str, Any] = {"grid": (20, 30), "groups": ("reference",)}
    create_store(tmp_path / "s.zarr", index=stated.index, **options)
    create_store(tmp_path / "s.zarr", index=stated.index, resume=True, **options)
    older = stated.index.assign_coords(age=stated.index["age"] + 1)
    with pytest.raises(UsageError, match="another labels of age;"):
        create_store(tmp_path / "s.zarr", index=older, resume=True, **options)
    with pytest.raises(UsageError, match="another labels of sex;"):
        create_store(tmp_path / "s.zarr", index=stated.index.drop_vars("sex"), resume=True,
                     **options)


@pytest.mark.parametrize("name", ["mask", "reader", "saliency", "Edema", "y", "a/b", "..", "__a"])
def test_covariates_of_other_meaning_are_refused(squares: Any, tmp_path: Path, name: str) -> None:
    index = squares.index.assign_coords({name: ("image", np.arange(5.0))})
    with pytest.raises(DataError, match=r"the covariate '.*rename it"):
        create_store(tmp_path / "s.zarr", index=index, grid=(20, 30), groups=("reference",))
    assert not list(tmp_path.iterdir())
    assert covariate_fault(name, ["Edema"])


def test_labels_of_the_root_are_no_covariates() -> None:
    assert all(covariate_fault(variable.name) for variable in ROOT.variables)
