"""Maps of signals that are rectified on their way back: guided backpropagation and deconvnet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from torch import Tensor, nn

from saltrust.explainers.declaration import explainer
from saltrust.explainers.methods.class_activation import gradcam
from saltrust.explainers.passes.forward import ForwardPass, run_forward
from saltrust.explainers.passes.layers import find_layer
from saltrust.explainers.passes.rectifiers import (
    CopiedBack,
    WrittenOut,
    deconvolution,
    guided,
    rectifier_rule,
    unknown_functions,
    works_on_views,
    writes_rectifiers,
)
from saltrust.explainers.passes.visibility import warn_of


@explainer(rank=7, to_inputs=True, reading="absolute",
           cost="a backward pass for each finding")
def guided_backprop(
    module: nn.Module,
    inputs: Tensor,
    outputs: Sequence[int],
    *,
    forward: ForwardPass | None = None,
) -> Tensor:
    """Guided backpropagation: the gradient from which rectifiers cut all negative signals.

    ``heatmap[y, x] = sum over c of R[c, y, x]``, where ``R`` is the signal that arrives at the
    inputs from the logit when each rectifier hands on ``1[x > 0] max(R, 0)``.

    The rule holds at every rectifier: module or function, in place, reused.  How it is read for
    SiLU (Swish) and other relatives of ReLU stands in :mod:`saltrust.explainers.passes.rectifiers`.

    Parameters
    ----------
    module : torch.nn.Module
        Returns logits of shape (B, K).  Not modified.
    inputs : Tensor, shape (B, C, H, W), floating
    outputs : sequence of int
        Indices of the F logits to explain.
    forward : ForwardPass, optional
        A pass over the same inputs that reaches back to them, to share.

    Returns
    -------
    Tensor, shape (B, F, H, W), dtype of ``inputs``
        Raw and signed: what leaves the lowest rectifier still passes a convolution with
        weights of both signs.  Summed over channels, without absolute values.

    Raises
    ------
    DataError
        If the network has no rectifier, or hides some (``torch.compile``).

    References
    ----------
    Springenberg, Dosovitskiy, Brox, Riedmiller 2015, "Striving for simplicity: the all
    convolutional net", section 3.4.
    """
    return _signal(guided, module, inputs, outputs, forward)


@explainer(rank=9, to_inputs=True, reading="absolute",
           cost="a backward pass for each finding")
def deconvnet(
    module: nn.Module,
    inputs: Tensor,
    outputs: Sequence[int],
    *,
    forward: ForwardPass | None = None,
) -> Tensor:
    """Deconvnet: the way back rectifies its own signal and forgets what was rectified before.

    ``heatmap[y, x] = sum over c of R[c, y, x]``, where ``R`` is the signal that arrives at the
    inputs from the logit when each rectifier hands on ``max(R, 0)``, whether its own input was
    positive or not.  Max pooling sends a signal back to where the maximum was ("switches").

    The rule holds at every rectifier: module or function, in place, reused, and for all
    relatives of ReLU (:mod:`saltrust.explainers.passes.rectifiers`).

    Parameters
    ----------
    module : torch.nn.Module
        Returns logits of shape (B, K).  Not modified.
    inputs : Tensor, shape (B, C, H, W), floating
    outputs : sequence of int
        Indices of the F logits to explain.
    forward : ForwardPass, optional
        A pass over the same inputs that reaches back to them, to share.

    Returns
    -------
    Tensor, shape (B, F, H, W), dtype of ``inputs``
        Raw and signed, as for :func:`guided_backprop`.  Summed over channels.

    Raises
    ------
    DataError
        If the network has no rectifier, or hides some (``torch.compile``).

    References
    ----------
    Zeiler, Fergus 2014, "Visualizing and understanding convolutional networks", section 2.1;
    as a rule for rectifiers in Springenberg et al. 2015, section 3.4.
    """
    return _signal(deconvolution, module, inputs, outputs, forward)


@explainer(rank=8, to_inputs=True, layers=("layer",), reading="positive",
           cost="two backward passes for each finding")
def guided_gradcam(
    module: nn.Module,
    inputs: Tensor,
    outputs: Sequence[int],
    *,
    layer: str = "",
    forward: ForwardPass | None = None,
) -> Tensor:
    """Guided Grad-CAM: guided backpropagation where Grad-CAM is high.

    ``heatmap = guided_backprop * gradcam``, pixel by pixel; Grad-CAM is rectified and
    upsampled bilinearly to the inputs' size
    (:func:`saltrust.explainers.methods.class_activation.gradcam`).

    Parameters
    ----------
    module : torch.nn.Module
        Returns logits of shape (B, K).  Not modified.
    inputs : Tensor, shape (B, C, H, W), floating
    outputs : sequence of int
        Indices of the F logits to explain.
    layer : str
        Dotted name of Grad-CAM's layer; empty: the last spatial feature map.
    forward : ForwardPass, optional
        A pass over the same inputs that reaches back to them and kept ``layer``, to share.

    Returns
    -------
    Tensor, shape (B, F, H, W), dtype of ``inputs``
        Raw, with the sign of guided backpropagation; 0 where Grad-CAM is.  Summed over channels.

    Raises
    ------
    DataError
        If the network has no rectifier, or hides some (``torch.compile``).
    UsageError
        If the network has no such layer, or it returns no feature maps.

    References
    ----------
    Selvaraju et al. 2017, "Grad-CAM: visual explanations from deep networks via
    gradient-based localization", section 3.2.
    """
    if forward is None or layer not in forward.features or not forward.inputs.requires_grad:
        fitted = find_layer(module, inputs[:1], layer)
        forward = run_forward(module, inputs, layers=(fitted,))
        layer = fitted.name
    fine = guided_backprop(module, inputs, outputs, forward=forward)
    return fine * gradcam(module, inputs, outputs, layer=layer, forward=forward)


def _signal(rule: Callable[[Any], Any], module: nn.Module, inputs: Tensor,
            outputs: Sequence[int], forward: ForwardPass | None) -> Tensor:
    if forward is None or not forward.inputs.requires_grad:
        forward = run_forward(module, inputs)
    shared = forward

    def compute() -> Tensor:
        forward = shared
        modes: list[AbstractContextManager[Any]] = []
        written = WrittenOut()
        if works_on_views(shared.logits):
            modes.append(CopiedBack())
        if writes_rectifiers(shared.logits):
            modes.append(written)
        if modes:
            with ExitStack() as active:
                for mode in modes:
                    active.enter_context(mode)
                forward = run_forward(module, inputs)
        unknown = [f"function {name!r} of its own" for name in unknown_functions(forward.logits)]
        warn_of(module, "guided_backprop and deconvnet", unknown + written.unknown)
        with rectifier_rule(rule, forward.logits):
            return forward.maps(outputs, lambda signal: signal.sum(dim=1))

    return shared.compute_once((rule.__name__, tuple(outputs)), compute)
