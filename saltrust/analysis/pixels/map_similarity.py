"""SSIM between maps of the same image, and by chance, between maps of different images.

Two maps of different images share what every map of an explainer has in common: the borders of
the lungs, the centre of the field, the texture of the method.  How similar they are is what a
similarity of two maps of one image has to be measured against.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from saltrust.analysis.pixels.ssim import SsimSettings, ssim
from saltrust.errors import UsageError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
#: Positions of images to their maps, (n, y, x).
Read = Callable[[Sequence[int]], npt.NDArray[np.float32]]

#: Pairs whose maps are held at a time.
_BLOCK = 64
#: More possible pairs than this are not listed to be drawn from.
_LISTED = 2_000_000


@dataclass(frozen=True)
class DifferentImages:
    """Similarity of maps of different images.

    Attributes
    ----------
    left, right : ndarray of int64, shape (pairs,)
        Positions in the list of images.
    ssim : ndarray of float64, shape (pairs,)
    possible : int
        Number of pairs there are.
    """

    left: IntArray
    right: IntArray
    ssim: FloatArray
    possible: int

    @property
    def mean(self) -> float:
        """Mean over the pairs; NaN without any."""
        return float(self.ssim.mean()) if len(self.ssim) else float("nan")

    @property
    def sd(self) -> float:
        """Standard deviation over the pairs (n - 1)."""
        return float(self.ssim.std(ddof=1)) if len(self.ssim) > 1 else float("nan")

    @property
    def monte_carlo_error(self) -> float:
        """Standard error of the mean that is due to drawing pairs; 0 where all were taken."""
        if len(self.ssim) >= self.possible:
            return 0.0
        share = 1 - len(self.ssim) / self.possible
        return self.sd * float(np.sqrt(share / len(self.ssim)))


def same_images(first: Read, second: Read, images: Sequence[int], settings: SsimSettings
                ) -> FloatArray:
    """SSIM of two maps of each image.

    Parameters
    ----------
    first, second : callable
        Positions of images to maps, such as :meth:`StoredMaps.read` with a position bound.
    images : sequence of int
        Positions in the cubes.
    settings : SsimSettings

    Returns
    -------
    ndarray of float64, shape (len(images),)
    """
    similarities = np.empty(len(images))
    for start in range(0, len(images), _BLOCK):
        block = images[start:start + _BLOCK]
        similarities[start:start + len(block)] = ssim(first(block), second(block), settings)
    return similarities


def different_images(first: Read, second: Read, images: Sequence[int], settings: SsimSettings, *,
                     pairs: int = 1000, seed: int = 0, ordered: bool = True,
                     patients: Sequence[str] | None = None) -> DifferentImages:
    """SSIM of maps of random pairs of different images, of different patients.

    Parameters
    ----------
    first, second : callable
        Positions of images to maps, such as :meth:`StoredMaps.read` with a position bound; the
        same one for maps of one model.
    images : sequence of int
        Positions in the cubes.
    settings : SsimSettings
    pairs : int
        Pairs to draw without repetition, at least 1; all where there are no more.
    seed : int
    ordered : bool
        Whether (i, j) and (j, i) differ: they do for maps of two models.
    patients : sequence of str, optional
        Of the images; two of one patient are alike beyond chance, and are no pair.

    Returns
    -------
    DifferentImages

    Raises
    ------
    UsageError
        If ``pairs`` is less than 1.
    """
    if pairs < 1:
        raise UsageError(f"pairs = {pairs} must be at least 1, such as 1000")
    groups = (np.arange(len(images)) if patients is None
              else np.unique(np.asarray(patients, dtype=str), return_inverse=True)[1])
    same = np.bincount(groups) if len(groups) else np.zeros(0, dtype=np.int64)
    possible = int(len(images) ** 2 - (same**2).sum()) // (1 if ordered else 2)
    left, right = draw_pairs(groups, pairs, np.random.default_rng(seed), ordered=ordered)
    similarities = np.empty(len(left))
    places = np.asarray(images, dtype=np.intp)
    for start in range(0, len(left), _BLOCK):
        block = slice(start, start + _BLOCK)
        a, at_a = np.unique(left[block], return_inverse=True)
        b, at_b = np.unique(right[block], return_inverse=True)
        similarities[block] = ssim(first(places[a].tolist())[at_a],
                                   second(places[b].tolist())[at_b], settings)
    return DifferentImages(left, right, similarities, possible)


def draw_pairs(groups: npt.ArrayLike, pairs: int, generator: np.random.Generator, *,
               ordered: bool) -> tuple[IntArray, IntArray]:
    """Pairs of places of different groups, none twice, in ascending order.

    Parameters
    ----------
    groups : array_like of int, shape (n,)
        Patient of every image.
    pairs : int
        How many to draw; all where there are no more.
    generator : numpy.random.Generator
    ordered : bool
        Whether (i, j) and (j, i) differ.

    Returns
    -------
    left, right : ndarray of int64, shape (min(pairs, possible),)
        ``left < right`` where pairs are not ordered.

    Examples
    --------
    >>> left, right = draw_pairs([0, 1, 1], 10, np.random.default_rng(0), ordered=False)
    >>> list(zip(left.tolist(), right.tolist()))
    [(0, 1), (0, 2)]
    """
    of_place: IntArray = np.asarray(groups, dtype=np.int64)
    n = len(of_place)
    possible = n * (n - 1) // (1 if ordered else 2)
    listed = possible <= max(_LISTED, pairs)
    # Of very many pairs repetitions are so rare, and so few are of one patient, that drawing
    # a few more and keeping the first is enough.
    number = np.arange(possible) if listed else np.unique(
        generator.integers(0, possible, size=4 * pairs))
    left, right = _pair_of(number, n, ordered=ordered)
    different = np.flatnonzero(of_place[left] != of_place[right])
    if pairs < len(different):
        different = np.sort(generator.choice(different, size=pairs, replace=False))
    return left[different], right[different]


def _pair_of(number: IntArray, n: int, *, ordered: bool) -> tuple[IntArray, IntArray]:
    """The pairs of different places below n by their number."""
    if ordered:
        left, other = number // max(n - 1, 1), number % max(n - 1, 1)
        return left, other + (other >= left)
    # Row by row of the triangle above the diagonal.
    ends = np.cumsum(np.arange(n - 1, 0, -1)) if n > 1 else np.zeros(0, dtype=np.int64)
    left = np.searchsorted(ends, number, side="right")
    before = np.concatenate([[0], ends])[left]
    return left.astype(np.int64), number - before + left + 1


def chance_corrected(similarity: float, chance: float) -> float:
    """Share of the way from chance to identity: 0 as similar as different images, 1 identical.

    Examples
    --------
    >>> chance_corrected(0.5, 0.5), chance_corrected(0.75, 0.5)
    (0.0, 0.5)
    """
    return (similarity - chance) / (1 - chance) if chance < 1 else float("nan")
