"""A store of schema 1 gives the numbers it gave; contents of a later version are named."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import zarr

#: Mean IoU that saltrust found in it as it was before schema 2.
MEAN_IOU = {
    ("Cardiomegaly", "grad", "net"): 0.12415196743554953,
    ("Pleural Effusion", "grad", "net"): 0.007532956685499058,
    ("Edema", "grad", "net"): 0.1005155589464474,
    ("Cardiomegaly", "gradcam", "both"): 0.06480558325024925,
    ("Edema", "gradcam", "both"): 0.1394850763271816,
    # Of experts on the images that have maps, which the others of the store have not.
    ("Cardiomegaly", "expert", "expert-1"): 0.8981481481481481,
    ("Pleural Effusion", "expert", "expert-2"): 0.029411764705882353,
}



@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A store of schema 1; ``tests/cache/test_schema_versions.py`` says what is in it."""
    with zipfile.ZipFile(Path(__file__).parents[1] / "reference" / "schema1.zarr.zip") as archive:
        archive.extractall(tmp_path / "schema1.zarr")
    return tmp_path / "schema1.zarr"


def test_a_store_of_schema_1_is_analysed_as_it_was(first: Path, run: Any) -> None:
    result = run("--quiet", "analyze", "localization", first, "--format", "json",
                 "--resamples", "50", "--map", "raw")
    assert result.exit_code == 0, result.stderr
    rows = {(row["finding"], row["explainer"], row["model"]): row["estimate"]
            for row in json.loads(result.stdout)["tables"]["summary"] if row["metric"] == "iou"}
    assert len(rows) == 18
    for key, value in MEAN_IOU.items():
        assert rows[key] == pytest.approx(value, rel=1e-12)


def test_maps_of_schema_1_are_read_by_the_names_of_their_explainers(first: Path, run: Any) -> None:
    result = run("--quiet", "analyze", "localization", first, "--format", "json",
                 "--resamples", "20")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["meta"]["map_readings"] == {"grad": "absolute",
                                                                 "gradcam": "raw"}
    content = json.loads(run("info", first, "--json").stdout)
    assert [row["reading"] for row in content["explainers"]] == ["absolute", "raw"]


def test_info_names_what_this_version_does_not_know(run: Any, first: Path) -> None:
    zarr.open_group(first, mode="r+")["saliency"].create_array(
        "doubt", shape=(9,), dtype="float32", dimension_names=["image"])
    result = run("info", first)
    assert result.exit_code == 0
    assert "schema 1" in result.stdout
    assert "warnings\n  /saliency/doubt is not known to this version of saltrust" in result.stdout
    assert "PROBLEMS" not in result.stdout
    content = json.loads(run("info", first, "--json").stdout)
    assert (len(content["warnings"]), content["problems"]) == (1, [])
