"""A network that looks at the finding: maps of the mask are above chance, maps of edges are not."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn
from torch.nn import functional

import saltrust
from saltrust.cache import rle
from saltrust.cache.collection import Annotation, Radiograph
from saltrust.explainers.passes.context import BatchContext
from saltrust.generate.job import generate
from saltrust.generation_settings import FaithfulnessSpec
from saltrust.models.checkpoint import save
from saltrust.models.preprocessing import GRAY
from saltrust.study import ExplainerSpec, GenerateSpec, ModelSpec, Study

GRID, PATIENTS = 32, 24
METRICS = ("deletion", "insertion", "morf", "lerf")


def _number(image: str) -> int:
    # An image of a trial has another name.
    return int("".join(filter(str.isdigit, image)) or 0)


def lesion(image: str) -> np.ndarray:
    """A smooth bright spot, 0..1, at a place of the image's own."""
    generator = np.random.default_rng([1, _number(image)])
    cy, cx = generator.uniform(7, 25, 2)
    y, x = np.mgrid[:GRID, :GRID]
    return np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 30)


class Phantoms:
    """Every image shows a smooth spot, and dark bars with sharp edges."""

    has_radiographs, fingerprint = True, "spots"
    description: dict[str, Any] = {"kind": "spots"}  # noqa: RUF012

    def __init__(self) -> None:
        names = [f"image-{k}" for k in range(2 * PATIENTS)]
        self.index = xr.Dataset(
            {"label": (("image", "finding"), np.ones((len(names), 1), np.int8))},
            coords={"image": names, "finding": ["Nodule"], "reader": ["reference"],
                    "reader_role": ("reader", ["reference"]),
                    "patient": ("image", [f"patient-{k // 2}" for k in range(len(names))]),
                    "split": ("image", ["test"] * len(names)),
                    "native_height": ("image", np.full(len(names), GRID)),
                    "native_width": ("image", np.full(len(names), GRID))})

    def radiograph(self, image: str, grid: tuple[int, int]) -> Radiograph:
        generator = np.random.default_rng([2, _number(image)])
        field = gaussian_filter(generator.normal(size=grid), 3)
        gray = 0.35 + 0.05 * field / np.abs(field).max()
        bars = np.zeros(grid)
        # Two rows in four: every row of them lies beside an edge.
        bars[(np.arange(grid[0]) + int(generator.integers(0, 4))) % 4 < 2] = 0.35
        spot = lesion(image)
        # Bars do not cross the spot.
        gray = np.clip(gray - bars * (spot < 0.05) + 0.6 * spot, 0, 1)
        return Radiograph(np.round(255 * gray).astype(np.uint8), GRID, GRID)

    def annotations(self, image: str) -> Mapping[tuple[str, str], Annotation]:
        return {("Nodule", "reference"): Annotation(rle.encode(lesion(image) > 0.5), 1, ())}


class Looks(nn.Module):
    """The probability grows with how much is bright."""

    preprocessing = GRAY

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((n_outputs,), 100.0))

    def forward(self, inputs: Tensor) -> Tensor:
        bright = functional.relu(inputs - _level(0.5)).mean(dim=(1, 2, 3))
        return bright[:, None] * self.scale - 3


def _level(gray: float) -> float:
    from saltrust.models.preprocessing import to_input

    return float(to_input(np.full((1, 1, 1), round(255 * gray), np.uint8), GRAY))


def mask_and_noise(module: nn.Module, inputs: Tensor, outputs: tuple[int, ...], *,
                   context: BatchContext) -> Tensor:
    """The finding's mask plus noise."""
    maps = []
    for image in context.images:
        generator = np.random.default_rng([3, _number(image)])
        maps.append((lesion(image) > 0.5) + 0.1 * generator.random((GRID, GRID)))
    return torch.from_numpy(np.stack(maps)[:, None].astype(np.float32)).expand(
        -1, len(outputs), -1, -1)


def edges(module: nn.Module, inputs: Tensor, outputs: tuple[int, ...]) -> Tensor:
    """An edge detector, which sees the bars."""
    kernel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    both = torch.stack([kernel, kernel.T])[:, None]
    return functional.conv2d(inputs[:, :1], both, padding=1).norm(dim=1, keepdim=True).expand(
        -1, len(outputs), -1, -1)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setitem(sys.modules, "looking", sys.modules[__name__])
    run = tmp_path / "runs" / "looks"
    run.mkdir(parents=True)
    save(Looks(1), run / "model.safetensors", {
        "architecture": "looking:Looks", "findings": ["Nodule"], "seed": 0, "grid": GRID,
        "arguments": {}})
    return Study(
        name="spots", grid=GRID, folder=tmp_path, generate=GenerateSpec(device="cpu"),
        models=(ModelSpec("looks", "looking:Looks"),),
        explainers=(ExplainerSpec("looking:mask_and_noise"), ExplainerSpec("looking:edges")),
        faithfulness=FaithfulnessSpec(METRICS, baseline="black", squares=16))


def test_the_mask_is_above_random_orders_in_every_metric_and_edges_in_none(
        study: Study, tmp_path: Path) -> None:
    cubes = saltrust.open_cubes(generate(Phantoms(), dataclasses.replace(study, seed=1),
                                         tmp_path / "spots.zarr", progress=False))
    decisions = saltrust.faithfulness(cubes)["decisions"]
    mask, edge = (decisions[decisions["explainer"].str.contains(name)].set_index("metric")
                  for name in ("mask", "edges"))
    for metric in METRICS:
        assert mask.loc[metric, "decision"] == "pass", metric
        assert mask.loc[metric, "p_adjusted"] < 0.001
        assert edge.loc[metric, "decision"] != "pass", metric
        assert edge.loc[metric, "estimate"] < mask.loc[metric, "estimate"] / 4
