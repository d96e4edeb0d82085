"""``saltrust analyze classification`` draws what it found where it writes tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from click.testing import Result


def test_figures_beside_the_tables(cubes: Path, run: Callable[..., Result],
                                   tmp_path: Path) -> None:
    folder = tmp_path / "out"
    done = run("analyze", "classification", cubes, "-o", folder)
    assert done.exit_code == 0, done.stderr
    for name in ("classification_roc", "classification_calibration"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert b"<svg" in (folder / f"{name}.svg").read_bytes()
    assert (folder / "classification_calibration.csv").exists()
    (folder / "classification.json").unlink()
    again = run("analyze", "classification", cubes, "-o", folder)
    assert again.exit_code == 2
    assert not list(folder.glob(".*"))
