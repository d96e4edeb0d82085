"""What files of others are read through: whatever goes wrong ends in one sentence.

Readers meet more kinds of exception than a list can name: numbers of 5,000 digits, tables nested a
thousand deep, names longer than a file system takes.  So a reader states once which file it is at
and what the way out is, around all that it evaluates.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from saltrust.errors import DataError, SaltrustError, UsageError

#: No text that is read whole (a study, a card) is larger; those of real studies have kilobytes.
MOST_TEXT_BYTES = 64 * 2**20
#: Of one name of a file or folder, on all file systems in use.
MOST_NAME_BYTES = 255
#: Of a whole path, as Linux takes it.
MOST_PATH_BYTES = 4095
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


def read_text(path: Path, most: int = MOST_TEXT_BYTES) -> str:
    """A file of text in UTF-8, a byte order mark left out; inside :func:`reading`.

    Parameters
    ----------
    path : pathlib.Path
    most : int
        Bytes; a larger file is refused before it is read.

    Raises
    ------
    ValueError
        If the file is larger; the boundary says which file.
    """
    with path.open("rb") as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most:,} bytes, the most that such a file may have")
    return content.decode("utf-8-sig")


def read_json(path: Path, most: int = MOST_TEXT_BYTES) -> Any:
    """What a JSON file holds; inside :func:`reading`.

    Parameters
    ----------
    path : pathlib.Path
    most : int
        Bytes.
    """
    return json.loads(read_text(path, most))
