"""Maps that change with the prediction are told from maps that change by themselves."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.stats import spearmanr

from saltrust.analysis.options import Resampling
from saltrust.analysis.select import select
from saltrust.analysis.trustworthiness.faithfulness.perturbation import perturbation
from saltrust.errors import DataError
from saltrust.testing import simulate_cubes

FEW = Resampling(resamples=300)


@pytest.fixture(scope="module")
def cubes() -> xr.DataTree:
    return simulate_cubes(patients=24, grid=8, findings=["Edema", "Mass"], seed=2,
                          parts=["perturbation"])


def test_correlations_per_image_and_pooled(cubes: xr.DataTree) -> None:
    result = perturbation(cubes, resampling=FEW)
    per_image = result["per_image"].set_index(["finding", "explainer"])
    for finding in ("Edema", "Mass", "all"):
        assert per_image.loc[(finding, "gradcam"), "conf_low"] > 0.7
        assert per_image.loc[(finding, "gradcam"), "p_adjusted"] < 0.01
        assert abs(per_image.loc[(finding, "grad"), "estimate"]) < 0.1
    assert per_image["family"].str.contains("3 tests").all()
    pooled = result["pooled"].set_index(["finding", "explainer", "kind"])
    assert pooled.loc[("all", "gradcam", "all"), "conf_low"] > 0.6
    assert abs(pooled.loc[("all", "grad", "all"), "estimate"]) < 0.1
    assert set(result["pooled"]["kind"]) == {"noise", "blur", "contrast", "shift", "jpeg", "all"}
    assert len(result["changes"]) == 2 * 3 * 5 * 3


def test_values_are_scipys(cubes: xr.DataTree) -> None:
    result = perturbation(cubes, resampling=FEW)
    group = cubes["perturbation"].to_dataset().isel(model=0)
    before = cubes["prediction/probability"].sel(model="densenet-1")
    moved = np.abs(group["probability"].astype(float) - before.astype(float))
    row = result["scores"].query("explainer == 'gradcam' and finding == 'Mass'").iloc[4]
    x = moved.sel(image=row["image"], finding="Mass").values.ravel()
    y = group["map_change"].sel(image=row["image"], finding="Mass",
                                explainer="gradcam").values.ravel()
    assert row["correlation"] == pytest.approx(spearmanr(x, y).statistic, abs=1e-6)
    of_blur = result["pooled"].query(
        "finding == 'Mass' and explainer == 'grad' and kind == 'blur'").iloc[0]
    x = moved.sel(finding="Mass", perturbation="blur").transpose("image", "level").values
    y = group["map_change"].sel(finding="Mass", perturbation="blur", explainer="grad").transpose(
        "image", "level").values
    known = np.isfinite(x) & np.isfinite(y)
    assert of_blur["estimate"] == pytest.approx(spearmanr(x[known], y[known]).statistic, abs=1e-6)
    assert of_blur["n"] == known.sum()


def test_parts_and_cubes_without_it(cubes: xr.DataTree) -> None:
    whole = perturbation(cubes, resampling=FEW, images="positive")
    part = perturbation(select(cubes, finding="Mass", explainer="gradcam"), resampling=FEW,
                        images="positive")
    one = whole["per_image"].query("finding == 'Mass' and explainer == 'gradcam'")
    assert part["per_image"]["estimate"].tolist() == one["estimate"].tolist()
    without = xr.DataTree.from_dict({"/": cubes.to_dataset()})
    with pytest.raises(DataError, match=r"generate them with \[perturbation\]"):
        perturbation(without)
    cubes = cubes.copy(deep=True)
    cubes["perturbation/status"][:] = 0
    with pytest.raises(DataError, match="no selected image was perturbed"):
        perturbation(cubes)
