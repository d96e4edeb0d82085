"""What a method may need to know of a batch besides the network's inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from saltrust.errors import DataError, UsageError
from saltrust.explainers.methods.xrai.segments import SegmentStore

#: Names of gray levels, from which baselines and occluding patches are made.
LEVELS = ("black", "gray", "white")


@dataclass
class PassSize:
    """How many images go through a network at once where a method needs many passes.

    Attributes
    ----------
    rows : int
        Lowered when the device runs out of memory, and kept low afterwards.
    """

    rows: int = 8

    @classmethod
    def on(cls, device: torch.device) -> PassSize:
        """Eight images on the CPU, whatever its memory, as the last bits of results depend on it.

        On other devices as many as fit, from 64 down.
        """
        return cls() if device.type == "cpu" else cls(64)

    def slices(self, total: int) -> Iterator[slice]:
        """Cut ``total`` rows into parts of nearly equal size, none above ``rows``.

        Examples
        --------
        >>> list(PassSize(16).slices(25))
        [slice(0, 13, None), slice(13, 25, None)]
        """
        parts = -(-total // self.rows)
        edges = [-(-total * part // parts) for part in range(parts + 1)]
        yield from map(slice, edges[:-1], edges[1:])

    def halve(self) -> bool:
        """Make passes half as large; False where they are single images already."""
        if self.rows == 1:
            return False
        self.rows //= 2
        return True


@dataclass(frozen=True)
class BatchContext:
    """The radiographs of a batch.

    Attributes
    ----------
    images : tuple of str, length B
        Names of the images: noise is drawn by name, so that an image gets the same noise in
        every batch, for every model and finding.
    black, white : Tensor, shape (B or 1, C, 1, 1)
        What black and white pixels are in the network's inputs.
    seed : int
        Of the noise.
    pixels : ndarray, shape (B, H, W), optional
        Gray values that the inputs were made from; where absent, they are taken from the
        inputs.
    passes : PassSize
        Shared by all batches of a job.
    segments : SegmentStore
        Shared by all batches of a job.
    """

    images: tuple[str, ...]
    black: Tensor
    white: Tensor
    seed: int = 0
    pixels: npt.NDArray[np.generic] | None = None
    passes: PassSize = field(default_factory=PassSize)
    segments: SegmentStore = field(default_factory=SegmentStore)

    @classmethod
    def of(cls, inputs: Tensor, *, images: Sequence[str] = (), seed: int = 0) -> BatchContext:
        """What can be known from the inputs alone.

        Black and white are the lowest and the highest value of each channel in each image,
        and images without names are named by their position.

        Parameters
        ----------
        inputs : Tensor, shape (B, C, H, W)
        images : sequence of str
        seed : int
        """
        names = tuple(images) or tuple(map(str, range(len(inputs))))
        return cls(names, inputs.amin((2, 3), keepdim=True), inputs.amax((2, 3), keepdim=True),
                   seed)

    def check_range(self, inputs: Tensor) -> None:
        """Refuse inputs that are not between black and white.

        Parameters
        ----------
        inputs : Tensor, shape (B, C, H, W)

        Raises
        ------
        DataError
            If a value is not finite or lies outside by more than rounding; the image is named.
        """
        black, white = self.black.to(inputs), self.white.to(inputs)
        low, high = torch.minimum(black, white), torch.maximum(black, white)
        margin = 1e-4 * (high - low)
        # Written so that NaN fails.
        within = ((inputs >= low - margin) & (inputs <= high + margin)).all(dim=(1, 2, 3))
        if not bool(within.all()):
            image = int((~within).nonzero()[0])
            values = inputs[image].detach()
            raise DataError(
                f"image {self.images[image]!r} has inputs from {float(values.min()):.4g} to "
                f"{float(values.max()):.4g}, outside the range that the model states, "
                f"{float(low.min()):.4g} to {float(high.max()):.4g}: normalise it as the model's "
                "`preprocessing` says")

    def part(self, images: slice) -> BatchContext:
        """The context of some of the images."""
        if images == slice(0, len(self.images)):
            return self
        return replace(
            self,
            images=self.images[images],
            black=self.black[images] if len(self.black) > 1 else self.black,
            white=self.white[images] if len(self.white) > 1 else self.white,
            pixels=None if self.pixels is None else self.pixels[images],
        )

    def level(self, name: str, inputs: Tensor) -> Tensor:
        """Inputs that are uniformly black, gray or white.

        Parameters
        ----------
        name : {'black', 'gray', 'white'}
            Gray lies in the middle between the others.
        inputs : Tensor, shape (B, C, H, W)
            Gives device and dtype.

        Returns
        -------
        Tensor, shape (B or 1, C, 1, 1)

        Raises
        ------
        UsageError
            If there is no such level.
        """
        black, white = self.black.to(inputs), self.white.to(inputs)
        if name not in LEVELS:
            raise UsageError(f"{name!r} is no gray level; choose {', '.join(LEVELS)}")
        return {"black": black, "gray": (black + white) / 2, "white": white}[name]

    def gray(self, inputs: Tensor) -> npt.NDArray[np.float64]:
        """Gray values of the radiographs, shape (B, H, W), in whatever unit they are at hand."""
        if self.pixels is not None:
            return self.pixels.astype(np.float64)
        values: npt.NDArray[np.float64] = (
            inputs.detach().mean(dim=1).cpu().double().numpy())
        return values
