"""Gaze heatmaps of the training and validation images, as training compares maps with them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from saltrust.cache.collection import Collection, GazeSource, gaze_source
from saltrust.errors import DataError, UsageError, nearest
from saltrust.training.data.images import LabeledImages


@dataclass(frozen=True)
class GazeTargets:
    """Gaze heatmaps of some of the images that are trained on.

    Attributes
    ----------
    known : ndarray of bool, shape (N,)
        Whether there is gaze for each image.
    maps : ndarray of float32, shape (known images, H, W)
        In [0, 1], in the order of the images.
    """

    known: npt.NDArray[np.bool_]
    maps: npt.NDArray[np.float32]

    def of(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
        """Heatmaps of images, shape (len(rows), H, W); zeros where there is no gaze."""
        place = np.cumsum(self.known) - 1
        maps = np.zeros((len(rows), *self.maps.shape[1:]), np.float32)
        known = self.known[rows]
        maps[known] = self.maps[place[rows[known]]]
        return maps

    def counts(self, images: LabeledImages) -> dict[str, int]:
        """How many images of each split have gaze."""
        return {split: int(self.known[images.rows(split)].sum())
                for split in ("train", "val", "test")}


def check_gaze(collection: Collection, reader: str) -> GazeSource:
    """The collection as a source of gaze.

    Raises
    ------
    DataError
        If it has none.
    UsageError
        If it has no such reader.
    """
    source = gaze_source(collection)
    if source is None:
        raise DataError("the data set has no gaze, which the loss of [models.guidance] is taken "
                        "from; import data with gaze, or say gaze = true under [data] for a "
                        "phantom")
    if reader:
        readers = [str(name) for name in collection.index["reader"].values]
        if reader not in readers:
            raise UsageError(f"[models.guidance] names the reader {reader!r}, who is not in the "
                             f"data set; {nearest(reader, readers)}")
    return source


def read_gaze(collection: Collection, images: LabeledImages, reader: str, *,
              progress: bool = True) -> GazeTargets:
    """Gaze heatmaps of all images at the size of their pixels.

    Parameters
    ----------
    collection : Collection
    images : LabeledImages
    reader : str
        Whose gaze; empty: the mean over the readers of each image, scaled to a maximum of 1.
    progress : bool
        Show a bar on stderr.

    Raises
    ------
    DataError
        If the collection has no gaze, or none of a training image.
    UsageError
        If it has no such reader.
    """
    source = check_gaze(collection, reader)
    grid = (images.pixels.shape[1], images.pixels.shape[2])
    known = np.zeros(len(images.names), dtype=bool)
    maps = []
    bar = tqdm(images.names, desc="reading gaze", unit="image", disable=None if progress else True)
    for row, name in enumerate(bar):
        of_readers = source.gaze(name, grid)
        chosen = [heatmap for who, heatmap in of_readers.items() if not reader or who == reader]
        if chosen:
            mean = np.mean(chosen, axis=0)
            maps.append((mean / mean.max()).astype(np.float32))
            known[row] = True
    if not known[images.rows("train")].any():
        whose = f" of reader {reader!r}" if reader else ""
        raise DataError(f"no training image has gaze{whose}, so that there is nothing to guide by; "
                        "change the splits of the data, or train with loss = \"classification\"")
    return GazeTargets(known, np.stack(maps))
