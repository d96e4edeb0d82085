"""`saltrust power`, `saltrust plan`, `saltrust export checklist` and `--plan` on a command line."""

from __future__ import annotations

import json
from pathlib import Path
from unittest import mock

import pytest
from click.testing import CliRunner, Result
from matplotlib.figure import Figure

from saltrust.cli import main
from saltrust.testing import simulate_cubes


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["--quiet", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture(scope="module")
def cubes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("planned") / "study.zarr"
    simulate_cubes(path, patients=10, grid=16, seed=6, findings=("Edema",), parts=())
    return path


def _not_drawn(_figure: Figure, path: Path, **_options: object) -> None:
    Path(path).write_bytes(b"")


def filled(path: Path, cubes: Path) -> Path:
    assert run("plan", "init", path, "--cubes", cubes).exit_code == 0
    text = path.read_text()
    for old, new in (('question = ""', 'question = "which"'), ("rules = []", 'rules = ["none"]'),
                     ("patients = 0", "patients = 5"),
                     ('justification = ""', 'justification = "pilot"'),
                     ("resamples = 1000", "resamples = 20")):
        text = text.replace(old, new, 1)
    path.write_text(text)
    return path


def test_power_writes_tables_and_a_figure(tmp_path: Path) -> None:
    done = run("power", "--comparison", "clustered", "--effect", "0.1,0.2", "--patients", "10,20",
               "--replicates", "20", "--most-patients", "40", "--format", "json", "-o",
               tmp_path / "out")
    assert done.exit_code == 0
    tables = json.loads(done.stdout)["tables"]
    assert [len(tables[name]) for name in ("power", "smallest")] == [4, 2]
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".json", ".csv", ".png",
                                                                      ".svg"}


@pytest.mark.parametrize(("arguments", "sentence"), [
    (("--effect", "x"), "--effect 'x' is no number"), ((), "say --effect"),
    (("--effect", "0.1", "--patients", "2.5"), "no whole number"),
    (("--effect", "0.1", "--patients", ","), "number of patients"),
    (("--effect", "0.1", "--target", "1"), "target"),
    (("--effect", "0.1", "--target", ""), "target"),
    (("--effect", "0.1", "--finding", "Edema"), "no CUBES"),
    (("--effect", "0.1", "--sd", "nan"), "finite"), (("no.zarr", "--effect", "0.1"), "no.zarr"),
])
def test_wrong_power_is_one_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    done = run("power", *arguments)
    assert done.exit_code in (1, 2)
    assert done.stderr.startswith("Error: ")
    assert sentence in done.stderr


def test_a_plan_from_beginning_to_end(tmp_path: Path, cubes: Path) -> None:
    plan = filled(tmp_path / "plan.toml", cubes)
    frozen = run("plan", "freeze", plan)
    assert frozen.exit_code == 0
    assert frozen.stdout.startswith("sha256:")
    assert "existed when the plan was frozen" in frozen.stderr
    assert run("plan", "freeze", plan).exit_code == 2
    with mock.patch.object(Figure, "savefig", _not_drawn):
        done = run("protocol", "localization", cubes, "-o", tmp_path / "out", "--plan", plan,
                   "--resamples", 20, "--split", "test", "--model", "densenet-1", "--explainer",
                   "gradcam", "--explainer", "grad")
    assert done.exit_code == 0, done.stderr
    table = json.loads((tmp_path / "out/tables/plan.json").read_text())
    points = {row["point"]: row["followed"] for row in table}
    assert points["primary.options.resamples"] == points["data.run_id"] == "yes"
    assert points["frozen before the data"] == "no"
    assert points["data.models"] == "no"
    assert points["primary.row"] == "no"  # Of one model contrasts do not name it.
    assert "The plan of the study was frozen on" in (tmp_path / "out/methods.md").read_text()
    checked = run("plan", "check", plan, tmp_path / "out/results/localization.json", "--format",
                  "json")
    assert checked.exit_code == 0
    plan.write_text(plan.read_text().replace("patients = 5", "patients = 3"))
    changed = run("plan", "check", plan)
    assert changed.exit_code == 1
    assert "was changed after it was frozen" in changed.stderr
    assert "sample_size.patients" in changed.stderr


def test_a_report_shows_the_plan(tmp_path: Path, cubes: Path) -> None:
    plan = filled(tmp_path / "plan.toml", cubes)
    done = run("report", cubes, "-o", tmp_path / "page.html", "--plan", plan)
    assert done.exit_code == 0
    page = (tmp_path / "page.html").read_text()
    assert "What was planned and what was done" in page
    assert "had not been frozen" in page


def test_a_wrong_plan_is_said_before_work(tmp_path: Path, cubes: Path) -> None:
    for command in (("protocol", "localization", cubes, "-o", tmp_path / "out"),
                    ("report", cubes, "-o", tmp_path / "page.html")):
        done = run(*command, "--plan", tmp_path / "none.toml")
        assert done.exit_code == 2
        assert "saltrust plan init" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_checklist_is_written(tmp_path: Path, cubes: Path) -> None:
    for suffix in ("md", "csv"):
        file = tmp_path / f"list.{suffix}"
        assert run("export", "checklist", cubes, "-o", file).exit_code == 0
        assert "authors must state" in file.read_text()
        assert run("export", "checklist", cubes, "-o", file).exit_code == 2
    assert run("export", "checklist", cubes, "-o", tmp_path / "list.txt").exit_code == 2
