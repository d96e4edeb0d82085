"""What a network hides from the rules of explainers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from saltrust.errors import DataError

_log = logging.getLogger(__name__)
_WARNED: WeakKeyDictionary[nn.Module, set[tuple[str, str]]] = WeakKeyDictionary()

Node = Any


def refuse_compiled(module: nn.Module, method: str) -> None:
    """Refuse networks whose operations cannot be intercepted.

    Raises
    ------
    DataError
        If a part of the network was compiled by ``torch.jit``.
    """
    if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
        raise DataError(f"{type(module).__name__} was compiled by torch.jit, which hides its "
                        f"operations from {method}; use the network as it was before")


def nodes_of(values: Tensor) -> Iterator[Node]:
    """Every node of the graph that leads to a tensor, once."""
    seen: set[Node] = set()
    waiting = [values.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        waiting.extend(source for source, _ in node.next_functions)


def own_function(node: Node) -> str:
    """Name of a ``torch.autograd.Function`` that a network brings along; else empty."""
    kind = getattr(type(node), "_forward_cls", None)
    if kind is None or str(kind.__module__).startswith(("saltrust.", "torch.")):
        return ""
    return str(kind.__name__)


def warn_of_own_functions(module: nn.Module, logits: Tensor, method: str) -> None:
    """Say once which functions of a network's own keep their gradient under a method's rules."""
    names = dict.fromkeys(own_function(node) for node in nodes_of(logits))
    warn_of(module, method, [f"function {name!r} of its own" for name in names if name])


def warn_of(module: nn.Module, method: str, what: list[str]) -> None:
    """Say once, for a network, what a method could not give its rule."""
    told = _WARNED.setdefault(module, set())
    new = [one for one in what if (method, one) not in told]
    told.update((method, one) for one in new)
    if new:
        _log.warning("%s: the %s of %s keeps its plain gradient, as it is not known which "
                     "activation it is; write it with the functions of torch.nn.functional",
                     method, ", ".join(new), type(module).__name__)
