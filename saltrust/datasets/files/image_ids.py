"""Radiographs and splits of data sets whose images go by an id, with or without a file ending."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from saltrust.datasets.files.csv_tables import parse_split, read_csv
from saltrust.datasets.files.image_search import counted, files_below, is_radiograph_file
from saltrust.datasets.files.radiograph_files import RADIOGRAPH_SUFFIXES
from saltrust.errors import DataError, UsageError

_log = logging.getLogger(__name__)

_ID_COLUMNS = ("imageid", "dicomid", "image", "patientid", "id")


def read_splits(path: str | Path, images: list[str]) -> tuple[dict[str, str], int]:
    """Read which image belongs to which split.

    Ids match after the ending of a radiograph (``.png``, ``.dcm``) is removed, and nothing else,
    since ids contain dots.

    Returns
    -------
    split_of : dict
        Of the images that the file names.
    unknown : int
        Number of ids that are none of ``images``; logged.

    Raises
    ------
    DataError
        If there is no column of ids or splits, a split is not valid, an id has two splits, or
        none of the ids is known.
    """
    table = read_csv(path)
    plain = {column.lower().replace("_", "").replace(" ", ""): column for column in table.columns}
    id_column = next((plain[name] for name in _ID_COLUMNS if name in plain), None)
    if id_column is None or "split" not in plain:
        raise DataError(f"{table.path} needs a column of image ids (such as Image_ID) and a column "
                        f"Split; it has {', '.join(filter(None, table.columns))}")
    known = set(images)
    split_of: dict[str, str] = {}
    unknown: list[str] = []
    for number, row in table.rows():
        image = plain_id(row[id_column])
        split = parse_split(row[plain["split"]], table.path, number)
        if split_of.setdefault(image, split) != split:
            raise DataError(f"{table.path}, row {number}: {image} was in {split_of[image]} before "
                            f"and is in {split} now; leave one row out")
        if image not in known:
            unknown.append(image)
    if len(unknown) == len(table.numbers):
        raise DataError(f"none of the {len(unknown)} ids in {table.path} is an image of this data "
                        f"set (the first is {unknown[0]}, an image is {images[0]}); check the file")
    if unknown:
        _log.warning("%d of %d ids in %s are no images of this data set (first: %s)",
                     len(unknown), len(table.numbers), table.path, unknown[0])
    return {image: split for image, split in split_of.items() if image in known}, len(unknown)


def plain_id(text: str) -> str:
    """An image id without the file ending that some lists give it.

    Examples
    --------
    >>> plain_id("1.2.276.850819.dcm"), plain_id("1.2.276.850819")
    ('1.2.276.850819', '1.2.276.850819')
    """
    for ending in RADIOGRAPH_SUFFIXES:
        if text.lower().endswith(ending):
            return text[:-len(ending)]
    return text


def find_radiographs(directory: str | Path, images: Sequence[str],
                     placed: Mapping[str, Path] | None = None) -> dict[str, Path]:
    """The file of every image that has one below a folder.

    Files are named by the id of their image, with the ending of a radiograph or, where they begin
    like one, without.  Links are followed.  Images without a file, and files that are of no image,
    are counted in the log.

    Parameters
    ----------
    directory : path
    images : sequence of str
    placed : mapping, optional
        Files that are known already; only those of other images are looked for.

    Returns
    -------
    dict
        In the order of ``images``, without those that have no file.

    Raises
    ------
    UsageError
        If the folder does not exist.
    DataError
        If no image has a file, or some have two (counted, the first named).
    """
    root = Path(directory)
    if not root.is_dir():
        raise UsageError(f"there is no folder {root} of radiographs; correct the path or import "
                         "annotations alone")
    files = dict(placed or {})
    if any(image not in files for image in images):
        files |= _search(root, {image for image in images if image not in files}, len(images))
    without = [image for image in images if image not in files]
    if len(without) == len(images):
        raise DataError(f"{root} has a radiograph of none of the {len(images)} images (the first "
                        f"is {without[0]}); check the path, or import annotations alone")
    if without:
        _log.warning("%s has no radiographs of %d of %d images (first: %s), which get no maps",
                     root, len(without), len(images), without[0])
    return {image: files[image] for image in images if image in files}


def _search(root: Path, wanted: set[str], total: int) -> dict[str, Path]:
    files: dict[str, Path] = {}
    twice: dict[str, Path] = {}
    strange: list[Path] = []
    for path in files_below(root):
        name = plain_id(path.name)
        if name not in wanted or not is_radiograph_file(path):
            strange.append(path)
        elif name not in files:
            files[name] = path
        elif path.resolve() != files[name].resolve():
            twice.setdefault(name, path)
    if twice:
        name, path = next(iter(twice.items()))
        more = f" (and {len(twice) - 1} more images have two files)" if len(twice) > 1 else ""
        raise DataError(f"{files[name]} and {path} are of one image{more}; leave one of them out")
    # Where most images lie at known places, all of these are none of those that are looked for.
    if strange and len(wanted) == total:
        _log.warning("%s: left out, as they are of no image of this data set, %s", root,
                     counted(strange, root))
    return files
