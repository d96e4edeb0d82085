"""Random splits: patients stay whole, fractions and strata hold, the seed decides."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saltrust.datasets.splits import split_by_patient, warn_of_shared_patients


def patients_and_labels(n: int, seed: int = 0) -> tuple[list[str], Any]:
    rng = np.random.default_rng(seed)
    patients = [f"p{i}" for i in rng.integers(0, max(1, n // 2), n)]
    return patients, rng.integers(0, 2, (n, 2))


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 60), st.integers(0, 5),
       st.sampled_from([(0.7, 0.1, 0.2), (0.5, 0.5, 0), (1, 0, 0), (0, 0, 1), (0.1, 0.1, 0.8)]))
def test_patients_stay_whole_and_fractions_hold(n: int, seed: int,
                                                fractions: tuple[float, ...]) -> None:
    patients, labels = patients_and_labels(n, seed)
    splits = split_by_patient(patients, labels, fractions, seed)
    of_patient = defaultdict(set)
    for patient, split in zip(patients, splits, strict=True):
        of_patient[patient].add(split)
    assert all(len(its_splits) == 1 for its_splits in of_patient.values())
    counts = Counter(next(iter(its_splits)) for its_splits in of_patient.values())
    for split, fraction in zip(("train", "val", "test"), fractions, strict=True):
        assert abs(counts[split] - fraction * len(of_patient)) <= 1.5
        if fraction == 0:
            assert counts[split] == 0
        elif len(of_patient) >= 3:
            assert counts[split] >= 1


def test_every_label_combination_is_divided_alike() -> None:
    labels = np.array([[0, 0]] * 60 + [[1, 0]] * 30 + [[1, 1]] * 10)
    splits = np.array(split_by_patient([str(i) for i in range(100)], labels, (0.7, 0.1, 0.2), 3))
    for part, n in ((slice(0, 60), 60), (slice(60, 90), 30), (slice(90, 100), 10)):
        counts = Counter(splits[part].tolist())
        for split, fraction in (("train", 0.7), ("val", 0.1), ("test", 0.2)):
            assert abs(counts[split] - fraction * n) <= 1


def test_the_seed_decides_and_the_order_does_not() -> None:
    patients, labels = patients_and_labels(80)
    first = split_by_patient(patients, labels, (0.7, 0.1, 0.2), 1)
    assert first == split_by_patient(patients, labels, (0.7, 0.1, 0.2), 1)
    assert first != split_by_patient(patients, labels, (0.7, 0.1, 0.2), 2)
    order = np.random.default_rng(0).permutation(80)
    shuffled = split_by_patient([patients[i] for i in order], labels[order], (0.7, 0.1, 0.2), 1)
    assert shuffled == [first[i] for i in order]


def test_which_patients_are_tested_is_random() -> None:
    tested: Counter[str] = Counter()
    patients = [str(i) for i in range(10)]
    for seed in range(200):
        splits = split_by_patient(patients, np.zeros((10, 1)), (0.7, 0.1, 0.2), seed)
        tested.update(p for p, split in zip(patients, splits, strict=True) if split == "test")
    # 40 expected of 200; the standard deviation is 5.7
    assert min(tested[p] for p in patients) > 15
    assert max(tested[p] for p in patients) < 65


@pytest.mark.parametrize(("splits", "n"), [
    (["train", "train", "test"], 0), (["train", "test", "test"], 1), (["train", "none", "test"], 0),
])
def test_shared_patients_are_counted_and_said(splits: list[str], n: int,
                                              caplog: pytest.LogCaptureFixture) -> None:
    assert warn_of_shared_patients(["a", "a", "b"], splits, "films.csv") == n
    assert ("films.csv" in caplog.text) == (n > 0)
