"""Each protocol by one command, on phantoms laid out as the release that its paper is about."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from matplotlib.figure import Figure

import saltrust
from tests.cli.protocol import released_phantoms

Run = Callable[..., Result]


@pytest.fixture
def one_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """What protocols draw is tested where they are given cubes."""
    monkeypatch.setattr("saltrust.report.protocols.figures.figures_of",
                        lambda *_: {"drawn": Figure()})


def test_chexlocalize_killed_between_its_steps_ends_with_the_same_tables(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, released_phantoms.__file__, str(tmp_path)], capture_output=True,
        text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    left = json.loads(done.stdout.splitlines()[-1])
    assert [status for status, *_ in left] == [-9, -9, 0]
    assert [stores for _, _, stores, _ in left] == [[], *[["study.zarr", "val.zarr"]] * 2]
    assert [tables for *_, tables in left] == [False, False, True]
    # Trained once.
    assert len({time for _, time, *_ in left}) == 1
    whole, killed = (tmp_path / name for name in ("whole", "killed"))
    names = sorted(path.relative_to(whole) for path in (whole / "out").rglob("*.csv"))
    assert {name.name for name in names} >= {"table1.csv", "table2.csv", "table3.csv",
                                             "thresholds.csv"}
    assert [name for name in names
            if (whole / name).read_bytes() != (killed / name).read_bytes()] == []
    for store in ("study.zarr", "val.zarr"):
        maps = [saltrust.open_cubes(folder / "out" / store)["saliency/heatmap"].values
                for folder in (whole, killed)]
        np.testing.assert_array_equal(*maps)
    methods = (whole / "out/methods.md").read_text()
    assert "were tuned of the split 'val'" in methods
    assert "of the split 'test'" in methods
    assert "Probability cut-off: table thresholds.csv" in methods
    tuned = pd.read_csv(whole / "out/results/thresholds_thresholds.csv")
    assert pd.read_csv(whole / "out/thresholds.csv")["cutoff"].tolist() == tuned["cutoff"].tolist()
    tree = saltrust.open_cubes(whole / "out/val.zarr")
    shown = np.isfinite(tree["saliency/heatmap"].values).all(axis=(1, 2, 3, 4, 5))
    assert set(tree["split"].values[shown].tolist()) == {"val"}


@pytest.mark.usefixtures("one_figure")
def test_siim_acr_by_one_command(run: Run, tmp_path: Path) -> None:
    study, folder = released_phantoms.trustworthiness(tmp_path), tmp_path / "out"
    command = ("protocol", "trustworthiness", study, "-o", folder, "--resamples", "200", "--pairs",
               "20")
    done = run(*command)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.strip() == str(folder / "methods.md")
    assert ("training 5 of 5 models (net, net-2, other, unet, unet-2) on 9 images, 4 to validate"
            in done.stderr)
    assert ("6 images of split 'test', 1 finding, 2 explainers, 3 models, 2 localizers"
            in done.stderr)
    for name in ("decisions", "models", "randomization", "repeatability", "reproducibility",
                 "utility_auprc"):
        assert (folder / "tables" / f"{name}.csv").stat().st_size > 0, name
    models = pd.read_csv(folder / "tables/models.csv")
    assert {"net", "net-2", "other", "unet", "unet-2"} <= set(models["model"])
    assert not (folder / "val.zarr").exists()
    written = (folder / "methods.md").stat().st_mtime_ns
    again = run(*command)
    assert (again.exit_code, again.stdout) == (0, "")
    assert again.stderr.endswith("say --overwrite to make the tables again\n")
    assert (folder / "methods.md").stat().st_mtime_ns == written


@pytest.mark.usefixtures("one_figure")
def test_eye_gaze_data_by_one_command(run: Run, tmp_path: Path) -> None:
    study, folder = released_phantoms.guided_training(tmp_path), tmp_path / "out"
    bad = sorted((tmp_path / "mimic-cxr").rglob("*.dcm"))[0]
    bad.write_bytes(bad.read_bytes()[:700])
    command = ("-q", "protocol", "guided-training", study, "-o", folder, "--resamples", "200")
    refused = run(*command)
    assert refused.exit_code == 1
    assert bad.name in refused.stderr
    assert not (tmp_path / "runs").exists()
    done = run(*command, "--on-error", "skip")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.strip() == str(folder / "methods.md")
    table = json.loads((folder / "tables/table4.json").read_text())
    assert [row["model"] for row in table] == ["baseline", "guided"]
    assert (folder / "tables/gaze.csv").exists()
    assert (folder / "figures/drawn.png").exists()
    given = run("-q", "protocol", "guided-training", folder / "study.zarr", "-o", tmp_path / "g",
                "--resamples", "200")
    assert given.exit_code == 0, given.stderr
    for name in ("table4", "table4_paper", "gaze"):
        assert (tmp_path / f"g/tables/{name}.csv").read_bytes() == (
            folder / f"tables/{name}.csv").read_bytes()
