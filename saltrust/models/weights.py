"""Fitting named tensors into a model, and saying so when they do not fit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from saltrust.errors import DataError
from saltrust.models.checkpoint import read_weights, sha256_of

#: torchvision's published DenseNet weights are from before ``norm.1`` became ``norm1``.
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")
#: InceptionV3 is built without its auxiliary head, which published weights contain.
_AUXILIARY = "AuxLogits."
#: Where classifiers keep their last layers: torchvision, timm, older collections.
_CLASSIFIER_HEADS = ("fc.", "classifier.", "head.", "last_linear.")
#: Counters that do not take part in the computation and that old files lack.
_COUNTER = "num_batches_tracked"


def fit_weights(model: nn.Module, tensors: Mapping[str, Tensor], path: Path, what: str) -> None:
    """Load tensors into a model that they fit exactly.

    A prefix that all names share (``module.``, ``model.``, as wrappers leave it) is taken off.

    Parameters
    ----------
    model : torch.nn.Module
    tensors : mapping of str to Tensor
    path : pathlib.Path
        Where they come from, for the error message.
    what : str
        What they should be weights of, for the error message.

    Raises
    ------
    DataError
        If tensors are missing, left over, of another shape or not finite; the model is
        unchanged.
    """
    state = model.state_dict()
    tensors = _rename(tensors, state)
    missing, unexpected, misshapen = _differences(tensors, state)
    if missing or unexpected or misshapen:
        raise DataError(_complaint(path, what, missing, unexpected, misshapen))
    _check_finite(tensors, path)
    _copy(model, tensors)


def fit_pretrained(model: nn.Module, path: Path, architecture: str) -> dict[str, Any]:
    """Start a model from weights that may have been trained for other findings.

    The classification head, which is the module that holds the last parameter, keeps its
    random weights where the file has none of its shape; everything else must fit.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place.
    path : pathlib.Path
        File of weights.
    architecture : str
        For messages.

    Returns
    -------
    dict
        For the card: ``path``, ``sha256``, and ``head`` ("loaded" or "new").

    Raises
    ------
    UsageError
        If the file does not exist.
    DataError
        If it cannot be read or anything but the head does not fit.
    """
    state = model.state_dict()
    tensors = _rename(read_weights(path), state)
    head = _head_names(model)
    missing, unexpected, misshapen = _differences(tensors, state)
    outside_head = [[name for name in names if name not in head]
                    for names in (missing, [], misshapen)]
    # A head of other depth has other names: left-over tensors are no reason to refuse as long
    # as the whole body is there and none of them could belong to it.
    prefix = _common_prefix(head)
    outside_head[1] = [name for name in unexpected if not name.startswith(prefix)]
    if any(outside_head):
        raise DataError(_complaint(path, f"architecture {architecture!r}", *outside_head))
    kept = {name: tensor for name, tensor in tensors.items()
            if name in state and name not in misshapen}
    _check_finite(kept, path)
    _copy(model, kept)
    loaded = all(name in kept for name in head)
    return {"path": str(path), "sha256": sha256_of(path), "head": "loaded" if loaded else "new"}


def fit_pretrained_encoder(model: nn.Module, path: Path, architecture: str) -> dict[str, Any]:
    """Start a network that localises from its own weights, or its encoder from a classifier's.

    The encoder is the module's attribute ``pretrainable``, where it has one.  Weights that hold
    all of it, and nothing else but the head of a classifier, start the encoder alone; others
    must be of the whole network, as for :func:`fit_pretrained`.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place.
    path : pathlib.Path
        File of weights.
    architecture : str
        For messages.

    Returns
    -------
    dict
        For the card: ``path``, ``sha256`` and ``head`` ("loaded" or "new").

    Raises
    ------
    UsageError
        If the file does not exist.
    DataError
        If it cannot be read, or does not fit.
    """
    encoder = getattr(model, "pretrainable", None)
    if isinstance(encoder, nn.Module):
        state = encoder.state_dict()
        tensors = _rename(read_weights(path), state)
        missing, unexpected, misshapen = _differences(tensors, state)
        if not missing and all(name.startswith(_CLASSIFIER_HEADS) for name in unexpected):
            if misshapen:
                raise DataError(_complaint(path, f"the encoder of architecture {architecture!r}",
                                           [], [], misshapen))
            kept = {name: tensor for name, tensor in tensors.items() if name in state}
            _check_finite(kept, path)
            _copy(encoder, kept)
            return {"path": str(path), "sha256": sha256_of(path), "head": "new"}
    return fit_pretrained(model, path, architecture)


def _rename(tensors: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    first_parts = {name.partition(".")[0] for name in state}
    names = {name: name for name in tensors}
    while names:
        parts = {name.partition(".")[0] for name in names.values()}
        if len(parts) != 1 or parts <= first_parts or any("." not in n for n in names.values()):
            break
        names = {old: name.partition(".")[2] for old, name in names.items()}
    if any("denselayer" in name for name in state):
        names = {old: _OLD_DENSENET.sub(r"\1\2", name) for old, name in names.items()}
    has_auxiliary = any(name.startswith(_AUXILIARY) for name in state)
    return {
        name: tensors[old]
        for old, name in names.items()
        if has_auxiliary or not name.startswith(_AUXILIARY)
    }


def _differences(
    tensors: Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> tuple[list[str], list[str], list[str]]:
    missing = [name for name in state if name not in tensors and not name.endswith(_COUNTER)]
    unexpected = [name for name in tensors if name not in state and not name.endswith(_COUNTER)]
    misshapen = [name for name, tensor in tensors.items()
                 if name in state and tensor.shape != state[name].shape]
    return missing, unexpected, misshapen


def _complaint(path: Path, what: str, missing: list[str], unexpected: list[str],
               misshapen: list[str]) -> str:
    differences = [f"{len(names)} tensors {kind} ({_first(names)})"
                   for kind, names in (("missing", missing), ("left over", unexpected),
                                       ("of another shape", misshapen)) if names]
    return (f"weights {path} are not of {what}: {'; '.join(differences)}; name the architecture "
            "and the arguments they were trained with")


def _first(names: Iterable[str], count: int = 3) -> str:
    names = list(names)
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def _check_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise DataError(f"weights {path} hold NaN or infinite values in {name!r}; "
                            "take a checkpoint from before training diverged")


def _copy(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    model.load_state_dict(dict(tensors), strict=False)


def _head_names(model: nn.Module) -> list[str]:
    last = [name for name, _ in model.named_parameters()][-1]
    owner = last.rpartition(".")[0]
    return [name for name, _ in model.named_parameters() if name.rpartition(".")[0] == owner]


def _common_prefix(head: list[str]) -> str:
    # 'classifier.1.weight' -> 'classifier.': whatever depth the other head had.
    first = head[0]
    return first.partition(".")[0] + "." if "." in first else first
