"""Radiographs and splits of data sets whose images go by an id, with or without a file ending."""

from __future__ import annotations

import logging
from pathlib import Path

from saltrust.datasets.files.csv_tables import parse_split, read_csv
from saltrust.datasets.files.radiograph_files import RADIOGRAPH_SUFFIXES
from saltrust.errors import DataError, UsageError

_log = logging.getLogger(__name__)

_ID_COLUMNS = ("imageid", "dicomid", "image", "patientid", "id")


def read_splits(path: str | Path, images: list[str]) -> tuple[dict[str, str], int]:
    """Read which image belongs to which split.

    Ids match after a trailing ``.png``, ``.jpg`` or ``.dcm`` is removed, and nothing else,
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
    for ending in (".png", ".jpg", ".dcm"):
        if text.lower().endswith(ending):
            return text[:-len(ending)]
    return text


def find_radiographs(directory: str | Path, images: list[str]) -> dict[str, Path]:
    """The file of every image below a folder.

    Raises
    ------
    UsageError
        If the folder does not exist.
    DataError
        If radiographs are missing (counted, the first named) or an id has two files.
    """
    root = Path(directory)
    if not root.is_dir():
        raise UsageError(f"there is no folder {root} of radiographs; correct the path or import "
                         "annotations alone")
    wanted = set(images)
    files: dict[str, Path] = {}
    for path in sorted(root.rglob("*")):
        name = plain_id(path.name)
        if path.suffix.lower() not in RADIOGRAPH_SUFFIXES or name not in wanted:
            continue
        if name in files:
            raise DataError(f"{files[name]} and {path} are of one image; leave one of them out")
        files[name] = path
    missing = [image for image in images if image not in files]
    if missing:
        raise DataError(f"{root} lacks the radiographs of {len(missing)} of {len(images)} images, "
                        f"the first is {missing[0]}; complete it or import annotations alone")
    return files
