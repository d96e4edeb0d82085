"""Growing a region from segments, best attribution density first: the second half of XRAI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.int32]

# Densities that differ by less, relative to the largest attribution, are compared exactly.
_CLOSE = 1e-9


@dataclass(frozen=True)
class Segmentation:
    """Overlapping segments of an image, prepared for being added one after the other.

    Pixels that lie in the very same segments are one atom: sums over segments are sums over a
    few thousand atoms instead of a hundred thousand pixels.

    Attributes
    ----------
    size : (int, int)
        Height and width.
    masks : sequence of ndarray of int32
        Flat positions of each segment's pixels, ascending.
    atom : ndarray of int, shape (H * W,)
        Which atom each pixel belongs to.
    members : ndarray of float64, shape (atoms, segments)
        1 where the atom lies in the segment.
    """

    size: tuple[int, int]
    masks: Sequence[Pixels]
    atom: npt.NDArray[np.intp]
    members: Floats

    @classmethod
    def of(cls, masks: Sequence[Pixels], size: tuple[int, int]) -> Segmentation:
        """Find the atoms of segments."""
        # The sum of a random number per segment tells apart which segments a pixel lies in.
        numbers = np.random.default_rng(0).integers(2**64, size=len(masks), dtype=np.uint64)
        signature = np.zeros(size[0] * size[1], dtype=np.uint64)
        for number, pixels in zip(numbers, masks, strict=True):
            signature[pixels] += number
        values, atom = np.unique(signature, return_inverse=True)
        members = np.zeros((len(values), len(masks)))
        for position, pixels in enumerate(masks):
            members[atom[pixels], position] = 1
        return cls(size, masks, atom, members)


@dataclass(frozen=True)
class Regions:
    """What growing a region gave.

    Attributes
    ----------
    heatmap : ndarray of float64, shape (H, W)
        Of each pixel, the density with which it was added.
    order : ndarray of int32, shape (H, W)
        When it was added, from 0; the pixels that never were come last, together.
    segments : list of int
        Which segment was added at each step.
    gains : list of float
        Mean attribution of the pixels that each step added.
    """

    heatmap: Floats
    order: npt.NDArray[np.int32]
    segments: list[int]
    gains: list[float]


def grow_regions(attribution: Floats, segmentation: Segmentation,
                 min_pixels: int = 50) -> Regions:
    """Add segment after segment to a region, always the one of highest density of attribution.

    The density of a segment is the mean attribution of those of its pixels that are not in the
    region yet; a segment with fewer than ``min_pixels`` such pixels is dropped.  Pixels that no
    segment added get the mean attribution of all of them.

    Sums are carried along from step to step, and each density that decides is then computed
    afresh from the pixels, so that order and values are those of computing everything anew.

    Parameters
    ----------
    attribution : ndarray of float64, shape (H, W)
        Finite.
    segmentation : Segmentation
        Of the same size.
    min_pixels : int
        At least 1.

    Returns
    -------
    Regions

    References
    ----------
    Kapishnikov, Bolukbasi, Viegas, Terry 2019, "XRAI: better attributions through regions",
    algorithm 1.
    """
    flat = np.ascontiguousarray(attribution, dtype=np.float64).ravel()
    n_atoms = len(segmentation.members)
    atom_sum = np.bincount(segmentation.atom, weights=flat, minlength=n_atoms)
    atom_area = np.bincount(segmentation.atom, minlength=n_atoms).astype(np.float64)
    sums, areas = atom_sum @ segmentation.members, atom_area @ segmentation.members
    close = _CLOSE * float(np.abs(flat).max(initial=0.0))
    free = np.ones(len(flat), dtype=bool)
    heatmap = np.empty(len(flat))
    order = np.empty(len(flat), dtype=np.int32)
    segments: list[int] = []
    gains: list[float] = []
    while (areas >= min_pixels).any():
        # Areas are sums of whole numbers, and so exact.
        density = np.where(areas >= min_pixels, sums / np.maximum(areas, 1), -np.inf)
        best, gain, pixels = _densest(np.flatnonzero(density >= density.max() - close), flat,
                                      free, segmentation)
        heatmap[pixels], order[pixels], free[pixels] = gain, len(segments), False
        segments.append(best)
        gains.append(gain)
        added = np.unique(segmentation.atom[pixels])
        sums -= atom_sum[added] @ segmentation.members[added]
        areas -= atom_area[added] @ segmentation.members[added]
    if free.any():
        heatmap[free], order[free] = flat[free].mean(), len(segments)
    size = segmentation.size
    return Regions(heatmap.reshape(size), order.reshape(size), segments, gains)


def _densest(candidates: npt.NDArray[np.intp], flat: Floats, free: npt.NDArray[np.bool_],
             segmentation: Segmentation) -> tuple[int, float, Pixels]:
    """The first segment of the highest density, that density, and the pixels it adds."""
    best: tuple[int, float, Pixels] | None = None
    for candidate in candidates.tolist():
        pixels = segmentation.masks[candidate]
        pixels = pixels[free[pixels]]
        gain = float(flat[pixels].mean())
        if best is None or gain > best[1]:
            best = candidate, gain, pixels
    assert best is not None
    return best
