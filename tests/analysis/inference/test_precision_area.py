"""Areas under precision-recall curves of cases against scikit-learn, intervals by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import expit, logit
from sklearn.metrics import auc, average_precision_score, precision_recall_curve

from saltrust.analysis.inference import precision_area
from saltrust.analysis.inference.precision_area import precision_areas
from saltrust.analysis.pixels.precision_recall import curve_areas


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6), st.integers(0, 4)), min_size=2,
                max_size=25).filter(lambda cases: any(positive for positive, _, _ in cases)))
def test_areas_are_those_of_scikit_learn(cases: list[tuple[bool, int, int]]) -> None:
    positive, scores, patients = (np.array(column) for column in zip(*cases, strict=True))
    made = precision_areas(positive, scores, patients)
    assert made.average_precision.estimate == pytest.approx(
        average_precision_score(positive, scores))
    assert made.auprc.estimate == pytest.approx(auc(*precision_recall_curve(positive,
                                                                            scores)[1::-1]))
    pixels = curve_areas(scores.astype(float), positive)
    assert made.auprc.estimate == pytest.approx(pixels.auprc)


def test_interval_is_the_jackknife_over_patients_on_log_odds(
        monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(5)
    patients = np.repeat(np.arange(30), generator.integers(1, 4, 30))
    positive = generator.random(len(patients)) < 0.3
    scores = np.round(positive + generator.normal(size=len(patients)), 1)
    value = average_precision_score(positive, scores)
    without = logit([average_precision_score(positive[patients != k], scores[patients != k])
                     for k in range(30)])
    error = np.sqrt(29 / 30 * ((without - without.mean())**2).sum())
    half = stats.t.ppf(0.95, 29) * error
    for block in (4_000_000, 7):
        monkeypatch.setattr(precision_area, "_BLOCK", block)
        made = precision_areas(positive, scores, patients, confidence_level=0.9)
        assert (made.average_precision.conf_low, made.average_precision.conf_high
                ) == pytest.approx(tuple(expit([logit(value) - half, logit(value) + half])))
    assert made.auprc.conf_low < made.auprc.estimate < made.auprc.conf_high


def test_without_a_positive_or_with_one_patient_there_is_no_interval() -> None:
    none = precision_areas([False, False], [0.1, 0.2], ["a", "b"])
    assert np.isnan(none.auprc.estimate)
    assert none.auprc.note == "no positive case"
    one = precision_areas([True, False, False], [0.1, 0.2, 0.3], ["a", "b", "c"])
    assert one.average_precision.estimate == pytest.approx(1 / 3)
    # Without the only patient who has it there is no curve.
    assert np.isnan(one.average_precision.conf_low)
