"""Contrasts of groups equal clubSandwich, Welch and a plain sandwich; refusals are said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from saltrust.analysis.inference.clustered import clustered_mean
from saltrust.analysis.inference.wald import Block, Combined, combine
from saltrust.errors import DataError

TABLES = ("disjoint", "shared", "one_image")


def _fitted(table: pd.DataFrame, levels: list[str], kind: str) -> Combined:
    blocks = []
    for level in levels:
        rows = table[table["group"] == level]
        ones = np.ones(len(rows))
        design = ones[:, None] if kind == "means" else np.column_stack([ones, rows["x"]])
        weights = np.eye(design.shape[1])[-1:]
        blocks.append(Block(design, rows["y"].to_numpy(), rows["patient"].to_numpy(), weights))
    made = combine(blocks)
    assert made is not None
    return made


@pytest.mark.parametrize("kind", ["means", "slopes"])
@pytest.mark.parametrize("name", TABLES)
def test_all_equals_clubsandwich(name: str, kind: str, reference_folder: Path) -> None:
    folder = reference_folder / "subgroups"
    golden = json.loads((folder / "golden.json").read_text())["tables"][name]
    expected: dict[str, Any] = golden[kind]
    levels = golden["levels"]
    made = _fitted(pd.read_csv(folder / f"{name}.csv"), levels, kind)
    unit = np.eye(len(levels))
    for k, row in enumerate(expected["groups"]):
        assert made.single(unit[k]) == pytest.approx(
            (row["estimate"], row["std_error"], row["df"]), rel=1e-9)
    rows = unit[0] - unit[1:]
    for contrast, row in zip(rows, expected["differences"], strict=True):
        value, error, df = made.single(contrast)
        assert (value, error, df) == pytest.approx(
            (row["estimate"], row["std_error"], row["df"]), rel=1e-9)
        assert 2 * stats.t.sf(abs(value) / error, df) == pytest.approx(row["p_value"], rel=1e-8)
    joint = expected["joint"]
    assert tuple(made.joint(rows)) == pytest.approx(
        (joint["statistic"], joint["df"], joint["df_denominator"], joint["p_value"]), rel=1e-8)


def test_the_joint_test_is_the_same_whichever_contrasts_say_it(reference_folder: Path) -> None:
    table = pd.read_csv(reference_folder / "subgroups" / "disjoint.csv")
    made = _fitted(table, ["a", "b", "c"], "means")
    one = made.joint([[1, -1, 0], [1, 0, -1]])
    other = made.joint([[0, 3, -3], [-1, 0.5, 0.5]])
    assert tuple(one) == pytest.approx(tuple(other), rel=1e-9)


def test_two_groups_of_single_images_have_welch_s_statistic() -> None:
    generator = np.random.default_rng(0)
    one, two = generator.normal(0, 3, 12), generator.normal(0, 1, 30)
    made = combine([Block(np.ones((len(values), 1)), values, np.arange(len(values)) + start,
                          np.ones((1, 1))) for values, start in ((one, 0), (two, 100))])
    assert made is not None
    value, error, _ = made.single([1, -1])
    assert value / error == pytest.approx(stats.ttest_ind(one, two, equal_var=False).statistic)
    joint = made.joint([[1, -1]])
    assert joint.statistic == pytest.approx((value / error) ** 2)


def test_patients_in_both_groups_are_paired() -> None:
    generator = np.random.default_rng(1)
    level = generator.normal(size=20)
    one, two = level + 0.1 * generator.normal(size=20), level + 0.1 * generator.normal(size=20)
    ones, names = np.ones((20, 1)), np.arange(20)
    paired = combine([Block(ones, one, names, np.ones((1, 1))),
                      Block(ones, two, names, np.ones((1, 1)))])
    apart = combine([Block(ones, one, names, np.ones((1, 1))),
                     Block(ones, two, names + 50, np.ones((1, 1)))])
    assert paired is not None
    assert apart is not None
    expected = clustered_mean(one - two, names)
    assert paired.single([1, -1]) == pytest.approx(
        (expected.estimate, expected.std_error, expected.df))
    assert paired.single([1, -1])[1] < apart.single([1, -1])[1] / 3


def test_what_one_patient_alone_settles_is_told() -> None:
    cells = np.eye(2)[[0, 1, 1, 1, 1]]
    block = Block(cells, np.arange(5.0), np.array([0, 1, 2, 3, 4]), np.array([[0.5, 0.5]]))
    made = combine([block])
    assert made is not None
    assert made.settled_by_one.tolist() == [True]
    two = combine([Block(np.eye(2)[[0, 0, 1, 1, 1]], np.arange(5.0), np.arange(5),
                         np.array([[0.5, 0.5]]))])
    assert two is not None
    assert not two.settled_by_one.any()
    # An intercept of a stratum of one row is settled by it and takes no part in the slope.
    strata = np.column_stack([np.eye(2)[[0, 1, 1, 1, 1]], [0.0, 1, 2, 3, 4]])
    slope = combine([Block(strata, np.array([0.0, 1, 3, 2, 5]), np.arange(5),
                           np.array([[0.0, 0, 1]]))])
    assert slope is not None
    assert not slope.settled_by_one.any()


def test_what_cannot_be_fitted_is_none_or_an_error() -> None:
    ones = np.ones((3, 1))
    assert combine([]) is None
    assert combine([Block(ones, np.arange(3.0), np.zeros(3), ones[:1])]) is None
    assert combine([Block(np.ones((3, 2)), np.arange(3.0), np.arange(3), np.ones((1, 2)))]) is None
    with pytest.raises(DataError, match="cluster labels"):
        combine([Block(ones, np.arange(3.0), np.arange(2), ones[:1])])


def test_too_many_contrasts_for_the_patients_have_no_test() -> None:
    generator = np.random.default_rng(2)
    rows = generator.normal(size=(4, 6))
    weights = np.column_stack([-np.ones(5), np.eye(5)])
    made = combine([Block(np.tile(np.eye(6), (4, 1)), rows.ravel(), np.repeat(np.arange(4), 6),
                          weights)])
    assert made is not None
    assert np.isnan(made.joint(np.eye(5)).p_value)
    assert np.isfinite(made.joint(np.eye(5)[:1]).p_value)
