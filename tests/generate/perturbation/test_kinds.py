"""Changes of radiographs: graded, repeatable, and a shift that can be undone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from saltrust.cache.schema import PERTURBATIONS
from saltrust.generate.perturbation.kinds import amounts, overlapping, perturb, shift_of


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    generator = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(generator.normal(size=(64, 48)), 3)
    return np.round(255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)


@pytest.mark.parametrize("kind", PERTURBATIONS)
def test_every_kind_changes_more_by_degrees_and_the_same_again(pixels, kind: str) -> None:
    steps = amounts(kind, 4)
    assert (np.diff(steps) > 0).all()
    made = [perturb(pixels, kind, amount, 3, "a") for amount in steps]
    away = [np.abs(one.astype(float) - pixels).mean() for one in made]
    assert np.all(np.diff(away) > 0)
    assert away[0] > 0
    assert all(one.dtype == np.uint8 and one.shape == pixels.shape for one in made)
    np.testing.assert_array_equal(perturb(pixels, kind, steps[1], 3, "a"), made[1])
    if kind in ("noise", "shift"):
        others = [perturb(pixels, kind, steps[-1], 3, name) for name in "bcdefgh"]
        assert any((other != made[-1]).any() for other in others)


def test_known_values() -> None:
    flat = np.full((10, 10), 100, np.uint8)
    flat[5:] = 200
    half = perturb(flat, "contrast", 0.5, 0, "a")
    assert set(half.ravel().tolist()) == {125, 175}
    blurred = perturb(flat, "blur", 0.1, 0, "a")
    np.testing.assert_array_equal(
        blurred, np.round(ndimage.gaussian_filter(flat.astype(float), 1, mode="nearest")))


@pytest.mark.parametrize("image", ["a", "b", "c", "d", "e", "f"])
def test_a_shift_is_undone(pixels, image: str) -> None:
    moved = shift_of(pixels.shape, 0.05, 1, image)
    assert tuple(map(abs, moved)) == (3, 2)
    shifted = perturb(pixels, "shift", 0.05, 1, image)
    before, after = overlapping(pixels.astype(np.float32), shifted.astype(np.float32), moved)
    assert before.shape == (61, 46)
    np.testing.assert_array_equal(before, after)
    same = overlapping(pixels.astype(np.float32), pixels.astype(np.float32), (0, 0))
    assert same[0].shape == pixels.shape
