"""A collection small enough to know by heart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import xarray as xr

from saltrust.cache import rle
from saltrust.cache.collection import Annotation, Radiograph


class SquareCollection:
    """Images whose pixels are their number, with one square mask each, native 40 x 60."""

    has_radiographs = True
    fingerprint = "squares"
    description: dict[str, Any] = {"kind": "squares"}  # noqa: RUF012

    def __init__(self, n: int = 5) -> None:
        images = [f"image-{i}" for i in range(n)]
        label = np.tile(np.array([[1, 0]], dtype=np.int8), (n, 1))
        self.index = xr.Dataset(
            {"label": (("image", "finding"), label)},
            coords={
                "image": images, "finding": ["Edema", "Pneumothorax"],
                "reader": ["reference", "expert-1"],
                "reader_role": ("reader", ["reference", "benchmark"]),
                "patient": ("image", [f"patient-{i // 2}" for i in range(n)]),
                "split": ("image", ["test"] * n),
                "native_height": ("image", np.full(n, 40)),
                "native_width": ("image", np.full(n, 60)),
            })

    @staticmethod
    def mask(image: str) -> np.ndarray:
        """A 10 x 12 block that moves one pixel down with the image's number."""
        mask = np.zeros((40, 60), dtype=bool)
        top = 4 + int(image.split("-")[1])
        mask[top:top + 10, 8:20] = True
        return mask

    def radiograph(self, image: str, grid: tuple[int, int]) -> Radiograph:
        return Radiograph(np.full(grid, int(image.split("-")[1]), np.uint8), 40, 60)

    def annotations(self, image: str) -> Mapping[tuple[str, str], Annotation]:
        code = rle.encode(self.mask(image))
        empty = rle.encode(np.zeros((40, 60), dtype=bool))
        return {("Edema", "reference"): Annotation(code, 1),
                ("Edema", "expert-1"): Annotation(code, 2, ((9.0, 10.0), (11.0, 12.0))),
                ("Pneumothorax", "reference"): Annotation(empty, 0)}


@pytest.fixture
def squares() -> SquareCollection:
    return SquareCollection()
