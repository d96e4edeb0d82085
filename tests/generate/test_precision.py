"""Heatmaps in reduced precision, and how well they agree with float32."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from saltrust.cache.store import open_cubes
from saltrust.errors import DataError, UsageError
from saltrust.explainers.explain import explain
from saltrust.explainers.passes import compiled
from saltrust.explainers.passes.context import BatchContext, PassSize
from saltrust.explainers.passes.precision import network_precision
from saltrust.explainers.registry import resolve
from saltrust.generate.agreement import correlations, measure_agreement, warn_of_disagreement
from saltrust.generate.batches import Resources
from saltrust.generate.job import Overrides, generate
from saltrust.generate.plan import make_plan
from saltrust.generate.radiographs import LoadedBatch
from saltrust.study import ExplainerSpec, Study

METHODS = ("grad", "gradcam", "occlusion")
CPU = torch.device("cpu")
HALF = Overrides(precision="bf16")


@pytest.fixture
def three(study: Study) -> Study:
    parameters: dict[str, dict[str, Any]] = {"occlusion": {"window": 8, "stride": 8}}
    return dataclasses.replace(study, explainers=tuple(
        ExplainerSpec(name, parameters.get(name, {})) for name in METHODS))


def _maps(cubes: Any, explainer: str) -> Any:
    return cubes["saliency/heatmap"].sel(explainer=explainer, model="wide").values


def test_bfloat16_changes_maps_but_not_predictions(
    collection: Any, three: Study, tmp_path: Path
) -> None:
    exact = open_cubes(generate(collection, three, tmp_path / "exact.zarr", progress=False))
    half = open_cubes(generate(collection, three, tmp_path / "half.zarr", overrides=HALF,
                               progress=False))
    np.testing.assert_array_equal(half["prediction/logit"].values,
                                  exact["prediction/logit"].values)
    # Differences of logits drown in bfloat16: those are made in float32 all the same.
    np.testing.assert_array_equal(_maps(half, "occlusion"), _maps(exact, "occlusion"))
    tested = collection.index["split"].values == "test"
    for name in ("grad", "gradcam"):
        reduced, expected = _maps(half, name)[tested], _maps(exact, name)[tested]
        assert not np.array_equal(reduced, expected)
        assert np.median(correlations(reduced, expected)) > 0.99
    assert exact.attrs["precision"] == "float32"
    assert "precision_agreement" not in exact.attrs
    agreement = half.attrs["precision_agreement"]
    assert sorted(agreement) == ["narrow", "wide"]
    assert agreement["wide"]["images"] == 4
    assert agreement["wide"]["logit_difference"] == 0
    first = np.flatnonzero(tested)[:4]
    expected = correlations(_maps(half, "grad")[first], _maps(exact, "grad")[first])
    assert agreement["wide"]["explainers"]["grad"]["maps"] == len(expected) == 12
    # The first batch of the job is of three images, that of the comparison of four.
    assert agreement["wide"]["explainers"]["grad"]["correlation_median"] == pytest.approx(
        np.median(expected), abs=1e-4)
    assert agreement["wide"]["explainers"]["occlusion"]["correlation_min"] == pytest.approx(1)


def test_an_unfinished_job_keeps_its_precision(
    collection: Any, three: Study, tmp_path: Path
) -> None:
    partial = generate(collection, three, tmp_path / "out.zarr", progress=False)
    partial.rename(tmp_path / "out.zarr.partial")
    with pytest.raises(UsageError, match="was begun with another precision"):
        generate(collection, three, tmp_path / "out.zarr", overrides=HALF, resume=True,
                 progress=False)


def test_compilation_is_recorded_measured_and_kept(
    collection: Any, three: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a compiler that makes nothing: what is compiled is tested where the passes are."""
    calls: list[int] = []

    def compile_nothing(forward: Any) -> Any:
        def call(module: nn.Module, inputs: torch.Tensor) -> Any:
            calls.append(len(inputs))
            return forward(module, inputs)

        return call

    monkeypatch.setattr(torch, "compile", compile_nothing)
    monkeypatch.setattr(compiled, "_FORWARDS", {})
    plain = open_cubes(generate(collection, three, tmp_path / "plain.zarr", progress=False))
    assert calls == []
    assert "compile" not in plain.attrs
    assert "compile" not in plain.attrs["study"]["generate"]
    study = dataclasses.replace(three, generate=dataclasses.replace(three.generate, compile=True))
    path = generate(collection, study, tmp_path / "out.zarr", progress=False)
    cubes = open_cubes(path)
    assert calls
    assert cubes.attrs["compile"] is True
    agreement = cubes.attrs["precision_agreement"]["wide"]
    assert agreement["explainers"]["occlusion"]["correlation_min"] == pytest.approx(1)
    np.testing.assert_allclose(_maps(cubes, "occlusion"), _maps(plain, "occlusion"), rtol=1e-3,
                               atol=1e-6)
    path.rename(tmp_path / "out.zarr.partial")
    with pytest.raises(UsageError, match="begun with another compilation of networks"):
        generate(collection, three, tmp_path / "out.zarr", resume=True, progress=False)


def test_a_precision_that_the_device_lacks_is_refused_before_anything_is_written(
    collection: Any, three: Study, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="'tf32' needs a CUDA device, and this job runs on cpu"):
        generate(collection, three, tmp_path / "out.zarr",
                 overrides=Overrides(precision="tf32"), progress=False)
    assert not (tmp_path / "out.zarr.partial").exists()
    with pytest.raises(UsageError, match="not offered on mps"), network_precision(
            "bf16", torch.device("mps")):
        pass


def test_settings_of_torch_come_back() -> None:
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    with network_precision("tf32", torch.device("cuda")):
        assert matmul.allow_tf32
        assert cudnn.allow_tf32
    with network_precision("float32", torch.device("cuda")):
        # torch's own default is TensorFloat-32 in convolutions.
        assert not cudnn.allow_tf32
    assert (matmul.allow_tf32, cudnn.allow_tf32) == before


class Rounded(nn.Module):
    """Answers to what bfloat16 rounds away."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.constant_(self.layer.weight, 1 + 2.0**-7 + 2.0**-9)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.sin(300 * self.layer(inputs)).mean((2, 3))


def test_methods_that_disagree_are_named(
    collection: Any, study: Study, caplog: pytest.LogCaptureFixture
) -> None:
    plan = make_plan(collection, study, CPU, "bf16")
    spoiled = dataclasses.replace(plan.models[0].classifier, module=Rounded().eval(),
                                  output_index=(0,), findings=("Edema",))
    model = dataclasses.replace(plan.models[0], classifier=spoiled,
                                explainers=(resolve(ExplainerSpec("grad")),))
    pixels = np.stack([collection.radiograph(f"image-{i:03d}", (24, 24)).pixels for i in range(3)])
    loaded = LoadedBatch(("a", "b", "c"), pixels, {})
    agreement = measure_agreement(model, loaded, Resources(CPU, 0, PassSize(), "bf16"))
    with caplog.at_level(logging.WARNING):
        warn_of_disagreement("spoiled", "bf16", agreement)
    assert "model 'spoiled': maps of 'grad' in bf16 correlate" in caplog.text


def test_inputs_outside_the_stated_range_are_refused(study: Study, collection: Any) -> None:
    classifier = make_plan(collection, study, CPU).models[0].classifier
    level = torch.ones(1, 1, 1, 1)
    context = BatchContext(("first", "second"), -2 * level, 2 * level)
    methods = [resolve(ExplainerSpec("grad"))]
    inputs = torch.rand(2, 1, 24, 24)
    explain(classifier.module, inputs, [0], methods, context=context)
    for wrong in (255.0, -2.1, float("nan")):
        inputs[1, 0, 3, 4] = wrong
        with pytest.raises(DataError, match=r"image 'second' has inputs .* the range that the "
                                            r"model states, -2 to 2"):
            explain(classifier.module, inputs, [0], methods, context=context)
