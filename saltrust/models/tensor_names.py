"""Which tensors of a file are which of a network: wrappers, losses, layouts of other libraries.

Files name tensors by the modules of whoever saved them.  The same network lies under ``module.``
or ``model.`` where it was wrapped, beside the loss where a Lightning module holds both, and under
other names altogether where another library defined it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from saltrust.errors import DataError

#: torchvision's published DenseNet weights are from before ``norm.1`` became ``norm1``.
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")
#: Heads that serve training from scratch only; networks are built without them.
_AUXILIARY = re.compile(r"(AuxLogits|aux1|aux2)\.")
#: Tables and counters that take no part in what is computed, or that are computed at building.
BOOKKEEPING = re.compile(r"(^|\.)(num_batches_tracked|n_averaged|total_ops|total_params"
                         r"|attn_mask|relative_position_index|relative_coords_table"
                         r"|position_ids)$")
#: Of torchxrayvision: what would turn its logits into something else.
_THRESHOLDS = re.compile(r"(^|\.)op_threshs$")
#: What wrappers insert anywhere in a name, and nobody calls a module.
_INSERTED = re.compile(r"(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
#: First parts of names that are of a loss, a metric or a running average of the network.
_BESIDE_NETWORKS = re.compile(
    r"criteri\w*|\w*loss(es)?|loss_?(fn|func|function)s?|bce|ce|\w*metrics?|lpips"
    r"|((train|val|valid|test)_)?(auroc|auc|accuracy|acc|f1|precision|recall)(_?score|_\w+)?"
    r"|(pos|class)_weights?|(\w+_)?ema(_\w+)?|swa_\w+|averaged_\w+", re.IGNORECASE)

#: Parts of EfficientNet as efficientnet-pytorch and segmentation-models-pytorch name them, by the
#: names of a block of timm: one that widens first, and the first block, which does not.
_TIMM_WIDENING = {
    "conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1",
    "se.conv_reduce": "_se_reduce", "se.conv_expand": "_se_expand", "conv_pwl": "_project_conv",
    "bn3": "_bn2"}
_TIMM_FIRST = {
    "conv_dw": "_depthwise_conv", "bn1": "_bn1", "se.conv_reduce": "_se_reduce",
    "se.conv_expand": "_se_expand", "conv_pw": "_project_conv", "bn2": "_bn2"}
_TIMM_OUTSIDE = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head",
                 "bn2": "_bn1", "classifier": "_fc"}
#: The same by the positions in a block of torchvision.
_TORCHVISION_WIDENING = {
    "0.0": "_expand_conv", "0.1": "_bn0", "1.0": "_depthwise_conv", "1.1": "_bn1",
    "2.fc1": "_se_reduce", "2.fc2": "_se_expand", "3.0": "_project_conv", "3.1": "_bn2"}
_TORCHVISION_FIRST = {
    "0.0": "_depthwise_conv", "0.1": "_bn1", "1.fc1": "_se_reduce", "1.fc2": "_se_expand",
    "2.0": "_project_conv", "2.1": "_bn2"}

#: Prefix, stage, block, part of the block, tensor.
_TIMM_BLOCK = re.compile(r"(.*?\.|)blocks\.(\d+)\.(\d+)\.(.+)\.(\w+)")
_TORCHVISION_BLOCK = re.compile(r"(.*?\.|)features\.(\d+)\.(\d+)\.block\.(.+)\.(\w+)")


@dataclass(frozen=True)
class Matched:
    """Tensors of a file, by the names of a network.

    Attributes
    ----------
    tensors : dict of str to Tensor
        By the name in the network; what lies in the part of the file that holds the network and
        is unknown to it has the name of the file.
    sources : dict of str to str
        For each of them its name in the file.
    beside : tuple of str
        Names in the file that are of no part of the network: losses, metrics, counters, and
        whatever lies beside a network that was wrapped.
    """

    tensors: dict[str, Tensor]
    sources: dict[str, str]
    beside: tuple[str, ...]


def match_names(tensors: Mapping[str, Tensor], state: Mapping[str, Tensor],
                path: Path) -> Matched:
    """Find the tensors of a network in a file.

    Prefixes that wrappers leave are taken off, on either side; EfficientNet is known in the
    layouts of torchvision, timm, efficientnet-pytorch and segmentation-models-pytorch.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Of the file.
    state : mapping of str to Tensor
        Of the network.
    path : pathlib.Path
        For messages.

    Raises
    ------
    DataError
        If two parts of the file hold the network, with other values.
    """
    old_names = {name: _INSERTED.sub("", name) for name in tensors}
    if any("denselayer" in name for name in state):
        old_names = {name: _OLD_DENSENET.sub(r"\1\2", old) for name, old in old_names.items()}
    layout = common_layout(old_names.values())
    canonical = {name: layout.get(old, old) for name, old in old_names.items()}
    of_network = {_INSERTED.sub("", name): name for name in state}
    layout_of_network = common_layout(of_network)
    wanted = {layout_of_network.get(name, name): of_network[name] for name in of_network}
    prefix, placed = _place(canonical, tensors, wanted, state, path)
    renamed, sources, beside = {}, {}, []
    for source, name in canonical.items():
        inside = old_names[source].removeprefix(prefix)
        if source in placed:
            renamed[placed[source]], sources[placed[source]] = tensors[source], source
        elif not name.startswith(prefix) or _is_beside(inside):
            beside.append(source)
        else:
            renamed[inside], sources[inside] = tensors[source], source
    return Matched(renamed, sources, tuple(beside))


def common_layout(names: Iterable[str]) -> dict[str, str]:
    """Names of EfficientNets in the layout of efficientnet-pytorch; empty for other networks.

    Parameters
    ----------
    names : iterable of str
        Of all tensors of a network or a file, with whatever prefix.

    Returns
    -------
    dict of str to str
        For the names that are translated.

    Examples
    --------
    >>> common_layout(["net.conv_stem.weight", "net.blocks.0.0.conv_dw.weight",
    ...                "net.blocks.1.0.conv_dw.weight", "net.blocks.1.0.conv_pwl.weight"])
    {'net.blocks.0.0.conv_dw.weight': 'net._blocks.0._depthwise_conv.weight',
     'net.blocks.1.0.conv_dw.weight': 'net._blocks.1._depthwise_conv.weight',
     'net.blocks.1.0.conv_pwl.weight': 'net._blocks.1._project_conv.weight',
     'net.conv_stem.weight': 'net._conv_stem.weight'}
    """
    names = list(names)
    return {**_translated(names, _TIMM_BLOCK, (_TIMM_WIDENING, _TIMM_FIRST), "conv_pwl",
                          _timm_outside),
            **_translated(names, _TORCHVISION_BLOCK, (_TORCHVISION_WIDENING, _TORCHVISION_FIRST),
                          "3.0", _torchvision_outside)}


def _translated(names: list[str], pattern: re.Pattern[str],
                parts: tuple[dict[str, str], dict[str, str]], only_in_widening: str,
                outside: Callable[[str, int], str | None]) -> dict[str, str]:
    """Names of one layout in the common one, prefix by prefix, all of a prefix or none."""
    blocks: dict[str, dict[tuple[int, int], dict[str, tuple[str, str]]]] = defaultdict(
        lambda: defaultdict(dict))
    for name in names:
        if block := pattern.fullmatch(name):
            prefix, stage, number, part, tensor = block.groups()
            blocks[prefix][int(stage), int(number)][name] = part, tensor
    translated: dict[str, str] = {}
    for prefix, of_prefix in blocks.items():
        common = {}
        for number, (_, named) in enumerate(sorted(of_prefix.items())):
            widening = any(part == only_in_widening for part, _ in named.values())
            for name, (part, tensor) in named.items():
                common[name] = prefix, number, parts[not widening].get(part), tensor
        if any(part is None for _, _, part, _ in common.values()):
            continue  # Another network with blocks.
        translated |= {name: f"{prefix}_blocks.{number}.{part}.{tensor}"
                       for name, (prefix, number, part, tensor) in common.items()}
        last = max(stage for stage, _ in of_prefix) + 1
        for name in names:
            module, _, tensor = name.removeprefix(prefix).rpartition(".")
            part = outside(module, last) if name.startswith(prefix) else None
            if part is not None:
                translated[name] = f"{prefix}{part}.{tensor}"
    return translated


def _timm_outside(module: str, _last: int) -> str | None:
    return _TIMM_OUTSIDE.get(module)


def _torchvision_outside(module: str, last: int) -> str | None:
    return {"features.0.0": "_conv_stem", "features.0.1": "_bn0",
            f"features.{last}.0": "_conv_head", f"features.{last}.1": "_bn1",
            "classifier.1": "_fc"}.get(module)


def _place(names: Mapping[str, str], tensors: Mapping[str, Tensor], wanted: Mapping[str, str],
           state: Mapping[str, Tensor], path: Path) -> tuple[str, dict[str, str]]:
    """The prefix under which the network lies, and its names by those in the file."""
    places: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    ours = _shared_prefix(wanted)
    for source, name in names.items():
        for prefix in _prefixes(name):
            for added in {"", ours}:
                target = wanted.get(added + name.removeprefix(prefix))
                if target is not None:
                    places[prefix, added][source] = target
    if not places:
        return _shared_prefix(names.values()), {}

    def rank(place: tuple[str, str]) -> tuple[int, int, bool]:
        placed = places[place]
        fitting = sum(tensors[source].shape == state[target].shape
                      for source, target in placed.items())
        return (len(placed), fitting,
                not _BESIDE_NETWORKS.fullmatch(place[0].partition(".")[0]))

    ranks = {place: rank(place) for place in places}
    best = max(places, key=lambda place: (*ranks[place], -len(place[0]) - len(place[1])))
    by_target = {target: source for source, target in places[best].items()}
    needed = {name for name in state if not BOOKKEEPING.search(name)}
    if needed <= by_target.keys():
        for other, placed in places.items():
            if ranks[other] == ranks[best] and not all(
                    source == by_target[target]
                    or torch.equal(tensors[source], tensors[by_target[target]])
                    for source, target in placed.items() if target in by_target):
                raise DataError(f"weights {path} hold the network twice, under {best[0]!r} and "
                                f"{other[0]!r}, with other values: save the one that is meant by "
                                "itself")
    return best[0], places[best]


def _prefixes(name: str) -> list[str]:
    parts = name.split(".")
    return ["".join(f"{part}." for part in parts[:count]) for count in range(len(parts))]


def _shared_prefix(names: Iterable[str]) -> str:
    first_parts = {name.partition(".")[0] if "." in name else "" for name in names}
    return f"{first_parts.pop()}." if len(first_parts) == 1 and "" not in first_parts else ""


def _is_beside(name: str) -> bool:
    return bool(BOOKKEEPING.search(name) or _THRESHOLDS.search(name) or _AUXILIARY.match(name)
                or _BESIDE_NETWORKS.fullmatch(name.partition(".")[0]))
