"""The phantom cannot be read off its thumbnails."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from saltrust.datasets.phantom.collection import phantom


@functools.cache
def thumbnails() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int8], npt.NDArray[np.str_]]:
    data = phantom(patients=320, size=64, seed=17)
    pixels = np.stack([data.radiograph(str(name), (64, 64)).pixels
                       for name in data.index["image"].values])
    small = pixels.reshape(-1, 16, 4, 16, 4).mean(axis=(2, 4)).reshape(len(pixels), -1)
    return small, data.index["label"].values, data.index["split"].values


@pytest.mark.parametrize("strength", [1.0, 0.01])
@pytest.mark.parametrize("each_image", [False, True])
def test_logistic_regression_on_thumbnails_stays_poor(strength: float, each_image: bool) -> None:
    pixels, labels, split = thumbnails()
    train, test = split == "train", split == "test"
    assert train.sum() > 250
    if each_image:
        pixels = (pixels - pixels.mean(1, keepdims=True)) / pixels.std(1, keepdims=True)
    pixels = (pixels - pixels[train].mean(0)) / (pixels[train].std(0) + 1e-6)
    areas = []
    for finding in range(labels.shape[1]):
        known = labels[:, finding] >= 0
        model = LogisticRegression(C=strength, max_iter=2000)
        model.fit(pixels[train & known], labels[train & known, finding])
        score = model.decision_function(pixels[test & known])
        areas.append(roc_auc_score(labels[test & known, finding], score))
    # Better than chance, or the labels would have nothing to do with the images.
    assert 0.52 < np.mean(areas) < 0.72
