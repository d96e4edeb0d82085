"""A data set whose labels anyone can read off the images: bright squares on noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import xarray as xr

from saltrust.cache import rle
from saltrust.cache.collection import Annotation, Radiograph
from saltrust.errors import DataError
from saltrust.study import ModelSpec, Study
from saltrust.training_settings import TrainSpec

FINDINGS = ("Left Square", "Right Square")


class Squares:
    """One finding is a bright square in the left half, the other one in the right half.

    Labels are right by construction: label[i, f] says whether the square is there.
    """

    has_radiographs = True
    fingerprint = "squares"

    def __init__(self, counts: Mapping[str, int], size: int = 32, seed: int = 0, *,
                 annotated: bool = False) -> None:
        n = sum(counts.values())
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 2, (n, len(FINDINGS))).astype(np.int8)
        split = np.repeat(list(counts), list(counts.values()))
        for name in counts:  # Every split has both classes of every finding.
            rows = np.flatnonzero(split == name)
            labels[rows[:2]] = np.eye(2, dtype=np.int8)[: len(rows)]
        self.pixels = rng.integers(60, 120, (n, size, size)).astype(np.uint8)
        side = size // 4
        self.places: dict[tuple[int, int], tuple[int, int, int]] = {}
        for image, finding in np.argwhere(labels == 1):
            top = rng.integers(0, size - side)
            left = rng.integers(0, size // 2 - side) + finding * size // 2
            self.pixels[image, top : top + side, left : left + side] = 230
            self.places[image, finding] = (int(top), int(left), side)
        self.description: dict[str, Any] = {"kind": "squares", "seed": seed}
        self.decoded: list[str] = []
        self.index = xr.Dataset(
            {"label": (("image", "finding"), labels)},
            coords={
                "image": [f"image{i:03d}" for i in range(n)],
                "finding": list(FINDINGS),
                "split": ("image", split.astype(str)),
                "patient": ("image", [f"patient{i:03d}" for i in range(n)]),
                "native_height": ("image", np.full(n, size)),
                "native_width": ("image", np.full(n, size)),
                **({"reader": ["reference"], "reader_role": ("reader", ["reference"])}
                   if annotated else {}),
            },
        )
        self.annotated = annotated

    def radiograph(self, image: str, grid: tuple[int, int]) -> Radiograph:
        row = self.index.indexes["image"].get_loc(image)
        pixels: npt.NDArray[np.uint8] = self.pixels[row]
        if pixels.shape != grid:
            raise DataError(f"{image} is of {pixels.shape}, not {grid}")
        self.decoded.append(image)
        return Radiograph(pixels, *pixels.shape)

    def annotations(self, image: str) -> Mapping[tuple[str, str], Annotation]:
        if not self.annotated:
            return {}
        row = self.index.indexes["image"].get_loc(image)
        drawn = {}
        for column, finding in enumerate(FINDINGS):
            mask = np.zeros(self.pixels.shape[1:], bool)
            if (row, column) in self.places:
                top, left, side = self.places[row, column]
                mask[top : top + side, left : left + side] = True
            drawn[finding, "reference"] = Annotation(rle.encode(mask))
        return drawn

    def set(self, name: str, values: Any) -> None:
        """Replace a coordinate on image, or the labels."""
        if name == "label":
            self.index["label"] = (("image", "finding"), np.asarray(values, np.int8))
        else:
            self.index = self.index.assign_coords({name: ("image", np.asarray(values))})


@pytest.fixture
def squares() -> Callable[..., Squares]:
    def make(train: int = 24, val: int = 10, test: int = 10, **others: Any) -> Squares:
        counts = {"train": train, "val": val, "test": test}
        return Squares({name: n for name, n in counts.items() if n}, **others)

    return make


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., Study]:
    """A study of one small model at a grid of 32; keywords go to [train]."""

    def make(seed: int = 0, model_seed: int = 0, **training: Any) -> Study:
        model = ModelSpec("small", "phantom_net", seed=model_seed, arguments={"width": 8})
        settings = {"epochs": 2, "batch_size": 8, "learning_rate": 0.01, **training}
        return Study(name="squares", seed=seed, grid=32, models=(model,),
                     train=TrainSpec(**settings), folder=tmp_path)

    return make


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    """Sums over one thread: tests run beside each other, and must repeat exactly."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
