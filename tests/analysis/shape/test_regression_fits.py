"""Mixed and logistic regressions against statsmodels and closed forms; scores from a CSV."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from scipy import optimize, stats

from saltrust.analysis.inference.logistic import SEPARATED, logistic_regression
from saltrust.analysis.inference.logit_means import logit_mean
from saltrust.analysis.scores.score_rows import select_scores
from saltrust.analysis.shape.regressions import DESCRIPTORS, regress, regressions_from_scores
from saltrust.errors import DataError, UsageError

REFERENCE = Path(__file__).parents[2] / "reference" / "logit"
GOLDEN = json.loads((REFERENCE / "golden.json").read_text(encoding="utf-8"))


def _data(seed: int, n: int = 120) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    x = generator.random(n)
    clusters = generator.integers(0, 40, n)
    y = (generator.random(n) < 1 / (1 + np.exp(1 - 2 * x))).astype(float)
    return x, y, clusters


@pytest.mark.parametrize("seed", range(3))
def test_logit_equals_statsmodels(seed: int) -> None:
    x, y, clusters = _data(seed)
    fitted = logistic_regression(x, y, clusters=clusters)
    design = sm.add_constant(x)
    expected = sm.Logit(y, design).fit(disp=0)
    assert fitted.slope.estimate == pytest.approx(expected.params[1], rel=1e-6)
    assert fitted.slope.std_error == pytest.approx(expected.bse[1], rel=1e-6)
    assert fitted.slope.p_value == pytest.approx(expected.pvalues[1], rel=1e-5)
    assert (fitted.slope.conf_low, fitted.slope.conf_high) == pytest.approx(
        expected.conf_int()[1], rel=1e-6)
    assert fitted.clustered.estimate == fitted.slope.estimate
    assert fitted.slope.note == fitted.clustered.note == ""


@pytest.mark.parametrize(("x", "y"), [
    ([0.0, 0.1, 0.2, 0.6, 0.8, 1.0], [0, 0, 0, 1, 1, 1]),
    ([0.0, 0.1, 0.5, 0.5, 0.8, 1.0], [1, 1, 1, 0, 0, 0]),
])
def test_separated_data_get_firths_estimate(x: list[float], y: list[float]) -> None:
    fitted = logistic_regression(x, y).slope
    design, response = sm.add_constant(np.array(x)), np.array(y, dtype=float)

    def penalized(beta: np.ndarray) -> float:
        p = 1 / (1 + np.exp(-design @ beta))
        information = design.T @ (design * (p * (1 - p))[:, None])
        likelihood = np.sum(response * np.log(p) + (1 - response) * np.log1p(-p))
        return -float(likelihood + 0.5 * np.linalg.slogdet(information)[1])

    best = optimize.minimize(penalized, np.zeros(2), method="Nelder-Mead",
                             options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 10000})
    assert fitted.estimate == pytest.approx(best.x[1], rel=1e-4)
    assert fitted.note == SEPARATED
    assert math.isfinite(fitted.std_error)


def test_means_have_logits_clustered_by_patient() -> None:
    generator = np.random.default_rng(4)
    n = 60
    area = generator.uniform(size=n)
    scores = pd.DataFrame({
        "image": [f"i{i}" for i in range(n)], "finding": "Edema", "reader": "r",
        "patient": [f"p{i // 3}" for i in range(n)], "area_reference": 1.0, "area_predicted": 1.0,
        "explainer": "grad", "model": "m", "iou": np.clip(area - 0.3, 0, 1),
        "hit": (generator.random(n) < area).astype(float)})
    people = scores.assign(explainer="expert", model="e1", hit=1 - scores["hit"])
    second = people.assign(model="e2", hit=1.0)
    shapes = scores[["image", "finding", "reader"]].assign(
        n_instances=1, area_ratio=area, elongation=1 + area**2, irrectangularity=area[::-1])
    result = regress(pd.concat([scores, people, second]), shapes,
                     fits=("fractional", "gee", "two-part", "ordbeta"))
    two = result["two_part"]
    assert (len(two), set(two["scheme"])) == (8, {"iou"})
    near = two.loc[(two["descriptor"] == "area_ratio") & (two["response"] == "saliency"), "note"]
    assert near.item().startswith("whether a share is 0")
    assert two["estimate"].notna().any()
    ordered = result["ordbeta"]
    assert ordered[["response", "descriptor"]].equals(two[["response", "descriptor"]])
    assert ordered.loc[ordered["descriptor"] == "area_ratio", "estimate"].gt(0).all()
    shares, hits = result["fractional"], result["gee"]
    assert (len(shares), len(hits)) == (8, 8)
    assert set(shares["scheme"]) == {"iou"}
    assert (set(shares["errors"]), set(hits["errors"])) == ({"cr2"}, {"mancl-derouen"})
    row = shares[(shares["descriptor"] == "area_ratio") & (shares["response"] == "saliency")]
    x = (area - area.min()) / np.ptp(area)
    expected = logit_mean(x, scores["iou"], scores["patient"])
    assert row["estimate"].item() == pytest.approx(expected.slope.estimate, rel=1e-9)
    assert row["effect_p"].item() == pytest.approx(expected.marginal.p_value, rel=1e-9)
    assert row["p_adjusted"].item() == pytest.approx(4 * row["p_value"].item())
    mine = hits[(hits["response"] == "saliency") & (hits["descriptor"] == "area_ratio")]
    assert mine["df"].item() == 18
    assert mine["p_value"].item() < 0.05
    assert set(hits.loc[hits["response"] == "expert", "note"]) == {
        "a mean over several readers is neither hit nor miss: name one benchmark reader"}
    assert set(shares.loc[shares["descriptor"] == "n_instances", "note"]) == {
        "the regressor is constant"}


def test_logit_that_cannot_be_had_says_why() -> None:
    for x, y, word in (([1, 2], [0, 1], "2 rows"), ([1, 1, 1], [0, 1, 0], "constant"),
                       ([1, 2, 3], [1, 1, 1], "all hits"), ([1, 2, 3], [0, 0, 0], "all misses")):
        slopes = logistic_regression(x, y).slope
        assert math.isnan(slopes.estimate)
        assert word in slopes.note
    with pytest.raises(DataError, match="0 or 1"):
        logistic_regression([1, 2, 3], [0, 0.5, 1])


def test_the_profile_of_separated_data_is_that_of_the_penalized_likelihood() -> None:
    x, y = np.array([0.0, 0.1, 0.2, 0.25, 0.7, 0.8, 1.0]), np.array([0, 0, 0, 0, 1, 1, 1.0])
    fitted = logistic_regression(x, y).slope

    def largest(slope: float) -> float:
        """Over intercepts, on a grid made finer twice."""
        center, width = -slope * x.mean(), 40.0
        for _ in range(6):
            grid = np.linspace(center - width, center + width, 401)
            linear = grid[:, None] + slope * x
            weight = 1 / (2 + np.exp(linear) + np.exp(-linear))
            det = (weight.sum(1) * (weight * x**2).sum(1)) - (weight * x).sum(1) ** 2
            value = (y * linear - np.logaddexp(0, linear)).sum(1) + 0.5 * np.log(det)
            center, width = grid[np.nanargmax(value)], width / 50
        return float(np.nanmax(value))

    best = largest(fitted.estimate)
    assert 2 * (best - largest(0.0)) == pytest.approx(fitted.statistic**2, rel=1e-6)
    assert fitted.p_value == pytest.approx(stats.chi2.sf(fitted.statistic**2, 1))
    for bound in (fitted.conf_low, fitted.conf_high):
        assert 2 * (best - largest(bound)) == pytest.approx(stats.chi2.ppf(0.95, 1), rel=1e-5)
    # Wald's test of the same data sees nothing.
    assert fitted.p_value < 0.02 < 0.05 < 2 * stats.norm.sf(fitted.estimate / fitted.std_error)


@pytest.mark.parametrize("name", ["uneven", "single"])
def test_clustered_errors_are_those_of_r(name: str) -> None:
    rows, golden = pd.read_csv(REFERENCE / f"{name}.csv"), GOLDEN[name]
    fitted = logistic_regression(rows["x"], rows["y"], clusters=rows["patient"])
    assert fitted.slope.std_error == pytest.approx(golden["naive"]["std_error"], rel=1e-6)
    for field, value in golden["slope"].items():
        assert getattr(fitted.clustered, field) == pytest.approx(value, rel=1e-6), field
    moved = logistic_regression(rows["x"], rows["y"], clusters=rows["patient"], null=1.0)
    assert moved.clustered.statistic == pytest.approx(
        (golden["slope"]["estimate"] - 1) / golden["slope"]["std_error"], rel=1e-7)


def test_error_rate_of_a_slope_between_patients() -> None:
    generator = np.random.default_rng(11)
    naive = clustered = 0
    for _ in range(300):
        patients = np.repeat(np.arange(40), generator.integers(1, 11, 40))
        x, shift = generator.normal(size=40)[patients], generator.normal(size=40)[patients]
        y = (generator.random(len(x)) < 1 / (1 + np.exp(-shift))).astype(float)
        fit = logistic_regression(x, y, clusters=patients)
        naive += fit.slope.p_value < 0.05
        clustered += fit.clustered.p_value < 0.05
    assert naive / 300 > 0.1
    assert 0.02 <= clustered / 300 <= 0.08


def _tidy(n: int = 60, seed: int = 0) -> pd.DataFrame:
    """Images with three findings each; image and finding shift the score."""
    generator = np.random.default_rng(seed)
    of_image, of_finding = generator.normal(0, 0.05, n), np.array([0.0, 0.03, -0.03])
    rows = []
    for i in range(n):
        for f in range(3):
            shape = dict(zip(DESCRIPTORS, (int(generator.integers(1, 4)),
                                           *generator.random(3)), strict=True))
            for explainer, level in (("gradcam", 0.3), ("expert", 0.6)):
                iou = np.clip(level + of_image[i] + of_finding[f] + 0.2 * shape["area_ratio"]
                              + generator.normal(0, 0.05), 0, 1)
                hit = float(generator.random() < level + 0.3 * shape["area_ratio"])
                rows.append({"image": f"i{i}", "patient": f"p{i // 2}", "finding": f"f{f}",
                             "explainer": explainer, "iou": iou, "hit": hit, **shape})
    return pd.DataFrame(rows)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "scores.csv"
    _tidy().to_csv(path, index=False)
    return path


def test_random_intercepts_equal_statsmodels(table: Path) -> None:
    slopes = regressions_from_scores(table, fits=["mixed"]).tables["mixed"]
    row = slopes[(slopes["scheme"] == "iou") & (slopes["response"] == "saliency")
                 & (slopes["descriptor"] == "area_ratio")].iloc[0]
    rows = _tidy().query("explainer == 'gradcam'").copy()
    low, high = rows["area_ratio"].min(), rows["area_ratio"].max()
    rows["x"] = (rows["area_ratio"] - low) / (high - low)
    # In percent, since statsmodels warns of any variance below 0.01.
    rows["percent"] = 100 * rows["iou"]
    expected = smf.mixedlm("percent ~ x", rows, groups=np.ones(len(rows)), re_formula="0",
                           vc_formula={"image": "0 + C(image)", "finding": "0 + C(finding)",
                                       "patient": "0 + C(patient)"}
                           ).fit(reml=True)
    assert row["estimate"] == pytest.approx(expected.params["x"] / 100, rel=1e-3)
    assert row["std_error"] == pytest.approx(expected.bse["x"] / 100, rel=1e-2)
    assert row["sd_image"] ** 2 == pytest.approx(
        expected.vcomp[list(expected.model.exog_vc.names).index("image")] / 1e4, rel=0.02)
    assert len(slopes) == 24
    assert (slopes["p_adjusted"] >= slopes["p_value"]).all()


def test_logit_rows_are_those_of_hits(table: Path) -> None:
    slopes = regressions_from_scores(table, fits=["logit"]).tables["logit"]
    assert len(slopes) == 8
    assert set(slopes["response"]) == {"saliency", "expert"}
    rows = _tidy().query("explainer == 'expert'")
    row = slopes[(slopes["response"] == "expert") & (slopes["descriptor"] == "elongation")].iloc[0]
    x = rows["elongation"].to_numpy()
    scaled = (x - x.min()) / np.ptp(x)
    expected = sm.Logit(rows["hit"].to_numpy(), sm.add_constant(scaled)).fit(disp=0)
    assert row["estimate"] == pytest.approx(expected.params[1], rel=1e-6)
    # Six rows of a patient are no six patients.
    fit = logistic_regression(scaled, rows["hit"], clusters=rows["patient"])
    assert (row["errors"], row["std_error_classical"]) == ("cr2", pytest.approx(expected.bse[1]))
    assert (row["p_value"], row["df"]) == pytest.approx((fit.clustered.p_value, fit.clustered.df))
    assert row["odds_ratio"] == pytest.approx(np.exp(expected.params[1]), rel=1e-6)


def test_a_table_gives_what_its_frames_give(table: Path) -> None:
    tidy = _tidy()
    scores = tidy.drop(columns=list(DESCRIPTORS)).assign(
        model="model", reader="reference", area_predicted=1.0, area_reference=1.0)
    shapes = tidy[["image", "finding", *DESCRIPTORS]].drop_duplicates().assign(reader="reference")
    expected = regress(scores, shapes).tables["estimates"]
    estimates = regressions_from_scores(table).tables["estimates"]
    numbers = ["estimate", "std_error", "p_adjusted", "n"]
    np.testing.assert_allclose(estimates[numbers], expected[numbers], rtol=1e-9)
    one = regressions_from_scores(select_scores(_tidy(), {"finding": ["f1"]})).tables["estimates"]
    assert (one["n"] == 60).all()


@pytest.mark.parametrize(("change", "words"), [
    (lambda t: t.drop(columns="finding"), "no column 'finding'"),
    (lambda t: t.drop(columns=["iou", "hit"]), "no score"),
    (lambda t: t.drop(columns=list(DESCRIPTORS)), "no descriptor"),
    (lambda t: t.assign(iou=1.5), "iou 1.5 in row 2"),
    (lambda t: t.assign(iou="high"), "must hold numbers"),
    (lambda t: t[:0], "no rows"),
    (lambda t: t[t["explainer"] == "expert"], "experts only"),
    (lambda t: t.assign(elongation=np.arange(len(t))), "disagree on elongation"),
    (lambda t: t.assign(elongation=np.inf), "elongation in row 2 is infinite"),
    (lambda t: t.assign(finding=t["finding"].where(t.index != 3)), "no finding in row 5"),
    (lambda t: t.assign(image=t["image"].where(t.index != 0, "  ")), "no image in row 2"),
    (lambda t: t.replace({"explainer": {"expert": "Expert"}}), "'Expert' in row 3 .* 'expert'"),
])
def test_bad_tables_are_named(tmp_path: Path, change, words: str) -> None:
    path = tmp_path / "bad.csv"
    change(_tidy()).to_csv(path, index=False)
    with pytest.raises(DataError, match=words):
        regressions_from_scores(path)


def test_columns_that_are_not_read_are_said(tmp_path: Path, caplog) -> None:
    path = tmp_path / "scores.csv"
    _tidy(8).rename(columns={"elongation": "Elongaton"}).assign(site="A").to_csv(path, index=False)
    estimates = regressions_from_scores(path).tables["estimates"]
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "Elongaton (for elongation?" in warning
    assert warning.endswith(", site")
    elongation = estimates[estimates["descriptor"] == "elongation"]
    assert (elongation["note"] == "no row has elongation").all()


def test_options_of_tables(table: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file"):
        regressions_from_scores(tmp_path / "none.csv")
    with pytest.raises(UsageError, match="fit 'mixd'"):
        regressions_from_scores(table, fits=["mixd"])
    with pytest.raises(UsageError, match="no finding 'f9'"):
        select_scores(_tidy(), {"finding": ["f9"]})


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_handful_of_rows_is_no_crash(tmp_path: Path, n: int) -> None:
    path = tmp_path / "few.csv"
    tidy = _tidy(n=n).query("finding == 'f0'")
    tidy.to_csv(path, index=False)
    if n < 3:
        with pytest.raises(DataError, match="at least 3 are needed"):
            regressions_from_scores(path, fits=["mixed", "logit"])
        return
    result = regressions_from_scores(path, fits=["mixed", "logit"])
    for name in ("estimates", "mixed", "logit"):
        missing = result.tables[name]["estimate"].isna()
        assert (result.tables[name].loc[missing, "note"] != "").all()
