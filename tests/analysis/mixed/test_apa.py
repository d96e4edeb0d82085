"""Sentences on tests, in the style of the APA."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from saltrust.analysis.mixed.apa import apa_p, apa_sentences
from saltrust.analysis.mixed.model import mixed_model
from saltrust.analysis.mixed.options import Contrasts, Fitting


@pytest.mark.parametrize(("value", "text"), [
    (0.0009999, "p < .001"), (0.001, "p = .001"), (0.05, "p = .050"), (1.0, "p > .999")])
def test_p(value: float, text: str) -> None:
    assert apa_p(value) == text


def test_sentences() -> None:
    anova = pd.DataFrame([["explainer", 3.456, 2.0, 57.996, 0.0382],
                          ["x", 4.0, 3.0, np.inf, 0.2], ["none", np.nan, 1.0, 3.0, np.nan]],
                         columns=["term", "statistic", "df_numerator", "df_denominator",
                                  "p_value"])
    a_b = [-0.2, -0.31, -0.09, -3.4, 12.34, 0.005, 0.0152, "tukey"]
    a_c = [0.1, -0.1, 0.3, 1.0, np.inf, 0.317, np.nan, "none"]
    b_c = [*[np.nan] * 7, "tukey"]
    contrasts = pd.DataFrame(
        [[name, name[0], name[-1], "view", "PA", name, *values]
         for name, values in (("a - b", a_b), ("a - c", a_c), ("b - c", b_c))],
        columns=["contrast", "level_a", "level_b", "by", "by_level", "term", "estimate",
                 "conf_low", "conf_high", "statistic", "df", "p_value", "p_adjusted",
                 "adjustment"])
    made = apa_sentences({"anova": anova, "contrasts": contrasts}, 0.95)
    assert made["sentence"].tolist() == [
        "Effect of explainer: F(2, 58) = 3.46, p = .038.",
        "Effect of x: Wald \u03c7\u00b2(3) = 12.00, p = .200.",
        "a - b, view PA: difference = -0.200, 95% CI [-0.310, -0.0900], "
        "t(12.34) = -3.40, p = .015 (tukey).",
        "a - c, view PA: difference = 0.100, 95% CI [-0.100, 0.300], z = 1.00, p = .317."]


def test_every_contrast_of_a_model_has_one() -> None:
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"image": np.repeat(np.arange(12), 6),
                          "explainer": np.tile(["a", "b", "c"], 24),
                          "model": np.tile(np.repeat(["m", "n"], 3), 12),
                          "y": rng.normal(size=72)})
    result = mixed_model(table, "y ~ explainer * model + (1|image)", over="explainer",
                         contrasts=Contrasts(by="model"), fitting=Fitting(engine="builtin"))
    sentences = result["apa"]
    of_contrasts = sentences[sentences["table"] == "contrasts"]
    assert len(of_contrasts) == len(result["contrasts"]) == 6
    assert of_contrasts["sentence"].str.contains("model [mn]: difference").all()
    assert (sentences["table"] == "anova").sum() == 3
