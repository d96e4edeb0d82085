"""Simulated gaze on phantoms: what the reference reader looks at, in what order, how long.

The eye starts near the middle, searches both lungs, and dwells on what there is to be seen.  All
fixations are drawn a little towards the centre of the image and are off by a little noise, as
recorded gaze is.  An image without any finding gets a search and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from saltrust.cache.collection import Fixations
from saltrust.cache.gaze_maps import within
from saltrust.datasets.phantom.anatomy import Anatomy
from saltrust.datasets.phantom.fields import Mask
from saltrust.datasets.phantom.findings import UMBRELLAS

#: No image gets more.
MOST_FIXATIONS = 80

#: Standard deviation of the noise of a fixation, as a fraction of the image size: about the
#: accuracy of an eye tracker on a radiograph that fills the screen.
NOISE = 0.02

#: How far a fixation is drawn towards the centre of the image: 0 not at all, 1 wholly.
CENTER_BIAS = 0.1

_LOOKING = 64
_SEARCH = (10, 6.0)      # least number, and mean of what is added
_DWELL = (3, 4.0)        # the same, for each finding
_SECONDS = {"search": 0.22, "dwell": 0.40}   # medians
_SPREAD = 0.35           # of the logarithm of durations


def look(masks: Mapping[str, Mask], anatomy: Anatomy, identity: tuple[int, int, int, int],
         ) -> Fixations:
    """Simulate the fixations on one image.

    Parameters
    ----------
    masks : mapping of str to ndarray of bool, shape (size, size)
        Truth of all ten findings.  Of an umbrella finding only what its parts leave is looked
        at once more.
    anatomy : Anatomy
    identity : tuple of int
        Seed, patient, study and image: what the random numbers depend on.

    Returns
    -------
    Fixations
        At most :data:`MOST_FIXATIONS`, all within the image.
    """
    seed, *image = identity
    rng = np.random.default_rng([seed, _LOOKING, *image])
    size = anatomy.size
    lungs = anatomy.lung_level > 0
    kinds, places = ["search"], [np.full((1, 2), (size - 1) / 2)]
    for kind, mask, (least, more) in [("search", lungs, _SEARCH),
                                      *(("dwell", mask, _DWELL) for mask in _targets(masks))]:
        n = least + int(rng.poisson(more))
        if mask.any():
            pixels = np.argwhere(mask)
            places.append(pixels[rng.integers(len(pixels), size=n)].astype(np.float64))
            kinds += [kind] * n
    place = np.concatenate(places)
    place += CENTER_BIAS * ((size - 1) / 2 - place)
    place += rng.normal(0.0, NOISE * size, place.shape)
    medians = np.array([_SECONDS[kind] for kind in kinds])
    seconds = medians * np.exp(_SPREAD * rng.standard_normal(len(kinds)))
    # The first fixation is central; then search and dwelling alternate at random.
    order = np.concatenate([[0], 1 + rng.permutation(len(kinds) - 1)])[:MOST_FIXATIONS]
    # Each begins when the one before ends: an eye on its way takes no time.
    onset = np.concatenate([[0.0], np.cumsum(seconds[order])[:-1]])
    fixations, _ = within(Fixations(place[order, 0], place[order, 1], seconds[order], onset),
                          (size, size))
    return fixations


def _targets(masks: Mapping[str, Mask]) -> list[Mask]:
    """Masks of what there is to dwell on, each thing once."""
    targets = []
    for name, mask in masks.items():
        rest = mask
        for part in UMBRELLAS.get(name, ()):
            rest = rest & ~masks[part]
        if rest.any():
            targets.append(rest)
    return targets
