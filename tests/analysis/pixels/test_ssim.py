"""SSIM against scikit-image, and the properties it must have."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage
from skimage.metrics import structural_similarity

from saltrust.analysis.pixels.ssim import SSIM_SETTINGS, SsimSettings, ssim, ssim_settings
from saltrust.errors import DataError, UsageError

Map = npt.NDArray[np.float64]


def pair(shape: tuple[int, int], seed: int = 0, sigma: float = 2.0) -> tuple[Map, Map]:
    generator = np.random.default_rng(seed)
    one = ndimage.gaussian_filter(generator.normal(size=shape), sigma)
    return one, 0.5 * one + 0.3 * ndimage.gaussian_filter(generator.normal(size=shape), sigma)


def by_scikit_image(one: Map, other: Map, settings: SsimSettings) -> float:
    data_range = settings.data_range
    if settings.scaling == "map":
        one, other = ((m - m.min()) / (m.max() - m.min()) for m in (one, other))
    if settings.scaling == "pair":
        data_range *= max(one.max(), other.max()) - min(one.min(), other.min())
    return float(structural_similarity(
        one, other, data_range=data_range, gaussian_weights=settings.window == "gaussian",
        use_sample_covariance=settings.sample_covariance))


@pytest.mark.parametrize("window", ["uniform", "gaussian"])
@pytest.mark.parametrize("sample", [True, False])
@pytest.mark.parametrize("scaling", ["map", "pair", "none"])
@pytest.mark.parametrize("shape", [(11, 11), (12, 43), (75, 40), (64, 320), (320, 320), (139, 141)])
@pytest.mark.parametrize("use_compiled", [True, False])
def test_equals_scikit_image(window: str, sample: bool, scaling: str, shape: tuple[int, int],
                             use_compiled: bool) -> None:
    settings = SsimSettings(window, sample, scaling, 1.7)  # type: ignore[arg-type]
    one, other = pair(shape, seed=shape[1])
    similarity = ssim(one, other, settings, use_compiled=use_compiled)
    assert similarity == pytest.approx(by_scikit_image(one, other, settings), rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("name", list(SSIM_SETTINGS))
def test_compiled_or_not_identical_maps_have_one(name: str) -> None:
    settings = ssim_settings(name)
    maps = np.random.default_rng(6).normal(size=(4, 60, 47))
    others = maps[::-1].copy()
    np.testing.assert_allclose(ssim(maps, others, settings, use_compiled=True),
                               ssim(maps, others, settings, use_compiled=False), atol=1e-13)
    assert (ssim(maps, maps.copy(), settings, use_compiled=True) == 1).all()


@pytest.mark.parametrize("name", list(SSIM_SETTINGS))
def test_float32_and_the_named_settings(name: str) -> None:
    settings = ssim_settings(name)
    one, other = (m.astype(np.float32) for m in pair((96, 96), 4))
    expected = by_scikit_image(one.astype(np.float64), other.astype(np.float64), settings)
    assert ssim(one, other, settings) == pytest.approx(expected, rel=1e-10)


def test_the_papers_scripts_take_scikit_images_defaults() -> None:
    one, other = pair((64, 64), 8)
    one, other = ((m - m.min()) / np.ptp(m) for m in (one, other))
    assert ssim(one, other, SSIM_SETTINGS["paper"]) == pytest.approx(
        structural_similarity(one, other, data_range=2.0), rel=1e-12)


@pytest.mark.parametrize("name", list(SSIM_SETTINGS))
def test_batches_are_the_pairs(name: str) -> None:
    settings = ssim_settings(name)
    maps = np.random.default_rng(1).normal(size=(5, 40, 30)).astype(np.float32)
    one_by_one = [float(ssim(maps[0], other, settings)) for other in maps]
    np.testing.assert_array_equal(ssim(maps[0], maps, settings), one_by_one)
    np.testing.assert_array_equal(ssim(maps, maps[::-1], settings)[:2],
                                  [float(ssim(maps[0], maps[4], settings)),
                                   float(ssim(maps[1], maps[3], settings))])
    assert ssim(maps[:, None], maps[None], settings).shape == (5, 5)


@pytest.mark.parametrize("name", list(SSIM_SETTINGS))
def test_identity_symmetry_and_bounds(name: str) -> None:
    settings = ssim_settings(name)
    one, other = pair((50, 60), 2)
    assert ssim(one, one, settings) == pytest.approx(1, abs=1e-12)
    assert ssim(one, other, settings) == pytest.approx(ssim(other, one, settings), abs=1e-12)
    assert -1 <= ssim(one, other, settings) < 1


def test_signs_count_but_the_unit_of_an_attribution_does_not() -> None:
    one, other = pair((50, 50), 3)
    assert ssim(one, 1e-6 * other + 5) == pytest.approx(ssim(one, other), abs=1e-9)
    assert ssim(one, -one) < 0
    raw = SSIM_SETTINGS["raw"]
    assert ssim(1e-3 * one, 1e-3 * other, raw) == pytest.approx(ssim(one, other, raw), abs=1e-9)


@pytest.mark.parametrize("name", list(SSIM_SETTINGS))
def test_flat_and_nonfinite_maps(name: str) -> None:
    settings = ssim_settings(name)
    one, _ = pair((40, 40))
    assert ssim(np.full((40, 40), 2.0), np.full((40, 40), 2.0), settings) == pytest.approx(1)
    assert np.isfinite(ssim(np.zeros((40, 40)), one, settings))
    for bad in (np.nan, np.inf):
        spoilt = one.copy()
        spoilt[3, 3] = bad
        similarity = ssim(np.stack([one, spoilt, one]), one, settings)
        assert np.isnan(similarity[1])
        np.testing.assert_allclose(similarity[[0, 2]], 1)
        assert np.isnan(ssim(spoilt, one, settings))


def test_wrong_input_is_named() -> None:
    with pytest.raises(DataError, match="smaller than the SSIM window of 11"):
        ssim(np.zeros((10, 40)), np.zeros((10, 40)))
    with pytest.raises(DataError, match="one size"):
        ssim(np.zeros((20, 20)), np.zeros((20, 21)))
    with pytest.raises(UsageError, match="did you mean 'paper'"):
        ssim_settings("papr")
