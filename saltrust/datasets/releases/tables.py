"""Which file of a release's folder is which table."""

from __future__ import annotations

import re
from pathlib import Path

from saltrust.errors import DataError, UsageError


def find_table(folder: Path, pattern: str, what: str, *, needed: bool = True) -> Path | None:
    """The one file of a folder whose name matches.

    Parameters
    ----------
    folder : pathlib.Path
    pattern : str
        Regular expression of the whole name, a trailing ``.gz`` aside; case does not matter.
    what : str
        What it is called in the release, for the sentence.
    needed : bool
        Whether there has to be one.

    Raises
    ------
    UsageError
        If the folder does not exist.
    DataError
        If no file matches that is needed, or several do.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}; correct path under [data]")
    whole = re.compile(f"(?:{pattern})(?:\\.gz)?", re.IGNORECASE)
    matching = sorted(path for path in folder.iterdir()
                      if whole.fullmatch(path.name) and path.is_file())
    if len(matching) > 1:
        raise DataError(f"{matching[0]} and {matching[1]} are both {what}; name one as path under "
                        "[data], or move the other away")
    if not matching and needed:
        raise DataError(f"{folder} has no {what}; correct path under [data] or add the file")
    return matching[0] if matching else None


def table_and_folder(path: Path, pattern: str, what: str) -> tuple[Path, Path]:
    """The table that ``path`` names, itself or as the one of its folder, and the folder.

    Raises
    ------
    UsageError, DataError
        As :func:`find_table`.
    """
    if path.is_file():
        return path, path.parent
    table = find_table(path, pattern, what)
    assert table is not None
    return table, path
