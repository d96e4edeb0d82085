"""How tables are written is seen in their first lines."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from saltrust.datasets.files.csv_tables import read_csv
from saltrust.errors import DataError
from saltrust.table_dialect import TableDialect, dialect_of


def seen(folder: Path, content: str | bytes) -> TableDialect:
    path = folder / "a.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return dialect_of(path)


@pytest.mark.parametrize(("content", "delimiter"), [
    ("a,b\n1,2\n", ","), ("a;b\n1;2\n", ";"), ("a\tb\n1\t2\n", "\t"), ("a|b\n1|2\n", "|"),
    ("a\n1\n", ","), ("", ","), ("\n\n", ","), ("sep=;\na;b\n1;2\n", ";"), ("sep=\t\na\tb\n", "\t"),
    ('"a;x";"b,y,z"\n"1;3";"2,4,5"\n', ";"), ("path;Lung, Opacity\na;1\n", ";"),
    ("path,boxes (x;y;w;h)\na,1\n", ","), ("path,Labels\na,Edema|Mass|Nodule\n", ","),
    ("a;b;c\n0,5;1,5;2,5\n", ";"), ("a,b\n1 2 3 4; 5 6 7 8,1\n", ","),
])
def test_the_header_says_what_divides_it(content: str, delimiter: str, tmp_path: Path) -> None:
    assert seen(tmp_path, content).delimiter == delimiter


@pytest.mark.parametrize(("content", "decimal"), [
    ("a;b\n0,5;x\n", ","), ("a;b\n0.5;x\n", "."), ("a;b\n0,5;0.5\n", "."), ("a,b\n0,5\n", "."),
    ('a;b\n1;"10,5 2 3 4; 5 6 7 8"\n', ","), ("a;b\nSmith, J;1\n", "."), ("a\tb\n1\t-2,0\n", ","),
])
def test_numbers_say_their_decimal_sign(content: str, decimal: str, tmp_path: Path) -> None:
    assert seen(tmp_path, content).decimal == decimal


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be",
                                      "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
def test_a_table_is_the_same_in_every_dialect(encoding: str, end: str, sign: str,
                                              tmp_path: Path) -> None:
    rows = [["path", "Ödem", "note"], ["ü.png", "1", "x y"], ["b.png", "0.5", ""]]
    content = "".join(sign.join(row) + end for row in rows).encode(encoding)
    (tmp_path / "a.csv").write_bytes(content)
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(content))
    for name in ("a.csv", "b.csv.gz"):
        table = read_csv(tmp_path / name)
        assert [table.columns, *table.cells] == rows
        assert table.numbers == [2, 3]


def test_cells_say_the_same_however_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        '\n\nsep=;\n\ufeff id ; "age" ;Unnamed: 0;o\u0308\n="007"; 1,5 ;0;\u22121\n')
    table = read_csv(tmp_path / "a.csv")
    assert table.columns == ["id", "age", "ö"]
    assert table.cells == [["007", "1.5", "-1"]]


def test_an_index_that_was_made_a_column_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("index,a\n0,x\n1,y\n")
    assert read_csv(tmp_path / "a.csv").columns == ["a"]
    (tmp_path / "a.csv").write_text("index,a\n1,x\n0,y\n")
    assert read_csv(tmp_path / "a.csv").columns == ["index", "a"]


def test_blank_lines_above_the_header_count_as_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("\n\na,b\n1,2\n")
    table = read_csv(tmp_path / "a.csv")
    assert (table.columns, table.cells, table.numbers) == (["a", "b"], [["1", "2"]], [4])


@pytest.mark.parametrize(("content", "words"), [
    (b"PK\x03\x04" + b"x" * 99, "an Excel workbook or another packed file.*save it as CSV"),
    (b"\xd0\xcf\x11\xe0\xa1", "an Excel workbook of the old kind"),
    (b"\x1f\x8b\x08", "packed by gzip"), (b"  <!DOCTYPE html>", "a web page"),
    (b"PAR1", "a Parquet file"), ("a,b\nM\xfcller,1\n".encode("cp1252"), "line 2.*'Müller,1'"),
    ("a,b\nÄ,1\n".encode("utf-16")[:-1], "is not UTF-16 text"), (b"a,a \n1,2\n", "more than once"),
])
def test_what_is_no_table_is_named(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        read_csv(tmp_path / "a.csv")
    assert "a.csv" in str(caught.value)
    assert "\n" not in str(caught.value)
