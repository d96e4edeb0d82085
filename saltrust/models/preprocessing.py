"""From stored gray values to what a model takes: one declaration, kept in the card."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from saltrust.errors import DataError, SaltrustError, nearest
from saltrust.models.transfers import to_device
from saltrust.reading import shown

#: A gray value is repeated for each; no network for radiographs takes more.
MOST_CHANNELS = 1024


@dataclass(frozen=True)
class Preprocessing:
    """How a model wants its input.

    A gray value ``g`` of 0..255 becomes ``v = low + (high - low) * g / 255``, is repeated to
    ``channels`` channels, and channel ``c`` becomes ``(v - mean[c]) / std[c]``.

    Attributes
    ----------
    mean, std : tuple of float
        One per channel, in units of the input range.
    channels : int
        At least 1.
    input_range : (float, float)
        What black (0) and white (255) are before ``mean`` and ``std`` are applied.

    Raises
    ------
    DataError
        If the numbers do not belong together: a length other than ``channels``, a ``std`` that
        is not positive, a range without extent.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: int
    input_range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise DataError(f"preprocessing: channels must be at least 1, not {self.channels}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels or not all(map(math.isfinite, values)):
                raise DataError(f"preprocessing: {name} must be {self.channels} finite numbers, "
                                f"one per channel, not {shown(list(values))}")
        if min(self.std) <= 0:
            raise DataError(f"preprocessing: std must be positive, not {shown(list(self.std))}")
        if (len(self.input_range) != 2 or not all(map(math.isfinite, self.input_range))
                or not self.input_range[0] < self.input_range[1]):
            raise DataError("preprocessing: range must be [black, white], two numbers with black "
                            f"below white, not {shown(list(self.input_range))}")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the card."""
        return {name: list(value) if isinstance(value, tuple) else value
                for name, value in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Preprocessing:
        """What a table of plain values says: a card, a study file, a network's own attribute.

        Parameters
        ----------
        content : mapping
            ``mean`` and ``std`` (one number per channel, or one for all; both absent: 0 and 1),
            ``channels`` (absent: as many as ``mean`` has), ``range`` or ``input_range`` (absent:
            0 to 1), ``preset`` (a name of :data:`PRESETS`, whose values the others replace).

        Raises
        ------
        DataError
            If a key is unknown, a value is no number, or the numbers do not belong together.

        Examples
        --------
        >>> Preprocessing.from_dict({"mean": [0.5], "std": [0.25]}) == GRAY
        True
        >>> Preprocessing.from_dict({"channels": 1, "range": [-1024, 1024]}).input_range
        (-1024.0, 1024.0)
        """
        unknown = [key for key in content if key not in _KEYS]
        if unknown or ("range" in content and "input_range" in content):
            wrong = f"not {shown(unknown[0])}" if unknown else "and `range` once"
            raise DataError(f"preprocessing may have {', '.join(_KEYS[:-1])}, {wrong}")
        if content.get("preset"):
            name = str(content["preset"])
            if name not in PRESETS:
                raise DataError(f"preprocessing: preset {shown(name)} is not known; "
                                f"{nearest(name, PRESETS)}")
            preset = PRESETS[name].as_dict()
            if "range" in content:
                del preset["input_range"]
            return cls.from_dict({**preset, **{key: value for key, value in content.items()
                                               if key != "preset"}})
        try:
            mean, std = (_numbers(content.get(key)) for key in ("mean", "std"))
            if bool(mean) != bool(std):
                raise DataError("preprocessing needs both mean and std, or neither, for values "
                                f"that stay as they are: {shown(dict(content))}")
            if len(mean) != len(std):
                raise DataError(f"preprocessing: mean has {len(mean)} numbers and std {len(std)}, "
                                "of which there must be one per channel")
            channels = int(content.get("channels") or max(len(mean), len(std)))
            if not channels:
                raise DataError("preprocessing needs channels, or mean and std, or a preset: "
                                f"{shown(dict(content))}")
            if channels > MOST_CHANNELS:
                raise DataError(f"preprocessing: channels = {shown(channels)} must be at most "
                                f"{MOST_CHANNELS:,}")
            low, high = content.get("range", content.get("input_range", (0.0, 1.0)))
            mean, std = (_per_channel(values, channels)
                         for values in (mean or (0.0,), std or (1.0,)))
            return cls(mean, std, channels, (float(low), float(high)))
        except SaltrustError:
            raise
        except Exception as error:
            raise DataError("preprocessing must have mean, std, channels and range, all "
                            f"numbers: {error!r:.200} in {shown(dict(content))}") from error


_KEYS = ("preset", "channels", "mean", "std", "range", "input_range")


def _numbers(values: Any) -> tuple[float, ...]:
    if values is None:
        return ()
    if isinstance(values, int | float):
        return (float(values),)
    return tuple(float(value) for value in values)


def _per_channel(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return values * channels if len(values) == 1 else values


#: Statistics of the photographs that torchvision's weights were trained on.
IMAGENET = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 3)

#: What the published InceptionV3 weights expect: values in [-1, 1].
INCEPTION = Preprocessing((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 3)

#: One channel, about centred: radiographs fill the whole range.
GRAY = Preprocessing((0.5,), (0.25,), 1)

#: Radiographs as torchxrayvision scales them, whatever their bit depth.
TORCHXRAYVISION = Preprocessing((0.0,), (1.0,), 1, (-1024.0, 1024.0))

#: By the names of a study's ``[models.input]``.
PRESETS = {"imagenet": IMAGENET, "torchxrayvision": TORCHXRAYVISION, "gray": GRAY}


def to_input(
    pixels: npt.NDArray[np.uint8] | Tensor,
    preprocessing: Preprocessing,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Turn gray values into a batch for a model.

    Parameters
    ----------
    pixels : uint8, shape (batch, height, width)
        Gray values, 255 is white.
    preprocessing : Preprocessing
    device : torch.device
        The pixels travel as bytes and become floats there.

    Returns
    -------
    Tensor of float32, shape (batch, channels, height, width)

    Raises
    ------
    DataError
        If the pixels are not uint8 (whose range is then known) or not three-dimensional.

    Examples
    --------
    >>> pixels = np.array([[[0, 255]]], np.uint8)
    >>> to_input(pixels, Preprocessing((0.5,), (0.5,), 1)).tolist()
    [[[[-1.0, 1.0]]]]
    """
    if isinstance(pixels, np.ndarray):
        if pixels.dtype != np.uint8:
            raise DataError(f"pixels must be uint8 gray values of 0..255, not {pixels.dtype}")
        # torch cannot share memory that may not be written, such as a read-only memory map.
        pixels = torch.from_numpy(np.require(pixels, requirements=["C", "W"]))
    if pixels.dtype != torch.uint8:
        raise DataError(f"pixels must be uint8 gray values of 0..255, not {pixels.dtype}")
    if pixels.ndim != 3:
        raise DataError("pixels must have dimensions (batch, height, width), not shape "
                        f"{tuple(pixels.shape)}")
    low, high = preprocessing.input_range
    gray = to_device(pixels, device).to(torch.float32).mul_((high - low) / 255).add_(low)
    shape = (1, preprocessing.channels, 1, 1)
    mean, std = (to_device(torch.tensor(values), gray.device).view(shape)
                 for values in (preprocessing.mean, preprocessing.std))
    return (gray.unsqueeze(1) - mean) / std
