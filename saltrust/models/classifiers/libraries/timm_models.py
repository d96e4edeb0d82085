"""Image models of timm."""

from __future__ import annotations

from statistics import fmean
from typing import Any

import timm
from torch import nn

from saltrust.models.classifiers.libraries.contract import with_contract
from saltrust.models.preprocessing import Preprocessing


def names() -> list[str]:
    """All architectures of timm, without the tags of their published weights."""
    return list(timm.list_models())


def is_known(name: str) -> bool:
    """Whether timm has it; a tag of published weights may follow, which then say mean and std."""
    architecture, _, tag = name.partition(".")
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")]
    return bool(timm.is_model(architecture)) and (not tag or tag in tags)


def build(name: str, n_outputs: int, **arguments: Any) -> nn.Module:
    """An architecture with random weights and the input of its published ones.

    Parameters
    ----------
    name : str
        ``convnext_atto``, or with a tag ``vit_tiny_patch16_224.augreg_in21k``.
    n_outputs : int
    **arguments
        Of ``timm.create_model``, as ``in_chans`` and, of transformers, ``img_size``.  Other than
        three channels take the average of the published means and deviations.
    """
    network: Any = timm.create_model(name, pretrained=False, num_classes=n_outputs,
                                           **arguments)
    config = timm.data.resolve_model_data_config(network)
    mean, std = (tuple(map(float, config[key])) for key in ("mean", "std"))
    channels = int(arguments.get("in_chans", config["input_size"][0]))
    if len(mean) != channels:
        mean, std = (fmean(mean),) * channels, (fmean(std),) * channels
    return with_contract(network, Preprocessing(mean, std, channels))
