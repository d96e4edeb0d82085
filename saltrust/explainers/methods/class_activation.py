"""Class activation maps: weighted sums of a layer's feature maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from saltrust.explainers.declaration import explainer
from saltrust.explainers.passes.forward import ForwardPass, run_forward
from saltrust.explainers.passes.layers import find_layer


@explainer(rank=5, layers=("layer",),
           cost="a backward pass to the layer for each finding")
def gradcam(
    module: nn.Module,
    inputs: Tensor,
    outputs: Sequence[int],
    *,
    layer: str = "",
    forward: ForwardPass | None = None,
) -> Tensor:
    """Grad-CAM: the part of the feature maps that speaks for the finding.

    ``heatmap = upsample(relu(sum over k of w[k] * A[k]))``, where ``A[k]`` is the k-th feature
    map of the layer and ``w[k]`` the spatial mean of ``d logit / d A[k]``.

    Gradients are taken from the logits to the layer and no further.

    Parameters
    ----------
    module : torch.nn.Module
        Returns logits of shape (B, K).
    inputs : Tensor, shape (B, C, H, W), floating
    outputs : sequence of int
        Indices of the F logits to explain.
    layer : str
        Dotted name of the layer; empty: found automatically
        (:func:`saltrust.explainers.passes.layers.find_layer`).  The feature maps are what the
        layer itself returns: a rectifier that the network applies to them as a function, as
        DenseNet does, comes after.
    forward : ForwardPass, optional
        A pass over the same inputs that kept ``layer``, to share.

    Returns
    -------
    Tensor, shape (B, F, H, W), dtype of ``inputs``
        At least 0; all 0 where every position speaks against the finding.  Bilinear
        upsampling with half-pixel centres (``align_corners=False``).

    Raises
    ------
    UsageError
        If the network has no such layer, or it returns no feature maps.

    References
    ----------
    Selvaraju et al. 2017, "Grad-CAM: visual explanations from deep networks via
    gradient-based localization", eq. 1 and 2.
    """
    layer, forward = _with_features(module, inputs, layer, forward)
    features = forward.features[layer]
    values = features.detach().to(inputs.dtype)
    maps = []
    for output in outputs:
        weights = forward.gradient(output, features).mean(dim=(2, 3))
        maps.append(torch.einsum("bk,bkyx->byx", weights, values).relu())
    return _upsample(torch.stack(maps, dim=1), inputs)


@explainer(rank=10, layers=("layer",),
           cost="a backward pass to the layer for each finding")
def gradcam_plus_plus(
    module: nn.Module,
    inputs: Tensor,
    outputs: Sequence[int],
    *,
    layer: str = "",
    forward: ForwardPass | None = None,
) -> Tensor:
    """Grad-CAM++: Grad-CAM with weights that count every place where a feature speaks up.

    ``heatmap = upsample(relu(sum over k of w[k] * A[k]))``, where, with ``g = d logit / d A``,
    ``w[k] = sum over y, x of a[k, y, x] * max(g[k, y, x], 0)`` and
    ``a[k, y, x] = g**2 / (2 g**2 + g**3 * sum over y, x of A[k])``, 0 where ``g`` is.

    The formula is meant for feature maps of at least 0, where ``a`` lies between 0 and 1/2:
    choose a layer that rectifies.  The score is the exponential of the logit, as in the paper,
    whose higher derivatives are then powers of ``g`` times the score.  The score itself, one
    positive number per image and finding that may exceed the range of floats, is left out of
    ``w``: maps have their shape, and a scale that holds within one finding of one image only.

    Parameters
    ----------
    module : torch.nn.Module
        Returns logits of shape (B, K).
    inputs : Tensor, shape (B, C, H, W), floating
    outputs : sequence of int
        Indices of the F logits to explain.
    layer : str
        Dotted name of the layer; empty: found automatically
        (:func:`saltrust.explainers.passes.layers.find_layer`).  The feature maps are what the
        layer itself returns, before a rectifier that the network applies to them as a function.
    forward : ForwardPass, optional
        A pass over the same inputs that kept ``layer``, to share.

    Returns
    -------
    Tensor, shape (B, F, H, W), dtype of ``inputs``
        At least 0.  Bilinear upsampling with half-pixel centres.

    Raises
    ------
    UsageError
        If the network has no such layer, or it returns no feature maps.

    References
    ----------
    Chattopadhay, Sarkar, Howlader, Balasubramanian 2018, "Grad-CAM++: improved visual
    explanations for deep convolutional networks", eq. 5 and 19.
    """
    layer, forward = _with_features(module, inputs, layer, forward)
    features = forward.features[layer]
    values = features.detach().to(inputs.dtype)
    maps = []
    for output in outputs:
        gradient = forward.gradient(output, features)
        # g**2 is divided out, which also keeps small gradients from vanishing.
        share = 1 / (2 + gradient * values.sum(dim=(2, 3), keepdim=True))
        share = torch.where(gradient > 0, share, 0)
        weights = (share * gradient).sum(dim=(2, 3))
        maps.append(torch.einsum("bk,bkyx->byx", weights, values).relu())
    return _upsample(torch.stack(maps, dim=1), inputs)


@explainer(rank=11, layers=("layer",),
           cost="a forward pass; the same map for all findings")
def eigencam(
    module: nn.Module,
    inputs: Tensor,
    outputs: Sequence[int],
    *,
    layer: str = "",
    centered: bool = False,
    forward: ForwardPass | None = None,
) -> Tensor:
    """Eigen-CAM: the first principal component of the feature maps, whatever the finding.

    ``heatmap = upsample(A v)``, where ``A`` has a row per position and a column per feature map,
    and ``v`` is its first right singular vector.

    The map does not depend on the logits: all findings of an image get the same.

    Parameters
    ----------
    module : torch.nn.Module
        Returns logits of shape (B, K).
    inputs : Tensor, shape (B, C, H, W), floating
    outputs : sequence of int
        Indices of the F logits, of which only the number counts.
    layer : str
        Dotted name of the layer; empty: found automatically
        (:func:`saltrust.explainers.passes.layers.find_layer`).  The feature maps are what the
        layer itself returns, before a rectifier that the network applies to them as a function.
    centered : bool
        Whether each feature map's mean is taken off first, as ``pytorch-grad-cam`` does and the
        paper does not.
    forward : ForwardPass, optional
        A pass over the same inputs that kept ``layer``, to share.

    Returns
    -------
    Tensor, shape (B, F, H, W), dtype of ``inputs``
        Signed.  A singular vector has no sign of its own: the map is turned so that it goes
        with the sum of the feature maps (their inner product over positions is positive), so
        that rectified feature maps give a map of at least 0 unless centred.  Bilinear
        upsampling with half-pixel centres.

    Raises
    ------
    UsageError
        If the network has no such layer, or it returns no feature maps.

    References
    ----------
    Muhammad, Yeasin 2020, "Eigen-CAM: class activation map using principal components", eq. 3
    and 4.
    """
    layer, forward = _with_features(module, inputs, layer, forward)
    values = forward.features[layer].detach().to(inputs.dtype)
    flat = values.flatten(2).transpose(1, 2)
    if centered:
        flat = flat - flat.mean(dim=1, keepdim=True)
    # Of the smaller Gram matrix, whose eigenvectors are the singular vectors.
    positions, channels = flat.shape[1:]
    if positions <= channels:
        _, vectors = torch.linalg.eigh(flat @ flat.mT)
        scale = torch.linalg.vector_norm(flat.mT @ vectors[..., -1:], dim=1, keepdim=True)
        projection = (vectors[..., -1:] * scale).squeeze(2)
    else:
        _, vectors = torch.linalg.eigh(flat.mT @ flat)
        projection = (flat @ vectors[..., -1:]).squeeze(2)
    total = flat.sum(dim=2)
    agreement = (projection * total).sum(dim=1, keepdim=True)
    projection = torch.where(agreement < 0, -projection, projection)
    maps = projection.view(len(values), 1, *values.shape[2:])
    return _upsample(maps, inputs).repeat(1, len(outputs), 1, 1)


def _with_features(module: nn.Module, inputs: Tensor, layer: str,
                   forward: ForwardPass | None) -> tuple[str, ForwardPass]:
    if forward is None or layer not in forward.features:
        fitted = find_layer(module, inputs[:1], layer)
        forward = run_forward(module, inputs, to_inputs=False, layers=(fitted,))
        layer = fitted.name
    return layer, forward


def _upsample(maps: Tensor, inputs: Tensor) -> Tensor:
    return functional.interpolate(maps, size=inputs.shape[2:], mode="bilinear",
                                  align_corners=False)
