"""What explainers declare, and what a study says in its place, is stored with the maps."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from saltrust.analysis.options import Execution, Scoring
from saltrust.analysis.scores.scored_maps import score_maps
from saltrust.cache.readings import READING
from saltrust.cache.store import open_cubes
from saltrust.cache.validation import problems
from saltrust.errors import UsageError
from saltrust.generate.job import generate
from saltrust.generation_settings import RandomizationSpec
from saltrust.study import ExplainerSpec, Study

OWN = '''\
from saltrust.explainers.declaration import explainer


@explainer(reading="positive")
def stated(module, inputs, outputs):
    return (inputs - inputs.mean()).mean(1, keepdim=True).expand(-1, len(outputs), -1, -1)


def plain(module, inputs, outputs):
    return -stated(module, inputs, outputs)
'''
EXPLAINERS = (ExplainerSpec("grad"), ExplainerSpec("gradcam"),
              ExplainerSpec("own_reading:stated"), ExplainerSpec("own_reading:plain"),
              ExplainerSpec("input_x_gradient", reading="absolute"))
READINGS = {"grad": "absolute", "gradcam": "raw", "own_reading:stated": "positive",
            "own_reading:plain": "raw", "input_x_gradient": "absolute"}


@pytest.fixture
def with_own(study: Study) -> Study:
    (study.folder / "own_reading.py").write_text(OWN)
    return dataclasses.replace(study, explainers=EXPLAINERS,
                               randomization=RandomizationSpec(replicates=1, images=2))


def test_readings_are_stored_and_obeyed(collection: Any, with_own: Study, tmp_path: Path) -> None:
    cubes = open_cubes(generate(collection, with_own, tmp_path / "a.zarr", progress=False))
    assert problems(cubes) == []
    for group in ("saliency", "randomization"):
        stored = cubes[group].coords[READING]
        assert dict(zip(stored["explainer"].values.tolist(), stored.values.tolist(),
                        strict=True)) == READINGS
    # Maps are stored as they were, whatever is read of them.
    maps = cubes["saliency/heatmap"].sel(explainer="own_reading:stated")
    assert float(maps.min()) < 0
    scored = score_maps(cubes, Scoring(), Execution(keep=False))
    assert scored.meta["map_readings"] == READINGS


def test_a_job_is_not_resumed_with_another_reading(
    collection: Any, with_own: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_args: Any, **_kwargs: Any) -> Any:
        raise KeyboardInterrupt

    path = tmp_path / "a.zarr"
    with monkeypatch.context() as patch:
        patch.setattr("saltrust.generate.batches.explain", interrupted)
        with pytest.raises(KeyboardInterrupt):
            generate(collection, with_own, path, progress=False)
    other = dataclasses.replace(with_own, explainers=(
        *EXPLAINERS[:-1], ExplainerSpec("input_x_gradient", reading="raw")))
    with pytest.raises(UsageError, match="reading of explainer 'input_x_gradient'"):
        generate(collection, other, path, resume=True, progress=False)
    assert generate(collection, with_own, path, resume=True, progress=False) == path
