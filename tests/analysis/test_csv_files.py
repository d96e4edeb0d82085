"""Tables that others wrote are refused before they take memory, in a sentence that says why."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from saltrust import table_sizes
from saltrust.analysis.csv_files import read_header, read_table
from saltrust.errors import DataError


def zipped(content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", content)
    return packed.getvalue()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "a.csv": bytes, "a.csv.gz": gzip.compress, "a.csv.bz2": bz2.compress,
    "a.csv.xz": lzma.compress, "a.csv.zip": zipped}


@pytest.mark.parametrize("name", PACKERS)
def test_a_table_is_read_however_it_is_packed(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(PACKERS[name]("\ufefffinding,threshold\r\nÖdem,0.5\r\nE,\r\n".encode()))
    assert read_header(path) == ["finding", "threshold"]
    table = read_table(path, dtype=str, missing=())
    assert table.to_dict("list")["finding"] == ["Ödem", "E"]


@pytest.mark.parametrize("name", [name for name in PACKERS if name != "a.csv"])
def test_what_inflates_is_refused_while_it_is_unpacked(
        name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / name
    monkeypatch.setattr(table_sizes, "_HARMLESS_BYTES", 2**17)
    path.write_bytes(PACKERS[name](b"a,b\n" * 2**18))
    with pytest.raises(DataError, match=r"becomes more than [\d,]+ when it is read.*leave out"):
        read_header(path)


def test_a_large_table_that_is_no_bomb_is_read(tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"a,b\n" + b"1,2\n" * 1000)
    monkeypatch.setattr(table_sizes, "MOST_BYTES", 4004)
    assert len(read_table(path, dtype=str)) == 1000
    monkeypatch.setattr(table_sizes, "MOST_BYTES", 4003)
    with pytest.raises(DataError, match="more than 4,003"):
        read_header(path)


@pytest.mark.parametrize(("content", "words"), [
    (b",".join(b"c%d" % k for k in range(10_001)) + b"\n1\n", r"10,001 columns or more.*10,000"),
    (b"a,b\n" + b"1," * 2**20 + b"\n", "columns or more"),
    (b'a,b\n"' + b"x" * (5 * 2**20) + b'",1\n', "line of more than 4,194,304 bytes"),
    (b"a,a\n1,2\n", "column 'a' more than once"),
    (b"a,b\n1,2,3\n", "more cells than the header"),
    (b"", "is empty"), (b"\xff\xfea", "not UTF-16"), (b"a\x00,b\n1,2\n", "NUL"),
    (b"a,b\nM\xfcller,1\n", r"not UTF-8 text \(line 2, byte 1\).*Windows-1252.*'Müller,1'"),
    (b"PK\x03\x04xx", "an Excel workbook"), (b"\x1f\x8b\x08", "packed by gzip"),
    (b'a,b\n"1', "cannot be read as CSV"),
])
def test_what_is_no_table_of_scores(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        read_table(path, dtype=str)
    assert "a.csv" in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(("sign", "decimal"), [(",", "."), (";", ","), ("\t", "."), (";", ".")])
def test_numbers_are_the_same_in_every_dialect(encoding: str, sign: str, decimal: str,
                                               tmp_path: Path) -> None:
    rows = [["finding", "Größe", "threshold"], ["Ödem, stark", "1.5", "0.25"], ["Mass", "", "0.5"]]
    lines = [sign.join(f'"{cell}"' if sign in cell else cell.replace(".", decimal) for cell in row)
             for row in rows]
    (tmp_path / "a.csv").write_bytes("\r\n".join(lines).encode(encoding))
    table = read_table(tmp_path / "a.csv", dtype={"threshold": str})
    assert table["Größe"].tolist()[0] == 1.5
    assert table["threshold"].tolist() == ["0.25", "0.5"]
    assert table["finding"].tolist() == ["Ödem, stark", "Mass"]


def test_columns_as_many_as_there_may_be(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(",".join(f"c{k}" for k in range(10_000)) + "\n")
    assert len(read_header(path)) == 10_000
