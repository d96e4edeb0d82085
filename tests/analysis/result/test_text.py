"""Tables as text: what people read, and what programs read back."""

from __future__ import annotations

import csv
import io
import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saltrust.analysis.result import Result
from saltrust.analysis.result.cells import interval, lay_out, p_value, significant
from saltrust.analysis.result.markup import escape_latex, escape_markdown
from saltrust.analysis.result.plain_text import WIDTH
from saltrust.analysis.result.text import FORMATS, PREVIEW_ROWS, render, render_frame
from saltrust.errors import UsageError


@pytest.fixture
def result() -> Result:
    summary = pd.DataFrame({
        "finding": ["Edema", "Lung Lesion"],
        "explainer": ["grad_cam", "grad_cam"],
        "estimate": [1 / 3, float("nan")],
        "conf_low": [0.1, float("nan")],
        "conf_high": [0.62345, float("nan")],
        "p_value": [0.00012, float("nan")],
        "df": [float("nan"), float("nan")],
        "n": [83, 0],
        "note": ["", "no rows | none"],
    })
    scores = pd.DataFrame({"image": ["a,b", 'c"d'], "iou": [0.1 + 0.2, float("nan")]})
    meta = {"slice": "positive", "seed": 0, "excluded": {"no reference": 3}, "level": np.nan}
    return Result(meta, {"summary": summary, "scores": scores})


def test_plain_table_reads_as_written_by_hand(result: Result) -> None:
    text = render(result, "table")
    assert text.splitlines() == [
        "summary",
        "finding      explainer  estimate          95% CI        p   n  note",
        "-----------  ---------  --------  --------------  -------  --  --------------",
        "Edema        grad_cam      0.333  [0.100, 0.623]  < 0.001  83",
        "Lung Lesion  grad_cam          -               -        -   0  no rows | none",
        "",
        "slice positive; seed 0; excluded: no reference 3; other tables: scores (2 rows)",
    ]


def test_markdown_reads_as_written_by_hand(result: Result) -> None:
    lines = render(result, "markdown", tables=["summary"]).splitlines()
    assert lines[0] == "**summary**"
    cells = [[cell.strip() for cell in line.replace(r"\|", "@").strip("|").split("|")]
             for line in lines[2:6]]
    assert cells[0] == ["finding", "explainer", "estimate", "95% CI", "p", "n", "note"]
    assert [cell[-1:] == ":" for cell in cells[1]] == [False, False, True, True, True, True, False]
    assert cells[2] == ["Edema", r"grad\_cam", "0.333", "[0.100, 0.623]", "< 0.001", "83", ""]
    assert cells[3] == ["Lung Lesion", r"grad\_cam", "-", "-", "-", "0", "no rows @ none"]


def test_latex_reads_as_written_by_hand(result: Result) -> None:
    lines = render(result, "latex", tables=["summary"]).splitlines()
    assert r"\begin{tabular}{llrrrrl}" in lines
    assert r"Edema & grad\_cam & 0.333 & [0.100, 0.623] & $<$ 0.001 & 83 &  \\" in lines
    assert r"Lung Lesion & grad\_cam & - & - & - & 0 & no rows \textbar{} none \\" in lines
    assert r"finding & explainer & estimate & 95\% CI & p & n & note \\" in lines


def test_json_is_strict_and_has_every_digit(result: Result) -> None:
    def refuse(text: str) -> float:
        raise AssertionError(text)

    content = json.loads(render(result, "json"), parse_constant=refuse)
    assert set(content) == {"format", "meta", "tables"}
    assert content["format"] == 2
    assert list(content["tables"]) == ["summary", "scores"]
    assert content["tables"]["scores"][0]["iou"] == 0.1 + 0.2
    assert content["tables"]["summary"][1]["estimate"] is None
    assert content["meta"]["level"] is None
    assert list(json.loads(render(result, "json", tables=["scores"]))["tables"]) == ["scores"]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(
    st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), min_size=1).filter(
        lambda text: text.strip() not in {"", "NA", "NaN", "nan", "null", "None"}),
    st.floats(allow_nan=False, allow_infinity=False)), min_size=1, max_size=8))
def test_csv_round_trip_is_exact(rows: list[tuple[str, float]]) -> None:
    frame = pd.DataFrame(rows, columns=["image", "iou"])
    back = list(csv.reader(io.StringIO(render_frame(frame, "csv"), newline="")))
    assert back[0] == ["image", "iou"]
    assert [(image, float(value)) for image, value in back[1:]] == rows


def test_csv_holds_the_headline_or_the_table_named(result: Result) -> None:
    assert render(result, "csv").startswith("finding,explainer,estimate")
    assert render(result, "csv", tables=["scores"]) == (
        'image,iou\n"a,b",0.30000000000000004\n"c""d",\n')
    with pytest.raises(UsageError, match="csv holds one table, not 2"):
        render(result, "csv", tables=["scores", "summary"])


def test_unknown_names_say_what_is_near(result: Result) -> None:
    with pytest.raises(UsageError, match=r"unknown table format 'markdwn'.*'markdown'"):
        render(result, "markdwn")
    with pytest.raises(UsageError, match="unknown table format"):
        render_frame(pd.DataFrame(), "html")
    with pytest.raises(UsageError, match=r"no table 'score'.*'scores'"):
        render(result, "table", tables=["score"])


@pytest.mark.parametrize("form", FORMATS)
def test_empty_tables_and_results_render(form: str) -> None:
    empty = pd.DataFrame({"image": [], "iou": []})
    assert render(Result({}, {"scores": empty}), form) is not None
    assert render(Result(), form) is not None
    assert render_frame(empty, form) is not None


def test_a_long_headline_is_cut_and_says_so() -> None:
    frame = pd.DataFrame({"image": [f"i{k}" for k in range(PREVIEW_ROWS + 7)]})
    long = Result({}, {"scores": frame})
    short = render(long, "table")
    assert f"(shown: the first {PREVIEW_ROWS} of {PREVIEW_ROWS + 7} rows; json" in short
    assert f"i{PREVIEW_ROWS}\n" not in short
    whole = render(long, "table", tables=["scores"])
    assert f"i{PREVIEW_ROWS + 6}\n" in whole
    assert len(render(long, "csv").splitlines()) == PREVIEW_ROWS + 8


def test_wide_tables_stay_within_the_width_and_lose_nothing() -> None:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({
        "finding": ["Enlarged Cardiomediastinum", "Edema"],
        "explainer": ["gradcam", "grad"],
        "adjustment": ["bonferroni"] * 2,
        **{f"quantity_{k}": rng.random(2) for k in range(14)},
        "note": ["a phrase that is so long that nobody could keep it on a line of this width",
                 "short"],
    })
    text = render_frame(frame, "table")
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "every row: adjustment bonferroni" in text
    for k in range(14):
        assert f"quantity {k}" in text
        for value in frame[f"quantity_{k}"]:
            assert significant(value) in text
    assert text.count("Enlarged Cardiomediastinum") >= 2  # each block says what its rows are
    assert all(word in text for word in ("phrase", "nobody", "keep", "width", "short"))


def test_wide_estimates_do_without_what_is_least_read_and_say_so() -> None:
    frame = pd.DataFrame({
        "finding": ["Enlarged Cardiomediastinum", "Edema"], "descriptor": ["area", "length"],
        "term": ["area", "length"], "estimate": [0.51, 0.52], "std_error": [0.111, 0.112],
        "conf_low": [0.1, 0.2], "conf_high": [0.8, 0.9], "statistic": [1.51, 1.52],
        "df": [31, 41], "p_value": [0.041, 0.042], "p_adjusted": [0.241, 0.242],
        "family": ["a family with a long name, one", "a family with a long name, two"],
        "n": [33, 43], "note": ["", "few rows"],
        "r_squared": [0.61, 0.62], "estimate_raw": [0.0071, 0.0072]})
    text = render_frame(frame, "table")
    assert max(map(len, text.splitlines())) <= WIDTH
    assert len(text.splitlines()) == 5  # one block: heading, rule, two rows, what is missing
    assert "(not shown: family, statistic, " in text
    assert text.endswith("; json and csv have all)\n")
    assert "term" not in text  # says what descriptor says
    for value in ("0.510", "0.241", "few rows", "[0.100, 0.800]", "33"):
        assert value in text
    assert "0.0072" in render_frame(frame, "markdown")
    assert "term" in render_frame(frame, "csv")


def test_empty_columns_are_left_out_and_intervals_joined() -> None:
    cells = lay_out(pd.DataFrame({
        "term": ["a", "b"], "df": [np.nan, np.nan], "note": ["", None],
        "iou_low": [0.1, 0.2], "iou_high": [0.3, 0.4], "x_low": [1.0, 2.0],
        "hit": [1.0, 0.0], "flag": [True, False]}), level=0.9)
    assert cells.headings == ("term", "IoU 90% CI", "x low", "hit", "flag")
    assert cells.rows == [("a", "[0.100, 0.300]", "1", "1", "yes"),
                          ("b", "[0.200, 0.400]", "2", "0", "no")]
    assert cells.numeric == (False, True, True, True, False)


def test_a_named_index_becomes_columns() -> None:
    frame = pd.DataFrame({"IoU": ["0.1 *"]}, index=pd.Index(["Area ratio"], name="descriptor"))
    assert lay_out(frame).headings == ("descriptor", "IoU")
    assert render_frame(frame, "csv") == "descriptor,IoU\nArea ratio,0.1 *\n"


@settings(deadline=None, max_examples=50)
@given(st.floats(min_value=-1e12, max_value=1e12, allow_nan=False))
def test_rounding_stays_within_half_a_unit_of_the_last_digit(value: float) -> None:
    text = significant(value)
    assert math.isclose(float(text), value, rel_tol=0.005000001, abs_tol=0)
    if value:
        digits = text.lower().partition("e")[0].lstrip("-").replace(".", "").lstrip("0")
        assert len(digits) >= 3
    assert text.startswith("-") == (value < 0)


def test_numbers_at_the_edges() -> None:
    assert significant(float("inf")) == "inf"
    assert significant(0.0) == "0"
    assert interval(-0.0004, 0.5) == "[0.000, 0.500]"
    assert interval(float("nan"), float("nan")) == "-"
    assert interval(float("-inf"), 2.5) == "[-inf, 2.50]"
    assert p_value(0.0009999) == "< 0.001"
    assert p_value(0.001) == "0.001"


@pytest.mark.parametrize(("text", "latex"), [
    ("50% & more_of $it #1", r"50\% \& more\_of \$it \#1"),
    (r"a\b{c}", r"a\textbackslash{}b\{c\}"),
    ("x^2 ~ y", r"x\textasciicircum{}2 \textasciitilde{} y"),
    ("a|b<c>d", r"a\textbar{}b$<$c$>$d"),
])
def test_latex_escapes(text: str, latex: str) -> None:
    assert escape_latex(text) == latex


def test_latex_sets_minus_signs_but_not_hyphens() -> None:
    frame = pd.DataFrame({"name": ["Bonett-Wright -0.5", "x"], "estimate": [-0.25, 1.5],
                          "conf_low": [-1.0, 1.0], "conf_high": [-0.125, 2.0]})
    text = render_frame(frame, "latex")
    assert r"Bonett-Wright $-$0.5 & $-$0.250 & [$-$1.000, $-$0.125] \\" in text


def test_latex_rows_do_not_begin_with_an_argument() -> None:
    text = render_frame(pd.DataFrame({"x_low": [0.1], "x_high": [0.2], "s": ["*"]}), "latex")
    assert r"{[}0.100, 0.200] & * \\" in text
    assert r"{*} \\" in render_frame(pd.DataFrame({"s": ["*"]}), "latex")


@pytest.mark.parametrize(("text", "markdown"), [
    ("grad_cam", r"grad\_cam"),
    ("a|b", r"a\|b"),
    ("*bold* and **more**", r"\*bold\* and \*\*more\*\*"),
    ("0.556 (0.510, 0.601) ***", "0.556 (0.510, 0.601) ***"),
    ("[x](javascript:y) <b>", r"\[x\](javascript:y) \<b\>"),
])
def test_markdown_escapes(text: str, markdown: str) -> None:
    assert escape_markdown(text) == markdown


def test_markdown_of_the_papers_second_table() -> None:
    frame = pd.DataFrame({
        "Pathological characteristic": ["IoU", "Area ratio"],
        "AI": ["", "0.556 (0.510, 0.601) ***"],
    })
    text = render_frame(frame, "markdown")
    assert text.splitlines()[3].split(" | ")[1].removesuffix(" |") == "0.556 (0.510, 0.601) ***"
