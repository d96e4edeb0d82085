"""Masks as people have them, and pictures that are given as masks."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageFilter

from saltrust.datasets.files.radiograph_files import read_mask
from saltrust.errors import DataError

DISK = ((np.mgrid[:80, :96] - np.array([40, 50])[:, None, None]) ** 2).sum(axis=0) < 20**2
SECOND = ((np.mgrid[:80, :96] - np.array([12, 12])[:, None, None]) ** 2).sum(axis=0) < 9**2


def saved(folder: Path, pixels: npt.NDArray[Any] | Image.Image) -> Path:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(folder / "mask.png")
    return folder / "mask.png"


def gray(mask: npt.NDArray[np.bool_], value: int = 255) -> npt.NDArray[np.uint8]:
    return (mask * value).astype(np.uint8)


def through_jpeg(pixels: npt.NDArray[Any], quality: int) -> npt.NDArray[np.uint8]:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def in_color(mask: npt.NDArray[np.bool_], *channels: int) -> npt.NDArray[np.uint8]:
    return (mask[..., None] * np.array(channels)).astype(np.uint8)


def palette() -> Image.Image:
    image = Image.fromarray(gray(DISK, 3)).convert("P")
    image.putpalette([0, 0, 0, 9, 9, 9, 8, 8, 8, 220, 20, 60] + [0] * 756)
    return image


@pytest.mark.parametrize("pixels", [
    gray(DISK), gray(DISK, 1), gray(DISK, 7), DISK, (DISK * 65535).astype(np.uint16),
    in_color(DISK, 255, 255, 255), in_color(DISK, 200, 0, 0), palette(),
    np.dstack([gray(DISK), gray(DISK)]), in_color(DISK, 255, 255, 255, 128),
    np.dstack([np.full((*DISK.shape, 3), 255, np.uint8), gray(DISK)]),
], ids=["255", "1", "7", "bool", "16 bit", "white", "red", "palette", "LA", "half transparent",
        "white where opaque"])
def test_one_value_beside_black_is_the_mask(pixels: Any, tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_mask(saved(tmp_path, pixels)), DISK)


def test_nothing_drawn_is_an_empty_mask(tmp_path: Path) -> None:
    assert not read_mask(saved(tmp_path, gray(DISK, 0))).any()
    assert not read_mask(saved(tmp_path, np.zeros((9, 9, 4), np.uint8))).any()


@pytest.mark.parametrize("radius", [0.7, 1.0, 1.5])
def test_smooth_edges_are_cut_in_the_middle(radius: float, tmp_path: Path) -> None:
    smooth = Image.fromarray(gray(DISK)).filter(ImageFilter.GaussianBlur(radius))
    read = read_mask(saved(tmp_path, smooth))
    # A disk loses a little of its rim to blur.
    assert (read != DISK).sum() < 0.02 * DISK.sum()


@pytest.mark.parametrize("quality", [60, 75, 95])
@pytest.mark.parametrize("color", [(255, 255, 255), (255, 0, 0)])
def test_noise_of_jpeg_is_no_finding(quality: int, color: tuple[int, ...], tmp_path: Path) -> None:
    noisy = through_jpeg(in_color(DISK, *color), quality)
    assert (noisy.max(axis=-1) > 0).sum() > 1.05 * DISK.sum()
    read = read_mask(saved(tmp_path, noisy))
    assert (read != DISK).sum() < 0.03 * DISK.sum()


RAMP = np.add.outer(np.arange(80), np.arange(96)).astype(np.uint8)
NOISE = np.random.default_rng(3).normal(120, 40, (80, 96)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(("pixels", "words"), [
    (RAMP, "gray levels, as a radiograph or a heatmap"), (NOISE, "gray levels, as a radiograph"),
    (np.where(DISK, RAMP, 0), "gray levels, as a radiograph or a heatmap"),
    (RAMP.astype(np.uint16) * 300, "gray levels"), (np.dstack([RAMP] * 3), "gray levels"),
    (gray(DISK, 1) + gray(SECOND, 2), "values 1, 2 beside 0, as a map of several classes"),
    (gray(DISK, 127) + gray(SECOND, 255), "values 127, 255 beside 0, as a map of several"),
    (gray(DISK, 240) + gray(SECOND, 250), "values 240, 250 beside 0"),
    (in_color(DISK, 255, 0, 0) + in_color(SECOND, 0, 255, 0), "several colours"),
    (gray(~SECOND[:40, :96] | True), "covers 100% of the image"),
    (gray(np.arange(9600).reshape(80, 120) > 300), "covers 97% of the image"),
    (np.dstack([np.zeros((80, 96, 3), np.uint8), gray(DISK)]), "black on what is transparent"),
])
def test_what_is_no_mask_of_one_finding(pixels: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words) as caught:
        read_mask(saved(tmp_path, pixels))
    assert "mask.png" in str(caught.value)


@pytest.mark.real_data
def test_no_real_radiograph_is_taken_for_a_mask(shared_data: Path) -> None:
    films = sorted((shared_data / "radiographs").rglob("*.png"))[::10]
    for path in films:
        with pytest.raises(DataError, match="gray levels"):
            read_mask(path)
