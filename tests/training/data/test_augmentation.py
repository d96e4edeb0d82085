import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from saltrust.training.data import augmentation
from saltrust.training.data.augmentation import augment, vary


def smooth(height: int, width: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).random((height, width))
    image = ndimage.gaussian_filter(noise, 3)
    scaled: np.ndarray = 255 * (image - image.min()) / np.ptp(image)
    return scaled.astype(np.uint8)


@pytest.mark.parametrize(("shift", "angle"), [
    ((0.0, 0.0), 0.2), ((0.1, -0.05), 0.0), ((0.04, 0.08), -0.1), ((0.0, 0.0), 0.0),
])
@pytest.mark.parametrize("shape", [(40, 40), (30, 60)])
def test_vary_is_scipys_affine_transform(
    shift: tuple[float, float], angle: float, shape: tuple[int, int]
) -> None:
    image = smooth(*shape)
    done = vary(torch.from_numpy(image)[None], torch.tensor([shift]), torch.tensor([angle]),
                torch.ones(1))[0].numpy()
    # Output (row, column) = R (input - centre) + centre + shift; scipy wants the inverse.
    cos, sin = np.cos(angle), np.sin(angle)
    inverse = np.array([[cos, -sin], [sin, cos]])
    center = (np.array(shape) - 1) / 2
    offset = center - inverse @ (center + np.array(shift) * shape)
    expected = ndimage.affine_transform(image.astype(float), inverse, offset, order=1,
                                        mode="nearest")
    assert np.abs(done - expected).max() <= 0.51


def test_clockwise_on_the_screen() -> None:
    image = torch.zeros(1, 21, 21, dtype=torch.uint8)
    image[0, 2, 10] = 255  # Twelve o'clock.
    turned = vary(image, torch.zeros(1, 2), torch.tensor([np.pi / 2]), torch.ones(1))
    assert turned[0].nonzero().tolist() == [[10, 18]]  # Three o'clock.


def test_contrast_is_about_the_mean() -> None:
    image = torch.tensor([[[100, 140]]], dtype=torch.uint8)
    still = torch.zeros(1, 2), torch.zeros(1)
    assert vary(image, *still, torch.tensor([0.5])).tolist() == [[[110, 130]]]
    assert vary(image, *still, torch.tensor([10.0])).tolist() == [[[0, 255]]]


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31))
def test_augment_stays_within_its_bounds(seed: int) -> None:
    image = torch.zeros(8, 64, 64, dtype=torch.uint8)
    image[:, 28:36, 28:36] = 200
    move_maps = augment(image, torch.Generator().manual_seed(seed)).numpy().astype(float)
    for picture in move_maps:
        weight = picture - picture.min()
        row, column = ndimage.center_of_mass(weight)
        assert abs(row - 31.5) <= 64 * augmentation.SHIFT + 0.5
        assert abs(column - 31.5) <= 64 * augmentation.SHIFT + 0.5
        assert np.ptp(picture) <= 200 * (1 + augmentation.CONTRAST) + 1


def test_augment_is_each_image_on_its_own_and_repeatable() -> None:
    image = torch.from_numpy(smooth(32, 32)).expand(4, 32, 32).contiguous()
    first = augment(image, torch.Generator().manual_seed(3))
    assert torch.equal(first, augment(image, torch.Generator().manual_seed(3)))
    assert not torch.equal(first, augment(image, torch.Generator().manual_seed(4)))
    assert len({picture.numpy().tobytes() for picture in first}) == 4
