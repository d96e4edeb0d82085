"""Weights and cards: files that are not what they say, fields of other types."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from hypothesis import strategies as st
from torch import nn

from saltrust.models.checkpoint import read_card, read_weights
from saltrust.models.classifiers.trained_classifier import load_classifier
from saltrust.models.weights import fit_weights
from saltrust.study import ModelSpec, Study
from saltrust.training.runs.resuming import read_state
from tests.fuzz.mutations import flipped, spoiled

CARD: dict[str, Any] = {
    "findings": ["Edema", "Effusion"], "architecture": "phantom_net", "arguments": {"width": 4},
    "preprocessing": {"mean": [0.5], "std": [0.25], "channels": 1, "input_range": [0.0, 1.0]},
    "grid": [32, 32], "seed": 3, "complete": True, "weights_sha256": "0" * 64,
    "output": {"kind": "logits", "findings": ["Edema", "Effusion"]},
    "guidance": {"loss": "set1"}, "score": 0.5, "val_loss": 0.7, "versions": {"torch": "2.0"},
}


@functools.cache
def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))


@functools.cache
def _safetensors() -> bytes:
    return safetensors.torch.save(_network().state_dict(), {"saltrust_card": json.dumps(CARD)})


@functools.cache
def _torch_file(legacy: bool) -> bytes:
    content = io.BytesIO()
    torch.save({"state_dict": _network().state_dict(), "epoch": 3, "seed": 2**31 - 1},
               content, _use_new_zipfile_serialization=not legacy)
    return content.getvalue()


@functools.cache
def _classifier() -> bytes:
    from saltrust.models.classifiers.registry import build

    torch.manual_seed(0)
    state = build("phantom_net", 2, width=4).state_dict()
    return safetensors.torch.save({name: value.contiguous() for name, value in state.items()})


def _with_header(header: Any) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"\0" * 64


def _bomb(name: str, size: int, level: int) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": 1}, 2))
        archive.writestr("archive/version", "3\n")
        archive.writestr(f"archive/{name}", b"\0" * size)
    return content.getvalue()


_header = {"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
           "b": {"dtype": "F16", "shape": [4], "data_offsets": [16, 24]},
           "__metadata__": {"saltrust_card": "{}"}}
_claims = st.builds(lambda size, rest: struct.pack("<Q", size) + rest,
                    st.sampled_from((0, 1, 2**20, 2**32, 2**60, 2**64 - 1)), st.binary(max_size=40))
_pickles = st.builds(
    pickle.dumps,
    st.recursive(st.one_of(st.none(), st.integers(), st.text(max_size=5), st.floats()),
                 lambda inner: st.lists(inner, max_size=2) | st.dictionaries(
                     st.text(max_size=3), inner, max_size=2), max_leaves=6), st.integers(0, 5))
_tensor_files = st.one_of(
    st.deferred(lambda: flipped(_safetensors())), st.deferred(lambda: flipped(_safetensors())),
    spoiled(_header).map(lambda header: _with_header(_plain(header))), _claims)
_torch_files = st.one_of(
    st.deferred(lambda: flipped(_torch_file(False))),
    st.deferred(lambda: flipped(_torch_file(True))),
    st.deferred(lambda: flipped(_torch_file(True))), _pickles, flipped(_pickles),
    st.builds(_bomb, st.sampled_from(("data/0", "x")),
              st.sampled_from((0, 2**16, 2**24)), st.just(9)), st.binary(max_size=80))


def _plain(value: Any) -> Any:
    try:
        json.dumps(value)
    except (ValueError, TypeError):
        return {}
    return value


def _json(value: Any) -> bytes:
    try:
        return json.dumps(value).encode()
    except ValueError:  # A number of more digits than Python prints.
        return b'{"seed": ' + b"9" * 5000 + b"}"


_deep = st.builds(lambda sign, depth: sign * depth, st.sampled_from((b"[", b'{"a":')),
                  st.integers(10, 20_000))
_cards = st.one_of(spoiled(CARD).map(_json), spoiled(CARD).map(_json), flipped(_json(CARD)), _deep)


def _fit(path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))
    fit_weights(network, read_weights(path), path, "a small network")


def _read_safetensors(folder: Path, content: bytes) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(content)
    read_card(path)
    _fit(path)


def _read_torch(folder: Path, content: bytes) -> None:
    path = folder / "model.pt"
    path.write_bytes(content)
    _fit(path)


def _read_state(folder: Path, content: bytes) -> None:
    (folder / "resume.pt").write_bytes(content)
    read_state(folder)


def _load(folder: Path, content: bytes) -> None:
    """A whole network, whose card is not what it should be."""
    (folder / "model.safetensors").write_bytes(_classifier())
    card = content.replace(b"0" * 64, _digest().encode())
    (folder / "model.json").write_bytes(card)
    spec = ModelSpec("net", "phantom_net", "model.safetensors", arguments={"width": 4})
    load_classifier(spec, Study(folder=folder, grid=32), ["Edema", "Effusion"])


@functools.cache
def _digest() -> str:
    return hashlib.sha256(_classifier()).hexdigest()


TARGETS = {
    "safetensors": (_tensor_files, _read_safetensors),
    "torch": (_torch_files, _read_torch),
    "resume": (_torch_files, _read_state),
    "cards": (_cards, _load),
}
