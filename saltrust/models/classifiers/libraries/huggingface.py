"""Image classifiers of transformers, from a folder with ``config.json``; nothing is fetched."""

from __future__ import annotations

import contextlib
import functools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import transformers
from torch import Tensor, nn

from saltrust.errors import DataError, UsageError
from saltrust.models.classifiers.libraries.contract import with_contract
from saltrust.models.preprocessing import MOST_CHANNELS, Preprocessing
from saltrust.reading import read_json, reading, reason_of, shown

#: Names that transformers itself gives to classes without one.
_UNNAMED = re.compile(r"LABEL_\d+|\d+")
#: What its image processors do where they do not say otherwise.
_HALF = 0.5


def is_known(_name: str) -> bool:
    """Any folder may be one; :func:`build` looks."""
    return True



def build(name: str, n_outputs: int, **arguments: Any) -> nn.Module:
    """The classifier of a folder, with random weights.

    Parameters
    ----------
    name : str
        The folder, with ``config.json`` and, for what the input must be,
        ``preprocessor_config.json``; as ``checkpoint`` of the model it also gives the weights.
    n_outputs : int
        Another number than the folder's replaces the head.
    **arguments
        Entries of the configuration.

    Raises
    ------
    UsageError
        If the folder has no configuration, or not of an image classifier.
    DataError
        If a file of it cannot be read.
    """
    folder = Path(name)
    config = _config(folder, arguments)
    with_own_outputs = config.num_labels == n_outputs
    if not with_own_outputs:
        config.num_labels = n_outputs
    with _quiet():
        try:
            network: Any = transformers.AutoModelForImageClassification.from_config(config)
        except ValueError as error:
            raise UsageError(f"architecture 'hf:{name}': {config.model_type!r} is no image "
                             f"classifier of transformers {transformers.__version__}") from error
    softmax = config.problem_type in (None, "single_label_classification") and n_outputs > 1
    output: dict[str, Any] = {"select": "logits", "kind": "softmax" if softmax else "logits"}
    if with_own_outputs and (named := _named_outputs(config)):
        output["findings"] = named
    # Released files have names of tensors that later versions of the library have changed.
    network.translate_tensors = functools.partial(_translated, type(network), config)
    return with_contract(network, _preprocessing(folder, config), output)


def findings(name: str, tensors: Mapping[str, Tensor]) -> list[str] | None:
    """Names of the classes, where the configuration has names of its own for them.

    Parameters
    ----------
    name : str
        The folder.
    tensors : mapping of str to Tensor
        Not looked at.
    """
    del tensors
    return _named_outputs(_config(Path(name), {}))


def _config(folder: Path, arguments: Mapping[str, Any]) -> Any:
    if not (folder / "config.json").is_file():
        raise UsageError(f"architecture 'hf:{folder}' must name a folder with config.json, as "
                         "save_pretrained of transformers leaves it; check the path")
    try:
        return transformers.AutoConfig.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False, **arguments)
    except Exception as error:
        raise DataError(f"{folder / 'config.json'} is no configuration that transformers "
                        f"{transformers.__version__} can read: {reason_of(error)}; take the "
                        "folder as save_pretrained leaves it") from error


def _named_outputs(config: Any) -> list[str] | None:
    with reading(f"id2label of {shown(getattr(config, 'name_or_path', ''))}",
                 "correct it in config.json"):
        names = [str(config.id2label[position]) for position in sorted(config.id2label)]
    return None if any(_UNNAMED.fullmatch(name) for name in names) else names


def _preprocessing(folder: Path, config: Any) -> Preprocessing:
    path = folder / "preprocessor_config.json"
    with reading(str(folder / "config.json"), "take the folder as save_pretrained leaves it"):
        channels = int(getattr(config, "num_channels", 3))
        if not 0 < channels <= MOST_CHANNELS:
            raise DataError(f"{folder / 'config.json'} has num_channels = {channels}; it must be "
                            f"at least 1 and at most {MOST_CHANNELS:,}")
    with reading(str(path), "take the folder as save_pretrained leaves it"):
        stated = read_json(path) if path.is_file() else {}
        normalized = stated.get("do_normalize", True)
        mean, std = (tuple(map(float, stated.get(key) or (_HALF,))) if normalized else (value,)
                     for key, value in (("image_mean", 0.0), ("image_std", 1.0)))
        white = 255 * float(stated.get("rescale_factor", 1 / 255)
                            if stated.get("do_rescale", True) else 1.0)
    if any(len(values) != channels and len(set(values)) > 1 for values in (mean, std)):
        raise DataError(f"{path} has means and deviations of {len(mean)} channels, and config.json "
                        f"{channels}: correct either")
    # EfficientNet's processor moves black to -1.
    black = -1.0 if stated.get("rescale_offset") else 0.0
    mean, std = (values if len(values) == channels else values[:1] * channels
                 for values in (mean, std))
    return Preprocessing(mean, std, channels, (black, round(white + black, 9)))


def _translated(network: Any, config: Any, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by the names of the installed version, as the library itself loads them."""
    base = f"{network.base_model_prefix}."
    prefixes = Counter(name[:name.index(base)] for name in tensors if base in name)
    prefix = prefixes.most_common(1)[0][0] if prefixes else ""
    bare = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()
            if name.startswith(prefix)}
    beside = {name: tensor for name, tensor in tensors.items() if not name.startswith(prefix)}
    with _quiet():
        filled, report = network.from_pretrained(
            None, config=config, state_dict=dict(bare), output_loading_info=True,
            ignore_mismatched_sizes=True, dtype="auto")
    # Entries of other shapes are tuples of the name and the two shapes.
    misshapen = {entry if isinstance(entry, str) else entry[0]
                 for entry in report["mismatched_keys"]}
    lacking = misshapen | set(report["missing_keys"])
    translated = {name: tensor for name, tensor in filled.state_dict().items()
                  if name not in lacking}
    return {**translated, **beside, **{name: tensor for name, tensor in bare.items()
                                       if name in misshapen | set(report["unexpected_keys"])}}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without bars and reports: what does not fit is said by whoever fits weights."""
    log = transformers.utils.logging
    before, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity(log.CRITICAL)
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(before)
        if bars:
            log.enable_progress_bar()
