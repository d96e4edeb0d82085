"""A small study in memory, with shapes that are known, and what the analyses say of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from saltrust.analysis.options import Resampling
from saltrust.analysis.protocols.study import analyze_study
from saltrust.analysis.result import Result
from saltrust.cache.grid import mask_to_grid
from saltrust.cache.rle import encode

GRID = (32, 32)
NATIVE = (64, 48)
FINDINGS = ("Cardiomegaly", "Edema & co", "Lung_Lesion")
N_IMAGES = 12


def texts(values: Sequence[str]) -> np.ndarray:
    """Variable-length text, as stores hold it."""
    return np.array(list(values), dtype=np.dtypes.StringDType())


def rectangle(top: int, left: int, height: int, width: int) -> np.ndarray:
    """A native-size mask with one rectangle."""
    mask = np.zeros(NATIVE, dtype=bool)
    mask[top:top + height, left:left + width] = True
    return mask


def hill(y: float, x: float, spread: float = 5.0) -> np.ndarray:
    """A map on the grid with one peak."""
    rows, columns = np.mgrid[:GRID[0], :GRID[1]]
    squares = (rows - y) ** 2 + (columns - x) ** 2
    return np.asarray(np.exp(-squares / (2 * spread**2)), dtype=np.float32)


def make_cubes(source: Path) -> xr.DataTree:
    """Twelve images of six patients; the first eight are positive for every finding."""
    rng = np.random.default_rng(11)
    images = [f"image-{i:02d}" for i in range(N_IMAGES)]
    readers, explainers = ["radiologists", "third reader"], ["gradcam", "grad"]
    shape = (N_IMAGES, len(FINDINGS))
    label = np.zeros(shape, dtype=np.int8)
    label[:8] = 1
    label[11, 0] = -1
    rle = np.full((*shape, 2), encode(np.zeros(NATIVE, dtype=bool)),
                  dtype=np.dtypes.StringDType())
    mask = np.zeros((*shape, 2, *GRID), dtype=bool)
    point = np.full((*shape, 2, 1), np.nan, dtype=np.float32)
    heatmap = np.zeros((*shape, 2, 1, *GRID), dtype=np.float32)
    probability = rng.uniform(0.05, 0.6, (*shape, 1)).astype(np.float32)
    for i, f in np.argwhere(label == 1):
        top, left = int(rng.integers(4, 30)), int(rng.integers(2, 20))
        height, width = int(rng.integers(8, 30)), int(rng.integers(8, 24))
        for r, shift in ((0, 0), (1, 2)):
            drawn = rectangle(top + shift, left + shift, height, width)
            rle[i, f, r] = encode(drawn)
            mask[i, f, r] = mask_to_grid(drawn, GRID)
        point[i, f, 1, 0] = top + height // 2
        y, x = (top + height / 2) / 2, (left + width / 2) * 2 / 3
        away = (f + 1) * 3 * (i % 2)
        heatmap[i, f, 0, 0] = hill(y + away, x)
        heatmap[i, f, 1, 0] = hill(y, x, 2.0) - 0.3 + 0.05 * rng.normal(size=GRID)
        probability[i, f, 0] = rng.uniform(0.3, 0.95)
    point_x = point.copy()
    point_x[np.isfinite(point)] = 16
    for i, f in np.argwhere(label != 1):
        heatmap[i, f, :, 0] = [hill(4, 4), hill(20, 9, 3.0)]
    status = np.ones((*shape, 2, 1), dtype=np.uint8)
    status[0, 2, 1, 0], heatmap[0, 2, 1, 0] = 2, 0.25
    root = xr.Dataset(coords={
        "image": texts(images), "finding": texts(FINDINGS),
        "patient": ("image", texts([f"p{i // 2}" for i in range(N_IMAGES)])),
        "split": ("image", texts(["test"] * N_IMAGES)),
        "native_height": ("image", np.full(N_IMAGES, NATIVE[0], dtype=np.int32)),
        "native_width": ("image", np.full(N_IMAGES, NATIVE[1], dtype=np.int32)),
    })
    over = ("image", "finding")
    pixels = np.clip(rng.normal(120, 40, (N_IMAGES, *GRID)), 0, 255).astype(np.uint8)
    reference = xr.Dataset(
        {"label": (over, label),
         "annotated": ((*over, "reader"), np.ones((*shape, 2), dtype=bool)),
         "mask": ((*over, "reader", "y", "x"), mask),
         "mask_rle": ((*over, "reader"), rle),
         "point_y": ((*over, "reader", "instance"), point),
         "point_x": ((*over, "reader", "instance"), point_x)},
        coords={"reader": texts(readers),
                "reader_role": ("reader", texts(["reference", "benchmark"]))})
    model = {"model": texts(["net"]), "model_role": ("model", texts(["member"])),
             "model_architecture": ("model", texts(["densenet121"]))}
    tree = xr.DataTree.from_dict({
        "/": root,
        "/radiograph": xr.Dataset({"pixels": (("image", "y", "x"), pixels)}),
        "/reference": reference,
        "/prediction": xr.Dataset({"probability": ((*over, "model"), probability)},
                                  coords=model),
        "/saliency": xr.Dataset(
            {"heatmap": ((*over, "explainer", "model", "y", "x"), heatmap),
             "status": ((*over, "explainer", "model"), status)},
            coords={"explainer": texts(explainers), "explainer_parameters":
                    ("explainer", texts(["{}", '{"channels": "sum"}'])), **model}),
    })
    tree.attrs = {"source": str(source), "saltrust_schema": 1, "saltrust_version": "0.1.0",
                  "command_line": "saltrust generate <study> -o \"study.zarr\"", "seed": 11}
    return tree


def without_masks(cubes: xr.DataTree) -> xr.DataTree:
    """The same study with labels only, as a plain folder of radiographs is."""
    groups = {f"/{name}": node.to_dataset(inherit=False)
              for name, node in cubes.children.items()}
    groups["/"] = cubes.to_dataset(inherit=False)
    reference = cubes.children["reference"].to_dataset(inherit=False)
    groups["/reference"] = reference[["label"]].drop_vars(["reader", "reader_role"],
                                                          errors="ignore")
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = dict(cubes.attrs)
    return tree


@pytest.fixture(scope="session")
def cubes(tmp_path_factory: pytest.TempPathFactory) -> xr.DataTree:
    return make_cubes(tmp_path_factory.mktemp("study") / "study.zarr")


@pytest.fixture(scope="session")
def plain_cubes(cubes: xr.DataTree) -> xr.DataTree:
    """Labels, predictions and heatmaps, no masks."""
    return without_masks(cubes)


@pytest.fixture(scope="session")
def analyses(cubes: xr.DataTree) -> dict[str, Result | str]:
    return analyze_study(cubes, resampling=Resampling(seed=3))
