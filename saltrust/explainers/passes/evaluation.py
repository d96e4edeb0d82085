"""Running a network on a batch: in the layout, and by the operations, that cost least.

Results are those of ``module(inputs)`` but for the last bits.  On the CPU

- inputs are laid out with channels last, which convolutions, their gradients and everything
  between them handle faster (a DenseNet121 with eight images: by half);
- batch normalisation in evaluation mode, where it is an affine map, is computed as one: the
  way back is a product with one number per channel, a third of the time of the general one;
- convolutions of single pixels (1 x 1) are computed as the matrix products that they are.

On CUDA devices inputs are laid out with channels last where products are rounded (TensorFloat-32,
bfloat16), which is how their tensor cores take them.  A network may be run through compiled code
(:mod:`saltrust.explainers.passes.compiled`), which finds cheap operations by itself.

The last two hold only where a graph is recorded, since they save on the way back.  Operations are
intercepted where Python calls them, so the network is not touched, and modules and functions are
treated alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from saltrust.explainers.passes.compiled import compiles, run_compiled
from saltrust.explainers.passes.precision import network_autocast, prefers_channels_last

#: Networks that look at memory instead of dimensions (``x.view(len(x), -1)`` of feature maps).
_IN_ROWS: WeakSet[nn.Module] = WeakSet()
_REFUSED = "view size is not compatible"

_ONCE = (1, (1, 1), [1, 1])
_NO_BORDER = (0, (0, 0), [0, 0], "valid", "same")


def evaluate(module: nn.Module, inputs: Tensor) -> Any:
    """What a network makes of a copy of its inputs.

    Parameters
    ----------
    module : torch.nn.Module
        In evaluation mode.  Not modified.
    inputs : Tensor, shape (B, C, H, W), floating
        Left as they are, even by networks that change their input in place.

    Returns
    -------
    object
        The logits, if the network is as it should be; of the inputs' type where the network
        computes in bfloat16 (:mod:`saltrust.explainers.passes.precision`).
    """
    with network_autocast(inputs.device):
        logits = _call(module, inputs)
    if isinstance(logits, Tensor) and logits.dtype == torch.bfloat16:
        return logits.to(inputs.dtype)
    return logits


def _call(module: nn.Module, inputs: Tensor) -> Any:
    run = run_compiled if compiles(module) else _run
    on_cpu = inputs.device.type == "cpu"
    last = on_cpu or prefers_channels_last(inputs.device)
    if not last or inputs.ndim != 4 or module in _IN_ROWS:
        return run(module, inputs.clone())
    # In half precision, autocast has to see the operations as they are.
    records = (torch.is_grad_enabled() and inputs.requires_grad and on_cpu
               and run is _run and not torch.is_autocast_enabled("cpu"))
    try:
        with CheaperWayBack() if records else nullcontext():
            return run(module, inputs.clone(memory_format=torch.channels_last))
    except RuntimeError as error:
        if _REFUSED not in str(error):
            raise
    _IN_ROWS.add(module)
    return run(module, inputs.clone())


def _run(module: nn.Module, inputs: Tensor) -> Any:
    return module(inputs)


class CheaperWayBack(TorchFunctionMode):
    """Has operations that are linear in evaluation mode recorded in a form whose gradient is cheap.

    It holds for tensors on the CPU that carry a gradient while the weights carry none.
    """

    def __torch_function__(self, func: Callable[..., Any], types: Sequence[type],
                           args: tuple[Any, ...] = (),
                           kwargs: Mapping[str, Any] | None = None) -> Any:
        keywords = dict(kwargs or {})
        if func is functional.batch_norm:
            return _batch_norm(*args, **keywords)
        if func is torch.conv2d:
            return _convolution(*args, **keywords)
        return func(*args, **keywords)


def _batch_norm(input: Tensor, running_mean: Tensor | None,
                running_var: Tensor | None, weight: Tensor | None = None,
                bias: Tensor | None = None, training: bool = False, momentum: float = 0.1,
                eps: float = 1e-5) -> Tensor:
    statistics = (running_mean, running_var)
    if training or running_mean is None or running_var is None or not all(
            _fits(input, constant) for constant in (*statistics, weight, bias)):
        return functional.batch_norm(input, *statistics, weight, bias, training, momentum, eps)
    scale = torch.rsqrt(running_var + eps)
    if weight is not None:
        scale = scale * weight
    shift = -running_mean * scale if bias is None else bias - running_mean * scale
    shape = (1, -1, *[1] * (input.ndim - 2))
    return torch.addcmul(shift.view(shape), input, scale.view(shape))


def _convolution(input: Tensor, weight: Tensor, bias: Tensor | None = None,
                 stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1) -> Tensor:
    pointwise = (tuple(weight.shape[2:]) == (1, 1) and groups == 1 and stride in _ONCE
                 and padding in _NO_BORDER and input.ndim == 4)
    if not pointwise or not _fits(input, weight) or not _fits(input, bias):
        return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
    return _Product.apply(input, weight.flatten(1), bias)  # type: ignore[no-any-return,no-untyped-call]


class _Product(torch.autograd.Function):
    """A linear map of the channels at every position.

    One node, and not a product between views: what later worked in place on a view would hide
    in the graph, rectifiers included.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        size = (len(values), len(weight), *values.shape[2:])
        result = torch.empty(
            size, dtype=values.dtype, memory_format=torch.channels_last)
        # Written in place: a view may not leave this function, as it could not be changed.
        rows = result.permute(0, 2, 3, 1).view(-1, len(weight))
        torch.mm(values.permute(0, 2, 3, 1).reshape(-1, weight.shape[1]), weight.t(), out=rows)
        return result if bias is None else result.add_(bias.view(1, -1, 1, 1))

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        back = functional.linear(signal.permute(0, 2, 3, 1), weight.t())
        return back.permute(0, 3, 1, 2), None, None


def _fits(values: Tensor, constant: Tensor | None) -> bool:
    """Whether a weight is a plain number to the values, of the same type."""
    return constant is None or (values.requires_grad and not constant.requires_grad
                                and constant.dtype == values.dtype)
