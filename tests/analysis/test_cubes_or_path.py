"""Every analysis takes the path of a store in the place of its tree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import saltrust
from saltrust.errors import UsageError
from saltrust.testing import simulate_cubes

FEW = saltrust.Resampling(resamples=20)
ANALYSES: dict[str, Callable[[Any], saltrust.Result]] = {
    "descriptors": saltrust.descriptors,
    "localization": lambda cubes: saltrust.localization(cubes, resampling=FEW),
    "regressions": saltrust.regressions,
    "confidence": lambda cubes: saltrust.confidence(cubes, resampling=FEW),
    "tune_thresholds": saltrust.tune_thresholds,
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("path") / "study.zarr"
    simulate_cubes(path, patients=6, grid=16, parts=())
    return path


@pytest.mark.parametrize("name", ANALYSES)
def test_a_path_gives_what_the_tree_gives(store: Path, name: str) -> None:
    analysis = ANALYSES[name]
    expected = analysis(saltrust.open_cubes(store)).to_object()
    assert any(expected["tables"].values())
    for path in (store, str(store)):
        assert analysis(path).to_object() == expected


@pytest.mark.parametrize("name", ANALYSES)
def test_what_is_neither_is_refused(store: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no cubes at"):
        ANALYSES[name](store.with_name("none.zarr"))
    with pytest.raises(UsageError, match="must be a DataTree"):
        ANALYSES[name](saltrust.open_cubes(store)["saliency/heatmap"])
