"""Tables that are small when packed and large when read, and what of them is kept."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from saltrust.datasets.files import csv_tables
from saltrust.datasets.files.csv_tables import read_csv
from saltrust.errors import DataError


def test_rows_are_read_across_pieces_as_in_one(tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text("a,b\n" + "".join(f"{k}, x\n\n" for k in range(9)) + "9\n")
    whole = read_csv(tmp_path / "a.csv")
    monkeypatch.setattr(csv_tables, "_ROWS_AT_ONCE", 2)
    pieces = read_csv(tmp_path / "a.csv")
    assert pieces == whole
    assert whole.cells[-1] == ["9", ""]
    assert whole.numbers == list(range(2, 21, 2))


@pytest.mark.parametrize(("name", "content"), [
    ("a.csv", b"a,b\n" + b"\n" * 60), ("a.csv", b"a,b\r" + b"1,2\r" * 60),
    ("a.csv", b"a,b\r\n" + b"1,2\r\n" * 60), ("a.csv", b'a,b\n"' + b"1,2\n" * 60 + b'",1\n')])
def test_lines_are_counted_before_they_are_read(name: str, content: bytes, tmp_path: Path,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(csv_tables, "MOST_ROWS", 60)
    with pytest.raises(DataError, match=r"a\.csv has 6[0-9] lines, more than the 60 "):
        read_csv(tmp_path / name)


def test_cells_are_counted_before_they_are_read(tmp_path: Path,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"a,b,c\n" + b"1,2,3\n" * 300
    (tmp_path / "a.csv").write_bytes(content)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(content))
    monkeypatch.setattr(csv_tables, "MOST_PACKED_CELLS", 900)
    assert len(read_csv(tmp_path / "a.csv").cells) == 300
    with pytest.raises(DataError, match=r"a\.csv\.gz has [\d,]+ cells, more than 900; .*unpack it"):
        read_csv(tmp_path / "a.csv.gz")
    monkeypatch.setattr(csv_tables, "MOST_CELLS", 900)
    with pytest.raises(DataError, match=r"a\.csv has [\d,]+ cells, more than 900; [^,]*$"):
        read_csv(tmp_path / "a.csv")


def test_no_cell_ends_at_a_nul_character(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"image,Edema\na\0b,1\n")
    with pytest.raises(DataError, match=r"a\.csv holds NUL characters"):
        read_csv(tmp_path / "a.csv")
