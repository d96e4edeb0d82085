"""Areas over the true fractions, those of random orders, and what becomes of maps that fail."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import trapezoid

from saltrust.analysis.trustworthiness.faithfulness.areas import area_under, faithfulness_scores
from saltrust.cache.schema import FAITHFULNESS_METRICS
from saltrust.errors import DataError, UsageError


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.integers(0, 100_000), st.integers(2, 20))
def test_an_area_is_scipys_over_uneven_fractions_in_either_direction(seed: int, count: int
                                                                     ) -> None:
    generator = np.random.default_rng(seed)
    removed = np.sort(np.r_[0.0, generator.random(count - 2), 1.0])
    curve = generator.random(count)
    area = area_under(curve, removed)
    assert area == pytest.approx(trapezoid(curve, removed))
    assert area_under(curve[::-1], removed[::-1]) == pytest.approx(float(area))
    assert curve.min() - 1e-12 <= area <= curve.max() + 1e-12


def test_an_area_is_a_mean_height_where_an_end_is_not_reached() -> None:
    assert area_under([0.6, 0.6], [0.0, 0.4]) == pytest.approx(0.6)
    assert np.isnan(area_under([0.6, 0.6], [0.2, 0.2]))
    assert area_under(np.ones((2, 3, 4)), np.linspace(0, 1, 4)).shape == (2, 3)


def test_values_and_gains_of_every_metric(build_curves) -> None:
    cubes = build_curves()
    scores = faithfulness_scores(cubes, "positive", "score")
    assert scores.labels["metric"] == [*FAITHFULNESS_METRICS, "infidelity"]
    assert len(scores.images) == 46
    dataset = cubes["faithfulness"].to_dataset().sel(metric="insertion").isel(model=0, finding=0)
    x = 1 - dataset["removed"].values[3].astype(np.float64)
    expected = trapezoid(dataset["curve"].sel(explainer="good").values[3].astype(np.float64), x)
    random = np.mean([trapezoid(order.astype(np.float64), x)
                      for order in dataset["random"].values[3]])
    assert scores.values[3, 0, 0, 0, 1] == pytest.approx(expected)
    assert scores.gain[3, 0, 0, 0, 1] == pytest.approx(expected - random)
    # Of deletion and of infidelity less is better.
    assert scores.gain[3, 0, 0, 0, 0] == pytest.approx(
        scores.random[3, 0, 0, 0] - scores.values[3, 0, 0, 0, 0])
    assert scores.merit[3, 0, 0, 0, 4] == -scores.values[3, 0, 0, 0, 4]
    assert np.isnan(scores.gain[..., 4]).all()
    table = scores.table()
    assert len(table) == 46 * 3 * 5
    row = table[(table["image"] == "i003") & (table["explainer"] == "good")
                & (table["metric"] == "insertion")].iloc[0]
    assert (row["value"], row["patient"]) == (pytest.approx(expected), "p01")


@pytest.mark.parametrize("failures", ["score", "drop"])
def test_a_flat_map_is_a_random_order_or_its_image_is_left_out(build_curves, failures) -> None:
    cubes = build_curves()
    cubes["faithfulness/status"][4, 0, 0, 0] = 3
    cubes["faithfulness/curve"][4, 0, 0, 0] = np.nan
    scores = faithfulness_scores(cubes, "positive", failures)
    if failures == "drop":
        assert "i004" not in scores.images
        return
    at = scores.images.index("i004")
    assert scores.gain[at, 0, 0, 0, :4].tolist() == [0, 0, 0, 0]
    assert np.isnan(scores.values[at, 0, 0, 0, 4])
    assert scores.failed.sum() == 1
    assert scores.table()["failed"].sum() == 4


def test_what_is_missing_is_said(build_curves) -> None:
    cubes = build_curves()
    with pytest.raises(UsageError, match="metric 'delition' is not known; did you mean"):
        faithfulness_scores(cubes, "all", "score", ["delition"])
    with pytest.raises(UsageError, match="no metric 'sensitivity', but deletion"):
        faithfulness_scores(cubes, "all", "score", ["sensitivity"])
    without = xr.DataTree.from_dict({"/": cubes.to_dataset()})
    with pytest.raises(DataError, match=r"generate them with \[faithfulness\]"):
        faithfulness_scores(without, "all", "score")
    cubes["faithfulness/curve"][2, 0, 1, 0, 3, 5] = np.nan
    with pytest.raises(DataError, match="the lerf curve of image 'i002', finding 'Edema', "
                                        "explainer 'middling', model 'm' has values"):
        faithfulness_scores(cubes, "all", "score")
    broken = build_curves()
    broken["faithfulness/random"][2, 0, 0, 1, 2, 0] = np.nan
    with pytest.raises(DataError, match="insertion curve of random orders of image 'i002'"):
        faithfulness_scores(broken, "all", "score")
    broken["faithfulness/status"][:] = 0
    with pytest.raises(DataError, match="no selected image that shows a finding has curves"):
        faithfulness_scores(broken, "positive", "score")
