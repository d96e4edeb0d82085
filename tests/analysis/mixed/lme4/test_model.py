"""Models that lme4 fits as they are written, against R alone; and what is said where it cannot."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from saltrust.analysis.mixed.engines import r
from saltrust.analysis.mixed.model import mixed_model
from saltrust.analysis.mixed.options import Contrasts, Fitting
from saltrust.analysis.result import Result
from saltrust.cli import main
from saltrust.errors import DataError, UsageError

LME4 = Fitting(engine="pymer4")
HITS = Fitting(family="binomial")


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    """Scores and hits of three explainers on 40 images, twice each."""
    rng = np.random.default_rng(5)
    image = np.repeat(np.arange(40), 6)
    explainer = np.tile(["grad", "cam", "xrai"], 80)
    age = rng.uniform(20, 80, 240)
    score = (rng.normal(size=40)[image] + rng.normal(scale=.02, size=40)[image] * age
             + np.where(explainer == "xrai", 0.8, 0.0))
    return pd.DataFrame({"im age": [f"i{k}" for k in image], "explainer": explainer, "age": age,
                         "score": score + rng.normal(size=240), "w": rng.integers(1, 5, 240),
                         "hit": (score + rng.logistic(size=240) > 0).astype(int)})


ALONE = """
suppressPackageStartupMessages({library(lme4); library(lmerTest); library(emmeans)})
d <- read.csv("scores.csv")
d$explainer <- factor(d$explainer, levels = unique(d$explainer))
tight <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-8))
a <- lmer(score ~ explainer * poly(age, 2) + offset(log(w)) + (1 + age | im.age), d, weights = w,
          control = tight)
b <- glmer(hit ~ explainer + (1 | im.age), d, family = binomial,
           control = glmerControl(optimizer = "bobyqa"))
pairs_of <- function(model) as.data.frame(pairs(emmeans(
  model, "explainer", data = d, lmer.df = "satterthwaite")))[2:3]
out <- function(model) rbind(coef(summary(model))[, 1:2],
                             as.matrix(pairs_of(model)))
write.csv(rbind(out(a), out(b)), "out.csv", row.names = FALSE)
"""


def both(result: Result) -> np.ndarray:  # type: ignore[type-arg]
    names = ["estimate", "std_error"]
    return np.vstack([result["fixed_effects"][names], result["contrasts"][names]])


@pytest.mark.needs_r
def test_the_numbers_are_those_of_r_alone(scores: pd.DataFrame, tmp_path: Path) -> None:
    scores.to_csv(tmp_path / "scores.csv", index=False)
    (tmp_path / "alone.R").write_text(ALONE)
    subprocess.run(["Rscript", "alone.R"], cwd=tmp_path, check=True, capture_output=True)
    expected = pd.read_csv(tmp_path / "out.csv").to_numpy()
    linear = mixed_model(
        tmp_path / "scores.csv",
        "score ~ explainer * poly(age, 2) + offset(log(w)) + (1 + age|`im age`)", over="explainer",
        fitting=Fitting(engine="pymer4", weights="w"))
    hits = mixed_model(tmp_path / "scores.csv", "hit ~ explainer + (1|`im age`)", fitting=HITS)
    np.testing.assert_allclose(np.vstack([both(linear), both(hits)]), expected, rtol=1e-3,
                               atol=1e-4)
    assert linear["fixed_effects"]["term"].tolist()[-1] == "explainerxrai:poly(age, 2)2"
    assert linear["random_effects"]["effect"].tolist() == ["(Intercept)", "age", ""]
    assert linear["random_effects"]["group"].tolist() == ["im age", "im age", "Residual"]
    assert linear["random_correlations"].columns[0] == "group"


@pytest.mark.needs_r
def test_contrasts_of_hits_are_log_odds(scores: pd.DataFrame) -> None:
    result = mixed_model(scores, "hit ~ explainer + (1|`im age`)", fitting=HITS,
                         contrasts=Contrasts(control="grad"))
    rows = result["contrasts"]
    np.testing.assert_allclose(rows["odds_ratio"], np.exp(rows["estimate"]))
    np.testing.assert_allclose(rows["odds_ratio_low"], np.exp(rows["conf_low"]))
    assert np.isposinf(rows["df"]).all()
    assert set(rows["adjustment"]) == {"dunnett"}
    assert result["means"]["probability"].between(0, 1).all()
    assert result["anova"]["p_value"].between(0, 0.05).all()
    assert "log-odds" in " ".join(result.meta["notes"])


@pytest.mark.needs_r
def test_what_both_engines_fit_is_the_same(scores: pd.DataFrame) -> None:
    """I() keeps the built-in engine's parser out; the model is one that it fits."""
    one = mixed_model(scores, "score ~ explainer + age + (1|`im age`)",
                      fitting=Fitting(engine="builtin"))
    two = mixed_model(scores, "score ~ explainer + I(age) + (1|`im age`)", fitting=LME4)
    names = ["estimate", "std_error", "df", "p_value", "p_adjusted", "conf_low", "conf_high"]
    np.testing.assert_allclose(two["contrasts"][names], one["contrasts"][names], rtol=1e-4)
    np.testing.assert_allclose(two["anova"]["statistic"], one["anova"]["statistic"], rtol=1e-5)


@pytest.mark.needs_r
@pytest.mark.parametrize(("formula", "fitting", "words"), [
    ("score ~ explainer + log(0 * age) + (1|`im age`)", LME4, "log1p"),
    ("score ~ log(explainer) + (1|`im age`)", LME4, "is given text"),
    ("score ~ I(age) + (1|age)", LME4, "coarser group"),
    ("score ~ explainer + (1|`im age`)", HITS, "0 or 1"),
    ("explainer ~ I(age) + (1|`im age`)", LME4, "not numbers"),
])
def test_data_that_cannot_be_fitted_are_told_the_way_out(
        scores: pd.DataFrame, formula: str, fitting: Fitting, words: str,
        capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match=words):
        mixed_model(scores, formula, fitting=fitting)
    assert capfd.readouterr().out == ""


@pytest.mark.needs_r
def test_a_warning_of_lme4_is_a_note(scores: pd.DataFrame) -> None:
    flat = scores.assign(score=np.random.default_rng(1).normal(size=len(scores)))
    result = mixed_model(flat, "score ~ explainer + (1 + age||`im age`)", fitting=LME4)
    assert "singular fit" in " ".join(result.meta["notes"])


def test_without_r_the_sentence_says_what_to_do(scores: pd.DataFrame,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(r, "_missing_installed", lambda: "R is not installed")
    with pytest.raises(UsageError, match=r"needs R .*R is not installed.*--fit gee"):
        mixed_model(scores, "hit ~ explainer + (1|`im age`)", fitting=HITS)
    with pytest.raises(UsageError, match="R is not installed"):
        mixed_model(scores, "hit ~ explainer + (1|`im age`)",
                    fitting=Fitting(engine="builtin", family="binomial"))
    with pytest.raises(UsageError, match="--engine pymer4, which hands it to lme4"):
        mixed_model(scores, "score ~ I(age^2) + (1|`im age`)")


def test_hostile_formulas_are_refused_by_the_command(scores: pd.DataFrame, tmp_path: Path) -> None:
    scores.to_csv(tmp_path / "scores.csv", index=False)
    done = CliRunner().invoke(main, [
        "analyze", "mixed", "--scores", str(tmp_path / "scores.csv"), "--engine", "pymer4",
        "--formula", "score ~ system(age) + (1|`im age`)"])
    assert done.exit_code == 2
    assert "system(...) is no function" in done.stderr
    done = CliRunner().invoke(main, [
        "analyze", "mixed", "--scores", str(tmp_path / "scores.csv"), "--family", "binomial",
        "--weights", "nothing", "--formula", "hit ~ explainer + (1|`im age`)"])
    assert done.exit_code == 2
    assert "no column" in done.stderr
