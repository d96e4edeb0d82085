"""Arithmetic of training: full, TF32, or mixed with half precision."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from saltrust.errors import UsageError

_AUTOCAST = {"bf16": torch.bfloat16, "float16": torch.float16}
#: Which precisions a kind of device is trained in.
_SUPPORTED = {
    "cuda": ("float32", "tf32", "bf16", "float16"),
    "cpu": ("float32", "bf16"),
    "mps": ("float32",),
}


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse a precision that a device does not have.

    Raises
    ------
    UsageError
        Names those that it has.
    """
    supported = _SUPPORTED.get(device.type, ("float32",))
    if precision not in supported:
        raise UsageError(f"precision = {precision!r} does not train on {device.type}; take one "
                         f"of {', '.join(supported)}, or another --device")
    if (device.type == "cuda" and precision == "bf16"
            and not torch.cuda.is_bf16_supported(including_emulation=False)):
        raise UsageError(f"{torch.cuda.get_device_name(device)} has no bf16; say precision = "
                         "\"float16\"")


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """The forward pass in half precision where the network bears it; else nothing."""
    if precision not in _AUTOCAST:
        return contextlib.nullcontext()
    return torch.autocast(device.type, _AUTOCAST[precision])


def gradient_scaler(precision: str, device: torch.device) -> torch.amp.GradScaler:
    """Keeps small gradients of float16 from vanishing; does nothing for other precisions."""
    return torch.amp.GradScaler(device.type, enabled=precision == "float16")


@contextlib.contextmanager
def allow_tensor_cores(precision: str) -> Iterator[None]:
    """Multiply float32 in TF32 if that is the precision, and not otherwise.

    Without this torch takes TF32 for convolutions, and not for other products.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
