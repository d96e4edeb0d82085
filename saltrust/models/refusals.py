"""Why a network refused images: the cause as it can be seen, and the way out.

A message of torch names the operation that failed, not what was wrong before it.  So the likely
causes are tried: another number of channels, another size, another type of numbers.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from saltrust.models.eval_mode import eval_mode
from saltrust.models.user_code import describe_error

#: Sizes that published networks are made for.
_USUAL_SIZES = (224, 256, 384, 299, 512, 128, 448, 336, 192, 160, 96, 64, 32)


def refusal(module: nn.Module, inputs: Tensor, error: BaseException) -> str:
    """Why a network raised, and what to do about it.

    Parameters
    ----------
    module : torch.nn.Module
    inputs : Tensor, shape (B, C, H, W)
        What it was given.
    error : BaseException
        What it raised.

    Returns
    -------
    str
        Goes on after "cannot take 3-channel images of 320 x 320 pixels: ".
    """
    missing = _further_inputs(module)
    if missing:
        return (f"it needs {', '.join(missing)} besides the image, and is given images alone; "
                "wrap it in a module that fills them in")
    kinds = {weight.dtype for weight in module.parameters() if weight.is_floating_point()}
    if len(kinds) > 1:
        names = " and ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
        return (f"its weights are partly {names} ({describe_error(error)}); save them in one type, "
                "for example with model.float()")
    if not isinstance(error, MemoryError) and "not enough memory" not in str(error):
        channels = next((count for count in _channels(module, inputs.shape[1])
                         if _takes(module, _with_channels(inputs, count))), None)
        if channels:
            return (f"it takes {_counted(channels, 'channel')}; state channels = {channels} under "
                    "[models.input]")
        if len(inputs) > 1 and _takes(module, inputs[:1]):
            return ("it takes single images only, and batches are needed, so that its batch size "
                    f"must not be fixed ({describe_error(error)})")
        for height, width in _sizes(module, inputs):
            if _takes(module, _resized(inputs, height, width)):
                size = height if height == width else [height, width]
                return (f"it takes images of {height} x {width} ({describe_error(error)}); set "
                        f"grid = {size} at the top of the study")
        both = next(((count, side) for count in _channels(module, inputs.shape[1])
                     for side in _USUAL_SIZES[:4]
                     if _takes(module, _resized(_with_channels(inputs, count), side, side))), None)
        if both:
            return (f"it takes {_counted(both[0], 'channel')} and images of {both[1]} x {both[1]}; "
                    f"state channels = {both[0]} under [models.input] and grid = {both[1]}")
    return f"{describe_error(error)}; say --debug for all of it"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("s" if count > 1 else "")


def _further_inputs(module: nn.Module) -> list[str]:
    """Arguments of ``forward`` besides the first that must be given."""
    try:
        arguments = list(inspect.signature(module.forward).parameters.values())
    except (TypeError, ValueError):
        return []
    needed = [item.name for item in arguments if item.default is item.empty
              and item.kind in (item.POSITIONAL_OR_KEYWORD, item.KEYWORD_ONLY,
                                item.POSITIONAL_ONLY)]
    return needed[1:]


def _channels(module: nn.Module, given: int) -> Iterator[int]:
    first = next((part.in_channels for part in module.modules()
                  if isinstance(part, nn.Conv2d)), None)
    tried = {given}
    for count in (first, 1, 3, 2, 4):
        if count and count not in tried:
            tried.add(count)
            yield count


def _sizes(module: nn.Module, inputs: Tensor) -> Iterator[tuple[int, int]]:
    """Sizes that the network may be made for: what it says itself, then usual ones."""
    height, width = inputs.shape[2:]
    seen = {(height, width)}
    for size in (*_stated_sizes(module), (32 * round(height / 32), 32 * round(width / 32)),
                 *((side, side) for side in _USUAL_SIZES)):
        if min(size) > 0 and size not in seen:
            seen.add(size)
            yield size


def _stated_sizes(module: nn.Module) -> Iterator[tuple[int, int]]:
    for part in module.modules():
        for name in ("img_size", "image_size", "input_size"):
            value = getattr(part, name, None)
            if isinstance(value, int) and value > 0:
                yield value, value
            elif (isinstance(value, list | tuple) and len(value) in (2, 3)
                  and all(isinstance(side, int) for side in value)):
                yield value[-2], value[-1]


def _with_channels(inputs: Tensor, count: int) -> Tensor:
    return inputs[:, :1].expand(-1, count, -1, -1).contiguous()


def _resized(inputs: Tensor, height: int, width: int) -> Tensor:
    return nn.functional.interpolate(inputs.float(), (height, width)).to(inputs.dtype)


def _takes(module: nn.Module, inputs: Tensor) -> bool:
    with eval_mode(module), torch.no_grad():
        try:
            module(inputs)
        except Exception:  # noqa: BLE001 - any refusal is a refusal
            return False
    return True
