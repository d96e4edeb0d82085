"""From anatomy to film: what the tissues attenuate, and what the detector makes of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from saltrust.datasets.phantom.anatomy import Anatomy
from saltrust.datasets.phantom.fields import Field, smooth_noise, smooth_step
from saltrust.datasets.phantom.strokes import Canvas, curve

_HILUM = (0.085, -0.02)


@dataclass(frozen=True)
class Projection:
    """Attenuation of the healthy body, by tissue; every array has shape (size, size).

    Attributes
    ----------
    soft : ndarray
        Trunk, heart and mediastinum without lungs.
    air : ndarray
        Depth of aerated lung, 0..1, to be taken off.
    bone : ndarray
        Ribs, clavicles, spine and shoulders.
    vessels : ndarray
        Lung vessels, 0..1, to be seen only where the lung is aerated.
    """

    soft: Field
    air: Field
    bone: Field
    vessels: Field


def project(anatomy: Anatomy, rng: np.random.Generator) -> Projection:
    """Attenuation of one patient's healthy tissues.

    Parameters
    ----------
    anatomy : Anatomy
    rng : numpy.random.Generator
        The patient's own, so that all images of the patient show the same vessels and bones.
    """
    return Projection(
        _soft_tissue(anatomy),
        _aeration(anatomy),
        _ribs(anatomy, rng) + _girdle(anatomy, rng) + _spine(anatomy),
        _vessels(anatomy, rng),
    )


def _aeration(anatomy: Anatomy) -> Field:
    depth = np.sqrt(np.clip(anatomy.wall_level / 0.14, 0, 1)) * 0.75
    depth += 0.25 * np.clip(anatomy.dome_level / 0.30, 0, 1) * (depth > 0)
    heart = anatomy.edge(anatomy.heart_level, 0.006)
    midline = anatomy.edge(anatomy.midline_level, 0.007)
    below = anatomy.edge(anatomy.dome_level, 0.005)
    # Some lung lies behind the heart and behind the domes.
    return depth * (1 - 0.86 * heart) * (1 - midline) * (0.05 + 0.95 * below)


def _soft_tissue(anatomy: Anatomy) -> Field:
    body = anatomy.body
    X, Y = anatomy.points
    trunk = anatomy.trunk(X, Y)
    half = trunk + np.abs(X)
    chord = np.sqrt(np.clip(1 - (X / np.maximum(half, 0.05)) ** 2, 0, 1))
    neck = smooth_step(Y + 0.42, 0.05)
    soft = 1.75 * body.density * chord**0.6 * (0.62 + 0.38 * neck) * anatomy.edge(trunk, 0.004)
    abdomen = anatomy.edge(-anatomy.dome_level, 0.006) * anatomy.edge(anatomy.wall_level, 0.03)
    soft += 0.20 * abdomen * np.where(X < 0, 1.0, 0.85)
    soft += 0.16 * anatomy.edge(anatomy.heart_level, 0.01)
    if body.breast:
        for side in (-1, 1):
            radius = np.hypot((X - side * 0.21) / 1.15, Y - 0.13) / body.breast
            below = np.clip((Y - 0.0) / 0.22, 0, 1)
            soft += 0.16 * body.density * below * smooth_step(1 - radius, 0.09)
    if body.stomach:
        dome = body.dome_left + anatomy.pose.inspiration
        bubble = np.hypot((X - 0.15) / 1.5, Y - dome - body.stomach - 0.03)
        soft -= 0.45 * smooth_step(body.stomach - bubble, 0.02)
    return soft - 0.30 * anatomy.edge(anatomy.airway(X, Y), 0.004)


def _tube_profile(distance: Field, half: Field | float, softness: float) -> Field:
    """Attenuation of a bone cut lengthwise: a filled band whose cortex is brighter."""
    inside = smooth_step(half - distance, softness)
    return inside * (0.55 + 0.75 * np.clip(distance / half, 0, 1) ** 4)


def _ribs(anatomy: Anatomy, rng: np.random.Generator) -> Field:
    body = anatomy.body
    X, Y = anatomy.points
    xi = np.clip(np.abs(X) / anatomy.half_width(X), 0, 1.2)
    wander = 0.12 * np.where(X < 0, rng.normal(), rng.normal())
    softness = max(0.004, 0.7 * anatomy.pixel)
    steep = body.rib_droop * (0.75 + 0.8 * np.clip(Y + 0.35, 0, 1))
    cage = anatomy.edge(anatomy.wall_level + 0.014, 0.004) * smooth_step(Y + 0.385, 0.02)

    spacing = body.rib_spacing
    posterior = Y - anatomy.half_width(X) * steep * (0.46 * xi**2 - 0.24 * xi)
    phase = (posterior + 0.34) / spacing + body.rib_phase + wander
    distance = np.abs(phase - np.round(phase)) * spacing
    ribs = _tube_profile(distance, 0.19 * spacing, softness) * smooth_step(0.30 - Y, 0.06)

    front = spacing * 1.12
    anterior = Y - anatomy.half_width(X) * 0.62 * (1 - xi)
    phase = (anterior + 0.30) / front + body.rib_phase * 0.7 - wander
    distance = np.abs(phase - np.round(phase)) * front
    fading = smooth_step(xi - 0.52, 0.2) * smooth_step(0.22 - Y, 0.05) * smooth_step(Y + 0.27, 0.02)
    ribs += 0.65 * _tube_profile(distance, 0.19 * front, softness) * fading
    ribs *= 0.55 + 0.45 * anatomy.edge(anatomy.dome_level, 0.01)
    # The chest wall is seen edge-on where it turns away.
    rim = np.exp(-((anatomy.wall_level + 0.006) ** 2) / (2 * 0.006**2)) * smooth_step(0.3 - Y, 0.1)
    return 0.24 * ribs * cage + 0.12 * rim * smooth_step(Y + 0.385, 0.02)


def _girdle(anatomy: Anatomy, rng: np.random.Generator) -> Field:
    """Clavicles, shoulder blades and heads of the humeri."""
    canvas = Canvas(anatomy)
    portable = anatomy.pose.view == "frontal AP"
    lift = -0.035 if portable else 0.0
    wide = anatomy.body.half_width
    for side in (-1, 1):
        tilt = float(rng.normal(0, 0.015))
        nodes = [(0.035, -0.255), (0.14, -0.268 + 0.3 * tilt), (0.25, -0.318 + tilt),
                 (wide + 0.03, -0.335 + tilt)]
        line = curve([(side * x, y + lift) for x, y in nodes])
        canvas.line(line, 0.030, 1.0)
        canvas.line(line, 0.019, 0.70)
        # In a PA view the rolled shoulders carry the blades out of the lung fields.
        inner = wide * (0.70 if portable else 0.97)
        blade = np.array([(inner + 0.01, -0.30), (inner + 0.03, -0.02), (wide + 0.06, -0.14),
                          (wide + 0.07, -0.30)]) * (side, 1)
        canvas.polygon(blade, 0.30)
        canvas.line(blade[:2], 0.012, 0.55)
        head = np.linspace(0, 2 * np.pi, 24)
        canvas.polygon(np.column_stack([side * (wide + 0.105) + 0.05 * np.cos(head),
                                        -0.305 + lift / 2 + 0.05 * np.sin(head)]), 0.55)
        shaft = [(wide + 0.11, -0.30), (wide + 0.15, -0.10), (wide + 0.17, 0.15)]
        canvas.line(np.array([(side * x, y + lift / 2) for x, y in shaft]), 0.045, 0.5)
    return 0.27 * canvas.coverage()


def _spine(anatomy: Anatomy) -> Field:
    X, Y = anatomy.points
    column = smooth_step(0.036 - np.abs(X), 0.006)
    phase = (Y + 0.5) / 0.052
    disc = np.abs(phase - np.round(phase)) * 0.052
    body = smooth_step(disc - 0.006, 0.004)
    process = smooth_step(0.008 - np.hypot(X, (disc - 0.026) * 0.6), 0.005)
    return 0.16 * column * (0.7 + 0.3 * body) + 0.08 * process * column


def _vessels(anatomy: Anatomy, rng: np.random.Generator) -> Field:
    """Arteries and veins that fork and thin out from the hila."""
    canvas = Canvas(anatomy)
    n_roots = 7
    side = np.repeat([-1.0, 1.0], n_roots)
    reach = anatomy.body.half_width / 0.365
    start = np.column_stack([side * _HILUM[0] * reach, _HILUM[1] - 0.02 * (side > 0)])
    fan = np.radians(np.tile(np.linspace(-75, 80, n_roots), 2) + rng.normal(0, 7, 2 * n_roots))
    width, length = 0.014, np.full(side.size, 0.075)
    for _ in range(4):
        bend = fan + rng.normal(0, 0.15, fan.size)
        step = 0.5 * length[:, None]
        middle = start + step * np.column_stack([side * np.cos(fan), np.sin(fan)])
        end = middle + step * np.column_stack([side * np.cos(bend), np.sin(bend)])
        canvas.lines(np.stack([start, middle, end], axis=1), width, 0.12 + 60 * width)
        spread = rng.uniform(0.25, 0.55, fan.size)
        fan = np.concatenate([bend - spread, bend + spread * rng.uniform(0.5, 1.2, fan.size)])
        start, side = np.tile(end, (2, 1)), np.tile(side, 2)
        length = np.tile(length, 2) * rng.uniform(0.62, 0.9, fan.size)
        width *= 0.62
    return canvas.coverage()


def expose(anatomy: Anatomy, attenuation: Field, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Turn attenuation into gray values: scatter, uneven field, noise, window and markers.

    Parameters
    ----------
    anatomy : Anatomy
    attenuation : ndarray, shape (size, size)
        Natural logarithm of what the body takes from the beam.
    rng : numpy.random.Generator
        The image's own.

    Returns
    -------
    ndarray of uint8, shape (size, size)
        White where most is absorbed.
    """
    size = anatomy.size
    portable = anatomy.pose.view == "frontal AP"
    primary = np.exp(-attenuation)
    scatter = rng.uniform(0.30, 0.55) if portable else rng.uniform(0.10, 0.30)
    film = -np.log(primary + scatter * (_blurred(primary, 0.10) + 0.05))

    # Heel effect, grid cut-off and uneven soft tissue: broad gradients without meaning.
    ramp = (np.arange(size) + 0.5) / size - 0.5
    film += rng.normal(0, 0.22) * ramp[None, :] + rng.normal(0, 0.22) * ramp[:, None]
    film += 0.16 * smooth_noise(rng, size, 3) + 0.06 * smooth_noise(rng, size, 8)

    grain = rng.uniform(0.020, 0.035) if portable else rng.uniform(0.010, 0.022)
    film += grain * np.exp(0.25 * attenuation) * rng.standard_normal((size, size))
    if portable:
        film = ndimage.gaussian_filter(film, 0.003 * size, truncate=3)
    return _marked(_windowed(film, anatomy, rng), anatomy, rng)


def _blurred(field: Field, width: float) -> Field:
    """Gaussian blur of a wide ``width`` (fraction of the image), made on a coarse copy."""
    size = field.shape[0]
    coarse = min(size, 64)
    small = Image.fromarray(field.astype(np.float32)).resize((coarse, coarse), Image.Resampling.BOX)
    blurred = ndimage.gaussian_filter(np.asarray(small), width * coarse, mode="nearest", truncate=3)
    large = Image.fromarray(blurred).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(large, dtype=np.float64)


def _windowed(film: Field, anatomy: Anatomy, rng: np.random.Generator) -> Field:
    """Gray values 0..1, from a window set on the trunk as a technician would, not quite alike."""
    X, Y = anatomy.points
    seen = film[(anatomy.trunk(X, Y) > 0) & (np.abs(X) < 0.4)]
    low, high = np.quantile(seen, (0.02, 0.98))
    spread = high - low
    low += rng.normal(-0.08, 0.10) * spread
    high += rng.normal(0.06, 0.10) * spread
    value: Field = np.clip((film - low) / max(high - low, 0.2 * spread), 0, 1)
    value **= np.exp(rng.normal(0.0, 0.22))
    return value * float(rng.uniform(0.82, 1.0)) + float(rng.uniform(0.0, 0.08))


def _marked(value: Field, anatomy: Anatomy, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Quantise, with the side marker in lead and sometimes a collimated border."""
    size = anatomy.size
    x, y = rng.uniform(0.90, 0.95), rng.uniform(0.05, 0.14)
    column, row = round(x * size), round(y * size)
    stroke, tall, wide = max(1, size // 100), max(3, size // 24), max(2, size // 40)
    if rng.random() < 0.7:
        value[row : row + tall, column : column + stroke] = 0.97
        value[row + tall - stroke : row + tall, column : column + wide] = 0.97
    if rng.random() < 0.25:
        border = np.round(rng.uniform(0, 0.035, 4) * size).astype(int)
        value[: border[0]] = value[size - border[1] :] = 0.0
        value[:, : border[2]] = value[:, size - border[3] :] = 0.0
    return np.round(np.clip(value, 0, 1) * 255).astype(np.uint8)
