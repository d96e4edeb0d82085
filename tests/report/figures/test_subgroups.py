"""The forest of subgroups draws what the tables say."""

from __future__ import annotations

import numpy as np
import pytest

from saltrust.analysis.inference.subgroups import (
    Compared,
    Quantity,
    mean_block,
    subgroup_tables,
)
from saltrust.analysis.result import Result
from saltrust.report.figures.subgroups import subgroups


@pytest.fixture(scope="module")
def result() -> Result:
    generator = np.random.default_rng(0)

    def quantity(finding: str, explainer: str, metric: str, shift: float) -> Quantity:
        blocks = {}
        for group, patients in (("F", 30), ("M", 20), ("X", 5)):
            names = np.array([f"{group}{k}" for k in range(patients)])
            block = mean_block(generator.normal(shift * (group == "M"), 1, patients), names)
            assert block is not None
            blocks[group] = block
        return Quantity({"finding": finding, "explainer": explainer, "model": "net",
                         "metric": metric}, "mean", blocks, metric)

    quantities = [quantity(finding, explainer, metric, 5.0 * (explainer == "grad"))
                  for metric in ("iou", "hit") for finding in ("Edema", "average")
                  for explainer in ("grad", "gradcam")]
    tables = subgroup_tables([Compared(by, ("F", "M", "X"), quantities) for by in ("sex", "site")],
                             ("finding", "explainer", "model", "metric"))
    return Result({"confidence_level": 0.95}, tables, "localization")


def test_every_coordinate_has_a_panel_of_groups(result: Result) -> None:
    figure = subgroups(result)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["sex", "site"]
    assert figure.get_suptitle() == "Groups: average, iou, mean"
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == [f"{name} net" if group is None else group for name in ("grad", "gradcam")
                      for group in (None, "F (30 patients)", "M (20 patients)", "X (5 patients)")]


def test_markers_stand_at_the_estimates_and_untested_groups_are_empty(result: Result) -> None:
    axes = subgroups(result).axes[0]
    rows = result["subgroups"].query("by == 'sex' and finding == 'average' and metric == 'iou'")
    drawn = [float(line.get_xdata()[0]) for line in axes.lines]  # type: ignore[index]
    assert drawn == pytest.approx(rows["estimate"].tolist())
    filled = [line.get_markerfacecolor() != "white" for line in axes.lines]
    assert filled == rows["conf_low"].notna().tolist()
    assert filled.count(False) == 2
    # Tests of the drawn rows stand beside them.
    assert [text.get_text()[:20] for text in axes.texts] == [
        "adjusted p < 0.001", f"adjusted p = {_p_value(result):.3f}"]


def _p_value(result: Result) -> float:
    (p_value,) = result["subgroup_tests"].query(
        "by == 'sex' and finding == 'average' and metric == 'iou' and explainer == 'gradcam'"
        )["p_adjusted"]
    return float(p_value)
