"""Bad input: one sentence that names the culprit, the right exit status, nothing left behind."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saltrust.testing import simulate_cubes

MANIFEST = """
name = "films"
grid = 32
[data]
kind = "manifest"
path = "films.csv"
{extra}
"""


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A manifest study of two images; tests break it."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        Image.fromarray(rng.integers(0, 255, (40, 50), dtype=np.uint8)).save(
            tmp_path / f"{name}.png")
    (tmp_path / "films.csv").write_text("image,path,Edema\na,a.png,1\nb,b.png,0\n")
    (tmp_path / "study.toml").write_text(MANIFEST.format(extra=""))
    return tmp_path


def check(result, status: int, *words: str) -> None:
    assert result.exit_code == status, result.stderr
    assert result.stdout == ""
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    for word in words:
        assert word in errors[0]


def import_study(run, folder: Path):
    result = run("-q", "import", "study", folder / "study.toml", "-o", folder / "s.zarr")
    assert not (folder / "s.zarr").exists() or result.exit_code == 0
    return result


def test_a_good_manifest_imports(run, films: Path) -> None:
    assert import_study(run, films).exit_code == 0


def test_a_missing_image(run, films: Path) -> None:
    (films / "b.png").unlink()
    check(import_study(run, films), 1, "b.png")


def test_a_truncated_image(run, films: Path) -> None:
    content = (films / "b.png").read_bytes()
    (films / "b.png").write_bytes(content[:len(content) // 2])
    check(import_study(run, films), 1, "b.png")


def test_an_unknown_finding(run, films: Path) -> None:
    (films / "study.toml").write_text(MANIFEST.format(extra='findings = ["Edeme"]'))
    check(import_study(run, films), 1, "Edeme", "Edema")


def test_duplicate_images(run, films: Path) -> None:
    (films / "films.csv").write_text("image,path,Edema\na,a.png,1\na,b.png,0\n")
    check(import_study(run, films), 1, "'a'")


def test_a_mask_of_another_size(run, films: Path) -> None:
    Image.fromarray(np.zeros((10, 10), dtype=np.uint8)).save(films / "m.png")
    (films / "films.csv").write_text("image,path,Edema,mask:Edema\na,a.png,1,m.png\n")
    check(import_study(run, films), 1, "m.png", "10")


def test_a_missing_study_file(run, tmp_path: Path) -> None:
    check(run("train", tmp_path / "none.toml"), 2, "none.toml")
    check(run("generate", tmp_path / "none.toml", "-o", tmp_path / "s.zarr"), 2, "none.toml")


def test_missing_cubes(run, tmp_path: Path) -> None:
    for topic in ("descriptors", "localization", "regressions", "confidence"):
        check(run("analyze", topic, tmp_path / "none.zarr"), 2, "none.zarr")
    check(run("info", tmp_path / "none.zarr"), 2, "none.zarr")
    check(run("report", tmp_path / "none.zarr", "-o", tmp_path / "r.html"), 2, "none.zarr")


def test_an_unknown_model(run, study: Path) -> None:
    check(run("train", study, "--model", "nett"), 2, "did you mean 'net'")


def test_an_unknown_finding_or_explainer_of_cubes(run, cubes: Path) -> None:
    check(run("-q", "analyze", "localization", cubes, "--finding", "Cardiomegali"), 2,
          "Cardiomegaly")
    check(run("-q", "analyze", "localization", cubes, "--explainer", "gradcamm"), 2, "gradcam")


def test_contradicting_options(run, study: Path, tmp_path: Path) -> None:
    check(run("generate", study, "-o", tmp_path / "s.zarr", "--overwrite", "--resume"), 2,
          "contradict")


def test_confidence_without_masks_names_the_missing_masks(run, films: Path) -> None:
    assert import_study(run, films).exit_code == 0
    check(run("-q", "analyze", "confidence", films / "s.zarr"), 1, "mask")


@pytest.mark.parametrize(("number", "words"), [
    (errno.EACCES, "r.html cannot be reached (Permission denied); check its permissions"),
    (errno.ENOSPC, "the disk is full while writing"), (errno.EDQUOT, "free some space")])
def test_a_place_that_is_refused(run, tmp_path: Path, monkeypatch, number: int, words: str) -> None:
    simulate_cubes(tmp_path / "s.zarr", patients=4, parts=(), grid=8)

    def refuse(output: Path, **_: bool) -> None:
        raise OSError(number, os.strerror(number), str(output))

    monkeypatch.setattr("saltrust.report.page.page.check_output", refuse)
    check(run("report", tmp_path / "s.zarr", "-o", tmp_path / "r.html"), 1, words)
