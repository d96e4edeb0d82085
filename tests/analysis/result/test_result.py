"""A result at hand: what it shows of itself, and the files it writes."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from saltrust.analysis.result import Result
from saltrust.analysis.result.methods import methods_of
from saltrust.analysis.result.topics import FIGURES, PRINTED, figure_of, printed_table
from saltrust.errors import DataError, UsageError


@pytest.fixture
def result() -> Result:
    summary = pd.DataFrame({
        "finding": ["Edema", "<b>"], "explainer": ["gradcam", "expert"], "model": ["a", "r"],
        "metric": "iou", "estimate": [1 / 3, np.nan], "conf_low": [0.1, np.nan],
        "conf_high": [0.62345, np.nan], "n": [83, 0]})
    scores = pd.DataFrame({"image": ["i1", "i2", "i3"], "iou": [0.1 + 0.2, np.nan, np.inf]})
    return Result({"slice": "positive", "confidence_level": 0.9, "level": np.nan},
                  {"summary": summary, "scores": scores}, "localization")


def test_a_result_is_like_a_mapping_of_its_tables(result: Result) -> None:
    assert list(result) == ["summary", "scores"]
    assert len(result) == 2
    assert "scores" in result
    assert "decrease" not in result
    assert result["scores"] is result.tables["scores"]
    assert Result()
    with pytest.raises(KeyError) as caught:
        result["sumary"]
    assert isinstance(caught.value, UsageError)
    assert str(caught.value) == "the result has no table 'sumary'; did you mean 'summary'?"


def test_the_interpreter_shows_one_line_per_table_and_no_rows(result: Result) -> None:
    lines = repr(result).splitlines()
    assert lines[0] == "Result of localization: 2 tables"
    assert len(lines) == 3
    assert re.fullmatch(r"  scores +3 rows: image, iou", lines[2])
    wide = Result({}, {"w": pd.DataFrame(columns=[f"column_{k}" for k in range(40)])})
    assert len(repr(wide).splitlines()[1]) <= 100
    assert repr(wide).endswith(" ...")
    assert repr(Result()) == "Result: 0 tables"


def test_a_notebook_shows_the_headline_as_a_table_of_a_paper(result: Result) -> None:
    page = result._repr_html_()
    assert "<caption" in page
    assert "localization: summary" in page
    assert "[0.100, 0.623]" in page
    assert "90% CI" in page
    assert "0.333" in page
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert "scores (3 rows)" in page
    assert "slice positive" in page
    long = Result({}, {"t": pd.DataFrame({"x": range(70)})})
    assert "the first 50 of 70 rows" in long._repr_html_()
    assert Result()._repr_html_().startswith("<table")


def test_json_says_its_format_and_is_read_back(result: Result, tmp_path: Path) -> None:
    path = tmp_path / "new" / "r.json"
    text = result.to_json(path)
    assert path.read_text(encoding="utf-8") == text == result.to_json()
    content = json.loads(text)
    assert list(content) == ["format", "meta", "tables"]
    assert content["format"] == 2
    assert content["tables"]["scores"][0]["iou"] == 0.1 + 0.2
    assert content["tables"]["scores"][2]["iou"] is None
    assert content == result.to_dict()


def test_csv_files_carry_topic_and_table(result: Result, tmp_path: Path) -> None:
    paths = result.to_csv(tmp_path / "out")
    assert [path.name for path in paths] == ["localization_summary.csv",
                                             "localization_scores.csv"]
    assert pd.read_csv(paths[1], float_precision="round_trip")["iou"][0] == 0.1 + 0.2
    assert [path.name for path in Result({}, dict(result.tables)).to_csv(tmp_path)] == [
        "summary.csv", "scores.csv"]
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="choose another place"):
        result.to_csv(tmp_path / "file")


def test_parquet_keeps_types_numbers_and_metadata(result: Result, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    mixed = Result(result.meta, {**result.tables, "odd": pd.DataFrame({
        "value": [1, "a", None]}, index=pd.Index(["x", "y", "z"], name="row"))}, "localization")
    paths = mixed.to_parquet(tmp_path)
    assert [path.name for path in paths] == [
        f"localization_{name}.parquet" for name in ("summary", "scores", "odd")]
    table = parquet.read_table(paths[0])
    pd.testing.assert_frame_equal(table.to_pandas(), result["summary"], check_dtype=False)
    assert json.loads(table.schema.metadata[b"saltrust"])["slice"] == "positive"
    odd = parquet.read_table(paths[2]).to_pandas()
    assert odd["row"].tolist() == ["x", "y", "z"]
    assert odd["value"].tolist() == ["1", "a", None]


def test_without_pyarrow_the_extra_is_named(result: Result, tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install 'saltrust\[parquet\]'"):
        result.to_parquet(tmp_path)


def test_markdown_and_latex_of_one_table(result: Result) -> None:
    assert result.to_markdown("scores").startswith("**scores**")
    assert "| Edema" in result.to_markdown()
    assert "\\toprule" in result.to_latex("summary")
    with pytest.raises(UsageError, match="'summary'"):
        result.to_latex("summry")


def test_regressions_are_printed_as_in_the_paper() -> None:
    rows = pd.DataFrame([
        {"explainer": "grad", "model": "a", "scheme": scheme, "response": response,
         "descriptor": descriptor, "term": descriptor, "estimate": 0.25, "std_error": 0.1,
         "conf_low": 0.05, "conf_high": 0.45, "statistic": 2.5, "df": 30.0, "p_value": 0.01,
         "p_adjusted": 0.04, "adjustment": "bonferroni", "family": "f", "n": 32, "note": ""}
        for scheme in ("iou", "hit") for response in ("saliency", "expert", "difference")
        for descriptor in ("n_instances", "area_ratio", "elongation", "irrectangularity")])
    result = Result({"stars": "* p < 0.05"}, {"estimates": rows}, "regressions")
    text = result.to_markdown()
    assert "difference (expert - saliency)" in text
    assert "0.250 (0.050, 0.450) *" in text
    assert text.endswith("* p < 0.05\n")
    assert text.count("Area ratio") == 2
    assert "difference (expert - saliency)" not in result.to_markdown("estimates")


def test_figures_and_printed_tables_exist_where_they_are_named() -> None:
    for topic in FIGURES:
        assert callable(figure_of(topic))
    for topic in PRINTED:
        assert callable(printed_table(topic))
    assert printed_table("gaze") is None
    with pytest.raises(UsageError, match="no figure belongs to a result of thresholds"):
        figure_of("thresholds")


def test_plot_draws_the_rows_of_a_label(result: Result) -> None:
    drawn = Result(result.meta, {**result.tables, "decrease": pd.DataFrame({
        "finding": [], "explainer": [], "metric": [], "estimate": []})}, "localization")
    assert isinstance(drawn.plot(), Figure)
    labels = [text.get_text() for text in drawn.plot(finding="Edema").axes[0].get_yticklabels()]
    assert labels == ["Edema  (n = 83)"]
    with pytest.raises(UsageError, match="no finding 'Edma'; did you mean 'Edema'"):
        drawn.plot(finding="Edma")
    with pytest.raises(UsageError, match="no stated topic"):
        Result().plot()


def test_methods_are_sentences_made_of_what_was_recorded() -> None:
    meta = {"level": "image", "split": "test", "cases": 40, "patients": 21,
            "interval": "DeLong", "confidence_level": 0.9, "adjustment": "holm"}
    text = Result(meta, {}, "classification").methods()
    for words in ("40 images of 21 patients of the split 'test'", "90% intervals: DeLong",
                  "corrected by Holm"):
        assert words in text
    # Where prose lacks something, what is recorded stands by name.
    assert methods_of("classification", {"seed": 3}) == ["seed: 3."]
    assert methods_of("", {"counts": {"maps": 2}, "empty": None}) == ["counts: maps 2."]
