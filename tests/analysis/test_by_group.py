"""``by=`` in every analysis: groups are what a selection of their images gives."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import saltrust
from saltrust.errors import UsageError

Analysis = Callable[..., saltrust.Result]
FEW = saltrust.Resampling(resamples=200)
TABLES = {"subgroups", "subgroup_differences", "subgroup_tests"}
ANALYSES: dict[str, Analysis] = {
    "localization": partial(saltrust.localization, resampling=FEW),
    "classification": partial(saltrust.classification, resampling=FEW),
    "utility": partial(saltrust.utility, decision=saltrust.Decision(resamples=200)),
    "regressions": saltrust.regressions,
    "confidence": partial(saltrust.confidence, resampling=FEW)}


@pytest.fixture(scope="module")
def cubes() -> xr.DataTree:
    """Forty patients with a frontal and a lateral image each; one image has no site."""
    made = saltrust.simulate_cubes(patients=40, findings=["Edema"], grid=12, parts=[], seed=5)
    made = saltrust.select(made, model="densenet-1", explainer=["gradcam", "grad"])
    number = np.arange(made.sizes["image"])
    sites = np.where(number // 2 % 2 == 0, "north", "south").astype(object)
    sites[3] = ""
    made.coords["site"] = ("image", sites)
    made.coords["age"] = ("image", 20.0 + number // 2)
    return made


def _part(cubes: xr.DataTree, site: str) -> xr.DataTree:
    return saltrust.select(cubes, site=site)


@pytest.mark.parametrize("name", ANALYSES)
def test_every_analysis_compares_groups_and_nothing_else_changes(name: str, cubes: xr.DataTree
                                                                 ) -> None:
    plain, made = ANALYSES[name](cubes), ANALYSES[name](cubes, by="site,age:40")
    assert set(made) == set(plain) | TABLES
    for table in plain:
        pd.testing.assert_frame_equal(plain[table], made[table])
    assert made.meta["by"]["site"] == {"images": {"north": 40, "south": 39},
                                       "images_without_value": 1}
    assert set(plain.meta) == set(made.meta) - {"by"}
    assert set(made["subgroups"]["by"]) == {"site", "age"}
    assert set(made["subgroups"]["group"]) == {"north", "south", "below 40", "40 or more"}
    for table in TABLES - {"subgroups"}:
        tested = made[table]
        assert tested["p_value"].notna().any()
        assert tested["family"].str.match(r"(site|age): .* \(\d+ tests?\)").all()
    assert "Groups of images by site, age were compared" in made.methods()


def _estimates(table: pd.DataFrame, keys: list[str], **labels: str) -> pd.Series[float]:
    for name, label in labels.items():
        table = table[table[name] == label]
    return table.set_index(keys)["estimate"].sort_index()


def test_localization_of_a_group_is_that_of_its_images(cubes: xr.DataTree) -> None:
    made = saltrust.localization(cubes, by="site", resampling=FEW)
    keys = ["explainer", "metric"]
    for site in ("north", "south"):
        alone = saltrust.localization(_part(cubes, site), resampling=FEW)
        maps = alone["summary"][alone["summary"]["explainer"] != "expert"]
        of_group = _estimates(made["subgroups"], keys, group=site, term="mean")
        pd.testing.assert_series_equal(of_group.drop("expert", level=0), _estimates(maps, keys))
        people = alone["decrease"].query("finding != 'average'").assign(
            estimate=lambda t: t["expert"] - t["saliency"])
        pd.testing.assert_series_equal(
            _estimates(made["subgroups"], keys, group=site, term="difference"),
            _estimates(people, keys))
    joint = made["subgroup_tests"].query("explainer == 'all explainers'")
    assert joint["metric"].tolist() == ["iou", "hit"]


def test_areas_of_a_group_are_those_of_its_images(cubes: xr.DataTree) -> None:
    made = saltrust.classification(cubes, by="site", resampling=FEW)
    for site in ("north", "south"):
        alone = saltrust.classification(_part(cubes, site), interval="delong", resampling=FEW)
        row = made["subgroups"].query("group == @site and term == 'auc'").iloc[0]
        assert row["estimate"] == pytest.approx(alone["auc"]["estimate"].iloc[0])
        # CR2 where DeLong's has n / (n - 1): the same where every patient has one image.
        assert row["std_error"] == pytest.approx(alone["auc"]["std_error"].iloc[0], rel=0.1)


def test_slopes_of_a_group_are_those_of_its_images(cubes: xr.DataTree) -> None:
    made = saltrust.confidence(cubes, by="site", resampling=FEW)
    for site in ("north", "south"):
        alone = saltrust.confidence(_part(cubes, site), resampling=FEW)["estimates"]
        keys = ["explainer", "scheme", "finding", "term"]
        expected = _estimates(alone[alone["finding"] == "Edema"], keys)
        actual = _estimates(made["subgroups"], keys, group=site, finding="Edema")
        known = expected.notna() & actual.notna()
        assert known.sum() >= 4
        pd.testing.assert_series_equal(actual[known], expected[known])
    slopes = saltrust.regressions(cubes, by="site")
    assert set(slopes["subgroup_tests"]["quantity"]) == {"slope"}
    assert set(slopes["subgroup_tests"]["term"]) == {"interaction"}


def test_utility_of_a_group_is_that_of_its_images(cubes: xr.DataTree) -> None:
    few = saltrust.Decision(resamples=200)
    made = saltrust.utility(cubes, by="site", decision=few)
    alone = saltrust.utility(_part(cubes, "north"), decision=few, fitted_on=cubes)["scores"]
    expected = alone[alone["condition"] == "trained"].groupby("explainer")["average_precision"]
    rows = made["subgroups"].query("group == 'north' and term == 'mean'").set_index("explainer")
    for explainer, mean in expected.mean().items():
        assert rows.loc[explainer, "estimate"] == pytest.approx(mean)
    baselines = made["subgroup_differences"].query("term == 'difference'")["baseline"]
    assert set(baselines) == {"average-mask"}


def test_tables_of_scores_have_no_groups(cubes: xr.DataTree) -> None:
    scores: Any = cubes.saltrust.scores()
    for analysis in (saltrust.regressions_from_scores, saltrust.confidence_from_scores):
        with pytest.raises(UsageError, match="by = 'site' needs cubes"):
            analysis(scores, testing=saltrust.Testing(by="site"))


def test_examinations_in_two_groups_are_in_none(cubes: xr.DataTree,
                                                caplog: pytest.LogCaptureFixture) -> None:
    made = saltrust.classification(cubes, level="study", by="site", resampling=FEW)
    assert np.isfinite(made["subgroups"]["estimate"]).all()
    assert not [message for message in caplog.messages if "examinations" in message]
    saltrust.classification(cubes, level="study", by="view", resampling=FEW)
    assert any("examinations have images in several groups of view" in message
               for message in caplog.messages)
