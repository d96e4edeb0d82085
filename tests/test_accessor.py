"""``cubes.saltrust``, and the script of a first analysis as its user would run it."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from click.testing import CliRunner

import saltrust
from saltrust.cache.schema import Status
from saltrust.cli import main
from saltrust.errors import UsageError

SCRIPT = Path(__file__).resolve().parents[1] / "docs" / "examples" / "first_analysis.py"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("accessor") / "study.zarr"
    saltrust.simulate_cubes(place, patients=10, parts=("radiograph",), grid=24, seed=5)
    return place


@pytest.fixture
def cubes(path: Path) -> xr.DataTree:
    return saltrust.open_cubes(path)


def test_the_first_analysis_runs_as_it_stands(
        path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(path), str(tmp_path)])
    names = runpy.run_path(str(SCRIPT), run_name="__main__")
    printed = capsys.readouterr().out
    assert "estimates" in printed and "explainer" in printed
    assert (tmp_path / "best.png").stat().st_size > 2000
    written = pd.read_csv(tmp_path / "regressions" / "regressions_estimates.csv")
    assert len(written) == len(names["regressions"]["estimates"])
    assert names["mean_map"].dims == ("finding", "model", "y", "x")
    assert len(SCRIPT.read_text(encoding="utf-8").splitlines()) <= 30


def test_scores_have_everything_of_a_map(cubes: xr.DataTree) -> None:
    scores = cubes.saltrust.scores()
    names = ["image", "patient", "study", "split", "view", "finding", "label", "explainer",
             "model", "reader", "probability", "iou", "hit"]
    assert [name for name in scores if name in names] == names
    assert {"n_instances", "area_ratio", "elongation", "irrectangularity"} <= set(scores)
    table = saltrust.localization(cubes, resampling=saltrust.Resampling(resamples=50))["scores"]
    keys = ["image", "finding", "explainer", "model", "reader"]
    both = scores.merge(table, on=keys, suffixes=("", "_of_table"), validate="one_to_one")
    assert len(both) == len(scores) == len(table)
    np.testing.assert_array_equal(both["iou"], both["iou_of_table"])
    maps = scores[scores["explainer"] != "expert"].iloc[0]
    stored = cubes["prediction/probability"].sel(image=maps["image"], finding=maps["finding"],
                                                 model=maps["model"])
    assert maps["probability"] == pytest.approx(float(stored))
    label = cubes["reference/label"].sel(image=maps["image"], finding=maps["finding"])
    assert maps["label"] == int(label)
    assert maps["split"] == str(cubes.coords["split"].sel(image=maps["image"]).values)
    assert scores.loc[scores["explainer"] == "expert", "probability"].isna().all()


def test_export_writes_what_regressions_reads(path: Path, cubes: xr.DataTree, tmp_path: Path
                                              ) -> None:
    file = tmp_path / "scores.csv"
    run = CliRunner()
    done = run.invoke(main, ["-q", "export", "scores", str(path), "-o", str(file)])
    assert done.exit_code == 0, done.output
    pd.testing.assert_frame_equal(pd.read_csv(file), cubes.saltrust.scores(), check_dtype=False)
    again = run.invoke(main, ["-q", "export", "scores", str(path), "-o", str(file)])
    assert again.exit_code == 2 and "--overwrite" in again.output
    from_file = saltrust.regressions_from_scores(file)["estimates"]
    pd.testing.assert_frame_equal(from_file, saltrust.regressions(cubes)["estimates"], rtol=1e-9)


def test_select_is_the_function(cubes: xr.DataTree) -> None:
    part = cubes.saltrust.select(split="test", stored=True)
    assert part.identical(saltrust.select(cubes, split="test", stored=True))


def test_status_counts_every_map(cubes: xr.DataTree) -> None:
    counts = cubes.saltrust.status()
    status = cubes["saliency/status"]
    assert counts[["missing", "ok", "flat", "nonfinite"]].to_numpy().sum() == status.size
    row = counts.iloc[0]
    part = status.sel(explainer=row["explainer"], model=row["model"])
    assert row["ok"] == int((part == Status.OK).sum())


def test_an_overlay_is_one_axes_with_y_downwards(cubes: xr.DataTree) -> None:
    scores = cubes.saltrust.scores()
    row = scores[scores["explainer"] != "expert"].nlargest(1, "iou").iloc[0]
    axes = cubes.saltrust.overlay(row["image"], row["finding"], row["explainer"],
                                  model=row["model"])
    low, high = axes.get_ylim()
    assert low > high
    assert len(axes.figure.axes) == 1
    with pytest.raises(UsageError, match="did you mean"):
        cubes.saltrust.overlay(row["image"], "Oedema", row["explainer"], model=row["model"])


def test_a_gallery_shows_several_images(cubes: xr.DataTree) -> None:
    model = str(cubes["saliency"]["model"].values[0])
    figure = cubes.saltrust.gallery("Edema", "gradcam", model=model, rows=1, columns=2)
    assert sum(axes.has_data() for axes in figure.axes) == 2


@pytest.mark.parametrize("name", ["descriptors", "localization", "regressions", "confidence",
                                  "classification"])
def test_every_result_knows_its_topic_and_draws_itself(cubes: xr.DataTree, name: str) -> None:
    result = getattr(saltrust, name)(saltrust.select(cubes, split="test"))
    assert result.topic == name
    assert result.methods().count(".") >= 1
    assert result.plot().axes
    assert repr(result).count("\n") < 20
