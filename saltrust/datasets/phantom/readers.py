"""Readers of the phantom: the truth, and two experts who differ from it in known ways.

An expert's outline is the truth seen through a smooth displacement of a few pixels, drawn a
little too wide, with an unsteady hand; smaller and later instances of a finding may be
overlooked, a finding missed, another imagined.  Since the errors have a length of their own
and not one in proportion to the finding, overlap suffers where a finding is small, thin,
ragged or in many parts: ``BUILT_IN_EFFECTS``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

from saltrust.cache.collection import Annotation
from saltrust.cache.rle import encode
from saltrust.cache.schema import CHEXLOCALIZE_FINDINGS
from saltrust.datasets.phantom.anatomy import Anatomy
from saltrust.datasets.phantom.fields import Field, Mask, smooth_noise
from saltrust.datasets.phantom.findings import DRAWERS

#: The reference reader, whose masks are the truth.
REFERENCE = "reference"

#: Sign of the slope of the experts' accuracy on each min-max normalised shape descriptor, over
#: all positive pairs of image and finding: what an analysis of a large phantom must find.  Hits
#: depend on the other two descriptors too weakly, or too much through size, to be promised.
BUILT_IN_EFFECTS: dict[str, dict[str, int]] = {
    "iou": {"n_instances": -1, "area_ratio": 1, "elongation": -1, "irrectangularity": -1},
    "hit": {"area_ratio": 1, "elongation": -1},
}

_EIGHT = np.ones((3, 3), dtype=bool)
_READING = 32


@dataclass(frozen=True)
class Expert:
    """How one simulated expert errs; lengths are fractions of the image size.

    Attributes
    ----------
    name : str
    displacement : float
        Standard deviation of the smooth shift of outlines, in each direction.
    widening : float
        How far outside the border the expert draws.
    tremor : float
        Standard deviation of the short-ranged noise of the outline.
    overlooked : float
        Probability that an instance beside the largest is left out.
    haste : float
        Relative growth of the displacement with every further instance to be drawn.
    missed : float
        Probability that a finding is not seen at all.
    imagined : float
        Probability that an absent finding is drawn.
    aim : float
        Standard deviation of the most representative point about its place.
    """

    name: str
    displacement: float
    widening: float
    tremor: float
    overlooked: float
    haste: float
    missed: float
    imagined: float
    aim: float


EXPERTS = (
    Expert("expert-1", 0.007, 0.002, 0.002, 0.15, 0.10, 0.015, 0.015, 0.006),
    Expert("expert-2", 0.014, 0.004, 0.004, 0.40, 0.30, 0.040, 0.030, 0.014),
)


def annotate(mask: Mask, jitter: tuple[float, float] = (0.0, 0.0)) -> Annotation:
    """Annotation of a mask: its code, its contours, and the pixel deepest in its largest part.

    Parameters
    ----------
    mask : ndarray of bool, shape (size, size)
        Not empty.
    jitter : tuple of float
        Rows and columns by which the point is off.
    """
    parts, n_parts = ndimage.label(mask, structure=_EIGHT)
    largest = int(np.argmax(np.bincount(parts.ravel())[1:])) + 1
    rows, columns = ndimage.find_objects(parts)[largest - 1]
    # The border of the image is a border of the instance too.
    depth = ndimage.distance_transform_edt(np.pad(parts[rows, columns] == largest, 1))
    row, column = np.unravel_index(int(np.argmax(depth)), depth.shape)
    point = np.round([rows.start + row - 1 + jitter[0], columns.start + column - 1 + jitter[1]])
    inside = np.clip(point, 0, np.array(mask.shape) - 1)
    return Annotation(encode(mask), int(n_parts), ((float(inside[0]), float(inside[1])),))


def read(expert: Expert, finding: str, truth: Mask, anatomy: Anatomy,
         rng: np.random.Generator) -> Annotation:
    """What an expert makes of one finding in one image.

    Parameters
    ----------
    expert : Expert
    finding : str
        One of the ten, for what an expert who imagines it would draw.
    truth : ndarray of bool, shape (size, size)
    anatomy : Anatomy
        Of the image.
    rng : numpy.random.Generator

    Returns
    -------
    Annotation
        Its point lies deep in the expert's own outline, give or take the expert's aim.
    """
    size = anatomy.size
    if truth.any():
        seen = truth if rng.random() >= expert.missed else None
    else:
        imagines = rng.random() < expert.imagined
        seen = DRAWERS[finding](anatomy, rng, 1.0).mask if imagines else None
    if seen is None or not seen.any():
        return empty_annotation(size)
    drawn = _outlined(*_noticed(seen, expert, rng), expert, rng)
    off = rng.normal(0, expert.aim * size, 2)
    return annotate(drawn, (float(off[0]), float(off[1])))


@lru_cache(maxsize=8)
def empty_annotation(size: int) -> Annotation:
    """What a reader leaves who sees nothing: an empty mask, no contour, no point."""
    return Annotation(encode(np.zeros((size, size), dtype=bool)), 0)


def _noticed(truth: Mask, expert: Expert, rng: np.random.Generator) -> tuple[Mask, int]:
    """The instances that the expert sees, always the largest, and how many there were."""
    parts, n_parts = ndimage.label(truth, structure=_EIGHT)
    if n_parts < 2:
        return truth, n_parts
    kept = rng.random(n_parts + 1) >= expert.overlooked
    areas = np.bincount(parts.ravel())
    kept[0] = False
    kept[1 + int(np.argmax(areas[1:]))] = True
    return kept[parts], n_parts


def _outlined(truth: Mask, n_parts: int, expert: Expert, rng: np.random.Generator) -> Mask:
    """The outline as drawn: displaced, widened and unsteady; never empty."""
    size = truth.shape[0]
    displacement = expert.displacement * min(1 + expert.haste * (n_parts - 1), 2.0)
    reach = int(np.ceil(size * (4 * displacement + expert.widening + 4 * expert.tremor))) + 2
    rows, columns = np.flatnonzero(truth.any(axis=1)), np.flatnonzero(truth.any(axis=0))
    window = (slice(max(rows[0] - reach, 0), rows[-1] + reach + 1),
              slice(max(columns[0] - reach, 0), columns[-1] + reach + 1))
    inside = truth[window]
    level = _signed_distance(inside)
    shift = [displacement * size * smooth_noise(rng, size, 8)[window] for _ in range(2)]
    grid = np.indices(inside.shape).astype(np.float64)
    moved = ndimage.map_coordinates(level, grid + shift, order=1, mode="nearest")
    tremor = expert.tremor * size * smooth_noise(rng, size, 24)[window]
    drawn = np.zeros_like(truth)
    drawn[window] = moved + expert.widening * size + tremor > 0
    return drawn if drawn.any() else truth


def _signed_distance(mask: Mask) -> Field:
    """Distance in pixels to the border, positive inside, zero half-way between pixels."""
    if mask.all():
        return np.full(mask.shape, float(max(mask.shape)))
    outwards = ndimage.distance_transform_edt(~mask)
    inwards = ndimage.distance_transform_edt(mask)
    level: Field = np.where(mask, inwards - 0.5, 0.5 - outwards)
    return level


def read_all(masks: dict[str, Mask], anatomy: Anatomy,
             identity: tuple[int, int, int, int]) -> dict[tuple[str, str], Annotation]:
    """All readers' annotations of one image, keyed by (finding, reader).

    Parameters
    ----------
    masks : dict of str to ndarray of bool
        Truth of the findings wanted.
    anatomy : Anatomy
    identity : tuple of int
        Seed, patient, study and image: what the experts' errors depend on.
    """
    annotations = {}
    for finding, truth in masks.items():
        annotations[finding, REFERENCE] = (
            annotate(truth) if truth.any() else empty_annotation(anatomy.size))
        number = CHEXLOCALIZE_FINDINGS.index(finding)
        for k, expert in enumerate(EXPERTS):
            seed, *image = identity
            rng = np.random.default_rng([seed, _READING + k, *image, number])
            annotations[finding, expert.name] = read(expert, finding, truth, anatomy, rng)
    return annotations
