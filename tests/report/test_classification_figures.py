"""Figures of classification: what is drawn equals what the tables say."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saltrust.analysis.calibration import reliability
from saltrust.analysis.classification import classification
from saltrust.analysis.result import Result
from saltrust.report.classification_figures import calibration, roc

FINDINGS = ["normal", "CHF", "pneumonia", "absent"]
MODELS = ["baseline", "guided"]


def cubes(n: int = 60) -> xr.DataTree:
    generator = np.random.default_rng(1)
    label = np.eye(4)[generator.integers(0, 3, n)].astype(np.int8)
    logit = (2 * label[..., None] - 1) * [0.5, 1.5] + generator.normal(size=(n, 4, 2))
    images = [f"i{k}" for k in range(n)]
    return xr.DataTree.from_dict({
        "/": xr.Dataset(coords={"image": images, "finding": FINDINGS,
                                "patient": ("image", images)}),
        "/reference": xr.Dataset({"label": (("image", "finding"), label)}),
        "/prediction": xr.Dataset(
            {"probability": (("image", "finding", "model"), 1 / (1 + np.exp(-logit)))},
            coords={"model": MODELS})})


@pytest.fixture(scope="module")
def result() -> Result:
    return classification(cubes(), resamples=200)


def panels(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.axison]


def legend(axes: Axes) -> list[str]:
    found = axes.get_legend()
    assert found is not None
    return [text.get_text() for text in found.get_texts()]


def test_the_drawn_curve_has_the_area_of_the_table(result: Result) -> None:
    figure = roc(result)
    areas = result.tables["auc"].set_index(["finding", "model"])
    assert len(panels(figure)) == 4
    for axes, finding in zip(panels(figure)[:3], FINDINGS, strict=False):
        _, *curves = axes.lines
        for curve, model, text in zip(curves, MODELS, legend(axes), strict=True):
            row = areas.loc[(finding, model)]
            x, y = np.asarray(curve.get_xydata()).T
            assert np.trapezoid(y, x) == pytest.approx(row["estimate"])
            assert text == (f"{model}  {row['estimate']:.3f} ({row['conf_low']:.3f}, "
                            f"{row['conf_high']:.3f})")


def test_a_finding_of_one_class_says_so(result: Result) -> None:
    axes = panels(roc(result))[3]
    assert legend(axes) == [f"{model}  no positive case" for model in MODELS]
    assert axes.get_title() == "absent\n0 positive, 60 negative"
    panels(calibration(result))


def test_points_of_the_reliability_diagram(result: Result) -> None:
    bins = reliability(result.tables["cases"])
    measures = result.tables["calibration"].set_index(["finding", "model", "term"])["estimate"]
    figure = calibration(result)
    for axes, finding in zip(panels(figure), FINDINGS, strict=True):
        _, *lines = axes.lines
        for line, model, text in zip(lines, MODELS, legend(axes), strict=True):
            own = bins[(bins["finding"] == finding) & (bins["model"] == model)]
            np.testing.assert_allclose(line.get_xydata(), own[["predicted", "observed"]])
            assert f"{measures[finding, model, 'brier']:.3f}" in text
            assert text.endswith(f"{measures[finding, model, 'ece']:.3f}")
