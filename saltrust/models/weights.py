"""Fitting named tensors into a model, and saying so when they do not fit."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from saltrust.errors import DataError
from saltrust.models.checkpoint import read_weights, sha256_of
from saltrust.models.tensor_names import BOOKKEEPING, Matched, match_names
from saltrust.models.torch_file import reading_weights

#: Where classifiers keep their last layers: torchvision, timm, older collections, U-Nets.
_CLASSIFIER_HEADS = ("fc.", "classifier.", "head.", "last_linear.", "_fc.",
                     "classification_head.")
#: Counters that do not take part in the computation and that old files lack.
_COUNTER = "num_batches_tracked"
#: Precisions that networks compute in.
_PRECISIONS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

_log = logging.getLogger(__name__)


def fit_weights(model: nn.Module, tensors: Mapping[str, Tensor], path: Path, what: str) -> None:
    """Load tensors into a model that they fit exactly, in their own precision.

    Prefixes that wrappers leave (``module.``, ``model.``, ``_orig_mod.``) are taken off.  What
    belongs to no part of the network, as the loss of a Lightning module, is left aside with a
    line in the log.  The model takes the floating type of the file where that is another one
    than its own; of several types that which holds them all.

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
        If tensors are missing, left over or of another shape, parameters are not finite, or two
        networks of this kind are in the file; the model is unchanged.
    """
    with reading_weights(path):
        state = model.state_dict()
        matched = match_names(_in_its_names(model, tensors), state, path)
        missing, unexpected, misshapen = _differences(matched.tensors, state)
        if missing or unexpected or misshapen:
            raise DataError(_complaint(path, what, missing, unexpected, misshapen,
                                       _other_outputs(model, matched.tensors, misshapen)
                                       if not (missing or unexpected) else ""))
        _check_finite(model, matched.tensors, path)
        _say_what_is_beside(matched, path)
        _take_precision(model, matched.tensors, state, path)
        _copy(model, matched.tensors)


def fit_pretrained(model: nn.Module, path: Path, architecture: str) -> dict[str, Any]:
    """Start a model from weights that may have been trained for other findings.

    The classification head, which is the module that holds the last parameter, keeps its
    random weights where the file has none of its shape; everything else must fit.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place; it keeps its precision.
    path : pathlib.Path
        File of weights.
    architecture : str
        For messages.

    Returns
    -------
    dict
        For the card: ``path``, ``sha256``, ``head`` ("loaded" or "new"), and the names in the
        file of what was ``matched`` and of what was ``left_over``.

    Raises
    ------
    UsageError
        If the file does not exist.
    DataError
        If it cannot be read or anything but the head does not fit.
    """
    with reading_weights(path):
        return _start_whole(model, read_weights(path), path, architecture)


def fit_pretrained_encoder(model: nn.Module, path: Path, architecture: str) -> dict[str, Any]:
    """Start a network from its own weights, or its encoder from those of a classifier.

    The encoder is the module's attribute ``pretrainable``, where it has one.  Weights that hold
    all of the network, but perhaps its head, start it as :func:`fit_pretrained` does.  Weights
    that hold all of the encoder, and no more of the kind of what it is made of, start the
    encoder alone.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place; it keeps its precision.
    path : pathlib.Path
        File of weights.
    architecture : str
        For messages.

    Returns
    -------
    dict
        For the card, as :func:`fit_pretrained`.

    Raises
    ------
    UsageError
        If the file does not exist.
    DataError
        If it cannot be read, or does not fit.
    """
    with reading_weights(path):
        tensors = read_weights(path)
        encoder = getattr(model, "pretrainable", None)
        if not isinstance(encoder, nn.Module):
            return _start_whole(model, tensors, path, architecture)
        state = encoder.state_dict()
        matched = match_names(tensors, state, path)
        missing, unexpected, misshapen = _differences(matched.tensors, state)
        parts = {name.partition(".")[0] for name in state} - {
            head.partition(".")[0] for head in _CLASSIFIER_HEADS}
        deeper = [name for name in unexpected if name.partition(".")[0] in parts]
        if missing or deeper or _holds_all(model, tensors, path):
            return _start_whole(model, tensors, path, architecture)
        if misshapen:
            raise DataError(_complaint(path, f"the encoder of architecture {architecture!r}", [],
                                       [], misshapen))
        return _start(encoder, state, matched, path, "new")


def _in_its_names(model: nn.Module, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Tensors as a network itself translates them from its library's released files."""
    translate = getattr(model, "translate_tensors", None)
    translated: Mapping[str, Tensor] = translate(tensors) if callable(translate) else tensors
    return translated


def _start_whole(model: nn.Module, tensors: Mapping[str, Tensor], path: Path,
                 architecture: str) -> dict[str, Any]:
    state = model.state_dict()
    matched = match_names(_in_its_names(model, tensors), state, path)
    head = _head_names(model)
    complaints = _outside_head(matched.tensors, state, head)
    if any(complaints):
        raise DataError(_complaint(path, f"architecture {architecture!r}", *complaints))
    loaded = all(name in matched.tensors and matched.tensors[name].shape == state[name].shape
                 for name in head)
    return _start(model, state, matched, path, "loaded" if loaded else "new")


def _start(module: nn.Module, state: Mapping[str, Tensor], matched: Matched, path: Path,
           head: str) -> dict[str, Any]:
    """Copy what fits; the rest is left over."""
    kept = {name: tensor for name, tensor in matched.tensors.items()
            if name in state and tensor.shape == state[name].shape}
    _check_finite(module, kept, path, with_statistics=True)
    _copy(module, kept)
    left_over = [*(source for name, source in matched.sources.items() if name not in kept),
                 *(source for source in matched.beside if not source.endswith(_COUNTER))]
    _log.warning("weights %s: %d tensors start the network%s", path, len(kept),
                 f"; left over: {_first(left_over, 8)}" if left_over else "")
    return {"path": str(path), "sha256": sha256_of(path), "head": head,
            "matched": [matched.sources[name] for name in kept], "left_over": left_over}


def _outside_head(tensors: Mapping[str, Tensor], state: Mapping[str, Tensor],
                  head: list[str]) -> tuple[list[str], list[str], list[str]]:
    missing, unexpected, misshapen = _differences(tensors, state)
    # A head of other depth has other names: left-over tensors are no reason to refuse as long
    # as the whole body is there and none of them could belong to it.
    prefix = _common_prefix(head)
    return ([name for name in missing if name not in head],
            [name for name in unexpected if not name.startswith(prefix)],
            [name for name in misshapen if name not in head])


def _holds_all(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> bool:
    state = model.state_dict()
    return not any(_outside_head(match_names(tensors, state, path).tensors, state,
                                 _head_names(model)))


def _say_what_is_beside(matched: Matched, path: Path) -> None:
    beside = [name for name in matched.beside if not name.endswith(_COUNTER)]
    if beside:
        _log.warning("weights %s: left aside is what belongs to no part of the network: %s", path,
                     _first(beside, 8))


def _take_precision(model: nn.Module, tensors: Mapping[str, Tensor],
                    state: Mapping[str, Tensor], path: Path) -> None:
    floating = {name: tensor.dtype for name, tensor in tensors.items()
                if name in state and state[name].is_floating_point()}
    if all(dtype == state[name].dtype for name, dtype in floating.items()):
        return
    dtypes = sorted(set(floating.values()), key=str)
    common = functools.reduce(torch.promote_types, dtypes)
    if common not in _PRECISIONS:
        common = torch.float32
    if len(dtypes) > 1:
        _log.warning("weights %s are of several types (%s) and are used as %s", path,
                     ", ".join(map(_short, dtypes)), _short(common))
    model.to(common)


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _differences(
    tensors: Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> tuple[list[str], list[str], list[str]]:
    # Tied weights may be in a file once.
    filled = {state[name].data_ptr() for name in tensors if name in state} - {0}
    missing = [name for name in state if name not in tensors and not BOOKKEEPING.search(name)
               and state[name].data_ptr() not in filled]
    unexpected = [name for name in tensors if name not in state]
    misshapen = [name for name, tensor in tensors.items()
                 if name in state and tensor.shape != state[name].shape]
    return missing, unexpected, misshapen


def _other_outputs(model: nn.Module, tensors: Mapping[str, Tensor],
                   misshapen: list[str]) -> str:
    """The way out where weights differ in nothing but the number of outputs."""
    head = _head_names(model)
    if not misshapen or not set(misshapen) <= set(head):
        return ""
    return (f"they have {len(tensors[misshapen[0]])} outputs: say which, by position, in "
            "`findings` under [models.output] or on a card beside them")


def _complaint(path: Path, what: str, missing: list[str], unexpected: list[str],
               misshapen: list[str], way_out: str = "") -> str:
    differences = [f"{len(names)} tensors {kind} ({_first(names)})"
                   for kind, names in (("missing", missing), ("left over", unexpected),
                                       ("of another shape", misshapen)) if names]
    way_out = way_out or "name the architecture and the arguments they were trained with"
    return f"weights {path} are not of {what}: {'; '.join(differences)}; {way_out}"


def _first(names: Iterable[str], count: int = 3) -> str:
    names = list(names)
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def _check_finite(model: nn.Module, tensors: Mapping[str, Tensor], path: Path, *,
                  with_statistics: bool = False) -> None:
    """Refuse parameters that diverged.

    Buffers may be undefined, as thresholds of findings that a network does not know; where
    training is to go on, running statistics may not, since no step would mend them.
    """
    weights = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    for name, tensor in tensors.items():
        counts = name in weights or (with_statistics
                                     and name.endswith(("running_mean", "running_var")))
        if counts and tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
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
