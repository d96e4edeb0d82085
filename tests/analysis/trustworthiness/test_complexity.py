"""Efficient MPRT: the complexity of maps rises where the network has learnt something."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from saltrust.analysis.options import Decision
from saltrust.analysis.trustworthiness.complexity import complexity_table, histogram_entropy
from saltrust.analysis.trustworthiness.randomization import randomization

OPTIONS = Decision(resamples=400)


def spots(mask, _image, _model, stage, generator):
    """Mostly zero while trained, noise once random."""
    noise = generator.normal(size=mask.shape)
    return mask + 0.01 * noise if stage == 0 else noise


def still(mask, image, _model, _stage, _generator):
    return image


def test_it_rises_for_maps_of_the_finding_and_not_for_edges(build_study) -> None:
    result = randomization(build_study(randomization=True, replicates=2, stages=2, explainers={
        "spots": spots, "still": still}), decision=OPTIONS)
    table = result.tables["complexity"].set_index("explainer")
    assert table.loc["spots", "estimate"] > 1
    assert table.loc["spots", "conf_low"] > 0
    assert table.loc["spots", "p_adjusted"] < 0.01
    assert table.loc["still", "estimate"] == 0
    assert np.isnan(table.loc["still", "p_value"])
    assert set(table["family"]) == {"explainers, Opacity, dense-1 (2 tests)"}
    assert "efficient MPRT" in result.methods()


def test_values_are_those_of_the_definition(build_study) -> None:
    cubes = build_study(positives=3, negatives=1, fitted=0, replicates=2, randomization=True)
    rows = randomization(cubes, decision=OPTIONS).tables["complexity_scores"]
    maps = cubes["randomization/heatmap"].isel(finding=0, model=0)

    def value(heatmap: xr.DataArray) -> float:
        return float(entropy(np.histogram(heatmap.values.astype(np.float64), 100)[0]))

    for row in rows.itertuples():
        of = maps.sel(image=row.image, explainer=row.explainer)
        trained = value(of.isel(replicate=0, stage=0))
        random = np.mean([value(of.isel(replicate=r, stage=-1)) for r in range(2)])
        assert row.rise == pytest.approx((random - trained) / trained, abs=2e-3)
    assert len(rows) == 12


def test_flat_maps_of_random_networks_and_flat_trained_maps(build_study) -> None:
    cubes = build_study(positives=6, negatives=0, fitted=0, randomization=True)
    dataset = cubes["randomization"].to_dataset()
    for image, stage, status in ((1, 2, 2), (2, 2, 3), (3, 0, 2)):
        dataset["status"][image, 0, 0, 0, 0, stage] = status
        dataset["heatmap"][image, 0, 0, 0, 0, stage] = np.nan if status == 3 else 0
    cubes["randomization"] = xr.DataTree(dataset)
    counted = randomization(cubes, decision=OPTIONS).tables["complexity_scores"]
    counted = counted[counted["explainer"] == "oracle"].set_index("image")
    assert counted.loc[["image-001", "image-002"], "rise"].tolist() == [-1, -1]
    assert "image-003" not in counted.index
    dropped = randomization(cubes, failures="drop", decision=OPTIONS).tables["complexity"]
    assert dropped.set_index("explainer").loc["oracle", "n"] == 3
    # Fewer than ten patients: a mean without interval and test.
    assert dropped["p_value"].isna().all()
    assert dropped["note"].str.contains("fewer than 10").all()


def test_findings_are_pooled_and_families_are_of_their_explainers() -> None:
    generator = np.random.default_rng(0)
    rows = [{"finding": finding, "explainer": explainer, "model": "m", "image": f"i{k}",
             "patient": f"p{k // 2}", "trained": 1.0, "random": 1.0,
             "rise": generator.normal(0.3, 0.1), "failed": 0}
            for finding in ("Edema", "Mass") for explainer in ("a", "b", "c") for k in range(40)]
    table = complexity_table(pd.DataFrame(rows), OPTIONS)
    assert table["finding"].tolist() == ["Edema"] * 3 + ["Mass"] * 3 + ["all"] * 3
    pooled = table[table["finding"] == "all"]
    assert (pooled["n"].tolist(), pooled["patients"].tolist()) == ([80] * 3, [20] * 3)
    assert pooled["estimate"].iloc[0] == pytest.approx(
        np.mean([row["rise"] for row in rows if row["explainer"] == "a"]))
    assert set(pooled["family"]) == {"explainers, all, m (3 tests)"}


@pytest.mark.parametrize("seed", range(4))
def test_it_is_scipys_entropy_of_numpys_histogram(seed: int) -> None:
    heatmap = np.random.default_rng(seed).standard_t(3, (40, 50))
    for bins in (10, 100):
        expected = entropy(np.histogram(heatmap, bins)[0])
        assert histogram_entropy(heatmap, bins) == pytest.approx(expected, abs=2e-3)


def test_extremes() -> None:
    assert histogram_entropy(np.full((3, 3), -2.5)) == 0
    assert histogram_entropy(np.arange(100.0)) == pytest.approx(np.log(100))
    huge = np.array([-1.7e308, 1.7e308], dtype=np.float64)
    assert histogram_entropy(huge) == pytest.approx(np.log(2))


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from([0.25, 2.0, 1024.0, -1.0, -8.0]))
def test_scale_and_sign_do_not_matter(seed: int, factor: float) -> None:
    # Whole numbers: no value lies at the edge of a bin by rounding.
    heatmap = np.random.default_rng(seed).integers(0, 51, (12, 12)).astype(np.float64)
    value = histogram_entropy(heatmap)
    assert 0 <= value <= np.log(100) + 1e-12
    assert histogram_entropy(factor * heatmap) == pytest.approx(value, abs=1e-12)
