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

from saltrust.errors import DataError


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
        1 or 3.
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
        if self.channels not in (1, 3):
            raise DataError(f"preprocessing: channels must be 1 or 3, not {self.channels}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels or not all(map(math.isfinite, values)):
                raise DataError(f"preprocessing: {name} must be {self.channels} finite numbers, "
                                f"one per channel, not {list(values)}")
        if min(self.std) <= 0:
            raise DataError(f"preprocessing: std must be positive, not {list(self.std)}")
        if len(self.input_range) != 2 or not self.input_range[0] < self.input_range[1]:
            raise DataError("preprocessing: input_range must be (black, white) with black below "
                            f"white, not {list(self.input_range)}")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the card."""
        return {name: list(value) if isinstance(value, tuple) else value
                for name, value in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Preprocessing:
        """The inverse of :meth:`as_dict`.

        Raises
        ------
        DataError
            If a field is missing, unknown or not a number.
        """
        try:
            return cls(
                mean=tuple(float(value) for value in content["mean"]),
                std=tuple(float(value) for value in content["std"]),
                channels=int(content["channels"]),
                input_range=_pair(content.get("input_range", (0.0, 1.0))),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError("preprocessing must have mean, std, channels and input_range, all "
                            f"numbers: {error!r} in {dict(content)}") from None


def _pair(values: Any) -> tuple[float, float]:
    low, high = values
    return float(low), float(high)


#: Statistics of the photographs that torchvision's weights were trained on.
IMAGENET = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 3)

#: What the published InceptionV3 weights expect: values in [-1, 1].
INCEPTION = Preprocessing((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 3)

#: One channel, about centred: radiographs fill the whole range.
GRAY = Preprocessing((0.5,), (0.25,), 1)


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
    gray = pixels.to(device).to(torch.float32).mul_((high - low) / 255).add_(low)
    shape = (1, preprocessing.channels, 1, 1)
    mean = torch.tensor(preprocessing.mean, device=gray.device).view(shape)
    std = torch.tensor(preprocessing.std, device=gray.device).view(shape)
    return (gray.unsqueeze(1) - mean) / std
