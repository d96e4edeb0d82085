"""The figure of residuals draws what the table says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from saltrust.analysis.result import Result
from saltrust.analysis.shape.regressions import regress
from saltrust.report.figures.residuals import residuals


@pytest.fixture(scope="module")
def result() -> Result:
    generator = np.random.default_rng(4)
    n = 60
    area = generator.uniform(size=n)
    scores = pd.DataFrame({
        "image": [f"i{i}" for i in range(n)], "finding": "Edema", "reader": "r",
        "patient": [f"p{i // 3}" for i in range(n)], "area_reference": 1.0, "area_predicted": 1.0,
        "explainer": "grad", "model": "m", "iou": np.clip((area - 0.5) ** 2, 0, 1),
        "hit": (generator.random(n) < area).astype(float)})
    shapes = scores[["image", "finding", "reader"]].assign(
        n_instances=1 + np.arange(n) % 2, area_ratio=area, elongation=1.0,
        irrectangularity=area[::-1])
    return regress(pd.concat([scores, scores.assign(explainer="cam")]), shapes,
                   fits=("diagnostics",))


def test_groups_share_out_all_rows_and_their_residuals(result: Result) -> None:
    table = result["residuals"]
    assert set(table["descriptor"]) == {"n_instances", "area_ratio", "irrectangularity"}
    for _, groups in table.groupby(["explainer", "scheme", "descriptor"]):
        assert groups["n"].sum() == 60
        assert (groups["n"] * groups["residual"]).sum() == pytest.approx(0, abs=1e-9)
        steps = np.diff(groups["fitted"])
        assert (steps > 0).all() or (steps < 0).all()
    bent = table[(table["explainer"] == "grad") & (table["scheme"] == "iou")
                 & (table["descriptor"] == "area_ratio")]["residual"].to_numpy()
    # A parabola: above the line at the ends, below it between.
    assert min(bent[0], bent[-1]) > 0 > bent[len(bent) // 2]


def test_the_figure_has_a_line_for_every_map_and_regression(result: Result) -> None:
    figure = residuals(result)
    panels = [axes for axes in figure.axes if axes.axison]
    assert len(panels) == 2 * 3
    drawn = panels[0].containers[0].lines[0]  # type: ignore[attr-defined]
    table = result["residuals"]
    first = table[(table["explainer"] == "grad") & (table["scheme"] == table["scheme"].iloc[0])
                  & (table["descriptor"] == table["descriptor"].iloc[0])]
    np.testing.assert_allclose(drawn.get_ydata(), first["residual"])
    assert [len(axes.containers) for axes in panels] == [2] * 6


def test_nothing_to_draw_is_an_empty_figure(result: Result) -> None:
    empty = Result(result.meta, {"residuals": result["residuals"].iloc[:0]}, "regressions")
    assert residuals(empty).axes
