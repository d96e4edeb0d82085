"""ROC AUC: scikit-learn, pair counting, invariances."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from sklearn.metrics import roc_curve as sklearn_curve

from saltrust.analysis.inference.auc import roc_auc, roc_curve
from saltrust.errors import DataError

rows = st.lists(st.tuples(st.booleans(), st.integers(-4, 4)), min_size=2, max_size=40)


def both_classes(pairs: list[tuple[bool, int]]) -> bool:
    return len({label for label, _ in pairs}) == 2


@given(rows.filter(both_classes))
@settings(deadline=None, max_examples=50)
def test_agrees_with_sklearn_and_with_counting_pairs(pairs: list[tuple[bool, int]]) -> None:
    labels, scores = [a for a, _ in pairs], [b for _, b in pairs]
    area = roc_auc(labels, scores)
    assert area == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    wins = [(p > q) + (p == q) / 2 for a, p in pairs if a for b, q in pairs if not b]
    assert area == sum(wins) / len(wins)


def test_agrees_with_sklearn_on_many_scores() -> None:
    generator = np.random.default_rng(0)
    labels = generator.random(20_000) < 0.03
    scores = np.round(generator.normal(size=20_000) + labels, 2).astype(np.float32)
    assert roc_auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@given(rows.filter(both_classes))
@settings(deadline=None, max_examples=50)
def test_monotone_maps_change_nothing_and_reversal_mirrors(pairs: list[tuple[bool, int]]) -> None:
    labels, scores = np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])
    assert roc_auc(labels, np.exp(scores)) == roc_auc(labels, scores)
    assert roc_auc(labels, -scores) == pytest.approx(1 - roc_auc(labels, scores), abs=1e-15)
    assert roc_auc(~labels, scores) == pytest.approx(1 - roc_auc(labels, scores), abs=1e-15)


def test_known_values() -> None:
    assert roc_auc([0, 1], [0.1, 0.2]) == 1.0
    assert roc_auc([0, 1], [0.2, 0.1]) == 0.0
    assert roc_auc([0, 1, 1, 0], [3, 3, 3, 3]) == 0.5
    assert roc_auc([0, 1, 1], [0.0, -np.inf, np.inf]) == 0.5


@pytest.mark.parametrize(("labels", "scores"), [([], []), ([1], [0.5]), ([0, 0], [0.1, 0.2])])
def test_one_class_has_no_curve(labels: list[int], scores: list[float]) -> None:
    assert math.isnan(roc_auc(labels, scores))


def test_wrong_input_is_refused() -> None:
    with pytest.raises(DataError, match="0 or 1"):
        roc_auc([0, 1, -1], [0.1, 0.2, 0.3])
    with pytest.raises(DataError, match="1 of 2 scores of an ROC curve are NaN"):
        roc_auc([0, 1], [0.1, np.nan])
    with pytest.raises(DataError, match="3 labels were given for 2 scores"):
        roc_auc([0, 1, 1], [0.1, 0.2])


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=30))
@settings(deadline=None, max_examples=50)
def test_the_curve_is_that_of_scikit_learn_and_has_the_area(
    cases: list[tuple[bool, int]]
) -> None:
    labels, scores = map(np.array, zip(*cases, strict=True))
    false, true = roc_curve(labels, scores)
    if labels.all() or not labels.any():
        assert np.isnan(true[1:]).all() or np.isnan(false[1:]).all()
        return
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(true, false) == pytest.approx(roc_auc(labels, scores))
    peer_false, peer_true, _ = sklearn_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(false, peer_false)
    np.testing.assert_allclose(true, peer_true)
