"""One orchestration: every analysis that the cubes allow, on the images that have maps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from saltrust.analysis.options import Scoring
from saltrust.analysis.protocols.localization.study import (
    AS_PUBLISHED,
    StudyOptions,
    explained_images,
    localization_study,
)
from saltrust.analysis.protocols.study import TOPICS, analyze_study
from saltrust.analysis.result import Result


def groups_of(cubes: xr.DataTree) -> dict[str, xr.Dataset]:
    return {"/": cubes.to_dataset(inherit=False),
            **{f"/{name}": node.to_dataset(inherit=False).copy(deep=True)
               for name, node in cubes.children.items()}}


def test_what_cannot_be_had_is_told_in_its_place(small_study: xr.DataTree) -> None:
    groups = groups_of(small_study)
    groups["/reference"] = groups["/reference"][["label"]].drop_vars(
        ["reader", "reader_role"], errors="ignore")
    outcomes = analyze_study(xr.DataTree.from_dict(groups))
    assert set(outcomes) == set(TOPICS)
    assert all(isinstance(reason, str) and "masks" in reason for reason in outcomes.values())


def test_every_analysis_carries_its_topic(small_study: xr.DataTree) -> None:
    outcomes = analyze_study(small_study)
    assert tuple(outcomes) == TOPICS
    for topic, outcome in outcomes.items():
        assert isinstance(outcome, Result)
        assert outcome.topic == topic


def test_experts_are_scored_on_the_images_that_have_maps(small_study: xr.DataTree) -> None:
    groups = groups_of(small_study)
    splits = ["train"] * 4 + ["test"] * 8
    groups["/"] = groups["/"].assign_coords(split=("image", splits))
    assert explained_images(xr.DataTree.from_dict(groups)).sizes["image"] == 12
    groups["/saliency"]["status"].values[:4] = 0
    tree = xr.DataTree.from_dict(groups)
    assert set(explained_images(tree)["split"].values.tolist()) == {"test"}
    result = analyze_study(tree)["localization"]
    assert isinstance(result, Result)
    assert result.meta["split"] == "test"
    summary = result["summary"]
    assert set(summary.loc[summary["metric"] == "iou", "n"]) == {4}
    bare = xr.DataTree.from_dict({"/": groups["/"]})
    assert explained_images(bare).sizes["image"] == 12


def test_maps_are_scored_once(small_study: xr.DataTree, monkeypatch: pytest.MonkeyPatch) -> None:
    from saltrust.analysis.scores import scored_maps

    calls = []
    original: Any = scored_maps.scan_maps

    def counted(*args: Any, **keywords: Any) -> Any:
        calls.append(args)
        return original(*args, **keywords)

    monkeypatch.setattr(scored_maps, "scan_maps", counted)
    analyze_study(small_study)
    assert len(calls) == 1


def test_confidence_is_related_to_maps_without_a_cutoff(small_study: xr.DataTree) -> None:
    options = StudyOptions(scoring=Scoring(cutoff=0.6, slice="all"))
    outcomes = localization_study(small_study, options, as_published=True)
    located, related = outcomes["localization"], outcomes["confidence"]
    assert isinstance(located, Result)
    assert isinstance(related, Result)
    points = related["points"]
    cut = located["scores"].merge(points, on=["image", "finding", "explainer", "model"],
                                  suffixes=("_cut", ""))
    below = cut[(cut["probability"] <= 0.6) & (cut["area_reference"] > 0)]
    assert len(below)
    assert (below["iou_cut"] == 0).all()
    assert (below["iou"] > 0).any()
    paper = outcomes[AS_PUBLISHED]
    assert isinstance(paper, Result)
    assert paper.meta["slice"] == "all"
    assert related.meta["slice"] == "positive"
    assert AS_PUBLISHED not in localization_study(
        small_study, StudyOptions(scoring=Scoring(definition="peer")), as_published=True)
    assert np.isfinite(points["probability"]).all()
