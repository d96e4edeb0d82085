"""Cubes with curves of known areas, in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

EXPLAINERS = ("good", "middling", "chance")
METRICS = ("deletion", "insertion", "morf", "lerf")
FRACTIONS = np.arange(11) / 10
#: By how much curves lie on the better side of random orders.
LEADS = {"good": 0.2, "middling": 0.1, "chance": 0.0}

BuildCurves = Callable[..., xr.DataTree]


def curves(*, patients: int = 24, per_patient: int = 2, findings: tuple[str, ...] = ("Edema",),
           models: tuple[str, ...] = ("m",), orders: int = 5, seed: int = 0,
           noise: float = 0.05) -> xr.DataTree:
    """Straight curves from 0.8 to 0.2, bulging by the lead of each explainer."""
    generator = np.random.default_rng(seed)
    n = patients * per_patient
    owner = np.repeat(np.arange(patients), per_patient)
    shape = (n, len(findings), len(EXPLAINERS), len(models), len(METRICS))
    bulge = 4 * FRACTIONS * (1 - FRACTIONS)
    line = 0.8 - 0.6 * FRACTIONS
    base = np.stack([line, line[::-1], line, line])
    turn = np.array([-1.0, 1.0, -1.0, 1.0])
    of_patient = generator.normal(0, noise, (patients, *shape[1:]))[owner]
    lead = (np.array([LEADS[name] for name in EXPLAINERS])[:, None, None] + of_patient
            + generator.normal(0, noise, shape))
    curve = np.clip(base + (turn * lead)[..., None] * bulge, 0, 1)
    away = generator.normal(0, noise, (n, len(findings), len(models), len(METRICS), orders))
    random = np.clip(base[:, None] + away[..., None] * bulge, 0, 1)
    removed = np.broadcast_to(np.stack([FRACTIONS, 1 - FRACTIONS, FRACTIONS, FRACTIONS]),
                              (n, len(METRICS), len(FRACTIONS)))
    of_maps = ("image", "finding", "explainer", "model")
    infidelity = (1 - lead[..., 0]).astype(np.float32)
    labels: dict[str, Any] = {"explainer": list(EXPLAINERS), "model": list(models),
                              "metric": list(METRICS), "fraction": FRACTIONS,
                              "order": np.arange(orders)}
    group = xr.Dataset({
        "curve": ((*of_maps, "metric", "fraction"), curve.astype(np.float32)),
        "removed": (("image", "metric", "fraction"), removed.astype(np.float32)),
        "random": (("image", "finding", "model", "metric", "order", "fraction"),
                   random.astype(np.float32)),
        "infidelity": (of_maps, infidelity),
        "sensitivity": (of_maps, np.full_like(infidelity, np.nan)),
        "status": (of_maps, np.ones(shape[:4], np.uint8))}, coords=labels)
    label = np.ones((n, len(findings)), np.int8)
    label[-per_patient:] = 0
    return xr.DataTree.from_dict({
        "/": xr.Dataset(coords={
            "image": [f"i{k:03d}" for k in range(n)], "finding": list(findings),
            "patient": ("image", [f"p{k:02d}" for k in owner]),
            "split": ("image", ["test"] * n)}),
        "/reference": xr.Dataset({"label": (("image", "finding"), label)}),
        "/faithfulness": group})


@pytest.fixture(scope="session")
def build_curves() -> BuildCurves:
    """A function that builds cubes with curves; see :func:`curves`."""
    return curves
