"""The body of the phantom: its proportions, its pose before the detector, and its outlines.

Everything is geometry in *patient coordinates*: X grows towards the image's right (the
patient's left), Y downwards, and one unit is the height of the image at scale 1, so that a
scene is the same at every image size.  Outlines are level functions: positive inside, about
the distance to the border, defined on any array of points.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from saltrust.datasets.phantom.fields import Field, Mask, blend, smooth_step

VIEWS = ("frontal PA", "frontal AP")

_TRACHEA_TOP = -0.6
_CARINA = -0.115
_ARCH_TOP = -0.205


@dataclass(frozen=True)
class Body:
    """Proportions of one patient; lengths in patient coordinates.

    Attributes
    ----------
    half_width : float
        From the midline to the inner chest wall at its widest.
    apex, dome_right, dome_left, recess : float
        Y of the lung apices, of the two diaphragm domes and of the costophrenic angles.
    asymmetry : float
        Relative surplus of the left hemithorax.
    cardiothoracic : float
        Ratio of heart to inner thorax in a PA view without cardiomegaly.
    mediastinum : float
        Half width of the upper mediastinum without enlargement.
    flesh : float
        Thickness of the soft tissue beside the ribs.
    density : float
        Attenuation of the trunk, relative to the average patient.
    rib_spacing, rib_phase, rib_droop : float
        Distance of the posterior ribs, where the first one lies, and how far they fall.
    breast : float
        Radius of the breast shadows, 0 without.
    stomach : float
        Radius of the gas bubble under the left dome, 0 without.
    knob : float
        Radius of the aortic knob.
    """

    half_width: float
    apex: float
    dome_right: float
    dome_left: float
    recess: float
    asymmetry: float
    cardiothoracic: float
    mediastinum: float
    flesh: float
    density: float
    rib_spacing: float
    rib_phase: float
    rib_droop: float
    breast: float
    stomach: float
    knob: float


@dataclass(frozen=True)
class Pose:
    """How one image shows the patient.

    Attributes
    ----------
    view : str
        One of ``VIEWS``.
    shift_x, shift_y : float
        Centre of the patient in the image, as fractions of its size.
    angle : float
        Rotation in radians.
    scale : float
        Size of the patient in the image.
    inspiration : float
        How much lower than average the diaphragm stands.
    turn : float
        How far heart and mediastinum project beside the midline, since nobody stands straight.
    heart_magnification : float
        Projected over true width of the heart: larger in AP views, where it is farther from
        the detector.
    """

    view: str
    shift_x: float
    shift_y: float
    angle: float
    scale: float
    inspiration: float
    turn: float
    heart_magnification: float


def draw_body(rng: np.random.Generator) -> Body:
    """Draw the proportions of a patient."""
    habitus = rng.normal()
    dome = rng.normal(0.165, 0.018)
    return Body(
        half_width=float(np.clip(rng.normal(0.365, 0.017) + 0.006 * habitus, 0.31, 0.41)),
        apex=float(rng.normal(-0.365, 0.012)),
        dome_right=float(dome),
        dome_left=float(dome + rng.uniform(0.0, 0.035)),
        recess=float(dome + rng.uniform(0.11, 0.145)),
        asymmetry=float(rng.normal(0.0, 0.02)),
        cardiothoracic=float(rng.uniform(0.37, 0.45)),
        mediastinum=float(rng.uniform(0.050, 0.062)),
        flesh=float(np.clip(0.055 + 0.022 * habitus, 0.02, 0.12)),
        density=float(np.clip(1.0 + 0.09 * habitus, 0.8, 1.25)),
        rib_spacing=float(rng.normal(0.064, 0.003)),
        rib_phase=float(rng.uniform(-0.4, 0.4)),
        rib_droop=float(rng.uniform(0.75, 1.25)),
        breast=float(rng.uniform(0.12, 0.19)) if rng.random() < 0.45 else 0.0,
        stomach=float(rng.uniform(0.025, 0.06)) if rng.random() < 0.7 else 0.0,
        knob=float(rng.uniform(0.022, 0.032)),
    )


def draw_pose(view: str, rng: np.random.Generator) -> Pose:
    """Draw how the patient stands (PA) or lies (AP) before the detector."""
    portable = view == "frontal AP"
    return Pose(
        view=view,
        shift_x=0.5 + float(rng.normal(0.0, 0.035 if portable else 0.028)),
        shift_y=0.52 + float(rng.normal(0.0, 0.035 if portable else 0.028)),
        angle=float(rng.normal(0.0, 0.045 if portable else 0.025)),
        scale=float(np.clip(rng.normal(1.04 if portable else 1.0, 0.065), 0.86, 1.2)),
        inspiration=float(rng.normal(-0.020 if portable else 0.008, 0.022)),
        turn=float(np.clip(rng.normal(0.0, 0.014 if portable else 0.009), -0.03, 0.03)),
        heart_magnification=float(rng.uniform(1.06, 1.13) if portable else 1.0),
    )


@dataclass(frozen=True)
class Anatomy:
    """Outlines of one patient in one pose.

    Attributes
    ----------
    body, pose : Body, Pose
    size : int
        Height and width of the image in pixels.
    heart_excess : float
        Added to the cardiothoracic ratio by cardiomegaly.
    mediastinal_excess : float
        Added to the half width of the upper mediastinum by its enlargement.
    """

    body: Body
    pose: Pose
    size: int
    heart_excess: float = 0.0
    mediastinal_excess: float = 0.0

    # Coordinates ------------------------------------------------------------------------

    def to_image(self, X: npt.ArrayLike, Y: npt.ArrayLike) -> tuple[Field, Field]:
        """Image coordinates (column, row), as fractions of the image, of patient points."""
        pose = self.pose
        x, y = np.asarray(X, float) * pose.scale, np.asarray(Y, float) * pose.scale
        cos, sin = np.cos(pose.angle), np.sin(pose.angle)
        return pose.shift_x + cos * x - sin * y, pose.shift_y + sin * x + cos * y

    @cached_property
    def points(self) -> tuple[Field, Field]:
        """Patient coordinates X and Y of all pixel centres, each of shape (size, size)."""
        pose = self.pose
        centers = (np.arange(self.size) + 0.5) / self.size
        x, y = (centers - pose.shift_x)[None, :], (centers - pose.shift_y)[:, None]
        cos, sin = np.cos(pose.angle), np.sin(pose.angle)
        return (cos * x + sin * y) / pose.scale, (-sin * x + cos * y) / pose.scale

    @property
    def pixel(self) -> float:
        """Width of one pixel in patient coordinates."""
        return 1.0 / (self.size * self.pose.scale)

    def edge(self, level: Field, softness: float = 0.003) -> Field:
        """Coverage 0..1 of an outline: a smooth step about as wide as ``softness`` or a pixel."""
        return smooth_step(level, max(softness, 0.5 * self.pixel))

    # Outlines ---------------------------------------------------------------------------

    def half_width(self, X: Field) -> Field:
        """Largest half width of the hemithorax that each point lies in."""
        return self.body.half_width * np.where(
            X < 0, 1 - self.body.asymmetry, 1 + self.body.asymmetry
        )

    def wall(self, X: Field, Y: Field) -> Field:
        """Level of the inner chest wall: distance from it, positive inside."""
        body = self.body
        along = np.clip((Y - body.apex) / (0.30 - body.apex), 0.0, 1.3)
        rise = np.clip(1 - along / 0.72, 0.0, 1.0)
        taper = 1 - 0.10 * np.clip(along - 0.8, 0.0, None)
        return self.half_width(X) * np.sqrt(1 - rise**2.2) * taper - np.abs(X)

    def dome(self, X: Field) -> Field:
        """Y of the diaphragm below each X."""
        body = self.body
        xi = np.abs(X) / self.half_width(X)
        left = smooth_step(X, 0.09)
        top = body.dome_right * (1 - left) + body.dome_left * left
        drop = body.recess - top
        bow = np.where(xi > 0.48, (xi - 0.48) / 0.52, (0.48 - xi) / 0.62)
        return top + self.pose.inspiration + drop * np.clip(bow, 0, 1.2) ** 2.1

    def midline(self, X: Field, Y: Field) -> Field:
        """Level of the mediastinum above the heart, with aortic knob and pulmonary trunk."""
        body = self.body
        X = X - 0.7 * self.pose.turn
        widening = self.mediastinal_excess * np.exp(-(((Y + 0.13) / 0.13) ** 2))
        half = body.mediastinum + widening + 0.05 * np.clip((Y + 0.03) / 0.2, 0, 1)
        # The apices lie apart, above the arch the great vessels run together.
        half = half + 0.07 * np.exp(-np.clip(Y - body.apex, 0, None) / 0.025)
        band = half * np.where(X < 0, 0.92, 1.0) - np.abs(X)
        shift = X - body.mediastinum - widening
        knob = 1.25 * body.knob - np.hypot(shift + 0.3 * body.knob, (Y + 0.155) * 0.85)
        trunk = 0.042 - np.hypot(shift + 0.012, (Y + 0.06) * 0.7)
        return blend(blend(band, knob, 0.02), trunk, 0.03)

    @cached_property
    def heart_width(self) -> float:
        """Projected width of the heart in patient coordinates."""
        ratio = self.body.cardiothoracic + self.heart_excess
        return 2 * self.body.half_width * ratio * self.pose.heart_magnification

    def heart(self, X: Field, Y: Field) -> Field:
        """Level of the heart: a sheared ellipse, rounder the larger, and the right atrium."""
        X = X - self.pose.turn
        width = self.heart_width
        big = np.clip(self.heart_excess / 0.15, 0, 1.3)
        height = width * (0.37 - 0.02 * big)
        bottom = self.body.dome_left + self.pose.inspiration + 0.03
        center_x, center_y = width * (0.23 - 0.03 * big), bottom - height * (0.80 - 0.1 * big)
        x, y = X - center_x, Y - center_y
        y = y - (0.42 - 0.12 * big) * x
        radius = np.hypot(x / (0.5 * width), y / height)
        ventricle = (1 - radius) * 0.42 * width
        atrium = np.hypot((X + 0.02) / (0.24 * width), (Y - center_y - 0.01) / (0.8 * height))
        return blend(ventricle, (1 - atrium) * 0.22 * width, 0.03)

    def lung_space(self, X: Field, Y: Field) -> Field:
        """Level of what the chest wall and the diaphragm enclose beside the midline."""
        return np.minimum(
            np.minimum(self.wall(X, Y), 0.9 * (self.dome(X) - Y)), -self.midline(X, Y)
        )

    def lung(self, X: Field, Y: Field) -> Field:
        """Level of the aerated lung that no heart covers."""
        return np.minimum(self.lung_space(X, Y), -self.heart(X, Y))

    def trunk(self, X: Field, Y: Field) -> Field:
        """Level of the skin: neck, shoulders and the sides of the body."""
        side = self.body.half_width + 0.03 + self.body.flesh
        neck = 0.10 + 0.3 * self.body.flesh
        slope = np.clip((Y + 0.50) / 0.16, 0, 1)
        half = neck + (side + 0.10 - neck) * slope**0.5
        armpit = 0.10 * smooth_step(Y + 0.08, 0.14) + 0.02 * np.clip((Y - 0.1) / 0.3, 0, 1)
        return half - armpit - np.abs(X)

    @cached_property
    def lung_level(self) -> Field:
        """``lung`` at the pixel centres."""
        return self.lung(*self.points)

    @cached_property
    def heart_level(self) -> Field:
        """``heart`` at the pixel centres."""
        return self.heart(*self.points)

    @cached_property
    def midline_level(self) -> Field:
        """``midline`` at the pixel centres."""
        return self.midline(*self.points)

    @cached_property
    def wall_level(self) -> Field:
        """``wall`` at the pixel centres."""
        return self.wall(*self.points)

    @cached_property
    def dome_level(self) -> Field:
        """Height above the diaphragm at the pixel centres."""
        X, Y = self.points
        return self.dome(X) - Y

    @cached_property
    def space_level(self) -> Field:
        """``lung_space`` at the pixel centres."""
        return np.minimum(
            np.minimum(self.wall_level, 0.9 * self.dome_level), -self.midline_level
        )

    def cardiac_silhouette(self) -> Mask:
        """The heart as a radiologist outlines it: down to where the diaphragm hides it."""
        level = np.minimum(self.heart_level, self.dome_level + 0.03)
        return np.minimum(level, self.wall_level) > 0

    def mediastinal_silhouette(self) -> Mask:
        """Heart and mediastinum from the aortic arch down."""
        _, Y = self.points
        band = np.minimum(self.midline_level, Y - _ARCH_TOP)
        return self.cardiac_silhouette() | (np.minimum(band, self.dome_level + 0.03) > 0)

    def airway(self, X: Field, Y: Field) -> Field:
        """Level of the trachea and the two main bronchi."""
        trachea = np.where((Y < _CARINA) & (Y > _TRACHEA_TOP), 0.013 - np.abs(X), -1.0)
        along = Y - _CARINA
        bronchus = 0.009 - np.abs(np.abs(X) - 1.05 * along) * 0.7
        return np.maximum(trachea, np.where((along >= 0) & (along < 0.075), bronchus, -1.0))

    def place(self, rng: np.random.Generator, margin: float, low: float = -1.0, high: float = 1.0,
              side: int = 0) -> tuple[float, float]:
        """Draw a point of the visible lung, uniformly.

        Parameters
        ----------
        rng : numpy.random.Generator
        margin : float
            Least distance from the border; relaxed where the lung is too narrow for it.
        low, high : float
            Bounds of Y.
        side : {-1, 0, 1}
            Image left (the patient's right lung), either, image right.
        """
        X = rng.uniform(-1, 1, 400) * self.body.half_width
        Y = rng.uniform(self.body.apex, self.body.recess, 400)
        if side:
            X = side * np.abs(X)
        level = np.where((low <= Y) & (high >= Y), self.lung(X, Y), -1.0)
        # Points outside the image would be drawn but never seen.
        u, v = self.to_image(X, Y)
        level = np.where((np.abs(u - 0.5) < 0.47) & (np.abs(v - 0.5) < 0.47), level, -1.0)
        fit = np.flatnonzero(level > margin)
        best = int(fit[0]) if fit.size else int(np.argmax(level))
        return float(X[best]), float(Y[best])
