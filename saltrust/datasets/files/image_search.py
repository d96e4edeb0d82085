"""Radiographs below a folder: links followed, DICOM known by content, what is left out counted."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydicom.filereader import read_file_meta_info

from saltrust.datasets.files.radiograph_files import RADIOGRAPH_SUFFIXES
from saltrust.errors import DataError

#: What systems leave in folders by themselves; names that begin with a dot likewise.
_OF_SYSTEMS = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir",
                         "$recycle.bin", "system volume information", "lost+found"})
#: The index of a medium of DICOM files.
_DIRECTORY = "DICOMDIR"
_BEGINNINGS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")


def subfolders(parent: Path) -> list[Path]:
    """Folders in a folder, links to such among them, but for hidden ones and those of systems."""
    return [Path(entry.path) for entry in _entries(parent) if entry.is_dir()]


def files_in(parent: Path) -> list[Path]:
    """Files in a folder itself, links among them, but for hidden ones and those of systems."""
    return [Path(entry.path) for entry in _entries(parent) if not entry.is_dir()]


def files_below(root: Path) -> Iterator[Path]:
    """All files below a folder, in the order of their names, links to files and folders followed.

    A link that leads back to a folder above itself is not followed.  Hidden files and those that
    systems leave by themselves (``.DS_Store``, ``Thumbs.db``, ``__MACOSX``) are passed over; a
    link to nothing is a file here.

    Parameters
    ----------
    root : pathlib.Path

    Yields
    ------
    pathlib.Path
        Below ``root``, by the name of the link where there is one.

    Raises
    ------
    DataError
        If a folder may not be read.
    """
    waiting: list[tuple[Path, frozenset[tuple[int, int]]]] = [(root, frozenset())]
    while waiting:
        here, above = waiting.pop()
        state = here.stat()
        place = (state.st_dev, state.st_ino)
        if place in above:
            continue
        inner = []
        for entry in _entries(here):
            if entry.is_dir():
                inner.append((Path(entry.path), above | {place}))
            else:
                yield Path(entry.path)
        # The last that is put there is looked through first.
        waiting += reversed(inner)


def without_doubles(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Paths that lead to different files, and those that lead to one of these again.

    Returns
    -------
    kept, doubles : list of pathlib.Path
        In the order given.  Of several paths to a file, the one without a link is kept.
    """
    by_place: dict[tuple[int, int], list[Path]] = defaultdict(list)
    for path in paths:
        state = path.stat()
        by_place[state.st_dev, state.st_ino].append(path)
    doubles: set[Path] = set()
    for group in by_place.values():
        if len(group) == 1:
            continue
        # Names of one file without a link between them (hard links) are files as good as others.
        taken: set[Path] = set()
        for path in sorted(group, key=lambda path: path.absolute() != path.resolve()):
            if path.resolve() in taken:
                doubles.add(path)
            taken.add(path.resolve())
    return [path for path in paths if path not in doubles], [
        path for path in paths if path in doubles]


def is_radiograph_file(path: Path) -> bool:
    """Whether a file is to be read as a radiograph, by its ending or by how it begins.

    DICOM goes without an ending often (``IM0001``, ``1.2.840.113.7``): it is known by ``DICM``
    after 128 bytes, and left out where it says that it is no image, such as ``DICOMDIR`` or a
    report.  Without any ending, PNG and JPEG are known too.
    """
    if not path.is_file() or path.name.upper() == _DIRECTORY:
        return False
    if path.suffix.lower() in RADIOGRAPH_SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            beginning = file.read(132)
    except OSError:
        return False
    if beginning[128:] == b"DICM":
        return _may_be_image(path)
    return not path.suffix and beginning.startswith(_BEGINNINGS)


def image_name(path: Path) -> str:
    """A path, or the name of a file, without the ending of a radiograph and nothing else.

    Examples
    --------
    >>> image_name(Path("a/1.2.840.DCM")), image_name(Path("1.2.840"))
    ('a/1.2.840', '1.2.840')
    """
    known = path.suffix.lower() in RADIOGRAPH_SUFFIXES
    return (path.with_suffix("") if known else path).as_posix()


def counted(paths: Sequence[Path], root: Path) -> str:
    """How many files, by their endings, and the first of them, for a sentence.

    Examples
    --------
    >>> counted([Path("x/a.txt"), Path("x/b.TXT"), Path("x/IM0")], Path("x"))
    '3 files: 2 .txt, 1 without ending (first: a.txt)'
    """
    endings = ", ".join(f"{count} {ending}" for ending, count in _endings(paths).items())
    return (f"{len(paths)} file{'s' if len(paths) > 1 else ''}: {endings} "
            f"(first: {paths[0].relative_to(root)})")


def described(paths: Sequence[Path], root: Path) -> dict[str, Any]:
    """The same as plain values, for the description of a data set."""
    return {"files": len(paths), "endings": _endings(paths),
            "first": str(paths[0].relative_to(root))}


def _endings(paths: Sequence[Path]) -> dict[str, int]:
    return dict(Counter(path.suffix.lower() or "without ending" for path in paths).most_common(8))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries
                           if not entry.name.startswith(".")
                           and entry.name.lower() not in _OF_SYSTEMS), key=lambda item: item.name)
    except PermissionError:
        raise DataError(f"the folder {folder} cannot be read; check its permissions, or move it "
                        "away") from None


def _may_be_image(path: Path) -> bool:
    """Whether a DICOM file is an image, as far as it says what it is."""
    try:
        kind = read_file_meta_info(path).get("MediaStorageSOPClassUID")
        name = "" if kind is None else str(kind.name)
    except Exception:  # noqa: BLE001 - what is damaged is no image of another kind
        return True
    # The name of a class that is not known is its number.
    return not name or name[0].isdigit() or "Image" in name
