"""Localizers learn where bright squares are, by pixels and by boxes."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saltrust.analysis.inference.auc import roc_auc
from saltrust.errors import DataError, NothingToDo, UsageError
from saltrust.models.checkpoint import save
from saltrust.models.localizers.network import localize
from saltrust.models.localizers.registry import build_localizer
from saltrust.models.localizers.trained_localizer import load_localizer
from saltrust.models.preprocessing import GRAY, to_input
from saltrust.models.torchvision_operators import import_torchvision
from saltrust.study import LocalizerSpec, Study
from saltrust.training.data.annotated_images import read_annotations
from saltrust.training.data.images import read_images
from saltrust.training.tasks.localizer import (
    LocalizerTask,
    check_localizers,
    segmentation_loss,
    train_localizer,
)
from saltrust.training_settings import TrainSpec

FINDINGS = ["Left Square", "Right Square"]
UNET = LocalizerSpec(
    "unet-1", "unet", seed=1,
    arguments={"encoder_name": "resnet18", "encoder_depth": 3, "decoder_channels": [32, 16, 8]},
    train={"epochs": 3, "batch_size": 4, "learning_rate": 3e-3})
RETINANET = LocalizerSpec(
    "retinanet-1", "retinanet", seed=1,
    arguments={"backbone": "resnet18", "channels": 16, "image_size": 0, "in_channels": 1,
               "anchor_sizes": [8, 16, 32, 64, 128]},
    train={"epochs": 2, "batch_size": 4, "learning_rate": 2e-3})


@pytest.fixture
def masked(squares: Callable[..., Any]) -> Any:
    return squares(annotated=True)


@pytest.fixture
def declared(tmp_path: Path) -> Study:
    return Study(name="squares", grid=32, folder=tmp_path, localizers=(UNET, RETINANET))


def trained(collection: Any, study: Study, spec: LocalizerSpec, **options: Any
            ) -> tuple[dict[str, Any], list[dict[str, str]], Path]:
    folder = train_localizer(collection, study, spec, device="cpu", progress=False, **options)
    card = json.loads((folder / "model.json").read_text())
    with (folder / "metrics.csv").open() as stream:
        return card, list(csv.DictReader(stream)), folder


@pytest.mark.parametrize(("spec", "parts"), [(UNET, ("focal", "dice")),
                                             (RETINANET, ("classification", "box"))])
def test_it_learns_and_says_what_it_did(masked: Any, declared: Study, spec: LocalizerSpec,
                                        parts: tuple[str, str]) -> None:
    card, rows, folder = trained(masked, declared, spec)
    assert card["kind"] == "localizer"
    assert card["complete"] is True
    assert card["findings"] == FINDINGS
    assert card["decides"] == "validation loss"
    assert card["train"]["balanced"] is (spec is UNET)
    assert (card["train"]["plateau_factor"], card["train"]["plateau_patience"]) == (0.1, 3)
    for row in rows:
        for kind in ("train", "val"):
            assert float(row[f"{kind}_loss"]) == pytest.approx(
                sum(float(row[f"{kind}_{part}"]) for part in parts), rel=1e-5)
    best = min(rows, key=lambda row: float(row["val_loss"]))
    assert card["best_epoch"] == int(best["epoch"])
    assert card["val_loss"] == pytest.approx(float(best["val_loss"]))
    assert card["val_auc"]["mean"] == pytest.approx(float(best["val_auc"]))
    assert float(rows[-1]["val_loss"]) < float(rows[0]["val_loss"])
    # The card's numbers, again from the files.
    loaded = load_localizer(spec, declared, FINDINGS)
    test = masked.index["split"].values == "test"
    with torch.no_grad():
        outputs = localize(loaded.module, to_input(masked.pixels[test], GRAY))
    labels = masked.index["label"].values[test]
    for column, finding in enumerate(FINDINGS):
        expected = roc_auc(labels[:, column] == 1, outputs.scores[:, column].numpy())
        assert card["test_auc"]["findings"][finding] == pytest.approx(expected)
    prevalence = 64 / 32**2
    assert min(card["test_average_precision"].values()) > 2 * prevalence
    assert (folder / "environment.json").exists()


def test_one_finding_and_the_same_seed(masked: Any, declared: Study, tmp_path: Path) -> None:
    one = replace(UNET, findings=("Right Square",), train={**UNET.train, "epochs": 1,
                                                           "augment": True})
    card, rows, folder = trained(masked, declared, one)
    weights = (folder / "model.safetensors").read_bytes()
    assert card["findings"] == ["Right Square"]
    assert list(card["test_auc"]["findings"]) == ["Right Square"]
    with pytest.raises(UsageError, match="already holds"):
        trained(masked, declared, one)
    with pytest.raises(NothingToDo):
        trained(masked, declared, one, resume=True)
    same, again, _ = trained(masked, declared, one, overwrite=True)
    assert [row["train_loss"] for row in again] == [row["train_loss"] for row in rows]
    assert same["weights_sha256"] == card["weights_sha256"]
    assert (folder / "model.safetensors").read_bytes() == weights
    other, *_ = trained(masked, declared, replace(one, name="unet-2", seed=2))
    assert other["weights_sha256"] != card["weights_sha256"]
    assert other["val_loss"] != card["val_loss"]


def test_loss_by_its_formulas() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 2, 5, 7, requires_grad=True)
    masks = torch.rand(3, 2, 5, 7) < 0.3
    known = torch.tensor([[True, True], [False, True], [True, False]])
    masks[:, 1] &= torch.tensor(False)  # No pixel of the second finding anywhere.
    losses = segmentation_loss(logits, masks, known)
    kept = known[..., None, None].expand_as(masks)
    p = torch.sigmoid(logits)
    true = torch.where(masks, p, 1 - p)
    focal = (-(1 - true) ** 2 * true.log())[kept].mean()
    y = (masks & kept)[:, 0].float()
    dice = 1 - 2 * (p[:, 0] * y).sum() / ((p[:, 0] * kept[:, 0]).sum() + y.sum())
    torch.testing.assert_close(losses["focal"], focal)
    torch.testing.assert_close(losses["dice"], dice / 2)
    # What is not known moves nothing.
    gradient, = torch.autograd.grad(losses["focal"] + losses["dice"], logits)
    assert torch.equal(gradient[~kept], torch.zeros_like(gradient[~kept]))
    assert (gradient[kept] != 0).any()


def test_a_network_beside_the_study_file(masked: Any, declared: Study, tmp_path: Path) -> None:
    (tmp_path / "own_localizer.py").write_text(
        "from torch import nn\n"
        "def network(n_outputs):\n    return nn.Conv2d(3, n_outputs, 3, padding=1)\n")
    spec = LocalizerSpec("own", "own_localizer:network", train={"epochs": 1})
    card, *_ = trained(masked, declared, spec)
    assert card["localizes_by"] == "pixels"
    assert card["train"]["preset"] == "arun-unet"


def test_an_encoder_from_a_classifier(masked: Any, declared: Study, tmp_path: Path) -> None:
    torch.manual_seed(5)
    classifier = import_torchvision().models.resnet18(num_classes=7)
    torch.save(classifier.state_dict(), tmp_path / "imagenet.pth")
    frozen = {"in_channels": 3, "frozen_norm": True}
    for spec in (replace(UNET, arguments={**UNET.arguments, "in_channels": 3}),
                 replace(RETINANET, arguments={**RETINANET.arguments, **frozen})):
        started = replace(spec, pretrained="imagenet.pth", train={**spec.train, "epochs": 1,
                                                                  "learning_rate": 1e-12})
        card, _, _ = trained(masked, declared, started)
        assert card["pretrained"]["head"] == "new"
        network = load_localizer(started, declared, FINDINGS).module
        encoder = network.pretrainable  # type: ignore[union-attr]
        torch.testing.assert_close(encoder.conv1.weight, classifier.conv1.weight,  # type: ignore[union-attr]
                                   atol=1e-6, rtol=0)
    gray = replace(UNET, name="gray", pretrained="imagenet.pth")
    with pytest.raises(DataError, match=r"encoder of architecture 'unet'.*another shape"):
        trained(masked, declared, gray)


def test_weights_of_the_whole_network_start_it_too(masked: Any, declared: Study,
                                                   tmp_path: Path) -> None:
    torch.manual_seed(6)
    network = build_localizer("unet", 5, **UNET.arguments)
    save(network, tmp_path / "other.safetensors", {})
    spec = replace(UNET, pretrained="other.safetensors",
                   train={**UNET.train, "epochs": 1, "learning_rate": 1e-12})
    card, *_ = trained(masked, declared, spec)
    assert card["pretrained"]["head"] == "new"
    network = load_localizer(spec, declared, FINDINGS).module
    torch.testing.assert_close(network.state_dict()["decoder.blocks.0.conv1.0.weight"],
                               network.state_dict()["decoder.blocks.0.conv1.0.weight"],
                               atol=1e-6, rtol=0)


def test_nothing_is_begun_without_masks(squares: Callable[..., Any], declared: Study) -> None:
    with pytest.raises(DataError, match="no reference masks or boxes"):
        trained(squares(), declared, UNET)
    assert not declared.path("runs").exists()


@pytest.mark.parametrize(("spec", "error", "message"), [
    (replace(UNET, architecture="vnet"), UsageError, "architecture 'vnet' is not known"),
    (replace(UNET, architecture="densenet121"), UsageError, "classifies; a localizer is one of"),
    (replace(UNET, findings=("Middle",)), UsageError, "names the finding 'Middle'"),
    (replace(UNET, preset="arun-retinanet"), UsageError, "is for another kind of model"),
    (replace(UNET, pretrained="none.pth"), UsageError, "do not exist"),
])
def test_what_cannot_be_trained_is_said_at_once(
        masked: Any, declared: Study, spec: LocalizerSpec, error: type[Exception],
        message: str) -> None:
    with pytest.raises(error, match=message):
        trained(masked, declared, spec)
    assert masked.decoded == []


def test_a_finding_without_masks_stops_before_training(masked: Any, declared: Study) -> None:
    labels = masked.index["label"].values.copy()
    labels[masked.index["split"].values == "train", 0] = 0
    masked.set("label", labels)
    with pytest.raises(DataError, match="no training image with a mask or box of Left Square"):
        trained(masked, declared, UNET)
    assert not declared.path("runs").exists()


def test_other_models_need_not_wait_for_a_localizer_that_cannot_be_trained(
        masked: Any, declared: Study) -> None:
    def annotated() -> Any:
        return read_annotations(masked, read_images(masked, (32, 32), progress=False),
                                progress=False)

    state = torch.get_rng_state()
    check_localizers(masked, declared, declared.localizers, annotated)
    assert torch.equal(torch.get_rng_state(), state)
    wrong = replace(UNET, name="wrong", findings=("Middle",))
    with pytest.raises(UsageError, match="names the finding 'Middle'"):
        check_localizers(masked, declared, [RETINANET, wrong], annotated)
    labels = masked.index["label"].values.copy()
    labels[masked.index["split"].values == "train", 1] = 0
    masked.set("label", labels)
    with pytest.raises(DataError, match="no training image with a mask or box of Right Square"):
        check_localizers(masked, declared, declared.localizers, annotated)
    # One that is trained already is not looked at.
    save(torch.nn.Linear(1, 1), declared.run_folder(wrong) / "model.safetensors",
         {"complete": True})
    check_localizers(masked, declared, [wrong], annotated)
    with pytest.raises(UsageError, match="names the finding 'Middle'"):
        check_localizers(masked, declared, [wrong], annotated, overwrite=True)


def test_interrupted_and_resumed_it_is_the_same(masked: Any, declared: Study,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    spec = replace(UNET, train={**UNET.train, "epochs": 2, "augment": True})
    whole, *_ = trained(masked, declared, replace(spec, name="whole"))
    original, calls = LocalizerTask.validate, []

    def interrupt(task: LocalizerTask) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(task)

    monkeypatch.setattr(LocalizerTask, "validate", interrupt)
    with pytest.raises(KeyboardInterrupt):
        trained(masked, declared, spec)
    resumed, rows, _ = trained(masked, declared, spec, resume=True)
    assert len(rows) == 2
    assert resumed["val_loss"] == whole["val_loss"]
    assert resumed["test_auc"] == whole["test_auc"]


@pytest.mark.parametrize("spec", [UNET, RETINANET])
def test_in_half_precision(masked: Any, declared: Study, spec: LocalizerSpec) -> None:
    half = replace(spec, train={**spec.train, "epochs": 1, "precision": "bf16"})
    card, rows, _ = trained(masked, declared, half)
    assert np.isfinite(float(rows[0]["train_loss"]))
    assert card["complete"]


def test_settings_of_train_hold_for_localizers_too(declared: Study) -> None:
    wide = replace(declared, train=TrainSpec(epochs=7, learning_rate=0.5))
    spec = wide.training_of(LocalizerSpec("unet", train={"epochs": 2}))
    assert (spec.epochs, spec.learning_rate, spec.patience, spec.batch_size) == (2, 0.5, 15, 4)
    assert np.isclose(declared.training_of(LocalizerSpec("unet")).learning_rate, 1e-4)
