"""Training on the device: all precisions that it has, localizers, going on after a kill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saltrust.models.checkpoint import read_weights
from saltrust.models.localizers.trained_localizer import load_localizer
from saltrust.models.preprocessing import to_input
from saltrust.study import LocalizerSpec, ModelSpec, Study
from saltrust.training import loop
from saltrust.training.tasks.classifier import train
from saltrust.training.tasks.localizer import train_localizer
from saltrust.training_settings import TrainSpec

pytestmark = pytest.mark.cuda

#: What is trained on a GPU; a CPU has the first two.
PRECISIONS = ("float32", "bf16", "tf32", "float16")
LOCALIZERS = (
    LocalizerSpec("unet-1", "unet", seed=1, arguments={
        "encoder_name": "resnet18", "encoder_depth": 3, "decoder_channels": [32, 16, 8]},
        train={"epochs": 2, "batch_size": 4, "learning_rate": 3e-3}),
    LocalizerSpec("retinanet-1", "retinanet", seed=1, arguments={
        "backbone": "resnet18", "channels": 16, "image_size": 0, "in_channels": 1,
        "anchor_sizes": [8, 16, 32, 64, 128]},
        train={"epochs": 1, "batch_size": 4, "learning_rate": 2e-3}),
)


def _study(folder: Path, **training: Any) -> Study:
    model = ModelSpec("small", "phantom_net", arguments={"width": 8})
    settings = {"epochs": 4, "batch_size": 8, "learning_rate": 0.01, **training}
    return Study(name="squares", grid=32, models=(model,), train=TrainSpec(**settings),
                 folder=folder, localizers=LOCALIZERS)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_it_learns_in_every_precision(squares: Any, tmp_path: Path, device: torch.device,
                                      precision: str) -> None:
    if device.type == "cpu" and precision not in PRECISIONS[:2]:
        precision = "float32"
    study = _study(tmp_path, precision=precision)
    collection = squares({"train": 96, "val": 24, "test": 40})
    folder = train(collection, study, study.models[0], device=device.type, progress=False)
    card = json.loads((folder / "model.json").read_text())
    assert card["device"] == device.type
    assert card["test_auc"]["mean"] > 0.9
    assert {values.dtype for name, values in read_weights(folder / "model.safetensors").items()
            if "num_batches" not in name} == {torch.float32}


def test_a_run_that_was_cut_off_goes_on(squares: Any, tmp_path: Path, device: torch.device,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    study = _study(tmp_path, precision="bf16")
    collection = squares({"train": 48, "val": 16, "test": 16})
    written = loop.write_state

    def cut_off(*arguments: Any) -> None:
        written(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "write_state", cut_off)
    with pytest.raises(KeyboardInterrupt):
        train(collection, study, study.models[0], device=device.type, progress=False)
    monkeypatch.undo()
    folder = train(collection, study, study.models[0], device=device.type, resume=True,
                   progress=False)
    card = json.loads((folder / "model.json").read_text())
    assert card["complete"] is True
    assert card["resumed_after_epochs"] == [1]


@pytest.mark.parametrize("spec", LOCALIZERS, ids=lambda spec: spec.architecture)
def test_localizers_learn_and_localise_as_on_the_cpu(
    squares: Any, tmp_path: Path, device: torch.device, spec: LocalizerSpec
) -> None:
    study = _study(tmp_path)
    collection = squares({"train": 24, "val": 10, "test": 10}, annotated=True)
    folder = train_localizer(collection, study, spec, device=device.type, progress=False)
    assert json.loads((folder / "model.json").read_text())["complete"] is True
    findings = [str(name) for name in collection.index["finding"].values]
    localizer = load_localizer(spec, study, findings)
    pixels = collection.pixels[:6]
    expected = localizer.localize(to_input(pixels, localizer.preprocessing))
    localizer.module.to(device)
    here = localizer.localize(to_input(pixels, localizer.preprocessing, device))
    # Of boxes, a pixel at the edge may be in or out.
    differing = (here.heatmaps - expected.heatmaps).abs() > 1e-3
    assert differing.float().mean() < 0.01
    np.testing.assert_allclose(here.scores, expected.scores, atol=1e-2)
