"""What a hit rate has to beat: the image centre, and where findings of other patients lie.

A saliency map can hit large central findings without having seen the image.  The third baseline,
a point thrown at random, is the mean area ratio (the column ``chance`` of the summary).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from saltrust.analysis.pixels.run_masks import RunMask
from saltrust.analysis.stored.annotations import Annotations

CENTRE = "image centre"
AVERAGE_MASK = "average mask"
#: The baselines stand in the column explainer; they are of no model.
NO_MODEL = ""

#: The average mask is taken on this many rows and columns, whatever the size of the images.
_CELLS = 64


def baseline_hits(annotations: Annotations, references: Sequence[int],
                  areas: npt.NDArray[np.float64]) -> pd.DataFrame:
    """Hits of the image centre and of the average mask's peak on every reference mask.

    Parameters
    ----------
    annotations : Annotations
    references : sequence of int
        Reference readers.
    areas : ndarray, shape (images, findings, readers)
        Of :func:`saltrust.analysis.scores.counted_maps.known_areas`.

    Returns
    -------
    pandas.DataFrame
        ``image, patient, finding, explainer, model, reader, iou, hit`` as the scores table;
        IoU is NaN.  Rows of positives only.

    Notes
    -----
    The average mask of a finding is the mean of the reader's masks of all *other* patients, each
    sampled at the centres of 64 x 64 cells of its own image; its peak is the centre of the first
    cell in row order with the largest mean.  Without another patient there is none.
    """
    rows = []
    patients = np.array([f"patient {patient}" if patient else f"image {image}" for image, patient
                         in zip(annotations.images, annotations.patients, strict=True)])
    for k, reader in enumerate(references):
        for finding, name in enumerate(annotations.findings):
            images = np.flatnonzero(areas[:, finding, k] > 0).tolist()
            masks = {image: annotations.runs(image, finding, reader) for image in images}
            for image, place in _average_peaks(masks, patients).items():
                mask = masks[image]
                centre = (mask.height // 2, mask.width // 2)
                peak = None if place is None else (
                    _cell_centres(mask.height)[place[0]], _cell_centres(mask.width)[place[1]])
                rows += [{"image": annotations.images[image],
                          "patient": annotations.patients[image], "finding": name,
                          "explainer": baseline, "model": NO_MODEL,
                          "reader": annotations.readers[reader], "iou": np.nan,
                          "hit": np.nan if at is None else float(mask.covers(*map(int, at)))}
                         for baseline, at in ((CENTRE, centre), (AVERAGE_MASK, peak))]
    return pd.DataFrame(rows, columns=["image", "patient", "finding", "explainer", "model",
                                       "reader", "iou", "hit"])


def _average_peaks(masks: dict[int, RunMask], patients: npt.NDArray[np.str_]
                   ) -> dict[int, tuple[int, int] | None]:
    """Cell with the largest mean mask of the other patients, for every image."""
    sampled = {image: _sampled(mask) for image, mask in masks.items()}
    total = sum(sampled.values(), np.zeros((_CELLS, _CELLS), dtype=np.int64))
    owners = dict.fromkeys(patients[image] for image in masks)
    own = {patient: sum((sampled[image] for image in masks if patients[image] == patient),
                        np.zeros((_CELLS, _CELLS), dtype=np.int64)) for patient in owners}
    found: dict[int, tuple[int, int] | None] = {}
    for image in masks:
        rest = total - own[patients[image]]
        row, column = np.unravel_index(int(rest.argmax()), rest.shape)
        found[image] = (int(row), int(column)) if len(own) > 1 else None
    return found


def _sampled(mask: RunMask) -> npt.NDArray[np.int64]:
    rows, columns = _cell_centres(mask.height), _cell_centres(mask.width)
    return mask.inside(rows[:, None] + columns * mask.height).astype(np.int64)


def _cell_centres(size: int) -> npt.NDArray[np.int64]:
    return ((np.arange(_CELLS) + 0.5) * size / _CELLS).astype(np.int64)
