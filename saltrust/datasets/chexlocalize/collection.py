"""The released CheXlocalize layout as a collection.

Images are named as in the JSON files (``patient64541_study1_view1_frontal``), the findings are
the ten that were annotated, the readers ``reference`` (two radiologists jointly) and
``human-benchmark`` (experts; test set).  Labels come from the CSV of the split; an image that no
CSV lists is positive exactly where its reference mask is not empty.

The released masks leave out most images without a positive label.  Where the CSV states that
all findings of such an image are negative, its reference masks are empty ones; any other image
without masks counts as not annotated.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from saltrust.cache import rle
from saltrust.cache.collection import Annotation, Radiograph
from saltrust.cache.schema import CHEXLOCALIZE_FINDINGS, FINDING_ALIASES, Label
from saltrust.choices import OnError
from saltrust.datasets.chexlocalize.annotations import (
    ReaderFiles,
    read_annotation,
    read_readers,
    stated_sizes,
    stray_contours,
    unknown_findings,
)
from saltrust.datasets.chexlocalize.heatmaps import read_heatmap
from saltrust.datasets.chexlocalize.layout import (
    ChexlocalizeFiles,
    HeatmapFile,
    find_files,
    image_of_path,
    parse_image,
)
from saltrust.datasets.collection_index import choose_findings, collection_index, fingerprint
from saltrust.datasets.files.csv_tables import parse_label, read_csv
from saltrust.datasets.files.headers import UNKNOWN_SIZE, native_sizes
from saltrust.datasets.files.limits import of_file, of_image
from saltrust.datasets.files.radiograph_files import read_radiograph
from saltrust.errors import DataError

_log = logging.getLogger(__name__)

Size = tuple[int, int]


@dataclass(frozen=True)
class _CsvRow:
    """What a label file states of one image; labels only of the columns that it has."""

    labels: dict[str, int]
    view: str

    def all_negative(self) -> bool:
        return bool(self.labels) and not any(self.labels.values())


@dataclass(frozen=True, eq=False)
class ChexlocalizeCollection:
    """See :class:`saltrust.cache.collection.Collection`; made by :func:`chexlocalize`.

    Attributes
    ----------
    heatmaps : list of HeatmapFile
        Released heatmaps of the images and findings of the collection.
    files : mapping of str to pathlib.Path
        Radiographs by image.
    directory : pathlib.Path
    readers : list of ReaderFiles
    implied_negatives : frozenset of str
        Images whose reference masks are empty because all their labels are negative.
    """

    index: xr.Dataset
    fingerprint: str
    description: dict[str, Any]
    has_radiographs: bool
    heatmaps: Sequence[HeatmapFile] = field(repr=False)
    files: Mapping[str, Path] = field(repr=False)
    directory: Path
    readers: Sequence[ReaderFiles] = field(repr=False)
    implied_negatives: frozenset[str] = field(repr=False)

    @of_image("the radiograph")
    def radiograph(self, image: str, grid: tuple[int, int]) -> Radiograph:
        """Decode one radiograph and resample it to ``grid`` = (height, width)."""
        path = self.files.get(image)
        if path is None:
            raise DataError(f"{self.directory} has no radiograph of {image}; put the "
                            "folders valid and test of CheXpert there")
        return read_radiograph(path, grid)

    @of_image("the annotations")
    def annotations(self, image: str) -> Mapping[tuple[str, str], Annotation]:
        """All annotations of one image, keyed by (finding, reader)."""
        row = self.index.sel(image=image)
        size = (int(row["native_height"]), int(row["native_width"]))
        labels = dict(zip(row["finding"].values.tolist(), row["label"].values.tolist(),
                          strict=True))
        return _annotations(self.readers, image, str(row["split"].values), size, labels,
                            implied_negative=image in self.implied_negatives)


@of_file("correct what the sentence names")
def chexlocalize(directory: str | Path, *, findings: Sequence[str] = (),
                 on_error: OnError = "stop") -> ChexlocalizeCollection:
    """Take a folder of the released CheXlocalize layout as a collection.

    Parameters
    ----------
    directory : path
        See :mod:`saltrust.datasets.chexlocalize.layout`; every part but masks, polygons or
        heatmaps may be absent, and images may lack any of them: they are counted and logged.
    findings : sequence of str
        Which of the ten, in this order; empty: all.
    on_error : {'stop', 'skip'}
        Whether radiographs whose headers cannot be read are an error; with ``'skip'`` they are
        met when they are decoded.

    Raises
    ------
    UsageError
        If the folder does not exist.
    DataError
        If it has no such files, or they contradict each other (sizes, splits), are damaged, or
        a finding is not one of the ten.  The message names file and image.
    """
    files = find_files(directory)
    chosen = list(choose_findings(findings, CHEXLOCALIZE_FINDINGS, files.directory))
    everyone = read_readers(files)
    readers = [reader for reader in everyone if reader.segmentations or reader.polygons]
    rows = _read_labels(files, chosen)
    split_of = _split_images(files, readers)
    images = sorted(split_of, key=lambda image: (split_of[image] != "val", image))
    sizes = _native_sizes(files, readers, split_of, on_error)
    negatives = _implied_negatives(readers, rows, split_of, sizes)
    labels, origins = [], []
    for image in images:
        row = rows.get((split_of[image], image))
        if row is not None:
            labels.append([row.labels[finding] for finding in chosen])
            origins.append("csv")
        else:
            drawn = _annotations([r for r in readers if r.role == "reference"], image,
                                 split_of[image], sizes[image],
                                 dict.fromkeys(chosen, int(Label.NOT_STATED)))
            labels.append([_label_of_mask(drawn, finding, sizes[image]) for finding in chosen])
            origins.append("masks" if drawn else "none")
    heatmaps = [item for item in files.heatmaps if item.finding in chosen]
    parsed = [parse_image(image) for image in images]
    index = collection_index(
        images, chosen, np.array(labels),
        patient=[patient for patient, _, _ in parsed], study=[study for _, study, _ in parsed],
        view=[_view(rows.get((split_of[image], image)), view)
              for image, (_, _, view) in zip(images, parsed, strict=True)],
        split=[split_of[image] for image in images],
        native_sizes=[sizes[image] for image in images],
        readers={reader.name: reader.role for reader in readers})
    unused = sum(image not in split_of for _, image in rows)
    description = {
        "kind": "chexlocalize", "source": str(files.directory), "images": len(images),
        "patients": len({patient for patient, _, _ in parsed}),
        "labels_from": {name: origins.count(name) for name in ("csv", "masks", "none")},
        "radiographs": sum(image in files.radiographs for image in images),
        "annotated_images": {
            reader.name: sum(reader.knows(image, split_of[image]) for image in images)
            for reader in readers},
        "implied_negative_images": len(negatives),
        "heatmap_files": len(heatmaps),
        "csv_rows_without_data": unused,
        "points_without_mask": sum(reader.points_without_mask() for reader in everyone),
        "stray_contours": sum(stray_contours(reader, chosen) for reader in readers),
    }
    _log_what_lacks(files, readers, description)
    return ChexlocalizeCollection(
        index=index, fingerprint=_fingerprint(files, chosen), description=description,
        has_radiographs=bool(files.radiographs), heatmaps=heatmaps,
        files=files.radiographs, directory=files.directory, readers=readers,
        implied_negatives=negatives)


def _annotations(readers: Sequence[ReaderFiles], image: str, split: str, size: Size,
                 labels: Mapping[str, int], *, implied_negative: bool = False,
                 ) -> dict[tuple[str, str], Annotation]:
    drawn = {}
    for reader in readers:
        for finding, label in labels.items():
            if reader.knows(image, split):
                annotation = read_annotation(reader, image, finding, split=split, size=size,
                                             label=label)
                if annotation is not None:
                    drawn[finding, reader.name] = annotation
            elif implied_negative and reader.role == "reference":
                empty = rle.encode(np.zeros(size, dtype=bool))
                drawn[finding, reader.name] = Annotation(empty, n_polygons=0)
    return drawn


def _label_of_mask(drawn: Mapping[tuple[str, str], Annotation], finding: str, size: Size) -> int:
    masks = [annotation.mask_rle for (name, _), annotation in drawn.items() if name == finding]
    if not masks:
        return int(Label.NOT_STATED)
    return int(any(rle.area(mask, *size) for mask in masks))


def _read_labels(files: ChexlocalizeFiles, findings: Sequence[str],
                 ) -> dict[tuple[str, str], _CsvRow]:
    """(split, image) -> row of the label file of that split."""
    rows: dict[tuple[str, str], _CsvRow] = {}
    for split, path in files.labels.items():
        table = read_csv(path)
        table.require("Path")
        choose_findings(findings, table.columns, path)
        columns = {finding: column for finding in CHEXLOCALIZE_FINDINGS
                   for column in (finding, _alias(finding)) if column in table.columns}
        for number, row in table.rows():
            image = image_of_path(row["Path"])
            if (split, image) in rows:
                raise DataError(f"{path}, row {number}: {image} occurs a second time; leave one "
                                "row out")
            labels = {finding: parse_label(row[column], path, number, column)
                      for finding, column in columns.items()}
            view = f"{row.get('Frontal/Lateral', '').lower()} {row.get('AP/PA', '')}".strip()
            rows[split, image] = _CsvRow(labels, view)
    return rows


def _alias(finding: str) -> str:
    return next((alias for alias, name in FINDING_ALIASES.items() if name == finding), finding)


def _view(row: _CsvRow | None, stated: str) -> str:
    return row.view if row is not None and row.view else stated


def _split_images(files: ChexlocalizeFiles, readers: Sequence[ReaderFiles]) -> dict[str, str]:
    """Split of every image that has anything besides a row in a label file."""
    split_of: dict[str, str] = {}
    stated = [pair for reader in readers for pair in reader.images()]
    stated += [(item.image, item.split) for item in files.heatmaps]
    stated += list(files.radiograph_splits.items())
    for image, split in stated:
        if split_of.setdefault(image, split) != split:
            raise DataError(f"{files.directory} has {image} both in val and in test; leave it "
                            "out of one of them")
    if not split_of:
        raise DataError(f"the CheXlocalize files in {files.directory} name no image; fetch them "
                        "again")
    return split_of


def _native_sizes(files: ChexlocalizeFiles, readers: Sequence[ReaderFiles],
                  split_of: Mapping[str, str], on_error: OnError) -> dict[str, Size]:
    """Native size of every image, on which all its sources must agree."""
    first_heatmap: dict[str, HeatmapFile] = {}
    for item in files.heatmaps:
        first_heatmap.setdefault(item.image, item)
    sizes: dict[str, Size] = {}
    headers = native_sizes(files.radiographs, on_error)
    for image, split in split_of.items():
        stated = [pair for reader in readers for pair in stated_sizes(reader, image, split)]
        if headers.get(image, UNKNOWN_SIZE) != UNKNOWN_SIZE:
            stated.append((files.radiographs[image], headers[image]))
        if not stated and image in first_heatmap:
            heatmap = read_heatmap(first_heatmap[image])
            stated = [(heatmap.file.path, (heatmap.native_height, heatmap.native_width))]
        source, size = stated[0] if stated else (files.directory, UNKNOWN_SIZE)
        for other_source, other in stated[1:]:
            if other != size:
                raise DataError(f"{image} has {size[0]} x {size[1]} pixels in {source} but "
                                f"{other[0]} x {other[1]} in {other_source}; they must agree")
        sizes[image] = size
    return sizes


def _implied_negatives(readers: Sequence[ReaderFiles],
                       rows: Mapping[tuple[str, str], _CsvRow], split_of: Mapping[str, str],
                       sizes: Mapping[str, Size]) -> frozenset[str]:
    """Images that the reference files pass over because there is nothing to draw."""
    references = [reader for reader in readers if reader.role == "reference"]
    names = set()
    for image, split in split_of.items():
        row = rows.get((split, image))
        drawn = [reader for reader in references
                 if split in reader.segmentations or split in reader.polygons]
        if (row is not None and row.all_negative() and drawn and sizes[image] != (0, 0)
                and not any(reader.knows(image, split) for reader in drawn)):
            names.add(image)
    return frozenset(names)


def _log_what_lacks(files: ChexlocalizeFiles, readers: Sequence[ReaderFiles],
                    description: Mapping[str, Any]) -> None:
    images = description["images"]
    unknown = dict(files.unknown_findings)
    for reader in readers:
        unknown.update(unknown_findings(reader))
    for name, path in unknown.items():
        _log.warning("%s names %r, which is none of the ten findings; it is left out", path, name)
    if 0 < description["radiographs"] < images:
        _log.warning("%d of %d images have no radiograph", images - description["radiographs"],
                     images)
    reference = description["annotated_images"].get("reference", 0)
    reference += description["implied_negative_images"]
    if 0 < reference < images:
        _log.warning("%d of %d images have no reference masks and count as not annotated",
                     images - reference, images)
    if description["labels_from"]["masks"] or description["labels_from"]["none"]:
        _log.warning("%d of %d images are in no label CSV; %d get their labels from their masks, "
                     "%d have none", images - description["labels_from"]["csv"], images,
                     description["labels_from"]["masks"], description["labels_from"]["none"])
    if description["csv_rows_without_data"]:
        _log.warning("%d rows of the label CSV have no radiograph, mask or heatmap and are left "
                     "out", description["csv_rows_without_data"])
    if description["stray_contours"]:
        _log.warning("%d contours are of one point or stand twice, and do not count",
                     description["stray_contours"])
    if description["points_without_mask"]:
        _log.warning("%d representative points lie on images without masks by that reader and "
                     "are left out", description["points_without_mask"])


def _fingerprint(files: ChexlocalizeFiles, findings: Sequence[str]) -> str:
    tables = [*files.json.values(), *files.labels.values()]
    everything = [*tables, *(item.path for item in files.heatmaps)]
    return fingerprint({"findings": list(findings)},
                       {path.relative_to(files.directory).as_posix(): path
                        for path in everything})
