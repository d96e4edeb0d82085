"""Importing the released CheXlocalize heatmaps, masks and labels into cubes."""

from __future__ import annotations

import functools
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from tqdm import tqdm

from saltrust.cache.bad_files import BadFiles
from saltrust.cache.radiographs import labels_of, write_radiographs
from saltrust.cache.readings import READING
from saltrust.cache.reference import write_annotations
from saltrust.cache.reopening import opened_again
from saltrust.cache.schema import Status
from saltrust.cache.writing import StoreWriter, create_store
from saltrust.choices import MapReading, OnError, check_word
from saltrust.datasets.chexlocalize.annotations import longest_points
from saltrust.datasets.chexlocalize.collection import ChexlocalizeCollection, chexlocalize
from saltrust.datasets.chexlocalize.heatmaps import Heatmap, read_heatmap, read_heatmaps
from saltrust.datasets.chexlocalize.layout import HeatmapFile
from saltrust.errors import DataError

_log = logging.getLogger(__name__)

#: The released heatmaps are of one ensemble of DenseNet121 checkpoints.
MODEL = "ensemble"
ARCHITECTURE = "densenet121"

#: Grid of masks and radiographs where there are no heatmaps to take it from.
DEFAULT_GRID = (320, 320)

#: Images between two writes of the variables without pixels; what a killed import repeats.
_BLOCK = 32


def import_chexlocalize(
    directory: str | Path,
    output: str | Path,
    *,
    reading: MapReading = "raw",
    overwrite: bool = False,
    resume: bool = False,
    on_error: OnError = "stop",
    progress: bool = False,
) -> Path:
    """Turn a folder of the released CheXlocalize layout into cubes.

    Parameters
    ----------
    directory : path
        See :mod:`saltrust.datasets.chexlocalize.layout`.
    output : path
        Store to write: radiographs and masks on the grid of the heatmaps, masks also at native
        size, labels, representative points, probabilities and logits of model ``ensemble`` and
        its heatmaps by explainer (``gradcam`` for ``gradcam_maps_val``).
    reading : {"raw", "absolute", "positive"}
        What of the heatmaps is segmented and ranked.  Whatever their names, what was done with
        their signs before they were released is not known here.
    overwrite, resume : bool
        Replace an existing store; go on with an unfinished one.
    on_error : {'stop', 'skip'}
        Whether radiographs that cannot be read are an error, once all of them are known, or are
        left out.
    progress : bool
        Show bars on stderr.

    Returns
    -------
    pathlib.Path
        The finished store.

    Raises
    ------
    UsageError
        If the folder does not exist, the output does and neither option was given, or the
        reading is not known.
    DataError
        If the files are damaged, contradict each other or try to run code; what is finished
        stays in ``<output>.partial``, never at ``output``.

    Notes
    -----
    Heatmaps are stored as released, not normalised.  The logit is that of the ensemble's mean
    probability, NaN where the probability is 0 or 1.
    """
    check_word(reading, MapReading, "reading")
    collection = chexlocalize(directory, on_error=on_error)
    grid = DEFAULT_GRID
    if collection.heatmaps:
        first = read_heatmap(collection.heatmaps[0]).pixels.shape
        grid = (first[0], first[1])
    explainers = sorted({item.explainer for item in collection.heatmaps})
    create = functools.partial(
        create_store, output, index=collection.index, grid=grid, groups=_groups(collection),
        models=_models() if explainers else None,
        explainers=_explainers(explainers, reading) if explainers else None,
        n_points=max(map(longest_points, collection.readers), default=0),
        identity={"data": collection.fingerprint,
                  # Unfinished stores of earlier versions have none.
                  **({"reading": reading} if reading != "raw" else {})},
        attributes={"data": {**collection.description, "labels": _LABEL_RULE},
                    "data_fingerprint": collection.fingerprint},
        overwrite=overwrite, resume=resume)
    radiographs = [name for name in map(str, collection.index["image"].values)
                   if name in collection.files]
    with opened_again(create, collection, output, radiographs, progress=progress) as writer:
        write_annotations(writer, collection, progress=progress)
        if radiographs:
            bad = BadFiles(on_error)
            write_radiographs(writer, collection, radiographs, bad=bad, progress=progress)
            left_out = bad.settle(len(radiographs), "radiographs", labels_of(collection, bad))
            if left_out:
                _log.warning("%s", left_out)
        if explainers:
            _write_heatmaps(writer, collection, progress=progress)
        return writer.finish()


_LABEL_RULE = ("from the label CSV; for images that no CSV lists, positive exactly where the "
               "reference mask is not empty")


def _groups(collection: ChexlocalizeCollection) -> list[str]:
    groups = ["radiograph"] if collection.has_radiographs else []
    groups += ["reference"]
    return groups + (["prediction", "saliency"] if collection.heatmaps else [])


def _models() -> xr.Dataset:
    return xr.Dataset(coords={
        "model": [MODEL],
        "model_role": ("model", ["ensemble"]),
        "model_architecture": ("model", [ARCHITECTURE]),
    })


def _explainers(names: Sequence[str], reading: MapReading) -> xr.Dataset:
    return xr.Dataset(coords={
        "explainer": list(names),
        "explainer_parameters": ("explainer", ["{}"] * len(names)),
        READING: ("explainer", [reading] * len(names)),
    })


def _write_heatmaps(writer: StoreWriter, collection: ChexlocalizeCollection, *,
                    progress: bool) -> None:
    """Write the heatmaps of every image that is not done, a block of images at a time."""
    by_image: dict[str, list[HeatmapFile]] = defaultdict(list)
    for item in collection.heatmaps:
        by_image[item.image].append(item)
    position = {image: i for i, image in enumerate(writer.labels("image"))}
    status = np.asarray(writer.array("saliency/status")[:])
    todo = [image for image in position if image in by_image
            and (status[position[image]] != Status.MISSING).sum() < len(by_image[image])]
    _log_missing(collection, by_image, status.shape)
    with tqdm(total=len(todo), desc="heatmaps", unit="image",
              disable=None if progress else True) as bar:
        for start in range(0, len(todo), _BLOCK):
            block = todo[start:start + _BLOCK]
            done = [_write_image(writer, collection, position[image], by_image[image], bar)
                    for image in block]
            for name in ("prediction/probability", "prediction/logit", "saliency/status"):
                for image, values in zip(block, done, strict=True):
                    writer.write(name, position[image], values[name])


def _write_image(writer: StoreWriter, collection: ChexlocalizeCollection, position: int,
                 files: Sequence[HeatmapFile], bar: Any) -> dict[str, npt.NDArray[Any]]:
    """Write the maps of one image; return what belongs into the variables without pixels."""
    array = writer.array("saliency/heatmap")
    _, n_findings, n_explainers, n_models, height, width = array.shape
    findings = {name: i for i, name in enumerate(writer.labels("finding"))}
    explainers = {name: i for i, name in enumerate(writer.labels("explainer"))}
    maps = np.full((n_findings, n_explainers, n_models, height, width), np.nan, np.float32)
    values: dict[str, npt.NDArray[Any]] = {
        "prediction/probability": np.full((n_findings, n_models), np.nan, np.float32),
        "prediction/logit": np.full((n_findings, n_models), np.nan, np.float32),
        "saliency/status": np.full(maps.shape[:3], int(Status.MISSING), np.uint8),
    }
    probabilities: dict[str, Heatmap] = {}
    for heatmap in read_heatmaps(files):
        item = heatmap.file
        _check_heatmap(heatmap, (height, width), collection.index, position)
        known = probabilities.setdefault(item.finding, heatmap)
        if abs(known.probability - heatmap.probability) > 1e-6:
            raise DataError(f"{known.file.path} and {item.path} give different probabilities of "
                            "one image and finding; they are not of one model, import them apart")
        finding = findings[item.finding]
        at = (finding, explainers[item.explainer], 0)
        maps[at] = heatmap.pixels
        values["saliency/status"][at] = _status(heatmap.pixels)
        values["prediction/probability"][finding, 0] = heatmap.probability
        values["prediction/logit"][finding, 0] = heatmap.logit
    for explainer in range(n_explainers):
        writer.write("saliency/heatmap", (position, slice(None), explainer), maps[:, explainer])
    bar.update()
    return values


def _check_heatmap(heatmap: Heatmap, grid: tuple[int, int], index: xr.Dataset,
                   position: int) -> None:
    path = heatmap.file.path
    if heatmap.pixels.shape != grid:
        raise DataError(f"{path}: its map has {heatmap.pixels.shape[0]} x "
                        f"{heatmap.pixels.shape[1]} values but others have {grid[0]} x {grid[1]}; "
                        "all maps of a store share one grid, import them apart")
    size = (int(index["native_height"].values[position]),
            int(index["native_width"].values[position]))
    stated = (heatmap.native_height, heatmap.native_width)
    if size != stated:
        raise DataError(f"{path} states a radiograph of {stated[0]} x {stated[1]} pixels, but "
                        f"the other files of {heatmap.file.image} state {size[0]} x {size[1]}; "
                        "they must agree")


def _status(pixels: npt.NDArray[np.float32]) -> Status:
    if not np.isfinite(pixels).all():
        return Status.NONFINITE
    return Status.FLAT if (pixels == pixels[0, 0]).all() else Status.OK


def _log_missing(collection: ChexlocalizeCollection,
                 by_image: Mapping[str, Sequence[HeatmapFile]], shape: tuple[int, ...]) -> None:
    expected = shape[0] * shape[1] * shape[2]
    present = sum(map(len, by_image.values()))
    if present < expected:
        without = shape[0] - len(by_image)
        _log.warning("%s has %d of %d heatmaps (%d of %d images have none); the others are marked "
                     "missing", collection.directory, present, expected, without, shape[0])
