import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saltrust.errors import DataError
from saltrust.models.preprocessing import GRAY, IMAGENET, INCEPTION, Preprocessing, to_input
from saltrust.models.torchvision_operators import import_torchvision

PIXELS = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)


def test_imagenet_is_what_torchvision_does() -> None:
    import_torchvision()
    from torchvision.transforms import functional

    gray = functional.to_tensor(PIXELS[0]).repeat(3, 1, 1)
    expected = functional.normalize(gray, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    torch.testing.assert_close(to_input(PIXELS, IMAGENET)[0], expected)


def test_inception_is_what_torchvision_makes_of_imagenet_inputs() -> None:
    models = import_torchvision().models
    network = models.Inception3(num_classes=2, aux_logits=False, transform_input=True,
                                init_weights=False)
    expected = network._transform_input(to_input(PIXELS, IMAGENET))
    torch.testing.assert_close(to_input(PIXELS, INCEPTION), expected)


def test_the_ends_of_the_range() -> None:
    contract = Preprocessing((0.0,), (1.0,), 1, (-1024.0, 1024.0))
    values = to_input(np.array([[[0, 255]]], np.uint8), contract)
    assert values.flatten().tolist() == [-1024.0, 1024.0]


@settings(deadline=None, max_examples=50)
@given(
    low=st.floats(-100, 0), extent=st.floats(0.1, 1000), mean=st.floats(-10, 10),
    std=st.floats(0.1, 10),
)
def test_the_formula(low: float, extent: float, mean: float, std: float) -> None:
    contract = Preprocessing((mean,), (std,), 1, (low, low + extent))
    expected = (low + extent * PIXELS / 255 - mean) / std
    np.testing.assert_allclose(to_input(PIXELS, contract)[:, 0].numpy(), expected, rtol=1e-4,
                               atol=1e-3 * extent / std)


def test_the_pixels_stay_as_they_were() -> None:
    pixels = PIXELS.copy()
    pixels.flags.writeable = False
    to_input(pixels, GRAY)
    tensor = torch.from_numpy(PIXELS.copy())
    to_input(tensor, GRAY)
    assert np.array_equal(tensor.numpy(), PIXELS)


@pytest.mark.parametrize(
    "pixels",
    [PIXELS.astype(np.float32) / 255, torch.rand(1, 4, 4), PIXELS.astype(np.int64), PIXELS[0]],
)
def test_other_pixels_are_refused(pixels: np.ndarray | torch.Tensor) -> None:
    with pytest.raises(DataError, match="pixels must"):
        to_input(pixels, GRAY)


def test_round_trip_as_plain_values() -> None:
    for contract in (IMAGENET, INCEPTION, GRAY):
        assert Preprocessing.from_dict(contract.as_dict()) == contract


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mean": [0.5, 0.5]}, "mean has 2 numbers and std 1"),
        ({"mean": [0.5, 0.5], "std": [1.0, 1.0]}, "mean must be 1"),
        ({"std": [0.0]}, "std must be positive"),
        ({"mean": [float("nan")]}, "finite"),
        ({"channels": -1}, "channels must be at least 1"),
        ({"mean": [0.5] * 2, "std": [1.0] * 2, "channels": 3}, "mean must be 3"),
        ({"input_range": [1.0, 0.0]}, "black below white"),
        ({"input_range": [1.0]}, "all numbers"),
        ({"std": None}, "both mean and std"),
        ({"mean": ["a"]}, "all numbers"),
    ],
)
def test_contracts_that_make_no_sense(change: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        Preprocessing.from_dict({**GRAY.as_dict(), **change})
