"""The commands a study is made of, on a small phantom study."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import saltrust


def parsed(text: str) -> dict[str, Any]:
    """Strict JSON: a NaN or an infinity is an error."""

    def refuse(constant: str) -> float:
        raise AssertionError(f"{constant} in JSON")

    return json.loads(text, parse_constant=refuse)


def test_info_tells_what_is_there(run, cubes: Path) -> None:
    text = run("info", cubes).stdout
    for word in ("net", "gradcam", "Cardiomegaly", "expert-2",
                 "provenance"):
        assert word in text
    content = parsed(run("info", cubes, "--json").stdout)
    assert content["problems"] == []
    assert [model["model"] for model in content["models"]] == ["net"]
    assert {entry["explainer"] for entry in content["explainers"]} == {"grad", "gradcam"}
    complete = content["groups"]["saliency"]["complete"]
    tree = saltrust.open_cubes(cubes)
    n_test = int((tree["split"].values == "test").sum())
    assert complete["maps"] - complete["missing"] == n_test * 10 * 2
    assert content["provenance"]["command_line"].startswith("saltrust")


def test_the_promised_query_works(cubes: Path) -> None:
    tree = saltrust.open_cubes(cubes)
    mean = tree["saliency/heatmap"].sel(finding="Cardiomegaly", explainer="gradcam").mean("image")
    assert mean.dims == ("model", "y", "x")
    assert np.isfinite(mean.values).all()


def test_descriptors_have_a_row_for_every_annotation(run, cubes: Path) -> None:
    rows = parsed(run("-q", "analyze", "descriptors", cubes, "--format", "json").stdout)
    annotated = saltrust.open_cubes(cubes)["reference/annotated"].values.sum()
    table = rows["tables"]["descriptors"]
    assert len(table) == annotated
    assert set(table[0]) >= {"image", "finding", "reader", "n_instances", "area_ratio",
                             "elongation", "irrectangularity"}
    for row in table:
        if row["area_ratio"] == 0:
            assert row["n_instances"] == 0
            assert row["elongation"] is None
        else:
            assert row["n_instances"] >= 1
            assert row["elongation"] >= 1
            assert 0 <= row["irrectangularity"] < 1


def test_localization_scores_every_map_and_both_experts(run, cubes: Path) -> None:
    rows = parsed(run("-q", "analyze", "localization", cubes, "--format", "json",
                      "--resamples", "100").stdout)
    scores = rows["tables"]["scores"]
    assert {row["explainer"] for row in scores} == {"grad", "gradcam", "expert"}
    assert {row["model"] for row in scores if row["explainer"] == "expert"} == {
        "expert-1", "expert-2"}
    ious = [row["iou"] for row in scores if row["iou"] is not None]
    assert ious
    assert all(0 <= iou <= 1 for iou in ious)
    for row in rows["tables"]["summary"]:
        if row["conf_low"] is not None:
            assert row["conf_low"] <= row["estimate"] <= row["conf_high"]


def test_regressions_are_twenty_four_and_differences_are_differences(run, cubes: Path) -> None:
    rows = parsed(run("-q", "analyze", "regressions", cubes, "--format", "json",
                      "--explainer", "gradcam").stdout)["tables"]["estimates"]
    assert len(rows) == 24
    at = {(row["scheme"], row["response"], row["descriptor"]): row for row in rows}
    for scheme, _, descriptor in at:
        values = [at[scheme, response, descriptor]["estimate"]
                  for response in ("saliency", "expert", "difference")]
        assert values[2] == pytest.approx(values[1] - values[0], abs=1e-12)
        assert len({at[scheme, response, descriptor]["n"]
                    for response in ("saliency", "expert", "difference")}) == 1
    for row in rows:
        if row["p_value"] is None:
            # A network of one epoch may hit nothing at all.
            assert "constant" in row["note"]
            continue
        assert row["p_adjusted"] == pytest.approx(min(1, 4 * row["p_value"]))


def test_regressions_print_table_2(run, cubes: Path) -> None:
    text = run("-q", "analyze", "regressions", cubes, "--format", "markdown", "--explainer",
               "gradcam").stdout
    assert text.count("|") > 50
    for word in ("n_instances", "irrectangularity"):
        assert word in text.lower().replace("number of instances", "n_instances")


@pytest.mark.parametrize("level", ["image", "study"])
def test_classification_is_of_images_or_examinations(run, cubes: Path, level: str) -> None:
    result = parsed(run("-q", "analyze", "classification", cubes, "--format", "json",
                        "--level", level, "--resamples", "50").stdout)
    rows, cases = result["tables"]["auc"], result["tables"]["cases"]
    tree = saltrust.open_cubes(cubes)
    predicted = np.isfinite(tree["prediction/probability"].values).any(axis=(1, 2))
    names = tree["image"].values
    if level == "study":
        names = np.array([f"{patient}/{study}" for patient, study in
                          zip(tree["patient"].values, tree["study"].values, strict=True)])
    assert result["meta"]["cases"] == len(set(names[predicted]))
    assert {row["finding"] for row in rows} >= {"Edema", "macro average"}
    for row in rows:
        assert row["estimate"] is None or 0 <= row["estimate"] <= 1
    best: dict[str, float] = {}
    for image, probability in zip(names[predicted], tree["prediction/probability"].sel(
            finding="Edema").values[predicted, 0], strict=True):
        best[str(image)] = max(best.get(str(image), 0), float(probability))
    shown = {case["case"]: case["probability"] for case in cases
             if case["finding"] == "Edema"}
    assert shown == {name: best[name] for name in shown}


def test_confidence_is_per_finding_and_pooled(run, cubes: Path) -> None:
    rows = parsed(run("-q", "analyze", "confidence", cubes, "--format", "json",
                      "--explainer", "gradcam").stdout)["tables"]["estimates"]
    assert {"iou", "hit"} == {row["scheme"] for row in rows}
    assert len({row["finding"] for row in rows}) >= 11
    for row in rows:
        if row["term"] == "spearman" and row["estimate"] is not None:
            assert -1 <= row["estimate"] <= 1


@pytest.mark.parametrize("topic", ["descriptors", "localization", "regressions", "confidence"])
@pytest.mark.parametrize("form", ["table", "csv", "latex"])
def test_every_format_of_every_analysis(run, cubes: Path, topic: str, form: str) -> None:
    extra = () if topic == "descriptors" else ("--explainer", "gradcam", "--resolution", "grid")
    result = run("-q", "analyze", topic, cubes, "--format", form, *extra)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip()
    if form == "csv":
        rows = list(csv.DictReader(io.StringIO(result.stdout)))
        assert rows
        assert not any(value in {"nan", "NaN", "inf"} for row in rows for value in row.values())
    if form == "table":
        assert max(map(len, result.stdout.splitlines())) <= 120


def test_a_folder_gets_json_and_every_table(run, cubes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    result = run("-q", "analyze", "descriptors", cubes, "-o", folder)
    assert result.exit_code == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "descriptors.json", "descriptors_descriptors.csv"]
    again = run("-q", "analyze", "descriptors", cubes, "-o", folder)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr
    assert run("-q", "analyze", "descriptors", cubes, "-o", folder, "--overwrite").exit_code == 0


def test_report_is_one_page(run, cubes: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert run("-q", "report", cubes, "-o", page).exit_code == 0
    text = page.read_text(encoding="utf-8")
    assert text.lstrip().lower().startswith("<!doctype html>")
    assert "Cardiomegaly" in text
    assert run("-q", "report", cubes, "-o", page).exit_code == 2


def test_outputs_that_exist_are_not_touched(run, study: Path, cubes: Path) -> None:
    before = saltrust.open_cubes(cubes).attrs["finished"]
    result = run("generate", study, "-o", cubes)
    assert result.exit_code == 2
    assert "--overwrite" in result.stderr
    resumed = run("generate", study, "-o", cubes, "--resume")
    assert resumed.exit_code == 0
    assert "finished already" in resumed.stderr
    assert run("train", study).exit_code == 2
    assert saltrust.open_cubes(cubes).attrs["finished"] == before


def test_the_test_auc_is_in_the_card(study: Path) -> None:
    card = json.loads((study.parent / "runs" / "net" / "model.json").read_text())
    assert math.isfinite(card["test_auc"]["mean"])


def test_a_split_can_be_chosen(run, cubes: Path) -> None:
    whole, test = (parsed(run("-q", "analyze", "descriptors", cubes, "--format", "json",
                              *split).stdout)["tables"]["descriptors"]
                   for split in ((), ("--split", "test")))
    tree = saltrust.open_cubes(cubes)
    images = {str(image) for image, split in zip(tree["image"].values, tree["split"].values,
                                                 strict=True) if split == "test"}
    assert {row["image"] for row in test} == images
    assert len(test) < len(whole)
