"""Columns of a table: dialects, rows that are cut off, cells that are converted once."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from saltrust.datasets.releases.columns import Columns, age_values, pixel_values, read_columns
from saltrust.errors import DataError

PLAIN = 'id,text,age\n a ,"x, y",061Y\n\nb,,6M\n,,\nc,"two\nlines",nan\n'


def read(path: Path, content: bytes) -> Columns:
    path.write_bytes(content)
    return read_columns(path, ["id", "age"], ["text", "more"])


@pytest.mark.parametrize("content", [
    PLAIN.encode(), PLAIN.encode("utf-8-sig"), PLAIN.replace("\n", "\r\n").encode(),
    b"age;id;text\n061Y;a;\"x, y\"\n\n6M;b;\n;;\nnan;c;\"two\nlines\"\n",
    b"age\tid\ttext\n061Y\ta\tx, y\n\n6M\tb\t\n\t\t\nnan\tc\t\"two\nlines\"\n",
    PLAIN.encode("utf-16"),
    b"sep=;\nage;id;text\n61,0;a;\"x, y\"\n\n0,5;b;\n;;\nnan;c;\"two\nlines\"\n"],
    ids=["plain", "byte order mark", "windows", "semicolons", "tabs", "UTF-16", "decimal commas"])
def test_every_dialect_gives_the_same_cells_and_rows(tmp_path: Path, content: bytes) -> None:
    columns = read(tmp_path / "a.csv", content)
    assert columns.text("id").tolist() == ["a", "b", "c"]
    assert [text.replace("\r", "") for text in columns.text("text")] == ["x, y", "", "two\nlines"]
    assert columns.text("more").tolist() == [""] * 3
    assert columns.frame.index.tolist() == [2, 4, 6]
    np.testing.assert_array_equal(age_values(columns, "age"), [61.0, 0.5, np.nan])


def test_a_packed_table_is_read(tmp_path: Path) -> None:
    columns = read(tmp_path / "a.csv.gz", gzip.compress(PLAIN.encode()))
    assert columns.names == ["id", "text", "age"]
    assert len(columns) == 3


def test_the_order_of_a_file_in_pieces_is_kept(tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saltrust.datasets.releases.columns._ROWS_AT_ONCE", 7)
    rows = [f"{k},{k % 3}" for k in range(50)]
    columns = read(tmp_path / "a.csv", "\n".join(["id,age", *rows]).encode())
    assert columns.text("id").tolist() == [str(k) for k in range(50)]
    assert columns.frame.index.tolist() == list(range(2, 52))
    assert age_values(columns, "age").tolist() == [k % 3 for k in range(50)]


def test_each_different_cell_is_converted_once_with_its_first_row(tmp_path: Path) -> None:
    columns = Columns(tmp_path, ["a"], pd.DataFrame({"a": ["b", "a", "b"] * 1000}))
    seen: list[tuple[str, int]] = []

    def convert(text: str, row: int) -> float:
        seen.append((text, row))
        return float(len(seen))

    assert columns.values("a", convert).tolist() == [1.0, 2.0, 1.0] * 1000
    assert seen == [("b", 0), ("a", 1)]


@pytest.mark.parametrize(("content", "words"), [
    (b"", "is empty"),
    (b"\n\n", "is empty"),
    (b"id,age\n", "no rows"),
    (b"id,age\na,1,2\n", "row 2 has more cells"),
    (b"id,age\na,1\nb\n", "row 3 has fewer cells"),
    (b"id,years\na,1\n", "no column 'age'"),
    (b"id,age,id\na,1,b\n", "'id' more than once"),
    (b"id,age\na,\xff\n", "not UTF-8"),
    (b"id,age\na,\0\n", "NUL"),
    (b'id,age\na,"1\nb,2\n', "row 2: age is"),
    (b"id,age\na,-4\n", "row 2: age is '-4'"),
    (b"id,age\na,1\nb,sixty\n", "row 3: age is 'sixty'"),
])
def test_what_is_wrong_is_said(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        age_values(read(tmp_path / "a.csv", content), "age")
    assert "a.csv" in str(caught.value)
    with pytest.raises(DataError, match="does not exist"):
        read_columns(tmp_path / "absent.csv", ["id"])


@pytest.mark.parametrize(("cell", "expected"), [("2544", 2544), ("2544.0", 2544), ("", 0)])
def test_pixels_are_whole_numbers(tmp_path: Path, cell: str, expected: int) -> None:
    columns = read(tmp_path / "a.csv", f"id,age\na,{cell}\n".encode())
    assert pixel_values(columns, "age").tolist() == [expected]


@pytest.mark.parametrize("cell", ["0", "-3", "12.5", "9" * 40, "99999999999", "1e3"])
def test_other_numbers_are_no_pixels(tmp_path: Path, cell: str) -> None:
    with pytest.raises(DataError, match="row 2"):
        pixel_values(read(tmp_path / "a.csv", f"id,age\na,{cell}\n".encode()), "age")
