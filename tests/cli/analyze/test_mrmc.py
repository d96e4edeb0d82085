"""``saltrust analyze mrmc``: from cubes and from ratings, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import Result

RATINGS = Path(__file__).parents[2] / "reference" / "mrmc" / "vandyke.csv"
Run = Callable[..., Result]


def test_one_command_from_a_phantom_study(cubes: Path, run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    done = run("--quiet", "analyze", "mrmc", cubes, "-o", folder)
    assert done.exit_code == 0, done.stderr
    assert (folder / "mrmc.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (folder / "mrmc.svg").read_bytes()
    test = pd.read_csv(folder / "mrmc_test.csv")
    assert {"f", "df1", "df2", "p_value", "ms_t", "ms_tr", "cov1", "cov2", "cov3"} <= set(test)
    assert set(test["readers"]) == {3}
    assert "Obuchowski" in done.stdout


def test_from_ratings_with_columns_of_other_names(run: Run, tmp_path: Path) -> None:
    table = pd.read_csv(RATINGS).rename(columns={
        "treatment": "modality", "reader": "who", "case": "film", "truth": "disease",
        "rating": "score"})
    path = tmp_path / "table.csv"
    table.to_csv(path, index=False)
    done = run("analyze", "mrmc", "--ratings", path, "--treatment", "modality", "--reader", "who",
               "--case", "film", "--truth", "disease", "--rating", "score", "--fixed", "readers",
               "--format", "json")
    assert done.exit_code == 0, done.stderr
    (row,) = json.loads(done.stdout)["tables"]["test"]
    assert row["f"] == pytest.approx(5.475953242477, rel=1e-9)
    assert row["df2"] is None
    plain = run("analyze", "mrmc", "--ratings", RATINGS, "--ai", "5", "--table", "against_ai",
                "-o", tmp_path / "out")
    assert plain.exit_code == 0, plain.stderr
    assert "readers - ai" in plain.stdout


@pytest.mark.parametrize(("arguments", "status", "sentence"), [
    ((), 2, "give either CUBES or --ratings"),
    (("x.zarr", "--ratings", RATINGS), 2, "exclude each other"),
    (("x.zarr", "--cluster", "patient"), 2, "--cluster needs --ratings"),
    (("x.zarr", "--covariance", "delong"), 2, "--covariance needs --ratings"),
    (("--ratings", RATINGS, "--finding", "Edema"), 2, "--finding needs CUBES"),
    (("--ratings", RATINGS, "--slice", "all"), 2, "--slice needs CUBES"),
    (("--ratings", RATINGS, "--reader", "a", "--reader", "b"), 2, "say it once"),
    (("--ratings", RATINGS, "--reader", "radiologist"), 1, "no column 'radiologist'"),
    (("--ratings", "none.csv"), 2, "there is no file none.csv")])
def test_refusals_are_one_sentence(run: Run, arguments: tuple[object, ...], status: int,
                                   sentence: str) -> None:
    done = run("analyze", "mrmc", *arguments)
    assert done.exit_code == status
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
