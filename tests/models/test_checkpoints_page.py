"""What docs/checkpoints.md shows can be built as it stands there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from saltrust.models.classifiers.registry import build
from saltrust.models.contract import preprocessing_of
from saltrust.study import ModelSpec
from saltrust.typed_table import build as build_table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "checkpoints.md"


def entries() -> list[dict[str, Any]]:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    shown = "\n".join(line[4:] for line in lines if re.match(r" {4}(\[|\w+ = )", line))
    models: list[dict[str, Any]] = tomllib.loads(shown)["models"]
    return models


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry["name"])
def test_an_entry_builds(entry: dict[str, Any]) -> None:
    spec = build_table(ModelSpec, entry, "study.toml", "models[0]")
    network = build(spec.architecture, 2, **spec.arguments)
    assert isinstance(network, nn.Module)
    channels = preprocessing_of(spec.architecture, network).channels
    with torch.no_grad():
        assert network.eval()(torch.randn(1, channels, 64, 64)).shape == (1, 2)
