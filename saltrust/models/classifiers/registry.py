"""Architectures by name: ours, those of other libraries, anybody's ``package.module:factory``."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from saltrust.errors import SaltrustError, UsageError
from saltrust.models.classifiers.libraries.registry import is_of_library, library_factory
from saltrust.models.preprocessing import GRAY, IMAGENET, INCEPTION, Preprocessing
from saltrust.models.user_code import describe_error, import_attribute, is_of_user


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
        turns inputs of shape (batch, channels, height, width) into logits of shape
        (batch, n_outputs), or into what its attribute ``output`` or the study state
        (:mod:`saltrust.models.contract`).  A module with an attribute ``preprocessing``
        (:mod:`saltrust.models.stated`) states its own input contract; without one, and where the
        study states none, it gets three channels with ImageNet's mean and deviation.
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
        there, the factory fails, whatever it raises, or returns something else.

    Examples
    --------
    >>> model = build("phantom_net", 3, width=8)
    >>> import torch
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
        If the name is not known, its module or attribute is not there, or the factory fails
        or returns something else.
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
    except SaltrustError:
        raise
    except (Exception, SystemExit) as error:
        given = textwrap.shorten(", ".join(["n_outputs", *arguments]), 400, placeholder=" ...")
        what = ("does not take the arguments" if _is_of_call(error) or not is_of_user(error)
                else "cannot be built with")
        raise UsageError(f"architecture {architecture!r} {what} {given}: "
                         f"{describe_error(error)}") from error
    if not isinstance(model, nn.Module):
        raise UsageError(f"architecture {architecture!r} must return a torch.nn.Module, "
                         f"not {type(model).__name__}")
    return model


def _is_of_call(error: BaseException) -> bool:
    """Whether a call itself failed, and nothing inside of what was called."""
    trace = error.__traceback__
    return isinstance(error, TypeError) and (trace is None or trace.tb_next is None)
