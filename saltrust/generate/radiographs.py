"""Pixels of batches: from the store where they are, else from the data set, and then stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from saltrust.cache.bad_files import BadFiles
from saltrust.cache.collection import Collection
from saltrust.cache.radiographs import (
    Decoded,
    decode,
    labels_of,
    left_out,
    settle_classes,
    store_radiographs,
    write_radiographs,
)
from saltrust.cache.writing import StoreWriter
from saltrust.choices import OnError
from saltrust.errors import DataError
from saltrust.generate.plan import Positions


class UnreadableRadiograph(DataError):
    """A radiograph cannot be read, and the job is to stop there."""


@dataclass(frozen=True)
class LoadedBatch:
    """Pixels of a batch.

    Attributes
    ----------
    images : tuple of str
        Names.
    pixels : ndarray of uint8, shape (B, y, x)
        Black where a radiograph cannot be read, so that the others are computed in a batch of the
        same size as with it.
    decoded : dict of int to Decoded
        Those that are not in the store yet, by position.
    absent : tuple of int
        Which of the batch cannot be read; nothing of them is stored.
    """

    images: tuple[str, ...]
    pixels: npt.NDArray[np.uint8]
    decoded: dict[int, Decoded]
    absent: tuple[int, ...] = ()

    def present(self) -> LoadedBatch:
        """The batch without the radiographs that cannot be read."""
        rows = [row for row in range(len(self.images)) if row not in self.absent]
        return LoadedBatch(tuple(self.images[row] for row in rows), self.pixels[rows], {})

    def part(self, rows: slice) -> LoadedBatch:
        """Names and pixels of some of the images, to be computed by themselves."""
        return self if rows == slice(0, len(self.images)) else LoadedBatch(
            self.images[rows], self.pixels[rows], {})


class RadiographStore:
    """``/radiograph`` of a store, filled as images are first asked for.

    Parameters
    ----------
    writer : StoreWriter
    collection : Collection
        Where radiographs come from that are not in the store yet.
    on_error : {'stop', 'skip'}
        What becomes of the job at a radiograph that cannot be read.

    Attributes
    ----------
    stored : ndarray of bool, shape (image,)
        What the store had when this was made, and what it got through :meth:`store`.
    left_out : ndarray of bool, shape (image,)
        Which cannot be read.
    """

    def __init__(self, writer: StoreWriter, collection: Collection,
                 on_error: OnError = "stop") -> None:
        self._writer = writer
        self._collection = collection
        self._images = writer.labels("image")
        self._pixels = writer.array("radiograph/pixels")
        self._bad = BadFiles(on_error)
        self.stored = np.asarray(writer.array("radiograph/stored")[:]).astype(bool)
        self.left_out = np.zeros(len(self._images), dtype=bool)

    def load(self, positions: Positions) -> LoadedBatch:
        """Pixels of a batch.

        Raises
        ------
        UnreadableRadiograph
            If a radiograph cannot be decoded and the job is to stop; the message names its file.
        """
        _, height, width = self._pixels.shape
        pixels = np.zeros((len(positions), height, width), dtype=np.uint8)
        decoded: dict[int, Decoded] = {}
        absent = []
        for row, position in enumerate(positions.tolist()):
            if self.stored[position]:
                pixels[row] = self._pixels[position]
                continue
            image = self._images[position]
            if image not in self._bad.reasons:
                decoded[position] = decode(self._collection, image, (height, width), self._bad)
            radiograph = decoded[position].radiograph if position in decoded else None
            if radiograph is not None:
                pixels[row] = radiograph.pixels
            elif self._bad.on_error == "stop":
                raise UnreadableRadiograph(self._bad.reasons[image])
            else:
                absent.append(row)
        return LoadedBatch(tuple(self._images[position] for position in positions.tolist()),
                           pixels, decoded, tuple(absent))

    def store(self, decoded: Mapping[int, Decoded]) -> None:
        """Write what was decoded; that it is there is written last."""
        store_radiographs(self._writer, decoded)
        for position, item in decoded.items():
            readable = item.radiograph is not None
            self.stored[position], self.left_out[position] = readable, not readable

    def try_again(self, positions: Positions) -> None:
        """Decode what an earlier run left out, so that it is known which batches are wanting."""
        before = positions[left_out(self._writer)[positions]]
        for start in range(0, len(before), 16):
            self.store(self.load(before[start:start + 16]).decoded)

    def name_all(self, positions: Positions, *, progress: bool) -> None:
        """Decode and store all that is wanting, and end with all that cannot be read.

        Raises
        ------
        DataError
            If anything of it cannot be read.
        """
        write_radiographs(self._writer, self._collection,
                          [self._images[at] for at in positions.tolist()], progress=progress)

    def settle(self, positions: Positions) -> str:
        """What is left out of some images, for a warning at the end; empty where nothing is.

        Raises
        ------
        DataError
            If nothing is left, or nothing of a finding.
        """
        images = [self._images[at] for at in positions.tolist()]
        settle_classes(self._collection, self._bad, images)
        return self._bad.settle(len(images), "radiographs",
                                labels_of(self._collection, self._bad))
