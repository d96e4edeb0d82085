"""Streaming a data set into a store: labels and annotations, and the pixels."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from saltrust.cache import rle
from saltrust.cache.bad_files import BadFiles, settle_all
from saltrust.cache.collection import Annotation, Collection, gaze_source, with_radiograph
from saltrust.cache.fewer_images import as_begun
from saltrust.cache.grid import mask_to_grid
from saltrust.cache.layout import CODES_PER_CHUNK, IMAGES_PER_CHUNK
from saltrust.cache.radiographs import labels_of, settle_classes, write_radiographs
from saltrust.cache.reopening import opened_again
from saltrust.cache.writing import StoreWriter, create_store
from saltrust.choices import OnError
from saltrust.errors import DataError

#: Of the annotations that are in memory at once; 14 findings by ten readers on a grid of 1024 x
#: 1024 take 150 MB.
MOST_BLOCK_BYTES = 512 * 2**20
_LISTS = ("point_y", "point_x", "box")

_log = logging.getLogger(__name__)


def import_collection(collection: Collection, output: str | Path, *, grid: tuple[int, int],
                      attributes: Mapping[str, Any] | None = None, overwrite: bool = False,
                      resume: bool = False, on_error: OnError = "stop",
                      progress: bool = False) -> Path:
    """Store a whole data set, without predictions or heatmaps.

    Parameters
    ----------
    collection : Collection
    output : path
        Store to write.
    grid : (int, int)
        Height and width of radiographs and masks.
    attributes : mapping, optional
        Further provenance.
    overwrite, resume : bool
        Replace what is there; go on with what is unfinished, or with what has changed since: of a
        finished store, radiographs that were left out and can be read now, or whose files have
        another content.
    on_error : {'stop', 'skip'}
        Whether radiographs and annotations that cannot be read are an error, once all of them are
        known, or are left out.
    progress : bool

    Returns
    -------
    pathlib.Path
        The finished store.

    Raises
    ------
    DataError
        If something cannot be read, with ``"skip"`` if nothing can, or no image of a finding;
        what is stored stays, unfinished.
    """
    if resume:
        collection = as_begun(collection, output)
    bad_annotations = BadFiles(on_error)
    n_points, n_boxes = instance_counts(collection, bad_annotations)
    groups = ["reference", *(["radiograph"] if collection.has_radiographs else [])]

    def open_store() -> StoreWriter:
        return create_store(
            output, index=collection.index, grid=grid, groups=groups, n_points=n_points,
            n_boxes=n_boxes, n_fixations=fixation_count(collection), overwrite=overwrite,
            resume=resume,
            identity={"data": collection.fingerprint},
            attributes={"data": collection.description,
                        "data_fingerprint": collection.fingerprint,
                        **(attributes or {})})

    names = [str(name) for name in collection.index["image"].values]
    images = [name for name, has in zip(names, with_radiograph(collection), strict=True) if has]
    with opened_again(open_store, collection, output, images, progress=progress) as writer:
        write_annotations(writer, collection, bad=bad_annotations, progress=progress)
        bad = BadFiles(on_error)
        if collection.has_radiographs:
            write_radiographs(writer, collection, images, bad=bad, progress=progress)
            settle_classes(collection, bad, images)
        for sentence in settle_all(
                lambda: bad.settle(len(images), "radiographs", labels_of(collection, bad)),
                lambda: bad_annotations.settle(len(names), "annotations of images")):
            _log.warning("%s", sentence)
        return writer.finish()


def instance_counts(collection: Collection, bad: BadFiles | None = None) -> tuple[int, int]:
    """The longest lists of points and of boxes of any annotation: sizes for the store.

    A collection that knows them says so in ``index.attrs`` (``n_points``, ``n_boxes``); else
    every annotation is looked at.

    Parameters
    ----------
    collection : Collection
    bad : BadFiles, optional
        Takes up annotations that cannot be read, for the caller to settle; without it they are an
        error here.

    Returns
    -------
    n_points, n_boxes : int
    """
    stated = collection.index.attrs
    if {"n_points", "n_boxes"} <= set(stated):
        return int(stated["n_points"]), int(stated["n_boxes"])
    n_points = n_boxes = 0
    asked = bad or BadFiles()
    for image in map(str, collection.index["image"].values):
        with asked.collecting(image):
            for annotation in collection.annotations(image).values():
                n_points = max(n_points, len(annotation.points))
                n_boxes = max(n_boxes, len(annotation.boxes))
    if bad is None:
        asked.settle(collection.index.sizes["image"], "annotations of images")
    return n_points, n_boxes


def fixation_count(collection: Collection) -> int | None:
    """The most fixations of any image and reader; None where the collection has no gaze."""
    if gaze_source(collection) is None:
        return None
    return int(collection.index.attrs.get("n_fixations", 0))


def write_annotations(writer: StoreWriter, collection: Collection, *,
                      bad: BadFiles | None = None, progress: bool = False) -> None:
    """Write labels, every annotation and gaze of the collection; done images are passed over.

    Images are written in blocks of one chunk, of run-length codes where anybody annotated;
    ``reference/stored`` is set after the block, so that an interrupted run can be resumed.

    Parameters
    ----------
    writer : StoreWriter
    collection : Collection
    bad : BadFiles, optional
        Takes up what cannot be read, for the caller to settle; such images count as not
        annotated.  Without it they are an error here, once all of them are known.
    progress : bool

    Raises
    ------
    DataError
        If a mask does not fit the native size of its image, or there are so many findings and
        readers that one image would take gigabytes.
    """
    asked = bad or BadFiles()
    images = [str(image) for image in collection.index["image"].values]
    _check_memory(writer)
    _write_labels(writer, collection)
    stored = np.asarray(writer.array("reference/stored")[:])
    # Looked up once: a release has thousands of blocks.
    names = writer.labels("finding"), writer.labels("reader")
    step = CODES_PER_CHUNK if names[1] else IMAGES_PER_CHUNK
    bar = tqdm(total=len(images), desc="annotations", unit="image",
               disable=None if progress else True)
    with bar:
        for start in range(0, len(images), step):
            block = slice(start, min(start + step, len(images)))
            if not stored[block].all():
                _write_block(writer, collection, images[block], block, names, asked)
            bar.update(block.stop - block.start)
    if bad is None:
        asked.settle(len(images), "annotations of images")


def _write_labels(writer: StoreWriter, collection: Collection) -> None:
    labels = collection.index["label"].transpose("image", "finding").values
    writer.write("reference/label", slice(None), labels.astype(np.int8))
    for name in ("native_height", "native_width"):
        if name in collection.index:
            known = collection.index[name].values.astype(np.int32)
            present = np.asarray(writer.array(name)[:])
            writer.write(name, slice(None), np.where(known > 0, known, present))


def _check_memory(writer: StoreWriter) -> None:
    """Refuse annotations of which a block would take gigabytes, whatever is drawn."""
    findings, readers = len(writer.labels("finding")), len(writer.labels("reader"))
    if not readers:
        return
    height, width = writer.array("reference/mask").shape[-2:]
    values = 32 + sum(4 * int(np.prod(writer.array(f"reference/{name}").shape[3:]))
                      for name in _LISTS if f"reference/{name}" in writer.root)
    size = findings * readers * (height * width + CODES_PER_CHUNK * values)
    if size > MOST_BLOCK_BYTES:
        raise DataError(f"annotations of {findings} findings by {readers} readers on a grid of "
                        f"{height} x {width} take {size:,} bytes at a time, more than the "
                        f"{MOST_BLOCK_BYTES:,} that are set aside; name fewer findings under "
                        "[data], give fewer readers, or set a smaller grid")


def _write_block(writer: StoreWriter, collection: Collection, images: Sequence[str],
                 block: slice, names: tuple[Sequence[str], Sequence[str]], bad: BadFiles) -> None:
    findings, readers = names
    finding_at = {name: i for i, name in enumerate(findings)}
    reader_at = {name: i for i, name in enumerate(readers)}
    shape = (len(images), len(findings), len(readers))
    annotated = np.zeros(shape, dtype=bool)
    codes = np.full(shape, "", dtype=np.dtypes.StringDType())
    polygons = np.full(shape, -1, dtype=np.int32)
    lists = _empty_lists(writer, shape) if readers else {}
    grid = writer.array("reference/mask").shape[-2:] if readers else (0, 0)
    for i, image in enumerate(images):
        with bad.collecting(image):
            annotations = collection.annotations(image)
            if not annotations:
                continue
            grids = np.zeros((*shape[1:], *grid), dtype=bool)
            for (finding, reader), mask in _on_grid(collection, image, block.start + i,
                                                    annotations, (grid[0], grid[1])):
                grids[finding_at[finding], reader_at[reader]] = mask
            for (finding, reader), annotation in annotations.items():
                at = (finding_at[finding], reader_at[reader])
                annotated[i][at] = True
                codes[i][at] = annotation.mask_rle
                polygons[i][at] = annotation.n_polygons
                _fill_lists(lists, (i, *at), annotation)
            if readers and grids.any():
                writer.write("reference/mask", block.start + i, grids)
    if readers:
        writer.write("reference/mask_rle", block, codes)
        writer.write("reference/n_polygons", block, polygons)
        writer.write("reference/annotated", block, annotated)
        for name, values in lists.items():
            writer.write(f"reference/{name}", block, values)
    _write_gaze(writer, collection, images, block, bad)
    # Of those that cannot be read it stays 0, so that whoever resumes tries them again.
    writer.write("reference/stored", block, [int(image not in bad.reasons) for image in images])


def _on_grid(collection: Collection, image: str, position: int,
             annotations: Mapping[tuple[str, str], Annotation], grid: tuple[int, int],
             ) -> Iterator[tuple[tuple[str, str], npt.NDArray[np.bool_]]]:
    """Masks of one image on the grid, by finding and reader, where they have any pixel."""
    height, width = native_size(collection, image, position)
    for (finding, reader), annotation in annotations.items():
        try:
            # Most of what a release annotates is that there is nothing.
            drawn = rle.area(annotation.mask_rle, height, width) > 0
        except DataError as error:
            raise DataError(f"{image}, {finding}, reader {reader}: {error}") from None
        if drawn:
            mask = rle.decode(annotation.mask_rle, height, width)
            yield (finding, reader), mask_to_grid(mask, grid)


def _write_gaze(writer: StoreWriter, collection: Collection, images: Sequence[str],
                block: slice, bad: BadFiles) -> None:
    source = gaze_source(collection)
    if source is None:
        return
    reader_at = {name: i for i, name in enumerate(writer.labels("reader"))}
    grid = writer.array("reference/gaze").shape[-2:]
    recorded = np.zeros((len(images), len(reader_at)), dtype=bool)
    lists = {}
    if "reference/fixation_y" in writer.root:
        shape = (*recorded.shape, writer.array("reference/fixation_y").shape[-1])
        lists = {name: np.full(shape, np.nan, dtype=np.float32) for name in ("y", "x", "duration")}
    for i, image in enumerate(images):
        with bad.collecting(image):
            for reader, heatmap in source.gaze(image, (grid[0], grid[1])).items():
                at = reader_at[reader]
                recorded[i, at] = True
                writer.write("reference/gaze", (block.start + i, at), heatmap)
            for reader, fixations in (source.fixations(image) if lists else {}).items():
                for name, values in lists.items():
                    values[i, reader_at[reader], :len(fixations)] = getattr(fixations, name)
    for name, values in lists.items():
        writer.write(f"reference/fixation_{name}", block, values)
    writer.write("reference/gaze_recorded", block, recorded)


def _empty_lists(writer: StoreWriter, shape: tuple[int, ...]) -> dict[str, npt.NDArray[Any]]:
    lists = {}
    for name in _LISTS:
        if f"reference/{name}" in writer.root:
            extra = writer.array(f"reference/{name}").shape[3:]
            lists[name] = np.full((*shape, *extra), np.nan, dtype=np.float32)
    return lists


def _fill_lists(lists: dict[str, npt.NDArray[Any]], at: tuple[int, int, int],
                annotation: Annotation) -> None:
    for k, (y, x) in enumerate(annotation.points):
        lists["point_y"][at][k] = y
        lists["point_x"][at][k] = x
    for k, box in enumerate(annotation.boxes):
        lists["box"][at][k] = box


def native_size(collection: Collection, image: str, position: int) -> tuple[int, int]:
    """Height and width of the image at ``position`` of the index, which its masks have.

    Raises
    ------
    DataError
        If the data set does not state them.
    """
    for name in ("native_height", "native_width"):
        if name not in collection.index:
            raise DataError(f"{image} has annotations but the data set does not state its native "
                            "size; give native_height and native_width")
    height = int(collection.index["native_height"].values[position])
    width = int(collection.index["native_width"].values[position])
    if height <= 0 or width <= 0:
        raise DataError(f"{image} has annotations but its native size is unknown; give its "
                        "radiograph or its native_height and native_width")
    return height, width
