"""Cases to classify: images, or examinations, with their labels and what models predicted."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from saltrust.analysis.stored.arrays import dataset_of, labels_of, values_of
from saltrust.analysis.stored.contents import source
from saltrust.analysis.stored.examinations import examinations_of
from saltrust.analysis.stored.images import images_of
from saltrust.cache.schema import Label
from saltrust.choices import CaseLevel
from saltrust.errors import DataError


def case_table(cubes: xr.DataTree, level: CaseLevel = "image"
               ) -> tuple[pd.DataFrame, dict[str, int]]:
    """Label and probability of every case that has both, one row per model.

    Parameters
    ----------
    cubes : xarray.DataTree
    level : {'image', 'study'}
        What a case is.  An examination is positive where one of its images is, else uncertain
        where one is, else negative; its probability is the maximum over its images.

    Returns
    -------
    table : pandas.DataFrame
        ``case, patient, finding, model, label`` (0, 1), ``probability``.
    exclusions : dict of str to int
        Cases times findings left out, by reason.

    Raises
    ------
    DataError
        If the cubes hold no labels or predictions, no case with both, or no examinations for
        ``level='study'``.
    """
    images, stored = images_of(cubes), _probabilities(cubes)
    if images.labels is None:
        raise DataError(f"{source(cubes)} holds no labels, which a ROC curve needs; give the data "
                        "set labels and generate the cubes again")
    probability = values_of(stored, ("image", "finding", "model")).astype(np.float64)
    names, members = (examinations_of(cubes) if level == "study" else
                      (images.names, [[i] for i in range(len(images.names))]))
    exclusions: Counter[str] = Counter()
    parts = []
    for f, finding in enumerate(images.findings):
        label = np.array([_label(images.labels[rows, f]) for rows in members])
        scores = np.stack([probability[rows, f].max(axis=0) for rows in members])
        predicted = np.isfinite(scores).all(axis=1)
        known = np.isin(label, (Label.POSITIVE, Label.NEGATIVE))
        for reason, excluded in (("label uncertain", label == Label.UNCERTAIN),
                                 ("label not stated", label == Label.NOT_STATED),
                                 ("not predicted by every model", ~predicted & known)):
            if excluded.any():
                exclusions[reason] += int(excluded.sum())
        kept = np.flatnonzero(predicted & known)
        parts += [pd.DataFrame({
            "case": [names[i] for i in kept],
            "patient": [images.patients[members[i][0]] for i in kept],
            "finding": finding, "model": model,
            "label": (label[kept] == Label.POSITIVE).astype(np.int64),
            "probability": scores[kept, m]}) for m, model in enumerate(labels_of(stored, "model"))]
    table = pd.concat(parts, ignore_index=True)
    if table.empty:
        reasons = ", ".join(f"{count} {reason}" for reason, count in exclusions.items())
        raise DataError(f"{source(cubes)} has no case with a label and a prediction ({reasons}); "
                        "choose another split, or generate predictions of it")
    return table, dict(exclusions)


def _probabilities(cubes: xr.DataTree) -> xr.DataArray:
    prediction = dataset_of(cubes, "prediction")
    if prediction is None or "probability" not in prediction or not all(
            prediction["probability"].shape):
        raise DataError(f"{source(cubes)} has no predictions (/prediction/probability is absent); "
                        "run `saltrust generate`")
    return prediction["probability"]


def _label(labels: npt.NDArray[np.int8]) -> int:
    for label in (Label.POSITIVE, Label.UNCERTAIN, Label.NEGATIVE):
        if (labels == label).any():
            return int(label)
    return int(Label.NOT_STATED)
