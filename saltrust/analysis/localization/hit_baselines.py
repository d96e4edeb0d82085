"""What a hit rate has to beat: the image centre, and where findings of other patients lie.

A saliency map can hit large central findings without having seen the image.  The third baseline,
a point thrown at random, is the mean area ratio (the column ``chance`` of the summary).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from saltrust.analysis.scores.drawings import Drawings

CENTER = "image centre"
AVERAGE_MASK = "average mask"
#: The baselines stand in the column explainer; they are of no model.
NO_MODEL = ""


def baseline_hits(drawings: Drawings, references: Sequence[int],
                  areas: npt.NDArray[np.float64]) -> pd.DataFrame:
    """Hits of the image center and of the average mask's peak on every reference mask.

    Parameters
    ----------
    drawings : Drawings
    references : sequence of int
        Reference readers.
    areas : ndarray, shape (images, findings, readers)
        Of :func:`saltrust.analysis.scores.scored_maps.reference_areas`.

    Returns
    -------
    pandas.DataFrame
        ``image, patient, finding, explainer, model, reader, iou, hit`` as the scores table;
        IoU is NaN.  Rows of positives only.

    Notes
    -----
    The average mask of a finding is the mean of the reader's masks of all *other* patients, each
    sampled at the centers of 64 x 64 cells of its own image; its peak is the center of the first
    cell in row order with the largest mean.  Without another patient there is none.
    """
    annotations = drawings.annotations
    patients = np.array([f"patient {patient}" if patient else f"image {image}" for image, patient
                         in zip(annotations.images, annotations.patients, strict=True)])
    drawn = np.argwhere(np.moveaxis(areas > 0, 0, 2))
    finding, k, image = drawn.T
    masks = drawings.masks(np.column_stack([image, finding, np.array(references)[k]]))
    hits = np.column_stack([masks["center"].astype(np.float64), np.full(len(drawn), np.nan)])
    for one in np.unique(drawn[:, :2], axis=0):
        rows = np.flatnonzero((drawn[:, :2] == one).all(axis=1))
        cells = np.unpackbits(masks["cells"][rows], axis=1).astype(np.int64)
        hits[rows, 1] = _average_hits(cells, patients[image[rows]])
    # By reader, then by finding, then by image, the center before the average mask.
    order = np.lexsort((image, finding, k))

    def twice(labels: Sequence[str | None], at: npt.NDArray[np.intp]) -> npt.NDArray[np.object_]:
        return np.repeat(np.array(labels, dtype=object)[at[order]], 2)

    return pd.DataFrame({
        "image": twice(annotations.images, image), "patient": twice(annotations.patients, image),
        "finding": twice(annotations.findings, finding),
        "explainer": np.tile(np.array([CENTER, AVERAGE_MASK], dtype=object), len(drawn)),
        "model": NO_MODEL, "reader": twice(annotations.readers, np.array(references)[k]),
        "iou": np.nan, "hit": hits[order].ravel()})


def _average_hits(cells: npt.NDArray[np.int64], patients: npt.NDArray[np.str_]
                  ) -> npt.NDArray[np.float64]:
    """Whether each mask covers the cell where the mean of the other patients' is largest.

    Parameters
    ----------
    cells : ndarray of int64, shape (n, cells)
        0 or 1.
    patients : ndarray of str, shape (n,)

    Returns
    -------
    ndarray of float64, shape (n,)
        NaN where there is no other patient.
    """
    names, owner = np.unique(patients, return_inverse=True)
    if len(names) < 2:
        return np.full(len(cells), np.nan)
    of_patient = np.zeros((len(names), cells.shape[1]), dtype=np.int64)
    np.add.at(of_patient, owner, cells)
    peak = (cells.sum(axis=0) - of_patient).argmax(axis=1)[owner]
    return cells[np.arange(len(cells)), peak].astype(np.float64)
