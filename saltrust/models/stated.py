"""What a network states of its own input, in whichever of the usual forms it does.

A network may carry an attribute ``preprocessing``: a
:class:`~saltrust.models.preprocessing.Preprocessing`, a mapping of the same keys, or a transform of
torchvision (``Normalize``, a ``Compose`` that has one, the transforms of published weights).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from saltrust.errors import DataError
from saltrust.models.preprocessing import Preprocessing

#: Transforms that change the size or the form of an image, which the grid of a study settles.
_OF_FORM = frozenset({
    "Resize", "CenterCrop", "Pad", "ToImage", "ToPILImage", "ToTensor", "PILToTensor", "ToDtype",
    "ConvertImageDtype", "ToImageTensor", "RandomHorizontalFlip", "RandomResizedCrop",
    "RandomCrop", "RandomRotation", "RandomVerticalFlip", "RandomAffine", "ToPureTensor",
    "MaybeToTensor", "ToNumpy", "ResizeKeepRatio",
})
_TO_UNIT_RANGE = frozenset({"ToTensor", "MaybeToTensor", "ConvertImageDtype"})
_TO_BYTES = frozenset({"PILToTensor", "ToImage", "ToNumpy"})


def stated_preprocessing(module: nn.Module) -> Preprocessing | None:
    """What a network states of its input; None where it states nothing.

    Parameters
    ----------
    module : torch.nn.Module

    Raises
    ------
    DataError
        If it states it in a form that cannot be read, or what makes no sense.

    Examples
    --------
    >>> network = nn.Conv2d(1, 1, 1)
    >>> network.preprocessing = {"mean": [0.5], "std": [0.25]}
    >>> stated_preprocessing(network).channels
    1
    """
    stated = getattr(module, "preprocessing", None)
    if stated is None or isinstance(stated, Preprocessing):
        return stated
    name = type(module).__name__
    try:
        if isinstance(stated, Mapping):
            return Preprocessing.from_dict(stated)
        return _of_transforms(stated)
    except DataError as error:
        raise DataError(f"the attribute `preprocessing` of {name}: {error}; correct it, or state "
                        "[models.input] in the study") from None


def _of_transforms(transform: Any) -> Preprocessing:
    mean: Any = None
    std: Any = None
    channels, high = 0, 1.0
    for step in _steps(transform):
        kind = type(step).__name__
        if mean is not None and kind not in _OF_FORM:
            raise DataError(f"{kind} comes after the normalization, and what it does cannot be "
                            "read")
        if kind in ("Normalize", "ImageClassification"):
            mean, std = step.mean, step.std
        elif kind == "Grayscale":
            channels = int(step.num_output_channels)
        elif kind in _TO_BYTES:
            high = 255.0
        elif kind in _TO_UNIT_RANGE or (kind == "ToDtype" and getattr(step, "scale", False)):
            high = 1.0
        elif kind not in _OF_FORM:
            raise DataError(f"what {kind} does to gray values cannot be read")
    if mean is None and not channels:
        raise DataError(f"{type(transform).__name__} normalizes nothing, so that the number of "
                        "channels cannot be read")
    content: dict[str, Any] = {"range": [0.0, high], **({"channels": channels} if channels else {})}
    if mean is not None:
        content |= {"mean": _plain(mean), "std": _plain(std)}
    return Preprocessing.from_dict(content)


def _steps(transform: Any) -> Iterator[Any]:
    """Transforms one after the other, compositions opened."""
    parts = getattr(transform, "transforms", None)
    if parts is None and isinstance(transform, nn.Sequential | list | tuple):
        parts = list(transform)
    if parts is None:
        yield transform
        return
    for part in parts:
        yield from _steps(part)


def _plain(values: Any) -> Any:
    """Numbers out of a tensor or an array, whatever its shape."""
    return values.flatten().tolist() if hasattr(values, "flatten") else values
