"""``saltrust analyze gaze`` as a user runs it: on the maps of a model trained on phantoms."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

STUDY = """
name = "looking"
seed = 5
grid = 48
explainers = ["gradcam", "grad"]

[data]
kind = "phantom"
patients = 20
size = 64
findings = ["Pleural Effusion", "Edema"]
split_fractions = [0.4, 0.2, 0.4]
gaze = true

[train]
epochs = 1
learning_rate = 1e-3

[[models]]
name = "net"
architecture = "phantom_net"
arguments = {width = 8}
"""


@pytest.fixture(scope="module")
def looked_at(run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("looking")
    study, path = folder / "study.toml", folder / "g.zarr"
    study.write_text(STUDY)
    for command in (("train", study), ("generate", study, "-o", path)):
        result = run("--quiet", *command)
        assert result.exit_code == 0, result.stderr
    return path


def test_a_study_with_gaze_is_scored_against_it(run, looked_at: Path, tmp_path: Path) -> None:
    result = run("--quiet", "analyze", "gaze", looked_at, "--split", "test", "--map", "positive",
                 "--resamples", 100, "--format", "json", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    content = json.loads(result.stdout)
    assert content["meta"]["map"] == "positive"
    summary = {(row["finding"], row["explainer"], row["term"]): row
               for row in content["tables"]["summary"]}
    for explainer in ("gradcam", "grad", "centre-prior", "average-gaze"):
        row = summary["all", explainer, "nss"]
        assert row["n"] == summary["all", "gradcam", "kl"]["n"] > 3
        # Fewer than ten patients have no bootstrap interval.
        assert (row["conf_low"] is None) == ("no bootstrap interval" in row["note"])
        assert row["conf_low"] is None or row["conf_low"] <= row["estimate"] <= row["conf_high"]
    assert summary["all", "average-gaze", "auc_judd"]["estimate"] > 0.65
    with (tmp_path / "out" / "gaze_comparisons.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["compared"] for row in rows} == {"explainers"}
    assert json.loads((tmp_path / "out" / "gaze.json").read_text()) == content
    for name in ("gaze_agreement", "gaze_examples"):
        for suffix in ("png", "svg"):
            assert (tmp_path / "out" / f"{name}.{suffix}").stat().st_size > 5000


def test_what_is_printed_for_people(run, looked_at: Path) -> None:
    result = run("analyze", "gaze", looked_at, "--finding", "Pleural Effusion", "--measure", "nss",
                 "--resamples", 50)
    assert result.exit_code == 0, result.stderr
    assert "average-gaze" in result.stdout
    assert "correlation" not in result.stdout
    shown = run("info", looked_at)
    assert "gaze maps" in shown.stdout


def test_cubes_without_gaze_are_refused_in_one_sentence(run, cubes: Path) -> None:
    result = run("analyze", "gaze", cubes)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "saltrust import egd-cxr" in result.stderr
