"""Class activation maps: weighted sums of a layer's feature maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from saltrust.explainers.forward import ForwardPass, run_forward
from saltrust.explainers.layers import feature_layer


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
        Dotted name of the layer; empty: the last spatial feature map
        (:func:`saltrust.explainers.layers.feature_layer`).  The feature maps are what the
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
    if forward is None or layer not in forward.features:
        layer = feature_layer(module, inputs[:1], layer)
        forward = run_forward(module, inputs, to_inputs=False, layers=(layer,))
    features = forward.features[layer]
    maps = []
    for output in outputs:
        weights = forward.gradient(output, features).mean(dim=(2, 3))
        maps.append(torch.einsum("bk,bkyx->byx", weights, features.detach()).relu())
    return functional.interpolate(
        torch.stack(maps, dim=1), size=inputs.shape[2:], mode="bilinear", align_corners=False
    )
