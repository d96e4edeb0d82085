"""Adjusted p-values: R, statsmodels, declared families, properties."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from saltrust.analysis.inference.multiplicity import ADJUSTMENTS, adjust, adjust_families
from saltrust.choices import Adjustment
from saltrust.errors import DataError, UsageError

REFERENCE = Path(__file__).parents[2] / "reference" / "linear"
FAMILIES = json.loads((REFERENCE / "golden.json").read_text(encoding="utf-8"))["families"]
PEERS: dict[Adjustment, str] = {"bonferroni": "bonferroni", "holm": "holm", "bh": "fdr_bh"}

p_lists = st.lists(st.floats(0, 1), min_size=1, max_size=20)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", PEERS)
def test_agrees_with_r(family: dict[str, Any], method: Adjustment) -> None:
    adjusted = adjust(np.array(family["p"], dtype=float), method, size=family["size"])
    np.testing.assert_allclose(adjusted, np.array(family[method], dtype=float), rtol=1e-10)


@pytest.mark.parametrize("method", PEERS)
@given(p_values=p_lists, missing=st.integers(0, 5))
@settings(deadline=None, max_examples=40)
def test_tests_that_were_not_run_count_as_p_of_one(method: Adjustment, p_values: list[float],
                                                   missing: int) -> None:
    # Holm's collects garbage at every call: half a second of a process that holds a test suite.
    with patch("gc.collect"):
        padded = multipletests([*p_values, *[1.0] * missing], method=PEERS[method])[1]
    adjusted = adjust([*p_values, *[np.nan] * missing], method)
    np.testing.assert_allclose(adjusted[:len(p_values)], padded[:len(p_values)], rtol=1e-12)
    assert np.isnan(adjusted[len(p_values):]).all()


@pytest.mark.parametrize("method", ADJUSTMENTS)
@given(p_values=p_lists, more=st.integers(0, 10))
@settings(deadline=None, max_examples=40)
def test_adjusting_keeps_the_order_and_never_lowers(method: Adjustment, p_values: list[float],
                                                    more: int) -> None:
    adjusted = adjust(p_values, method, size=len(p_values) + more)
    assert (adjusted >= p_values).all()
    assert (adjusted <= 1).all()
    assert (np.diff(adjusted[np.argsort(p_values, kind="stable")]) >= 0).all()


@given(p_values=p_lists)
@settings(deadline=None, max_examples=40)
def test_holm_lies_between_raw_and_bonferroni(p_values: list[float]) -> None:
    holm = adjust(p_values, "holm")
    assert (holm <= adjust(p_values, "bonferroni")).all()
    assert (adjust(p_values, "bh") <= holm + 1e-15).all()


def test_bonferroni_keeps_the_familywise_error() -> None:
    generator = np.random.default_rng(1)
    rejected = {"none": 0, "bonferroni": 0, "holm": 0}
    for _ in range(2000):
        p_values = generator.uniform(size=4)
        for method in rejected:
            adjusted = adjust(p_values, method)  # type: ignore[arg-type]
            rejected[method] += int((adjusted < 0.05).any())
    assert rejected["bonferroni"] / 2000 == pytest.approx(1 - (1 - 0.0125) ** 4, abs=0.015)
    assert rejected["holm"] == rejected["bonferroni"]
    assert rejected["none"] / 2000 == pytest.approx(1 - 0.95**4, abs=0.03)


def test_families_are_adjusted_each_by_its_own_size() -> None:
    table = pd.DataFrame({"p_value": [0.01, 0.02, np.nan, 0.3], "note": list("abcd")})
    families = pd.Series(["iou", "iou", "iou", "pooled"])
    adjusted = adjust_families(table, families, "bonferroni", {"iou": 4, "pooled": 1})
    np.testing.assert_allclose(adjusted["p_adjusted"], [0.04, 0.08, np.nan, 0.3])
    assert adjusted["family"].tolist() == ["iou (4 tests)"] * 3 + ["pooled (1 test)"]
    assert set(adjusted["adjustment"]) == {"bonferroni"}
    assert "p_adjusted" not in table.columns


def test_nothing_to_adjust() -> None:
    assert adjust([], "holm").shape == (0,)
    assert np.isnan(adjust([np.nan, np.nan], "bh")).all()
    np.testing.assert_array_equal(adjust([0.2, np.nan], "none", size=9), [0.2, np.nan])


def test_wrong_calls() -> None:
    with pytest.raises(UsageError, match="did you mean 'bonferroni'"):
        adjust([0.1], "bonferoni")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="declared to have 1 tests has 2"):
        adjust([0.1, 0.2], "holm", size=1)
    with pytest.raises(DataError, match="outside"):
        adjust([0.1, 1.2], "holm")
