"""A CSV manifest of radiographs, labels and annotations as a collection.

One row per image, written as :mod:`saltrust.table_dialect` knows it.  Columns, all but ``image`` or
``path`` optional, some of them also by other names (:mod:`saltrust.datasets.manifest.columns`):

``image``
    Name of the image; without it, ``path`` without its file ending.  Names are unique.
``path``
    PNG, JPEG or DICOM file, relative to the CSV.  Without this column the collection has
    labels and annotations only.
``patient``, ``study``, ``view``
    Text.  Without ``patient``, the PatientID of DICOM files, else every image is its own; ids that
    are nobody's stand for as many patients
    (:func:`saltrust.datasets.files.patient_ids.distinct_patients`).
``split``
    ``train``, ``val``, ``test`` or ``none``.  Without this column: drawn at random by patient.
``height``, ``width``
    Native size in pixels; needed for annotations where there is no ``path``.
*covariate*
    Columns that the study names under ``covariates``, such as ``site``, and ``age``, ``sex`` and
    their like unless they are findings of the study: numbers, or text; see
    :mod:`saltrust.datasets.manifest.covariates`.
*finding*
    Every other column is a finding: 1 positive, 0 negative, -1 uncertain, blank not stated.
    Where the study names its findings, columns it does not name are ignored.
``mask:FINDING`` or ``mask:FINDING:READER``
    Path of a PNG (one value beside black, :mod:`saltrust.datasets.files.mask_values`), or a COCO
    run-length code: compressed counts, or ``{"size": [height, width], "counts": ...}``.
``kaggle_rle:FINDING[:READER]``
    ``start length ...``, starts counted from 1 down the columns, in order.
``siim_rle:FINDING[:READER]``
    The same with relative starts, as in SIIM-ACR Pneumothorax.
``boxes:FINDING[:READER]``
    ``x y width height; x y width height`` in native pixels, cut to the image, each once; without
    a mask column the mask is the boxes filled.
``points:FINDING[:READER]``
    ``x y; x y``: most representative points, beside a mask or boxes.
``gaze`` or ``gaze:READER``
    Path of a PNG with the static gaze heatmap of the image, gray or coloured by viridis, of any
    size; it is scaled to its maximum.  A blank cell or a black heatmap means no gaze.

The reader is ``reference`` unless named.  Readers whose names begin with ``expert`` or
``benchmark`` are benchmark experts, all others reference standard.  ``none`` (or Kaggle's
``-1``) in an annotation cell states that there is nothing to draw.  A blank cell means that
nobody annotated, with one exception: for a reference reader in a row whose label is 0, it is
an annotated negative.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from saltrust.cache.collection import Annotation, Fixations, Radiograph
from saltrust.choices import OnError
from saltrust.datasets.collection_index import (
    choose_findings,
    collection_index,
    fingerprint,
    require_unique,
)
from saltrust.datasets.files.csv_tables import (
    CsvTable,
    parse_count,
    parse_label,
    parse_split,
    read_csv,
    stated,
)
from saltrust.datasets.files.headers import UNKNOWN_SIZE, native_sizes, require_files
from saltrust.datasets.files.heatmap_files import gaze_heatmap
from saltrust.datasets.files.limits import check_pixels, of_file, of_image
from saltrust.datasets.files.patient_ids import distinct_patients
from saltrust.datasets.files.radiograph_files import (
    RADIOGRAPH_SUFFIXES,
    read_radiograph,
    stated_patients,
)
from saltrust.datasets.manifest.annotations import (
    AnnotationColumns,
    annotation_columns,
    blank_or_stated,
    check_codes,
    gaze_columns,
    read_annotation,
    reader_role,
)
from saltrust.datasets.manifest.columns import RESERVED, with_our_names
from saltrust.datasets.manifest.covariates import covariate_values
from saltrust.datasets.manifest.file_names import (
    check_mask_file,
    listed_name,
    mask_file,
    missing_hint,
)
from saltrust.datasets.splits import split_by_patient, warn_of_shared_patients
from saltrust.errors import DataError
from saltrust.reading import check_path, existing_path, shown

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ManifestCollection:
    """Rows of a manifest; see :class:`saltrust.cache.collection.Collection`."""

    index: xr.Dataset
    fingerprint: str
    description: dict[str, Any]
    has_radiographs: bool
    table: CsvTable = field(repr=False)
    files: Mapping[str, Path] = field(repr=False)
    columns: Sequence[AnnotationColumns] = field(repr=False)
    rows: Mapping[str, int] = field(repr=False)
    gazes: Mapping[str, Mapping[str, Path]] = field(repr=False)

    @of_image("the radiograph")
    def radiograph(self, image: str, grid: tuple[int, int]) -> Radiograph:
        """Decode one radiograph and resample it to ``grid`` = (height, width)."""
        if not self.has_radiographs:
            raise DataError(f"{self.table.path} has no column 'path', so {image} has no "
                            "radiograph; add the column")
        return read_radiograph(self.files[image], grid)

    @of_image("the annotations")
    def annotations(self, image: str) -> Mapping[tuple[str, str], Annotation]:
        """All annotations of one image, keyed by (finding, reader)."""
        position = self.rows[image]
        drawn: dict[tuple[str, str], Annotation] = {}
        if not self.columns:
            return drawn
        texts = dict(zip(self.table.columns, self.table.cells[position], strict=True))
        size = (int(self.index["native_height"].values[position]),
                int(self.index["native_width"].values[position]))
        for item in self.columns:
            label = int(self.index["label"].sel(finding=item.finding).values[position])
            cells = {kind: texts[name] for kind, name in item.names.items()}
            try:
                annotation = read_annotation(cells, reader_role(item.reader), label,
                                             self.table.path.parent, size)
            except DataError as error:
                number = self.table.numbers[position]
                raise DataError(f"{self.table.path}, row {number}, "
                                f"{' and '.join(item.names.values())}: {error}") from None
            if annotation is not None:
                drawn[item.finding, item.reader] = annotation
        return drawn

    @property
    def has_gaze(self) -> bool:
        """Whether any row names a gaze heatmap."""
        return any(self.gazes.values())

    @of_image("the gaze")
    def gaze(self, image: str, grid: tuple[int, int]) -> Mapping[str, npt.NDArray[np.float32]]:
        """Gaze heatmaps of one image by reader, each of maximum 1."""
        made = {reader: gaze_heatmap(path, grid)
                for reader, path in self.gazes.get(image, {}).items()}
        return {reader: heatmap for reader, heatmap in made.items() if heatmap is not None}

    @of_image("the fixations")
    def fixations(self, image: str) -> Mapping[str, Fixations]:
        """None: a manifest gives heatmaps."""
        del image
        return {}


@of_file("correct what the sentence names")
def manifest(
    path: str | Path,
    *,
    findings: Sequence[str] = (),
    covariates: Sequence[str] = (),
    split_fractions: Sequence[float] = (0.7, 0.1, 0.2),
    seed: int = 0,
    on_error: OnError = "stop",
) -> ManifestCollection:
    """Take a CSV manifest as a collection; the columns are described above.

    Parameters
    ----------
    path : path
        The CSV file.
    findings : sequence of str
        Which findings, in this order; empty: every column that is neither reserved nor a
        covariate.  A column ``Lung Opacity`` serves where ``Airspace Opacity`` is asked for.
    covariates : sequence of str
        Which columns become coordinates of the images.
    split_fractions : three floats
        Train, val and test by patient, where there is no column ``split``.
    seed : int
        Of the random split.
    on_error : {'stop', 'skip'}
        Whether radiographs that do not exist or whose headers cannot be read are an error; with
        ``'skip'`` they are met when they are decoded.

    Returns
    -------
    ManifestCollection

    Raises
    ------
    DataError
        If the CSV is missing, empty or not UTF-8; if a finding or covariate is absent (the
        nearest is named), a covariate has a name that means something else, a label or split is
        not valid (row and column are named), image names repeat, files are missing (counted, the
        first named), or a mask has another size than its radiograph (both are named).
    """
    given = with_our_names(read_csv(path), findings, covariates)
    table = given.table
    if "image" not in table.columns and "path" not in table.columns:
        raise DataError(f"{table.path} has neither a column 'path' nor 'image' (its columns are "
                        f"{', '.join(map(repr, filter(None, table.columns)))[:200]}); add the "
                        "paths of the radiographs as 'path'")
    label_columns = given.label_columns(covariates)
    facts = covariate_values(table, covariates, reserved=RESERVED, findings=findings,
                             demographics=given.demographics)
    if given.demographics and not findings:
        _log.warning("%s: %s tell of people and are taken for covariates, not findings", table.path,
                     ", ".join(map(repr, given.demographics.values())))
    chosen = choose_findings(findings, label_columns, table.path)
    if not chosen:
        raise DataError(f"{table.path} has no finding columns; add one per finding with 1, 0, -1 "
                        "or blank")
    columns = annotation_columns(table.columns, chosen, table.path, label_columns,
                                 named=bool(findings))
    rows = [row for _, row in table.rows()]
    images, files = _images_and_files(table, rows)
    if on_error == "stop":
        require_files(list(files.values()), f"radiographs that {table.path} names",
                      missing_hint)
    labels = np.array([[parse_label(row[column], table.path, number, column)
                        for column in chosen.values()] for number, row in table.rows()])
    paths = [files[image] for image in images] if files else []
    patients = _patients(table, rows, images, paths)
    splits = _splits(table, patients, labels, split_fractions, seed)
    sizes = (_native_sizes(table, files, on_error)
             if columns or "height" in table.columns else None)
    drawn: dict[str, int] = {}
    if columns and sizes is not None:
        _check_mask_files(table, columns, images, sizes)
        drawn = check_codes(table, columns, images, sizes)
    looking = gaze_columns(table.columns)
    gazes = _gaze_files(table, looking, images)
    return ManifestCollection(
        index=collection_index(
            images, list(chosen), labels, patient=patients, split=splits,
            study=_text(rows, "study"), view=_text(rows, "view"), native_sizes=sizes,
            covariates=facts,
            readers={name: reader_role(name)
                     for name in (*(item.reader for item in columns), *looking)}),
        fingerprint=fingerprint(
            {"columns": table.columns, "cells": table.cells, "findings": list(chosen),
             "splits": splits},
            {f"gaze {image} {reader}": path for image, of_image in gazes.items()
             for reader, path in of_image.items()}),
        description={
            "kind": "manifest", "source": str(table.path), "seed": seed, "images": len(images),
            "patients": len(set(patients)),
            "split": "given" if "split" in table.columns else "random by patient",
            **drawn, **({"columns_read_as": given.read_as} if given.read_as else {}),
        },
        has_radiographs=bool(files), table=table, files=files, columns=columns,
        rows={image: position for position, image in enumerate(images)}, gazes=gazes,
    )


def _images_and_files(table: CsvTable, rows: Sequence[Mapping[str, str]],
                      ) -> tuple[list[str], dict[str, Path]]:
    """Image names and, where there is a column ``path``, the existing file of each."""
    images, paths = [], []
    for number, row in zip(table.numbers, rows, strict=True):
        cell = row.get("path", "")
        if "path" in table.columns and not cell:
            raise DataError(f"{table.path}, row {number}: path is blank; name the radiograph or "
                            "leave the row out")
        plain = listed_name(table.path.parent, cell)
        if plain.suffix.lower() in RADIOGRAPH_SUFFIXES:
            plain = plain.with_suffix("")
        image = row.get("image", "") or plain.as_posix()
        if not row.get("image") and not cell:
            raise DataError(f"{table.path}, row {number}: image is blank; name it")
        check_path(cell or image, f"{table.path}, row {number}: the path", DataError)
        images.append(image)
        paths.append(existing_path(table.path.parent, cell))
    require_unique(images, [f"{table.path} row {number}" for number in table.numbers])
    if "path" not in table.columns:
        return images, {}
    return images, dict(zip(images, paths, strict=True))


def _patients(table: CsvTable, rows: Sequence[Mapping[str, str]], images: Sequence[str],
              paths: Sequence[Path]) -> list[str]:
    if "patient" in table.columns:
        return distinct_patients([row["patient"] for row in rows], images, str(table.path))
    return stated_patients(images, paths) if paths else list(images)


def _splits(table: CsvTable, patients: Sequence[str], labels: Any,
            fractions: Sequence[float], seed: int) -> list[str]:
    if "split" not in table.columns:
        return split_by_patient(patients, labels, fractions, seed)
    splits = [parse_split(row["split"], table.path, number) for number, row in table.rows()]
    warn_of_shared_patients(patients, splits, str(table.path))
    return splits


def _native_sizes(table: CsvTable, files: Mapping[str, Path], on_error: OnError,
                  ) -> list[tuple[int, int]]:
    """Native size of every image, from the headers of the files or the columns."""
    paths = list(files.values())
    listed: list[tuple[int, int] | None] = [None] * len(table.numbers)
    if "height" in table.columns or "width" in table.columns or not paths:
        for column in ("height", "width"):
            table.require(column)
        listed = [_listed_size(table, number, row, optional=bool(paths))
                  for number, row in table.rows()]
    if not paths:
        return [size for size in listed if size is not None]
    sizes = list(native_sizes(files, on_error).values())
    for number, path, size, other in zip(table.numbers, paths, sizes, listed, strict=True):
        if other is not None and size not in (other, UNKNOWN_SIZE):
            raise DataError(f"{table.path}, row {number}: height and width say {other[0]} x "
                            f"{other[1]} but {path} has {size[0]} x {size[1]} pixels; correct "
                            "the row")
    # What the list states is known of files that cannot be read, too.
    return [other or size for other, size in zip(listed, sizes, strict=True)]


def _listed_size(table: CsvTable, number: int, row: Mapping[str, str], *, optional: bool,
                 ) -> tuple[int, int] | None:
    """What a row states; None where it states nothing and need not."""
    if optional and not stated(row["height"]) and not stated(row["width"]):
        return None
    height, width = parse_count(row["height"]), parse_count(row["width"])
    if height is None or width is None:
        raise DataError(f"{table.path}, row {number}: height {shown(row['height'])} and width "
                        f"{shown(row['width'])} must be whole numbers of pixels")
    check_pixels(height, width, f"{table.path}, row {number},")
    return height, width


def _check_mask_files(table: CsvTable, columns: Sequence[AnnotationColumns],
                      images: Sequence[str], sizes: Sequence[tuple[int, int]]) -> None:
    names = [item.names["mask"] for item in columns if "mask" in item.names]
    missing: list[Path] = []
    for (number, row), image, size in zip(table.rows(), images, sizes, strict=True):
        for name in names:
            path = mask_file(blank_or_stated(row[name]), table.path.parent)
            if path is None:
                continue
            check_path(path, f"{table.path}, row {number}: the mask", DataError)
            if not path.is_file():
                missing.append(path)
                continue
            if size == UNKNOWN_SIZE:
                continue
            try:
                check_mask_file(path, row.get("path") or image, size)
            except DataError as error:
                raise DataError(f"{table.path}, row {number}: {error}") from None
    if missing:
        raise DataError(f"{len(missing)} masks that {table.path} names do not exist, the first "
                        f"is {missing[0]}; {missing_hint(missing[0])}")


def _gaze_files(table: CsvTable, columns: Mapping[str, str], images: Sequence[str],
                ) -> dict[str, dict[str, Path]]:
    """Existing heatmap file of every image and reader whose cell is not blank."""
    files = {image: {reader: existing_path(table.path.parent, row[column])
                     for reader, column in columns.items() if stated(row[column])}
             for image, (_, row) in zip(images, table.rows(), strict=True)}
    for of_one in files.values():
        for path in of_one.values():
            check_path(path, f"{table.path}: the path", DataError)
    require_files([path for of_image in files.values() for path in of_image.values()],
                  f"gaze heatmaps that {table.path} names", missing_hint)
    return files


def _text(rows: Sequence[Mapping[str, str]], column: str) -> list[str] | None:
    return [stated(row[column]) for row in rows] if rows and column in rows[0] else None
