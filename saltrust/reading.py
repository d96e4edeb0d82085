"""What files of others are read through: whatever goes wrong ends in one sentence.

Readers meet more kinds of exception than a list can name: numbers of 5,000 digits, tables nested a
thousand deep, names longer than a file system takes.  So a reader states once which file it is at
and what the way out is, around all that it evaluates.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from saltrust.errors import DataError, SaltrustError, UsageError

#: No text that is read whole (a study, a card) is larger; those of real studies have kilobytes.
MOST_TEXT_BYTES = 64 * 2**20
#: Of one name of a file or folder, on all file systems in use.
MOST_NAME_BYTES = 255
#: Of a whole path, as Linux takes it.
MOST_PATH_BYTES = 4095
#: What is often given in the place of a text, by how it begins, in lower case.
_OTHER_FILES = {
    b"pk\x03\x04": "an Excel workbook or another packed file",
    b"\xd0\xcf\x11\xe0": "an Excel workbook of the old kind",
    b"\x1f\x8b": "packed by gzip (call it NAME.gz)", b"%pdf": "a PDF",
    b"{\\rtf": "a document of a word processor",
    b"<!doctype html": "a web page, as comes where a download asks for a login",
    b"<html": "a web page, as comes where a download asks for a login", b"par1": "a Parquet file",
}
#: A drive of Windows, or a share of its network.
WINDOWS_PLACE = re.compile(r"[A-Za-z]:[\\/]|\\\\")
#: Longest piece of a value that a sentence shows.
_MOST_SHOWN = 200


def shown(value: object, most: int = _MOST_SHOWN) -> str:
    """A value of a file as it stands in a sentence: short, and never an error of its own.

    Parameters
    ----------
    value : object
    most : int
        Characters.

    Examples
    --------
    >>> shown([1, "a"]), shown("abcdefghij", 8)
    ("[1, 'a']", "'abcd...")
    >>> shown(10**5000)
    'an int that cannot be shown'
    """
    try:
        text = repr(value)
    except (ValueError, RecursionError, MemoryError):
        # Numbers of more digits than Python prints, and what holds them.
        article = "an" if type(value).__name__[:1] in "aeiou" else "a"
        return f"{article} {type(value).__name__} that cannot be shown"
    return text if len(text) <= most else text[:most - 3] + "..."


def reason_of(error: BaseException) -> str:
    r"""The first line of what an error says, in words where its kind alone says it.

    Examples
    --------
    >>> reason_of(ValueError("bad\nvery bad")), reason_of(RecursionError("maximum ..."))
    ('bad', 'it is nested too deeply')
    >>> reason_of(KeyError("a")), reason_of(MemoryError())
    ("KeyError: 'a'", 'it asks for more memory than there is')
    """
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, MemoryError):
        return "it asks for more memory than there is"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is no text in {error.encoding.upper()}"
    text = " ".join(str(error).strip().partition("\n")[0].split())
    if not text or isinstance(error, KeyError | IndexError):
        text = f"{type(error).__name__}: {text}".removesuffix(": ")
    return text if len(text) <= 2 * _MOST_SHOWN else text[:2 * _MOST_SHOWN - 3] + "..."


@contextmanager
def reading(what: str, way_out: str, error: type[SaltrustError] = DataError,
            verb: str = "read") -> Iterator[None]:
    """Turn every exception of a block that reads a file into one sentence.

    Parameters
    ----------
    what : str
        The file and what it is, such as ``"model card runs/net/model.json"``.
    way_out : str
        Follows a semicolon.
    error : type
        What is raised.
    verb : str
        What cannot be done with it.

    Raises
    ------
    SaltrustError
        Those of the block as they are; all others as ``error``, from the original.

    Examples
    --------
    >>> with reading("model card a.json", "train again"):
    ...     {}["findings"]
    Traceback (most recent call last):
    saltrust.errors.DataError: model card a.json cannot be read (KeyError: 'findings'); train again
    """
    try:
        yield
    except SaltrustError:
        raise
    except Exception as original:
        raise error(f"{what} cannot be {verb} ({reason_of(original)}); {way_out}") from original


def check_path(text: str | Path, what: str, error: type[SaltrustError] = UsageError) -> None:
    """Refuse a path that no file system can have; asking whether it exists would end badly.

    Parameters
    ----------
    text : str or pathlib.Path
    what : str
        What it is of, for the sentence.
    error : type
        What is raised.

    Raises
    ------
    SaltrustError
        If it holds what no path holds, or is longer than any.
    """
    place = str(text)
    if "\0" in place:
        raise error(f"{what} {shown(place)} holds a NUL character, which no path has; take it out")
    content = place.encode("utf-8", "surrogatepass")
    if len(content) > MOST_PATH_BYTES or max(map(len, content.split(b"/"))) > MOST_NAME_BYTES:
        raise error(f"{what} {shown(place)} is longer than a path may be ({MOST_NAME_BYTES} bytes "
                    f"for a name, {MOST_PATH_BYTES:,} in all); shorten it")


def existing_path(folder: Path, text: str) -> Path:
    r"""The file or folder that a text means, as the file system spells it.

    Parameters
    ----------
    folder : pathlib.Path
        Where relative paths start.
    text : str
        Also with the backslashes of Windows, and with letters and their accents in one piece or
        in two (Unicode's normal forms C and D: the second is macOS's).

    Returns
    -------
    pathlib.Path
        Where nothing exists, the text as it stands, with slashes.
    """
    plain = folder / text
    if os.path.lexists(plain) or (text.isascii() and "\\" not in text):
        return plain
    slashed = PurePosixPath(text.replace("\\", "/"))
    place = folder
    for part in slashed.parts:
        forms = dict.fromkeys((part, unicodedata.normalize("NFC", part),
                               unicodedata.normalize("NFD", part)))
        spelled = next((form for form in forms if os.path.lexists(place / form)), None)
        if spelled is None:
            return folder / slashed
        place = place / spelled
    return place


def read_text(path: Path, most: int = MOST_TEXT_BYTES) -> str:
    """A file of text in UTF-8, or in UTF-16 as Windows writes it; inside :func:`reading`.

    Byte order marks are left out, and lines end in a line feed, whatever they ended in.

    Parameters
    ----------
    path : pathlib.Path
    most : int
        Bytes; a larger file is refused before it is read.

    Raises
    ------
    ValueError
        If the file is larger, or is no such text; the boundary says which file.
    """
    with path.open("rb") as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most:,} bytes, the most that such a file may have")
    try:
        text = content.decode(encoding_of(content))
    except UnicodeDecodeError as error:
        raise ValueError(_no_text(content, error)) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def encoding_of(head: bytes) -> str:
    r"""The encoding of a text, from its byte order mark or the zeros of UTF-16.

    Parameters
    ----------
    head : bytes
        Its beginning.

    Returns
    -------
    str
        UTF-8 where nothing speaks for another.

    Examples
    --------
    >>> encoding_of(b"\xff\xfea\0"), encoding_of(b"a\0b\0"), encoding_of(b"a")
    ('utf-16', 'utf-16-le', 'utf-8-sig')
    """
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    even, odd = head[0:64:2], head[1:64:2]
    if odd and not any(odd) and all(even):
        return "utf-16-le"
    if odd and not any(even) and all(odd):
        return "utf-16-be"
    return "utf-8-sig"


def _no_text(content: bytes, error: UnicodeDecodeError) -> str:
    """What is wrong with a text, and how its line reads in the code page of Windows."""
    start = content.rfind(b"\n", 0, error.start) + 1
    line = content[start:start + 200].split(b"\n")[0].decode("cp1252", "replace").strip()
    return (f"byte {error.start}, in line {content.count(bytes([10]), 0, error.start) + 1}, is no "
            f"text in UTF-8; in Windows-1252 the line reads {shown(line, 60)}: if that is right, "
            "save the file as UTF-8")


def refuse_other_files(head: bytes, path: Path, way_out: str) -> None:
    """Refuse what is no plain text but another kind of file, in words.

    Parameters
    ----------
    head : bytes
        Its beginning.
    path : pathlib.Path
    way_out : str

    Raises
    ------
    DataError
    """
    for mark, kind in _OTHER_FILES.items():
        if head.lstrip()[:32].lower().startswith(mark):
            raise DataError(f"{path} is {kind}, not a text file; {way_out}")


def read_json(path: Path, most: int = MOST_TEXT_BYTES) -> Any:
    """What a JSON file holds; inside :func:`reading`.

    Parameters
    ----------
    path : pathlib.Path
    most : int
        Bytes.
    """
    return json.loads(read_text(path, most))
