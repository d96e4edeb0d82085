"""Maps of the gradient at the inputs."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from saltrust.explainers.declaration import explainer
from saltrust.explainers.passes.forward import ForwardPass, run_forward


@explainer(rank=1, to_inputs=True, reading="absolute",
           cost="a backward pass for each finding")
def grad(
    module: nn.Module,
    inputs: Tensor,
    outputs: Sequence[int],
    *,
    forward: ForwardPass | None = None,
) -> Tensor:
    """Gradient of the logit with respect to the gray value of each pixel.

    ``heatmap[y, x] = sum over c of d logit / d input[c, y, x]``

    Radiographs enter networks as one gray value repeated over channels, so that the sum over
    channels is, by the chain rule, the derivative along the gray axis: exactly so where the
    channels are scaled alike, and with each channel's scale as its weight where they are
    normalised by their own standard deviations.

    Parameters
    ----------
    module : torch.nn.Module
        Returns logits of shape (B, K).
    inputs : Tensor, shape (B, C, H, W), floating
    outputs : sequence of int
        Indices of the F logits to explain.
    forward : ForwardPass, optional
        A pass over the same inputs that reaches back to them, to share.

    Returns
    -------
    Tensor, shape (B, F, H, W), dtype of ``inputs``
        Raw and signed: positive where a brighter pixel raises the logit.  No absolute value
        is taken, as in protocol A.  Unit: logit per unit of input.

    References
    ----------
    Simonyan, Vedaldi, Zisserman 2013, "Deep inside convolutional networks", eq. 4 and
    section 3, there with absolute values and the maximum over channels.
    """
    if forward is None or not forward.inputs.requires_grad:
        forward = run_forward(module, inputs)
    return forward.maps(outputs, lambda gradient: gradient.sum(dim=1))


@explainer(rank=14, to_inputs=True, reading="positive",
           cost="a backward pass for each finding")
def input_x_gradient(
    module: nn.Module,
    inputs: Tensor,
    outputs: Sequence[int],
    *,
    forward: ForwardPass | None = None,
) -> Tensor:
    """Input times gradient: the first-order share of each pixel in the logit.

    ``heatmap[y, x] = sum over c of input[c, y, x] * d logit / d input[c, y, x]``

    Of a network that is piecewise linear without biases, the map adds up to the logit.  The
    inputs are those of the network, normalised: a pixel of the mean gray value gets 0.

    Parameters
    ----------
    module : torch.nn.Module
        Returns logits of shape (B, K).
    inputs : Tensor, shape (B, C, H, W), floating
    outputs : sequence of int
        Indices of the F logits to explain.
    forward : ForwardPass, optional
        A pass over the same inputs that reaches back to them, to share.

    Returns
    -------
    Tensor, shape (B, F, H, W), dtype of ``inputs``
        Raw and signed, in logits, summed over channels.

    References
    ----------
    Shrikumar, Greenside, Shcherbina, Kundaje 2016, "Not just a black box: learning important
    features through propagating activation differences".
    """
    if forward is None or not forward.inputs.requires_grad:
        forward = run_forward(module, inputs)
    return forward.maps(outputs, lambda gradient: (gradient * inputs).sum(dim=1))
