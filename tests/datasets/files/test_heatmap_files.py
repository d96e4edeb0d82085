"""Heatmaps from PNG: values by their colours, whatever the size, and what is no heatmap."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from saltrust.cache.collection import Fixations
from saltrust.cache.gaze_maps import GazeSmoothing, fixation_heatmap
from saltrust.datasets.files import limits
from saltrust.datasets.files.heatmap_files import read_heatmap, resample_heatmap
from saltrust.errors import DataError

VALUES = np.arange(256, dtype=np.uint8).reshape(16, 16)
VIRIDIS = colormaps["viridis"](VALUES, bytes=True)


@pytest.fixture(autouse=True)
def narrow_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_PIXELS_AT_ONCE", 50)


@pytest.mark.parametrize("pixels", [
    VALUES, VALUES.astype(np.uint16) * 257, np.dstack([VALUES] * 3), VIRIDIS, VIRIDIS[..., :3],
    np.clip(VIRIDIS[..., :3].astype(int) + 1, 0, 255).astype(np.uint8)])
def test_values_are_those_that_were_drawn(pixels: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.png")
    # Neighbours of viridis differ by less than rounding may change.
    np.testing.assert_allclose(read_heatmap(tmp_path / "a.png"), VALUES / 255, atol=3 / 255)
    if pixels is VALUES:
        assert read_heatmap(tmp_path / "a.png").dtype == np.float32


@pytest.mark.parametrize(("channels", "atol"), [
    (np.dstack([VALUES * np.uint16(64)] * 3), 1e-7),
    (VIRIDIS[..., :3].astype(np.uint16) * 257 + 100, 3 / 255),
    (np.dstack([VALUES * np.uint16(64)] * 3 + [np.full_like(VALUES, 65535, np.uint16)]), 1e-7)])
def test_sixteen_bit_colors(channels: np.ndarray, atol: float, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), channels[..., [2, 1, 0, 3][:channels.shape[2]]])
    expected = VALUES.astype(int) * 64 / 65535 if atol < 1e-3 else VALUES / 255
    np.testing.assert_allclose(read_heatmap(tmp_path / "a.png"), expected, atol=atol)


@pytest.mark.parametrize("side", [16, 200])
def test_other_colours_are_refused_however_many(side: int, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png has colours that are neither gray nor"):
        read_heatmap(tmp_path / "a.png")


def test_a_resampled_heatmap_keeps_its_maximum_of_one() -> None:
    looked = Fixations(np.array([200.0, 90.0]), np.array([500.0, 90.0]), np.array([1.0, 3.0]))
    heatmap = fixation_heatmap(looked, (400, 1000), (80, 200), GazeSmoothing("5%"))
    exact = fixation_heatmap(looked, (400, 1000), (20, 50), GazeSmoothing("5%"))
    assert heatmap is not None
    assert exact is not None
    small = resample_heatmap(heatmap, (20, 50))
    assert small.max() == 1
    np.testing.assert_allclose(small, exact, atol=0.04)
    np.testing.assert_array_equal(resample_heatmap(heatmap, (80, 200)), heatmap)
