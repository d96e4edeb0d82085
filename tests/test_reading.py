"""Texts and paths as other systems write them."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from saltrust.reading import existing_path, read_json, read_text

TEXT = 'name = "Ödem"\nkind = 1\n'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_text_is_the_same_in_every_encoding(encoding: str, end: str, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(TEXT.replace("\n", end).encode(encoding))
    assert read_text(tmp_path / "a.toml") == TEXT


def test_json_may_have_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes('{"ä": 1}'.encode("utf-16"))
    assert read_json(tmp_path / "a.json") == {"ä": 1}


def test_a_code_page_of_windows_is_named_and_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(TEXT.encode("cp1252"))
    with pytest.raises(ValueError, match=r"byte 8, in line 1, .* Windows-1252 .*Ödem.*save the "
                                         "file as UTF-8"):
        read_text(tmp_path / "a.toml")


@pytest.mark.parametrize("stored", ["NFC", "NFD"])
@pytest.mark.parametrize("asked", ["NFC", "NFD"])
@pytest.mark.parametrize("sign", ["/", "\\"])
def test_a_path_is_where_its_letters_say(stored: str, asked: str, sign: str,
                                         tmp_path: Path) -> None:
    # A folder in one form, a file in the other, as an archive of a Mac leaves them.
    folder = tmp_path / unicodedata.normalize(stored, "Büro") / "Ångström"
    folder.mkdir(parents=True)
    (folder / unicodedata.normalize(stored, "ü.png")).write_text("")
    text = unicodedata.normalize(asked, "Büro/Ångström/ü.png").replace("/", sign)
    assert existing_path(tmp_path, text) == folder / unicodedata.normalize(stored, "ü.png")
    assert existing_path(tmp_path, "nö\\a.png") == tmp_path / "nö" / "a.png"


def test_a_name_with_a_backslash_is_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "a\\b.png").write_text("")
    assert existing_path(tmp_path, "a\\b.png") == tmp_path / "a\\b.png"
