"""What the readers of CheXlocalize drew: run-length codes, polygons, representative points."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from saltrust.cache import rle
from saltrust.cache.collection import Annotation
from saltrust.cache.schema import CHEXLOCALIZE_FINDINGS, Label
from saltrust.datasets.chexlocalize.layout import READERS, ChexlocalizeFiles, of_splits, read_json
from saltrust.datasets.files.annotation_codes import (
    Point,
    coco_counts,
    coco_size,
    drawn_contours,
    polygons_mask,
    xy_points,
)
from saltrust.datasets.files.limits import check_instances, check_pixels
from saltrust.errors import DataError
from saltrust.reading import shown

Size = tuple[int, int]


@dataclass(frozen=True)
class AnnotationFile:
    """One parsed JSON file: image -> finding -> what was drawn."""

    path: Path
    content: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class ReaderFiles:
    """The files of one reader, by split.

    Attributes
    ----------
    name, role : str
    segmentations : dict of AnnotationFile
        COCO run-length codes.
    polygons : dict of AnnotationFile
        Contours, and ``img_size``, the (height, width) of the radiograph.
    points : dict of AnnotationFile
        Lists of (x, y).
    """

    name: str
    role: str
    segmentations: dict[str, AnnotationFile]
    polygons: dict[str, AnnotationFile]
    points: dict[str, AnnotationFile]

    def images(self) -> Iterator[tuple[str, str]]:
        """Every image that has an entry among the masks or polygons, with its split."""
        for kind in (self.segmentations, self.polygons):
            for split, file in kind.items():
                for image in file.content:
                    yield image, split

    def knows(self, image: str, split: str) -> bool:
        """Whether the reader's masks or polygons have an entry for the image."""
        return any(split in kind and image in kind[split].content
                   for kind in (self.segmentations, self.polygons))

    def points_without_mask(self) -> int:
        """Points that cannot be kept, because the reader drew nothing on their image."""
        return sum(
            1 for split, file in self.points.items() for image, findings in file.content.items()
            for finding in findings
            if finding in CHEXLOCALIZE_FINDINGS and not self.knows(image, split))


def stray_contours(reader: ReaderFiles, findings: Collection[str]) -> int:
    """Contours of some findings that are of one point or stand twice, and do not count.

    Raises
    ------
    DataError
        If polygons are no lists of points.
    """
    number = 0
    for file in reader.polygons.values():
        for image, drawn in file.content.items():
            for finding in drawn.keys() & findings:
                try:
                    number -= len(drawn_contours(drawn[finding]))
                    number += len(drawn[finding])
                except DataError as error:
                    raise DataError(f"{file.path}, {image}, {finding}: {error}") from None
    return number


def read_readers(files: ChexlocalizeFiles) -> list[ReaderFiles]:
    """Parse the files of every reader; a reader may turn out to have given points only."""
    readers = []
    for source, (name, role) in READERS.items():
        kinds = [{split: AnnotationFile(path, read_json(path))
                  for split, path in of_splits(files.json, source, kind).items()}
                 for kind in ("segmentations", "annotations", "salient_pt")]
        readers.append(ReaderFiles(name, role, *kinds))
    return readers


def unknown_findings(reader: ReaderFiles) -> dict[str, Path]:
    """Names that are none of the ten findings, and a file that has each."""
    names = {}
    for kind in (reader.segmentations, reader.polygons, reader.points):
        for file in kind.values():
            for findings in file.content.values():
                names.update({name: file.path for name in findings
                              if name not in CHEXLOCALIZE_FINDINGS and name != "img_size"})
    return names


def stated_sizes(reader: ReaderFiles, image: str, split: str) -> Iterator[tuple[Path, Size]]:
    """Every native size that a reader's files state for an image.

    Raises
    ------
    DataError
        If a run-length code or ``img_size`` is malformed.
    """
    file = reader.segmentations.get(split)
    if file is not None:
        for finding, code in file.content.get(image, {}).items():
            if finding in CHEXLOCALIZE_FINDINGS:
                try:
                    yield file.path, _checked(coco_size(code), f"{file.path}, {image}, {finding}")
                except DataError as error:
                    raise DataError(f"{file.path}, {image}, {finding}: {error}") from None
    file = reader.polygons.get(split)
    if file is not None and image in file.content:
        size = file.content[image].get("img_size")
        if (not isinstance(size, list) or len(size) != 2
                or not all(type(number) is int and number > 0 for number in size)):
            raise DataError(f"{file.path}, {image}: img_size is {shown(size)}, not [height, "
                            "width]; correct it")
        yield file.path, _checked((size[0], size[1]), f"{file.path}, {image}")


def _checked(size: Size, where: str) -> Size:
    check_pixels(*size, where)
    return size


def read_annotation(reader: ReaderFiles, image: str, finding: str, *, split: str, size: Size,
                    label: int) -> Annotation | None:
    """What one reader drew of one finding in one image.

    A run-length code counts as it is, the empty one too.  Where there are polygons only, they
    are filled as the released code does; a finding without polygons in an image that has an
    entry is an annotated negative, since the release lists only what was drawn, unless the
    reference label says that the finding is there.

    Parameters
    ----------
    size : (int, int)
        Native height and width.
    label : int
        Of the finding; it matters only for reference readers without run-length codes.

    Returns
    -------
    Annotation or None
        None: not annotated.
    """
    codes = _entry(reader.segmentations, image, split)
    contours = _entry(reader.polygons, image, split)
    file = reader.segmentations.get(split) or reader.polygons.get(split)
    assert file is not None
    try:
        if codes is not None and finding in codes:
            counts = coco_counts(codes[finding], *size)
        elif contours is not None and finding in contours:
            file = reader.polygons[split]
            counts = rle.encode(polygons_mask(contours[finding], *size))
        elif (contours is not None and codes is None
              and not (reader.role == "reference" and label == Label.POSITIVE)):
            counts = rle.encode(np.zeros(size, dtype=bool))
        else:
            return None
    except DataError as error:
        raise DataError(f"{file.path}, {image}, {finding}: {error}") from None
    return Annotation(
        counts,
        n_polygons=_n_polygons(reader, image, finding, split, empty=not rle.area(counts, *size)),
        points=_points(reader, image, finding, split, size),
    )


def _n_polygons(reader: ReaderFiles, image: str, finding: str, split: str, *,
                empty: bool) -> int:
    """Contours drawn, each once; -1 where the reader has no polygons that could tell."""
    if split not in reader.polygons:
        return -1
    contours = _entry(reader.polygons, image, split)
    if contours is not None:
        try:
            return len(drawn_contours(contours.get(finding, [])))
        except DataError as error:
            raise DataError(f"{reader.polygons[split].path}, {image}, {finding}: {error}") from None
    return 0 if empty else -1


def _points(reader: ReaderFiles, image: str, finding: str, split: str, size: Size,
            ) -> tuple[Point, ...]:
    entry = _entry(reader.points, image, split) or {}
    try:
        points = xy_points(entry.get(finding, ()))
        check_instances(len(points), "points")
    except DataError as error:
        raise DataError(f"{reader.points[split].path}, {image}, {finding}: {error}") from None
    # A click on the rim may lie a little outside; the nearest pixel is what was meant.
    return tuple((min(max(y, 0.0), size[0] - 1.0), min(max(x, 0.0), size[1] - 1.0))
                 for y, x in points)


def _entry(files: dict[str, AnnotationFile], image: str, split: str) -> dict[str, Any] | None:
    return files[split].content.get(image) if split in files else None


def longest_points(reader: ReaderFiles) -> int:
    """Length of the reader's longest list of representative points."""
    return max((len(points) for file in reader.points.values()
                for findings in file.content.values()
                for points in findings.values() if isinstance(points, list)), default=0)
