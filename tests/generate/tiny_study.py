"""A study small enough to generate in a second: also run as a program, to be killed.

    python tiny_study.py FOLDER SEED [DEVICE [FILES]]

makes FOLDER/whole.zarr in one go and FOLDER/killed.zarr in several runs that are killed, and
prints as JSON how many, each after at most FILES (60) new files.  Runs are forked, so that a kill
costs no import.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from saltrust.cache import rle
from saltrust.cache.collection import Annotation, Radiograph
from saltrust.cache.store import partial_path
from saltrust.errors import NothingToDo
from saltrust.generate.job import generate
from saltrust.generation_settings import FaithfulnessSpec, RandomizationSpec
from saltrust.models.checkpoint import save
from saltrust.models.preprocessing import GRAY
from saltrust.study import ExplainerSpec, GenerateSpec, LocalizerSpec, ModelSpec, Study

FINDINGS = ("Edema", "Pneumothorax", "Lung Lesion")
GRID = 24


class NoisyCollection:
    """Radiographs of noise; every third image belongs to the training split."""

    has_radiographs = True
    description: dict[str, Any] = {"kind": "noise"}  # noqa: RUF012

    def __init__(self, n: int = 11) -> None:
        self.fingerprint = f"noise-{n}"
        self.index = xr.Dataset(
            {"label": (("image", "finding"), np.tile(np.array([[1, 0, -1]], np.int8), (n, 1)))},
            coords={
                "image": [f"image-{i:03d}" for i in range(n)],
                "finding": list(FINDINGS),
                "reader": ["reference"],
                "reader_role": ("reader", ["reference"]),
                "patient": ("image", [f"patient-{i}" for i in range(n)]),
                "split": ("image", ["train" if i % 3 == 2 else "test" for i in range(n)]),
                "native_height": ("image", np.full(n, 40)),
                "native_width": ("image", np.full(n, 50)),
            })

    def radiograph(self, image: str, grid: tuple[int, int]) -> Radiograph:
        seed = int(image.split("-")[1])
        pixels = np.random.default_rng(seed).integers(0, 256, grid, dtype=np.uint8)
        return Radiograph(pixels, 40, 50)

    def annotations(self, image: str) -> Mapping[tuple[str, str], Annotation]:
        mask = np.zeros((40, 50), dtype=bool)
        mask[5:15, int(image.split("-")[1]) % 30:][:, :12] = True
        return {("Edema", "reference"): Annotation(rle.encode(mask), 1, ((9.0, 12.0),))}


class TinyNetwork(nn.Module):
    """Two convolutions; a model of the study by `module:factory`."""

    preprocessing = GRAY

    def __init__(self, n_outputs: int, width: int = 5) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
            nn.Conv2d(width, 2 * width, 3, 2, 1), nn.ReLU(),
        )
        self.head = nn.Linear(2 * width, n_outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(inputs).square().mean(dim=(2, 3)))
        return logits


class TinySegmenter(nn.Module):
    """One convolution that says of every pixel what it is; a localizer by `module:factory`."""

    preprocessing = GRAY

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.body = nn.Conv2d(1, n_outputs, 3, padding=1)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.body(inputs)
        return logits


def save_localizer(folder: Path, name: str, findings: tuple[str, ...], seed: int) -> LocalizerSpec:
    """A localizer with weights of `seed`, and how the study names it."""
    torch.manual_seed(seed)
    save_model(folder, name, TinySegmenter(len(findings)), seed=seed, findings=list(findings),
               architecture="tiny_study:TinySegmenter")
    return LocalizerSpec(name, "tiny_study:TinySegmenter", findings=findings)


def save_model(folder: Path, name: str, network: nn.Module, **card: Any) -> None:
    run = folder / "runs" / name
    run.mkdir(parents=True)
    save(network, run / "model.safetensors",
         {"architecture": "tiny_study:TinyNetwork", "findings": list(FINDINGS), "seed": 4,
          "grid": GRID, "arguments": {}, **card})


def write_study(folder: Path, **changes: Any) -> Study:
    """Two models of different widths, saved under `folder`, and the study that names them."""
    models = []
    for seed, name in enumerate(("narrow", "wide")):
        torch.manual_seed(seed)
        arguments = {"width": 4 + 4 * seed}
        save_model(folder, name, TinyNetwork(len(FINDINGS), **arguments), arguments=arguments,
                   seed=seed)
        models.append(ModelSpec(name, architecture="tiny_study:TinyNetwork"))
    values: dict[str, Any] = {
        "name": "tiny", "grid": GRID, "models": tuple(models), "folder": folder,
        "explainers": (ExplainerSpec("grad"), ExplainerSpec("gradcam")),
        "generate": GenerateSpec(split="test", batch_size=3, device="cpu"),
    }
    return Study(**{**values, **changes})


def _run(collection: NoisyCollection, study: Study, output: Path) -> int:
    """Generate in a child process; its number."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            generate(collection, study, output, resume=True, progress=False)
            status = 0
        except NothingToDo:
            # The run before was killed between its last write and its end.
            status = 0
        except Exception:  # noqa: BLE001 - printed, as no frame of the parent may be reached
            traceback.print_exc()
        finally:
            os._exit(status)
    return child


def _files(folder: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(folder))


def _ended(child: int) -> bool:
    done, status = os.waitpid(child, os.WNOHANG)
    if done and status != 0:
        raise SystemExit("a run failed by itself")
    return done != 0


def main(folder: Path, seed: int, device: str = "cpu", most_files: int = 60) -> None:
    torch.set_num_threads(1)
    # Under this name the models of the study find their network.
    sys.modules["tiny_study"] = sys.modules["__main__"]
    noisy = ExplainerSpec("smoothgrad", {"samples": 2})
    study = write_study(folder, explainers=(ExplainerSpec("grad"), ExplainerSpec("gradcam"), noisy),
                        generate=GenerateSpec("test", 3, device),
                        randomization=RandomizationSpec(replicates=1, images=3),
                        faithfulness=FaithfulnessSpec(("deletion", "lerf"), steps=2, squares=6,
                                                      images=5),
                        localizers=(save_localizer(folder, "segmenter", FINDINGS[:2], 3),))
    # Made here, so that what xarray imports with its first data set is imported once.
    collection = NoisyCollection(24)
    child = _run(collection, study, folder / "whole.zarr")
    while not _ended(child):
        time.sleep(0.01)
    moments = random.Random(seed)
    output = folder / "killed.zarr"
    kills = 0
    while True:
        # After so many new files, and a moment more: anywhere between two bytes.
        wanted = _files(partial_path(output)) + moments.randint(1, most_files)
        child = _run(collection, study, output)
        while not (ended := _ended(child)) and _files(partial_path(output)) < wanted:
            time.sleep(0.003)
        if ended:
            break
        time.sleep(moments.uniform(0, 0.01))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        kills += 1
    print(json.dumps({"kills": kills}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:4], *map(int, sys.argv[4:5]))
