"""Means with intervals by patient and tests adjusted together."""

from __future__ import annotations

import numpy as np
import pytest

from saltrust.analysis.inference.bootstrap import mean_interval
from saltrust.analysis.inference.max_t import step_down
from saltrust.analysis.inference.tested_means import means_with_tests


def drawn() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(3)
    patients = np.repeat(np.arange(25), generator.integers(1, 5, 25))
    values = generator.normal([0.4, 0.0, -0.3], 1, (len(patients), 3))
    values[::7, 1] = np.nan
    return values, patients


def test_intervals_are_the_bootstraps_and_tests_those_of_max_t() -> None:
    values, patients = drawn()
    families = ["f", "f", "g"]
    rows = means_with_tests(values, patients, families, resamples=500, seed=2)
    made = mean_interval(values, patients, resamples=500, seed=2, method="auto")
    tests = step_down(values, patients, [[0], [1], [2]], families, resamples=800, seed=2)
    for k, row in enumerate(rows):
        assert (row["conf_low"], row["conf_high"]) == (made.conf_low[k], made.conf_high[k])
        assert (row["p_value"], row["p_adjusted"]) == (tests.p_value[k], tests.p_adjusted[k])
    assert [row["family"] for row in rows] == ["f (2 tests)", "f (2 tests)", "g (1 test)"]


def test_few_patients_and_equal_values_have_no_test() -> None:
    values, patients = drawn()
    few = values.copy()
    few[patients >= 9, 0] = np.nan
    few[:, 1] = 0.5
    first, second, third = means_with_tests(few, patients, ["f"] * 3)
    assert "fewer than 10" in first["note"]
    assert np.isnan([first["p_value"], first["conf_low"], second["p_value"]]).all()
    assert second["estimate"] == second["conf_low"] == 0.5
    assert third["p_value"] == pytest.approx(third["p_adjusted"])
