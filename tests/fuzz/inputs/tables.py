"""Tables that others wrote: thresholds, scores, tables for mixed models, and their formulas."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pandas as pd
from hypothesis import strategies as st

import saltrust
from saltrust.analysis.mixed.formula import parse
from saltrust.analysis.mixed.options import Contrasts, Fitting
from saltrust.analysis.scores.segmentation_rules import cutoff_choice, threshold_choice
from saltrust.errors import SaltrustError
from tests.fuzz.mutations import csv_files, flipped, numbers, scalars, texts

THRESHOLDS = [["finding", "explainer", "model", "map_reading", "threshold", "cutoff"],
              ["Edema", "grad", "net", "absolute", "0.3", "0.1"],
              ["Edema", "gradcam", "", "", "0.4", ""],
              ["Effusion", "", "", "", "", "0.5"]]
RELEASED = [["prob_threshold", "mIoU", "task"], ["0.1", "0.5", "Edema"], ["0.2", "0.6", "Edema"],
            ["0.3", "0.4", "Effusion"]]
SCORES = [["image", "patient", "finding", "explainer", "model", "reader", "iou", "hit",
           "n_instances", "area_ratio", "elongation", "irrectangularity", "probability"]]
for _k in range(8):
    for _explainer, _model in (("expert", "reader"), ("grad", "net")):
        SCORES.append([f"i{_k}", f"p{_k // 2}", "Edema", _explainer, _model, "reference",
                       f"0.{_k + 1}", str(_k % 2), "1", f"0.{_k + 2}", f"1.{_k}", f"0.{9 - _k}",
                       f"0.{_k + 1}"])
MIXED = [["image", "explainer", "age", "auprc"],
         *([f"i{k}", name, str(40 + k), f"0.{(3 * k + 7 * j) % 9 + 1}"]
           for k in range(6) for j, name in enumerate(("grad", "gradcam", "xrai")))]
FORMULAS = ("auprc ~ explainer + (1|image)", "auprc ~ explainer * age + (1|image)",
            "auprc ~ 0 + explainer:age + factor(age) + (1|image)",
            "auprc ~ 1 + (1|image/explainer)",
            "auprc ~ explainer + (1|image) + (1|age)")

_wide = st.builds(lambda count, name: ",".join(
    [name, *(f"c{k}" for k in range(count))]).encode() + b"\n1\n", st.sampled_from(
        (100, 9_999, 10_001, 200_000)), st.sampled_from(("image", "finding")))
_packed = st.builds(lambda content, repeats: gzip.compress(content * repeats, 9), st.sampled_from(
    (b"a,b\n", b"\0", b",", b"image,finding,explainer\n", b"1,2,3\n")), st.sampled_from(
        (1, 10, 10**6, 2 * 10**7)))
_long_cell = st.builds(lambda size: b'finding,threshold\n"' + b"a" * size + b'",0.5\n',
                       st.sampled_from((10, 10**5, 10**7)))


def _files(valid: list[list[str]]) -> st.SearchStrategy[tuple[str, bytes]]:
    # What is large is slow, and need not come often.
    large = st.one_of(_wide.map(lambda content: ("a.csv", content)),
                      _packed.map(lambda content: ("a.csv.gz", content)),
                      _long_cell.map(lambda content: ("a.csv", content)))
    small = st.one_of(
        csv_files(valid).map(lambda content: ("a.csv", content)),
        csv_files(valid).map(lambda content: ("a.csv.gz", gzip.compress(content))),
        flipped(csv_files(valid).map(gzip.compress)).map(lambda content: ("a.csv.gz", content)),
        csv_files(valid).map(lambda content: ("a.csv.zip", content)))
    plain = csv_files(valid).map(lambda content: ("a.csv", content))
    return st.integers(0, 49).flatmap(lambda k: large if k == 0 else small if k < 10 else plain)


def _written(folder: Path, file: tuple[str, bytes]) -> Path:
    path = folder / file[0]
    path.write_bytes(file[1])
    return path


def _thresholds(folder: Path, file: tuple[str, bytes]) -> None:
    path = _written(folder, file)
    for choose in (threshold_choice, cutoff_choice):
        try:
            choice = choose(path)
        except SaltrustError as error:
            refused = error
            continue
        assert all(0 <= value <= 1 for value in choice.values())
        return
    raise refused


def _scores(folder: Path, file: tuple[str, bytes]) -> None:
    _check(saltrust.regressions_from_scores(_written(folder, file)))


def _confidence(folder: Path, file: tuple[str, bytes]) -> None:
    _check(saltrust.confidence_from_scores(_written(folder, file)))


def _check(result: Any) -> None:
    assert result.to_json()
    for form in ("to_markdown", "to_latex"):
        assert getattr(result, form)()


def _mixed(folder: Path, value: tuple[tuple[str, bytes], str]) -> None:
    _check(saltrust.mixed_model(_written(folder, value[0]), value[1],
                                fitting=Fitting(engine="builtin")))


def _frame(_folder: Path, value: tuple[list[list[Any]], str, dict[str, Any]]) -> None:
    rows, formula, options = value
    table = pd.DataFrame(rows, columns=MIXED[0], dtype=object)
    _check(saltrust.mixed_model(table, formula, contrasts=Contrasts(**options),
                                fitting=Fitting(engine="builtin")))


def _formula(_folder: Path, text: str) -> None:
    assert parse(text).terms is not None


@st.composite
def _rows(draw: st.DrawFn) -> list[list[Any]]:
    rows: list[list[Any]] = [[row[0], row[1], int(row[2]), float(row[3])] for row in MIXED[1:]]
    for _ in range(draw(st.integers(0, 4))):
        rows[draw(st.integers(0, len(rows) - 1))][draw(st.integers(0, 3))] = draw(scalars)
    return rows


_symbols = st.sampled_from(("auprc", "explainer", "image", "age", "~", "+", "*", ":", "/", "|", "(",
                            ")", "-", "1", "0", "(1|image)", "factor(age)", "`a b`", "~ ", "\x00",
                            "factor(", "2", "$", "\u80f8"))
_formulas = st.one_of(
    st.sampled_from(FORMULAS), st.lists(_symbols, max_size=14).map(" ".join),
    st.lists(_symbols, max_size=6).map(lambda rest: FORMULAS[0] + "".join(rest)),
    st.integers(1, 3000).map(lambda count: "auprc ~ " + "*".join(
        f"a{k}" for k in range(count)) + " + (1|image)"),
    st.integers(1, 3000).map(lambda count: "auprc ~ " + "+".join(
        f"a{k}*b{k}*c{k}" for k in range(count)) + " + (1|image)"),
    st.integers(1, 3000).map(lambda count: "auprc ~ explainer + (1|" + "/".join(
        f"g{k}" for k in range(count)) + ")"),
    st.integers(1, 20_000).map(lambda count: "(" * count), texts)
_options = st.fixed_dictionaries({}, optional={
    "control": st.one_of(st.just("grad"), texts), "posthoc": st.just("tukey"),
    "adjustment": st.sampled_from(("tukey", "holm", "none", "single-step", "dunnett", "?")),
    "against_value": numbers, "seed": numbers})

TARGETS = {
    "thresholds": (st.one_of(_files(THRESHOLDS), _files(RELEASED)), _thresholds),
    "regressions": (_files(SCORES), _scores),
    "confidence": (_files(SCORES), _confidence),
    "mixed": (st.tuples(_files(MIXED), st.one_of(st.sampled_from(FORMULAS), _formulas)), _mixed),
    "frames": (st.tuples(_rows(), st.sampled_from(FORMULAS), _options), _frame),
    "formulas": (_formulas, _formula),
}
