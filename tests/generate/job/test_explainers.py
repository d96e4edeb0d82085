"""Every built-in explainer through a generation job."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from saltrust.cache.schema import Status
from saltrust.cache.store import open_cubes
from saltrust.errors import DataError, UsageError
from saltrust.explainers.methods.integrated_gradients import ig
from saltrust.explainers.methods.smoothgrad import smoothgrad
from saltrust.explainers.methods.xrai.heatmap import xrai
from saltrust.explainers.passes.context import BatchContext
from saltrust.explainers.registry import BUILT_IN
from saltrust.generate import batches, plan
from saltrust.generate.job import generate
from saltrust.models.classifiers.trained_classifier import load_classifier
from saltrust.models.preprocessing import to_input
from saltrust.study import ExplainerSpec, GenerateSpec, Study

SMALL: dict[str, dict[str, Any]] = {
    "smoothgrad": {"samples": 3}, "ig": {"steps": 4}, "smooth_ig": {"samples": 2, "steps": 3},
    "xrai": {"steps": 4}, "occlusion": {"window": 8, "stride": 4},
}
NAMES = ["grad", "smoothgrad", "ig", "smooth_ig", "gradcam", "xrai", "guided_backprop",
         "guided_gradcam", "deconvnet", "gradcam_plus_plus", "eigencam", "occlusion", "deeplift",
         "input_x_gradient"]
#: They need attention, which the network of these tests has none of.
OF_TRANSFORMERS = ["attention_rollout", "chefer", "attnlrp"]
EVERY = tuple(ExplainerSpec(name, SMALL.get(name, {})) for name in NAMES)


@pytest.fixture
def every(study: Study) -> Study:
    return dataclasses.replace(study, explainers=EVERY, seed=11)


def test_all_explainers_in_one_job(collection: Any, every: Study, tmp_path: Path) -> None:
    assert list(BUILT_IN) == [*NAMES, *OF_TRANSFORMERS]
    cubes = open_cubes(generate(collection, every, tmp_path / "out.zarr", progress=False))
    saliency = cubes["saliency"].to_dataset()
    assert saliency["explainer"].values.tolist() == NAMES
    tested = collection.index["split"].values == "test"
    status = saliency["status"].values[tested]
    assert np.isin(status, [Status.OK, Status.FLAT]).all()
    assert (status == Status.OK).any(axis=(0, 1)).all()
    promised = np.isfinite(saliency["completeness"].values[tested]).all(axis=(0, 1, 3))
    assert [NAMES[i] for i in np.flatnonzero(promised)] == ["ig", "deeplift"]
    assert np.isnan(saliency["completeness"].values[~tested]).all()


def test_noise_and_levels_are_those_of_the_image(
    collection: Any, every: Study, tmp_path: Path
) -> None:
    cubes = open_cubes(generate(collection, every, tmp_path / "out.zarr", progress=False))
    findings = [str(name) for name in collection.index["finding"].values]
    classifier = load_classifier(every.models[1], every, findings)
    name = "image-004"
    pixels = collection.radiograph(name, (24, 24)).pixels[None]
    inputs = to_input(pixels, classifier.preprocessing)
    level = torch.ones(1, 1, 1, 1)
    # GRAY: from -2 to 2.  One image alone, not in the batch it was generated in.
    context = BatchContext((name,), -2 * level, 2 * level, seed=11, pixels=pixels)
    chosen = {"image": name, "model": classifier.name}
    for explainer, function in (("smoothgrad", smoothgrad), ("ig", ig), ("xrai", xrai)):
        expected = function(classifier.module, inputs, range(3), context=context,
                            **SMALL[explainer])[0].numpy()
        stored = cubes["saliency/heatmap"].sel(chosen | {"explainer": explainer})
        stored = stored.transpose("finding", "y", "x").values
        np.testing.assert_allclose(stored, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
    maps = cubes["saliency/heatmap"].sel(chosen | {"explainer": "ig"})
    with torch.no_grad():
        change = classifier.logits(inputs) - classifier.logits(torch.full_like(inputs, -2))
    np.testing.assert_allclose(
        cubes["saliency/completeness"].sel(chosen | {"explainer": "ig"}),
        maps.sum(["y", "x"]).values - change[0].numpy(), rtol=1e-3, atol=1e-4)


def test_interrupted_and_resumed_every_map_has_the_same_bits(
    collection: Any, every: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = open_cubes(generate(collection, every, tmp_path / "whole.zarr", progress=False))
    begin_batch = batches.begin_batch
    calls: list[int] = []

    def stop(*args: Any) -> Any:
        calls.append(1)
        if len(calls) in (2, 5):
            raise KeyboardInterrupt
        return begin_batch(*args)

    monkeypatch.setattr("saltrust.generate.job.begin_batch", stop)
    path = tmp_path / "resumed.zarr"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            generate(collection, every, path, resume=True, progress=False)
    resumed = open_cubes(generate(collection, every, path, resume=True, progress=False))
    assert len(calls) > 6
    for name in ("heatmap", "status", "completeness"):
        first, second = (cubes["saliency"][name].values for cubes in (whole, resumed))
        np.testing.assert_array_equal(first, second)


def test_another_seed_moves_only_what_is_noisy(
    collection: Any, every: Study, tmp_path: Path
) -> None:
    cubes = [
        open_cubes(generate(collection, dataclasses.replace(every, seed=seed),
                            tmp_path / f"{seed}.zarr", progress=False)) for seed in (11, 12)]
    first, second = (each["saliency/heatmap"].values for each in cubes)
    same = [np.array_equal(first[:, :, i], second[:, :, i], equal_nan=True)
            for i in range(len(NAMES))]
    assert [name for name, equal in zip(NAMES, same, strict=True) if not equal] == [
        "smoothgrad", "smooth_ig"]


def test_maps_that_do_not_add_up_are_reported(
    collection: Any, study: Study, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for steps, warned in ((1, True), (200, False)):
        few = dataclasses.replace(study, explainers=(ExplainerSpec("ig", {"steps": steps}),))
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            generate(collection, few, tmp_path / f"{steps}.zarr", progress=False)
        assert ("maps of 'ig' should add up" in caplog.text) == warned


def test_a_model_without_rectifiers_is_refused_before_anything_is_written(
    collection: Any, study: Study, tiny: ModuleType, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Smooth(tiny.TinyNetwork):  # type: ignore[name-defined,misc]
        def __init__(self, n_outputs: int, width: int = 5) -> None:
            super().__init__(n_outputs, width)
            self.body[2] = torch.nn.Tanh()
            self.body[4] = torch.nn.Tanh()

    monkeypatch.setattr(tiny, "TinyNetwork", Smooth)
    guided = dataclasses.replace(study, explainers=(ExplainerSpec("guided_backprop"),))
    with pytest.raises(DataError, match=r"model 'narrow': the network has no rectifier"):
        generate(collection, guided, tmp_path / "out.zarr", progress=False)
    assert not list(tmp_path.glob("out.zarr*"))


def test_the_trial_before_the_job_is_cheap(
    collection: Any, every: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []

    def count(_module: Any, args: Any, _output: Any) -> None:
        rows.append(len(args[0]))

    full = dataclasses.replace(
        every, explainers=tuple(ExplainerSpec(name) for name in NAMES), models=every.models[:1])
    handle = torch.nn.modules.module.register_module_forward_hook(
        lambda module, args, output: count(module, args, output)
        if type(module).__name__ == "TinyNetwork" else None)
    plan.make_plan(collection, full, torch.device("cpu"))
    handle.remove()
    # Thousands with all steps, samples and windows.
    assert sum(rows) < 40


def test_wrong_parameters_are_refused_before_anything_is_written(
    collection: Any, study: Study, tmp_path: Path
) -> None:
    wrong = dataclasses.replace(
        study, explainers=(ExplainerSpec("xrai", {"baselines": ["black", "blue"]}),),
        generate=GenerateSpec(split="test", device="cpu"))
    with pytest.raises(UsageError, match=r"explainer 'xrai': baselines must be .*not 'blue'"):
        generate(collection, wrong, tmp_path / "out.zarr", progress=False)
    gaps = dataclasses.replace(
        study, explainers=(ExplainerSpec("occlusion", {"window": 4, "stride": 5}),))
    with pytest.raises(UsageError, match="stride must lie in 1 to 4, the window, not 5"):
        generate(collection, gaps, tmp_path / "out.zarr", progress=False)
    assert not list(tmp_path.glob("out.zarr*"))
