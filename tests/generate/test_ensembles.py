"""Ensembles: means of their members, alone or beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import xarray as xr

from saltrust.cache.schema import Status
from saltrust.cache.store import open_cubes, partial_path
from saltrust.cache.validation import validate
from saltrust.errors import DataError, UsageError
from saltrust.generate import job
from saltrust.generate.job import generate
from saltrust.generation_settings import RandomizationSpec
from saltrust.study import EnsembleSpec, Study
from saltrust.study_file import read_study

MEMBERS = ("narrow", "wide")


def averaged(study: Study, **changes: Any) -> Study:
    ensemble = EnsembleSpec(**{"name": "mean", "members": MEMBERS, **changes})
    return dataclasses.replace(study, ensembles=(ensemble,))


def of(cubes: xr.DataTree, variable: str, model: str) -> np.ndarray:
    tested = cubes["image"].values[cubes["split"].values == "test"]
    values: np.ndarray = cubes[variable].sel(image=tested, model=model).values
    return values


@pytest.fixture
def apart(collection: Any, study: Study, tmp_path: Path) -> xr.DataTree:
    return open_cubes(generate(collection, study, tmp_path / "apart.zarr", progress=False))


def expected_means(cubes: xr.DataTree) -> tuple[np.ndarray, np.ndarray]:
    probability, heatmap = (
        np.mean([of(cubes, name, model).astype(np.float64) for model in MEMBERS], axis=0)
        for name in ("prediction/probability", "saliency/heatmap"))
    return probability, heatmap


@pytest.mark.parametrize("kept", [False, True])
def test_an_ensemble_is_the_mean_of_its_members(collection: Any, study: Study, tmp_path: Path,
                                                apart: xr.DataTree, kept: bool) -> None:
    path = generate(collection, averaged(study, keep_members=kept), tmp_path / "out.zarr",
                    progress=False)
    cubes = open_cubes(path)
    validate(cubes)
    saliency = cubes["saliency"].to_dataset()
    assert saliency["model"].values.tolist() == ([*MEMBERS, "mean"] if kept else ["mean"])
    assert saliency["model_role"].values.tolist() == [*["member"] * 2 * kept, "ensemble"]
    assert saliency["model_architecture"].values[-1] == "tiny_study:TinyNetwork"
    assert cubes.attrs["ensembles"] == {"mean": list(MEMBERS)}
    probability, heatmap = expected_means(apart)
    np.testing.assert_allclose(of(cubes, "prediction/probability", "mean"), probability,
                               rtol=2e-7)
    np.testing.assert_allclose(of(cubes, "prediction/logit", "mean"),
                               np.log(probability / (1 - probability)), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(of(cubes, "saliency/heatmap", "mean"),
                                  heatmap.astype(np.float32))
    assert (of(cubes, "saliency/status", "mean") == Status.OK).all()
    for model in MEMBERS if kept else ():
        for name in ("prediction/logit", "saliency/heatmap"):
            np.testing.assert_array_equal(of(cubes, name, model), of(apart, name, model))


def test_checkpoints_by_pattern_are_members(
    collection: Any, study: Study, tmp_path: Path, write_study: Callable[..., Path],
    apart: xr.DataTree, tiny: ModuleType,
) -> None:
    path = write_study(
        grid=24, data=None, models=None, explainers=["grad", "gradcam"],
        generate={"batch_size": 3, "device": "cpu"},
        ensembles=[{"name": "mean", "architecture": "tiny_study:TinyNetwork",
                    "checkpoints": ["runs/*/model.*"], "keep_members": True}])
    declared = read_study(path)
    cubes = open_cubes(generate(collection, declared, tmp_path / "out.zarr", progress=False))
    assert cubes["saliency"]["model"].values.tolist() == ["mean/1", "mean/2", "mean"]
    np.testing.assert_array_equal(of(cubes, "saliency/heatmap", "mean"),
                                  expected_means(apart)[1].astype(np.float32))


def test_a_probability_that_rounds_to_one_keeps_its_logit(collection: Any, study: Study,
                                                          tmp_path: Path) -> None:
    from saltrust.generate.batches import ExplainedBatch
    from saltrust.generate.ensembles import mean_batch
    from saltrust.generate.radiographs import LoadedBatch

    def batch(logit: float) -> ExplainedBatch:
        logits = np.array([[logit]], np.float32)
        return ExplainedBatch({}, logits, np.ones_like(logits),
                              [np.full((1, 1, 1, 1), logit, np.float32)],
                              [np.full((1, 1), logit / 2, np.float32)])

    mean = mean_batch(iter([batch(40.0), batch(50.0)]),
                      LoadedBatch(("a",), np.zeros((1, 1, 1), np.uint8), {}))
    # 1 - p is the mean of exp(-40) and exp(-50).
    assert mean.logits[0, 0] == pytest.approx(40 - np.log((1 + np.exp(-10)) / 2), rel=1e-6)
    assert mean.probabilities[0, 0] == 1
    assert mean.heatmaps[0].item() == 45
    assert mean.completeness[0].item() == 22.5


@pytest.mark.parametrize("kept", [False, True])
def test_an_interrupted_ensemble_goes_on(collection: Any, study: Study, tmp_path: Path,
                                         kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = averaged(study, keep_members=kept)
    whole = open_cubes(generate(collection, wanted, tmp_path / "whole.zarr", progress=False))
    explain = job.explain_ensemble
    calls = []

    def fail_at_the_third(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise DataError("cut")
        return explain(*arguments)

    monkeypatch.setattr(job, "explain_ensemble", fail_at_the_third)
    output = tmp_path / "cut.zarr"
    with pytest.raises(DataError, match="cut"):
        generate(collection, wanted, output, progress=False)
    assert partial_path(output).exists()
    with pytest.raises(UsageError, match="ensemble 'mean'"):
        generate(collection, averaged(study, keep_members=kept, members=("wide", "narrow")),
                 output, resume=True, progress=False)
    calls.append(1)
    cut = open_cubes(generate(collection, wanted, output, resume=True, progress=False))
    for name in ("prediction/probability", "saliency/heatmap"):
        np.testing.assert_array_equal(of(cut, name, "mean"), of(whole, name, "mean"))


def test_one_that_is_not_finite_makes_the_mean_so(collection: Any, study: Study, tmp_path: Path,
                                                  tiny: ModuleType) -> None:
    network = tiny.TinyNetwork(3)
    network.body[3].weight.data.mul_(1e30)  # its square overflows
    tiny.save_model(tmp_path, "broken", network)
    models = (*study.models, dataclasses.replace(study.models[0], name="broken"))
    wanted = averaged(dataclasses.replace(study, models=models), members=("narrow", "broken"))
    cubes = open_cubes(generate(collection, wanted, tmp_path / "out.zarr", progress=False))
    status = of(cubes, "saliency/status", "mean")
    assert (status == Status.NONFINITE).all()
    assert (of(cubes, "saliency/status", "wide") == Status.OK).all()
    assert cubes["saliency"]["model"].values.tolist() == ["wide", "mean"]


def test_what_cannot_be_randomized(collection: Any, study: Study, tmp_path: Path) -> None:
    alone = averaged(dataclasses.replace(study, randomization=RandomizationSpec(replicates=1)))
    with pytest.raises(UsageError, match="only averaged into ensembles; set keep_members"):
        generate(collection, alone, tmp_path / "out.zarr", progress=False)
    named = dataclasses.replace(
        alone, randomization=RandomizationSpec(replicates=1, models=("wide",)))
    with pytest.raises(UsageError, match=r"'wide' of \[randomization\] is only averaged"):
        generate(collection, named, tmp_path / "out.zarr", progress=False)
    kept = averaged(alone, keep_members=True)
    cubes = open_cubes(generate(collection, kept, tmp_path / "out.zarr", progress=False))
    assert cubes["randomization"]["model"].values.tolist() == list(MEMBERS)


@pytest.mark.parametrize(("entry", "message"), [
    ({"members": ["dens"]}, "'dens', which is not among .* did you mean 'dense'"),
    ({"members": ["dense", "dense"]}, "'dense' twice"),
    ({}, "has no members"),
    ({"checkpoints": ["a.pt"]}, "both `checkpoints` and their `architecture`"),
    ({"members": ["dense"], "architecture": "densenet121"}, "both `checkpoints`"),
    ({"name": "dense", "members": ["dense"]}, "names must differ"),
])
def test_a_wrong_ensemble_is_refused(write_study: Callable[..., Path], entry: dict[str, Any],
                                     message: str) -> None:
    path = write_study(models=[{"name": "dense"}], ensembles=[{"name": "mean", **entry}])
    with pytest.raises(UsageError, match=message):
        read_study(path)


def test_a_pattern_that_matches_nothing_is_named(collection: Any, study: Study,
                                                 tmp_path: Path) -> None:
    wanted = averaged(study, checkpoints=("runs/*/epoch-*.pt",), architecture="densenet121")
    with pytest.raises(UsageError, match=r"runs/\*/epoch-\*.pt matches no file"):
        generate(collection, wanted, tmp_path / "out.zarr", progress=False)
