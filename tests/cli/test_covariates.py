"""Age, sex and site of a manifest, from the study file to coordinates of every group."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import saltrust

AGES = (61.5, np.nan, 48.0, 70.0, 33.0, 52.0)
SEXES = ("F", "M", "", "F", "M", "F")
SITES = ("north", "2", "north", "", "2", "north")

STUDY = """
name = "films"
grid = 32
explainers = ["grad"]

[data]
kind = "manifest"
path = "films.csv"
covariates = ["age", "sex", "site"]
split_fractions = [0.0, 0.0, 1.0]
"""

MODEL = """
[[models]]
name = "net"
architecture = "phantom_net"
arguments = {width = 4}
checkpoint = "net.safetensors"
"""


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A manifest of six images whose columns are one finding and three covariates."""
    rng = np.random.default_rng(0)
    rows = ["path,patient,age,sex,site,Edema,boxes:Edema"]
    for i, (age, sex, site) in enumerate(zip(AGES, SEXES, SITES, strict=True)):
        Image.fromarray(rng.integers(0, 255, (40, 50), dtype=np.uint8)).save(
            tmp_path / f"{i}.png")
        stated = "" if np.isnan(age) else f"{age:g}"
        rows.append(f"{i}.png,p{i // 2},{stated},{sex},{site},{i % 2},"
                    + ("4 5 10 12" if i % 2 else ""))
    (tmp_path / "films.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "study.toml").write_text(STUDY)
    return tmp_path


def check(group: Any) -> None:
    """That a group has the covariates, with their dtypes."""
    np.testing.assert_array_equal(group["age"].values, AGES)
    assert group["age"].dtype == np.float64
    assert tuple(group["sex"].values.tolist()) == SEXES
    assert tuple(group["site"].values.tolist()) == SITES
    assert {"age", "sex", "site", "patient", "split"} <= set(group.coords)


def test_import_study_stores_them(run: Any, films: Path) -> None:
    result = run("-q", "import", "study", films / "study.toml", "-o", films / "s.zarr")
    assert result.exit_code == 0, result.stderr
    cubes = saltrust.open_cubes(films / "s.zarr")
    assert cubes.attrs["saltrust_schema"] == 2
    assert cubes["finding"].values.tolist() == ["Edema"]
    for name in ("reference", "radiograph"):
        check(cubes[name].to_dataset())
    drawn = cubes["reference/mask"].sel(finding="Edema", reader="reference").groupby("sex").any()
    assert drawn.any(["y", "x"]).sel(sex=["F", "M"]).values.tolist() == [True, True]
    old = cubes["reference"].to_dataset()
    assert old.isel(image=old["age"] > 60)["image"].values.tolist() == ["0", "3"]
    description = json.loads(run("info", films / "s.zarr", "--json").stdout)
    assert description["covariates"] == ["age", "sex", "site"]
    assert description["problems"] == description["warnings"] == []
    assert "covariates  age, sex, site\n" in run("info", films / "s.zarr").stdout


def test_cubes_and_heatmaps_carry_them_on(run: Any, films: Path) -> None:
    pytest.importorskip("torch")
    from safetensors.torch import save_file

    from saltrust.models.classifiers.registry import build

    weights = build("phantom_net", 1, width=4).state_dict()
    save_file({name: values.contiguous() for name, values in weights.items()},
              films / "net.safetensors")
    (films / "study.toml").write_text(STUDY + MODEL)
    result = run("-q", "import", "study", films / "study.toml", "-o", films / "s.zarr")
    assert result.exit_code == 0, result.stderr
    (films / "again.toml").write_text(
        'grid = 32\nexplainers = ["grad"]\n[data]\nkind = "cubes"\npath = "s.zarr"\n' + MODEL)
    for study in ("study.toml", "again.toml"):
        result = run("-q", "generate", films / study, "-o", films / f"{study}.zarr")
        assert result.exit_code == 0, result.stderr
        cubes = saltrust.open_cubes(films / f"{study}.zarr")
        for name in ("saliency", "prediction", "reference", "radiograph"):
            check(cubes[name].to_dataset())
        means = cubes["saliency/heatmap"].groupby("site").mean("image")
        assert means["site"].values.tolist() == ["", "2", "north"]


def test_other_kinds_refuse_them_in_one_sentence(run: Any, films: Path) -> None:
    study = films / "study.toml"
    study.write_text('[data]\nkind = "folder"\npath = "."\ncovariates = ["age"]\n')
    result = run("import", "study", study, "-o", films / "s.zarr")
    assert result.exit_code == 2
    assert result.stderr.count("Error: ") == 1
    assert "Error: `covariates` under [data]" in result.stderr
    assert "is for kind = manifest and means nothing for 'folder'" in result.stderr


@pytest.mark.parametrize(("names", "word"), [
    ('["ages"]', "did you mean 'age'?"), ('["patient"]', "meaning of its own"),
    ('["age", "age"]', "twice")])
def test_wrong_names_are_one_sentence(run: Any, films: Path, names: str, word: str) -> None:
    study = films / "study.toml"
    study.write_text(STUDY.replace('["age", "sex", "site"]', names))
    result = run("import", "study", study, "-o", films / "s.zarr")
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert word in line
    assert not (films / "s.zarr").exists()
