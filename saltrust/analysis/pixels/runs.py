"""Masks as horizontal runs of pixels, and which runs touch: filling holes without labelling pixels.

A mask of millions of pixels has a few thousand runs, and connected components of runs are
connected components of pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]


class Runs(NamedTuple):
    """Horizontal runs on a plane of ``pitch`` pixels a row, in row order.

    Attributes
    ----------
    start, stop : ndarray of int64, shape (n,)
        Flat positions ``row * pitch + column`` of the first pixel and of the one after the
        last.  No run leaves its row.
    pitch : int
    """

    start: IntArray
    stop: IntArray
    pitch: int


def framed(mask: Mask) -> Mask:
    """Copy a mask into a frame of background, one pixel wide."""
    height, width = mask.shape
    frame = np.zeros((height + 2, width + 2), dtype=bool)
    frame[1:-1, 1:-1] = mask
    return frame


def foreground_runs(frame: Mask) -> Runs:
    """Runs of the foreground of a framed mask (see :func:`framed`)."""
    flat = frame.reshape(-1)
    # The frame keeps runs of neighbouring rows apart.
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    return Runs(changes[0::2], changes[1::2], frame.shape[1])


def background_runs(foreground: Runs, rows: int) -> Runs:
    """Runs of the background of a framed mask: what lies between the runs of the foreground."""
    edges = np.arange(rows, dtype=np.int64) * foreground.pitch
    start = np.sort(np.concatenate([edges, foreground.stop]))
    stop = np.sort(np.concatenate([edges + foreground.pitch, foreground.start]))
    return Runs(start, stop, foreground.pitch)


def touching(runs: Runs, *, diagonal: bool) -> tuple[IntArray, IntArray]:
    """Pairs of runs of neighbouring rows that touch.

    Parameters
    ----------
    runs : Runs
    diagonal : bool
        Whether pixels that share a corner only touch (8-connectivity).

    Returns
    -------
    upper, lower : ndarray of int64, shape (pairs,)
        Indices of the runs.
    """
    reach = int(diagonal)
    first = np.searchsorted(runs.stop, runs.start + (runs.pitch - reach), side="right")
    last = np.searchsorted(runs.start, runs.stop + (runs.pitch + reach), side="left")
    counts = last - first
    upper = np.repeat(np.arange(len(runs.start)), counts)
    offset = np.arange(len(upper)) - np.repeat(np.cumsum(counts) - counts, counts)
    return upper, np.repeat(first, counts) + offset


def components(runs: Runs, *, diagonal: bool) -> tuple[int, IntArray]:
    """Number the connected components.

    Returns
    -------
    count : int
    labels : ndarray of int64, shape (n,)
        Component of each run.
    """
    # A tenth of a second, for which whoever works from kept scores has no use.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    upper, lower = touching(runs, diagonal=diagonal)
    n = len(runs.start)
    graph = coo_array((np.ones(len(upper), dtype=np.int8), (upper, lower)), shape=(n, n))
    count, labels = connected_components(graph, directed=False)
    return int(count), labels.astype(np.int64)


def isolated(runs: Runs) -> npt.NDArray[np.bool_]:
    """Which runs are one pixel without any of its eight neighbours."""
    upper, lower = touching(runs, diagonal=True)
    alone = runs.stop - runs.start == 1
    alone[upper] = False
    alone[lower] = False
    return alone


def isolated_pixels(runs: Runs) -> IntArray:
    """Flat positions of foreground pixels without any of their eight neighbours."""
    return runs.start[isolated(runs)]


def filled(foreground: Runs, rows: int) -> Runs:
    """Drop single pixels, then fill holes, as `segmentation.fill_contours` does with pixels.

    Parameters
    ----------
    foreground : Runs
        Of a framed mask.
    rows : int
        Of the frame.

    Returns
    -------
    Runs
        In ascending order; a filled hole is a run of its own between its neighbours.
    """
    kept = ~isolated(foreground)
    foreground = Runs(foreground.start[kept], foreground.stop[kept], foreground.pitch)
    gaps = background_runs(foreground, rows)
    count, component = components(gaps, diagonal=False)
    if count == 1:
        return foreground
    # The first gap is the frame itself: everything it reaches is outside.
    holes = component != component[0]
    return Runs(np.sort(np.concatenate([foreground.start, gaps.start[holes]])),
                np.sort(np.concatenate([foreground.stop, gaps.stop[holes]])), foreground.pitch)


def positions(runs: Runs, which: npt.NDArray[np.bool_]) -> IntArray:
    """Flat positions of all pixels of some runs."""
    start = runs.start[which]
    length = runs.stop[which] - start
    offset = np.arange(int(length.sum())) - np.repeat(np.cumsum(length) - length, length)
    return np.repeat(start, length) + offset
