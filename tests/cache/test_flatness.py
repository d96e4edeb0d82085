"""Constant maps are flat, however they were rounded, everywhere where maps are judged."""

from __future__ import annotations

import numpy as np
import pytest

from saltrust.analysis.pixels.gaze_agreement import is_informative
from saltrust.analysis.pixels.levels import levels_for
from saltrust.analysis.pixels.segmentation import segment
from saltrust.analysis.pixels.upsampling import bilinear_map
from saltrust.analysis.scores.map_counts import count_map
from saltrust.cache.flatness import is_flat
from saltrust.cache.schema import Status
from saltrust.generate.network_store import map_status


def _constant_maps() -> np.ndarray:
    """As an interpolation in another order leaves them: a few steps of float32 apart."""
    generator = np.random.default_rng(4)
    values = (generator.lognormal(0, 6, (64, 1, 1)) * generator.choice([-1, 1], (64, 1, 1)))
    steps = generator.integers(-3, 4, (64, 65, 65))
    return (values.astype(np.float32) * (1 + steps * np.finfo(np.float32).eps)).astype(np.float32)


def test_constant_maps_with_rounding_are_flat() -> None:
    maps = _constant_maps()
    assert (maps.max(axis=(1, 2)) > maps.min(axis=(1, 2))).all()
    assert (map_status(maps) == Status.FLAT).all()
    for values in maps[:8]:
        for definition in ("default", "peer"):
            counts = count_map(values, (65, 65), definition, levels_for(), [])
            assert counts.outcome == Status.FLAT
            assert counts.area == 0
        assert segment(bilinear_map(values, 65, 65, "lerp"), "default") is None
        assert not is_informative(values)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_small_differences_that_are_no_rounding_count(scale: float) -> None:
    maps = np.zeros((2, 9, 9), np.float32)
    maps[0, 4, 4] = scale
    maps[1] = scale
    maps[1, 4, 4] *= np.float32(1 + 1e-5)
    assert (map_status(maps) == Status.OK).all()


def test_values_that_are_not_finite_come_first() -> None:
    maps = np.ones((3, 4, 4), np.float32)
    maps[0, 1, 1], maps[1, 1, 1], maps[1, 2, 2] = np.nan, np.inf, -np.inf
    assert map_status(maps).tolist() == [Status.NONFINITE, Status.NONFINITE, Status.FLAT]


def test_nothing_but_zeros_is_flat() -> None:
    assert is_flat(0.0, 0.0)
    assert not is_flat(-1e-38, 1e-38)
