"""Networks that are run through ``torch.compile`` where nothing looks inside them.

Methods that take many passes (noisy copies, steps along a path, covered windows) want nothing of a
network but logits and gradients at its inputs.  These passes may go through compiled code.  Passes
that keep feature maps, change the rules of operations or attach hooks see the network as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack

from saltrust.errors import DataError, SaltrustError
from saltrust.models.user_code import describe_error

_COMPILING = ContextVar("saltrust_compiling", default=False)
_FORWARDS: WeakKeyDictionary[type[nn.Module], Callable[..., Any]] = WeakKeyDictionary()


@contextmanager
def compiling(wanted: bool) -> Iterator[None]:
    """Have networks compiled, or not, for as long as this lasts.

    Parameters
    ----------
    wanted : bool
    """
    token = _COMPILING.set(wanted)
    try:
        with ExitStack() as stack:
            if wanted:
                # One graph serves the gradients of all findings.
                from torch._functorch import config

                stack.enter_context(config.patch(donated_buffer=False))
            yield
    finally:
        _COMPILING.reset(token)


def compiles(module: nn.Module | None = None) -> bool:
    """Whether networks, or this one as it is now, are to be run through compiled code."""
    if not _COMPILING.get() or module is None:
        return _COMPILING.get()
    # What stands on a single object, or was compiled already, is called as it is.
    if "forward" in module.__dict__ or isinstance(module, torch.jit.ScriptModule):
        return False
    return not any(part._forward_hooks or part._forward_pre_hooks or part._backward_hooks
                   for part in module.modules() if part is not module)


def run_compiled(module: nn.Module, inputs: Tensor) -> Any:
    """What a network makes of its inputs, by compiled code; hooks of its own act as always.

    Parameters
    ----------
    module : torch.nn.Module
        In evaluation mode, none of whose parts has hooks (:func:`compiles`).
    inputs : Tensor
    """
    by_itself, kind = module.forward, type(module)
    # Networks of one class share what was compiled; their weights are arguments to it.
    compiled = _FORWARDS.setdefault(kind, torch.compile(kind.forward))

    def forward(*args: Any, **keywords: Any) -> Any:
        # Begun by the network's own hook, it is to see the operations.
        if _get_current_function_mode_stack():  # type: ignore[no-untyped-call]
            return by_itself(*args, **keywords)
        return compiled(module, *args, **keywords)

    module.forward = forward
    try:
        return module(inputs)
    finally:
        del module.forward


def try_compiled(module: nn.Module, inputs: Tensor, output: int, name: str) -> None:
    """Compile a network and its way back, to learn now whether that is possible.

    Parameters
    ----------
    module : torch.nn.Module
    inputs : Tensor, shape (B, C, H, W)
        On its device.
    output : int
        A logit to go back from.
    name : str
        Of the model, for the message.

    Raises
    ------
    DataError
        If torch cannot compile it here; the message says how to go on.
    """
    from saltrust.explainers.passes.forward import run_forward

    try:
        forward = run_forward(module, inputs)
        forward.gradient(output, forward.inputs)
    except (SaltrustError, torch.cuda.OutOfMemoryError):
        raise
    except Exception as error:
        raise DataError(f"model {name!r} cannot be run through torch.compile on "
                        f"{inputs.device.type} ({describe_error(error)}); leave `compile` out of "
                        "[generate]") from error
