"""Figures of classification: what is drawn equals what the tables say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from saltrust.analysis.classification.analysis import classification
from saltrust.analysis.classification.calibration import reliability
from saltrust.analysis.options import Resampling
from saltrust.analysis.result import Result
from saltrust.report.figures.classification import calibration, roc

FINDINGS = ["normal", "CHF", "pneumonia", "absent"]
MODELS = ["baseline", "guided"]


def cubes(n: int = 60, findings: list[str] = FINDINGS, models: list[str] = MODELS
          ) -> xr.DataTree:
    generator = np.random.default_rng(1)
    label = np.eye(4)[generator.integers(0, 3, n)].astype(np.int8)
    label = label[:, np.arange(len(findings)) % 4]
    logit = ((2 * label[..., None] - 1) * np.resize([0.5, 1.5], len(models))
             + generator.normal(size=(n, len(findings), len(models))))
    images = [f"i{k}" for k in range(n)]
    return xr.DataTree.from_dict({
        "/": xr.Dataset(coords={"image": images, "finding": findings,
                                "patient": ("image", images)}),
        "/reference": xr.Dataset({"label": (("image", "finding"), label)}),
        "/prediction": xr.Dataset(
            {"probability": (("image", "finding", "model"), 1 / (1 + np.exp(-logit)))},
            coords={"model": models})})


@pytest.fixture(scope="module")
def result() -> Result:
    return classification(cubes(), resampling=Resampling(resamples=200))


def panels(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.axison]


def legend(axes: Axes) -> list[str]:
    values = axes.get_legend()
    assert values is not None
    return [text.get_text() for text in values.get_texts()]


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
            rows = bins[(bins["finding"] == finding) & (bins["model"] == model)]
            np.testing.assert_allclose(line.get_xydata(), rows[["predicted", "observed"]])
            assert f"{measures[finding, model, 'brier']:.3f}" in text
            assert text.endswith(f"{measures[finding, model, 'ece']:.3f}")


@pytest.mark.parametrize(("n_findings", "n_models"), [(1, 1), (1, 8), (2, 3), (3, 1), (3, 8),
                                                      (10, 5)])
@pytest.mark.parametrize("draw", [roc, calibration])
def test_nothing_lies_outside_the_figure_or_over_another(
    draw: Callable[[Result], Figure], n_findings: int, n_models: int
) -> None:
    findings = [f"finding {k}" for k in range(n_findings)]
    models = [f"set3-guided_backprop-{k}" for k in range(n_models)]
    figure = draw(classification(cubes(40, findings, models), resampling=Resampling(resamples=10)))
    FigureCanvasAgg(figure).draw()
    whole = figure.bbox
    heading = figure._suptitle  # type: ignore[attr-defined]
    assert heading is not None
    boxes = [heading.get_window_extent()]
    for axes in panels(figure):
        values = axes.get_legend()
        assert values is not None
        boxes += [values.get_window_extent(), axes.title.get_window_extent(),
                  axes.get_window_extent()]
    for k, box in enumerate(boxes):
        assert box.x0 >= whole.x0
        assert box.x1 <= whole.x1
        assert box.y0 >= whole.y0
        assert box.y1 <= whole.y1
        for other in boxes[:k]:
            shared = Bbox.intersection(box, other)
            assert shared is None or min(shared.width, shared.height) < 1


def test_every_model_has_a_line_of_its_own() -> None:
    models = [f"model {k}" for k in range(16)]
    drawn = roc(classification(cubes(40, ["CHF"], models), resampling=Resampling(resamples=10)))
    lines = panels(drawn)[0].lines[1:]
    assert len({(line.get_color(), str(line.get_linestyle()))
                for line in lines}) == 16
