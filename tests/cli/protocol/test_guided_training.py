"""Protocol W through the command line: train, generate, compare with gaze, tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Run = Callable[..., Result]

STUDY = """
name = "looked-at"
seed = 3
grid = 32
explainers = ["guided_backprop"]

[data]
kind = "phantom"
patients = 40
size = 64
gaze = {gaze}
findings = ["Cardiomegaly", "Pleural Effusion"]
split_fractions = [0.5, 0.2, 0.3]

[train]
epochs = 1
learning_rate = 1e-3

[[models]]
name = "baseline"
architecture = "phantom_unet"
arguments = {{width = 4}}
guidance = {{loss = "decoder"}}

[[models]]
name = "guided"
architecture = "phantom_unet"
arguments = {{width = 4}}

[models.guidance]
loss = "set3"
map_weight = 0.3
"""


@pytest.fixture(scope="module")
def guided(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guided")
    study, cubes = folder / "study.toml", folder / "study.zarr"
    study.write_text(STUDY.format(gaze="true"))
    for command in (["train", study], ["generate", study, "-o", cubes]):
        done = run("--quiet", *command)
        assert done.exit_code == 0, done.stderr
    return cubes


def test_the_card_and_the_cubes_say_what_guided(guided: Path, run: Run) -> None:
    card = json.loads((guided.parent / "runs/guided/model.json").read_text())
    assert card["guidance"]["map_weight"] == 0.3
    assert card["images_with_gaze"]["train"] == card["n_images"]["train"]
    done = run("analyze", "gaze", guided, "--map", "absolute", "--format", "json")
    assert done.exit_code == 0, done.stderr
    rows = json.loads(done.stdout)["tables"]["summary"]
    assert {(row["explainer"], row["model"]) for row in rows} >= {
        ("guided_backprop", "guided"), ("guided_backprop", "baseline"),
        ("localizer", "guided"), ("localizer", "baseline")}


def test_tables_figures_and_methods(guided: Path, run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    done = run("protocol", "guided-training", guided, "-o", folder, "--resamples", "100")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.strip() == str(folder / "methods.md")
    for name in ("table4", "table4_paper", "gaze"):
        for suffix in ("md", "tex", "csv", "json"):
            assert (folder / "tables" / f"{name}.{suffix}").stat().st_size
    for name in ("roc", "calibration", "examples_guided_backprop"):
        assert (folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    table = json.loads((folder / "tables/table4.json").read_text())
    assert [row["model"] for row in table] == ["baseline", "guided"]
    assert "map weight: 0.3" in (folder / "methods.md").read_text()
    assert "table2" in done.stderr
    again = run("protocol", "guided-training", guided, "-o", folder)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr


def test_cubes_of_other_studies_are_refused(cubes: Path, run: Run, tmp_path: Path) -> None:
    done = run("protocol", "guided-training", cubes, "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert "[models.guidance]" in done.stderr
    assert not (tmp_path / "out").exists()


def test_gaze_that_is_not_there(run: Run, tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text(STUDY.format(gaze="false"))
    done = run("--quiet", "train", study)
    assert done.exit_code == 1
    assert "gaze = true" in done.stderr
    study.write_text(STUDY.format(gaze="true").replace("set3", "set4"))
    done = run("train", study)
    assert done.exit_code == 2
    assert "did you mean 'set" in done.stderr
