"""With the known masks as heatmaps the scores are perfect; the readers' built-in flaws show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from saltrust.cache.reference import instance_counts, write_annotations
from saltrust.cache.schema import Status
from saltrust.cache.writing import create_store
from saltrust.datasets.phantom.collection import phantom

BUILT_IN = {"area_ratio": 1, "n_instances": -1, "elongation": -1, "irrectangularity": -1}


def oracle_cubes(folder: Path, **options: Any) -> Path:
    """Cubes of a phantom study whose heatmaps are the reference masks."""
    collection = phantom(**options)
    size = options["size"]
    n_points, n_boxes = instance_counts(collection)
    writer = create_store(
        folder / "oracle.zarr", index=collection.index, grid=(size, size),
        groups=("reference", "saliency"), n_points=n_points, n_boxes=n_boxes,
        models=xr.Dataset(coords={"model": ["truth"]}),
        explainers=xr.Dataset(coords={"explainer": ["mask"]}))
    write_annotations(writer, collection)
    readers = writer.labels("reader")
    masks = writer.array("reference/mask")
    for i in range(masks.shape[0]):
        truth = np.asarray(masks[i])[:, readers.index("reference")]
        writer.write("saliency/heatmap", (i, slice(None), 0, 0), truth.astype(np.float32))
        flat = truth.reshape(len(truth), -1)
        status = np.where(flat.any(axis=1) & ~flat.all(axis=1), Status.OK, Status.FLAT)
        writer.write("saliency/status", (i, slice(None), 0, 0), status)
    return writer.finish()


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return oracle_cubes(tmp_path_factory.mktemp("oracle"), patients=250, size=96, seed=11)


def test_the_truth_scores_one(run, oracle: Path) -> None:
    result = run("-q", "analyze", "localization", oracle, "--resolution", "grid", "--format",
                 "json", "--resamples", "50")
    assert result.exit_code == 0, result.stderr
    rows = [row for row in json.loads(result.stdout)["tables"]["scores"]
            if row["explainer"] == "mask" and row["iou"] is not None]
    assert len(rows) > 500
    assert {row["iou"] for row in rows} == {1.0}
    assert {row["hit"] for row in rows} == {1.0}


def test_regressions_recover_the_second_readers_flaws(run, oracle: Path) -> None:
    result = run("-q", "analyze", "regressions", oracle, "--benchmark", "expert-2", "--format",
                 "json")
    assert result.exit_code == 0, result.stderr
    rows = {row["descriptor"]: row for row in json.loads(result.stdout)["tables"]["estimates"]
            if row["scheme"] == "iou" and row["response"] == "expert"}
    for descriptor, sign in BUILT_IN.items():
        assert np.sign(rows[descriptor]["estimate"]) == sign, descriptor
        assert rows[descriptor]["p_adjusted"] < 0.05, descriptor


def test_too_few_rows_are_said_and_not_fatal(run, tmp_path: Path) -> None:
    cubes = oracle_cubes(tmp_path, patients=4, size=64, seed=2,
                         findings=["Pneumothorax", "Lung Lesion"])
    result = run("-q", "analyze", "regressions", cubes, "--format", "json")
    assert result.exit_code == 0, result.stderr
    rows = json.loads(result.stdout, parse_constant=pytest.fail)["tables"]["estimates"]
    assert len(rows) == 24
    for row in rows:
        assert row["p_value"] is not None or row["note"]
        assert row["n"] is not None


def test_nothing_to_compute_is_status_one(run, tmp_path: Path) -> None:
    cubes = oracle_cubes(tmp_path, patients=1, size=64, seed=1, findings=["Lung Lesion"])
    result = run("-q", "analyze", "regressions", cubes, "--format", "json")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert "at least 3" in result.stderr or "no reference mask" in result.stderr
