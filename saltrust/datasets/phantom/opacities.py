"""Findings inside the phantom's lungs: what replaces air, and the masks of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from saltrust.datasets.phantom.anatomy import Anatomy
from saltrust.datasets.phantom.fields import Field, Mask, smooth_noise, smooth_step
from saltrust.datasets.phantom.strokes import Canvas, curve

_EIGHT = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True)
class Drawing:
    """One finding in one image.

    Attributes
    ----------
    mask : ndarray of bool, shape (size, size)
        The truth.
    opacity : ndarray or float
        Share of the air that is replaced, 0..1.
    attenuation : ndarray or float
        Added to what the body attenuates.
    vessels : ndarray or float
        Factor on the visibility of lung vessels.
    """

    mask: Mask
    opacity: Field | float = 0.0
    attenuation: Field | float = 0.0
    vessels: Field | float = field(default=1.0)


def _tidied(mask: Mask) -> Mask:
    """Without the crumbs that a noisy outline leaves beside the finding itself."""
    parts, n_parts = ndimage.label(mask, structure=_EIGHT)
    if n_parts < 2:
        return mask
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    kept: Mask = areas >= 0.2 * areas.max()
    tidy: Mask = kept[parts]
    return tidy


def _rotated(anatomy: Anatomy, center: tuple[float, float], angle: float) -> tuple[Field, Field]:
    X, Y = anatomy.points
    x, y = X - center[0], Y - center[1]
    cos, sin = np.cos(angle), np.sin(angle)
    return cos * x + sin * y, cos * y - sin * x


def _side(rng: np.random.Generator, both: float) -> tuple[int, ...]:
    """Sides affected: both with probability ``both``, else the right or the left lung."""
    if rng.random() < both:
        return (-1, 1)
    return (-1,) if rng.random() < 0.5 else (1,)


def consolidation(anatomy: Anatomy, rng: np.random.Generator, strength: float) -> Drawing:
    """One or two dense patches, ragged or cut off by a fissure, with air bronchograms."""
    _, Y = anatomy.points
    level = np.full(Y.shape, -1.0)
    canvas = Canvas(anatomy)
    for _ in range(2 if rng.random() < 0.28 else 1):
        center = anatomy.place(rng, 0.03)
        radii = rng.uniform(0.055, 0.125), rng.uniform(0.045, 0.10)
        x, y = _rotated(anatomy, center, rng.uniform(-0.8, 0.8))
        ragged = 0.30 * smooth_noise(rng, anatomy.size, 11)
        patch = (1 - np.hypot(x / radii[0], y / radii[1]) + ragged) * min(radii)
        if rng.random() < 0.5:
            above = rng.random() < 0.5
            fissure = center[1] + (0.5 if above else -0.5) * radii[1]
            patch = np.minimum(patch, (fissure - Y) if above else (Y - fissure))
        level = np.maximum(level, patch)
        _bronchogram(canvas, rng, center, max(radii))
    mask = _tidied(np.minimum(level, anatomy.lung_level) > 0)
    mottle = 1 + 0.28 * smooth_noise(rng, anatomy.size, 44)
    amount = rng.uniform(0.42, 0.72) * strength
    opacity = amount * smooth_step(level, 0.012) * mottle * (1 - 0.9 * canvas.coverage())
    return Drawing(mask, np.clip(opacity, 0, 0.95), 0.0, 1 - 0.8 * smooth_step(level, 0.012))


def _bronchogram(canvas: Canvas, rng: np.random.Generator, center: tuple[float, float],
                 reach: float) -> None:
    """Air-filled bronchi that fan out from the hilum and fork in the patch."""
    hilum = np.array([np.sign(center[0]) * 0.08, -0.02])
    away = np.array(center) - hilum
    heading = float(np.arctan2(away[1], away[0]))
    for turn in rng.uniform(-0.5, 0.5, 3):
        start = np.array(center) - 0.6 * reach * _direction(heading + turn)
        fork = start + rng.uniform(0.5, 0.8) * reach * _direction(heading + turn)
        canvas.line(np.array([start, fork]), 0.008, 0.8)
        for spread in (-0.4, 0.4):
            end = fork + rng.uniform(0.4, 0.8) * reach * _direction(heading + turn + spread)
            canvas.line(np.array([fork, end]), 0.005, 0.6)


def _direction(angle: float) -> Field:
    return np.array([np.cos(angle), np.sin(angle)])


def edema(anatomy: Anatomy, rng: np.random.Generator, strength: float) -> Drawing:
    """Bat wings about the hila or haze over the bases, netted by thickened septa."""
    X, Y = anatomy.points
    level = np.full(X.shape, -1.0)
    basal = rng.random() < 0.35
    ragged = 0.022 * smooth_noise(rng, anatomy.size, 9)
    low = anatomy.body.dome_right + anatomy.pose.inspiration
    for side in _side(rng, 0.8):
        if basal:
            wing = 0.5 * (Y - (low - rng.uniform(0.09, 0.19))) + ragged
        else:
            reach = rng.uniform(0.115, 0.18)
            wing = reach - np.hypot((np.abs(X) - 0.10) / 0.85, (Y - 0.0) / 1.25) + ragged
            wing = np.minimum(wing, anatomy.wall_level - 0.03)
        level = np.maximum(level, np.where(side * X > 0, wing, -1.0))
    mask = _tidied(np.minimum(level, anatomy.lung_level) > 0)
    net = sum(np.exp(-((smooth_noise(rng, anatomy.size, knots) / 0.5) ** 2))
              for knots in (48, 72))
    amount = rng.uniform(0.30, 0.50) * strength
    shade = smooth_step(level, 0.025)
    return Drawing(mask, np.clip(amount * shade * (0.15 + 0.6 * net), 0, 0.9), 0.0, 1 + 0.3 * shade)


def atelectasis(anatomy: Anatomy, rng: np.random.Generator, strength: float) -> Drawing:
    """One to three plates across the lower lungs, or a collapsed wedge at the base."""
    canvas, outline = Canvas(anatomy), Canvas(anatomy)
    if rng.random() < 0.22:
        _wedge(anatomy, rng, canvas, outline)
    else:
        for _ in range(rng.choice([1, 2, 3], p=[0.55, 0.30, 0.15])):
            x, y = anatomy.place(rng, 0.035, low=-0.05)
            length, width = rng.uniform(0.09, 0.20), rng.uniform(0.010, 0.020)
            angle, bow = rng.normal(0, 0.3), rng.normal(0, 0.012)
            dx, dy = length / 2 * np.cos(angle), length / 2 * np.sin(angle)
            plate = curve([(x - dx, y - dy), (x, y + bow), (x + dx, y + dy)], 8)
            canvas.line(plate, width)
            outline.line(plate, width + 0.008)
    mask = (outline.coverage() > 0.5) & (anatomy.lung_level > 0)
    band = ndimage.gaussian_filter(canvas.coverage(), 0.0035 * anatomy.size)
    amount = rng.uniform(0.70, 0.95) * strength
    return Drawing(mask, amount * band)


def _wedge(anatomy: Anatomy, rng: np.random.Generator, canvas: Canvas, outline: Canvas) -> None:
    side = -1 if rng.random() < 0.5 else 1
    base = anatomy.body.dome_right + anatomy.pose.inspiration + 0.03
    tip = rng.uniform(0.10, 0.17)
    corners = np.array([(0.07, base - tip), (rng.uniform(0.2, 0.29), base), (0.07, base + 0.02)])
    for picture, margin in ((canvas, 0.0), (outline, 0.006)):
        picture.polygon((corners + np.array([(0, -margin), (margin, 0), (0, 0)])) * (side, 1))


def lung_lesion(anatomy: Anatomy, rng: np.random.Generator, strength: float) -> Drawing:
    """One to seven small round nodules, some larger as a mass, a few with a cavity."""
    X, Y = anatomy.points
    level = np.full(X.shape, -1.0)
    dense = np.zeros(X.shape)
    n_nodules = int(rng.choice([1, 2, 3, 4, 5, 6, 7],
                               p=[0.36, 0.20, 0.14, 0.11, 0.08, 0.06, 0.05]))
    lumps = 0.10 * smooth_noise(rng, anatomy.size, 20)
    for _ in range(n_nodules):
        radius = float(np.clip(rng.lognormal(np.log(0.028), 0.33), 0.018, 0.065))
        center = anatomy.place(rng, radius * 0.9)
        distance = np.hypot(X - center[0], Y - center[1]) / radius - lumps
        level = np.maximum(level, (1 - distance) * radius)
        ball = np.sqrt(np.clip(1 - distance**2, 0, 1))
        if radius > 0.03 and rng.random() < 0.3:
            ball *= 1 - 0.8 * smooth_step(0.5 - distance, 0.1)
        dense = np.maximum(dense, ball)
    mask = np.minimum(level, anatomy.lung_level + 0.01) > 0
    return Drawing(mask, 0.0, rng.uniform(0.45, 0.65) * strength * dense * mask)


def airspace_opacity(anatomy: Anatomy, rng: np.random.Generator, strength: float) -> Drawing:
    """Hazy patches that are no more specific finding: ground glass with a grainy texture."""
    X, _ = anatomy.points
    level = np.full(X.shape, -1.0)
    for _ in range(rng.choice([1, 2, 3], p=[0.55, 0.3, 0.15])):
        radii = rng.uniform(0.05, 0.10), rng.uniform(0.05, 0.10)
        x, y = _rotated(anatomy, anatomy.place(rng, 0.03), rng.uniform(-0.8, 0.8))
        ragged = 0.28 * smooth_noise(rng, anatomy.size, 12)
        patch = (1 - np.hypot(x / radii[0], y / radii[1]) + ragged) * min(radii)
        level = np.maximum(level, patch)
    mask = _tidied(np.minimum(level, anatomy.lung_level) > 0)
    grain = np.clip(1 + 0.4 * smooth_noise(rng, anatomy.size, 60), 0.2, 2.0)
    amount = rng.uniform(0.28, 0.44) * strength
    return Drawing(mask, np.clip(amount * smooth_step(level, 0.02) * grain, 0, 0.9), 0.0, 0.9)
