"""Explaining a batch: every method, every finding, one forward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from saltrust.explainers.bound import BoundExplainer
from saltrust.explainers.passes.context import BatchContext
from saltrust.explainers.passes.forward import (
    ForwardPass,
    outside_inference,
    recording,
    run_forward,
)
from saltrust.explainers.passes.precision import network_precision


@dataclass(frozen=True)
class Explanation:
    """What a network says of a batch, and why.

    Attributes
    ----------
    logits : Tensor, shape (B, K)
        Detached.
    heatmaps : dict of str to Tensor, shape (B, F, H, W)
        By the name of the explainer; detached.
    completeness : dict of str to Tensor, shape (B, F)
        Of the explainers that promise their map to add up to the change of the logit from a
        baseline image: by how much the sum misses it, in logits.  Sum minus change.
    """

    logits: Tensor
    heatmaps: Mapping[str, Tensor]
    completeness: Mapping[str, Tensor]


def explain(
    module: nn.Module,
    inputs: Tensor,
    outputs: Sequence[int],
    explainers: Sequence[BoundExplainer],
    *,
    context: BatchContext | None = None,
    precision: str = "float32",
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
    context : BatchContext, optional
        Names of the images, seed, black and white; without it, what the inputs tell.
    precision : {'float32', 'tf32', 'bf16'}
        Of the network's products
        (:func:`saltrust.explainers.passes.precision.network_precision`).  In bfloat16, logits
        and the methods that need ``full_precision`` are computed in float32 all the same, in a
        pass of their own.

    Raises
    ------
    UsageError
        If a layer is unknown, or the device does not have the precision.
    DataError
        If inputs lie outside the range that the context states, the network does not return
        logits, or a method does not return heatmaps.

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
    with recording():
        return _explain(module, outside_inference(inputs), outputs, explainers, context, precision)


def _explain(module: nn.Module, inputs: Tensor, outputs: Sequence[int],
             explainers: Sequence[BoundExplainer], context: BatchContext | None,
             precision: str) -> Explanation:
    fitted = [item if item.is_fitted else item.fit(module, inputs[:1]) for item in explainers]
    if context is None:
        context = BatchContext.of(inputs.detach())
    elif context.pixels is None or inputs.device.type != "cuda":
        # Inputs made from gray values lie in the range, and to look would hold up a GPU's queue.
        context.check_range(inputs)
    exact = [item for item in fitted if precision != "bf16" or item.explainer.full_precision]
    with network_precision("float32" if precision == "bf16" else precision, inputs.device):
        forward = _shared_pass(module, inputs, exact)
        heatmaps = {item.name: item(forward, outputs, context) for item in exact}
    reduced = [item for item in fitted if item not in exact]
    if reduced:
        with network_precision(precision, inputs.device):
            shared = _shared_pass(module, inputs, reduced)
            heatmaps |= {item.name: item(shared, outputs, context).to(inputs.dtype)
                         for item in reduced}
    completeness = {
        item.name: _completeness(forward, outputs, item.baseline, context, heatmaps[item.name])
        for item in fitted if item.baseline
    }
    return Explanation(forward.logits.detach(), {item.name: heatmaps[item.name] for item in fitted},
                       completeness)


def _shared_pass(module: nn.Module, inputs: Tensor,
                 explainers: Sequence[BoundExplainer]) -> ForwardPass:
    return run_forward(
        module,
        inputs,
        to_inputs=any(item.explainer.to_inputs for item in explainers),
        layers=tuple(dict.fromkeys(layer for item in explainers for layer in item.features)),
    )


def _completeness(forward: ForwardPass, outputs: Sequence[int], level: str,
                  context: BatchContext, heatmaps: Tensor) -> Tensor:
    """By how much the sums of maps miss the change of the logits from a uniform image."""
    def logits() -> Tensor:
        baseline = context.level(level, forward.inputs)
        empty = baseline.expand(-1, -1, *forward.inputs.shape[2:])
        return run_forward(forward.module, empty, to_inputs=False).logits

    of_baseline = forward.compute_once(("logits", level), logits)
    change = (forward.logits.detach() - of_baseline)[:, list(outputs)]
    # The sum runs over 100,000 pixels that cancel each other; MPS has no float64.
    exact = heatmaps.cpu() if heatmaps.device.type == "mps" else heatmaps
    total = exact.sum(dim=(2, 3), dtype=torch.float64)
    return (total - change.to(total.device)).to(heatmaps)
