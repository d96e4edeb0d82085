"""Where the radiographs of a release lie: every folder is listed once, no file looked up alone."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from saltrust.datasets.files.radiograph_files import RADIOGRAPH_SUFFIXES
from saltrust.errors import DataError, UsageError

_log = logging.getLogger(__name__)

#: Folders below the one that is named; the releases have five.
_DEPTH = 10


@dataclass
class RadiographFiles:
    """Files of images.

    Attributes
    ----------
    paths : dict
        Image -> path.
    others : int
        Radiographs that are of no image of the tables.
    """

    paths: dict[str, str] = field(default_factory=dict)
    others: int = 0


@dataclass(frozen=True)
class Place:
    """How a release lays out its radiographs.

    Attributes
    ----------
    folders : re.Pattern
        Names of the folders beside the tables that hold radiographs; elsewhere nobody looks
        unless the study names the folder.
    name : callable
        From a path without ending to the name of the image.
    """

    folders: re.Pattern[str]
    name: Callable[[str], str] = os.path.basename


def find_files(wanted: Collection[str], place: Place, *, beside: Path,
               images: Path | None) -> RadiographFiles:
    """The files of the images that are on disk.

    Parameters
    ----------
    wanted : collection of str
        Images of the tables.
    place : Place
    beside : pathlib.Path
        Folder of the tables.
    images : pathlib.Path or None
        Folder of the radiographs, which is searched whole; None: the folders of the release
        beside its tables, where there are any.

    Returns
    -------
    RadiographFiles
        Of no image where ``images`` is None and nothing lies beside the tables.

    Raises
    ------
    UsageError
        If ``images`` is no folder.
    DataError
        If ``images`` holds none of the images, or two files are of one image.
    """
    if images is not None and not images.is_dir():
        raise UsageError(f"there is no folder {images} of radiographs; correct images under [data] "
                         "or leave it out to have labels alone")
    wanted = set(wanted)
    files = RadiographFiles()
    for path in _walk(str(images or beside), None if images else place.folders):
        stem, dot, ending = path.rpartition(".")
        if dot + ending.lower() not in RADIOGRAPH_SUFFIXES:
            continue
        image = place.name(stem)
        if image not in wanted:
            files.others += 1
            continue
        known = files.paths.get(image)
        if known is not None and os.path.realpath(known) != os.path.realpath(path):
            raise DataError(f"{known} and {path} are of one image, {image}; leave one of them out, "
                            "or name the folder of the radiographs as images under [data]")
        files.paths[image] = path
    if images is not None and not files.paths:
        raise DataError(f"{images} holds none of the {len(wanted):,} radiographs ({files.others:,} "
                        f"others; an image of the tables is {min(wanted)}); correct images under "
                        "[data] or leave it out to have labels alone")
    if files.others:
        _log.warning("%d radiographs below %s are of no image of the tables", files.others,
                     images or beside)
    return files


def _walk(root: str, folders: re.Pattern[str] | None) -> Iterator[str]:
    """Paths of all files, links followed; of folders directly below, those that match."""
    waiting = [(root, 0, frozenset({os.path.realpath(root)}))]
    while waiting:
        folder, depth, way = waiting.pop()
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.startswith((".", "__MACOSX")):
                    continue
                if not entry.is_dir():
                    if entry.is_file():
                        yield entry.path
                    continue
                if depth >= _DEPTH or (depth == 0 and folders
                                       and not folders.fullmatch(entry.name)):
                    continue
                inner = way
                if entry.is_symlink():
                    # A link to a folder on the way to it would never end.
                    goal = os.path.realpath(entry.path)
                    if goal in way:
                        continue
                    inner = way | {goal}
                waiting.append((entry.path, depth + 1, inner))
