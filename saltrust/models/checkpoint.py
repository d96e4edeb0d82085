"""Weights in a file, and beside it the card that says what they are.

``model.safetensors`` holds the tensors, ``model.json`` the card: one JSON object.

==================  ==========================================================================
``findings``        names of the outputs, in order (the one field that is always needed)
``classes``         where there are three outputs per finding, their order:
                    :data:`saltrust.models.classifiers.three_class.CLASSES`
``architecture``    registry name or ``package.module:factory``, with its ``arguments``
``preprocessing``   :class:`~saltrust.models.preprocessing.Preprocessing` as plain values
``grid``            height and width in pixels of the images it was trained on
``weights_sha256``  SHA-256 of the file of weights
``complete``        false while training goes on, or when it was cut short
==================  ==========================================================================

and whatever else whoever writes it records (seed, fingerprints, metrics, versions).  Each of
the two files is replaced in one step, the weights first.  Since a power cut may fall between
the two, the weights carry the card as well, in the metadata of the safetensors format: a JSON
card that does not fit its weights is passed over in favour of that one.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor, nn

from saltrust.errors import DataError, UsageError
from saltrust.files import write_bytes, write_text
from saltrust.models.card_fields import check_fields
from saltrust.models.torch_file import check_beginning, read_torch_file, reading_weights
from saltrust.reading import read_json, reading

WEIGHTS_FILE = "model.safetensors"
_METADATA_KEY = "saltrust_card"
#: Keys of running averages of the weights, read where there is nothing else.
_AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema")
#: Keys under which training scripts keep the weights, beside optimiser and epoch; the first counts.
_WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net_state_dict", "net",
             "network_state_dict", "network", "weights", "params", "module", *_AVERAGED)

_log = logging.getLogger(__name__)


def card_path(weights: Path) -> Path:
    """Where the card of a file of weights is: the same name, ending in ``.json``."""
    return weights.with_suffix(".json")


def save(model: nn.Module, weights: Path, card: Mapping[str, Any]) -> dict[str, Any]:
    """Write weights and card, each in one step.

    Parameters
    ----------
    model : torch.nn.Module
    weights : pathlib.Path
        File to write, ``.safetensors``; the card goes beside it.
    card : mapping
        Plain JSON values without NaN.

    Returns
    -------
    dict
        The card as written, with ``weights_sha256``.

    Raises
    ------
    DataError
        If a file cannot be written; what was there before is still there.
    """
    return _write({
        # Cloned, because safetensors refuses tensors that share memory, as tied weights do.
        name: tensor.detach().to("cpu", copy=True).contiguous()
        for name, tensor in model.state_dict().items()
    }, weights, card)


def replace_card(weights: Path, card: Mapping[str, Any]) -> dict[str, Any]:
    """Give weights another card, inside and beside them; the tensors stay as they are.

    Parameters
    ----------
    weights : pathlib.Path
        As :func:`save` left them.
    card : mapping
        Plain JSON values without NaN.

    Returns
    -------
    dict
        The card as written, with the new ``weights_sha256``.

    Raises
    ------
    DataError
        If the weights cannot be read, or a file cannot be written; what was there before is
        still there.
    """
    return _write(read_weights(weights), weights, card)


def _write(tensors: Mapping[str, Tensor], weights: Path, card: Mapping[str, Any]
           ) -> dict[str, Any]:
    # A file cannot hold its own digest, and that of an earlier one would be taken for it.
    inside = {key: value for key, value in card.items() if key != "weights_sha256"}
    text = json.dumps(inside, allow_nan=False)
    content = safetensors.torch.save(dict(tensors), {_METADATA_KEY: text})
    write_bytes(weights, content)
    written = {**inside, "weights_sha256": hashlib.sha256(content).hexdigest()}
    write_card(weights, written)
    return written


def write_card(weights: Path, card: Mapping[str, Any]) -> None:
    """Replace the card of weights that stay as they are."""
    text = json.dumps(dict(card), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    write_text(card_path(weights), text)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as ``sha256sum`` prints it."""
    with reading(str(path), "check who may read it"), path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_card(weights: Path, sha256: str | None = None) -> dict[str, Any] | None:
    """The card of a file of weights.

    Parameters
    ----------
    weights : pathlib.Path
    sha256 : str, optional
        Of the weights, where it is known already.

    Returns
    -------
    dict or None
        None where there is no card at all.

    Raises
    ------
    DataError
        If the card is not a JSON object, or belongs to other weights.
    """
    path = card_path(weights)
    with reading(f"model card {path}", "put a whole one beside the weights, or take it away"):
        embedded = _embedded_card(weights)
        if embedded is not None:
            sha256 = embedded["weights_sha256"] = sha256 or sha256_of(weights)
        if not path.exists():
            return embedded
        card = check_fields(read_json(path), f"model card {path}")
        if "weights_sha256" in card and card["weights_sha256"] != (sha256 or sha256_of(weights)):
            if embedded is not None:
                return embedded
            raise DataError(f"model card {path} belongs to other weights than {weights.name} "
                            "(their SHA-256 differ); put the right card beside them")
        return card


def _embedded_card(weights: Path) -> dict[str, Any] | None:
    if weights.suffix != ".safetensors":
        return None
    try:
        with safetensors.safe_open(weights, framework="pt") as stream:
            text = (stream.metadata() or {}).get(_METADATA_KEY)
        card = json.loads(text) if text else None
    except Exception:  # noqa: BLE001 - reading the tensors says what is wrong with the file
        return None
    return check_fields(card, f"the card in {weights}") if isinstance(card, dict) else None


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file or of a torch state dict.

    Torch files are read by :func:`saltrust.models.torch_file.read_torch_file`: nothing in them is
    run.  Weights under ``state_dict`` and the like are unwrapped.

    Returns
    -------
    dict of str to Tensor
        On the CPU.

    Raises
    ------
    UsageError
        If the file does not exist.
    DataError
        If it is no file of weights, is truncated, or wants to run code.
    """
    with reading_weights(path):
        if not path.is_file():
            raise UsageError(f"weights {path} do not exist; check the path in the study file")
        if path.suffix != ".safetensors":
            return _unwrap(read_torch_file(path), path)
        check_beginning(path)
        return safetensors.torch.load_file(path)


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    while isinstance(content, Mapping):
        key = next((key for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if key is None:
            break
        averaged = [name for name in _AVERAGED if name != key and content.get(name)]
        if averaged:
            _log.warning("weights %s: those under %r are read, not the averages under %r", path,
                         key, averaged[0])
        content = content[key]
    if not isinstance(content, Mapping):
        raise DataError(f"weights {path} hold a {type(content).__name__}, not a state dict of "
                        "named tensors")
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise DataError(f"weights {path} hold no tensors, only: "
                        f"{', '.join(map(str, list(content)[:5])) or 'nothing'}")
    return tensors
