"""Decoders of classifiers that were trained with gaze, beside the networks that localise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from saltrust.cache.schema import Status
from saltrust.cache.store import open_cubes
from saltrust.generate.job import generate
from saltrust.models.classifiers.registry import build
from saltrust.models.preprocessing import GRAY, to_input
from saltrust.study import GenerateSpec, ModelSpec, Study

LOSSES = {"plain": None, "classification": "classification", "base": "decoder", "one": "set1",
          "three": "set3"}


@pytest.fixture
def looking(tiny: ModuleType, tmp_path: Path) -> Study:
    """Models of one network with a decoder, trained with every kind of loss."""
    models = []
    for seed, (name, loss) in enumerate(LOSSES.items()):
        torch.manual_seed(seed)
        network = build("phantom_unet", len(tiny.FINDINGS), width=3)
        guidance = {} if loss is None else {"guidance": {"loss": loss, "rule": "deconvnet"}}
        tiny.save_model(tmp_path, name, network, architecture="phantom_unet",
                   arguments={"width": 3}, **guidance)
        models.append(ModelSpec(name, "phantom_unet"))
    return Study(name="tiny", grid=tiny.GRID, models=tuple(models), folder=tmp_path, explainers=(),
                 generate=GenerateSpec(split="test", batch_size=3, device="cpu"))


def test_trained_decoders_are_stored_for_every_finding(tiny: ModuleType, looking: Study,
                                                       tmp_path: Path) -> None:
    collection = tiny.NoisyCollection(6)
    cubes = open_cubes(generate(collection, looking, tmp_path / "c.zarr", progress=False))
    stored = cubes["localizer"].to_dataset()
    # Neither a decoder that was never trained, nor that of set 1, which learns nothing.
    assert stored["model"].values.tolist() == ["base", "three"]
    is_stored = (stored["status"] == Status.OK).transpose("image", "finding", "model").values
    split = cubes["split"].values
    np.testing.assert_array_equal(is_stored, np.broadcast_to(
        (split == "test")[:, None, None], is_stored.shape))
    torch.manual_seed(2)
    network: Any = build("phantom_unet", len(tiny.FINDINGS), width=3).eval()
    pixels = cubes["radiograph/pixels"].values[split == "test"]
    with torch.no_grad():
        expected = network.with_decoder(to_input(pixels, GRAY))[1].sigmoid().numpy()
    maps = stored["heatmap"].sel(model="base").transpose("image", "finding", "y", "x").values
    for finding in range(len(tiny.FINDINGS)):
        np.testing.assert_allclose(maps[split == "test", finding], expected, rtol=1e-5)
    # A decoder says where and not whether.
    assert np.isnan(stored["score"].values).all()
    recorded = cubes.attrs["models"]
    assert recorded["three"]["guidance"] == {"loss": "set3", "rule": "deconvnet"}
    assert "guidance" not in recorded["plain"]
    assert cubes["prediction"].sizes["model"] == len(LOSSES)


def test_a_study_without_trained_decoders_has_no_localizers(tiny: ModuleType, looking: Study,
                                                            tmp_path: Path) -> None:
    plain = replace(looking, models=looking.models[:2])
    path = generate(tiny.NoisyCollection(4), plain, tmp_path / "c.zarr", progress=False)
    cubes = open_cubes(path)
    assert "localizer" not in cubes.children
