"""Whole little studies in memory: masks, maps of known quality, models, random weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from scipy import ndimage

from saltrust.cache import rle

SIZE = 40
FINDING = "Opacity"
MODELS = {"dense-1": "densenet121", "dense-2": "densenet121", "inception": "inception_v3"}

Map = npt.NDArray[np.float64]
#: Explainer: (image, mask, radiograph, model index, stage index, generator) -> map
Explainer = Callable[[npt.NDArray[np.bool_], Map, int, int, np.random.Generator], Map]
BuildStudy = Callable[..., xr.DataTree]


def smooth(generator: np.random.Generator, sigma: float = 2) -> Map:
    return ndimage.gaussian_filter(generator.normal(size=(SIZE, SIZE)), sigma) * sigma


def oracle(mask: npt.NDArray[np.bool_], _image: Map, model: int, stage: int,
           generator: np.random.Generator) -> Map:
    """The mask plus noise while the model is trained, noise alone once it is random."""
    return (mask * 0.7 if stage == 0 else 0.0) + smooth(generator)


def edges(_mask: npt.NDArray[np.bool_], image: Map, _model: int, _stage: int,
          _generator: np.random.Generator) -> Map:
    """An edge detector, which ignores the model."""
    return np.hypot(ndimage.sobel(image, 0), ndimage.sobel(image, 1))


def noise(_mask: npt.NDArray[np.bool_], _image: Map, _model: int, _stage: int,
          generator: np.random.Generator) -> Map:
    return smooth(generator)


EXPLAINERS: dict[str, Explainer] = {"oracle": oracle, "edges": edges, "noise": noise}


def draw(generator: np.random.Generator) -> npt.NDArray[np.bool_]:
    y, x = np.mgrid[:SIZE, :SIZE]
    cy, cx = generator.uniform(8, 32, 2)
    return ((y - cy) / generator.uniform(3, 7)) ** 2 + ((x - cx) / generator.uniform(3, 7)) ** 2 < 1


def study(*, positives: int = 24, negatives: int = 6, fitted: int = 12,
          explainers: Mapping[str, Explainer] | Sequence[str] = EXPLAINERS,
          models: Mapping[str, str] = MODELS, stages: int = 3, replicates: int = 1,
          localizers: Sequence[str] = (), per_patient: int = 1, seed: int = 0,
          randomization: bool = False, saliency: bool = True) -> xr.DataTree:
    """A study whose first ``fitted`` images are for training; the rest are test images."""
    generator = np.random.default_rng(seed)
    chosen = dict(explainers) if isinstance(explainers, Mapping) else {
        name: EXPLAINERS[name] for name in explainers}
    n = fitted + positives + negatives
    label = np.array([1] * (fitted + positives) + [0] * negatives, np.int8)
    masks = np.stack([draw(generator) if value else np.zeros((SIZE, SIZE), bool)
                      for value in label])
    images = [ndimage.gaussian_filter(generator.normal(size=(SIZE, SIZE)), 3) + 0.2 * mask
              for mask in masks]
    coords = {"image": [f"image-{i:03d}" for i in range(n)], "finding": [FINDING],
              "patient": ("image", [f"patient-{i // per_patient:03d}" for i in range(n)]),
              "split": ("image", ["train"] * (fitted - fitted // 3) + ["val"] * (fitted // 3)
                        + ["test"] * (n - fitted)),
              "native_height": ("image", np.full(n, SIZE, np.int32)),
              "native_width": ("image", np.full(n, SIZE, np.int32))}
    codes = np.array([rle.encode(mask) for mask in masks], dtype=np.dtypes.StringDType())
    dims = ("image", "finding", "reader")
    nodes: dict[str, Any] = {"/": xr.Dataset(coords=coords), "/reference": xr.Dataset(
        {"label": (dims[:2], label[:, None]), "annotated": (dims, np.ones((n, 1, 1), bool)),
         "mask": ((*dims, "y", "x"), masks[:, None, None]),
         "mask_rle": (dims, codes[:, None, None])},
        coords={"reader": ["truth"], "reader_role": ("reader", ["reference"])})}
    model_coords = {"model": list(models), "model_architecture": ("model", list(models.values())),
                    "model_seed": ("model", np.arange(len(models)))}
    if saliency:
        maps = np.stack([[[made(mask, image, m, 0, generator) for m in range(len(models))]
                          for made in chosen.values()] for mask, image in
                         zip(masks, images, strict=True)])[:, None].astype(np.float32)
        nodes["/saliency"] = _maps(maps, ("image", "finding", "explainer", "model"),
                                   {"explainer": list(chosen), **model_coords})
        probability = np.clip(label[:, None] * 0.4 + generator.uniform(0, 0.6, (n, len(models))),
                              0, 1).astype(np.float32)
        nodes["/prediction"] = xr.Dataset(
            {"probability": (("image", "finding", "model"), probability[:, None])},
            coords=model_coords)
    if randomization:
        first = list(models)[:1]
        staged = np.stack([[[[made(mask, image, 0, stage,
                                   np.random.default_rng([seed, i, e, r * (stage > 0), stage]))
                              for stage in range(stages)] for r in range(replicates)]
                            for e, made in enumerate(chosen.values())]
                           for i, (mask, image) in enumerate(zip(masks, images, strict=True))])
        staged = staged[:, None, :, None].astype(np.float32)
        nodes["/randomization"] = _maps(
            staged, ("image", "finding", "explainer", "model", "replicate", "stage"),
            {"explainer": list(chosen), "model": first,
             "model_architecture": ("model", [models[first[0]]]),
             "replicate": np.arange(replicates),
             "stage": ["trained", *(f"block{stages - s}" for s in range(1, stages))]})
        nodes["/randomization"]["probability"] = (
            ("image", "finding", "model", "replicate", "stage"),
            generator.uniform(0, 1, (n, 1, 1, replicates, stages)).astype(np.float32))
    if localizers:
        shared = [mask * 12.0 + smooth(generator) for mask in masks]
        maps = np.stack([[base + 0.2 * smooth(generator) for _ in localizers]
                         for base in shared])[:, None].astype(np.float32)
        nodes["/localizer"] = _maps(maps, ("image", "finding", "model"), {
            "model": list(localizers), "model_architecture": ("model", ["unet"] * len(localizers))})
    return xr.DataTree.from_dict(nodes)


def _maps(values: npt.NDArray[np.float32], dims: tuple[str, ...], coords: dict[str, Any]
          ) -> xr.Dataset:
    return xr.Dataset({"heatmap": ((*dims, "y", "x"), values),
                       "status": (dims, np.ones(values.shape[:-2], np.uint8))}, coords=coords)


@pytest.fixture(scope="session")
def build_study() -> BuildStudy:
    """A function that builds cubes with explainers of known quality; see :func:`study`."""
    return study
