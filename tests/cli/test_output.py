"""What the command line prints is shown by a terminal and not obeyed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import xarray as xr
from click.testing import CliRunner

from saltrust.cli import main
from saltrust.cli.output import say
from saltrust.printable import printable
from saltrust.testing import simulate_cubes

HOSTILE = "Edema\x1b[2J\x9b31m\u202e"


@pytest.fixture(scope="module")
def cubes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hostile") / "s.zarr"
    simulate_cubes(path, patients=6, findings=["Cardiomegaly", HOSTILE], parts=(), grid=24)
    return path


def call(*line: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, [str(word) for word in line], catch_exceptions=False)
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.parametrize("form", ["table", "markdown", "latex"])
def test_labels_in_tables_are_written_out(cubes: Path, form: str) -> None:
    status, out, _ = call("-q", "analyze", "descriptors", cubes, "--format", form)
    assert status == 0
    assert printable(out, kept="\n") == out
    assert r"x1b[2J" in out.replace("\\", "").replace("textbackslash{}", "")


def test_json_has_the_labels_themselves(cubes: Path) -> None:
    for line in (("analyze", "descriptors", cubes, "--format", "json"),
                 ("info", cubes, "--json")):
        status, out, _ = call("-q", *line)
        assert status == 0
        assert printable(out, kept="\n") == out
        assert repr(HOSTILE)[1:-1] in repr(json.loads(out))


def test_csv_is_data_for_a_file_and_shown_on_a_terminal(
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    say(f"a,{HOSTILE}\n", form="csv")
    assert capsys.readouterr().out == f"a,{HOSTILE}\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    say(f"a,{HOSTILE}\n", form="csv")
    assert capsys.readouterr().out == f"a,{printable(HOSTILE)}\n"


@pytest.mark.parametrize("line", [
    ("info", HOSTILE), ("info", "a\nError: b"), (HOSTILE,), (f"--{HOSTILE}",),
    ("analyze", "localization", "x", "--split", HOSTILE),
    ("analyze", "mixed", "--scores", HOSTILE, "--formula", "a ~ b + (1|c)"),
    ("train", f"{HOSTILE}.toml"), ("info", "\udcff")])
def test_errors_show_what_was_typed(line: tuple[str, ...]) -> None:
    status, out, err = call(*line)
    assert status in (1, 2)
    assert out == ""
    assert printable(err, kept="\n") == err
    assert len([text for text in err.splitlines() if text.startswith("Error: ")]) == 1


@pytest.mark.parametrize("line", [
    ("info", "a" * 300), ("info", "x/" * 3000), ("info", "a\0b"), ("train", "a" * 300),
    ("generate", "a" * 300, "-o", "s.zarr"), ("report", "s.zarr", "-o", "b" * 300),
    ("analyze", "mixed", "--scores", "c" * 300, "--formula", "a ~ b + (1|c)"),
    ("import", "study", "a\0.toml", "-o", "s.zarr"),
    ("export", "scores", "s.zarr", "-o", "d" * 300)])
def test_paths_that_no_file_system_has(line: tuple[str, ...]) -> None:
    status, out, err = call(*line)
    assert (status, out) == (2, "")
    assert err.startswith("Error: ")
    assert "NUL" in err or "longer than a path" in err


@pytest.mark.parametrize(("error", "words"), [
    (PermissionError(13, "Permission denied", "/secret/a"),
     "/secret/a cannot be reached (Permission denied); check"),
    (MemoryError(), "more memory than there is"),
])
def test_what_the_system_refuses_is_a_sentence(monkeypatch: pytest.MonkeyPatch, error: Exception,
                                               words: str) -> None:
    def refuse(*_: object, **__: object) -> xr.DataTree:
        raise error

    monkeypatch.setattr("saltrust.cache.store.open_cubes", refuse)
    status, out, err = call("info", "s.zarr")
    assert (status, out) == (1, "")
    assert words in err
    assert "Traceback" not in err


def test_a_defect_of_ours_stays_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: object, **__: object) -> xr.DataTree:
        raise ZeroDivisionError

    monkeypatch.setattr("saltrust.cache.store.open_cubes", break_down)
    with pytest.raises(ZeroDivisionError):
        call("info", "s.zarr")


def test_warnings_are_one_line_each(cubes: Path, tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("image,finding,explainer,iou,hit,n_instances,bad\x1b[2J\n" + "".join(
        f"i{k},E,{name},0.{k + 1},1,{k},0\n" for k in range(6) for name in ("grad", "expert")))
    _, _, err = call("analyze", "regressions", "--scores", path)
    assert "bad\\x1b[2J" in err
    assert printable(err, kept="\n") == err
