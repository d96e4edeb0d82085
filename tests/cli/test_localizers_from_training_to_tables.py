"""Localizers through the command line: trained, in the cubes, in the tables of the criteria."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from saltrust.cache.inspection import describe
from saltrust.cache.store import open_cubes
from saltrust.report.page import overview

STUDY = """
name = "tiny"
seed = 5
grid = 32
explainers = ["grad", "gradcam"]

[data]
kind = "phantom"
patients = 24
size = 64
findings = ["Cardiomegaly", "Support Devices"]
split_fractions = [0.5, 0.2, 0.3]

[train]
epochs = 1
batch_size = 8
learning_rate = 1e-3

[[models]]
name = "net"
architecture = "phantom_net"
replicates = 2
arguments = {width = 4}

[[localizers]]
name = "unet"
replicates = 2
train = {epochs = 4, learning_rate = 1e-2}
arguments = {encoder_name = "resnet18", encoder_depth = 3, decoder_channels = [16, 8, 8]}

[[localizers]]
name = "retina"
architecture = "retinanet"
replicates = 2
findings = ["Cardiomegaly"]
train = {epochs = 2}

[localizers.arguments]
backbone = "resnet18"
channels = 8
in_channels = 1
image_size = 0
anchor_sizes = [8, 16, 24, 32, 64]
"""
NAMES = ["unet", "unet-2", "retina", "retina-2"]


@pytest.fixture(scope="module")
def localized(tmp_path_factory: pytest.TempPathFactory, run: Any) -> Path:
    """The cubes of a study of two classifiers and four localizers."""
    folder = tmp_path_factory.mktemp("localized")
    (folder / "study.toml").write_text(STUDY)
    trained = run("--quiet", "train", folder / "study.toml")
    assert trained.exit_code == 0, trained.stderr
    assert [line.split(":")[0] for line in trained.stdout.splitlines()] == [
        "net", "net-2", *NAMES]
    for name in NAMES:
        card = json.loads((folder / "runs" / name / "model.json").read_text())
        assert card["kind"] == "localizer"
        assert 0 <= card["test_auc"]["findings"]["Cardiomegaly"] <= 1
    generated = run("--quiet", "generate", folder / "study.toml", "-o", folder / "study.zarr")
    assert generated.exit_code == 0, generated.stderr
    return folder / "study.zarr"


def tables(run: Any, *arguments: object) -> dict[str, list[dict[str, Any]]]:
    result = run("--quiet", "analyze", *arguments, "--split", "test", "--format", "json",
                 "--resamples", 100)
    assert result.exit_code == 0, result.stderr
    content: dict[str, list[dict[str, Any]]] = json.loads(result.stdout)["tables"]
    return content


def test_utility_judges_explainers_against_them(run: Any, localized: Path) -> None:
    content = tables(run, "utility", localized)
    summary = {(row["finding"], row["explainer"]): row for row in content["summary"]
               if row["condition"] == "localizer"}
    assert set(summary) == {*(("Cardiomegaly", name) for name in NAMES),
                            ("Support Devices", "unet"), ("Support Devices", "unet-2")}
    cards = {name: json.loads((localized.parent / "runs" / name / "model.json").read_text())
             for name in NAMES}
    for (finding, name), row in summary.items():
        assert row["image_auc"] == pytest.approx(cards[name]["test_auc"]["findings"][finding])
        assert row["average_precision_mean"] == pytest.approx(
            cards[name]["test_average_precision"][finding], rel=1e-3)
    judged = {row["baseline"] for row in content["decisions"] if row["finding"] == "Cardiomegaly"}
    assert judged >= {*NAMES, "average-mask"}
    listed = {row["model"] for row in content["models"] if row["condition"] == "localizer"}
    assert listed == set(NAMES)


def test_repeatability_has_them_as_high_baselines(run: Any, localized: Path) -> None:
    content = tables(run, "repeatability", localized)
    kinds = {(row["finding"], row["explainer"]) for row in content["summary"]}
    assert {("Cardiomegaly", "localizer unet"), ("Cardiomegaly", "localizer retinanet"),
            ("Support Devices", "localizer unet")} <= kinds
    baselines = {row["baseline"] for row in content["decisions"]
                 if row["finding"] == "Cardiomegaly"}
    assert {"localizer unet", "localizer retinanet", "0.5"} <= baselines


def test_info_and_report_list_them(run: Any, localized: Path) -> None:
    shown = run("info", localized)
    assert shown.exit_code == 0
    assert "localizers\n  unet  role member, architecture unet, seed 0" in shown.stdout
    assert "PROBLEMS" not in shown.stdout
    cubes = open_cubes(localized)
    table = next(block for block in overview.study(cubes, describe(cubes)).blocks
                 if getattr(block, "caption", "") == "Localizers")
    assert "retina-2" in str(table)


def test_one_localizer_by_name_and_again(run: Any, localized: Path) -> None:
    study = localized.parent / "study.toml"
    refused = run("--quiet", "train", study, "--model", "unet")
    assert refused.exit_code == 2
    assert "--overwrite" in refused.stderr
    done = run("--quiet", "train", study, "--model", "unet", "--resume")
    assert done.exit_code == 0
    assert "trained already" in done.stderr
    unknown = run("--quiet", "train", study, "--model", "unet-3")
    assert unknown.exit_code == 2
    assert "did you mean 'unet-2'" in unknown.stderr
