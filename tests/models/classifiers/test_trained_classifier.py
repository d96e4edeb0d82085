import argparse
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from saltrust.errors import DataError, UsageError
from saltrust.models.checkpoint import save, write_card
from saltrust.models.classifiers.registry import build
from saltrust.models.classifiers.small import PhantomNet
from saltrust.models.classifiers.trained_classifier import Classifier, load_classifier
from saltrust.models.preprocessing import GRAY, IMAGENET
from saltrust.study import ModelSpec, Study

OUTPUTS = ["Edema", "Lung Opacity", "Pneumothorax"]
SPEC = ModelSpec("net", "phantom_net", arguments={"width": 4})


def card(**changes: Any) -> dict[str, Any]:
    content = {
        "architecture": "phantom_net", "arguments": {"width": 4}, "findings": OUTPUTS,
        "preprocessing": GRAY.as_dict(), "grid": 32, "seed": 7, "complete": True, **changes,
    }
    return {name: value for name, value in content.items() if value is not None}


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(grid=32, folder=tmp_path, models=(SPEC,))


@pytest.fixture
def trained(study: Study) -> PhantomNet:
    torch.manual_seed(0)
    model = PhantomNet(3, width=4).eval()
    save(model, study.run_folder(SPEC) / "model.safetensors", card())
    return model


def logits_of(model: torch.nn.Module | Classifier) -> torch.Tensor:
    inputs = torch.linspace(-2, 2, 1024).view(1, 1, 32, 32)
    with torch.no_grad():
        result: torch.Tensor = (model.logits if isinstance(model, Classifier) else model)(inputs)
    return result


def test_what_train_left_is_found_and_complete(study: Study, trained: PhantomNet) -> None:
    loaded = load_classifier(SPEC, study, OUTPUTS)
    assert torch.equal(logits_of(loaded), logits_of(trained))
    assert (loaded.name, loaded.architecture, loaded.seed) == ("net", "phantom_net", 7)
    assert loaded.preprocessing == GRAY
    assert loaded.outputs == loaded.findings == tuple(OUTPUTS)
    assert loaded.card["weights_sha256"] == loaded.checkpoint_sha256
    assert not loaded.module.training
    assert not any(weight.requires_grad for weight in loaded.module.parameters())


@pytest.mark.parametrize(("findings", "columns"), [
    (["Pneumothorax", "Edema"], (2, 0)),
    (["Airspace Opacity"], (1,)),  # The alias of Lung Opacity.
    (["Lung Opacity", "Pneumothorax"], (1, 2)),
])
def test_columns_are_chosen_by_name(
    study: Study, trained: PhantomNet, findings: list[str], columns: tuple[int, ...]
) -> None:
    loaded = load_classifier(SPEC, study, findings)
    assert loaded.findings == tuple(findings)
    assert loaded.output_index == columns
    assert torch.equal(logits_of(loaded), logits_of(trained)[:, list(columns)])


def test_an_absent_finding_is_an_error(study: Study, trained: PhantomNet) -> None:
    with pytest.raises(DataError, match=r"'net'.*does not predict Fracture; it predicts: Edema"):
        load_classifier(SPEC, study, ["Edema", "Fracture"])


def test_gradients_reach_the_input(study: Study, trained: PhantomNet) -> None:
    loaded = load_classifier(SPEC, study, OUTPUTS)
    inputs = torch.rand(2, 1, 32, 32, requires_grad=True)
    (gradient,) = torch.autograd.grad(loaded.logits(inputs).sum(), inputs)
    assert gradient.abs().sum() > 0


def test_no_weights_yet(study: Study) -> None:
    with pytest.raises(UsageError, match="saltrust train"):
        load_classifier(SPEC, study, OUTPUTS)
    with pytest.raises(UsageError, match=r"gone\.pth.*check `checkpoint`"):
        load_classifier(replace(SPEC, checkpoint="gone.pth"), study, OUTPUTS)


def test_a_checkpoint_named_as_a_folder_or_a_file(study: Study, trained: PhantomNet) -> None:
    for path in ("runs/net", "runs/net/model.safetensors"):
        loaded = load_classifier(replace(SPEC, name="other", checkpoint=path), study, OUTPUTS)
        assert loaded.name == "other"
        assert torch.equal(logits_of(loaded), logits_of(trained))


def test_a_torch_file_without_card_has_the_findings_of_the_study(
    study: Study, trained: PhantomNet, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save({"state_dict": trained.state_dict()}, study.folder / "w.pth")
    spec = replace(SPEC, checkpoint="w.pth")
    loaded = load_classifier(spec, study, ["a", "b", "c"])
    assert torch.equal(logits_of(loaded), logits_of(trained))
    assert loaded.seed == -1
    assert "no card" in caplog.text
    with pytest.raises(DataError, match=r"with 2 outputs.*another shape"):
        load_classifier(spec, study, ["a", "b"])


def test_a_card_of_names_only(study: Study, trained: PhantomNet) -> None:
    path = study.folder / "w.pth"
    torch.save(trained.state_dict(), path)
    write_card(path, {"findings": OUTPUTS})
    loaded = load_classifier(replace(SPEC, checkpoint="w.pth"), study, ["Pneumothorax"])
    assert loaded.output_index == (2,)


def test_the_preprocessing_of_the_card_wins(study: Study) -> None:
    path = study.run_folder(SPEC) / "model.safetensors"
    contract = replace(GRAY, mean=(0.25,))
    save(PhantomNet(3, width=4), path, card(preprocessing=contract.as_dict()))
    assert load_classifier(SPEC, study, OUTPUTS).preprocessing == contract


@pytest.mark.parametrize(("changes", "words"), [
    ({"findings": None}, "must have `findings`"),
    ({"findings": [1, 2, 3]}, "must have `findings`"),
    ({"findings": OUTPUTS[:2]}, "with 2 outputs: 2 tensors of another shape"),
    ({"preprocessing": {"mean": [0]}}, "`preprocessing` of its card: .*both mean and std"),
])
def test_cards_that_do_not_fit(study: Study, changes: dict[str, Any], words: str) -> None:
    save(PhantomNet(3, width=4), study.run_folder(SPEC) / "model.safetensors", card(**changes))
    with pytest.raises(DataError, match=words):
        load_classifier(SPEC, study, ["Edema"])


def test_a_contract_that_the_model_cannot_take(study: Study) -> None:
    save(PhantomNet(3, width=4), study.run_folder(SPEC) / "model.safetensors",
         card(preprocessing=IMAGENET.as_dict()))
    with pytest.raises(UsageError, match="cannot take 3-channel images"):
        load_classifier(SPEC, study, OUTPUTS)


def test_a_range_outside_the_one_the_network_states(study: Study, trained: PhantomNet) -> None:
    weights = study.run_folder(SPEC) / "model.safetensors"
    contract = {**GRAY.as_dict(), "input_range": [0, 255]}
    save(trained, weights, card(preprocessing=contract))
    with pytest.raises(DataError, match=r"0 to 255, outside the 0 to 1 that PhantomNet states"):
        load_classifier(SPEC, study, OUTPUTS)


def test_another_architecture_than_the_card_says(study: Study, trained: PhantomNet) -> None:
    with pytest.raises(UsageError, match=r"'resnet18' in the study file, but .* 'phantom_net'"):
        load_classifier(ModelSpec("net", "resnet18"), study, OUTPUTS)


def test_half_trained_and_another_grid_are_said(
    study: Study, caplog: pytest.LogCaptureFixture
) -> None:
    save(PhantomNet(3, width=4), study.run_folder(SPEC) / "model.safetensors",
         card(complete=False, grid=64))
    with caplog.at_level(logging.WARNING):
        load_classifier(SPEC, study, OUTPUTS)
    assert "cut short" in caplog.text
    assert "grid of 64 and is used at 32" in caplog.text


def test_published_weights_of_a_library_say_what_they_predict(
    study: Study, caplog: pytest.LogCaptureFixture
) -> None:
    """As torchxrayvision's are: 18 outputs, of which some were not trained, with thresholds."""
    arguments = {"block_config": [1, 1, 1, 1], "growth_rate": 4, "num_init_features": 8}
    torch.manual_seed(0)
    published = build("torchxrayvision:DenseNet", 18, **arguments).eval()
    thresholds = torch.full((18,), 0.1)
    thresholds[13] = torch.nan  # Hernia.
    torch.save({**published.state_dict(), "op_threshs": thresholds}, study.folder / "xrv.pth")
    spec = ModelSpec("xrv", "torchxrayvision:DenseNet", checkpoint="xrv.pth", arguments=arguments)
    loaded = load_classifier(spec, study, ["Pleural Effusion", "Edema", "Airspace Opacity"])
    assert loaded.output_index == (7, 4, 16)
    assert loaded.preprocessing.input_range == (-1024.0, 1024.0)
    inputs = 1024 * torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded.logits(inputs), published(inputs)[:, [7, 4, 16]])
    assert "taken to be those that torchxrayvision:DenseNet publishes" in caplog.text
    with pytest.raises(DataError, match="does not predict Hernia"):
        load_classifier(spec, study, ["Hernia"])


def test_a_checkpoint_of_lightning_and_of_timm(study: Study) -> None:
    torch.manual_seed(0)
    published = build("timm:test_vit", 2, img_size=32).eval()
    torch.save({"state_dict": {**{f"model.{name}": tensor for name, tensor
                                  in published.state_dict().items()},
                               "criterion.pos_weight": torch.ones(2)},
                "hyper_parameters": argparse.Namespace(lr=0.1)}, study.folder / "last.ckpt")
    spec = ModelSpec("vit", "timm:test_vit", checkpoint="last.ckpt", arguments={"img_size": 32})
    loaded = load_classifier(spec, study, ["a", "b"])
    inputs = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded.logits(inputs), published(inputs))
