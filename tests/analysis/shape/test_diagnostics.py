"""Joint models and diagnostics: statsmodels, the row that was spoiled, what cannot be had."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from statsmodels.stats.outliers_influence import variance_inflation_factor

from saltrust.analysis.options import Testing
from saltrust.analysis.result import Result
from saltrust.analysis.shape.regressions import DESCRIPTORS, regress


def study(n: int = 60, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    generator = np.random.default_rng(seed)
    area = generator.uniform(size=n)
    shapes = pd.DataFrame({
        "image": [f"i{i}" for i in range(n)], "finding": "Edema", "reader": "r",
        "n_instances": generator.integers(1, 4, n), "area_ratio": area,
        "elongation": area + generator.normal(0, 0.3, n), "irrectangularity": area**2})
    iou = 0.2 + 0.5 * area**2 + generator.normal(0, 0.02 + 0.1 * area, n)
    scores = shapes[["image", "finding", "reader"]].assign(
        patient=[f"p{i // 3}" for i in range(n)], area_reference=1.0, area_predicted=1.0,
        explainer="grad", model="m", iou=iou, hit=np.nan)
    return scores, shapes


def of_map(result: Result, table: str) -> pd.DataFrame:
    rows = result[table]
    rows = rows[(rows["scheme"] == "iou") & (rows["response"] == "saliency")]
    return rows.set_index("descriptor")


def test_the_joint_model_is_that_of_statsmodels() -> None:
    scores, shapes = study()
    x = shapes[list(DESCRIPTORS)].to_numpy(dtype=float)
    x = sm.add_constant((x - x.min(axis=0)) / np.ptp(x, axis=0))
    fit = sm.OLS(scores["iou"].to_numpy(), x).fit()
    joint = of_map(regress(scores, shapes, fits=("joint",), testing=Testing("classical")), "joint")
    np.testing.assert_allclose(joint["estimate"], fit.params[1:], rtol=1e-9)
    np.testing.assert_allclose(joint["std_error"], fit.bse[1:], rtol=1e-9)
    np.testing.assert_allclose(joint["p_value"], fit.pvalues[1:], rtol=1e-7)
    np.testing.assert_allclose(joint["vif"], [variance_inflation_factor(x, k)
                                              for k in range(1, 5)], rtol=1e-9)
    np.testing.assert_allclose(joint["r_squared"], fit.rsquared)
    clustered = of_map(regress(scores, shapes, fits=("joint",)), "joint")
    assert set(clustered["errors"]) == {"cr2"}
    assert (clustered["df"] < 20).all()
    np.testing.assert_allclose(clustered["estimate"], joint["estimate"])


def test_the_joint_model_leaves_out_what_does_not_vary() -> None:
    scores, shapes = study()
    shapes["n_instances"] = 1
    shapes["elongation"] = 2 * shapes["area_ratio"]
    joint = of_map(regress(scores, shapes, fits=("joint",)), "joint")
    assert joint.loc["n_instances", "note"] == "the descriptor is constant"
    assert joint.loc["area_ratio", "note"] == "the descriptors are linearly dependent"
    shapes["elongation"] = shapes["irrectangularity"] ** 2
    joint = of_map(regress(scores, shapes, fits=("joint",)), "joint")
    assert joint["estimate"].notna().sum() == 3
    alone = of_map(regress(scores.assign(patient="p"), shapes, fits=("joint",)), "joint")
    assert alone.loc["area_ratio", "note"] == "1 patient: no clustered error"
    few = of_map(regress(scores[:4], shapes, fits=("joint",)), "joint")
    assert few.loc["area_ratio", "note"] == "4 rows: at least 5 are needed"


def test_diagnostics_name_the_row_and_see_what_was_built_in() -> None:
    scores, shapes = study()
    scores.loc[17, "iou"] = 3.0
    table = of_map(regress(scores, shapes, fits=("diagnostics",)), "diagnostics")
    assert (table.loc["area_ratio", "cook_image"], table.loc["area_ratio", "cook_patient"]) == (
        "i17", "p5")
    table = of_map(regress(*study(200), fits=("diagnostics",)), "diagnostics")
    # The score is a square of the area ratio, and the noise rises with it.
    assert table.loc["area_ratio", "reset_p"] < 0.01
    assert table.loc["area_ratio", "breusch_pagan_p"] < 0.01
    assert table.loc["irrectangularity", "reset_p"] > 0.01


@pytest.mark.parametrize(("rows", "note"), [(5, "at least 6"), (60, "no RESET")])
def test_tests_that_cannot_be_had_are_said(rows: int, note: str) -> None:
    scores, shapes = study()
    table = regress(scores[:rows], shapes, fits=("diagnostics",))["diagnostics"]
    row = table[(table["scheme"] == "iou") & (table["response"] == "saliency")
                & (table["descriptor"] == "n_instances")].iloc[0]
    assert note in row["note"]
    assert np.isnan(row["reset_p"])
    assert row["cook_image"]
    missing = table[table["response"] == "expert"]
    assert set(missing["note"]) == {"no benchmark reader"}
