"""The ten findings of the phantom: heart, pleura and devices here, the lungs' own next door.

``DRAWERS`` maps each finding that is drawn on its own to its drawer.  Two findings are
umbrellas, as in CheXpert: Airspace Opacity holds the opacities of ``OPACITIES``, Enlarged
Cardiomediastinum holds Cardiomegaly.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from saltrust.datasets.phantom.anatomy import Anatomy
from saltrust.datasets.phantom.fields import Field, Mask, smooth_step
from saltrust.datasets.phantom.opacities import (
    Drawing,
    airspace_opacity,
    atelectasis,
    consolidation,
    edema,
    lung_lesion,
)
from saltrust.datasets.phantom.strokes import Canvas, curve

Drawer = Callable[[Anatomy, np.random.Generator, float], Drawing]

#: Findings whose opacities count as Airspace Opacity too.
OPACITIES = ("Atelectasis", "Consolidation", "Edema", "Lung Lesion")

#: What each umbrella finding holds.
UMBRELLAS = {"Airspace Opacity": OPACITIES, "Enlarged Cardiomediastinum": ("Cardiomegaly",)}


def heart_excess(rng: np.random.Generator, strength: float) -> float:
    """What cardiomegaly adds to the cardiothoracic ratio; borderline where uncertain."""
    return float(rng.uniform(0.10, 0.17)) if strength == 1 else float(rng.uniform(0.05, 0.07))


def mediastinal_excess(rng: np.random.Generator, strength: float) -> float:
    """What enlargement adds to the half width of the upper mediastinum."""
    return float(rng.uniform(0.022, 0.042)) * strength


def _cardiomegaly(anatomy: Anatomy, _rng: np.random.Generator, _strength: float) -> Drawing:
    return Drawing(anatomy.cardiac_silhouette())


def _enlarged_cardiomediastinum(anatomy: Anatomy, _rng: np.random.Generator,
                                _strength: float) -> Drawing:
    return Drawing(anatomy.mediastinal_silhouette())


def _pleural_effusion(anatomy: Anatomy, rng: np.random.Generator, strength: float) -> Drawing:
    """Fluid in one or both costophrenic angles: a V along chest wall and diaphragm."""
    X, Y = anatomy.points
    bottom = anatomy.body.recess + anatomy.pose.inspiration
    level = np.full(X.shape, -1.0)
    sides = (-1, 1) if rng.random() < 0.48 else ((-1,) if rng.random() < 0.5 else (1,))
    for side in sides:
        amount = rng.uniform(0.0, 1.0) ** 1.2
        height = 0.105 + 0.17 * amount
        meniscus = rng.uniform(0.04, 0.08)
        inward = np.clip(anatomy.wall_level, 0, None)
        surface = height * (0.40 + 0.60 * np.exp(-inward / meniscus))
        level = np.maximum(level, np.where(side * X > 0, surface - (bottom - Y), -1.0))
    inside = np.minimum(anatomy.wall_level, anatomy.dome_level)
    outside = np.maximum(anatomy.heart_level, anatomy.midline_level)
    mask = np.minimum(np.minimum(level, inside), -outside) > 0
    shade = smooth_step(level, max(0.006, 0.6 * anatomy.pixel))
    return Drawing(mask, rng.uniform(0.75, 0.95) * strength * shade, 0.0, 1 - shade)


def _pneumothorax(anatomy: Anatomy, rng: np.random.Generator, strength: float) -> Drawing:
    """A rim of air without vessels beside a thin pleural line, widest at the apex."""
    X, Y = anatomy.points
    side = -1 if rng.random() < 0.5 else 1
    apex = anatomy.body.apex
    width = rng.uniform(0.085, 0.20) * (0.8 if strength < 1 else 1.0)
    end, cap = rng.uniform(-0.10, 0.24), rng.uniform(0.045, 0.11)
    # The lung keeps its shape as it falls away from the chest wall.
    rest = np.clip((end - Y) / (end - apex), 0, 1) ** 0.7
    level = -anatomy.wall(X * (1 + width * rest), Y - cap * rest) - 0.001
    if rng.random() < 0.2:
        sulcus = rng.uniform(0.03, 0.05) * np.clip(1 - np.abs(Y - 0.24) / 0.10, 0, 1)
        level = np.maximum(level, sulcus - 0.002 - anatomy.wall_level)
    level = np.where(side * X > 0, level, -1.0)
    space = np.minimum(anatomy.space_level, -anatomy.heart_level)
    mask = np.minimum(level, space) > 0
    fine = max(0.0032, 0.55 * anatomy.pixel)
    # The level is no distance where the apex slopes: its slope makes it one.
    slope = np.hypot(*np.gradient(level, anatomy.pixel))
    line = np.exp(-((level / np.maximum(slope, 1.0) / fine) ** 2)) * smooth_step(space, 0.004)
    shade = smooth_step(level, fine) * (space > 0)
    attenuation = strength * (rng.uniform(0.48, 0.62) * line - 0.14 * shade)
    return Drawing(mask, 0.0, attenuation, 1 - shade)


def _central_line(anatomy: Anatomy, rng: np.random.Generator) -> list[tuple[float, float]]:
    side = -1 if rng.random() < 0.65 else 1
    tip = (-0.035, rng.uniform(-0.08, 0.03))
    if rng.random() < 0.5:
        return [(side * 0.11, -0.55), (side * 0.075, -0.36), (-0.03, -0.22), tip]
    outer = side * (anatomy.body.half_width + 0.05)
    return [(outer, rng.uniform(-0.22, -0.12)), (side * 0.27, -0.29), (side * 0.13, -0.285),
            (-0.02, -0.21), tip]


def _feeding_tube(_: Anatomy, rng: np.random.Generator) -> list[tuple[float, float]]:
    return [(0.012, -0.55), (-0.006, -0.20), (0.012, 0.08), (0.05, 0.24),
            (rng.uniform(0.10, 0.20), rng.uniform(0.26, 0.36))]


def _tracheal_tube(_: Anatomy, rng: np.random.Generator) -> list[tuple[float, float]]:
    return [(0.008, -0.56), (0.002, -0.35), (0.0, rng.uniform(-0.20, -0.15))]


def _chest_tube(anatomy: Anatomy, rng: np.random.Generator) -> list[tuple[float, float]]:
    side = -1 if rng.random() < 0.5 else 1
    wide = anatomy.body.half_width
    entry = rng.uniform(0.02, 0.16)
    tip = side * wide * rng.uniform(0.35, 0.6), rng.uniform(-0.28, -0.16)
    return [(side * (wide + 0.08), entry + 0.06), (side * (wide - 0.02), entry),
            (side * wide * 0.82, entry - 0.12), tip]


_LINES: dict[str, tuple[Callable[[Anatomy, np.random.Generator], list[tuple[float, float]]],
                        float, float]] = {
    # drawer of the course, width, share of patients with devices
    "central line": (_central_line, 0.0110, 0.50),
    "feeding tube": (_feeding_tube, 0.0120, 0.30),
    "tracheal tube": (_tracheal_tube, 0.0150, 0.30),
    "chest tube": (_chest_tube, 0.0150, 0.22),
}


def _support_devices(anatomy: Anatomy, rng: np.random.Generator, strength: float) -> Drawing:
    """Central lines, tubes and pacemakers, one to four at a time."""
    metal, outline = Canvas(anatomy), Canvas(anatomy)
    chosen = [name for name, (_, _, share) in _LINES.items() if rng.random() < share]
    pacemaker = rng.random() < 0.25
    if not chosen and not pacemaker:
        chosen = [str(rng.choice(list(_LINES)))]
    for name in chosen:
        course, width, _ = _LINES[name]
        nodes = [(x + rng.normal(0, 0.006), y + rng.normal(0, 0.006))
                 for x, y in course(anatomy, rng)]
        _draw_line(metal, outline, curve(nodes), width)
    if pacemaker:
        _draw_pacemaker(anatomy, metal, outline, rng)
    mask: Mask = outline.coverage() > 0.5
    amount = rng.uniform(0.55, 0.85) * strength
    return Drawing(mask, 0.0, amount * metal.coverage())


def _draw_line(metal: Canvas, outline: Canvas, line: Field, width: float) -> None:
    # Radiologists draw round a line, never along its very edge.
    metal.line(line, width, 0.75)
    metal.line(line, width * 0.45, 1.0)
    outline.line(line, width + 0.008)


def _draw_pacemaker(anatomy: Anatomy, metal: Canvas, outline: Canvas,
                    rng: np.random.Generator) -> None:
    x, y = anatomy.body.half_width * rng.uniform(0.66, 0.82), rng.uniform(-0.25, -0.19)
    turn = np.linspace(0, 2 * np.pi, 28)
    for canvas, margin in ((metal, 0.0), (outline, 0.004)):
        canvas.polygon(np.column_stack([x + (0.042 + margin) * np.cos(turn),
                                        y + (0.036 + margin) * np.sin(turn)]), 1.0)
    apex = anatomy.heart_width * rng.uniform(0.35, 0.5)
    floor = anatomy.body.dome_left + anatomy.pose.inspiration
    _draw_line(metal, outline, curve([(x, y), (0.14, -0.30), (0.0, -0.23), (-0.04, -0.04),
                                      (0.03, floor - 0.03), (apex, floor - 0.03)]), 0.008)
    if rng.random() < 0.6:
        _draw_line(metal, outline, curve([(x, y), (0.14, -0.285), (-0.01, -0.22),
                                          (-0.05, 0.02), (-0.02, 0.04)]), 0.008)


DRAWERS: dict[str, Drawer] = {
    "Airspace Opacity": airspace_opacity,
    "Atelectasis": atelectasis,
    "Cardiomegaly": _cardiomegaly,
    "Consolidation": consolidation,
    "Edema": edema,
    "Enlarged Cardiomediastinum": _enlarged_cardiomediastinum,
    "Lung Lesion": lung_lesion,
    "Pleural Effusion": _pleural_effusion,
    "Pneumothorax": _pneumothorax,
    "Support Devices": _support_devices,
}
