"""One phantom radiograph: pixels and the true mask of every finding in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from saltrust.cache.schema import CHEXLOCALIZE_FINDINGS
from saltrust.datasets.phantom.anatomy import VIEWS, Anatomy, draw_body, draw_pose
from saltrust.datasets.phantom.fields import Mask
from saltrust.datasets.phantom.film import expose, project
from saltrust.datasets.phantom.findings import (
    DRAWERS,
    UMBRELLAS,
    heart_excess,
    mediastinal_excess,
)
from saltrust.datasets.phantom.opacities import Drawing
from saltrust.errors import UsageError, nearest

#: Strength at which an uncertain finding is drawn, where it is drawn at all.
FAINT = 0.45

_AIR = 1.10
_VESSELS = 0.26
_ATTEMPTS = 10

# Streams of random numbers, so that no part of a scene disturbs another.
_BODY, _PROJECTION, _DISEASE, _POSE, _FILM = range(5)


@dataclass(frozen=True)
class Scene:
    """One rendered image.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (size, size)
        255 is white.
    masks : mapping of str to ndarray of bool, shape (size, size)
        Truth of each of the ten findings; empty where it is absent.
    anatomy : Anatomy
        The outlines the findings were drawn into.
    """

    pixels: npt.NDArray[np.uint8]
    masks: Mapping[str, Mask]
    anatomy: Anatomy


def render(findings: Iterable[str] = (), *, faint: Iterable[str] = (), view: str = "frontal PA",
           size: int = 128, seed: int = 0, patient: int = 0, study: int = 1,
           image: int = 1) -> Scene:
    """Render one phantom radiograph.

    The patient fixes body, bones and vessels; the study the shape and place of every finding;
    the image pose and exposure.  Each has random numbers of its own, so that neither another
    image nor another finding changes what is drawn, and a scene is the same picture at every
    ``size``, but for noise.

    Parameters
    ----------
    findings : iterable of str
        What to draw, among :data:`saltrust.cache.schema.CHEXLOCALIZE_FINDINGS`.  ``"Airspace
        Opacity"`` asks for opacities of no other kind, ``"Enlarged Cardiomediastinum"`` for a
        wide mediastinum.
    faint : iterable of str
        Drawn too, at less than half the contrast or size, as an uncertain finding.
    view : str
        ``"frontal PA"`` or ``"frontal AP"``.
    size : int
        Height and width in pixels.
    seed, patient, study, image : int
        What the random numbers depend on.

    Returns
    -------
    Scene
        The mask of an umbrella finding covers all that it holds: Airspace Opacity the masks of
        Atelectasis, Consolidation, Edema and Lung Lesion, Enlarged Cardiomediastinum that of
        Cardiomegaly.

    Raises
    ------
    UsageError
        If a finding or the view is unknown, or an image size is below 32 pixels.

    Examples
    --------
    >>> scene = render(["Pleural Effusion"], size=64, seed=7)
    >>> scene.pixels.shape, scene.pixels.dtype
    ((64, 64), dtype('uint8'))
    >>> sorted(name for name, mask in scene.masks.items() if mask.any())
    ['Pleural Effusion']
    """
    if view not in VIEWS:
        raise UsageError(f"the phantom has no view {view!r}: {nearest(view, VIEWS)}")
    if size < 32:
        raise UsageError(f"a phantom of {size} pixels shows nothing: choose a size of at least 32")
    strengths = dict.fromkeys(faint, FAINT) | dict.fromkeys(findings, 1.0)
    for name in strengths:
        if name not in DRAWERS:
            raise UsageError(f"the phantom has no finding {name!r}: {nearest(name, DRAWERS)}")

    anatomy = _anatomy(strengths, view, size, (seed, patient, study, image))
    drawings = {
        name: _drawn(name, anatomy, strengths[name], (seed, patient, study))
        for name in CHEXLOCALIZE_FINDINGS if name in strengths
    }
    projection = project(anatomy, _generator(_PROJECTION, seed, patient))
    air, vessels = projection.air.copy(), projection.vessels
    attenuation = projection.soft + projection.bone
    for drawing in drawings.values():
        air *= 1 - drawing.opacity
        vessels = vessels * drawing.vessels
        attenuation += drawing.attenuation
    attenuation += _VESSELS * vessels * np.clip(1.6 * projection.air, 0, 1) - _AIR * air
    film = _generator(_FILM, seed, patient, study=study, image=image)
    pixels = expose(anatomy, attenuation, film)
    return Scene(pixels, _masks(drawings, size, anatomy), anatomy)


def _generator(stream: int, seed: int, patient: int, *, study: int = 0, image: int = 0,
               finding: int = 0) -> np.random.Generator:
    return np.random.default_rng([seed, stream, patient, study, image, finding])


def _anatomy(strengths: Mapping[str, float], view: str, size: int,
             identity: tuple[int, int, int, int]) -> Anatomy:
    seed, patient, study, image = identity
    excess = {}
    for name, draw in (("Cardiomegaly", heart_excess),
                       ("Enlarged Cardiomediastinum", mediastinal_excess)):
        rng = _disease(name, seed, patient, study)
        excess[name] = draw(rng, strengths[name]) if name in strengths else 0.0
    return Anatomy(draw_body(_generator(_BODY, seed, patient)),
                   draw_pose(view, _generator(_POSE, seed, patient, study=study, image=image)),
                   size, excess["Cardiomegaly"], excess["Enlarged Cardiomediastinum"])


def _disease(name: str, seed: int, patient: int, study: int) -> np.random.Generator:
    number = CHEXLOCALIZE_FINDINGS.index(name)
    return _generator(_DISEASE, seed, patient, study=study, finding=number)


def _drawn(name: str, anatomy: Anatomy, strength: float,
           identity: tuple[int, int, int]) -> Drawing:
    """Draw one finding, again where nothing of it reached the image."""
    rng = _disease(name, *identity)
    for _ in range(_ATTEMPTS):
        drawing = DRAWERS[name](anatomy, rng, strength)
        if drawing.mask.any():
            return drawing
    # A label without a mask would break every analysis: draw the smallest thing there is.
    mask = np.zeros((anatomy.size, anatomy.size), dtype=bool)
    mask.flat[np.argmax(anatomy.lung_level)] = True
    return Drawing(mask, 0.0, 0.4 * strength * mask)


def _masks(drawings: Mapping[str, Drawing], size: int, anatomy: Anatomy) -> dict[str, Mask]:
    masks = {}
    for name in CHEXLOCALIZE_FINDINGS:
        mask = np.zeros((size, size), dtype=bool)
        for part in (name, *UMBRELLAS.get(name, ())):
            if part in drawings:
                mask |= drawings[part].mask
        masks[name] = mask
    if masks["Cardiomegaly"].any():
        masks["Enlarged Cardiomediastinum"] |= anatomy.mediastinal_silhouette()
    return masks
