"""Architectures by name: ours, those of other libraries, anybody's ``package.module:factory``."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from saltrust.errors import UsageError, nearest
from saltrust.models.classifiers.libraries.registry import is_of_library, library_factory
from saltrust.models.eval_mode import eval_mode
from saltrust.models.preprocessing import GRAY, IMAGENET, INCEPTION, Preprocessing, to_input


@dataclass(frozen=True)
class Architecture:
    """One named architecture.

    Attributes
    ----------
    factory : str
        ``module:function``, called as ``function(n_outputs, **arguments)``.
    preprocessing : Preprocessing
        What its input must be.
    """

    factory: str
    preprocessing: Preprocessing


_TORCHVISION = "saltrust.models.classifiers.torchvision_classifiers"

ARCHITECTURES: dict[str, Architecture] = {
    "densenet121": Architecture(f"{_TORCHVISION}:densenet121", IMAGENET),
    "inception_v3": Architecture(f"{_TORCHVISION}:inception_v3", INCEPTION),
    "resnet18": Architecture(f"{_TORCHVISION}:resnet18", IMAGENET),
    "resnet50": Architecture(f"{_TORCHVISION}:resnet50", IMAGENET),
    "resnet152": Architecture(f"{_TORCHVISION}:resnet152", IMAGENET),
    "efficientnet_b0": Architecture(f"{_TORCHVISION}:efficientnet_b0", IMAGENET),
    "efficientnet_unet": Architecture("saltrust.models.classifiers.classifying_unets:EncoderUNet",
    IMAGENET),
    "phantom_net": Architecture("saltrust.models.classifiers.small:PhantomNet", GRAY),
    "phantom_unet": Architecture("saltrust.models.classifiers.small:PhantomUNet", GRAY),
}


def build(architecture: str, n_outputs: int, /, **arguments: Any) -> nn.Module:
    """Build an untrained classifier.

    Parameters
    ----------
    architecture : str
        A name of :data:`ARCHITECTURES`, ``library:name`` of
        :mod:`saltrust.models.classifiers.libraries.registry`, or ``package.module:factory``.  A
        factory is called as
        ``factory(n_outputs=n_outputs, **arguments)`` and returns a ``torch.nn.Module`` that
        turns float32 inputs of shape (batch, channels, height, width) into logits of shape
        (batch, n_outputs).  A module with an attribute ``preprocessing``
        (:class:`~saltrust.models.preprocessing.Preprocessing`) states its own input contract;
        without one it gets three channels with ImageNet's mean and deviation.
    n_outputs : int
        Number of findings.
    **arguments
        Keywords for the factory, the ``arguments`` of the study file.

    Returns
    -------
    torch.nn.Module
        With weights drawn from torch's global generator: seed it first.

    Raises
    ------
    UsageError
        If the name is not known (the nearest is named), the module or its attribute is not
        there, the factory refuses the arguments or returns something else.

    Examples
    --------
    >>> model = build("phantom_net", 3, width=8)
    >>> model(torch.zeros(2, 1, 64, 64)).shape
    torch.Size([2, 3])
    """
    return construct(architecture, ARCHITECTURES, n_outputs, arguments)


def construct(architecture: str, known: Mapping[str, Architecture], n_outputs: int,
              arguments: Mapping[str, Any]) -> nn.Module:
    """Build a network by a name of ``known``, of a library, or by ``package.module:factory``.

    Parameters
    ----------
    architecture : str
    known : mapping of str to Architecture
    n_outputs : int
        Number of findings, at least 1.
    arguments : mapping
        Keywords for the factory.

    Raises
    ------
    UsageError
        If the name is not known, its module or attribute is not there, or the factory refuses
        the arguments or returns something else.
    """
    if n_outputs < 1:
        raise UsageError(f"architecture {architecture!r} needs at least one finding to predict")
    named = known.get(architecture)
    if named is None and is_of_library(architecture):
        factory = library_factory(architecture)
    else:
        factory = import_attribute(named.factory if named else architecture,
                                   f"architecture {architecture!r}", known)
    try:
        model = factory(n_outputs=n_outputs, **arguments)
    except TypeError as error:
        raise UsageError(f"architecture {architecture!r} does not take the arguments "
                         f"{dict(arguments)}: {error}") from error
    if not isinstance(model, nn.Module):
        raise UsageError(f"architecture {architecture!r} must return a torch.nn.Module, "
                         f"not {type(model).__name__}")
    return model


def preprocessing_of(architecture: str, model: nn.Module,
                     known: Mapping[str, Architecture] = ARCHITECTURES) -> Preprocessing:
    """The input contract of a model: its own, that of its architecture, or ImageNet's.

    Parameters
    ----------
    architecture : str
    model : torch.nn.Module
        Its attribute ``preprocessing``, where it has one, decides.
    known : mapping of str to Architecture
        Where the contract of an architecture stands.
    """
    stated = getattr(model, "preprocessing", None)
    if isinstance(stated, Preprocessing):
        return stated
    named = known.get(architecture)
    return named.preprocessing if named else IMAGENET


def import_attribute(
    reference: str, what: str, known: Mapping[str, Any] | None = None
) -> Callable[..., Any]:
    """Import ``package.module:attribute`` and check that it can be called.

    Parameters
    ----------
    reference : str
    what : str
        What the reference stands for, to begin the error message.
    known : mapping, optional
        Names that would have done as well, for the error message.

    Raises
    ------
    UsageError
        If the reference is no such reference, or what it names is not there.
    """
    module_name, colon, attribute = reference.partition(":")
    if not colon or not module_name or not attribute:
        raise UsageError(f"{what} is not known; {nearest(reference, known or {})}, "
                         "or give your own as package.module:factory")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UsageError(f"{what}: module {module_name!r} cannot be imported ({error}); install "
                         "it or put it beside the study file") from error
    factory = getattr(module, attribute, None)
    if factory is None:
        names = [name for name in vars(module) if not name.startswith("_")]
        raise UsageError(f"{what}: module {module_name!r} has no attribute {attribute!r}; "
                         f"{nearest(attribute, names)}")
    if not callable(factory):
        raise UsageError(f"{what}: {reference} is not a function but {type(factory).__name__}")
    result: Callable[..., Any] = factory
    return result


@contextlib.contextmanager
def importable_from(folder: Path) -> Iterator[None]:
    """Let modules that lie beside the study file be imported, for as long as this lasts.

    They come last, so that no file in the folder takes the place of an installed package.
    """
    entry = str(folder)
    sys.path.append(entry)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(entry)


def check_forward(
    architecture: str, model: nn.Module, preprocessing: Preprocessing, grid: int, n_outputs: int
) -> None:
    """Send one black image through a model, to learn at once that it fits the study.

    Parameters
    ----------
    architecture : str
        For messages.
    model : torch.nn.Module
    preprocessing : Preprocessing
    grid : int
        Height and width of the images, in pixels.
    n_outputs : int
        Number of logits that it must return.

    Raises
    ------
    UsageError
        If the model cannot take images of this size, or its output has another shape than
        (batch, n_outputs).
    """
    device = next((weight.device for weight in model.parameters()), torch.device("cpu"))
    black = torch.zeros(1, grid, grid, dtype=torch.uint8)
    try:
        with eval_mode(model), torch.no_grad():
            output = model(to_input(black, preprocessing, device))
    except (RuntimeError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise UsageError(
            f"architecture {architecture!r} cannot take {preprocessing.channels}-channel images "
            f"of {grid} x {grid} pixels ({reason}); change `grid` of the study"
        ) from error
    shape = tuple(getattr(output, "shape", ()))
    if shape != (1, n_outputs):
        returned = f"shape {shape}" if shape else f"a {type(output).__name__}"
        raise UsageError(f"architecture {architecture!r} must return logits of shape (batch, "
                         f"{n_outputs}), not {returned} for one image")
