"""A residual variance per level, against nlme, and against dense matrices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from saltrust.analysis.mixed.formula import parse
from saltrust.analysis.mixed.frame import model_frame
from saltrust.analysis.mixed.model import mixed_model
from saltrust.analysis.mixed.options import Fitting
from saltrust.analysis.mixed.unequal.fitted import LevelSatterthwaite, UnequalFit, fit_levels
from saltrust.analysis.mixed.unequal.optimum import profile
from saltrust.analysis.mixed.unequal.robust import ClusterRobust, within_clusters
from saltrust.errors import DataError, UsageError

FOLDER = Path(__file__).parents[3] / "reference" / "unequal"
GOLDEN: dict[str, Any] = json.loads((FOLDER / "golden.json").read_text())
TABLE = pd.read_csv(FOLDER / "uneven.csv")
FORMULAS = {"patient": "value ~ level + (1|patient)",
            "nested": "value ~ level + (1|patient) + (1|image)"}


def fitted(table: pd.DataFrame, formula: str, *, reml: bool = True) -> UnequalFit:
    parsed = parse(formula)
    return fit_levels(model_frame(table, parsed), parsed, "level", reml=reml)


@pytest.mark.parametrize("name", ["patient", "nested", "patient_ml"])
def test_variances_and_errors_are_those_of_nlme(name: str) -> None:
    expected = GOLDEN["uneven"][name]
    made = mixed_model(TABLE, FORMULAS[name.removesuffix("_ml")],
                       fitting=Fitting(variance="level", reml=not name.endswith("_ml")))
    assert made["fit"]["log_likelihood"][0] == pytest.approx(expected["log_likelihood"], abs=1e-7)
    np.testing.assert_allclose(made["residual_sd"]["sd"], expected["sd"], rtol=2e-5)
    assert made["residual_sd"]["level"].tolist() == expected["level"]
    np.testing.assert_allclose(made["fixed_effects"]["estimate"], expected["estimate"], rtol=1e-5)
    if name != "patient_ml":  # nlme divides those of ML by n - p
        np.testing.assert_allclose(made["fixed_effects"]["std_error"], expected["std_error"],
                                   rtol=1e-5)
    sds = made["random_effects"]["sd"][:-1]
    np.testing.assert_allclose(sorted(sds), sorted(np.atleast_1d(expected["sd_intercepts"])),
                               rtol=2e-5)


@pytest.mark.parametrize("name", ["patient", "nested"])
def test_errors_by_patient_are_those_of_clubsandwich(name: str) -> None:
    expected = GOLDEN["uneven"][name]
    fit = fitted(TABLE, FORMULAS[name])
    patients = pd.factorize(TABLE["patient"])[0]
    assert within_clusters(fit, patients)
    robust = ClusterRobust(fit, patients)
    rows = fit.in_basis(np.eye(4))
    errors = np.sqrt(np.diag(rows @ robust.covariance @ rows.T))
    np.testing.assert_allclose(errors, expected["robust_error"], rtol=1e-5)
    np.testing.assert_allclose(robust.degrees(rows), expected["robust_df"], rtol=1e-5)


def _dense(fit: UnequalFit, ratios: np.ndarray, sds: np.ndarray) -> float:
    likelihood, frame = fit.likelihood, fit.frame
    levels = frame.factors["level"].codes[likelihood.order]
    covariance = np.diag(sds[levels]**2)
    for group, ratio in zip(frame.groups, ratios, strict=True):
        codes = group.codes[likelihood.order]
        covariance += ratio * (codes[:, None] == codes)
    form = likelihood.rows.T @ np.linalg.solve(covariance, likelihood.rows)
    p = len(form) - 1
    information, cross = form[:p, :p], form[:p, p]
    quadratic = form[p, p] - cross @ np.linalg.solve(information, cross)
    degrees = frame.n - p
    return float(np.linalg.slogdet(covariance)[1] + np.linalg.slogdet(information)[1]
                 + degrees * (1 + np.log(2 * np.pi * quadratic / degrees)))


@pytest.mark.parametrize("formula", [
    "value ~ level + (1|image)", "value ~ level + (1|image) + (1|patient)",
    "value ~ level + (1|image) + (1|patient) + (1|model) + (1|image:level) + (1|model:level)",
    "value ~ level + (1|image) + (1|model)"])
def test_deviance_and_gradient_are_those_of_dense_matrices(formula: str) -> None:
    rng = np.random.default_rng(3)
    rows = [(f"p{i // 3}", f"i{i}", f"m{m}", f"l{level}", rng.normal())
            for i in range(24) for m in range(3) for level in range(3) if rng.random() < 0.8]
    table = pd.DataFrame(rows, columns=["patient", "image", "model", "level", "value"])
    fit = fitted(table, formula)
    m = len(fit.frame.groups)
    place = np.concatenate([rng.uniform(0.1, 2, m), rng.normal(size=3) * 0.3])

    def at(x: np.ndarray) -> float:
        return _dense(fit, x[:m], np.exp(x[m:]))

    made = profile(fit.likelihood, place[:m], np.exp(place[m:]), reml=True)
    assert made.deviance == pytest.approx(at(place), abs=1e-9)
    steps = 1e-4 * np.eye(len(place))
    numeric = [(at(place + step) - at(place - step)) / 2e-4 for step in steps]
    np.testing.assert_allclose(made.gradient, numeric, atol=1e-5)


def test_two_complete_levels_are_the_paired_t_test() -> None:
    rng = np.random.default_rng(1)
    one = rng.normal(size=20)
    two = 0.5 * one + rng.normal(0.3, 3, 20)
    table = pd.DataFrame({"image": [f"i{i}" for i in range(20)] * 2,
                          "level": ["a"] * 20 + ["b"] * 20,
                          "value": np.concatenate([one, two])})
    fit = fitted(table, "value ~ level + (1|image)")
    patients = pd.factorize(table["image"])[0]
    robust = ClusterRobust(fit, patients)
    row = fit.in_basis(np.array([[0.0, 1.0]]))
    difference = two - one
    assert (row @ fit.basis_coefficients)[0] == pytest.approx(difference.mean())
    assert np.sqrt(row @ robust.covariance @ row.T)[0, 0] == pytest.approx(
        difference.std(ddof=1) / np.sqrt(20))
    assert robust.degrees(row)[0] == pytest.approx(19)


def test_satterthwaite_of_unrelated_levels_is_welch() -> None:
    # With no image effect to speak of, two levels are two samples with variances of their own.
    rng = np.random.default_rng(4)
    # Against each other within groups, so that the variance of groups is zero.
    values = np.concatenate([np.sort(rng.normal(0, 1, 12)), -np.sort(-rng.normal(0, 4, 30))])
    table = pd.DataFrame({"g": [*range(12), *range(30)], "value": values,
                          "level": ["a"] * 12 + ["b"] * 30})
    fit = fitted(table, "value ~ level + (1|g)")
    assert fit.singular
    a, b = values[:12].var(ddof=1) / 12, values[12:].var(ddof=1) / 30
    welch = (a + b)**2 / (a**2 / 11 + b**2 / 29)
    row = fit.in_basis(np.array([[0.0, 1.0]]))
    inference = LevelSatterthwaite(fit)
    assert np.sqrt(row @ inference.covariance @ row.T)[0, 0] == pytest.approx(np.sqrt(a + b))
    assert inference.degrees(row)[0] == pytest.approx(welch, rel=1e-5)


def test_equal_variances_do_not_move_and_differing_spreads_are_said() -> None:
    made = mixed_model(TABLE, FORMULAS["patient"], fitting=Fitting(engine="builtin"))
    assert "residual_sd" not in made.tables
    assert any("--variance level" in note for note in made.meta["notes"])


@pytest.mark.parametrize("more", [{"df": "kenward-roger"}, {"engine": "pymer4"}, {"verify": True}])
def test_what_is_not_defined_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="--variance equal"):
        Fitting(variance="level", **more)


def test_levels_of_too_few_rows_are_refused() -> None:
    table = pd.concat([TABLE, TABLE.iloc[:2].assign(level="rare")], ignore_index=True)
    with pytest.raises(DataError, match="rare has fewer than 3 rows"):
        mixed_model(table, FORMULAS["patient"], fitting=Fitting(variance="level"))


