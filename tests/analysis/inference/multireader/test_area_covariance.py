"""Covariances of areas against brute force, and against their expectation."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from saltrust.analysis.inference.multireader.area_covariance import (
    areas_with_covariance,
    areas_without_each,
    unbiased_covariance,
)
from saltrust.errors import DataError


def comparisons(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """1, one half or 0 for every positive and negative."""
    return np.array([[1.0 if x > y else 0.5 if x == y else 0.0 for y in negatives]
                     for x in positives])


def area(labels: np.ndarray, scores: np.ndarray) -> float:
    known = ~np.isnan(scores)
    return float(comparisons(scores[known & labels], scores[known & ~labels]).mean())


def some_cases(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    owner = generator.integers(0, 9, 24)
    labels = generator.random(24) < 0.5
    scores = generator.integers(0, 4, (24, 3)) + labels[:, None]
    return labels, scores.astype(float), owner


def unbiased_by_hand(labels: Any, scores: Any, owner: Any) -> np.ndarray:
    """Over all pairs of pairs."""
    positive, negative = np.flatnonzero(labels), np.flatnonzero(~labels)
    count = scores.shape[1]
    total, number = np.zeros((count, count)), 0
    tables = [comparisons(scores[positive, k], scores[negative, k]) for k in range(count)]
    for (i, a), (j, b) in product(enumerate(positive), enumerate(negative)):
        for (p, c), (q, d) in product(enumerate(positive), enumerate(negative)):
            if {owner[a], owner[b]} & {owner[c], owner[d]}:
                continue
            number += 1
            total += np.array([[one[i, j] * two[p, q] for two in tables] for one in tables])
    areas = np.array([table.mean() for table in tables])
    return np.outer(areas, areas) - total / number


@pytest.mark.parametrize("clustered", [False, True])
def test_unbiased_is_that_of_all_pairs_of_pairs(clustered: bool) -> None:
    labels, scores, owner = some_cases()
    labels, scores, owner = labels[:14], scores[:14], owner[:14]
    clusters = owner if clustered else np.arange(14)
    np.testing.assert_allclose(unbiased_covariance(labels, scores, clusters),
                               unbiased_by_hand(labels, scores, clusters), atol=1e-12)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, scores, owner = some_cases(3)
    whole = unbiased_covariance(labels, scores, owner)
    for size in (1, 60, 150):
        monkeypatch.setattr(
            "saltrust.analysis.inference.multireader.area_covariance._BLOCK", size)
        np.testing.assert_allclose(unbiased_covariance(labels, scores, owner), whole, atol=1e-14)


def test_unbiased_is_without_bias() -> None:
    """Over all samples of two positives and two negatives of a distribution with three values."""
    points = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]])
    of_positives, of_negatives = np.array([0.2, 0.3, 0.5]), np.array([0.5, 0.3, 0.2])
    labels = np.array([True, True, False, False])
    expected, second, first = np.zeros((2, 2)), np.zeros((2, 2)), np.zeros(2)
    for drawn in product(range(3), repeat=4):
        weight = np.prod([of_positives[drawn[0]], of_positives[drawn[1]],
                          of_negatives[drawn[2]], of_negatives[drawn[3]]])
        scores = points[list(drawn)]
        made = areas_with_covariance(labels, scores, np.arange(4), "unbiased")
        expected += weight * made.covariance
        first += weight * made.auc
        second += weight * np.outer(made.auc, made.auc)
    np.testing.assert_allclose(expected, second - np.outer(first, first), atol=1e-12)


@pytest.mark.parametrize("missing", [False, True])
def test_jackknife_is_that_of_areas_without_each_patient(missing: bool) -> None:
    labels, scores, owner = some_cases(1)
    if missing:
        scores[[0, 5, 7], [0, 1, 2]] = np.nan
        # A patient without any score of one reader.
        scores[owner == owner[3], 2] = np.nan
    names = list(dict.fromkeys(owner.tolist()))
    expected = np.array([[area(labels[owner != name], scores[owner != name, k])
                          for k in range(3)] for name in names])
    left_out, areas = areas_without_each(labels, scores, owner)
    np.testing.assert_allclose(left_out, expected, atol=1e-12)
    np.testing.assert_allclose(areas, [area(labels, scores[:, k]) for k in range(3)])
    made = areas_with_covariance(labels, scores, owner)
    around = expected - expected.mean(axis=0)
    count = len(names)
    np.testing.assert_allclose(made.covariance, (count - 1) / count * around.T @ around,
                               atol=1e-14)


@pytest.mark.parametrize("method", ["delong", "unbiased"])
def test_a_missing_score_is_refused(method: Any) -> None:
    labels, scores, owner = some_cases()
    scores[2, 1] = np.nan
    with pytest.raises(DataError, match="jackknife"):
        areas_with_covariance(labels, scores, owner, method)


def test_of_one_class_there_is_no_area() -> None:
    left_out, areas = areas_without_each(np.ones(4), np.ones((4, 1)), np.arange(4))
    assert np.isnan(areas).all()
    assert np.isnan(left_out).all()
    # Of one patient per class all pairs share somebody.
    assert np.isnan(unbiased_covariance([1, 0], np.ones((2, 1)), np.arange(2))).all()
