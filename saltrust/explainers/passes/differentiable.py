"""Maps of rectified signals as differentiable functions of the weights, to train through.

The maps are those of :func:`saltrust.explainers.methods.guided.guided_backprop` and
:func:`~saltrust.explainers.methods.guided.deconvnet`, with the graph of their own computation: the
rule
is put on the nodes of the forward graph, as for the explainers, and the way back is recorded.
A loss of the map then reaches the weights by both roads on which they shape it, the way back
(whose convolutions are transposed) and the way up (whose signs and derivatives it uses).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from saltrust.errors import UsageError, nearest
from saltrust.explainers.passes.forward import check_logits
from saltrust.explainers.passes.rectifiers import (
    CopiedBack,
    WrittenOut,
    deconvolution,
    guided,
    rectifier_rule,
    unknown_functions,
    works_on_views,
    writes_rectifiers,
)
from saltrust.explainers.passes.visibility import warn_of

#: Rules by the name of the explainer whose map they give.
RULES: dict[str, Callable[[Any], Any]] = {"guided_backprop": guided, "deconvnet": deconvolution}

# Networks of which it was said, or need not be said, what keeps its gradient.
_CHECKED: WeakSet[nn.Module] = WeakSet()

#: Given logits (B, K), how much of each enters what is explained, (B, K).
Choice = Callable[[Tensor], Tensor]


def differentiable_map(module: nn.Module, inputs: Tensor, choice: Choice, rule: str) -> Tensor:
    r"""Guided backpropagation or deconvnet with a graph back to the weights.

    What is explained is one number per image, :math:`s = \sum_k c_k\,\mathrm{logit}_k`; the map is
    the signal :math:`R` that arrives at the inputs from it under the rule.  With one
    :math:`c_k = 1` and else 0 it is, summed over channels, the map of the explainer of that name.

    Parameters
    ----------
    module : torch.nn.Module
        Returns logits of shape (B, K).  It is run in evaluation mode, with the running
        statistics of its normalisations and without dropout, as when its maps are generated
        (in training mode, images of a batch would enter each other's maps); the mode of every
        part is put back.
    inputs : Tensor, shape (B, C, H, W), floating
    choice : callable
        Turns the detached logits into the weights :math:`c`, shape (B, K).
    rule : {'guided_backprop', 'deconvnet'}

    Returns
    -------
    Tensor, shape (B, C, H, W), dtype of ``inputs``
        Raw and signed.  Its gradient with respect to every parameter on which it depends can be
        taken; rectifiers switch at single points, where it has none.

    Raises
    ------
    UsageError
        If there is no such rule.
    DataError
        If the network returns no logits, has no rectifier, or hides some (``torch.compile``).

    Examples
    --------
    >>> network = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.ReLU(),
    ...                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 1))
    >>> for weight, value in zip(network.parameters(), (2.0, 3.0, 0.0), strict=True):
    ...     _ = torch.nn.init.constant_(weight, value)
    >>> signal = differentiable_map(network, torch.ones(1, 1, 1, 1), torch.ones_like,
    ...                             "guided_backprop")
    >>> signal.item()
    12.0
    >>> torch.autograd.grad(signal.sum(), network[0].weight)[0].flatten().tolist()
    [3.0, 3.0]
    """
    if rule not in RULES:
        raise UsageError(f"rule {rule!r} is not known; {nearest(rule, RULES)}")
    inputs = inputs.detach().requires_grad_()
    # Under autocast to float16, signals would vanish on their way back.
    full = torch.autocast(inputs.device.type, enabled=False)
    with _evaluated(module), torch.enable_grad(), full:
        logits = _run(module, inputs)
        if works_on_views(logits):
            with CopiedBack():
                logits = _run(module, inputs)
        if module not in _CHECKED:
            _CHECKED.add(module)
            _warn_of_what_keeps_its_gradient(module, inputs, logits, rule)
        explained = (logits * choice(logits.detach())).sum()
        with rectifier_rule(RULES[rule], explained):
            (signal,) = torch.autograd.grad(explained, inputs, create_graph=True)
    return signal


def _warn_of_what_keeps_its_gradient(module: nn.Module, inputs: Tensor, logits: Tensor,
                                     rule: str) -> None:
    """Name what the rule does not reach; its derivative is needed twice, so it is left as it is."""
    unknown = [f"function {name!r} of its own" for name in unknown_functions(logits)]
    if writes_rectifiers(logits):
        with WrittenOut() as written:
            _run(module, inputs)
        unknown += written.unknown
        if written.any_written:
            unknown.append("activation that is written out in several operations")
    warn_of(module, f"training through {rule}", unknown)


def _run(module: nn.Module, inputs: Tensor) -> Tensor:
    # A copy, as a network may change its input in place.
    logits: Tensor = module(inputs.clone())
    check_logits(module, logits, len(inputs))
    return logits


@contextmanager
def _evaluated(module: nn.Module) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
