"""Uncertain as a class of its own, from the loss to the stored logit."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

import saltrust
from saltrust.errors import DataError
from saltrust.explainers.passes.forward import run_forward
from saltrust.generate.job import Overrides, generate
from saltrust.models.checkpoint import read_card, read_weights, write_card
from saltrust.models.classifiers.small import PhantomNet
from saltrust.models.classifiers.three_class import contrast
from saltrust.models.classifiers.trained_classifier import load_classifier
from saltrust.models.preprocessing import to_input
from saltrust.models.random_weights import randomize_weights
from saltrust.models.stages import natural_stages
from saltrust.study import EnsembleSpec, ExplainerSpec, Study
from saltrust.training.data.targets import class_targets, label_loss
from saltrust.training.tasks.classifier import train

Data = Callable[..., Any]
Make = Callable[..., Study]


def test_the_loss_is_the_mean_cross_entropy_of_three_classes() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(-2, 2, (20, 4)).astype(np.int8)
    outputs = rng.normal(0, 2, (20, 4, 3))
    place = {0: 0, 1: 1, -1: 2}  # Negative, positive, uncertain.
    each = [-log_softmax(outputs[i, j])[place[labels[i, j]]]
            for i in range(20) for j in range(4) if labels[i, j] != -2]
    value, count = label_loss(torch.from_numpy(outputs).flatten(1), labels, "three-class")
    assert value.item() == pytest.approx(np.mean(each))
    assert count == len(each)


def test_no_stated_label_gives_no_gradient() -> None:
    outputs = torch.randn(2, 3, requires_grad=True)
    value, count = label_loss(outputs, np.full((2, 1), -2, np.int8), "three-class")
    (gradient,) = torch.autograd.grad(value, outputs)
    assert (value.item(), count, gradient.abs().sum().item()) == (0, 0, 0)
    classes, weight = class_targets(np.array([[-2, 1]], np.int8))
    assert (classes.tolist(), weight.tolist()) == ([[0, 1]], [[0, 1]])


def test_the_probability_is_a_softmax_without_uncertain() -> None:
    outputs = np.random.default_rng(1).normal(0, 3, (6, 5, 3))
    expected = softmax(outputs[..., :2], axis=-1)[..., 1]
    probabilities = contrast(torch.from_numpy(outputs).flatten(1)).sigmoid().numpy()
    np.testing.assert_allclose(probabilities, expected, rtol=1e-12)


@pytest.fixture
def trained(squares: Data, study: Make) -> tuple[Any, Study]:
    """Squares of which a third is uncertain, and a model of three classes."""
    data = squares(train=48, test=6)
    labels = data.index["label"].values.copy()
    training = np.flatnonzero(data.index["split"].values == "train")
    labels[training[2::3]] = -1
    data.set("label", labels)
    plan = replace(study(epochs=2, uncertain="three-class"), explainers=(ExplainerSpec("grad"),))
    train(data, plan, plan.models[0], device="cpu", progress=False)
    return data, plan


def raw(plan: Study, pixels: Any) -> torch.Tensor:
    """All six outputs, from the weights alone."""
    network = PhantomNet(6, 8)
    network.load_state_dict(read_weights(plan.run_folder(plan.models[0]) / "model.safetensors"))
    with torch.no_grad():
        outputs: torch.Tensor = network.eval()(to_input(pixels, network.preprocessing))
    return outputs.reshape(-1, 2, 3)


def test_from_training_to_the_cubes(trained: tuple[Any, Study], tmp_path: Path) -> None:
    data, plan = trained
    data.index = data.index.assign_coords(reader=("reader", np.array([], dtype=str)),
                                          reader_role=("reader", np.array([], dtype=str)))
    plan = replace(plan, ensembles=(EnsembleSpec(
        "mean", architecture="phantom_net", checkpoints=("runs/small/model.safetensors",)),))
    card = read_card(plan.run_folder(plan.models[0]) / "model.safetensors") or {}
    assert card["classes"] == ["negative", "positive", "uncertain"]
    assert "positive minus" in card["logit"]
    assert card["findings"] == ["Left Square", "Right Square"]
    path = generate(data, plan, tmp_path / "c.zarr", overrides=Overrides(device="cpu"),
                    progress=False)
    cubes = saltrust.open_cubes(path)
    test = np.flatnonzero(data.index["split"].values == "test")
    outputs = raw(plan, data.pixels[test]).numpy()
    stored = cubes["prediction"].dataset.isel(image=test).sel(model="small")
    np.testing.assert_allclose(stored["logit"], outputs[..., 1] - outputs[..., 0], atol=1e-5)
    np.testing.assert_allclose(stored["probability"],
                               softmax(outputs[..., :2], axis=-1)[..., 1], atol=1e-6)
    mean = cubes["prediction"].dataset.isel(image=test).sel(model="mean")
    np.testing.assert_allclose(mean["logit"], stored["logit"], atol=1e-5)
    # What is explained is the contrast: its gradient, not that of one of the outputs.
    network = PhantomNet(6, 8).eval()
    network.load_state_dict(read_weights(plan.run_folder(plan.models[0]) / "model.safetensors"))
    inputs = to_input(data.pixels[test], network.preprocessing).requires_grad_()
    answers = network(inputs).reshape(-1, 2, 3)
    (gradient,) = torch.autograd.grad((answers[:, 1, 1] - answers[:, 1, 0]).sum(), inputs)
    heatmap = cubes["saliency/heatmap"].isel(image=test).sel(
        model="small", explainer="grad", finding="Right Square")
    np.testing.assert_allclose(np.abs(heatmap.values), np.abs(gradient[:, 0].numpy()), atol=1e-5)


def test_the_contrast_goes_with_copies_and_keeps_layers(trained: tuple[Any, Study]) -> None:
    data, plan = trained
    module = load_classifier(plan.models[0], plan, ["Left Square", "Right Square"]).module
    inputs = to_input(data.pixels[:2], PhantomNet.preprocessing)
    forward = run_forward(module, inputs, layers=("features",))
    assert forward.logits.shape == (2, 2)
    stages = natural_stages(module, inputs[:1])
    assert [stage.name for stage in stages] == [
        stage.name for stage in natural_stages(PhantomNet(6, 8), inputs[:1])]
    assert randomize_weights(module, stages, seed=1)(inputs).shape == (2, 2)


def test_classes_in_another_order_are_refused(trained: tuple[Any, Study]) -> None:
    _, plan = trained
    weights = plan.run_folder(plan.models[0]) / "model.safetensors"
    card = read_card(weights) or {}
    write_card(weights, {**card, "classes": ["positive", "negative", "uncertain"]})
    with pytest.raises(DataError, match="in this order"):
        load_classifier(plan.models[0], plan, ["Left Square"])


def test_the_reported_auc_ranks_by_the_contrast(trained: tuple[Any, Study]) -> None:
    from sklearn.metrics import roc_auc_score

    data, plan = trained
    card = read_card(plan.run_folder(plan.models[0]) / "model.safetensors") or {}
    test = np.flatnonzero(data.index["split"].values == "test")
    outputs = raw(plan, data.pixels[test]).numpy()
    labels = data.index["label"].values[test]
    for column, name in enumerate(("Left Square", "Right Square")):
        expected = roc_auc_score(labels[:, column], outputs[:, column, 1] - outputs[:, column, 0])
        assert card["test_auc"]["findings"][name] == pytest.approx(expected)
