r"""Losses of gaze-guided training (protocol W), as functions of tensors.

With the classification loss :math:`L_c`, the decoder's logits :math:`d`, the map of the classifier
:math:`m` in [0, 1] (:func:`heat_of_signal`), the gaze heatmap :math:`g`, and :math:`B` the binary
cross-entropy with logits, averaged over pixels and images:

=============  =====================================================================
``decoder``    :math:`L_g = B(d, g)`: the baseline
``set1``       :math:`L_g = B(\operatorname{logit} m, g)`
``set2``       :math:`L_g = B(d, m)`
``set3``       :math:`L_g = (1 - w)\,B(d, g) + w\,B(\operatorname{logit} m, g)`
=============  =====================================================================

and :math:`L = \gamma L_c + (1 - \gamma) L_g` with :math:`\gamma` = ``classification_weight`` and
:math:`w` = ``map_weight``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from saltrust.explainers.passes.differentiable import differentiable_map
from saltrust.study import GuidanceSpec

#: Losses that have a map of the classifier in them, and that have gaze.
NEEDS_MAP = ("set1", "set2", "set3")
NEEDS_GAZE = ("decoder", "set1", "set3")

#: Scaled maps keep this far from 0 and 1, where logits are infinite.
MARGIN = 1e-3


def explained_logits(logits: Tensor, positive: Tensor, explained: str) -> Tensor:
    """How much of each logit enters the number that is explained.

    Parameters
    ----------
    logits : Tensor, shape (B, K)
    positive : Tensor of bool, shape (B, K)
        Which classes are labelled positive.
    explained : {'predicted', 'labelled', 'all'}
        The class of the highest logit; the sum of the positive classes, of all where an image has
        none; the sum of all classes.

    Returns
    -------
    Tensor, shape (B, K)
        Zeros and ones.

    Examples
    --------
    >>> logits = torch.tensor([[1.0, 2.0], [4.0, 3.0]])
    >>> positive = torch.tensor([[True, False], [False, False]])
    >>> explained_logits(logits, positive, "predicted").tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    >>> explained_logits(logits, positive, "labelled").tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    """
    if explained == "predicted":
        chosen = functional.one_hot(logits.argmax(dim=1), logits.shape[1])
    elif explained == "labelled":
        chosen = positive | ~positive.any(dim=1, keepdim=True)
    else:
        chosen = torch.ones_like(logits)
    return chosen.to(logits)


def heat_of_signal(signal: Tensor, spec: GuidanceSpec) -> Tensor:
    r"""Turn the signal at the inputs into the map that the loss compares.

    Channels are reduced to one plane :math:`r` (their sum, or the value of largest magnitude),
    ``sign`` takes its magnitude or its positive part, a Gaussian may smooth it, and it is scaled:
    ``minmax`` to :math:`(r - \min r) / (\max r - \min r)`, ``max`` to :math:`r / \max r`, per
    image.  A map without extent is 0 everywhere.

    Parameters
    ----------
    signal : Tensor, shape (B, C, H, W)
    spec : GuidanceSpec

    Returns
    -------
    Tensor, shape (B, H, W)
        In [0, 1], with a graph; under ``scaling = "none"`` :math:`r` as it is, in its own units.

    Examples
    --------
    >>> signal = torch.tensor([[[[1.0, -4.0, 0.0]], [[1.0, 0.0, 0.0]]]])
    >>> heat_of_signal(signal, GuidanceSpec(smoothing=0.0)).tolist()
    [[[0.5, 1.0, 0.0]]]
    >>> heat_of_signal(signal, GuidanceSpec(smoothing=0.0, sign="positive")).tolist()
    [[[1.0, 0.0, 0.0]]]
    """
    if spec.channels == "sum":
        plane = signal.sum(dim=1)
    else:
        largest = signal.abs().argmax(dim=1, keepdim=True)
        plane = signal.gather(1, largest).squeeze(1)
    if spec.sign == "absolute":
        plane = plane.abs()
    elif spec.sign == "positive":
        plane = plane.clamp(min=0)
    if spec.smoothing > 0:
        plane = smooth(plane, spec.smoothing * max(plane.shape[-2:]))
    if spec.scaling == "none":
        return plane
    if spec.scaling == "minmax":
        plane = plane - plane.amin(dim=(1, 2), keepdim=True)
    top = plane.amax(dim=(1, 2), keepdim=True)
    return (plane / torch.where(top > 0, top, 1.0)).clamp(0, 1)


def smooth(plane: Tensor, sigma: float) -> Tensor:
    """Convolve with a Gaussian of ``sigma`` pixels, cut off at 3 sigma; what is outside counts 0.

    Parameters
    ----------
    plane : Tensor, shape (B, H, W)
    sigma : float
    """
    reach = max(1, math.ceil(3 * sigma))
    offsets = torch.arange(-reach, reach + 1, device=plane.device, dtype=plane.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    rows = functional.conv2d(plane.unsqueeze(1), kernel.view(1, 1, -1, 1), padding=(reach, 0))
    both = functional.conv2d(rows, kernel.view(1, 1, 1, -1), padding=(0, reach))
    return both.squeeze(1)


def logit_of_heat(heat: Tensor, spec: GuidanceSpec) -> Tensor:
    """What binary cross-entropy with logits takes for a map.

    The logit of ``MARGIN + (1 - 2 * MARGIN) * heat``, which is never infinite and has a gradient
    everywhere, so that the loss is the cross-entropy of the map itself; under
    ``scaling = "none"`` the plane as it is.
    """
    return heat if spec.scaling == "none" else torch.logit(MARGIN + (1 - 2 * MARGIN) * heat)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy with logits of each image, averaged over its pixels.

    Parameters
    ----------
    logits, target : Tensor, shape (B, H, W)
        ``target`` in [0, 1].

    Returns
    -------
    Tensor, shape (B,)
    """
    losses = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return losses.mean(dim=(1, 2))


def target_of_heat(heat: Tensor, spec: GuidanceSpec) -> Tensor:
    """What the decoder of set 2 is compared with: the map in [0, 1], with its graph or without."""
    target = torch.sigmoid(heat) if spec.scaling == "none" else heat
    return target.detach() if spec.detach else target


class MapLosses(NamedTuple):
    """Losses of maps, averaged over the images of a batch.

    Attributes
    ----------
    value : Tensor, scalar
        :math:`L_g`, with its graph.
    named : dict of str to Tensor
        What it is made of: ``decoder``, ``imitation`` (of the map by the decoder), ``map``.
    """

    value: Tensor
    named: dict[str, Tensor]


def map_losses(network: nn.Module, inputs: Tensor, decoded: Tensor | None, gaze: Tensor | None,
               known: Tensor | None, positive: Tensor, spec: GuidanceSpec) -> MapLosses:
    """:math:`L_g` of a batch: every loss but that of the classification.

    Parameters
    ----------
    network : nn.Module
        The classifier, whose map is made where the loss has one.
    inputs : Tensor, shape (B, C, H, W)
    decoded : Tensor, shape (B, H, W), optional
        Logits of the decoder; not needed by ``set1``.
    gaze : Tensor, shape (B, H, W), optional
        In [0, 1]; not needed by ``set2``.
    known : Tensor of bool, shape (B,), optional
        Which images have gaze; the others count 0 where gaze is compared with, and no map is made
        of them.
    positive : Tensor of bool, shape (B, K)
        Which classes are labelled positive.
    spec : GuidanceSpec
        With any loss but ``none`` and ``classification``.
    """
    if spec.loss == "set2":
        assert decoded is not None
        heat = heat_of_signal(_signal(network, inputs, positive, spec), spec)
        imitation = cross_entropy(decoded, target_of_heat(heat, spec)).mean()
        return MapLosses(imitation, {"imitation": imitation})
    assert gaze is not None
    assert known is not None
    named = {}
    if spec.loss in ("decoder", "set3"):
        assert decoded is not None
        named["decoder"] = (cross_entropy(decoded, gaze) * known).mean()
    if spec.loss in NEEDS_MAP:
        named["map"] = inputs.new_zeros(())
        if bool(known.any()):
            heat = heat_of_signal(_signal(network, inputs[known], positive[known], spec), spec)
            losses = cross_entropy(logit_of_heat(heat, spec), gaze[known])
            named["map"] = losses.sum() / len(inputs)
    if spec.loss == "set3":
        value = (1 - spec.map_weight) * named["decoder"] + spec.map_weight * named["map"]
    else:
        (value,) = named.values()
    return MapLosses(value, named)


def _signal(network: nn.Module, inputs: Tensor, positive: Tensor, spec: GuidanceSpec) -> Tensor:
    def choice(logits: Tensor) -> Tensor:
        return explained_logits(logits, positive, spec.explained)

    return differentiable_map(network, inputs, choice, spec.rule)
