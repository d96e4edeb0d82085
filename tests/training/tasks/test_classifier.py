import csv
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from saltrust.errors import DataError, UsageError
from saltrust.files import write_bytes
from saltrust.models import checkpoint
from saltrust.models.checkpoint import read_card, read_weights
from saltrust.models.classifiers.registry import build
from saltrust.models.classifiers.trained_classifier import load_classifier
from saltrust.models.preprocessing import to_input
from saltrust.study import ModelSpec, Study
from saltrust.training.data.images import read_images
from saltrust.training.task import BatchLoss, Validation
from saltrust.training.tasks.classifier import (
    ClassifierTask,
    balanced_order,
    start_network,
    train,
)

Data = Callable[..., Any]
Make = Callable[..., Study]


def run(data: Any, study: Study, model: ModelSpec | None = None, **options: Any) -> Path:
    return train(data, study, model or study.models[0], device="cpu", progress=False, **options)


def card_of(folder: Path) -> dict[str, Any]:
    card = read_card(folder / "model.safetensors")
    assert card is not None
    return card


def metrics_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as stream:
        return list(csv.DictReader(stream))


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return read_weights(folder / "model.safetensors")


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# What a run gives ---------------------------------------------------------------------------


def test_squares_are_learned_and_the_card_says_what_sklearn_says(
    squares: Data, study: Make
) -> None:
    data, plan = squares(train=96, val=24, test=40), study(epochs=6)
    folder = run(data, plan)
    assert folder == plan.run_folder(plan.models[0])
    card = card_of(folder)
    assert card["test_auc"]["mean"] > 0.9
    model = load_classifier(plan.models[0], plan, ["Right Square", "Left Square"])
    rows = np.flatnonzero(data.index["split"].values == "test")
    with torch.no_grad():
        logits = model.logits(to_input(data.pixels[rows], model.preprocessing)).numpy()
    labels = data.index["label"].values[rows]
    expected = {name: roc_auc_score(labels[:, column], logits[:, 1 - column])
                for column, name in enumerate(("Left Square", "Right Square"))}
    assert card["test_auc"]["findings"] == pytest.approx(expected, abs=1e-12)
    assert card["test_auc"]["mean"] == pytest.approx(np.mean(list(expected.values())))
    assert card["test_auc"]["n_positive"]["Left Square"] == labels[:, 0].sum()


def test_what_a_run_leaves_behind(squares: Data, study: Make) -> None:
    data, plan = squares(), study(epochs=2, seed=5, model_seed=6)
    folder = run(data, plan)
    assert {path.name for path in folder.iterdir()} == {
        "model.safetensors", "model.json", "metrics.csv", "config.json", "environment.json"}
    assert json.loads((folder / "config.json").read_text()) == json.loads(
        json.dumps(plan.as_dict()))
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["versions"]["torch"] == torch.__version__.partition("+")[0] or (
        environment["versions"]["torch"] == torch.__version__)
    assert (environment["device"], environment["threads"]) == ("cpu", 1)
    card = card_of(folder)
    assert card["complete"] is True
    assert (card["seed"], card["study_seed"]) == (6, 5)
    assert card["study_fingerprint"] == plan.fingerprint()
    assert card["data_fingerprint"] == data.fingerprint
    assert card["n_images"] == {"train": 24, "val": 10, "test": 10}
    rows = metrics_of(folder)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    best = rows[card["best_epoch"] - 1]
    assert float(best["val_auc"]) == card["val_auc"]["mean"]
    assert float(best["val_loss"]) == card["val_loss"]
    assert float(best["learning_rate"]) == plan.train.learning_rate


def test_metrics_are_of_the_labels_that_are_stated(squares: Data, study: Make) -> None:
    data = squares()
    labels = data.index["label"].values.copy()
    labels[data.index["split"].values == "val", 1] = -1
    data.set("label", labels)
    folder = run(data, study(epochs=1, uncertain="ones"))
    assert metrics_of(folder)[0]["val_auc Right Square"] == ""
    card = card_of(folder)
    assert card["val_auc"]["findings"]["Right Square"] is None
    assert card["val_auc"]["mean"] == card["val_auc"]["findings"]["Left Square"]


def test_one_decoding_serves_several_models(squares: Data, study: Make) -> None:
    data, plan = squares(), study(epochs=1)
    images = read_images(data, (32, 32), progress=False)
    shared = run(data, plan, images=lambda: images)
    assert len(data.decoded) == 44
    alone = run(data, plan, replace(plan.models[0], name="other"))
    assert equal(weights_of(shared), weights_of(alone))


# Repeatability ------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_weights(squares: Data, study: Make) -> None:
    plan, dropout = study(augment=True), {"width": 4}
    first, second, other_model, other_study = (
        weights_of(run(squares(), settled, replace(settled.models[0], name=name,
                                                   arguments=dropout)))
        for name, settled in (
            ("a", plan), ("b", plan),
            ("c", study(augment=True, model_seed=1)), ("d", study(augment=True, seed=1)),
        )
    )
    assert equal(first, second)
    assert not equal(first, other_model)
    assert not equal(first, other_study)


def test_global_random_numbers_are_left_alone(squares: Data, study: Make) -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    run(squares(), study(epochs=1))
    assert torch.equal(torch.rand(3), expected)


# Uncertain labels ---------------------------------------------------------------------------


@pytest.mark.parametrize(("policy", "instead"), [("ignore", -2), ("zeros", 0), ("ones", 1)])
def test_a_policy_trains_as_if_the_label_were_stated_so(
    squares: Data, study: Make, policy: str, instead: int
) -> None:
    data = squares()
    labels = data.index["label"].values.copy()
    training = np.flatnonzero(data.index["split"].values == "train")[2::3]
    weights = []
    for value in (-1, instead):
        labels[training, 0] = value
        data.set("label", labels)
        plan = study(uncertain=policy)
        weights.append(weights_of(run(data, plan, replace(plan.models[0], name=f"m{value}"))))
    assert equal(*weights)


# When to stop -------------------------------------------------------------------------------


@pytest.mark.parametrize(("aucs", "losses", "best", "epochs"), [
    ([0.6, 0.7, 0.7, 0.65, 0.9], [1.0, 1.0, 1.0, 1.0, 1.0], 2, 4),  # A tie does not count.
    ([0.6, 0.7, 0.7, 0.65, 0.9], [1.0, 1.0, 0.5, 1.0, 1.0], 3, 4),  # But the lower loss does.
    ([0.6, 0.5, 0.7, 0.6, 0.8], [1.0, 1.0, 1.0, 1.0, 1.0], 5, 5),
    ([0.9, 0.8, 0.7], [1.0, 0.1, 0.1], 1, 3),
])
def test_the_best_epoch_is_kept(
    squares: Data, study: Make, monkeypatch: pytest.MonkeyPatch, aucs: list[float],
    losses: list[float], best: int, epochs: int,
) -> None:
    seen: list[dict[str, torch.Tensor]] = []

    def scripted(task: ClassifierTask) -> Validation:
        seen.append({n: t.clone() for n, t in task.network.state_dict().items()})
        return Validation(aucs[len(seen) - 1], losses[len(seen) - 1])

    monkeypatch.setattr(ClassifierTask, "validate", scripted)
    folder = run(squares(), study(epochs=5, patience=2))
    card = card_of(folder)
    assert (card["best_epoch"], card["epochs_run"]) == (best, epochs)
    assert card["stopped_early"] is (epochs < 5)
    assert len(metrics_of(folder)) == epochs
    assert equal(weights_of(folder), seen[best - 1])


# When it goes wrong -------------------------------------------------------------------------


def exploding(folder: Path, calls: int) -> str:
    """A factory of a network that returns NaN after so many batches of training."""
    module = f"exploding_after_{calls}"  # Of its own name: Python imports a module once.
    (folder / f"{module}.py").write_text(f"""
import torch
from saltrust.models.classifiers.small import PhantomNet
class Net(PhantomNet):
    calls = 0
    def forward(self, inputs):
        logits = super().forward(inputs)
        self.calls += self.training
        return logits * float("nan") if self.calls > {calls} else logits
""")
    return f"{module}:Net"


def test_a_loss_that_is_no_number_keeps_the_checkpoint(
    squares: Data, study: Make, tmp_path: Path
) -> None:
    factory = exploding(tmp_path, calls=4)  # 24 images, 8 at once: the second step of epoch 2.
    plan, model = study(epochs=3), ModelSpec("net", factory, arguments={"width": 4})
    with pytest.raises(DataError) as error:
        run(squares(), plan, model)
    message = str(error.value)
    assert "'net'" in message
    assert "step 2 of epoch 2" in message
    assert "learning_rate" in message
    assert "of epoch 1, is kept" in message
    card = card_of(plan.run_folder(model))
    assert (card["complete"], card["best_epoch"]) == (False, 1)
    assert load_classifier(model, plan, ["Left Square"]).output_index == (0,)


def test_a_loss_that_is_no_number_from_the_start(
    squares: Data, study: Make, tmp_path: Path
) -> None:
    plan, model = study(), ModelSpec("net", exploding(tmp_path, calls=0))
    with pytest.raises(DataError, match=r"step 1 of epoch 1.*no checkpoint was written"):
        run(squares(), plan, model)
    with pytest.raises(UsageError, match="saltrust train"):
        load_classifier(model, plan, ["Left Square"])


@pytest.mark.parametrize("error", [
    "torch.cuda.OutOfMemoryError('CUDA out of memory.')", "MemoryError()",
    "RuntimeError('MPS backend out of memory')", None])
def test_memory_that_does_not_suffice_is_one_sentence(
    squares: Data, study: Make, tmp_path: Path, error: str | None
) -> None:
    """None: the allocator of the CPU is really asked for too much."""
    module = f"vast_{tmp_path.name.replace('-', '_')}"
    failure = f"raise {error}" if error else "torch.empty(2**60)"
    (tmp_path / f"{module}.py").write_text(f"""
import torch
from saltrust.models.classifiers.small import PhantomNet

class Net(PhantomNet):
    calls = 0

    def forward(self, inputs):
        self.calls += self.training
        if self.calls > 4:
            {failure}
        return super().forward(inputs)
""")
    plan, model = study(epochs=3), ModelSpec("net", f"{module}:Net")
    with pytest.raises(DataError) as caught:
        run(squares(), plan, model)
    message = str(caught.value)
    assert "'net' does not fit in the memory of the cpu: lower `batch_size`" in message
    assert "(now 8)" in message
    assert "of epoch 1, is kept" in message
    assert load_classifier(model, plan, ["Left Square"]).output_index == (0,)


def test_an_interrupted_run_is_usable_and_not_thrown_away_unasked(
    squares: Data, study: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data, plan = squares(), study(epochs=3)
    model = plan.models[0]
    loss, steps = ClassifierTask.loss, iter(range(100))

    def interrupted(task: ClassifierTask, *batch: Any) -> BatchLoss:
        if next(steps) == 4:  # Of three steps an epoch.
            raise KeyboardInterrupt
        return loss(task, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(ClassifierTask, "loss", interrupted)
        with pytest.raises(KeyboardInterrupt) as stopped:
            run(data, plan)
    assert "the best checkpoint, of epoch 1, is kept" in stopped.value.__notes__[0]
    folder = plan.run_folder(model)
    assert card_of(folder)["complete"] is False
    assert len(metrics_of(folder)) == 1
    with caplog.at_level(logging.WARNING):
        load_classifier(model, plan, ["Left Square"])
    assert "cut short" in caplog.text
    (folder / ".model.safetensors.abc.tmp").write_bytes(b"of a killed process")
    with pytest.raises(UsageError, match=r"unfinished run: say --resume.*or --overwrite"):
        run(data, plan)
    run(data, plan, overwrite=True)
    assert card_of(folder)["complete"] is True
    assert not list(folder.glob(".*"))


def test_a_full_disk_keeps_the_epoch_before(
    squares: Data, study: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, plan = squares(), study(epochs=3, patience=3)
    written = []

    def fills_up(path: Path, content: bytes) -> None:
        if path.suffix == ".safetensors":
            written.append(path)
            if len(written) == 2:
                raise DataError(f"{path} cannot be written: disk full")
        write_bytes(path, content)

    improving = iter([0.6, 0.7, 0.8])
    monkeypatch.setattr(ClassifierTask, "validate", lambda _: Validation(next(improving), 1.0))
    monkeypatch.setattr(checkpoint, "write_bytes", fills_up)
    with pytest.raises(DataError, match="disk full"):
        run(data, plan)
    assert card_of(plan.run_folder(plan.models[0]))["best_epoch"] == 1
    load_classifier(plan.models[0], plan, ["Left Square"])


def test_a_trained_model_is_not_trained_again_unasked(squares: Data, study: Make) -> None:
    data, plan = squares(), study(epochs=1)
    folder = run(data, plan)
    before = (folder / "model.safetensors").read_bytes()
    with pytest.raises(UsageError, match="--overwrite"):
        run(data, plan)
    assert (folder / "model.safetensors").read_bytes() == before
    again = run(data, replace(plan, seed=1), overwrite=True)
    assert again == folder
    assert (folder / "model.safetensors").read_bytes() != before


@pytest.mark.parametrize("card", [None, "{", "{}"])
def test_weights_of_unknown_origin_are_not_overwritten(
    squares: Data, study: Make, card: str | None
) -> None:
    plan = study(epochs=1)
    folder = plan.run_folder(plan.models[0])
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"precious")
    if card is not None:
        (folder / "model.json").write_text(card)
    with pytest.raises(UsageError, match="--overwrite"):
        run(squares(), plan)
    assert (folder / "model.safetensors").read_bytes() == b"precious"


def test_a_run_folder_that_is_a_file(squares: Data, study: Make, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "small").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        run(squares(), study())


@pytest.mark.parametrize(("model", "words"), [
    (ModelSpec("m", "phantomnet"), "did you mean 'phantom_net'"),
    (ModelSpec("m", "phantom_net", pretrained="gone.pth"), r"gone\.pth do not exist"),
    (ModelSpec("m", "phantom_net", arguments={"depth": 3}), "depth"),
])
def test_wrong_models_are_refused_before_any_image_is_read(
    squares: Data, study: Make, model: ModelSpec, words: str
) -> None:
    data, plan = squares(), study()
    with pytest.raises(UsageError, match=words):
        run(data, plan, model)
    assert data.decoded == []
    assert not plan.run_folder(model).exists()


def test_leaking_patients_are_refused_before_any_image_is_read(
    squares: Data, study: Make
) -> None:
    data = squares()
    data.set("patient", ["one"] * len(data.pixels))
    with pytest.raises(DataError, match="'one' has images in train and val and test"):
        run(data, study())
    assert data.decoded == []


def test_findings_without_both_classes_are_said_or_refused(
    squares: Data, study: Make, caplog: pytest.LogCaptureFixture
) -> None:
    data = squares()
    labels = data.index["label"].values.copy()
    val = data.index["split"].values == "val"
    labels[val, 0] = 0
    labels[~val, 1] = np.where(data.index["split"].values[~val] == "train", 1, labels[~val, 1])
    data.set("label", labels)
    run(data, study(epochs=1))
    assert "left out of the mean validation AUC" in caplog.text
    assert "validation image: Left Square" in caplog.text
    assert "cannot learn them: Right Square" in caplog.text
    labels[val, 1] = -1
    data.set("label", labels)
    with pytest.raises(DataError, match="no finding has both positive and negative validation"):
        run(data, study(epochs=1), overwrite=True)


def test_no_test_images_is_said(
    squares: Data, study: Make, caplog: pytest.LogCaptureFixture
) -> None:
    folder = run(squares(test=0), study(epochs=1))
    card = card_of(folder)
    assert card["test_auc"] is None
    assert card["complete"] is True
    assert "no test images" in caplog.text


def test_batches_of_one_image_and_batch_normalization(
    squares: Data, study: Make, tmp_path: Path
) -> None:
    (tmp_path / "one_value_net.py").write_text("""
import torch
def net(n_outputs):
    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.BatchNorm2d(3),
                               torch.nn.Flatten(), torch.nn.Linear(3, n_outputs))
""")
    model = ModelSpec("net", "one_value_net:net")
    run(squares(train=25), study(epochs=1), model)  # 25 = 8 + 8 + 9: no batch of one.
    with pytest.raises(DataError, match="batches of 1"):
        run(squares(train=25), study(epochs=1, batch_size=1), model, overwrite=True)


def test_training_goes_on_from_pretrained_weights(squares: Data, study: Make) -> None:
    data, plan = squares(), study(epochs=1, learning_rate=1e-12)
    first = run(data, plan)
    model = replace(plan.models[0], name="second", pretrained="runs/small/model.safetensors",
                    seed=99)
    second = run(data, plan, model)
    old, new = weights_of(first), weights_of(second)
    for name in old:
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(old[name], new[name], atol=1e-6, rtol=0)
    assert card_of(second)["pretrained"]["sha256"] == card_of(first)["weights_sha256"]
    assert set(card_of(second)["pretrained"]["matched"]) == set(read_weights(
        first / "model.safetensors"))
    assert card_of(second)["pretrained"]["left_over"] == []


def test_the_network_of_protocol_w_starts_from_a_published_encoder(
    study: Make, tmp_path: Path
) -> None:
    """As `saltrust train` starts it, guided or not."""
    torch.manual_seed(0)
    source = build("timm:efficientnet_b0", 7)
    torch.save(source.state_dict(), tmp_path / "efficientnet.pth")
    model = ModelSpec("w", "efficientnet_unet", pretrained="efficientnet.pth")
    network, facts = start_network(study(), model, ("a", "b"), "zeros")
    assert torch.equal(network.get_parameter("encoder._conv_stem.weight"),
                       source.get_parameter("conv_stem.weight"))
    recorded = facts["pretrained"]
    assert (recorded["head"], recorded["left_over"]) == (
        "new", ["classifier.weight", "classifier.bias"])
    assert len(recorded["matched"]) == len(source.state_dict()) - 2


def test_a_balanced_epoch_mixes_its_classes() -> None:
    """Batches of one class would train the last layer to and fro."""
    positive = torch.arange(400) < 40
    order = balanced_order(positive, torch.Generator().manual_seed(0))
    batches = positive[order].view(20, 20).double().mean(dim=1)
    assert float(batches.mean()) == 0.5
    # Of a random order: 20 draws of a fair coin have an SD of .11.
    assert 0.1 < float(batches.min()) < 0.5 < float(batches.max()) < 0.9
    assert torch.equal(order, balanced_order(positive, torch.Generator().manual_seed(0)))
    assert order[positive[order]].bincount(minlength=40)[:40].tolist() == [5] * 40
