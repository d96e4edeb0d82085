"""--on-error, and what `info` and `verify` say of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

Run = Callable[..., Result]

STUDY = """
name = "films"
grid = 16
[data]
kind = "folder"
path = "films"
split_fractions = [0.5, 0.25, 0.25]
[generate]
split = "all"
[[models]]
name = "net"
architecture = "phantom_net"
"""


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A study of twelve films, of which two are cut off, and a file that is none."""
    for i in range(12):
        path = tmp_path / "films" / ("edema" if i % 2 else "normal") / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (20, 20), np.uint8)).save(path)
        if i in (4, 7):
            path.write_bytes(path.read_bytes()[:150])
    (tmp_path / "films" / "labels.csv").write_text("a,b")
    study = tmp_path / "study.toml"
    study.write_text(STUDY)
    return study


def test_an_import_names_all_and_leaves_out_what_it_is_told(films: Path, run: Run) -> None:
    output = films.parent / "films.zarr"
    stopped = run("import", "study", films, "-o", output)
    assert stopped.exit_code == 1
    assert "2 of 12 radiographs cannot be read" in stopped.stderr
    assert "04.png" in stopped.stderr
    assert "07.png" in stopped.stderr
    assert "left out, as they are no radiographs" in stopped.stderr
    skipped = run("import", "study", films, "-o", output, "--resume", "--on-error", "skip")
    assert skipped.exit_code == 0
    assert "2 of 12 radiographs cannot be read and are left out" in skipped.stderr
    shown = run("info", output).stdout
    assert "radiographs 10 ok, 2 left out" in shown
    assert "left out: edema/07: " in shown
    assert "left out    1 file: 1 .csv (first: labels.csv)" in shown
    described = json.loads(run("info", output, "--json").stdout)
    assert described["radiographs"]["counts"] == {
        "missing": 0, "ok": 10, "doubtful": 0, "left_out": 2}
    verified = run("verify", output)
    assert verified.exit_code == 0
    assert "2 radiographs left out by the job that made it" in verified.stdout
    assert json.loads(run("verify", output, "--json").stdout)["left_out"] == 2


def test_training_and_generation_leave_out_the_same(films: Path, run: Run) -> None:
    stopped = run("train", films, "--device", "cpu")
    assert stopped.exit_code == 1
    assert "2 of 12 radiographs cannot be read" in stopped.stderr
    films.write_text(STUDY + "[train]\nepochs = 1\n")
    assert run("train", films, "--device", "cpu", "--on-error", "skip").exit_code == 0
    # Before anything is computed: of a header that is none.
    broken = films.parent / "films" / "edema" / "01.png"
    content = broken.read_bytes()
    broken.write_bytes(b"<html>")
    stopped = run("generate", films, "-o", films.parent / "c.zarr", "--device", "cpu")
    assert stopped.exit_code == 1
    assert "edema/01.png is not a" in stopped.stderr
    assert not list(films.parent.glob("c.zarr*"))
    broken.write_bytes(content)
    done = run("generate", films, "-o", films.parent / "c.zarr", "--device", "cpu", "--on-error",
               "skip")
    assert done.exit_code == 0
    assert "2 of 12 radiographs cannot be read and are left out" in done.stderr
    described = json.loads(run("info", films.parent / "c.zarr", "--json").stdout)
    assert described["groups"]["prediction"]["complete"]["ok"] == 20
