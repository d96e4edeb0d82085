"""Tables of subgroups: who is tested, families, intervals, and ready-made blocks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saltrust.analysis.inference.clustered import clustered_mean, cr2
from saltrust.analysis.inference.jackknife import jackknife_estimate
from saltrust.analysis.inference.linear import least_squares
from saltrust.analysis.inference.subgroups import (
    Compared,
    Quantity,
    average_block,
    jackknife_block,
    mean_block,
    profile_block,
    slope_block,
    subgroup_tables,
)
from saltrust.analysis.inference.wald import Block, combine


def _block(generator: np.random.Generator, patients: int, images: int = 2, shift: float = 0.0,
           prefix: str = "") -> Block:
    names = np.repeat([f"{prefix}{k}" for k in range(patients)], images)
    made = mean_block(shift + generator.normal(size=len(names)), names)
    assert made is not None
    return made


def _tables(*quantities: Quantity, groups: tuple[str, ...] = ("F", "M", "X")
            ) -> dict[str, pd.DataFrame]:
    return subgroup_tables([Compared("sex", groups, quantities)], ("finding",))


def _quantity(blocks: dict[str, Block], finding: str = "Edema", joint: int = 0) -> Quantity:
    return Quantity({"finding": finding}, "mean", blocks, f"iou, {finding}", joint=joint)


def test_a_group_under_ten_patients_is_named_and_not_tested() -> None:
    generator = np.random.default_rng(0)
    made = _tables(_quantity({"F": _block(generator, 20, prefix="f"),
                              "M": _block(generator, 15, prefix="m", shift=3),
                              "X": _block(generator, 9, prefix="x", shift=3)}))
    few = made["subgroups"].set_index("group").loc["X"]
    assert few["note"] == "9 patients, fewer than 10: not tested"
    assert few["patients"] == 9
    assert np.isfinite(few["estimate"])
    assert np.isnan(few[["conf_low", "conf_high", "std_error"]].astype(float)).all()
    pairs = made["subgroup_differences"].set_index("contrast")
    assert np.isfinite(pairs.loc["F - M", "p_value"])
    assert np.isnan(pairs.loc[["F - X", "M - X"], "p_value"]).all()
    assert pairs.loc["F - X", "note"] == "X: 9 patients, fewer than 10: not tested"
    assert np.isfinite(pairs.loc["F - X", "estimate"])
    # Three pairs were planned; one of them could be tested.
    assert set(pairs["family"]) == {"sex: iou, Edema (3 tests)"}
    assert pairs.loc["F - M", "p_adjusted"] == pytest.approx(
        min(1, 3 * pairs.loc["F - M", "p_value"]))
    (test,) = made["subgroup_tests"].to_dict("records")
    assert test["groups"] == 2
    assert test["df"] == 1
    assert "X: 9 patients" in test["note"]
    assert test["p_value"] == pytest.approx(pairs.loc["F - M", "p_value"])


def test_ten_patients_are_tested_and_images_are_no_patients() -> None:
    generator = np.random.default_rng(1)
    ten, many = _block(generator, 10, 1, prefix="a"), _block(generator, 9, 30, prefix="b")
    rows = _tables(_quantity({"F": ten, "M": many}), groups=("F", "M"))["subgroups"]
    assert rows["note"].tolist() == ["", "9 patients, fewer than 10: not tested"]


def test_a_group_without_rows_or_variation_says_so() -> None:
    generator = np.random.default_rng(2)
    constant = mean_block(np.ones(12), np.arange(12))
    assert constant is not None
    made = _tables(_quantity({"F": _block(generator, 12), "M": constant}))
    notes = made["subgroups"].set_index("group")["note"]
    assert notes["M"] == "no variation between patients: not tested"
    assert notes["X"] == "no rows: not tested"
    assert made["subgroup_tests"]["note"].item().endswith(
        "fewer than 2 groups can be compared: no test")
    assert made["subgroup_tests"]["groups"].item() == 1


def test_the_estimate_of_a_group_is_that_of_its_rows_alone() -> None:
    generator = np.random.default_rng(3)
    block = _block(generator, 14, 3)
    rows = _tables(_quantity({"F": block, "M": _block(generator, 30, prefix="m")}),
                   groups=("F", "M"))["subgroups"]
    expected = clustered_mean(block.response, block.clusters)
    assert tuple(rows.iloc[0][["estimate", "std_error", "conf_low", "conf_high", "df"]]) == (
        pytest.approx((expected.estimate, expected.std_error, expected.conf_low,
                       expected.conf_high, expected.df)))
    assert np.isnan(rows["p_value"]).all()


@settings(deadline=None, max_examples=20)
@given(st.integers(10, 25), st.integers(0, 10_000))
def test_an_interval_of_a_share_lies_between_zero_and_one(patients: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    block = mean_block((generator.random(patients) < 0.9).astype(float), np.arange(patients))
    assert block is not None
    quantity = Quantity({"finding": "f"}, "mean", {"F": block}, "f", bounds=(0.0, 1.0))
    row = _tables(quantity, groups=("F",))["subgroups"].iloc[0]
    if np.isfinite(row["conf_low"]):
        assert 0 < row["conf_low"] < row["estimate"] < row["conf_high"] < 1


def test_families_are_by_coordinate_and_count_every_quantity() -> None:
    generator = np.random.default_rng(4)
    blocks = {"F": _block(generator, 12, prefix="f"), "M": _block(generator, 12, prefix="m")}
    two = [Quantity({"finding": "Edema"}, "mean", blocks, "iou"),
           Quantity({"finding": "Edema"}, "difference", blocks, "iou")]
    made = subgroup_tables([Compared(by, ("F", "M"), two) for by in ("sex", "site")], ("finding",))
    families = made["subgroup_tests"]["family"]
    assert families.tolist() == ["sex: iou (2 tests)"] * 2 + ["site: iou (2 tests)"] * 2
    assert (made["subgroup_tests"]["quantity"].tolist()
            == ["mean", "difference", "mean", "difference"])
    assert (made["subgroup_differences"]["adjustment"] == "holm").all()


def test_explainers_against_groups_have_a_joint_test_alone() -> None:
    generator = np.random.default_rng(5)
    blocks = {}
    for group, gap in (("F", 0.0), ("M", 2.0)):
        values = generator.normal(size=(40, 3))
        values[:, 1] += gap
        block = profile_block(values, np.array([f"{group}{k // 2}" for k in range(40)]))
        assert block is not None
        blocks[group] = block
    made = _tables(_quantity(blocks, joint=3), groups=("F", "M"))
    assert made["subgroups"].empty
    assert made["subgroup_differences"].empty
    (row,) = made["subgroup_tests"].to_dict("records")
    assert row["df"] == 2
    assert row["n"] == 80
    assert row["p_value"] < 1e-4


def test_an_average_weighs_findings_alike() -> None:
    values = np.array([[1.0, np.nan], [1.0, 5.0], [1.0, np.nan]])
    block = average_block(values, np.arange(3))
    assert block is not None
    fit = least_squares(block.design, block.response)
    assert fit is not None
    assert float(block.weights[0] @ fit.coefficients) == pytest.approx(3.0)
    assert average_block(np.full((3, 1), np.nan), np.arange(3)) is None
    assert mean_block(np.full(3, np.nan), np.arange(3)) is None
    assert profile_block(np.array([[1.0, np.nan]]), np.arange(1)) is None
    assert slope_block(np.empty(0), np.empty(0), np.empty(0)) is None


def test_a_slope_is_that_of_cr2_and_pseudo_values_have_the_jackknife_s_error() -> None:
    generator = np.random.default_rng(6)
    x, y, owner = generator.random(40), generator.normal(size=40), np.repeat(np.arange(20), 2)
    block = slope_block(x, y, owner)
    assert block is not None
    made = combine([block])
    design = np.column_stack([np.ones(40), x])
    fit = least_squares(design, y)
    assert made is not None
    assert fit is not None
    robust = cr2(design, fit, owner)
    assert made.single([1.0])[1:] == pytest.approx((robust.std_error, robust.df))
    left_out = generator.normal(0.4, 0.01, 17)
    pseudo = combine([jackknife_block(0.4, left_out, np.arange(17))])
    assert pseudo is not None
    expected = jackknife_estimate(0.4, left_out, 17)
    assert pseudo.single([1.0]) == pytest.approx((0.4, expected.std_error, expected.df))
