"""The whole protocol from the command line, on a study of two models of saliency."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def folder(run, cubes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("protocol") / "out"
    result = run("-q", "protocol", "localization", cubes, "-o", place, "--resamples", "100",
                 "--resolution", "grid")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip() == str(place / "methods.md")
    return place


def test_everything_is_written(folder: Path) -> None:
    tables = ("table1", "table2", "table3", "table3_paper", "data_summary", "auc",
              "descriptor_means")
    for name in tables:
        for suffix in ("md", "tex", "csv", "json"):
            assert (folder / "tables" / f"{name}.{suffix}").stat().st_size > 0, name
    for name in ("bars_iou", "bars_hit", "descriptors", "coefficients_grad",
                 "coefficients_gradcam", "confidence_grad", "confidence_gradcam"):
        with Image.open(folder / "figures" / f"{name}.png") as image:
            assert min(image.size) > 200
        assert "<svg" in (folder / "figures" / f"{name}.svg").read_text(encoding="utf-8")
    for name in ("localization", "descriptors", "regressions", "confidence"):
        content = json.loads((folder / "results" / f"{name}.json").read_text(),
                             parse_constant=pytest.fail)
        assert content["meta"]
    assert (folder / "results" / "confidence_calibration.csv").exists()
    assert not [path for path in folder.parent.iterdir() if "partial" in path.name]


def test_table_1_says_what_the_analysis_found(folder: Path) -> None:
    with (folder / "tables" / "table1.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    falls = pd.read_csv(folder / "results" / "localization_decrease.csv")
    assert len(rows) == len(falls)
    for row, (_, fall) in zip(rows, falls.iterrows(), strict=True):
        assert row["finding"] == fall["finding"]
        if pd.notna(fall["estimate"]):
            assert row["decrease (%)"].split(" ")[0] == f"{fall['estimate']:.1f}"
    assert {row["metric"] for row in rows} == {"mIoU", "hit rate"}
    hits = [row for row in rows if row["metric"] == "hit rate" and row["finding"] == "average"]
    assert all(row["decrease in mIoU - in hit rate (points)"] for row in hits)


def test_tables_say_what_their_cells_are(folder: Path) -> None:
    for name, title, words in (
            ("table1", "Table 1. ", ("bootstrap by patient", "slice positive")),
            ("table2", "Table 2. ", ("adjusted p \\< 0.05", "bonferroni, factor 4")),
            ("table3", "Table 3. ", ("jackknife", "pooled rows 2"))):
        text = (folder / "tables" / f"{name}.md").read_text()
        assert text.startswith(f"**{title}")
        for word in words:
            assert word in text.splitlines()[-1], name
        assert (folder / "tables" / f"{name}.tex").read_text().startswith(f"% {title}")
    means = pd.read_csv(folder / "tables" / "descriptor_means.csv")
    summary = pd.read_csv(folder / "tables" / "data_summary.csv")
    order = [name for name in means["finding"].unique() if name != "all findings"]
    assert order == [name for name in summary["finding"] if name in order]


def test_means_of_table_1_give_its_decrease(run, cubes: Path, tmp_path: Path) -> None:
    # With a cut-off false positives count for maps; readers annotated positives only.
    place = tmp_path / "out"
    result = run("-q", "protocol", "localization", cubes, "-o", place, "--resamples", "50",
                 "--resolution", "grid", "--cutoff", "0.3", "--explainer", "gradcam")
    assert result.exit_code == 0, result.stderr
    assert "on the images that each has; hits on images" in (place / "methods.md").read_text()
    table = pd.read_csv(place / "tables" / "table1.csv")
    falls = pd.read_csv(place / "results" / "localization_decrease.csv")
    summary = pd.read_csv(place / "results" / "localization_summary.csv")
    shown = 0
    for (_, row), (_, fall) in zip(table.iterrows(), falls.iterrows(), strict=True):
        for name, column in (("expert", "expert"), ("saliency", "saliency map")):
            if pd.notna(fall[name]):
                assert row[column].split(" ")[0] == f"{fall[name]:.3f}"
                shown += 1
        rows = summary[(summary["finding"] == fall["finding"]) & (summary["metric"] == "iou")
                      & (summary["explainer"] == "gradcam")]
        if fall["metric"] == "iou" and len(rows) and pd.notna(fall["saliency"]):
            assert rows["estimate"].item() == pytest.approx(fall["saliency"])
    assert shown > 20


def test_methods_state_every_definition(folder: Path) -> None:
    text = (folder / "methods.md").read_text()
    for words in ("bilinearly", "Otsu's threshold", "slice `positive`", "first in row order",
                  "percentile", "100 bootstrap resamples of patients (seed 0)", "Wilson",
                  "min-max normalised", "8-connected", "CR2", "random intercepts", "Firth",
                  "Bonferroni", "factor 4", "Spearman", "expert-1", "saltrust"):
        assert words in text, words
    assert "None" not in text
    assert "nan" not in text.split()


def test_peer_definitions_are_said(run, cubes: Path, tmp_path: Path) -> None:
    place = tmp_path / "peer"
    result = run("-q", "protocol", "localization", cubes, "-o", place, "--definition", "peer",
                 "--resamples", "20", "--finding", "Cardiomegaly", "--finding", "Edema",
                 "--explainer", "gradcam", "--cutoff", "0.1", "--threshold", "0.4",
                 "--resolution", "grid")
    assert result.exit_code == 0, result.stderr
    text = (place / "methods.md").read_text()
    for words in ("`peer`", "as PyTorch rounds", "slice `both_nonempty`", "0.4 for every map",
                  "cut-off: 0.1", "contours"):
        assert words in text, words
    again = run("-q", "protocol", "localization", cubes, "-o", place)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr


def test_what_is_missing_is_said(run, tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text("grid = 64\nseed = 2\n[data]\nkind = 'phantom'\npatients = 12\nsize = 64\n")
    assert run("-q", "import", "study", study, "-o", tmp_path / "s.zarr").exit_code == 0
    # Without maps the readers alone are scored.
    result = run("protocol", "localization", tmp_path / "s.zarr", "-o", tmp_path / "out",
                 "--resamples", "20")
    assert result.exit_code == 0, result.stderr
    assert "regressions: " in result.stderr
    assert "Not computed" in (tmp_path / "out" / "methods.md").read_text()
    missing = run("-q", "protocol", "localization", tmp_path / "none.zarr", "-o", tmp_path / "x")
    assert missing.exit_code == 2
    assert not (tmp_path / "x").exists()
