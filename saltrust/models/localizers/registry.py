"""Networks that localise, by name or by ``package.module:factory``."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from saltrust.errors import SaltrustError, UsageError
from saltrust.models.classifiers.libraries.registry import is_of_library
from saltrust.models.classifiers.registry import ARCHITECTURES, Architecture, construct
from saltrust.models.eval_mode import eval_mode
from saltrust.models.localizers.network import localize
from saltrust.models.preprocessing import GRAY, IMAGENET, to_input
from saltrust.models.refusals import refusal
from saltrust.models.trial import Expected

LOCALIZERS: dict[str, Architecture] = {
    "unet": Architecture("saltrust.models.localizers.unet:unet", GRAY),
    "base_unet": Architecture("saltrust.models.localizers.base_unet:BaseUNet", GRAY),
    "retinanet": Architecture("saltrust.models.localizers.retinanet:retinanet", IMAGENET),
}


def build_localizer(architecture: str, n_outputs: int, /, **arguments: Any) -> nn.Module:
    """Build an untrained network that localises.

    Parameters
    ----------
    architecture : str
        A name of :data:`LOCALIZERS`, or ``package.module:factory``.  A factory is called as
        ``factory(n_outputs=n_outputs, **arguments)`` and returns a ``torch.nn.Module``: one
        that turns float32 inputs of shape (batch, channels, H, W) into logits per pixel of shape
        (batch, n_outputs, H, W), or a :class:`saltrust.models.localizers.network.Detector`.  Its
        input
        is as for :func:`saltrust.models.classifiers.registry.build`.
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
        If the name is not known, or the factory refuses the arguments.

    Examples
    --------
    >>> net = build_localizer("unet", 2, encoder_name="resnet18")
    >>> net(torch.zeros(2, 1, 40, 48)).shape
    torch.Size([2, 2, 40, 48])
    """
    if architecture in ARCHITECTURES or is_of_library(architecture):
        raise UsageError(f"architecture {architecture!r} classifies; a localizer is one of "
                         f"{', '.join(LOCALIZERS)}, or your own as package.module:factory")
    return construct(architecture, LOCALIZERS, n_outputs, arguments)


def check_localizer(module: nn.Module, expected: Expected) -> tuple[str, ...]:
    """Localise in one black image, to learn at once that the network fits the study.

    Parameters
    ----------
    module : torch.nn.Module
    expected : Expected
        ``n_outputs``: number of heatmaps that it must make.

    Returns
    -------
    tuple of str
        Nothing is assumed.

    Raises
    ------
    UsageError
        If the network cannot take images of this size, or its heatmaps have another shape than
        (batch, n_outputs, height, width).
    """
    height, width = expected.size
    what = f"architecture {expected.architecture!r}"
    device = next((weight.device for weight in module.parameters()), torch.device("cpu"))
    black = to_input(torch.zeros(1, height, width, dtype=torch.uint8), expected.preprocessing,
                     device)
    try:
        with eval_mode(module):
            localization = localize(module, black)
    except SaltrustError:
        raise
    except Exception as error:
        raise UsageError(
            f"{what} cannot localise in {black.shape[1]}-channel images of {height} x {width} "
            f"pixels: {refusal(module, black, error)}; it returns logits of every pixel"
        ) from error
    shape = tuple(localization.heatmaps.shape)
    if shape != (1, expected.n_outputs, height, width):
        raise UsageError(
            f"{what} must return logits of shape (batch, {expected.n_outputs}, {height}, {width}) "
            f"at this grid, not {shape} for one image")
    return ()
