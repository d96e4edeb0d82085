"""Thresholds tuned, saved and applied from the command line; scores kept in the cubes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import saltrust


def test_tuned_on_one_split_applied_to_another(run, cubes: Path, tmp_path: Path) -> None:
    tuned = tmp_path / "tuned.csv"
    result = run("-q", "analyze", "thresholds", cubes, "--split", "test", "--save", tuned,
                 "--grid", "0.25,0.5", "--format", "json")
    assert result.exit_code == 0, result.stderr
    searched = {(row["finding"], row["explainer"]): row
                for row in json.loads(result.stdout)["tables"]["thresholds"]}
    with tuned.open() as lines:
        saved = list(csv.DictReader(lines))
    assert len(saved) == len(searched)
    assert {row["threshold"] for row in saved} <= {"0.25", "0.5", ""}
    again = run("-q", "analyze", "thresholds", cubes, "--save", tuned)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr
    usable = [name for (name, _), row in searched.items()
              if row["threshold"] is not None and row["cutoff"] is not None]
    applied = run("-q", "analyze", "localization", cubes, "--threshold", tuned, "--cutoff",
                  tuned, "--finding", usable[0], "--resamples", "20", "--format", "json")
    assert applied.exit_code == 0, applied.stderr
    content = json.loads(applied.stdout)
    assert "tuned.csv" in content["meta"]["threshold"]
    for row in content["tables"]["scores"]:
        if row["explainer"] != "expert" and row["threshold"] is not None:
            assert row["threshold"] == 255 * searched[usable[0], row["explainer"]]["threshold"]


def test_scores_are_kept_unless_told_not_to(run, cubes: Path) -> None:
    def kept() -> int:
        group = cubes / "scores" / "localization"
        return len([path for path in group.glob("*") if path.is_dir()])

    before = kept()
    options = ("--resolution", "grid", "--threshold", "0.123", "--resamples", "20", "--format",
               "json")
    first = run("-q", "analyze", "localization", cubes, *options, "--no-keep")
    assert kept() == before
    second = run("-q", "analyze", "localization", cubes, *options)
    third = run("-q", "analyze", "localization", cubes, *options)
    # What is declared of gradcam is raw, of grad absolute, and these are kept apart.
    assert kept() == before + 2
    assert first.stdout == second.stdout == third.stdout
    assert saltrust.open_cubes(cubes).attrs["complete"]


def test_bad_thresholds_are_named(run, cubes: Path) -> None:
    for option, value, word in (("--threshold", "1.2", "threshold 1.2"),
                                ("--threshold", "none.csv", "none.csv"),
                                ("--cutoff", "2", "cutoff 2")):
        result = run("-q", "analyze", "localization", cubes, option, value)
        assert result.exit_code == 2
        assert word in result.stderr
    assert run("-q", "analyze", "thresholds", cubes, "--grid", "a,b").exit_code == 2


def test_regressions_of_a_csv_need_no_cubes(run, cubes: Path, tmp_path: Path) -> None:
    rows = ["image,finding,explainer,iou,hit,area_ratio"]
    rows += [f"i{k},Edema,{who},{(k * 7 % 11) / (11 + bonus)},{k % 2},{(k * 3 % 13) / 13}"
             for k in range(30) for who, bonus in (("cam", 0), ("expert", 5))]
    table = tmp_path / "scores.csv"
    table.write_text("\n".join(rows))
    result = run("-q", "analyze", "regressions", "--scores", table, "--fit", "logit", "--fit",
                 "cluster", "--format", "json")
    assert result.exit_code == 0, result.stderr
    tables = json.loads(result.stdout)["tables"]
    assert {"estimates", "robust", "logit"} <= set(tables)
    # Beside least squares the models asked for are printed.
    printed = run("-q", "analyze", "regressions", "--scores", table, "--fit", "logit").stdout
    assert "odds ratio" in printed.replace("_", " ")
    # --model asks for a kind of regression as well.
    again = run("-q", "analyze", "regressions", "--scores", table, "--model", "logit").stdout
    assert again == printed
    for arguments in ((), (cubes, "--scores", table), ("--scores", table, "--split", "test"),
                      ("--scores", tmp_path / "none.csv")):
        refused = run("-q", "analyze", "regressions", *arguments)
        assert refused.exit_code == 2
        assert refused.stdout == ""


def test_model_is_of_maps_before_it_is_of_regressions(run, cubes: Path) -> None:
    options = ("-q", "analyze", "regressions", cubes, "--resolution", "grid", "--format", "csv")
    fitted = run(*options, "--fit", "cluster")
    assert fitted.exit_code == 0, fitted.stderr
    assert run(*options, "--model", "cluster", "--model", "net").stdout == fitted.stdout
    assert "'clusters'" in run(*options, "--model", "clusters").stderr
