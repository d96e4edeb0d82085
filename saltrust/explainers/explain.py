"""Explaining a batch: every method, every finding, one forward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from saltrust.explainers.forward import run_forward
from saltrust.explainers.registry import BoundExplainer


@dataclass(frozen=True)
class Explanation:
    """What a network says of a batch, and why.

    Attributes
    ----------
    logits : Tensor, shape (B, K)
        Detached.
    heatmaps : dict of str to Tensor, shape (B, F, H, W)
        By the name of the explainer; detached.
    """

    logits: Tensor
    heatmaps: Mapping[str, Tensor]


def explain(
    module: nn.Module,
    inputs: Tensor,
    outputs: Sequence[int],
    explainers: Sequence[BoundExplainer],
) -> Explanation:
    """Explain some logits of a batch by several methods that share one forward pass.

    Parameters
    ----------
    module : torch.nn.Module
        Maps ``inputs`` to logits (B, K).  Left as it was found, whatever happens.
    inputs : Tensor, shape (B, C, H, W), floating
    outputs : sequence of int
        Indices of the F logits to explain.
    explainers : sequence of BoundExplainer
        From :func:`saltrust.explainers.registry.resolve`; those that name layers are fitted
        to the network here, unless they have been.

    Raises
    ------
    UsageError
        If a layer is unknown.
    DataError
        If the network does not return logits, or a method does not return heatmaps.

    Examples
    --------
    >>> import torch
    >>> from saltrust.study import ExplainerSpec
    >>> from saltrust.explainers.registry import resolve
    >>> network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    >>> methods = [resolve(ExplainerSpec(name)) for name in ("grad", "gradcam")]
    >>> found = explain(network, torch.rand(5, 1, 8, 8), [0, 1], methods)
    >>> {name: tuple(maps.shape) for name, maps in found.heatmaps.items()}
    {'grad': (5, 2, 8, 8), 'gradcam': (5, 2, 8, 8)}
    """
    fitted = [item if all(item.layers) else item.fit(module, inputs[:1]) for item in explainers]
    forward = run_forward(
        module,
        inputs,
        to_inputs=any(item.explainer.to_inputs for item in fitted),
        layers=tuple(dict.fromkeys(layer for item in fitted for layer in item.layers)),
    )
    heatmaps = {item.name: item(forward, outputs) for item in fitted}
    return Explanation(forward.logits.detach(), heatmaps)
