"""Texts that a spreadsheet would compute are quoted on request, and nothing else is touched."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from saltrust.analysis.result import Result
from saltrust.analysis.result.spreadsheets import quote_formulas

FORMULAS = ("=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\t0", "\r=1", '"=1', " =1",
            "'=1", "\uff1d1", "-")
PLAIN = ("Edema", "-1.5", "+3", "1e-5", "-inf", "", "a=b", "No Finding", "(-)", "-1e400")


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_quoted(text: str) -> None:
    assert quote_formulas(pd.DataFrame({"a": [text]}))["a"].tolist() == [f"'{text}"]


@pytest.mark.parametrize("text", PLAIN)
def test_other_texts_stay(text: str) -> None:
    assert quote_formulas(pd.DataFrame({"a": [text]}))["a"].tolist() == [text]


def test_headings_and_the_index_are_quoted_and_numbers_are_not() -> None:
    frame = pd.DataFrame({"=a": [-1.5, np.nan], "b": ["x", None], "c": pd.Categorical(["=p", "q"])},
                         index=pd.Index(["=i", "j"], name="@key"))
    quoted = quote_formulas(frame)
    assert quoted.index.tolist() == ["'=i", "j"]
    assert quoted.index.name == "'@key"
    assert quoted["'=a"].tolist()[0] == -1.5
    assert quoted["c"].tolist() == ["'=p", "q"]
    assert frame.columns.tolist() == ["=a", "b", "c"]
    twice = frame.set_index("b", append=True)
    assert quote_formulas(twice).index.names == ["'@key", "b"]


def test_files_are_quoted_on_request_only(tmp_path: Path) -> None:
    result = Result({}, {"scores": pd.DataFrame({"finding": ["=1+1", "-1.5"], "n": [-1.0, 2.5]})})
    (plain,) = result.to_csv(tmp_path / "plain")
    (safe,) = result.to_csv(tmp_path / "safe", spreadsheet_safe=True)
    assert plain.read_text() == "finding,n\n=1+1,-1.0\n-1.5,2.5\n"
    assert safe.read_text() == "finding,n\n'=1+1,-1.0\n-1.5,2.5\n"
    again = pd.read_csv(io.StringIO(safe.read_text()))
    assert again["n"].tolist() == [-1.0, 2.5]
