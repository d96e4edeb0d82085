"""In which floating-point format a network computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch

from saltrust.errors import UsageError, nearest
from saltrust.study import HEATMAP_PRECISIONS

#: Whether networks are called in bfloat16.
_HALF = ContextVar("saltrust_half", default=False)


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse a precision that is not known or that a device does not have.

    Raises
    ------
    UsageError
        TensorFloat-32 is a format of CUDA devices; bfloat16 is offered there and on the CPU.

    Examples
    --------
    >>> check_precision("tf32", torch.device("cpu"))
    Traceback (most recent call last):
    saltrust.errors.UsageError: precision 'tf32' needs a CUDA device, ...
    """
    if precision not in HEATMAP_PRECISIONS:
        raise UsageError(f"precision {precision!r} is not known; "
                         f"{nearest(precision, HEATMAP_PRECISIONS)}")
    if precision == "tf32" and device.type != "cuda":
        raise UsageError("precision 'tf32' needs a CUDA device, and this job runs on "
                         f"{device.type}; take float32 or bf16")
    if precision == "bf16" and device.type not in ("cuda", "cpu"):
        raise UsageError(f"precision 'bf16' is not offered on {device.type}; take float32")


@contextmanager
def network_precision(precision: str, device: torch.device) -> Iterator[None]:
    """Have networks compute in a precision for as long as this lasts.

    ``float32`` means it: convolutions on CUDA devices, which torch computes in TensorFloat-32
    unless told otherwise, are computed in float32 as well.  ``tf32`` rounds the factors of
    products to 10 bits on CUDA devices.  ``bf16`` runs the convolutions and products of networks
    in bfloat16 (8 bits) by torch's autocast; what methods do with their gradients stays in
    float32, as do networks that a method calls by itself and not through
    :func:`saltrust.explainers.passes.evaluation.evaluate`.

    Parameters
    ----------
    precision : {'float32', 'tf32', 'bf16'}
    device : torch.device

    Raises
    ------
    UsageError
        If the precision is not known, or the device does not have it.
    """
    check_precision(precision, device)
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = precision == "tf32"
    token = _HALF.set(precision == "bf16")
    try:
        yield
    finally:
        _HALF.reset(token)
        matmul.allow_tf32, cudnn.allow_tf32 = before


def prefers_channels_last(device: torch.device) -> bool:
    """Whether convolutions on a CUDA device run on tensor cores, which take channels last."""
    return device.type == "cuda" and (_HALF.get() or torch.backends.cudnn.allow_tf32)


def network_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """What a network is to be called under, here and now."""
    if not _HALF.get():
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
