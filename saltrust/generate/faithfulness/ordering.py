"""In which order a map has its pixels removed: from the most relevant to the least."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from saltrust.choices import MapReading

#: Streams of random numbers of one image.
_TIES, _ORDERS, _NOISE = range(3)
#: Apart from those of the explainers, which have two numbers after the seed.
_TOPIC = 16


def stream(seed: int, image: str, topic: int, number: int = 0) -> np.random.Generator:
    """Random numbers that follow from the seed, the image's name and what they are for alone."""
    name = int.from_bytes(hashlib.sha256(image.encode()).digest()[:16], "big")
    return np.random.default_rng([seed, name, _TOPIC, topic, number])


def noise_of(seed: int, image: str, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Standard normal noise of an image, one number per pixel."""
    return stream(seed, image, _NOISE).standard_normal(size, dtype=np.float32)


def ranks_of(scores: Tensor, seed: int, image: str) -> Tensor:
    """Place of every part in the order of scores, the highest first.

    Parts of equal score come in a random order, the same for all maps of the image: in raster
    order a class activation map, half of which may be zero, would have its zeros removed from the
    top of the image down.

    Parameters
    ----------
    scores : Tensor, shape (M, h, w)
        Finite.
    seed : int
    image : str

    Returns
    -------
    Tensor of int64, shape (M, h, w)
        From 0.
    """
    flat = scores.flatten(1)
    ties = torch.from_numpy(stream(seed, image, _TIES, flat.shape[1]).permutation(
        flat.shape[1])).to(flat.device)
    order = ties[flat[:, ties].argsort(dim=1, descending=True, stable=True)]
    places = torch.arange(flat.shape[1], device=flat.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places).view(scores.shape)


def random_ranks(shape: tuple[int, int], count: int, seed: int, image: str) -> Tensor:
    """Random orders of an image, the same for all explainers, findings and models.

    Returns
    -------
    Tensor of int64, shape (count, h, w)
    """
    n = shape[0] * shape[1]
    return torch.from_numpy(np.stack([
        stream(seed, image, _ORDERS, number).permutation(n) for number in range(count)
    ])).view(count, *shape)


def read(maps: npt.NDArray[np.float32], readings: Sequence[MapReading]
         ) -> npt.NDArray[np.float32]:
    """Maps by what of them orders pixels.

    Parameters
    ----------
    maps : ndarray of float32, shape (finding, explainer, y, x)
    readings : sequence of {'raw', 'absolute'}
        Of each explainer.

    Returns
    -------
    ndarray of float32, shape of ``maps``
    """
    absolute = np.array([word == "absolute" for word in readings])
    return np.where(absolute[:, None, None], np.abs(maps), maps)


def means_of_squares(planes: Tensor, squares: tuple[int, int]) -> Tensor:
    """Mean of planes in each of equal parts.

    Parameters
    ----------
    planes : Tensor, shape (n, y, x)
    squares : (int, int)
        Divisors of y and x.

    Returns
    -------
    Tensor of float64, shape (n, *squares)
    """
    n, height, width = planes.shape
    rows, columns = squares
    return planes.double().reshape(n, rows, height // rows, columns, width // columns).mean(
        dim=(2, 4))
