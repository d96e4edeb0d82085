"""Rules for the way back through rectifiers, whatever form the network gives them.

Rectifiers are found in the graph that autograd recorded, not among the submodules: a rectifier
called as a function, in place, or through one module in several places is a node of that graph
like any other, and each is found exactly once.  Hooks are put on the nodes of one graph and
taken off again; the network is not touched at all.

A rectifier ``y = f(x)`` that receives the signal ``R`` from above hands on

===================  ======================  ==================
rule                 ReLU                    any rectifier
===================  ======================  ==================
gradient             ``1[x > 0] R``          ``f'(x) R``
guided               ``1[x > 0] max(R, 0)``  ``f'(x) max(R, 0)``
deconvolution        ``max(R, 0)``           ``max(R, 0)``
===================  ======================  ==================

The right column is how the rules, which were written for ReLU, are read for its relatives:
the derivative stands for the indicator that it is in ReLU.  With SiLU (Swish) the derivative is
slightly negative below x = -1.28, so that a guided signal may turn negative within one layer;
the next rectifier below stops it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from saltrust.errors import DataError
from saltrust.explainers.passes.elementwise import (
    LINEAR,
    Composition,
    Compositions,
    is_rectifier,
)
from saltrust.explainers.passes.visibility import nodes_of, own_function

Node = Any
Signals = Sequence[Tensor | None]

# Nodes of torch's own rectifiers ("elu" is in all the ReLUs, too); functions that a network
# brings along are named after their class.
_RECTIFIER = re.compile("elu|silu|swish|mish|softplus", re.IGNORECASE)
# Whole stretches of a network, rectifiers included, that are one node.
_OPAQUE = re.compile("Compiled|CheckpointFunction|DifferentiableGraph")
# What an in-place operation on a view of a tensor is hidden in.
_IN_PLACE_ON_VIEW = "CopySlices"
# Nodes of operations on values one by one, of which an activation may be written.
_ELEMENTWISE = re.compile(
    "(Mul|Add|Sub|Rsub|Div|Neg|Pow|Exp|Expm1|Log|Log1P|Sigmoid|Tanh|Erf|Abs|Sign|Hardsigmoid|Hardtanh|"
    "Clamp|ClampMin|ClampMax|Where|MaskedFill|Softplus|Relu|LeakyRelu|Threshold|Sqrt|Rsqrt|"
    "Reciprocal|ToCopy|Maximum|Minimum|SpecialNdtr|SpecialErf|SpecialExpit)Backward")
_JOINS = re.compile("(Mul|Add|Sub|Div|Where|Maximum|Minimum)Backward")
# Sums are activations only where they are sums with these.
_FOLDS = re.compile("(Abs|Relu|Threshold|Clamp|ClampMin|Hardtanh|Maximum|Minimum)Backward")
_IN_PLACE = re.compile("([a-z]*elu|clamp|clamp_min|hardtanh|threshold)_")


def rectifier_nodes(logits: Tensor) -> list[Node]:
    """Nodes of the graph of ``logits`` at which something is rectified.

    Found are ReLU, ReLU6, leaky, parametric and randomised ReLU, ELU, SELU, CELU, GELU, SiLU,
    Mish, hard swish, softplus; ``clamp``, ``clamp_min``, ``hardtanh``, ``threshold`` and
    ``maximum`` at 0; ``x * sigmoid(x)``; and functions of the network's own
    (``torch.autograd.Function``) whose class is named after one of them.

    Raises
    ------
    DataError
        If there is none, or a part of the network is hidden in one node (``torch.compile``,
        ``torch.jit``, reentrant checkpoints).
    """
    nodes = []
    for node in nodes_of(logits):
        name = node.name()
        if _OPAQUE.search(name):
            raise DataError(
                f"the network hides a part of itself in {name}, whose rectifiers cannot be "
                "reached; use the network as it was before torch.compile, torch.jit or reentrant "
                "checkpointing"
            )
        if _rectifies(node, name):
            nodes.append(node)
    if not nodes:
        raise DataError(
            "the network has no rectifier (ReLU, SiLU or their relatives) between its inputs and "
            "its logits, so guided backpropagation and deconvnet would be the plain gradient; "
            "use `grad`"
        )
    return nodes


def _rectifies(node: Node, name: str) -> bool:
    if name.startswith("Threshold"):
        return bool(node._saved_threshold == 0)
    if name.startswith("Hardtanh"):
        return bool(node._saved_min_val == 0)
    if name.startswith("Clamp"):
        return _is_zero(node._saved_min)
    if name.startswith("Maximum"):
        return _is_zero(node._saved_other) or _is_zero(node._saved_self)
    if name.startswith("Mul"):
        return _is_swish(node)
    return _RECTIFIER.search(name) is not None


def _is_zero(bound: Any) -> bool:
    if isinstance(bound, Tensor):
        return not bound.requires_grad and bool((bound == 0).all())
    return bound is not None and bound == 0


def _is_swish(node: Node) -> bool:
    """Whether a product is x * sigmoid(x), and not a gate computed from something else."""
    factors = [source for source, _ in node.next_functions]
    return any(
        gate is not None and gate.name() == "SigmoidBackward0" and gate.next_functions[0] == other
        for gate, other in zip(factors, reversed(node.next_functions), strict=True)
    )


def _rectify(signals: Signals) -> tuple[Tensor | None, ...]:
    return tuple(None if signal is None else signal.clamp(min=0) for signal in signals)


def guided(node: Node) -> Any:
    """Let only positive signals into a rectifier, which then adds its own derivative."""
    return node.register_prehook(_rectify)


def deconvolution(node: Node) -> Any:
    """Hand on the positive signals, whatever went through the rectifier on the way up."""
    # x * sigmoid(x) has two ways in; the gate's carries nothing.
    through = 1 if node.next_functions[0][0].name() == "SigmoidBackward0" else 0

    def replace(backward: Signals, received: Signals) -> tuple[Tensor | None, ...]:
        (signal,) = _rectify(received)
        if signal is None:
            return tuple(backward)
        return tuple(
            None if way is None
            else signal.expand_as(way) if position == through
            else torch.zeros_like(way)
            for position, way in enumerate(backward)
        )

    return node.register_hook(replace)


@contextmanager
def rectifier_rule(rule: Callable[[Node], Any], logits: Tensor) -> Iterator[None]:
    """Have every rectifier of a graph follow a rule for as long as this lasts.

    Parameters
    ----------
    rule : callable
        :func:`guided` or :func:`deconvolution`.
    logits : Tensor
        With the graph that leads to them.

    Raises
    ------
    DataError
        If the graph has no rectifier, or a part of the network is hidden in one node.
    """
    with ExitStack() as hooks:
        for node in rectifier_nodes(logits):
            hooks.callback(rule(node).remove)
        yield


def unknown_functions(logits: Tensor) -> list[str]:
    """Functions of a network's own that are not named after a rectifier."""
    names = dict.fromkeys(own_function(node) for node in nodes_of(logits))
    return [name for name in names if name and not _RECTIFIER.search(name)]


def writes_rectifiers(logits: Tensor) -> bool:
    """Whether the graph has operations that together may be a rectifier.

    They join two functions of one tensor, value by value, or mask one.
    """
    return any(_may_be_written(node, node.name()) for node in nodes_of(logits))


def _may_be_written(node: Node, name: str) -> bool:
    if name.startswith("MaskedFill"):
        return True
    if not _JOINS.match(name) or _rectifies(node, name):
        return False
    ways = [way for way in node.next_functions if way[0] is not None]
    if name.startswith("Where") and len(ways) == 1:
        return True
    if name.startswith("Mul") and len(ways) == 1:
        return _is_mask(node._saved_other) or _is_mask(node._saved_self)
    if len(ways) != 2:
        return False
    left, right = (_sources(way) for way in ways)
    if not left.keys() & right.keys():
        return False
    folds = any(_FOLDS.match(way[0].name()) for side in (left, right) for way in side)
    return folds or not name.startswith(("Add", "Sub"))


def _sources(way: Any) -> dict[Any, None]:
    """Nodes from which a value comes by operations on values one by one."""
    seen: dict[Any, None] = {}
    waiting = [way]
    while waiting:
        way = waiting.pop()
        if way[0] is None or way in seen:
            continue
        seen[way] = None
        if _ELEMENTWISE.match(way[0].name()):
            waiting.extend(way[0].next_functions)
    return seen


def _is_mask(values: Any) -> bool:
    return (isinstance(values, Tensor) and values.numel() > 1
            and (values.dtype == torch.bool or bool(((values == 0) | (values == 1)).all())))


def works_on_views(logits: Tensor) -> bool:
    """Whether something was changed in place through a view, which hides it in the graph."""
    return any(node.name().endswith(_IN_PLACE_ON_VIEW) for node in nodes_of(logits))


class CopiedBack(TorchFunctionMode):
    """Has rectifiers that work in place make a new tensor, and copies that back.

    The values are the same, but a rectifier that worked on a view (``x.flatten(1).relu_()``)
    gets a node of its own in the graph.
    """

    def __torch_function__(self, func: Callable[..., Any], types: Sequence[type],
                           args: tuple[Any, ...] = (),
                           kwargs: Mapping[str, Any] | None = None) -> Any:
        keywords = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        plain = getattr(Tensor, name[:-1], None) or getattr(torch, name[:-1], None)
        in_place = bool(keywords.get("inplace"))
        if in_place:
            result = func(*args, **{**keywords, "inplace": False})
        elif _IN_PLACE.fullmatch(name) and plain is not None:
            result = plain(*args, **keywords)
        else:
            return func(*args, **keywords)
        return args[0].copy_(result)


class WrittenOut(TorchFunctionMode):
    """Has rectifiers that a network writes out in several operations be one node of the graph.

    Attributes
    ----------
    unknown : list of str
        Operations that may belong to an activation that is not understood.
    any_written : bool
        Whether a rectifier was written out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.any_written = False
        self.unknown: list[str] = []
        self._compositions = Compositions()

    def __torch_function__(self, func: Callable[..., Any], types: Sequence[type],
                           args: tuple[Any, ...] = (),
                           kwargs: Mapping[str, Any] | None = None) -> Any:
        keywords = dict(kwargs or {})
        given_name = str(getattr(func, "__name__", ""))
        name = given_name.strip("_")
        compositions = self._compositions.compose(name, func, args, keywords)
        if name == "setitem" and self._compositions.is_mask(args[1]):
            self.unknown.append("assignment to x[mask]")
        written = next((one for one in compositions if self._is_written(name, one)), None)
        if written is None:
            result = func(*args, **keywords)
        else:
            self.any_written = True
            result = ComposedReLU.apply(  # type: ignore[no-untyped-call]
                written.root, written.function)
            if keywords.get("inplace") or (
                    given_name.endswith("_") and not given_name.endswith("__")):
                result = args[0].copy_(result)
        self._compositions.remember(result, compositions)
        return result

    @staticmethod
    def _is_written(name: str, one: Composition) -> bool:
        if not (one.curved and one.root.requires_grad):
            return False
        if name in LINEAR and not one.joined:
            # The last factor of (x + abs(x)) / 2 belongs to it, and makes its slope 1.
            return is_rectifier(one.function, one.root, slope=1)
        several = one.joined or one.curved > 1 or name in ("where", "masked_fill")
        return several and is_rectifier(one.function, one.root)


class ComposedReLU(torch.autograd.Function):
    """A rectifier of several operations, whose derivative is that of the whole."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        result = function(values)
        ctx.save_for_backward(values.clone())
        ctx.function = function
        return result

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> tuple[Tensor, None]:
        (values,) = ctx.saved_tensors
        with torch.enable_grad():
            values = values.detach().requires_grad_()
            (slope,) = torch.autograd.grad(ctx.function(values).sum(), values)
        return signal * slope, None
