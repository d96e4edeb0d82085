"""Labels of data in whatever shows them: tables in every form, figures, names of files."""

from __future__ import annotations

import base64
import csv
import functools
import html.parser
import io
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr
from hypothesis import strategies as st

from saltrust.analysis.result import Result
from saltrust.analysis.result.text import render, render_frame, render_html
from saltrust.analysis.select import select
from saltrust.files import stems
from saltrust.printable import printable, printable_json
from saltrust.report.figures import distributions
from saltrust.report.figures.palette import to_data_uri
from saltrust.testing import simulate_cubes
from tests.fuzz.mutations import NASTY_TEXTS, scalars, values

_LATEX = r"$\frac{a}{$"
# Stores hold no halves of characters.
_words = st.one_of(st.sampled_from((*NASTY_TEXTS, _LATEX, r"\input{/etc/passwd}", "$x$", "|", "`")),
                   st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
_rows = st.lists(st.tuples(_words, _words, st.floats(allow_nan=True, width=32)), min_size=1,
                 max_size=4)


class _Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert all(name == "style" for name, _ in attrs)


def _tables(folder: Path, rows: list[tuple[str, str, float]]) -> None:
    frame = pd.DataFrame(rows, columns=["finding", "explainer", "estimate"])
    result = Result({"label": rows[0][0], "many": [row[1] for row in rows]}, {"scores": frame})
    for form in ("table", "markdown", "latex"):
        text = render(result, form)
        assert printable(text, kept="\n") == text
    document = json.loads(printable_json(render(result, "json")))
    assert [row["finding"] for row in document["tables"]["scores"]] == [row[0] for row in rows]
    plain = list(csv.reader(io.StringIO(render_frame(frame, "csv"), newline="")))
    assert len(plain) == len(rows) + 1
    for line in csv.reader(io.StringIO(render(result, "csv", spreadsheet_safe=True), newline="")):
        assert not any(cell[:1] in set("=@\t\r") for cell in line)
    page = _Tags()
    page.feed(render_html(result))
    assert page.tags <= {"table", "caption", "thead", "tbody", "tr", "th", "td", "p", "details",
                         "summary"}
    result.to_csv(folder)
    result.to_json(folder / "a.json")


def _figures(_folder: Path, words: list[str]) -> None:
    table = pd.DataFrame({
        "finding": [word for word in words for _ in range(4)],
        "label": ["positive", "negative"] * (2 * len(words)),
        "probability": [0.1 * (k % 9) for k in range(4 * len(words))]})
    known = pd.DataFrame({"finding": words, "estimate": 0.5, "conf_low": 0.4, "conf_high": 0.6})
    figure = distributions.probabilities(table, known)
    figure.suptitle(words[0])
    _check(to_data_uri(figure))


def _check(uri: str) -> None:
    kind, _, content = uri.partition(",")
    if kind.startswith("data:image/svg"):
        ET.fromstring(base64.b64decode(content))


def _files(folder: Path, words: list[str]) -> None:
    named = stems(words)
    assert len(set(named.values())) == len(set(words))
    for stem in named.values():
        (folder / f"{stem}.png").write_bytes(b"")
    assert len(list(folder.iterdir())) == len(set(words))


def _printed(_folder: Path, text: str) -> None:
    assert not set(printable(text)) & set("\x1b\x07\r\n\x00\x7f\x9b\u202e\u2028")
    printable(text).encode("utf-8")
    assert printable(printable(text)) == printable(text)
    assert json.loads(printable_json(json.dumps([text], ensure_ascii=False))) == [text]


@functools.cache
def _cubes() -> xr.DataTree:
    return simulate_cubes(patients=6, parts=(), grid=16)


def _select(_folder: Path, labels: dict[str, Any]) -> None:
    assert select(_cubes(), **labels).coords["image"].size >= 1


_choices = st.fixed_dictionaries({}, optional={
    name: st.one_of(st.sampled_from(known), st.lists(st.sampled_from(known), max_size=2), values,
                    st.lists(scalars, max_size=2))
    for name, known in (("finding", ["Edema"]), ("explainer", ["grad", "gradcam"]),
                        ("model", ["densenet-1"]), ("split", ["test"]), ("view", ["frontal PA"]),
                        ("image", ["a"]), ("patient", ["p"]), ("native_height", [64]),
                        ("nothing", ["x"]), ("reader", ["reader-1"]))})
_several: Any = st.lists(_words, min_size=1, max_size=4, unique=True)

TARGETS = {
    "tables": (_rows, _tables),
    # Each takes a tenth of a second.
    "figures": (st.lists(_words, min_size=1, max_size=2, unique=True), _figures),
    "files": (_several, _files),
    "selected": (_choices, _select),
    "printed": (st.one_of(_words, st.text(max_size=30)), _printed),
}
