"""Annotation columns of a CSV manifest: what they are called and what their cells mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from saltrust.cache import rle
from saltrust.cache.collection import Annotation
from saltrust.cache.schema import Label
from saltrust.datasets.files.annotation_codes import (
    EMPTY_CELLS,
    boxes_mask,
    coco_counts,
    kaggle_counts,
    parse_boxes,
    parse_points,
    stated_boxes,
)
from saltrust.datasets.files.boxes import BoxTally
from saltrust.datasets.files.csv_tables import CsvTable, stated
from saltrust.datasets.files.radiograph_files import read_mask
from saltrust.datasets.manifest.file_names import mask_file
from saltrust.errors import DataError, nearest

#: Column kinds that give a mask; a finding and reader may have one of them.
MASK_KINDS = ("mask", "kaggle_rle", "siim_rle")
#: All column kinds, written before the colon.
KINDS = (*MASK_KINDS, "boxes", "points")

#: Column kind of gaze heatmaps, which belong to no finding.
GAZE = "gaze"

#: Reader of columns that name none.
DEFAULT_READER = "reference"
#: Readers whose names begin so are benchmark experts; all others are reference standard.
BENCHMARK_PREFIXES = ("expert", "benchmark")


@dataclass(frozen=True)
class AnnotationColumns:
    """The columns in which one reader annotated one finding.

    Attributes
    ----------
    finding, reader : str
    names : mapping
        Column kind (one of :data:`KINDS`) -> column name.
    """

    finding: str
    reader: str
    names: Mapping[str, str]


def reader_role(reader: str) -> str:
    """``benchmark`` for readers named ``expert...`` or ``benchmark...``, else ``reference``.

    Examples
    --------
    >>> reader_role("expert-2"), reader_role("Dr. Lee")
    ('benchmark', 'reference')
    """
    return "benchmark" if reader.lower().startswith(BENCHMARK_PREFIXES) else "reference"


def annotation_columns(columns: Sequence[str], findings: Mapping[str, str], path: Path,
                       label_columns: Sequence[str], *, named: bool = False,
                       ) -> list[AnnotationColumns]:
    """Sort the columns ``kind:finding`` and ``kind:finding:reader`` by finding and reader.

    Parameters
    ----------
    columns : sequence of str
        All columns of the manifest; those without a colon are passed over.
    findings : mapping
        Finding of the study -> its label column.
    path : path
        Of the manifest, for errors.
    label_columns : sequence of str
        All label columns; annotations of those that the study leaves out are passed over.
    named : bool
        Whether the study names its findings: then a column of another kind is passed over
        unless what it annotates is one of them.

    Raises
    ------
    DataError
        For an unknown kind, a finding without a label column, or two masks for one finding
        and reader; the nearest valid name is given.
    """
    of_column = {column: finding for finding, column in findings.items()}
    grouped: dict[tuple[str, str], dict[str, str]] = {}
    for column in columns:
        kind, colon, rest = column.partition(":")
        if not colon or kind == GAZE:
            continue
        label_column, _, reader = (part.strip() for part in rest.partition(":"))
        if kind not in KINDS and named and label_column not in label_columns:
            continue
        if kind not in KINDS:
            raise DataError(f"{path}: the column {column!r} is of an unknown kind; "
                            f"{nearest(kind, (*KINDS, GAZE))}")
        if label_column not in label_columns:
            raise DataError(f"{path}: the column {column!r} annotates a finding without a label "
                            f"column; {nearest(label_column, label_columns)}")
        if label_column not in of_column:
            continue
        names = grouped.setdefault((of_column[label_column], reader or DEFAULT_READER), {})
        rivals = [names[other] for other in MASK_KINDS if other in names and kind in MASK_KINDS]
        rivals += [names[kind]] if kind in names and not rivals else []
        if rivals:
            raise DataError(f"{path}: {rivals[0]!r} and {column!r} both give the mask of one "
                            "finding and reader; keep one of them")
        names[kind] = column
    result = [AnnotationColumns(*key, names) for key, names in grouped.items()]
    for item in result:
        if set(item.names) == {"points"}:
            raise DataError(f"{path}: {item.names['points']!r} gives points without a mask; add "
                            f"a mask or boxes column for {item.finding} by {item.reader}")
    return result


def gaze_columns(columns: Sequence[str]) -> dict[str, str]:
    """Reader -> column of the columns ``gaze`` and ``gaze:READER``.

    Examples
    --------
    >>> gaze_columns(["path", "gaze", "gaze:Dr. Lee", "gazelle"])
    {'reference': 'gaze', 'Dr. Lee': 'gaze:Dr. Lee'}
    """
    of_reader = {}
    for column in columns:
        kind, _, reader = (part.strip() for part in column.partition(":"))
        if kind == GAZE:
            of_reader[reader or DEFAULT_READER] = column
    return of_reader


def blank_or_stated(cell: str) -> str:
    """An annotation cell; blank where it holds a word for blank, which ``none`` is not here.

    Examples
    --------
    >>> blank_or_stated("NaN"), blank_or_stated("none")
    ('', 'none')
    """
    return cell if cell.lower() in EMPTY_CELLS else stated(cell)


def check_codes(table: CsvTable, columns: Sequence[AnnotationColumns], images: Sequence[str],
                sizes: Sequence[tuple[int, int]]) -> dict[str, int]:
    """Read every run-length code and box once, so that what is wrong is known at the start.

    Parameters
    ----------
    table : CsvTable
    columns : sequence of AnnotationColumns
    images : sequence of str
        Names of the rows.
    sizes : sequence of (height, width)
        Of the rows.

    Returns
    -------
    dict
        Counts of clipped and repeated boxes, for the description; empty without boxes.

    Raises
    ------
    DataError
        If a code or a box breaks its format; row and column are named.
    """
    tally = BoxTally()
    names = [(kind, name) for item in columns for kind, name in item.names.items()
             if kind in {"boxes", "kaggle_rle", "siim_rle"}]
    for (number, row), image, size in zip(table.rows(), images, sizes, strict=True):
        if 0 in size:
            # Of a radiograph that cannot be read and is left out.
            continue
        for kind, name in names:
            cell = blank_or_stated(row[name])
            if not cell or cell.lower() in EMPTY_CELLS:
                continue
            where = f"row {number}, {name}"
            try:
                if kind == "boxes":
                    tally.within([(f"{where}, {text} (x y width height)", box)
                                  for text, box in stated_boxes(cell)], image, size)
                else:
                    kaggle_counts(cell, *size, relative=kind == "siim_rle")
            except DataError as error:
                raise DataError(f"{table.path}, {where}: {error}") from None
    counts = tally.report(table.path)
    return counts if any(kind == "boxes" for kind, _ in names) else {}


def read_annotation(cells: Mapping[str, str], role: str, label: int, folder: Path,
                    size: tuple[int, int]) -> Annotation | None:
    """Read what one reader drew of one finding in one row.

    Parameters
    ----------
    cells : mapping
        Column kind -> text of the cell.
    role : str
        Of the reader.  A blank cell of a reference reader in a row labelled 0 is an annotated
        negative: who wrote the label said that there is nothing to draw.  Any other blank
        means that nobody annotated.
    label : int
    folder : path
        Where relative mask paths start.
    size : (int, int)
        Native height and width.

    Returns
    -------
    Annotation or None
        None: not annotated.
    """
    height, width = size
    kind = next((kind for kind in MASK_KINDS if kind in cells), "mask")
    cells = {name: blank_or_stated(cell) for name, cell in cells.items()}
    mask_cell, box_cell = cells.get(kind, ""), cells.get("boxes", "")
    boxes = (parse_boxes(box_cell, height, width)
             if box_cell and box_cell.lower() not in EMPTY_CELLS else ())
    points = parse_points(cells.get("points", ""))
    if mask_cell:
        counts = _counts(kind, mask_cell, folder, size)
    elif box_cell:
        counts = rle.encode(boxes_mask(boxes, height, width))
    elif points:
        raise DataError("there are points but no mask; draw one, or write none where there is "
                        "nothing to draw")
    elif role == "reference" and label == Label.NEGATIVE:
        counts = rle.encode(np.zeros(size, dtype=bool))
    else:
        return None
    for y, x in points:
        if not (0 <= y < height and 0 <= x < width):
            raise DataError(f"the point {x:g} {y:g} (x y) lies outside the image of {height} x "
                            f"{width} pixels")
    n_polygons = len(boxes) if box_cell and not mask_cell else -1
    return Annotation(counts, n_polygons=n_polygons, points=points, boxes=boxes)


def _counts(kind: str, cell: str, folder: Path, size: tuple[int, int]) -> str:
    if cell.lower() in EMPTY_CELLS:
        return rle.encode(np.zeros(size, dtype=bool))
    if kind == "mask":
        path = mask_file(cell, folder)
        return coco_counts(cell, *size) if path is None else rle.encode(read_mask(path))
    return kaggle_counts(cell, *size, relative=kind == "siim_rle")
