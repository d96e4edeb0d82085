"""``saltrust analyze faithfulness`` on a simulated store, and the fifth criterion of protocol A."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from saltrust.testing import simulate_cubes


@pytest.fixture(scope="module")
def curved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("curved") / "c.zarr"
    simulate_cubes(path, patients=26, images_per_patient=1, grid=16, findings=["Edema"],
                   parts=["faithfulness"])
    return path


def test_tables_and_the_figure_are_written(run, curved: Path, tmp_path: Path) -> None:
    result = run("--quiet", "analyze", "faithfulness", curved, "--model", "densenet-1",
                 "--metric", "deletion", "--metric", "lerf", "--resamples", 200, "--format",
                 "json", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    content = json.loads(result.stdout)
    assert content["meta"]["metrics"] == ["deletion", "lerf"]
    decided = {(row["explainer"], row["metric"]): row["decision"]
               for row in content["tables"]["decisions"]}
    assert decided["gradcam", "deletion"] == decided["gradcam", "lerf"] == "pass"
    assert decided["grad", "deletion"] != "pass"
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {
        "faithfulness.json", "faithfulness_decisions.csv", "faithfulness_curves.png",
        "faithfulness_curves.svg"}


def test_what_is_not_there_is_one_sentence(run, curved: Path, tmp_path: Path) -> None:
    without = tmp_path / "w.zarr"
    simulate_cubes(without, patients=8, images_per_patient=1, grid=8, parts=[])
    for path, further, status, says in (
            (without, (), 1, "holds no curves of faithfulness"),
            (curved, ("--metric", "insert"), 2, "did you mean 'insertion'"),
            (curved, ("--explainer", "gradcm"), 2, "did you mean 'gradcam'")):
        result = run("--quiet", "analyze", "faithfulness", path, *further)
        assert result.exit_code == status
        assert says in result.stderr
        assert "Traceback" not in result.stderr


def test_only_metrics_without_curves_have_no_figure(run, curved: Path, tmp_path: Path) -> None:
    result = run("--quiet", "analyze", "faithfulness", curved, "--metric", "infidelity",
                 "--resamples", 200, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert not list((tmp_path / "out").glob("*.png"))
