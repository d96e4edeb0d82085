"""Images of which parts are removed: what deletion, insertion and imputation leave."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional

from saltrust.generate.faithfulness.imputation import impute
from saltrust.generate.faithfulness.ordering import means_of_squares, noise_of
from saltrust.generate.faithfulness.plan import (
    BLUR_SIGMA,
    LEVELS,
    NOISE_SIGMA,
    FaithfulnessPlan,
)

#: Curves whose parts are squares, imputed from what is left.
IMPUTED = ("morf", "lerf")


@dataclass(frozen=True)
class Subject:
    """One radiograph, and what stands for what is removed from it.

    Attributes
    ----------
    gray : Tensor of float32, shape (y, x)
        0 is black, 1 is white.
    baseline : Tensor of float32, shape (y, x)
        What deletion puts in the place of pixels, and insertion starts from.
    noise : Tensor of float32, shape (y, x)
        Added where pixels are imputed.
    squares : (int, int)
        Parts that are removed and imputed as one.
    """

    gray: Tensor
    baseline: Tensor
    noise: Tensor
    squares: tuple[int, int]

    @classmethod
    def of(cls, pixels: npt.NDArray[np.uint8], image: str, plan: FaithfulnessPlan,
           device: torch.device) -> Subject:
        """A radiograph as a plan has it changed.

        Parameters
        ----------
        pixels : ndarray of uint8, shape (y, x)
        image : str
        plan : FaithfulnessPlan
        device : torch.device
        """
        gray = pixels.astype(np.float32) / np.float32(255)
        noise = np.float32(NOISE_SIGMA) * noise_of(plan.seed, image, gray.shape)
        original, baseline, added = (
            torch.from_numpy(np.asarray(plane, dtype=np.float32)).to(device)
            for plane in (gray, _baseline(gray, plan), noise))
        return cls(original, baseline, added, plan.squares)

    def parts(self, metric: str) -> tuple[int, int]:
        """Height and width of what a curve removes parts of: pixels, or squares."""
        return self.squares if metric in IMPUTED else (self.gray.shape[0], self.gray.shape[1])

    def count(self, metric: str, fraction: float) -> int:
        """How many parts are removed, or inserted, at a nominal fraction."""
        rows, columns = self.parts(metric)
        return int(np.rint(fraction * rows * columns))

    def removed(self, metric: str, fraction: float) -> float:
        """True fraction of the pixels that are removed, or still hidden."""
        rows, columns = self.parts(metric)
        part = self.count(metric, fraction) / (rows * columns)
        return 1 - part if metric == "insertion" else part

    def changed(self, metric: str, ranks: Tensor, counts: Tensor) -> Tensor:
        """The radiograph with parts removed.

        Parameters
        ----------
        metric : {'deletion', 'insertion', 'morf', 'lerf'}
        ranks : Tensor of int, shape (n, *parts)
            Place of every part in an order, the most relevant first.
        counts : Tensor of int, shape (n,)
            How many parts are removed, or of insertion inserted.

        Returns
        -------
        Tensor of float32, shape (n, y, x)
            Within the range of the radiograph and of what stands for removed parts.
        """
        limit = counts.view(-1, 1, 1)
        if metric == "lerf":
            removed = ranks >= ranks[0].numel() - limit
        elif metric == "insertion":
            removed = ranks >= limit
        else:
            removed = ranks < limit
        if metric not in IMPUTED:
            return torch.where(removed, self.baseline, self.gray)
        return self._imputed(removed)

    def _imputed(self, removed: Tensor) -> Tensor:
        """Squares become what surrounds them, smoothly, with noise."""
        height, width = self.gray.shape
        coarse = impute(means_of_squares(self.gray[None], self.squares)[0], removed)
        smooth = functional.interpolate(coarse[:, None].float(), (height, width),
                                        mode="bilinear")[:, 0]
        values = (smooth + self.noise).clamp(self.gray.min(), self.gray.max())
        rows, columns = self.squares
        hidden = removed.repeat_interleave(height // rows, 1).repeat_interleave(
            width // columns, 2)
        return torch.where(hidden, values, self.gray)


def _baseline(gray: npt.NDArray[np.float32], plan: FaithfulnessPlan) -> npt.NDArray[np.float32]:
    stated = plan.spec.baseline
    if stated == "blur":
        sigma = BLUR_SIGMA * min(gray.shape)
        return np.asarray(gaussian_filter(gray, sigma, mode="nearest"), dtype=np.float32)
    level = LEVELS[stated] if isinstance(stated, str) else stated / 255
    return np.full_like(gray, level)
