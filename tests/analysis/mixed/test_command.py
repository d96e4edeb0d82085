"""``saltrust analyze mixed``: options, JSON, exit codes; and the R script beside it."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from saltrust.analysis.mixed.model import mixed_model
from saltrust.analysis.mixed.options import Contrasts, Fitting
from saltrust.cli import main

ROOT = Path(__file__).resolve().parents[3]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["analyze", "mixed", *map(str, arguments)])


def answer(*arguments: object) -> dict[str, Any]:
    done = run(*arguments, "--engine", "builtin", "--format", "json")
    assert done.exit_code == 0, done.output
    printed: dict[str, Any] = json.loads(done.stdout, parse_constant=pytest.fail)
    return printed


@pytest.fixture
def unbalanced(golden_folder: Path) -> list[object]:
    return ["--scores", golden_folder / "unbalanced.csv", "--formula",
            "auprc ~ explainer + (1|image)"]


def test_json_has_the_tables_and_fields_that_scripts_rest_on(unbalanced: list[object]) -> None:
    printed = answer(*unbalanced, "--posthoc", "tukey", "--over", "explainer")
    assert set(printed) == {"format", "meta", "tables"}
    tables = printed["tables"]
    assert {"fixed_effects", "random_effects", "fit", "means", "contrasts"} <= set(tables)
    assert {"group", "variance", "sd"} <= set(tables["random_effects"][0])
    assert {"n", "log_likelihood", "reml", "singular", "engine"} <= set(tables["fit"][0])
    assert {"contrast", "estimate", "std_error", "df", "statistic", "p_value", "p_adjusted",
            "conf_low", "conf_high"} <= set(tables["contrasts"][0])
    levels = [row["level"] for row in tables["means"]]
    assert [row["contrast"] for row in tables["contrasts"]] == [
        f"{a} - {b}" for i, a in enumerate(levels) for b in levels[i + 1:]]
    assert tables["fit"][0]["reml"] is True
    assert tables["fit"][0]["singular"] is False
    assert printed["meta"]["n"] == tables["fit"][0]["n"] == 50


def test_a_control_gives_the_contrasts_against_it(unbalanced: list[object]) -> None:
    rows = answer(*unbalanced, "--control", "UNET")["tables"]["contrasts"]
    assert len(rows) == 3
    assert {row["level_b"] for row in rows} == {"UNET"}
    assert {row["adjustment"] for row in rows} == {"dunnett"}
    both = answer(*unbalanced, "--control", "UNET", "--posthoc", "tukey")["tables"]["contrasts"]
    assert [row["adjustment"] for row in both] == ["tukey"] * 6 + ["dunnett"] * 3
    assert both[0]["family"] == "all pairs (6 contrasts)"
    assert both[-1]["family"] == "against UNET (3 contrasts)"


def test_asymptotic_df_are_null_in_json(unbalanced: list[object]) -> None:
    rows = answer(*unbalanced, "--df", "asymptotic")["tables"]["fixed_effects"]
    assert rows[0]["df"] is None
    assert rows[0]["p_value"] is not None


def test_infinite_df_are_written_in_csv(unbalanced: list[object]) -> None:
    done = run(*unbalanced, "--df", "asymptotic", "--engine", "builtin", "--format", "csv")
    assert ",inf," in done.stdout
    assert np.isposinf(pd.read_csv(io.StringIO(done.stdout))["df"]).all()


def test_a_linear_model_of_hits_and_factors_without_over_are_told(tmp_path: Path) -> None:
    path, rng = tmp_path / "hits.csv", np.random.default_rng(3)
    table = pd.DataFrame([(image, explainer, model) for image in range(20) for explainer in "ab"
                          for model in "mn"], columns=["image", "explainer", "model"])
    table.assign(hit=rng.integers(0, 2, len(table))).to_csv(path, index=False)
    call = ["--scores", path, "--engine", "builtin", "--formula"]
    done = run(*call, "hit ~ explainer * model + (1|image)")
    assert "--family binomial" in done.stderr
    assert "say --over explainer or --over model" in done.stderr
    done = run(*call, "hit ~ explainer * model + (1|image)", "--over", "model")
    assert "say --over" not in done.stderr
    table.assign(hit=rng.uniform(size=len(table))).to_csv(path, index=False)
    assert "--family" not in run(*call, "hit ~ explainer + (1|image)").stderr


def test_missing_rows_are_counted_in_meta_and_on_stderr(golden_folder: Path) -> None:
    done = run("--scores", golden_folder / "missing.csv", "--formula",
               "auprc ~ explainer + (1|image)", "--engine", "builtin", "--format", "json")
    meta = json.loads(done.stdout)["meta"]
    assert meta["rows"] - meta["n"] == meta["excluded"]["incomplete rows"] == 7
    assert "7 of 60 rows are incomplete" in done.stderr


def test_files_and_tables(unbalanced: list[object], tmp_path: Path) -> None:
    done = run(*unbalanced, "--engine", "builtin", "-o", tmp_path / "out", "--table", "means",
               "--format", "csv")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("factor,level,term,estimate")
    written = pd.read_csv(tmp_path / "out" / "mixed_contrasts.csv")
    assert len(written) == 6
    again = run(*unbalanced, "--engine", "builtin", "-o", tmp_path / "out")
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr


@pytest.mark.parametrize("form", ["table", "markdown", "latex"])
def test_people_see_the_contrasts_first(unbalanced: list[object], form: str) -> None:
    done = run(*unbalanced, "--engine", "builtin", "--format", form)
    assert done.exit_code == 0, done.output
    assert "contrasts" in done.stdout
    assert "grad - xrai" in done.stdout


def test_exit_codes(unbalanced: list[object], tmp_path: Path) -> None:
    path = tmp_path / "flat.csv"
    path.write_text("auprc,explainer,image\n" + "".join(
        f"0.5,{e},{i}\n" for e in "ab" for i in range(4)))
    done = run("--scores", path, "--formula", "auprc ~ explainer + (1|image)")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "flat.csv" in done.stderr or "response is 0.5" in done.stderr
    assert run(*unbalanced[:2], "--formula", "auprc ~ method + (1|image)").exit_code == 2
    assert run(*unbalanced, "--adjust", "dunnett").exit_code == 2
    assert run(*unbalanced[:2]).exit_code == 2


@pytest.mark.needs_r
def test_verify_says_how_far_the_engines_are_apart(unbalanced: list[object]) -> None:
    done = run(*unbalanced, "--verify", "--format", "json")
    assert done.exit_code == 0, done.output
    assert done.stderr.startswith("largest relative difference between builtin and pymer4")
    rows = json.loads(done.stdout)["tables"]["verification"]
    assert rows[0]["difference"] < 1e-5


@pytest.mark.needs_r
def test_the_r_script_writes_the_same_numbers(golden_folder: Path, tmp_path: Path) -> None:
    path, formula = golden_folder / "missing.csv", "auprc ~ explainer + (1|image)"
    subprocess.run(["Rscript", str(ROOT / "Rscripts" / "mixed_effects.R"), str(path), formula,
                    "explainer", "UNET", "--df", "kenward-roger", "-o", str(tmp_path)],
                   check=True, capture_output=True)
    ours = mixed_model(path, formula, over="explainer",
                       contrasts=Contrasts(control="UNET", posthoc="tukey"),
                       fitting=Fitting(df="kenward-roger", engine="builtin")).tables
    for name in ("contrasts", "means", "fixed_effects", "random_effects", "anova", "fit"):
        theirs = pd.read_csv(tmp_path / f"{name}.csv")
        key = next((key for key in ("contrast", "level", "term", "group") if key in theirs), None)
        if key:
            assert theirs[key].tolist() == ours[name][key].tolist()
        numbers = theirs.select_dtypes("float").columns
        np.testing.assert_allclose(ours[name][numbers].to_numpy(dtype=float), theirs[numbers],
                                   rtol=1e-5, atol=1e-8)
    assert len(pd.read_csv(tmp_path / "single_step.csv")) == 6


@pytest.fixture
def exported(golden_folder: Path, tmp_path: Path) -> Path:
    """As the criteria export scores: several conditions, and cells that are empty."""
    table = pd.read_csv(golden_folder / "unbalanced.csv")
    table["condition"] = np.where(table["explainer"] == "UNET", "baseline", "trained")
    table["model"] = np.where(table["explainer"] == "UNET", "", "net")
    spoilt = table.assign(auprc=5.0, condition="randomised")
    path = tmp_path / "scores.csv"
    pd.concat([spoilt, table, table.assign(model="other", auprc=7.0)]).to_csv(path, index=False)
    return path


CHOSEN = ["--where", "condition=trained,baseline", "--where", "model=net,"]


def test_rows_are_chosen_by_their_columns(exported: Path, unbalanced: list[object]) -> None:
    call = ["--scores", exported, "--formula", "auprc ~ explainer + (1|image)"]
    printed = answer(*call, *CHOSEN)
    assert printed["tables"] == answer(*unbalanced)["tables"]
    assert printed["meta"]["only"] == {"condition": ["baseline", "trained"], "model": ["", "net"]}
    for words, status, sentence in (
            ("condition", 2, "COLUMN=VALUE"), ("conditoin=x", 2, "did you mean 'condition'"),
            ("condition=traind", 1, "did you mean 'trained'")):
        done = run(*call, "--where", words)
        assert (done.exit_code, sentence in done.stderr) == (status, True), done.stderr


@pytest.mark.needs_r
def test_the_r_script_chooses_the_same_rows(exported: Path, golden_folder: Path, tmp_path: Path
                                            ) -> None:
    formula = "auprc ~ explainer + (1|image)"
    subprocess.run(["Rscript", str(ROOT / "Rscripts" / "mixed_effects.R"), str(exported), formula,
                    "explainer", *CHOSEN, "-o", str(tmp_path)], check=True, capture_output=True)
    ours = mixed_model(golden_folder / "unbalanced.csv", formula,
                       fitting=Fitting(engine="builtin")).tables
    np.testing.assert_allclose(pd.read_csv(tmp_path / "contrasts.csv")["estimate"],
                               ours["contrasts"]["estimate"], rtol=1e-6)


@pytest.mark.needs_r
def test_the_r_script_averages_over_what_interacts(golden_folder: Path, tmp_path: Path) -> None:
    """multcomp's own pairs are at the reference of the other factor and at age zero."""
    path, formula = golden_folder / "interaction.csv", "auprc ~ explainer * model + age + (1|image)"
    subprocess.run(["Rscript", str(ROOT / "Rscripts" / "mixed_effects.R"), str(path), formula,
                    "explainer", "-o", str(tmp_path)], check=True, capture_output=True)
    for name, df, sign in (("contrasts", "satterthwaite", 1), ("single_step", "asymptotic", -1)):
        ours = mixed_model(path, formula, over="explainer", fitting=Fitting(
            engine="builtin", df=df)).tables["contrasts"]  # type: ignore[arg-type]
        theirs = pd.read_csv(tmp_path / f"{name}.csv")
        for column in ("estimate", "statistic"):
            np.testing.assert_allclose(sign * theirs[column], ours[column], rtol=1e-5)
        # No adjusted p-value is zero where its statistic is 16.
        np.testing.assert_allclose(np.log(theirs["p_adjusted"]), np.log(ours["p_adjusted"]),
                                   rtol=2e-2, atol=2e-2)


@pytest.mark.needs_r
def test_the_r_script_refuses_wrong_calls(tmp_path: Path) -> None:
    for arguments in (["x.csv", "y ~ a + (1|g)", "a"], ["x.csv"], ["x.csv", "nonsense", "a"]):
        done = subprocess.run(["Rscript", str(ROOT / "Rscripts" / "mixed_effects.R"), *arguments],
                              capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 2
        assert "usage: mixed_effects.R" in done.stderr
