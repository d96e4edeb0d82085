"""Covariates of a manifest: columns of numbers or text that the study names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saltrust.cache.reference import import_collection
from saltrust.cache.store import open_cubes
from saltrust.datasets.cubes.collection import stored_cubes
from saltrust.datasets.manifest.collection import manifest
from saltrust.datasets.manifest.covariates import column_values
from saltrust.errors import DataError

HEADER = "image,height,width,age,sex,site,Edema"
ROWS = ("one,8,8,61.5,F,1,1", "two,8,8,,M,B,0", "three,8,8,48,,,")
NAMES = ("age", "sex", "site")


def write(folder: Path, header: str = HEADER, *rows: str) -> Path:
    path = folder / "films.csv"
    path.write_text("\n".join([header, *(rows or ROWS)]) + "\n")
    return path


def test_columns_become_coordinates_and_no_findings(tmp_path: Path) -> None:
    index = manifest(write(tmp_path), covariates=NAMES).index
    assert index["finding"].values.tolist() == ["Edema"]
    np.testing.assert_array_equal(index["age"].values, [61.5, np.nan, 48])
    assert index["age"].dtype == np.float64
    assert index["sex"].values.tolist() == ["F", "M", ""]
    # Numbers and text in one column are text.
    assert index["site"].values.tolist() == ["1", "B", ""]
    assert all(index[name].dims == ("image",) for name in NAMES)


def test_what_is_known_of_people_needs_no_naming(tmp_path: Path,
                                                 caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DataError, match=r"row 3: site is 'B'.*\[data\] findings"):
        manifest(write(tmp_path))
    caplog.clear()
    plain = manifest(write(tmp_path), findings=["Edema"])
    assert {*NAMES} & set(plain.index.coords) == {"age", "sex"}
    assert caplog.text == ""
    # Nor does naming them change what the data are, so that trained models stay theirs.
    named = manifest(write(tmp_path), findings=["Edema"], covariates=NAMES)
    assert named.fingerprint == plain.fingerprint


@pytest.mark.parametrize("header", ["image,age,sex,Edema", "Image,Patient Age,GENDER,Edema",
                                    "image_id,Age_Years,Patient_Sex,Edema"])
def test_age_and_sex_are_never_findings(header: str, tmp_path: Path,
                                        caplog: pytest.LogCaptureFixture) -> None:
    index = manifest(write(tmp_path, header, "one,063Y,1,1", "two,18M,0,0", "three,,,")).index
    assert index["finding"].values.tolist() == ["Edema"]
    np.testing.assert_array_equal(index["age"].values, [63, 1.5, np.nan])
    np.testing.assert_array_equal(index["sex"].values, [1, 0, np.nan])
    assert "taken for covariates, not findings" in caplog.text


def test_a_study_may_ask_for_sex_as_a_finding(tmp_path: Path) -> None:
    index = manifest(write(tmp_path, "image,age,sex,Edema", "one,63,1,1", "two,64,0,0"),
                     findings=["sex"]).index
    assert index["label"].values.tolist() == [[1], [0]]
    assert "sex" not in index.coords
    np.testing.assert_array_equal(index["age"].values, [63, 64])


@pytest.mark.parametrize(("cells", "values"), [
    (["1", "-2.5", "+.5e1", "3."], [1, -2.5, 5, 3]),
    (["", "7"], [np.nan, 7]),
    (["007", "1_000"], ["007", "1_000"]),
    (["NA", "1", "nan"], [np.nan, 1, np.nan]), (["null", "F", "NaN"], ["", "F", ""]),
    (["063Y", "018M", "73D", "52W", ""], [63, 1.5, 73 / 365.25, 52 / (365.25 / 7), np.nan]),
    (["63Y", "old"], ["63Y", "old"]), (["63Y", "41.5"], [63, 41.5]),
    (["inf", "1"], ["inf", "1"]),
    (["٣", "1"], ["٣", "1"]),
    (["", ""], ["", ""]),
    (["F"], ["F"]),
])
def test_what_is_a_number(cells: list[str], values: list[Any]) -> None:
    read = column_values(cells)
    np.testing.assert_array_equal(read, np.array(values))
    assert read.dtype.kind == ("U" if any(isinstance(value, str) for value in values) else "f")


@pytest.mark.parametrize(("names", "words"), [
    (["agee"], ("films.csv", "'agee'", "did you mean 'age'?")),
    (["age", "age"], ("'age' twice",)),
    (["split"], ("'split'", "meaning of its own in a manifest")),
    (["path"], ("'path'", "meaning of its own in a manifest")),
    (["image"], ("'image'", "meaning of its own in a manifest")),
    (["native_height"], ("'native_height'", "meaning of its own in the cubes")),
    (["reader"], ("'reader'", "meaning of its own in the cubes")),
    (["saliency"], ("'saliency'", "meaning of its own in the cubes")),
    (["scores"], ("'scores'", "meaning of its own in the cubes")),
    (["heatmap"], ("'heatmap'", "meaning of its own in the cubes")),
    (["Edema"], ("'Edema'", "is a finding of the study")),
    (["age/years"], ("'age/years'", "cannot be the name of a variable")),
    ([""], ("''", "cannot be the name of a variable")),
])
def test_names_that_cannot_be_are_refused(tmp_path: Path, names: list[str],
                                          words: tuple[str, ...]) -> None:
    with pytest.raises(DataError) as caught:
        manifest(write(tmp_path), findings=["Edema"], covariates=names)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize("age", ["1e400", "-1e999", "9" * 400])
def test_a_number_that_is_too_large_is_no_age(tmp_path: Path, age: str) -> None:
    path = write(tmp_path, HEADER, "one,8,8,61.5,F,1,1", f"two,8,8,{age},M,B,0")
    with pytest.raises(DataError, match=r"films\.csv, row 3: age is .* too large for a number"):
        manifest(path, covariates=["age"])


def test_an_annotation_of_a_covariate_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "image,height,width,age,Edema,mask:age", "one,8,8,61,1,none")
    with pytest.raises(DataError, match="annotates a finding without a label column"):
        manifest(path, covariates=["age"])


def test_cubes_pass_them_on(tmp_path: Path) -> None:
    first = import_collection(manifest(write(tmp_path), covariates=NAMES), tmp_path / "a.zarr",
                              grid=(4, 4))
    collection = stored_cubes(first, findings=["Edema"])
    second = open_cubes(import_collection(collection, tmp_path / "b.zarr", grid=(4, 4)))
    for cubes in (open_cubes(first), second):
        group = cubes["reference"].to_dataset()
        np.testing.assert_array_equal(group["age"].values, [61.5, np.nan, 48])
        assert group["sex"].values.tolist() == ["F", "M", ""]
        assert group["site"].values.tolist() == ["1", "B", ""]
