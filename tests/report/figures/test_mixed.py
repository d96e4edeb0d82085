"""The figure of a mixed model."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from saltrust.analysis.mixed.model import mixed_model
from saltrust.analysis.mixed.options import Contrasts, Fitting, Inspection
from saltrust.errors import UsageError
from saltrust.report.figures import mixed


def _scores(levels: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    names = [f"map ${level}$" for level in range(levels)]
    return pd.DataFrame({"image": np.repeat(np.arange(10), 2 * levels),
                         "explainer": np.tile(np.repeat(names, 2), 10),
                         "model": np.tile(["m", "n"], 10 * levels),
                         "y": np.repeat(rng.normal(size=10), 2 * levels)
                         + rng.normal(size=20 * levels)})


def test_means_contrasts_and_residuals() -> None:
    result = mixed_model(_scores(), "y ~ explainer * model + (1|image)", over="explainer",
                         contrasts=Contrasts(by="model"),
                         fitting=Fitting(engine="builtin",
                                         inspection=Inspection(residuals=True)))
    figure = result.plot()
    means, forest, residuals, quantiles = figure.axes
    assert [label.get_text() for label in means.get_yticklabels()][:2] == \
        ["map $0$, m", "map $1$, m"]
    assert len(forest.get_yticklabels()) == 6
    drawn = sorted(float(line.get_xdata()[0]) for line in forest.lines[1:])
    np.testing.assert_allclose(drawn, sorted(result["contrasts"]["estimate"]))
    assert len(residuals.lines[-1].get_xdata()) == len(result["residuals"])
    assert {text.get_text() for text in quantiles.get_legend().get_texts()} == {"Residual",
                                                                                "image"}


def test_many_contrasts_leave_those_of_small_p() -> None:
    result = mixed_model(_scores(12), "y ~ explainer + (1|image)",
                         fitting=Fitting(engine="builtin"))
    means, forest = mixed.mixed_model(result).axes
    assert len(means.get_yticklabels()) == 12
    assert forest.get_title(loc="left") == "Contrasts, the 60 smallest p of 66"
    kept = set(result["contrasts"].nsmallest(60, "p_value")["contrast"])
    assert {label.get_text() for label in forest.get_yticklabels()} == kept


def test_nothing_to_draw() -> None:
    table = _scores().assign(x=np.arange(60.0))
    result = mixed_model(table, "y ~ x + (1|image)", fitting=Fitting(engine="builtin"))
    with pytest.raises(UsageError, match="--residuals"):
        mixed.mixed_model(result)
