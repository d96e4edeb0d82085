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
    parts = []
    for k, reader in enumerate(references):
        for finding, name in enumerate(annotations.findings):
            images = np.flatnonzero(areas[:, finding, k] > 0)
            if not len(images):
                continue
            masks = drawings.masks(np.column_stack(
                [images, np.full_like(images, finding), np.full_like(images, reader)]))
            cells = np.unpackbits(masks["cells"], axis=1).astype(np.int64)
            hits = np.column_stack([masks["center"].astype(np.float64),
                                    _average_hits(cells, patients[images])])
            parts.append(pd.DataFrame({
                "image": np.repeat(np.array(annotations.images, dtype=object)[images], 2),
                "patient": np.repeat(np.array(annotations.patients, dtype=object)[images], 2),
                "finding": name, "explainer": np.tile([CENTER, AVERAGE_MASK], len(images)),
                "model": NO_MODEL, "reader": annotations.readers[reader], "iou": np.nan,
                "hit": hits.ravel()}))
    columns = ["image", "patient", "finding", "explainer", "model", "reader", "iou", "hit"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


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
