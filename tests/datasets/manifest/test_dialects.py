"""A manifest is the same collection however spreadsheets, pandas and systems write it."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from saltrust.datasets.manifest.collection import ManifestCollection, manifest
from saltrust.errors import DataError

SHAPE = (40, 50)
HEADER = ["path", "patient", "split", "height", "width", "age", "Ödem", "Mass", "boxes:Ödem",
          "points:Ödem", "siim_rle:Mass"]
ROWS = [["Büro/ä 1.png", "p1", "train", "40", "50", "61.5", "1", "0", "1.5 2 10 8; 30 20 5 5",
         "3 4", ""],
        ["Büro/b.png", "p1", "val", "40", "50", "", "0", "1", "", "", "405 15 25 15"],
        ["c.png", "p3", "test", "40", "50", "48", "", "-1", "", "", ""]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Radiographs in a folder whose name a Mac wrote, and the plain manifest."""
    root = tmp_path_factory.mktemp("films")
    for row in ROWS:
        path = root / unicodedata.normalize("NFD", row[0])
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.eye(*SHAPE, dtype=np.uint8) * 200).save(path)
    (root / "plain.csv").write_text("\n".join(map(",".join, [HEADER, *ROWS])) + "\n",
                                    encoding="utf-8")
    return root


@dataclass(frozen=True)
class Dialect:
    encoding: str
    delimiter: str
    end: str
    form: str
    capitals: Callable[[str], str]
    backslashes: bool
    blank: str
    decimal_commas: bool
    index: bool
    points: bool

    def header(self, name: str) -> str:
        return name if ":" in name or name in {"Ödem", "Mass"} else self.capitals(name)

    def cell(self, column: str, text: str) -> str:
        if column == "path":
            return text.replace("/", "\\") if self.backslashes else text
        if not text:
            return self.blank
        if self.points and column in {"height", "width", "Ödem", "Mass"}:
            text += ".0"
        # Decimal commas come with semicolons and tabs.
        return text.replace(".", ",") if self.decimal_commas and self.delimiter in ";\t" else text

    def written(self) -> bytes:
        rows = [[self.header(name) for name in HEADER],
                *([self.cell(*pair) for pair in zip(HEADER, row, strict=True)] for row in ROWS)]
        if self.index:
            rows = [[("Unnamed: 0", *map(str, range(9)))[k], *row] for k, row in enumerate(rows)]
        lines = [self.delimiter.join(f'"{cell}"' if self.delimiter in cell else cell
                                     for cell in row) for row in rows]
        text = unicodedata.normalize(self.form, "".join(line + self.end for line in lines))
        return text.encode(self.encoding)


dialects = st.builds(
    Dialect, encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    delimiter=st.sampled_from([",", ";", "\t", "|"]), end=st.sampled_from(["\n", "\r\n", "\r"]),
    form=st.sampled_from(["NFC", "NFD"]),
    capitals=st.sampled_from([str, str.upper, str.title, lambda name: f" {name.capitalize()} "]),
    backslashes=st.booleans(), blank=st.sampled_from(["", "nan", "NA", "null", "NaN"]),
    decimal_commas=st.booleans(), index=st.booleans(), points=st.booleans())


def content(data: ManifestCollection) -> dict[str, Any]:
    images = data.index["image"].values.tolist()
    return {"index": data.index.to_dict(), "drawn": {image: data.annotations(image)
                                                     for image in images},
            "files": {image: data.files[image].name for image in images}}


@settings(deadline=None, max_examples=60, derandomize=True)
@given(dialects)
def test_a_manifest_in_any_dialect_is_the_same_collection(folder: Path, dialect: Dialect) -> None:
    plain = manifest(folder / "plain.csv")
    (folder / "other.csv").write_bytes(dialect.written())
    other = manifest(folder / "other.csv")
    np.testing.assert_equal(content(other), content(plain))


@pytest.mark.parametrize("change", [
    {"encoding": "utf-16"}, {"delimiter": ";"}, {"end": "\r"}, {"form": "NFD"},
    {"capitals": str.title}, {"index": True},
])
def test_nor_does_the_dialect_change_what_models_were_trained_on(change: dict[str, Any],
                                                                 folder: Path) -> None:
    plain = {"encoding": "utf-8", "delimiter": ",", "end": "\n", "form": "NFC", "capitals": str,
             "backslashes": False, "blank": "", "decimal_commas": False, "index": False,
             "points": False}
    # A covariate keeps its name, which is told apart by its letters.
    dialect = Dialect(**{**plain, **change})
    text = dialect.written().decode(dialect.encoding).replace("Age", "age")
    (folder / "other.csv").write_bytes(text.encode(dialect.encoding))
    assert manifest(folder / "other.csv").fingerprint == manifest(folder / "plain.csv").fingerprint


def test_the_plain_one_says_what_it_says(folder: Path) -> None:
    data = manifest(folder / "plain.csv")
    assert data.index["label"].values.tolist() == [[1, 0], [0, 1], [-2, -1]]
    assert data.index["finding"].values.tolist() == ["Ödem", "Mass"]
    np.testing.assert_array_equal(data.index["age"].values, [61.5, np.nan, 48])
    drawn = data.annotations("Büro/ä 1")["Ödem", "reference"]
    assert drawn.boxes == ((2.0, 1.5, 10.0, 11.5), (20.0, 30.0, 25.0, 35.0))
    assert drawn.points == ((4.0, 3.0),)


@pytest.mark.parametrize(("name", "cell", "words"), [
    ("a.PNG", "a.png", "did you mean 'a.PNG'"), ("radiograph.png", "radiograf.png", "did you"),
    ("Img/a.png", "IMG/a.png", "did you mean 'Img'"),
    ("a.png", "C:\\data\\a.png", "drive of Windows"), ("a.png", "zzzzzz.png", "paths start at"),
])
def test_what_is_meant_by_a_path_that_is_none(name: str, cell: str, words: str,
                                              tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    Image.fromarray(np.zeros(SHAPE, np.uint8)).save(tmp_path / name)
    (tmp_path / "m.csv").write_text(f"path,Edema\n{cell},1\n")
    with pytest.raises(DataError, match=words):
        manifest(tmp_path / "m.csv")
