"""What localization needs to know of masks: sizes, where they lie, how two readers' overlap."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

import numpy as np
import numpy.typing as npt

from saltrust.analysis.scores.kept_rows import IntArray, Topic, Values, keep_rows
from saltrust.analysis.stored.annotations import Annotations
from saltrust.cache.scores import ScoreStore

#: A mask is sampled at the centers of this many rows and columns of cells, whatever its size.
CELLS = 64


def _mask_content(annotations: Annotations, at: IntArray) -> Values:
    return {"mask_digest": annotations.digests[tuple(at.T)]}


def _pair_content(annotations: Annotations, at: IntArray) -> Values:
    points = [crc32(repr(annotations.point_pixels(image, finding, reader)).encode())
              for image, finding, reader, _ in at.tolist()]
    return {"digest_a": annotations.digests[tuple(at[:, [0, 1, 2]].T)],
            "digest_b": annotations.digests[tuple(at[:, [0, 1, 3]].T)],
            "digest_points": np.array(points, dtype=np.int64)}


_MASKS = Topic("masks", 1, ("image", "finding", "reader"), _mask_content)
_PAIRS = Topic("readers", 1, ("image", "finding", "reader_a", "reader_b"), _pair_content)


@dataclass(frozen=True)
class Drawings:
    """The annotations of cubes, and where what is measured of them is kept.

    Attributes
    ----------
    annotations : Annotations
    store : ScoreStore or None
        None: nothing is kept.
    """

    annotations: Annotations
    store: ScoreStore | None

    def masks(self, at: IntArray) -> Values:
        """Measurements of masks.

        Parameters
        ----------
        at : ndarray of int, shape (n, 3)
            Positions of image, finding and reader, each annotated.

        Returns
        -------
        dict of str to ndarray
            ``area``, shape (n,), in pixels; ``center``, whether the mask covers the central pixel;
            ``cells``, uint8, shape (n, CELLS * CELLS / 8): packed bits, whether it covers the
            pixel at the center of each cell, in row order.
        """
        return keep_rows(self.store, _MASKS, self.annotations, at, {}, self._measure_masks)

    def pairs(self, at: IntArray) -> Values:
        """Measurements of pairs of readers' masks.

        Parameters
        ----------
        at : ndarray of int, shape (n, 4)
            Positions of image, finding, reader a and reader b, annotated by both.

        Returns
        -------
        dict of str to ndarray
            ``shared``, shape (n,): pixels in both masks; ``first`` and ``any``: whether the first,
            or any, of a's points lies in b's mask (0 without points).
        """
        return keep_rows(self.store, _PAIRS, self.annotations, at, {}, self._measure_pairs)

    def _measure_masks(self, at: IntArray) -> Values:
        area, center = np.zeros(len(at), dtype=np.int64), np.zeros(len(at), dtype=bool)
        cells = np.zeros((len(at), CELLS * CELLS // 8), dtype=np.uint8)
        for k, place in enumerate(at.tolist()):
            mask = self.annotations.runs(*place)
            area[k] = mask.area
            center[k] = mask.covers(mask.height // 2, mask.width // 2)
            rows, columns = cell_centers(mask.height), cell_centers(mask.width)
            cells[k] = np.packbits(mask.inside(rows[:, None] + columns * mask.height))
        return {"area": area, "center": center, "cells": cells}

    def _measure_pairs(self, at: IntArray) -> Values:
        shared = np.zeros(len(at), dtype=np.int64)
        covered = np.zeros((2, len(at)), dtype=bool)
        for k, (image, finding, a, b) in enumerate(at.tolist()):
            one, two = (self.annotations.runs(image, finding, reader) for reader in (a, b))
            shared[k] = one.shared_with(two)
            hits = [two.covers(row, column)
                    for row, column in self.annotations.point_pixels(image, finding, a)]
            covered[:, k] = bool(hits and hits[0]), any(hits)
        return {"shared": shared, "first": covered[0], "any": covered[1]}


def cell_centers(size: int) -> npt.NDArray[np.int64]:
    """Pixels at the centers of the cells along a side.

    Examples
    --------
    >>> cell_centers(128)[:3]
    array([1, 3, 5])
    """
    return ((np.arange(CELLS) + 0.5) * size / CELLS).astype(np.int64)
