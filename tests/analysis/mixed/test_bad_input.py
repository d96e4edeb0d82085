"""What cannot be fitted is refused in a sentence that names what is at fault, with counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from saltrust.analysis.mixed.formula import parse
from saltrust.analysis.mixed.model import mixed_model
from saltrust.analysis.mixed.options import Contrasts, Fitting
from saltrust.analysis.mixed.scores_table import read_scores
from saltrust.errors import DataError, SaltrustError, UsageError

FORMULA = "auprc ~ explainer + (1|image)"
BUILTIN = Fitting(engine="builtin")
ROWS = np.arange(24)


def table(**columns: object) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"image": ROWS // 3, "explainer": np.array(["a", "b", "c"])[ROWS % 3],
                         "auprc": rng.normal(size=24), **columns})


@pytest.mark.parametrize(("data", "formula", "words"), [
    (table(auprc=0.1 * (ROWS // 3) + 0.3 * (ROWS % 3)), FORMULA,
     "means of image .8 groups. reproduce all 24 .*perfect fit"),
    (table(auprc=0.3 * (ROWS % 3)), FORMULA, "reproduce all 24 responses .a perfect fit"),
    (table(auprc=0.3), FORMULA, "response is 0.3 in all 24"),
    (table(auprc=0), FORMULA, "response is 0 in all 24"),
    (table(explainer="a"), FORMULA, r"explainer has one level only \(a\) in the 24"),
    (table(image="i"), FORMULA, "image has one level only in the 24"),
    (table(image=ROWS), FORMULA, "image has 24 levels in 24 .*one row per group"),
    (table(explainer=ROWS // 3), "auprc ~ factor(explainer) + (1|image)",
     "image .8 groups. cannot be told from the fixed effects"),
    (table(patient=-(ROWS // 3)), "auprc ~ explainer + (1|image) + (1|patient)",
     "image .8 groups. and patient .8 groups. cannot be told apart"),
    (table(auprc=None), FORMULA, "no complete row: of 24 rows, missing are auprc 24"),
    (table(auprc=[*["x"] * 2, *[1.0] * 22]), FORMULA, "2 values that are not numbers, such as 'x'"),
    (table(auprc=[float("inf"), *range(23)]), FORMULA, "auprc of the table has 1 infinite"),
    (table(age=[float("inf"), *range(23)]), "auprc ~ age + (1|image)", "age .* 1 infinite"),
    (table().head(3), FORMULA, "one level only"),
    (table(explainer=ROWS % 23), "auprc ~ factor(explainer) * image + (1|image)",
     "24 complete rows are too few"),
    (table().head(0), FORMULA, "no rows"),
])
def test_data_that_cannot_be_fitted(data: pd.DataFrame, formula: str, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        mixed_model(data, formula, fitting=BUILTIN)
    assert "\n" not in str(caught.value)


def test_a_perfect_fit_of_crossed_intercepts_is_seen_too() -> None:
    index = np.arange(120)
    data = pd.DataFrame({"a": index % 12, "b": index // 12,
                         "y": np.sin(index % 12) + np.cos(index // 12)})
    with pytest.raises(DataError, match="perfect fit"):
        mixed_model(data, "y ~ 1 + (1|a) + (1|b)", fitting=BUILTIN)


def test_fewer_groups_than_effects_are_fitted_with_a_warning(
        caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"image": np.repeat(["x", "y", "z"], 9), "auprc": rng.normal(size=27),
                         "explainer": np.tile([f"e{i}" for i in range(9)], 3)})
    with caplog.at_level("WARNING", "saltrust"):
        result = mixed_model(data, FORMULA, fitting=BUILTIN)
    assert "image rests on 3 groups, fewer than the 9 fixed effects" in caplog.text
    assert len(result.tables["contrasts"]) == 36
    assert result.tables["contrasts"].notna().all(axis=None)


@pytest.mark.parametrize(("formula", "options", "words"), [
    ("auprc ~ explaner + (1|image)", {}, "'explaner'.* did you mean 'explainer'"),
    (FORMULA, {"over": "image"}, "'image' is no fixed effect"),
    (FORMULA, {"contrasts": Contrasts(control="z")}, "no level 'z'; known are: a, b, c"),
    (FORMULA, {"contrasts": Contrasts(adjustment="dunnett")}, "--control"),
    (FORMULA, {"contrasts": Contrasts(adjustment="tukey", control="a")}, "--posthoc tukey"),
    (FORMULA, {"confidence_level": 1.5}, "confidence"),
    (FORMULA, {"only": {"explaner": ["a"]}}, "no column 'explaner' to choose rows by"),
    ("auprc ~ 1 + (1|image)", {"contrasts": Contrasts(posthoc="tukey")},
     "no fixed effect but the intercept"),
    ("auprc ~ explainer + reader + (1|image)", {"contrasts": Contrasts(posthoc="tukey")},
     "--over explainer or --over reader"),
    ("auprc ~ age + (1|image)", {"contrasts": Contrasts(control="1")}, "all numeric"),
])
def test_wrong_calls(formula: str, options: dict[str, object], words: str) -> None:
    data = table(reader=np.array(["r", "s"])[ROWS % 2], age=ROWS % 5)
    with pytest.raises(UsageError, match=words):
        mixed_model(data, formula, **{"fitting": BUILTIN, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "options", "words"), [
    (Contrasts, {"adjustment": "tukei"}, "adjustment 'tukei'.*'tukey'"),
    (Contrasts, {"posthoc": "control"}, "posthoc 'control'.*tukey"),
    (Fitting, {"df": "kenward-roger", "reml": False}, "defined for REML"),
    (Fitting, {"df": "welch"}, "df 'welch'"),
    (Fitting, {"engine": "r"}, "engine 'r'"),
])
def test_wrong_options(kind: type[Contrasts | Fitting], options: dict[str, object], words: str
                       ) -> None:
    with pytest.raises(UsageError, match=words):
        kind(**options)  # type: ignore[arg-type]


def test_rows_of_a_table_are_chosen_by_a_value_or_several() -> None:
    data = table(model=["net", None, "net"] * 8, fold=ROWS // 12)
    for only, kept in (({"fold": 1}, data["fold"] == 1), ({"model": "net"}, data["model"] == "net"),
                       ({"model": ["", "net"], "fold": [0]}, data["fold"] == 0)):
        chosen = mixed_model(data, FORMULA, only=only, fitting=BUILTIN)
        expected = mixed_model(data[kept], FORMULA, fitting=BUILTIN)
        pd.testing.assert_frame_equal(chosen.tables["contrasts"], expected.tables["contrasts"])
    assert chosen.meta["only"] == {"model": ["", "net"], "fold": [0]}
    with pytest.raises(DataError, match="no row of the table has model 'nut'; did you mean 'net'"):
        mixed_model(data, FORMULA, only={"model": "nut"}, fitting=BUILTIN)


@pytest.mark.parametrize(("content", "words"), [
    (b"", "is empty"),
    (b"auprc,explainer,image\n", "has a header but no rows"),
    (b"\xff\xfeauprc", "not UTF-16"),
    (b"auprc,explainer,image\n1,a,1\n2,b,1,9\n", "cannot be read as CSV"),
    (b"auprc,explainer,image\n1,a,1,9\n2,b,1,9\n", "more cells than the header"),
    (b"auprc,explainer,image,image\n1,a,1,1\n", "column 'image' more than once"),
    (b"auprc,image\n1,1\n", "names 'explainer'"),
])
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "scores.csv"
    path.write_bytes(content)
    with pytest.raises(SaltrustError, match=words) as caught:
        mixed_model(path, FORMULA)
    assert "scores.csv" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv is not a file"):
        read_scores(tmp_path / "none.csv", parse(FORMULA))


def test_text_is_read_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text('\ufeff"auprc","explainer","image",\n0.5,"Grad, plain",007,\n,NA,7,\n'
                    '1e-3," x",07,\n', encoding="utf-8")
    text = read_scores(path, parse(FORMULA))
    assert text["explainer"].tolist()[::2] == ["Grad, plain", " x"]
    assert text["image"].tolist() == ["007", "7", "07"]
    assert text.isna().sum().to_dict() == {"auprc": 1, "explainer": 1, "image": 0}


def test_empty_cells_of_a_design_leave_their_means_null_with_a_reason() -> None:
    data = table(reader=np.array(["r", "s"])[ROWS // 2 % 2])
    data = data[(data["explainer"] != "b") | (data["reader"] != "s")]
    result = mixed_model(data, "auprc ~ explainer * reader + (1|image)", over="explainer",
                         fitting=BUILTIN)
    means = result.tables["means"].set_index("level")
    assert means["estimate"].isna().to_dict() == {"a": False, "b": True, "c": False}
    assert "no rows" in str(means.loc["b", "note"])
    contrasts = result.tables["contrasts"].set_index("contrast")
    assert contrasts["p_adjusted"].isna().to_dict() == {"a - b": True, "a - c": False,
                                                        "b - c": True}
    dropped = result.tables["fixed_effects"].set_index("term").loc["explainerb:readers"]
    assert np.isnan(dropped["estimate"])
    assert "combination" in str(dropped["note"])
    tests = result.tables["anova"].set_index("term")
    assert tests["p_value"].isna().to_dict() == {"explainer": True, "reader": True,
                                                 "explainer:reader": False}


def test_what_no_machine_holds_is_refused_before_it_is_made() -> None:
    rng = np.random.default_rng(0)
    many = pd.DataFrame({"y": rng.normal(size=9000), "a": [f"a{k}" for k in range(3000)] * 3,
                         "b": [f"b{k}" for k in range(90)] * 100, "g": np.arange(9000) // 3,
                         "x": rng.normal(size=9000)})
    for formula, error, words in (
            ("y ~ a + (1|g)", DataError, r"3,000 levels, of which 4,498,500 contrasts.*--control"),
            ("y ~ a + b + (1|g)", DataError, "ask for a matrix of .* by 3,089.*random intercepts"),
            ("y ~ a:b + (1|g)", DataError, "ask for a matrix of .*leave out interactions"),
            ("y ~ " + "*".join(f"f{k}" for k in range(26)) + " + (1|g)", UsageError,
             "67,108,863 terms"),
            ("y ~ a" + " + a" * 20_000 + " + (1|g)", UsageError, "characters"),
            ("y ~ x + (1|" + "/".join(f"g{k}" for k in range(30)) + ")", UsageError,
             "more than 20 random intercepts")):
        with pytest.raises(error, match=words):
            mixed_model(many, formula, fitting=BUILTIN)


@pytest.mark.parametrize(("options", "words"), [
    ({"seed": -1}, "seed"), ({"seed": 2**64}, "at most"), ({"seed": 1.5}, "whole number"),
    ({"against_value": float("nan")}, "finite"), ({"against_value": 10**400}, "finite")])
def test_options_that_are_no_numbers(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Contrasts(**options)
