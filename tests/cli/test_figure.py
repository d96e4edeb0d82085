"""``saltrust figure``: one file by name, and a sentence where that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib import font_manager

from saltrust.report.figures import fonts
from saltrust.testing import simulate_cubes


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("figure") / "study.zarr"
    simulate_cubes(path, patients=8, images_per_patient=1, grid=16,
                   findings=["Edema", "\u80ba\u708e"], parts=["radiograph"])
    return path


def test_the_list_names_every_figure(run) -> None:
    listed = run("figure", "--list")
    assert listed.exit_code == 0
    names = [line.split()[0] for line in listed.stdout.splitlines()]
    assert names[:8] == ["maps", "case", "descriptors", "randomization", "repeatability",
                         "reproducibility", "precision-recall", "overview"]


@pytest.mark.parametrize(("name", "begins"), [("one.png", b"\x89PNG"), ("one.SVG", b"<?xml"),
                                              ("deep/one.pdf", b"%PDF")])
def test_the_ending_says_the_form(run, store: Path, tmp_path: Path, name: str, begins: bytes
                                  ) -> None:
    done = run("-q", "figure", "case", store, "-o", tmp_path / name, "--finding", "Edema",
               "--explainer", "gradcam", "--rank", "worst", "--by", "iou", "--count", 2)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(begins)
    again = run("figure", "case", store, "-o", tmp_path / name)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr


@pytest.mark.parametrize(("arguments", "status", "words"), [
    (("mapz", "-o", "a.png"), 2, "did you mean 'maps'"),
    (("maps", "-o", "a.jpg"), 2, "must end in .png, .svg or .pdf"),
    (("maps", "-o", "a"), 2, "must end in"),
    (("maps", "-o", "a.png", "--image", "nobody"), 2, "no image 'nobody'"),
    (("maps", "-o", "a.png", "--explainer", "gradcan"), 2, "did you mean 'gradcam'"),
    (("maps", "-o", "a.png", "--split", "none"), 1, "no image of the cubes is in split"),
    (("randomization", "-o", "a.png"), 1, "/randomization is absent"),
    (("overview", "-o", "a.png", "--rank", "best"), 2, "shows no single images"),
])
def test_what_cannot_be_drawn_is_said_and_nothing_is_written(
        run, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        arguments: tuple[str, ...], status: int, words: str) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("figure", arguments[0], store, *arguments[1:])
    assert done.exit_code == status
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_label_without_a_font_is_one_sentence(run, store: Path, tmp_path: Path,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    manager = font_manager.fontManager
    monkeypatch.setattr(manager, "ttflist", [entry for entry in manager.ttflist
                                             if entry.name.startswith("DejaVu")])
    monkeypatch.setattr(fonts, "_new_fonts", list)
    monkeypatch.setattr(fonts, "_packaged_fonts", list)
    done = run("figure", "descriptors", store, "-o", tmp_path / "a.png", "--finding",
               "\u80ba\u708e")
    assert done.exit_code == 0
    assert done.stderr.count("\n") == 1
    assert "apt install fonts-noto-cjk" in done.stderr
