"""The tables of Eye Gaze Data for Chest X-rays: ``master_sheet.csv`` and ``fixations.csv``."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from saltrust.cache.collection import Fixations
from saltrust.datasets.collection_index import require_unique
from saltrust.datasets.files.csv_tables import CsvTable, parse_label, read_csv, stated
from saltrust.datasets.files.limits import FARTHEST_PIXEL, MOST_FIXATIONS
from saltrust.errors import DataError, nearest

_log = logging.getLogger(__name__)

#: Findings as they are called in the cubes; columns match whatever their case.
CLASSES = ("Normal", "CHF", "Pneumonia")
#: Columns that fixations must have.
_NEEDED = ("DICOM_ID", "X_ORIGINAL", "Y_ORIGINAL")
#: Columns that may say how long a fixation lasted, in seconds; the first is Gazepoint's.
DURATION_COLUMNS = ("FPOGD", "DURATION", "FIXATION_DURATION")
#: Pixels of the screen on which the images were read.
SCREEN = (1080, 1920)

_SIDES = ("top", "bottom", "left", "right")


@dataclass(frozen=True)
class Case:
    """One row of the master sheet.

    Attributes
    ----------
    patient, study, path : str
        Empty where the sheet does not say.
    labels : tuple of int
        One per class of the sheet.
    pads : tuple of float or None
        Black pixels of the screen above, below, left and right of the image; None where the sheet
        does not say, or says what no screen has.
    """

    patient: str
    study: str
    path: str
    labels: tuple[int, ...]
    pads: tuple[float, float, float, float] | None


@dataclass(frozen=True)
class FixationTable:
    """Fixations by image, as recorded: also those outside the image.

    Attributes
    ----------
    of_image : dict of str to Fixations
        In native pixels.
    screen : dict of str to ndarray, shape (2, n)
        Row and column on the screen in pixels, where the table says.
    rows, unknown, not_numbers : int
        Rows of the table, those of images that the master sheet lacks, and those without
        coordinates.
    """

    of_image: dict[str, Fixations]
    screen: dict[str, np.ndarray]
    rows: int
    unknown: int
    not_numbers: int


def read_master_sheet(path: Path) -> tuple[dict[str, Case], tuple[str, ...]]:
    """Read ``master_sheet.csv``.

    Returns
    -------
    cases : dict
        By DICOM id, in the order of the file.
    classes : tuple of str
        Those of :data:`CLASSES` that have a column.

    Raises
    ------
    DataError
        If the file is missing or damaged, lacks ids or every class, names an id twice (both
        rows are named), or has a label that is none.
    """
    table = read_csv(path)
    columns = _plain(table)
    if "dicomid" not in columns:
        raise DataError(f"{path} has no column 'dicom_id'; {nearest('dicom_id', table.columns)}")
    classes = tuple(name for name in CLASSES if name.lower() in columns)
    if not classes:
        raise DataError(f"{path} has none of the class columns {', '.join(CLASSES)}; "
                        f"{nearest(CLASSES[0], table.columns)}")
    rows = list(table.rows())
    ids = [row[columns["dicomid"]] for _, row in rows]
    require_unique(ids, [f"{path} row {number}" for number, _ in rows])
    pads = [next((columns[name] for name in (f"image{side}pad", f"image{side}")
                  if name in columns), None) for side in _SIDES]
    cases = {}
    for (number, row), name in zip(rows, ids, strict=True):
        if not name:
            raise DataError(f"{path}, row {number}: dicom_id is blank; name it or leave the row "
                            "out")
        labels = tuple(parse_label(row[columns[one.lower()]], path, number, columns[one.lower()])
                       for one in classes)
        cases[name] = Case(_cell(row, columns, "patientid") or _cell(row, columns, "subjectid"),
                           _cell(row, columns, "studyid"), _cell(row, columns, "path"), labels,
                           _pads(row, pads))
    return cases, classes


def read_fixations(path: Path, known: Mapping[str, Case], *, durations: bool) -> FixationTable:
    """Read ``fixations.csv``.

    Parameters
    ----------
    path : path
    known : mapping
        Cases of the master sheet.
    durations : bool
        Whether a column of durations is needed.

    Raises
    ------
    DataError
        If the file is missing or damaged, lacks a column (the nearest is named), has
        coordinates that are no numbers (the row is named), or none of its ids is known.
    """
    table = read_csv(path)
    columns = _plain(table)
    needed = [_key(name) for name in _NEEDED]
    for name in _NEEDED:
        if _key(name) not in columns:
            others = [column for column in table.columns if _key(column) not in needed]
            raise DataError(f"{path} has no column {name!r}; {nearest(name, others)}")
    timed = next((columns[_key(name)] for name in DURATION_COLUMNS if _key(name) in columns), None)
    if timed is None and durations:
        raise DataError(f"{path} has no column of durations ({', '.join(DURATION_COLUMNS)}; "
                        f"{nearest('FPOGD', table.columns)}); add one, or weight fixations by "
                        "count")
    wanted = [columns["yoriginal"], columns["xoriginal"], timed,
              columns.get("fpogy"), columns.get("fpogx")]
    numbers: dict[str, list[tuple[float, ...]]] = {}
    counts: Counter[str] = Counter()
    strange = ""
    for number, row in table.rows():
        name = row[columns["dicomid"]]
        if name not in known:
            counts["unknown"] += 1
            strange = strange or name
            continue
        values = tuple(math.nan if column is None else _number(row[column], path, number, column)
                       for column in wanted)
        if not (math.isfinite(values[0]) and math.isfinite(values[1])):
            counts["not numbers"] += 1
            continue
        numbers.setdefault(name, []).append(values)
        if len(numbers[name]) > MOST_FIXATIONS:
            raise DataError(f"{path}, row {number}: {name} has more than {MOST_FIXATIONS:,} "
                            "fixations, which no reading of a radiograph has; give fixations, "
                            "not samples of the tracker")
    if counts["unknown"] == len(table.numbers):
        raise DataError(f"none of the DICOM_IDs in {path} is in the master sheet (the first is "
                        f"{strange}); check that both files are of one data set")
    for what, say in (("unknown", f"are of images that the master sheet lacks (first: {strange})"),
                      ("not numbers", "have no coordinates and are left out")):
        if counts[what]:
            _log.warning("%d of %d rows of %s %s", counts[what], len(table.numbers), path, say)
    arrays = {name: np.array(rows, dtype=np.float64).T for name, rows in numbers.items()}
    return FixationTable(
        {name: Fixations(values[0], values[1], values[2]) for name, values in arrays.items()},
        {name: values[3:] * np.array(SCREEN, dtype=np.float64)[:, None]
         for name, values in arrays.items() if np.isfinite(values[3:]).any()},
        len(table.numbers), counts["unknown"], counts["not numbers"])


def size_from_screen(case: Case, fixations: Fixations, screen: np.ndarray,
                     ) -> tuple[int, int] | None:
    """Native size of an image that is not at hand, from where its fixations lay on the screen.

    The image filled the screen but for black pads, so the ratio of native coordinates to those
    on the screen, times the part of the screen that the image took, is its size, to within a
    pixel or two.

    Parameters
    ----------
    case : Case
        With ``pads``.
    fixations : Fixations
        As recorded: outside the image they have negative coordinates.
    screen : ndarray, shape (2, n)
        Row and column on the screen.

    Returns
    -------
    (int, int) or None
        Height and width; None where no fixation tells.
    """
    if case.pads is None:
        return None
    top, bottom, left, right = case.pads
    size = []
    for native, at, (before, after), length in zip(
            (fixations.y, fixations.x), screen, ((top, bottom), (left, right)), SCREEN,
            strict=True):
        shown = length - before - after
        place = at - before
        # Native coordinates are whole; far from the edge that is a small part of them.
        telling = np.isfinite(place) & (native > 0) & (place > 0.1 * shown) & (place < shown)
        if shown <= 0 or not telling.any():
            return None
        size.append(int(np.rint(np.median((native[telling] + 0.5) / place[telling]) * shown)))
    return size[0], size[1]


def _key(name: str) -> str:
    return name.lower().replace("_", "").replace(" ", "")


def _plain(table: CsvTable) -> dict[str, str]:
    return {_key(column): column for column in table.columns if column}


def _cell(row: Mapping[str, str], columns: Mapping[str, str], name: str) -> str:
    return row[columns[name]] if name in columns else ""


def _pads(row: Mapping[str, str], columns: Sequence[str | None],
          ) -> tuple[float, float, float, float] | None:
    try:
        top, bottom, left, right = (float(row[column]) for column in columns if column)
    except ValueError:
        return None
    pads = top, bottom, left, right
    return pads if all(abs(pad) <= max(SCREEN) for pad in pads) else None


def _number(text: str, path: Path, number: int, column: str) -> float:
    """A number; NaN where the cell is blank or says so."""
    if not stated(text):
        return math.nan
    try:
        value = float(text)
    except ValueError:
        raise DataError(f"{path}, row {number}: {column} is {text!r}, not a number; correct or "
                        "blank it") from None
    if math.isinf(value) or abs(value) > FARTHEST_PIXEL:
        raise DataError(f"{path}, row {number}: {column} is {text!r}, beyond any screen, image or "
                        "fixation; correct or blank it")
    return value
