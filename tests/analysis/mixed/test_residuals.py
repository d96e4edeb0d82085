"""Predicted random effects and residuals, against dense matrices and a closed form."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from saltrust.analysis.mixed.engines import builtin
from saltrust.analysis.mixed.model import mixed_model
from saltrust.analysis.mixed.options import Contrasts, Fitting, Inspection
from saltrust.analysis.mixed.request import Request, make_request
from saltrust.analysis.mixed.residuals import predict, residual_tables
from saltrust.choices import Variance


def _scores(seed: int = 0, spread: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    image = np.repeat(np.arange(40), 3)
    patient = image // 4
    explainer = np.tile(np.arange(3), 40)
    x = rng.normal(size=120)
    y = (0.3 * explainer + rng.normal(size=10)[patient] + 0.5 * rng.normal(size=40)[image]
         + (0.7 * rng.normal(size=10))[patient] * x
         + rng.normal(size=120) * (0.4 + spread * explainer))
    return pd.DataFrame({"patient": patient, "image": image, "x": x, "y": y,
                         "explainer": np.array(["grad", "cam", "xrai"])[explainer]})


def _request(table: pd.DataFrame, formula: str, variance: Variance = "equal") -> Request:
    return make_request(table, formula, over=None, contrasts=Contrasts(),
                        fitting=Fitting(engine="builtin", variance=variance),
                        confidence_level=0.95, where="the table")


@pytest.mark.parametrize(("formula", "variance"), [
    ("y ~ explainer + (1|patient) + (1|image)", "equal"),
    ("y ~ explainer + x + (1 + x|patient) + (1|image)", "equal"),
    ("y ~ explainer + (1|image)", "level"),
])
def test_dense_matrices(formula: str, variance: Variance) -> None:
    table = _scores(spread=0.4 if variance == "level" else 0.0)
    request = _request(table, formula, variance)
    answer = builtin.answer(request)
    made = predict(request, answer)

    sd = (np.full(120, np.sqrt(answer.residual_variance)) if answer.levels is None else
          answer.levels.sds[request.frame.factors["explainer"].codes])
    random = []
    for group in request.frame.groups:
        columns = np.ones((120, 1)) if group.columns is None else group.columns
        indicator = np.eye(group.size)[group.codes]
        random.append(np.einsum("ng,ne->nge", indicator, columns).reshape(120, -1))
    spreads = [np.kron(np.eye(group.size), matrix) for group, matrix
               in zip(request.frame.groups, answer.covariances, strict=True)]
    total = np.diag(sd**2) + sum(z @ d @ z.T for z, d in zip(random, spreads, strict=True))
    parts = [np.ones(120), table["explainer"] == "cam", table["explainer"] == "xrai"]
    fixed = np.column_stack([*parts, *([table["x"]] if "x +" in formula else [])]).astype(float)
    inverse = np.linalg.inv(total)
    beta = np.linalg.solve(fixed.T @ inverse @ fixed, fixed.T @ inverse @ table["y"])
    rest = table["y"] - fixed @ beta
    effects = [d @ z.T @ inverse @ rest for z, d in zip(random, spreads, strict=True)]
    for one, other in zip(made.effects, effects, strict=True):
        np.testing.assert_allclose(one.ravel(), other, rtol=0, atol=1e-8)
    residual = rest - sum(z @ u for z, u in zip(random, effects, strict=True))
    np.testing.assert_allclose(made.residual, residual, rtol=0, atol=1e-8)
    np.testing.assert_allclose(made.standardized, residual / sd, rtol=0, atol=1e-7)
    np.testing.assert_allclose(made.fitted + made.residual, table["y"], rtol=0, atol=1e-12)


def test_balanced_groups_shrink_by_a_known_factor() -> None:
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(8), 5)
    table = pd.DataFrame({"g": group, "y": rng.normal(size=8)[group] + rng.normal(size=40)})
    request = _request(table, "y ~ 1 + (1|g)")
    answer = builtin.answer(request)
    between = float(answer.covariances[0][0, 0])
    shrink = 5 * between / (5 * between + answer.residual_variance)
    means = table.groupby("g")["y"].mean().to_numpy() - table["y"].mean()
    np.testing.assert_allclose(predict(request, answer).effects[0][:, 0], shrink * means,
                               rtol=0, atol=1e-9)


def test_a_variance_of_zero_has_no_effects_and_no_quantiles() -> None:
    # The groups' means are closer than chance has them.
    table = pd.DataFrame({"g": np.repeat(np.arange(6), 4), "y": [1.0, 2, 3, 4] * 6})
    request = _request(table, "y ~ 1 + (1|g)")
    answer = builtin.answer(request)
    assert answer.singular
    assert not predict(request, answer).effects[0].any()
    quantiles = residual_tables(request, answer)["residual_quantiles"]
    assert set(quantiles["group"]) == {"Residual"}


def test_tables_count_every_row_once() -> None:
    result = mixed_model(_scores(), "y ~ explainer + (1|patient) + (1|image)", fitting=Fitting(
        engine="builtin", inspection=Inspection(residuals=True)))
    groups = result["residuals"]
    assert len(groups) == 20 and groups["n"].sum() == 120
    assert groups["fitted"].is_monotonic_increasing
    assert np.average(groups["residual"], weights=groups["n"]) == pytest.approx(0, abs=1e-9)
    counts = result["residual_quantiles"].groupby("group")["n"].agg(["size", "first"])
    assert counts.loc["image"].tolist() == [40, 40] and counts.loc["patient"].tolist() == [10, 10]
    assert counts.loc["Residual"].tolist() == [99, 120]


def test_unequal_spreads_are_standardized_by_level() -> None:
    request = _request(_scores(spread=1.0), "y ~ explainer + (1|image)", "level")
    made = predict(request, builtin.answer(request))
    codes = request.frame.factors["explainer"].codes
    raw = [made.residual[codes == level].std() for level in range(3)]
    even = [made.standardized[codes == level].std() for level in range(3)]
    assert max(raw) / min(raw) > 2 > 1.6 > max(even) / min(even)
