"""What other packages' explainers need of a network that is lent to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

# What torch says where weights are frozen and inputs carry no gradient.
_NO_GRAPH = ("does not require grad", "does not have a grad_fn", "appears to not have been used")
_HOOKS = ("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called",
          "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_backward_hooks",
          "_backward_pre_hooks")


def with_graph_if_needed(module: nn.Module, call: Callable[[], Any]) -> Any:
    """Call a function that uses a network; again, with a graph, if it misses one.

    The network's weights carry no gradient, and neither do the inputs of a user's own explainer.
    pytorch-grad-cam and captum's explainers of layers take gradients from logits to layers, which
    they expect the weights to carry; where that fails, the graph begins at the network's inputs.

    Parameters
    ----------
    module : torch.nn.Module
    call : callable
    """
    try:
        return call()
    except (RuntimeError, AssertionError, TypeError, AttributeError, IndexError) as error:
        if not (isinstance(error, (TypeError, AttributeError, IndexError))
                or any(text in str(error) for text in _NO_GRAPH)):
            raise
        first = error
    handle = module.register_forward_pre_hook(_begin_graph)
    try:
        return call()
    except Exception as error:
        # What was wrong at first is what is to be mended, unless it was the graph.
        if any(text in str(first) for text in _NO_GRAPH):
            raise
        raise first from error
    finally:
        handle.remove()


def _begin_graph(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    if not torch.is_grad_enabled():
        return args
    return tuple(
        value.detach().clone().requires_grad_()
        if isinstance(value, Tensor) and value.is_floating_point() and not value.requires_grad
        else value for value in args)


@contextmanager
def unhooked(module: nn.Module) -> Iterator[None]:
    """Take off what hooks are put on a network for as long as this lasts."""
    kept = [(getattr(part, name), dict(getattr(part, name)))
            for part in module.modules() for name in _HOOKS if hasattr(part, name)]
    try:
        yield
    finally:
        for hooks, before in kept:
            for key in [key for key in hooks if key not in before]:
                del hooks[key]


@contextmanager
def unmarked(module: nn.Module) -> Iterator[None]:
    """Take off what attributes are put on a network's modules for as long as this lasts.

    captum leaves its rules on modules where one of them has none.
    """
    kept = [(part, set(vars(part))) for part in module.modules()]
    try:
        yield
    finally:
        for part, before in kept:
            for name in set(vars(part)) - before:
                del vars(part)[name]
