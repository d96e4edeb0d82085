"""Areas under ROC curves: their covariance from the definition, and resampled."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from saltrust.analysis.inference.auc_covariance import (
    auc_covariance,
    exchange_parts,
    left_out_aucs,
    resampled_aucs,
    weighted_aucs,
)


def drawn(seed: int, n: int = 60, k: int = 3, levels: int = 12
          ) -> tuple[np.ndarray, np.ndarray]:
    """Correlated scores with many ties."""
    generator = np.random.default_rng(seed)
    labels = np.r_[True, True, False, False, generator.random(n - 4) < 0.4]
    base = generator.normal(size=n) + labels
    scores = np.round((base[:, None] + generator.normal(size=(n, k))) * levels / 6)
    return labels, scores


def kernel(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Whether each positive scores above each negative, shape (m, n)."""
    gap = scores[labels][:, None] - scores[~labels][None]
    return (gap > 0) + 0.5 * (gap == 0)


@pytest.mark.parametrize("seed", range(4))
def test_delong_is_its_definition(seed: int) -> None:
    labels, scores = drawn(seed)
    areas = auc_covariance(labels, scores)
    kernels = [kernel(labels, column) for column in scores.T]
    np.testing.assert_allclose(areas.auc, [roc_auc_score(labels, c) for c in scores.T],
                               rtol=1e-12)
    m, n = kernels[0].shape
    expected = (np.cov([each.mean(axis=1) for each in kernels]) / m
                + np.cov([each.mean(axis=0) for each in kernels]) / n)
    np.testing.assert_allclose(areas.covariance, expected, rtol=1e-10)


def test_obuchowski_is_its_definition() -> None:
    labels, scores = drawn(9, n=40, k=2)
    clusters = np.random.default_rng(1).integers(0, 14, 40)
    clustered = auc_covariance(labels, scores, clusters)
    m, n = labels.sum(), (~labels).sum()
    names = np.unique(clusters)
    areas = [roc_auc_score(labels, column) for column in scores.T]
    v10 = np.array([kernel(labels, column).mean(axis=1) for column in scores.T]) \
        - np.array(areas)[:, None]
    v01 = np.array([kernel(labels, column).mean(axis=0) for column in scores.T]) \
        - np.array(areas)[:, None]
    first, second = clusters[labels], clusters[~labels]
    s10, s01, s11 = (np.zeros((2, 2)) for _ in range(3))
    for name in names:
        a, b = v10[:, first == name].sum(axis=1), v01[:, second == name].sum(axis=1)
        s10 += np.outer(a, a)
        s01 += np.outer(b, b)
        s11 += np.outer(a, b)
    i10, i01, i = len(set(first)), len(set(second)), len(names)
    s10, s01, s11 = s10 * i10 / ((i10 - 1) * m), s01 * i01 / ((i01 - 1) * n), s11 * i / (i - 1)
    expected = s10 / m + s01 / n + (s11 + s11.T) / (m * n)
    np.testing.assert_allclose(clustered.covariance, expected, rtol=1e-10)
    assert not np.allclose(expected, auc_covariance(labels, scores).covariance)


def test_clustered_intervals_cover_where_plain_ones_do_not() -> None:
    """Four images of each of 40 patients, nearly equal: true area by the normal model."""
    truth = 0.7602499389  # Phi(1 / sqrt(2)), for a shift of one standard deviation
    covered = np.zeros(2)
    trials = 300
    for trial in range(trials):
        generator = np.random.default_rng(trial)
        patients = np.repeat(np.arange(40), 4)
        labels = np.repeat(np.arange(40) < 20, 4)
        score = (np.repeat(generator.normal(size=40), 4) * np.sqrt(0.9)
                 + generator.normal(size=160) * np.sqrt(0.1) + labels)
        for which, clusters in enumerate((patients, None)):
            areas = auc_covariance(labels, score[:, None], clusters)
            half = 1.959964 * np.sqrt(areas.covariance[0, 0])
            covered[which] += abs(areas.auc[0] - truth) <= half
    assert 0.90 <= covered[0] / trials <= 0.98
    assert covered[1] / trials < 0.8


def test_weighted_areas_are_scikit_learns() -> None:
    labels, scores = drawn(3)
    weights = np.random.default_rng(0).integers(0, 4, (20, len(labels)))
    expected = [[roc_auc_score(labels, column, sample_weight=row) for column in scores.T]
                for row in weights]
    np.testing.assert_allclose(weighted_aucs(labels, scores, weights), expected, rtol=1e-10)
    weights[0, labels] = 0
    assert np.isnan(weighted_aucs(labels, scores, weights)[0]).all()


def test_resamples_have_the_spread_of_delong() -> None:
    labels, scores = drawn(5, n=200)
    replicates = resampled_aucs(labels, scores, np.arange(200), resamples=4000, seed=0)
    covariance = auc_covariance(labels, scores).covariance
    np.testing.assert_allclose(np.cov(replicates.T), covariance, rtol=0.12)


def test_too_few_cases() -> None:
    assert np.isnan(auc_covariance([1, 1], [[0.1], [0.2]]).auc).all()
    one = auc_covariance([1, 0, 0], [[0.9], [0.2], [0.3]])
    assert one.auc[0] == 1
    assert np.isnan(one.covariance).all()


@pytest.mark.parametrize("seed", range(4))
def test_leaving_a_patient_out(seed: int) -> None:
    labels, scores = drawn(seed, n=30)
    patients = np.random.default_rng(seed).integers(0, 9, 30)
    left = left_out_aucs(labels, scores, patients)
    for row, name in zip(left, dict.fromkeys(patients.tolist()), strict=True):
        kept = patients != name
        np.testing.assert_allclose(row, auc_covariance(labels[kept], scores[kept]).auc,
                                   rtol=1e-12)
    assert np.isnan(left_out_aucs([1, 0, 0], [[1.0], [2.0], [3.0]], [0, 1, 2])[0, 0])


@pytest.mark.parametrize("seed", range(4))
def test_parts_with_turned_signs_are_areas_of_exchanged_ranks(seed: int) -> None:
    labels, scores = drawn(seed, n=24, k=2)
    generator = np.random.default_rng(seed)
    patients = generator.integers(0, 7, 24)
    parts = exchange_parts(labels, scores[:, 0], scores[:, 1], patients)
    ranks = rankdata(scores, axis=0)
    names = list(dict.fromkeys(patients.tolist()))
    for _ in range(5):
        signs = generator.choice([-1, 1], len(names))
        turned = np.isin(patients, [n for n, s in zip(names, signs, strict=True) if s < 0])
        exchanged = np.where(turned[:, None], ranks[:, ::-1], ranks)
        areas = auc_covariance(labels, exchanged).auc
        assert (signs * parts).sum() == pytest.approx(areas[0] - areas[1], abs=1e-12)
