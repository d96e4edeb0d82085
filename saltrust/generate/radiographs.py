"""Pixels of batches: from the store where they are, else from the data set, and then stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from saltrust.cache.collection import Collection, Radiograph
from saltrust.cache.writing import StoreWriter
from saltrust.generate.plan import Positions


@dataclass(frozen=True)
class LoadedBatch:
    """Pixels of a batch.

    Attributes
    ----------
    images : tuple of str
        Names.
    pixels : ndarray of uint8, shape (B, y, x)
    decoded : dict of int to Radiograph
        Those that are not in the store yet, by position.
    """

    images: tuple[str, ...]
    pixels: npt.NDArray[np.uint8]
    decoded: dict[int, Radiograph]


class RadiographStore:
    """``/radiograph`` of a store, filled as images are first asked for.

    Parameters
    ----------
    writer : StoreWriter
    collection : Collection
        Where radiographs come from that are not in the store yet.

    Attributes
    ----------
    stored : ndarray of bool, shape (image,)
        What the store had when this was made, and what it got through :meth:`store`.
    """

    def __init__(self, writer: StoreWriter, collection: Collection) -> None:
        self._writer = writer
        self._collection = collection
        self._images = writer.labels("image")
        self._pixels = writer.array("radiograph/pixels")
        self.stored = np.asarray(writer.array("radiograph/stored")[:]).astype(bool)

    def load(self, positions: Positions) -> LoadedBatch:
        """Pixels of a batch.

        Raises
        ------
        DataError
            If a radiograph cannot be decoded; the message names its file.
        """
        _, height, width = self._pixels.shape
        pixels = np.empty((len(positions), height, width), dtype=np.uint8)
        decoded = {}
        for row, position in enumerate(positions.tolist()):
            if self.stored[position]:
                pixels[row] = self._pixels[position]
            else:
                radiograph = self._collection.radiograph(self._images[position], (height, width))
                decoded[position] = radiograph
                pixels[row] = radiograph.pixels
        return LoadedBatch(tuple(self._images[position] for position in positions.tolist()),
                           pixels, decoded)

    def store(self, decoded: Mapping[int, Radiograph]) -> None:
        """Write what was decoded; that it is there is written last."""
        if not decoded:
            return
        for position, radiograph in decoded.items():
            self._pixels[position] = radiograph.pixels
        where = (np.array(list(decoded)),)
        for name, values in (
            ("native_height", [item.native_height for item in decoded.values()]),
            ("native_width", [item.native_width for item in decoded.values()]),
            ("radiograph/stored", [1 for _ in decoded]),
        ):
            array = self._writer.array(name)
            array.set_orthogonal_selection(where, np.array(values, dtype=array.dtype))
        self.stored[where] = True
