"""From detected boxes to a heatmap: every pixel gets the score of its best box."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

#: Boxes that do not score higher leave no trace (Arun et al., 2021, appendix E1).
LEAST_SCORE = 0.01


def best_box_heatmap(
    boxes: npt.NDArray[np.floating[Any]],
    scores: npt.NDArray[np.floating[Any]],
    grid: tuple[int, int],
    least: float = LEAST_SCORE,
) -> npt.NDArray[np.float32]:
    """Give every pixel the score of the best box that covers it.

    No box is suppressed before.  Non-maximum suppression would keep the best box, and thereby
    the maximum of the map and every pixel whose best box survives; it could only lower pixels
    at the fringe of a box that overlaps a better one, which "the best box that covers the pixel"
    does not ask for.

    Parameters
    ----------
    boxes : ndarray of float, shape (n, 4)
        y0, x0, y1, x1 in pixels of the grid; a pixel is covered when its centre is inside.
    scores : ndarray of float, shape (n,)
    grid : (int, int)
        Height and width.
    least : float
        Only boxes that score higher count.

    Returns
    -------
    ndarray of float32, shape grid
        0 where no box is.

    Examples
    --------
    >>> boxes = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [0, 0, 3, 3]])
    >>> best_box_heatmap(boxes, np.array([0.5, 0.75, 0.01]), (3, 3))
    array([[0.5 , 0.5 , 0.  ],
           [0.5 , 0.75, 0.75],
           [0.  , 0.75, 0.75]], dtype=float32)
    """
    heatmap = np.zeros(grid, np.float32)
    chosen = np.flatnonzero(scores > least)
    # Painted from the worst to the best, so that the best is on top.
    order = chosen[np.argsort(scores[chosen], kind="stable")]
    size = np.array([*grid, *grid])
    edges = np.clip(np.ceil(boxes[order] - 0.5), 0, size).astype(np.intp)
    for score, (y0, x0, y1, x1) in zip(scores[order].tolist(), edges.tolist(), strict=True):
        heatmap[y0:y1, x0:x1] = score
    return heatmap
