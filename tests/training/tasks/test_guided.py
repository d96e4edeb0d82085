"""Gaze-guided training: what is learned, what is recorded, what is refused."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from saltrust.cache.collection import Fixations
from saltrust.errors import DataError, UsageError
from saltrust.explainers.passes.differentiable import differentiable_map
from saltrust.models.checkpoint import read_weights
from saltrust.models.classifiers.registry import build
from saltrust.models.classifiers.small import PhantomUNet
from saltrust.models.preprocessing import GRAY, to_input
from saltrust.study import GuidanceSpec, ModelSpec, Study
from saltrust.training.data.augmentation import move_maps, vary
from saltrust.training.losses.guidance import cross_entropy, explained_logits
from saltrust.training.task import BatchLoss
from saltrust.training.tasks.guided import GuidedTask, train_guided

Make = Callable[..., Any]
SIZE = 32


class Looked:
    """Squares, and a reader who looks at them; at the middle, where there is none."""

    def __init__(self, squares: Any, *, without: float = 0.0, readers: int = 1) -> None:
        self._squares = squares
        self.has_gaze = True
        names = [f"reader{k}" for k in range(readers)]
        self.index = squares.index.assign_coords(
            reader=names, reader_role=("reader", ["reference"] * readers))
        n = len(self.index["image"])
        self.known = np.arange(n) >= without * n
        self.rows = {str(name): k for k, name in enumerate(self.index["image"].values)}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._squares, name)

    def gaze(self, image: str, grid: tuple[int, int]) -> Mapping[str, npt.NDArray[np.float32]]:
        row = self.rows[image]
        if not self.known[row]:
            return {}
        spots = [(top + side / 2, left + side / 2) for (k, _), (top, left, side)
                 in self._squares.places.items() if k == row] or [(grid[0] / 2, grid[1] / 2)]
        y, x = np.mgrid[: grid[0], : grid[1]]
        heat = sum(np.exp(-0.5 * ((y - a) ** 2 + (x - b) ** 2) / 9) for a, b in spots)
        heat = np.asarray(heat / np.max(heat), np.float32)
        readers = [str(name) for name in self.index["reader"].values]
        return {name: heat if k == 0 else np.ones_like(heat) for k, name in enumerate(readers)}

    def fixations(self, image: str) -> Mapping[str, Fixations]:
        return {}


@pytest.fixture
def looked(squares: Make) -> Make:
    def make(*, without: float = 0.0, readers: int = 1, **counts: int) -> Looked:
        return Looked(squares(**counts), without=without, readers=readers)

    return make


def model(loss: str, *, architecture: str = "phantom_unet", **guidance: Any) -> ModelSpec:
    return ModelSpec("net", architecture, arguments={"width": 4},
                     guidance=GuidanceSpec(loss=loss, **guidance))


def run(data: Any, plan: Study, entry: ModelSpec, **options: Any) -> Path:
    return train_guided(data, replace(plan, models=(entry,)), entry,
                        **{"device": "cpu", "progress": False, **options})


def metrics_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as stream:
        return list(csv.DictReader(stream))


def card_of(folder: Path) -> dict[str, Any]:
    card: dict[str, Any] = json.loads((folder / "model.json").read_text())
    return card


@pytest.mark.parametrize(("loss", "parts"), [
    ("classification", []), ("decoder", ["decoder"]), ("set1", ["map"]), ("set2", ["imitation"]),
    ("set3", ["decoder", "map"])])
def test_every_loss_trains_and_says_what_it_was(
    loss: str, parts: list[str], looked: Make, study: Make
) -> None:
    folder = run(looked(), study(epochs=4, patience=4), model(loss))
    rows, card = metrics_of(folder), card_of(folder)
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    for part in parts:
        assert np.isfinite(float(rows[-1][f"train_loss_{part}"]))
        assert np.isfinite(float(rows[-1][f"val_loss_{part}"]))
    assert ("val_loss_decoder" in rows[0]) == ("decoder" in parts)
    guidance = card["guidance"]
    assert card["kind"] == "guided"
    assert guidance["loss"] == loss
    assert ("map" in guidance) == (loss.startswith("set"))
    if loss == "set2":
        assert guidance["map"]["detached"] is True
    if loss in ("decoder", "set1", "set3"):
        assert card["images_with_gaze"] == {"train": 24, "val": 10, "test": 10}
    assert card["complete"] is True
    assert card["test_auc"]["mean"] is not None
    total = float(rows[-1]["train_loss"])
    share = float(rows[-1]["train_loss_classification"])
    if loss in ("decoder", "set1", "set2"):
        assert total == pytest.approx(
            (share + float(rows[-1][f"train_loss_{parts[0]}"])) / 2, rel=1e-6)


def test_the_card_says_what_the_map_is(looked: Make, study: Make) -> None:
    entry = model("set2", rule="deconvnet", explained="labelled", channels="largest",
                  sign="positive", smoothing=0.05, scaling="minmax", detach=False)
    description = card_of(run(looked(), study(epochs=1), entry))["guidance"]["map"]
    assert description["rule"].startswith("deconvnet")
    assert "labelled positive" in description["explained"]
    assert description["channels"] == "the value of largest magnitude"
    assert description["values"] == "positive part"
    assert "0.05 of the grid" in description["smoothing"]
    assert "minimum to the maximum" in description["scaling"]
    assert description["detached"] is False


def task(data: Any, plan: Study, entry: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> GuidedTask:
    """The task of a run, which is not trained."""
    caught: list[GuidedTask] = []

    def stop(made: GuidedTask, *_: Any, **__: Any) -> None:
        caught.append(made)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("saltrust.training.session.fit", stop)
        with pytest.raises(KeyboardInterrupt):
            run(data, plan, entry, overwrite=True)
    return caught[0]


def test_the_loss_by_hand(looked: Make, study: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set 3 with a third of the images without gaze, which add classification only."""
    data = looked(without=0.3)
    made = task(data, study(), model("set3", classification_weight=0.2, map_weight=0.7,
                                     explained="labelled"), monkeypatch)
    rows = torch.arange(8, 20)
    known = torch.from_numpy(data.known[8:20])
    assert 0 < int(known.sum()) < 12
    made.network.eval()  # So that nothing depends on the other images of the batch.
    loss = made.loss(rows, torch.Generator())
    bce = nn.functional.binary_cross_entropy_with_logits
    decoder = of_map = 0.0
    network: Any = made.network
    inputs = to_input(data.pixels[8:20], GRAY)
    labels = torch.from_numpy(data.index["label"].values[8:20]).float()
    for k in range(12):
        if not known[k]:
            continue
        gaze = torch.from_numpy(data.gaze(f"image{k + 8:03d}", (SIZE, SIZE))["reader0"])
        decoder += bce(network.with_decoder(inputs[k:k + 1])[1][0], gaze).item() / 12
        one = differentiable_map(
            network, inputs[k:k + 1],
            lambda logits, k=k: explained_logits(logits, labels[k:k + 1] > 0, "labelled"),
            "guided_backprop")[0, 0].abs().detach()
        heat = 0.001 + 0.998 * one / one.max()
        of_map += bce(torch.logit(heat), gaze).item() / 12
    classified = bce(network(inputs), labels).item()
    expected = 0.2 * classified + 0.8 * (0.3 * decoder + 0.7 * of_map)
    assert loss.value.item() == pytest.approx(expected, rel=1e-5)
    assert loss.parts == pytest.approx({"loss_classification": classified,
                                        "loss_decoder": decoder, "loss_map": of_map}, rel=1e-5)


def test_a_batch_without_gaze_is_classification_alone(
    looked: Make, study: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data = looked(without=0.3)
    with caplog.at_level(logging.WARNING):
        made = task(data, study(), model("set1"), monkeypatch)
    without = int((~data.known[:24]).sum())
    assert f"{without} of 24 training images have no gaze" in caplog.text
    loss = made.loss(torch.arange(6), torch.Generator())
    assert loss.parts["loss_map"] == 0
    loss.value.backward()
    assert all(weight.grad is None or bool(torch.isfinite(weight.grad).all())
               for weight in made.network.parameters())


def test_gaze_is_moved_with_its_image(
    looked: Make, study: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    shift, angle = torch.tensor([[0.1, -0.2]]), torch.tensor([0.08])
    spot = torch.zeros(1, 64, 64)
    spot[0, 30:35, 40:45] = 1
    gray = vary((255 * spot).to(torch.uint8), shift, angle, torch.ones(1)).float() / 255
    torch.testing.assert_close(move_maps(spot, shift, angle), gray, atol=0.01, rtol=0)
    seen: list[Tensor] = []
    made = task(looked(), study(augment=True), model("decoder"), monkeypatch)

    def watched(logits: Tensor, target: Tensor) -> Tensor:
        seen.append(target)
        return cross_entropy(logits, target)

    with monkeypatch.context() as patch:
        patch.setattr("saltrust.training.losses.guidance.cross_entropy", watched)
        made.loss(torch.arange(4), torch.Generator().manual_seed(1))
    assert made.gaze is not None
    still = torch.from_numpy(made.gaze.of(np.arange(4)))
    assert not torch.allclose(seen[0], still, atol=0.05)
    # Moved by 5% and turned by 5 degrees at most.
    assert float(torch.corrcoef(torch.stack([seen[0].ravel(), still.ravel()]))[0, 1]) > 0.4


def test_the_decoder_learns_to_look(looked: Make, study: Make) -> None:
    data = looked(train=48)
    folder = run(data, study(epochs=12, patience=12), model("decoder"))
    network: Any = build("phantom_unet", 2, width=4)
    network.load_state_dict(read_weights(folder / "model.safetensors"))
    network.eval()
    test = np.flatnonzero(data.index["split"].values == "test")
    with torch.no_grad():
        decoded = network.with_decoder(to_input(data.pixels[test], GRAY))[1].sigmoid().numpy()
    names = [str(name) for name in data.index["image"].values[test]]
    gazes = [data.gaze(name, (SIZE, SIZE))["reader0"] for name in names]
    correlations = [np.corrcoef(decoded[k].ravel(), gaze.ravel())[0, 1]
                    for k, gaze in enumerate(gazes)]
    assert np.mean(correlations) > 0.6


def test_one_reader_or_the_mean_of_all(looked: Make, study: Make,
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    data = looked(readers=2)
    one = task(data, study(), model("decoder", reader="reader0"), monkeypatch).gaze
    both = task(data, study(), model("decoder"), monkeypatch).gaze
    assert one is not None
    assert both is not None
    # The second reader looks everywhere alike.
    np.testing.assert_allclose(both.maps, (one.maps + 1) / 2, rtol=1e-6)


def test_a_run_goes_on_to_the_same_weights(looked: Make, study: Make,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    data, entry = looked(without=0.2), model("set3")
    plan = study(epochs=3, patience=3, augment=True)
    whole = read_weights(run(data, plan, entry) / "model.safetensors")
    metrics = (plan.run_folder(entry) / "metrics.csv").read_text()
    steps = iter(range(100))
    real = GuidedTask.loss

    def interrupted(made: GuidedTask, *batch: Any) -> BatchLoss:
        if next(steps) == 4:
            raise KeyboardInterrupt
        return real(made, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(GuidedTask, "loss", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(data, plan, entry, overwrite=True)
    again = run(data, plan, entry, resume=True)
    resumed = read_weights(again / "model.safetensors")
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)

    def columns(text: str) -> list[list[str]]:
        return [line.split(",")[:-1] for line in text.splitlines()]

    assert columns((again / "metrics.csv").read_text()) == columns(metrics)


class Plain(nn.Module):
    """A classifier without a decoder, and without rectifiers."""

    preprocessing = GRAY

    def __init__(self, n_outputs: int, width: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, width, 3, 2, 1), nn.BatchNorm2d(width), nn.Tanh())
        self.head = nn.Linear(width, n_outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(inputs).mean(dim=(2, 3)))
        return logits


class Misshapen(Plain):
    def with_decoder(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        return self(inputs), inputs[:, 0, ::2]


def test_what_does_not_go_together_is_said_before_training(
    looked: Make, squares: Make, study: Make
) -> None:
    plan, here = study(), f"{__name__}:"
    bare = squares()
    for loss in ("decoder", "set1", "set3"):
        with pytest.raises(DataError, match=r"has no gaze.*gaze = true"):
            run(bare, plan, model(loss))
    with pytest.raises(UsageError, match="needs a decoder, and architecture 'phantom_net'"):
        run(looked(), plan, model("set3", architecture="phantom_net"))
    with pytest.raises(DataError, match="'net': the network has no rectifier"):
        run(looked(), plan, model("set1", architecture=f"{here}Plain"))
    with pytest.raises(UsageError, match=r"must return \(batch, 32, 32\).*not \(1, 16, 32\)"):
        run(looked(), plan, model("decoder", architecture=f"{here}Misshapen"))
    with pytest.raises(UsageError, match="'reader7', who is not in the data set"):
        run(looked(), plan, model("set1", reader="reader7"))
    with pytest.raises(UsageError, match=r"uncertain = .three-class. has three"):
        run(looked(), study(uncertain="three-class"), model("set1"))
    late = looked(without=0.6)
    with pytest.raises(DataError, match="no training image has gaze"):
        run(late, plan, model("decoder"))
    assert not plan.run_folder(model("decoder")).exists()
    # Set 2 compares the decoder with the classifier, and sets 1 and classification need no decoder.
    run(bare, plan, model("set2"))
    run(looked(), plan, model("set1", architecture="phantom_net"), overwrite=True)
    run(bare, plan, model("classification", architecture="phantom_net"), overwrite=True)


class Overflowing(Plain):
    """Whose decoder has infinite logits after so many steps of training."""

    def __init__(self, n_outputs: int, width: int = 4, good: int = 0) -> None:
        super().__init__(n_outputs, width)
        self.good = good

    def with_decoder(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        self.good -= self.training
        return self(inputs), inputs[:, 0] * (float("inf") if self.good < 0 else 1.0)


class LosingItsMap(PhantomUNet):
    """Whose map, made in evaluation mode with a graph, is no number after so many calls."""

    def __init__(self, n_outputs: int, width: int = 4, good: int = 0) -> None:
        super().__init__(n_outputs, width)
        self.good = good

    def forward(self, inputs: Tensor) -> Tensor:
        logits = super().forward(inputs)
        self.good -= torch.is_grad_enabled() and not self.training
        return logits * (float("inf") if self.good < 0 else 1.0)


def test_a_loss_that_is_no_number_from_the_start(looked: Make, study: Make) -> None:
    entry = replace(model("decoder"), architecture=f"{__name__}:Overflowing")
    with pytest.raises(DataError, match=r"'net': the loss is not a finite number at step 1 of "
                                        "epoch 1.*no checkpoint was written"):
        run(looked(), study(), entry)


@pytest.mark.parametrize(("architecture", "loss", "good"), [
    # Three steps an epoch; decoders fail in the fifth step.
    ("Overflowing", "decoder", 4),
    # A trial before training and two batches of validation have maps, too.
    ("LosingItsMap", "set1", 7), ("LosingItsMap", "set3", 7)])
def test_a_loss_that_is_no_number_keeps_the_checkpoint(
    looked: Make, study: Make, architecture: str, loss: str, good: int
) -> None:
    entry = replace(model(loss), architecture=f"{__name__}:{architecture}",
                    arguments={"width": 4, "good": good})
    plan = study(epochs=3, patience=3)
    with pytest.raises(DataError) as caught:
        run(looked(), plan, entry)
    message = str(caught.value)
    assert "\n" not in message
    for words in ("'net'", "not a finite number at step 2 of epoch 2", "learning_rate",
                  "of epoch 1, is kept"):
        assert words in message
    folder = plan.run_folder(entry)
    card = card_of(folder)
    assert (card["complete"], card["best_epoch"]) == (False, 1)
    assert all(bool(torch.isfinite(value).all())
               for value in read_weights(folder / "model.safetensors").values())


@pytest.mark.parametrize("loss", ["decoder", "set1", "set2", "set3"])
def test_a_class_without_a_positive_is_named_or_refused(
    looked: Make, study: Make, caplog: pytest.LogCaptureFixture, loss: str
) -> None:
    data = looked()
    labels = data.index["label"].values.copy()
    split = data.index["split"].values
    labels[split == "val", 0] = 0
    labels[split == "train", 1] = 0
    data.index["label"] = (("image", "finding"), labels)
    with caplog.at_level(logging.WARNING):
        folder = run(data, study(epochs=1), model(loss))
    assert "for want of a positive or a negative validation image: Left Square" in caplog.text
    assert "cannot learn them: Right Square" in caplog.text
    assert card_of(folder)["complete"] is True
    labels[split == "val", 1] = 0
    data.index["label"] = (("image", "finding"), labels)
    with pytest.raises(DataError, match="no finding has both positive and negative validation"):
        run(data, study(epochs=1), model(loss), overwrite=True)
