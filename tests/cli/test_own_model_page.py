"""Every example of docs/own_model.md, run with a tiny random network in place of one's own."""

import re
import tomllib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from saltrust.cache.schema import Status
from saltrust.cache.store import open_cubes
from saltrust.cli import main
from saltrust.models.classifiers.registry import build
from saltrust.models.user_code import importable_from

PAGE = Path(__file__).parents[2] / "docs" / "own_model.md"
SECTIONS = {
    title: text for title, text in re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)",
                                              PAGE.read_text(encoding="utf-8"), re.M | re.S)
    if "```toml" in text}


def block(text: str, language: str) -> str:
    match = re.search(rf"```{language}\n(.*?)```", text, re.S)
    return match.group(1) if match else ""


def save_vit(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import transformers
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        image_size=64, patch_size=16, id2label={0: "Normal", 1: "Edema"},
        label2id={"Normal": 0, "Edema": 1})
    transformers.ViTForImageClassification(config).save_pretrained(folder)


def save_weights(folder: Path, entry: dict[str, Any], findings: int) -> None:
    torch.manual_seed(0)
    with importable_from(folder):
        network = build(entry["architecture"], findings, **entry.get("arguments", {}))
    state = network.state_dict()
    if entry["checkpoint"].endswith(".ckpt"):
        state = {**{f"model.{name}": value for name, value in state.items()},
                 "criterion.pos_weight": torch.ones(1)}
        torch.save({"state_dict": state, "epoch": 3, "hyper_parameters": {"lr": 1e-3}},
                   folder / entry["checkpoint"])
    else:
        torch.save(state, folder / entry["checkpoint"])


def test_every_kind_of_network_has_its_example() -> None:
    assert [title.split(" ")[0] for title in SECTIONS] == [
        "torchvision", "timm", "MONAI", "torchxrayvision", "transformers", "Lightning", "Two", "A"]


@pytest.mark.parametrize("title", SECTIONS)
def test_example(title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = SECTIONS[title]
    (tmp_path / "net.py").write_text(block(text, "python"))
    declared = tomllib.loads(block(text, "toml"))
    entry = declared["models"][0]
    if entry["architecture"].startswith("hf:"):
        save_vit(tmp_path / "my_vit")
    else:
        save_weights(tmp_path, entry, len(entry.get("output", {}).get("findings", ["Edema"])))
    study = tmp_path / "study.toml"
    grid, rest = block(text, "toml").split("\n", 1)
    study.write_text(
        f'{grid}\nexplainers = ["grad", "gradcam"]\n'
        '[data]\nkind = "phantom"\npatients = 6\nsize = 64\nfindings = ["Edema"]\n'
        f'[generate]\nsplit = "all"\n{rest}')
    done = CliRunner().invoke(main, ["-q", "generate", "study.toml", "-o", "cubes.zarr"])
    assert done.exit_code == 0, done.output
    cubes = open_cubes("cubes.zarr")
    assert (cubes["saliency/status"].values == Status.OK).mean() >= 0.5
    probability = cubes["prediction/probability"].values
    assert ((probability >= 0) & (probability <= 1)).all()
    np.testing.assert_allclose(torch.sigmoid(torch.tensor(cubes["prediction/logit"].values)),
                               probability, rtol=1e-5)
