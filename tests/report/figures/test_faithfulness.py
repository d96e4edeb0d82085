"""The figure of curves: one line an explainer, random orders in every panel, bands by patient."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import saltrust
from saltrust.analysis.options import Resampling
from saltrust.errors import DataError
from saltrust.testing import simulate_cubes

FEW = Resampling(resamples=200)


@pytest.fixture(scope="module")
def cubes() -> xr.DataTree:
    return simulate_cubes(patients=26, images_per_patient=1, grid=8, findings=["Edema", "Nodule"],
                          parts=["faithfulness"])


def test_a_line_per_finding_and_a_panel_per_metric(cubes: xr.DataTree) -> None:
    result = saltrust.faithfulness(cubes, metrics=["insertion", "morf"], resampling=FEW)
    figure = result.plot()
    axes = figure.axes
    assert len(axes) == 4
    assert [a.get_xlabel() for a in axes] == ["", "", "Inserted", "Most relevant imputed"]
    assert axes[2].get_ylabel().startswith("Nodule")
    table = result["curves"]
    rows = table[(table["finding"] == "Edema") & (table["metric"] == "insertion")
                 & (table["model"] == "densenet-1") & (table["explainer"] == "gradcam")]
    drawn = axes[0].lines[0]
    np.testing.assert_allclose(drawn.get_ydata(), rows["estimate"])
    np.testing.assert_allclose(drawn.get_xdata(), 1 - rows["removed"])
    assert len(axes[0].lines) == 4
    assert len(axes[0].collections) == 4
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "gradcam", "guided_backprop", "grad", "random orders", "95% interval by patient"]


def test_it_has_a_name(cubes: xr.DataTree) -> None:
    figure = saltrust.figure(saltrust.select(cubes, finding="Edema", explainer="grad"),
                             "faithfulness")
    assert len(figure.axes) == 4
    assert len(figure.axes[0].lines) == 2


def test_numbers_have_no_curves(cubes: xr.DataTree) -> None:
    result = saltrust.faithfulness(cubes, metrics=["sensitivity"], resampling=FEW)
    with pytest.raises(DataError, match="no curves"):
        result.plot()
