"""Changes of a radiograph by degrees: noise, blur, contrast, shift, JPEG."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from saltrust.cache.schema import PERTURBATIONS

UintArray = npt.NDArray[np.uint8]

#: The strongest degree of each kind: noise, its standard deviation over the range of gray; blur,
#: sigma over the shorter side; contrast, the part of every distance from the mean that is lost;
#: shift, in either direction over the side; JPEG, 100 less its quality.
STRONGEST = {"noise": 0.1, "blur": 0.03, "contrast": 0.6, "shift": 0.06, "jpeg": 95.0}


def amounts(kind: str, levels: int) -> npt.NDArray[np.float64]:
    """Degrees of a kind in equal steps up to the strongest.

    Examples
    --------
    >>> amounts("noise", 2).tolist()
    [0.05, 0.1]
    """
    return STRONGEST[kind] * np.arange(1, levels + 1) / levels


def perturb(pixels: UintArray, kind: str, amount: float, seed: int, image: str) -> UintArray:
    """A radiograph changed in one way.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (y, x)
    kind : {"noise", "blur", "contrast", "shift", "jpeg"}
    amount : float
        In the units of :data:`STRONGEST`; noise of every degree is the same field, scaled.
    seed : int
    image : str
        Noise and the direction of a shift follow from the seed and this name alone.

    Returns
    -------
    ndarray of uint8, shape (y, x)
    """
    values = pixels.astype(np.float64)
    if kind == "noise":
        field = _stream(seed, image, kind).standard_normal(pixels.shape)
        changed = values + 255 * amount * field
    elif kind == "blur":
        changed = ndimage.gaussian_filter(values, amount * min(pixels.shape), mode="nearest")
    elif kind == "contrast":
        changed = values.mean() + (1 - amount) * (values - values.mean())
    elif kind == "shift":
        changed = ndimage.shift(values, shift_of(pixels.shape, amount, seed, image), order=0,
                                mode="nearest")
    else:
        packed = io.BytesIO()
        Image.fromarray(pixels).save(packed, "JPEG", quality=max(1, round(100 - amount)))
        return np.array(Image.open(packed).convert("L"), dtype=np.uint8)
    return np.clip(np.round(changed), 0, 255).astype(np.uint8)


def shift_of(shape: tuple[int, ...], amount: float, seed: int, image: str) -> tuple[int, int]:
    """By how many pixels an image is moved, down and to the right; one at least.

    The direction, one of the four diagonals, is the same for every degree.
    """
    signs = _stream(seed, image, "shift").integers(0, 2, 2) * 2 - 1
    down, right = (int(sign * max(1, round(amount * side)))
                   for sign, side in zip(signs.tolist(), shape, strict=True))
    return down, right


def overlapping(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32],
                moved: tuple[int, int]) -> tuple[npt.NDArray[np.float32],
                                                 npt.NDArray[np.float32]]:
    """What two maps both show where the second is of an image that was moved.

    Parameters
    ----------
    first, second : ndarray of float32, shape (y, x)
    moved : (int, int)
        Down and to the right; (0, 0) gives both as they are.
    """
    places = [(slice(max(0, -by), side - max(0, by)), slice(max(0, by), side - max(0, -by)))
              for by, side in zip(moved, first.shape, strict=True)]
    return (first[tuple(before for before, _ in places)],
            second[tuple(after for _, after in places)])


def _stream(seed: int, image: str, kind: str) -> np.random.Generator:
    key = int.from_bytes(hashlib.sha256(image.encode()).digest()[:8], "big")
    return np.random.default_rng([seed, 8, PERTURBATIONS.index(kind), key])
