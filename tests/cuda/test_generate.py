"""`generate` on the device: the cubes of the CPU, kills, memory, several devices."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from saltrust.cache.store import open_cubes
from saltrust.generate.agreement import correlations
from saltrust.generate.job import Overrides, generate
from saltrust.study import ExplainerSpec, GenerateSpec, RandomizationSpec, Study

pytestmark = pytest.mark.cuda

TINY_STUDY = Path(__file__).resolve().parents[1] / "generate" / "tiny_study.py"
DEVICES = range(max(1, torch.cuda.device_count()))


@pytest.fixture
def study(tiny: ModuleType, tmp_path: Path) -> Study:
    localizer = tiny.save_localizer(tmp_path, "segmenter", tiny.FINDINGS[:2], 3)
    written: Study = tiny.write_study(
        tmp_path, explainers=tuple(map(ExplainerSpec, ("grad", "ig", "gradcam"))),
        randomization=RandomizationSpec(replicates=1, images=3), localizers=(localizer,))
    return written


def _assert_near(one: Any, other: Any) -> None:
    """Maps and predictions that differ by rounding only."""
    for name in ("saliency/heatmap", "randomization/heatmap", "localizer/heatmap"):
        np.testing.assert_array_equal(np.isfinite(one[name]), np.isfinite(other[name]))
        first, second = (cubes[name].transpose(..., "y", "x").values for cubes in (one, other))
        shape = (-1, 1, *first.shape[-2:])
        together = correlations(first.reshape(shape), second.reshape(shape))
        assert np.median(together) > 0.99999
        assert together.min() > 0.99  # Rounding may turn a rectifier.
    np.testing.assert_allclose(one["prediction/logit"], other["prediction/logit"], rtol=1e-4,
                               atol=1e-4)
    np.testing.assert_array_equal(one["saliency/status"], other["saliency/status"])


@pytest.mark.parametrize("index", DEVICES)
def test_the_cubes_are_those_of_the_cpu_on_every_device(
    tiny: ModuleType, study: Study, tmp_path: Path, device: torch.device, index: int
) -> None:
    collection = tiny.NoisyCollection()
    expected = open_cubes(generate(collection, study, tmp_path / "cpu.zarr", progress=False))
    here = Overrides(device=device.type)
    if device.type == "cuda":
        torch.cuda.set_device(index)
    try:
        path = generate(collection, study, tmp_path / "here.zarr", overrides=here, progress=False)
    finally:
        if device.type == "cuda":
            torch.cuda.set_device(0)
    cubes = open_cubes(path)
    assert cubes.attrs["device"] == device.type
    _assert_near(cubes, expected)


def test_killed_and_resumed_the_cubes_are_the_same(tmp_path: Path, device: torch.device) -> None:
    # A context on a GPU takes seconds to make: fewer kills, each after more files.
    files = "60" if device.type == "cpu" else "400"
    done = subprocess.run([sys.executable, str(TINY_STUDY), str(tmp_path), "1", device.type, files],
                          capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["kills"] >= 1
    whole, killed = (open_cubes(tmp_path / f"{name}.zarr") for name in ("whole", "killed"))
    _assert_near(killed, whole)


def test_a_batch_size_is_measured_and_kept(
    tiny: ModuleType, study: Study, tmp_path: Path, device: torch.device
) -> None:
    collection = tiny.NoisyCollection(70)
    measured = replace(study, generate=GenerateSpec("all", "auto", device.type), localizers=(),
                       randomization=RandomizationSpec())
    path = generate(collection, measured, tmp_path / "out.zarr", progress=False)
    size = open_cubes(path).attrs["batch_size"]
    assert size == (8 if device.type == "cpu" else 64)
    path.rename(f"{path}.partial")
    path = generate(collection, measured, tmp_path / "out.zarr", resume=True, progress=False)
    assert open_cubes(path).attrs["batch_size"] == size


def test_half_precision_is_measured_against_float32(
    tiny: ModuleType, study: Study, tmp_path: Path, device: torch.device
) -> None:
    path = generate(tiny.NoisyCollection(), study, tmp_path / "half.zarr", progress=False,
                    overrides=Overrides(device.type, "bf16"))
    agreement = open_cubes(path).attrs["precision_agreement"]["wide"]["explainers"]
    assert agreement["grad"]["correlation_median"] > 0.95
