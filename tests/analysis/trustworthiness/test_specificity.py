"""Specificity: maps that show the same whatever is asked do not pass, others do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity

import saltrust
from saltrust.errors import DataError, UsageError

FINDINGS = ("Edema", "Lung Opacity", "Cardiomegaly", "Mass")


@pytest.fixture(scope="module")
def cubes(build_cubes: Any) -> xr.DataTree:
    """Fourteen patients; ``deaf`` shows the image alone, ``specific`` the finding's own place."""
    generator = np.random.default_rng(0)
    images = [f"i{k}" for k in range(14)]
    place = {finding: generator.random((16, 16)) for finding in FINDINGS}
    maps, masks = {}, {}
    for image in images:
        picture = generator.random((16, 16))
        for finding in FINDINGS:
            noise = generator.random((16, 16))
            maps[image, finding, "deaf", "net"] = picture + 0.1 * noise
            maps[image, finding, "specific", "net"] = place[finding] + 0.1 * noise
    for k, finding in enumerate(("Cardiomegaly", "Mass", "Edema")):
        mask = np.zeros((16, 16), dtype=bool)
        mask[2:10, (2, 3, 12)[k]:(10, 11, 15)[k]] = True
        masks["i0", finding, "truth"] = mask
    return build_cubes(masks, heatmaps=maps, images=images, findings=FINDINGS,
                       statuses={("i3", "Mass", "deaf", "net"): 2},
                       patients=[f"p{k}" for k in range(14)], grid=(16, 16))


def test_a_map_that_shows_the_same_whatever_is_asked_does_not_pass(cubes: xr.DataTree) -> None:
    result = saltrust.specificity(cubes)
    table = result["decisions"].set_index(["explainer", "metric"])
    for metric in ("ssim", "spearman"):
        assert table.loc[("deaf", metric), "decision"] == "did not pass"
        assert table.loc[("specific", metric), "decision"] == "pass"
        assert table.loc[("deaf", metric), "conf_low"] > 0
        assert table.loc[("specific", metric), "conf_high"] < 0
    row = table.loc[("deaf", "ssim")]
    assert row["estimate"] == pytest.approx(row["within"] - row["across"])
    assert row["family"] == "ssim: explainers and models (2 tests)"
    assert result.meta["counts"]["left out: a map that is flat or not finite"] == 3


def test_related_findings_are_listed_apart_and_decide_nothing(cubes: xr.DataTree) -> None:
    result = saltrust.specificity(cubes)
    pairs = result["findings"].drop_duplicates(["finding_a", "finding_b"]).set_index(
        ["finding_a", "finding_b"])
    assert pairs.loc[("Edema", "Lung Opacity"), "relation"] == "parent and child"
    assert pairs.loc[("Cardiomegaly", "Mass"), "relation"] == "overlapping masks"
    assert pairs.loc[("Cardiomegaly", "Mass"), "iou"] == pytest.approx(56 / 72)
    assert (pairs["relation"] == "distinct").sum() == 4
    assert pairs.loc[("Edema", "Mass"), "iou"] == 0
    scores = result["scores"]
    distinct = scores[(scores["relation"] == "distinct") & (scores["explainer"] == "deaf")]
    decided = result["decisions"].set_index(["explainer", "metric"]).loc[("deaf", "ssim")]
    assert decided["n"] == len(distinct)
    assert decided["within"] == pytest.approx(distinct["ssim"].mean())
    wider = saltrust.specificity(cubes, overlap=0.9)["findings"]
    assert "overlapping masks" not in set(wider["relation"])


def test_similarities_are_those_of_other_libraries(cubes: xr.DataTree) -> None:
    scores = saltrust.specificity(cubes)["scores"]
    heatmap = cubes["saliency/heatmap"]
    for row in scores.iloc[[0, 20, 60]].itertuples():
        one, two = (heatmap.sel(image=row.image, explainer=row.explainer, model=row.model,
                                finding=finding).values.astype(float)
                    for finding in (row.finding_a, row.finding_b))
        assert row.spearman == pytest.approx(spearmanr(one.ravel(), two.ravel()).statistic)
        scaled = [(part - part.min()) / (part.max() - part.min()) for part in (one, two)]
        assert row.ssim == pytest.approx(structural_similarity(
            *scaled, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1),
            abs=1e-6)


def test_what_cannot_be_compared_is_said(cubes: xr.DataTree) -> None:
    with pytest.raises(DataError, match="maps of one finding only"):
        saltrust.specificity(saltrust.select(cubes, finding=["Edema"]))
    with pytest.raises(UsageError, match="overlap = 0"):
        saltrust.specificity(cubes, overlap=0)
    with pytest.raises(UsageError, match="pairs"):
        saltrust.specificity(cubes, pairs=0)
    alone = saltrust.specificity(saltrust.select(cubes, image=["i1"]))["decisions"]
    assert set(alone["decision"]) == {"not decided"}
    assert alone["note"].str.contains("fewer than 2 patients").all()
