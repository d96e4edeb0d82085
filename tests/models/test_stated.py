import pytest
import torch
from torch import nn

from saltrust.errors import DataError
from saltrust.models.preprocessing import GRAY, IMAGENET, Preprocessing
from saltrust.models.stated import stated_preprocessing
from saltrust.models.torchvision_operators import import_torchvision

import_torchvision()
from torchvision import transforms  # noqa: E402 - behind the guard
from torchvision.models import ResNet18_Weights  # noqa: E402
from torchvision.transforms import v2  # noqa: E402

ENDS = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def stating(value: object) -> nn.Module:
    module = nn.Identity()
    object.__setattr__(module, "preprocessing", value)
    return module


@pytest.mark.parametrize(("value", "expected"), [
    (GRAY, GRAY),
    ({"mean": [0.5], "std": [0.25]}, GRAY),
    ({"mean": 0.5, "std": 0.25, "channels": 3},
     Preprocessing((0.5,) * 3, (0.25,) * 3, 3)),
    ({"channels": 1, "range": [-1024, 1024]}, Preprocessing((0.0,), (1.0,), 1, (-1024.0, 1024.0))),
    ({"preset": "imagenet"}, IMAGENET),
    ({"preset": "torchxrayvision"}, Preprocessing((0.0,), (1.0,), 1, (-1024.0, 1024.0))),
    ({"preset": "imagenet", "range": [0, 255]},
     Preprocessing(*map(tuple, ENDS), 3, (0.0, 255.0))),
    ({"mean": [0.5] * 5, "std": [0.25] * 5}, Preprocessing((0.5,) * 5, (0.25,) * 5, 5)),
    (transforms.Normalize(*ENDS), IMAGENET),
    (transforms.Normalize(torch.tensor([0.5]), torch.tensor([0.25])), GRAY),
    (transforms.Compose([transforms.Resize(320), transforms.ToTensor(),
                         transforms.Normalize([0.5], [0.25])]), GRAY),
    (v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(*ENDS)]),
     IMAGENET),
    (v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32), v2.Normalize([127.5], [64.0])]),
     Preprocessing((127.5,), (64.0,), 1, (0.0, 255.0))),
    (transforms.Compose([transforms.PILToTensor(), transforms.ConvertImageDtype(torch.float),
                         transforms.Compose([transforms.Normalize([0.5], [0.25])])]), GRAY),
    (nn.Sequential(transforms.Resize(9), transforms.Normalize([0.5], [0.25])), GRAY),
    (transforms.Compose([transforms.Grayscale(3), transforms.ToTensor()]),
     Preprocessing((0.0,) * 3, (1.0,) * 3, 3)),
    (ResNet18_Weights.DEFAULT.transforms(), IMAGENET),
])
def test_every_usual_form_is_read(value: object, expected: Preprocessing) -> None:
    assert stated_preprocessing(stating(value)) == expected


def test_nothing_is_stated() -> None:
    assert stated_preprocessing(nn.Identity()) is None


@pytest.mark.parametrize(("value", "words"), [
    ({"means": [0.5]}, "not 'means'"),
    ({"mean": [0.5]}, "both mean and std"),
    ({"mean": [0.5], "std": [0.25], "range": [0, 1], "input_range": [0, 1]}, "`range` once"),
    ({"mean": ["x"], "std": [1]}, "all numbers"),
    ({"preset": "imagnet"}, "did you mean 'imagenet'"),
    ({"mean": [0.5, 0.5], "std": [0.25]}, "mean has 2 numbers and std 1"),
    (transforms.Compose([transforms.ToTensor(), transforms.Lambda(abs)]), "what Lambda does"),
    (transforms.Compose([transforms.Normalize([0.5], [0.25]), transforms.Grayscale()]),
     "Grayscale comes after"),
    (transforms.Compose([transforms.Resize(8)]), "normalizes nothing"),
    (transforms.Normalize([0.5], [0.0]), "std must be positive"),
    (nn.Conv2d(1, 1, 1), "what Conv2d does"),
    ("imagenet", "what str does"),
])
def test_what_cannot_be_read_is_refused_with_the_way_out(value: object, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        stated_preprocessing(stating(value))
    assert "[models.input]" in str(caught.value)
