"""What captum computes where an explainer of saltrust has its like there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from saltrust.explainers.bound import BoundExplainer, bind
from saltrust.explainers.explain import explain
from saltrust.explainers.libraries.captum.attribution import captum_explainer
from saltrust.explainers.passes.context import BatchContext
from saltrust.explainers.passes.forward import recording, run_forward
from saltrust.explainers.passes.sampling import gaussian_noise

_Parameters = Mapping[str, Any]
_QUADRATURES = {"right": "riemann_right", "midpoint": "riemann_middle",
                "trapezoid": "riemann_trapezoid", "gauss-legendre": "gausslegendre"}


def _of_ig(given: _Parameters) -> dict[str, Any]:
    # captum's rules need two steps at least.
    return {"n_steps": max(2, given["steps"]), "method": _QUADRATURES[given["quadrature"]],
            "baseline": given["baseline"]}


#: By the name of ours: captum's class, and what it is given for the parameters of ours.
COUNTERPARTS: dict[str, tuple[str, Callable[[_Parameters], dict[str, Any]]]] = {
    "grad": ("Saliency", lambda _given: {"abs": False}),
    "input_x_gradient": ("InputXGradient", lambda _given: {}),
    "ig": ("IntegratedGradients", _of_ig),
    "deeplift": ("DeepLift", lambda given: {"baseline": given["baseline"]}),
    "guided_backprop": ("GuidedBackprop", lambda _given: {}),
    "deconvnet": ("Deconvolution", lambda _given: {}),
    "gradcam": ("LayerGradCam", lambda given: {"layer": given["layer"],
                                               "relu_attributions": True}),
    "guided_gradcam": ("GuidedGradCam", lambda given: {"layer": given["layer"],
                                                       "interpolate_mode": "bilinear"}),
    "occlusion": ("Occlusion", lambda given: {"window": given["window"],
                                              "stride": given["stride"],
                                              "baseline": given["fill"]}),
    # Of noisy copies, the same as ours: averages of these.
    "smoothgrad": ("Saliency", lambda _given: {"abs": False}),
    "smooth_ig": ("IntegratedGradients", _of_ig),
}


def counterpart(ours: BoundExplainer) -> BoundExplainer | None:
    """The method of captum with the parameters of ours; None where it has none.

    Parameters
    ----------
    ours : BoundExplainer
        Fitted, so that its layer is named.
    """
    function = ours.explainer.function
    name = getattr(function, "__name__", "")
    if name not in COUNTERPARTS or not str(function.__module__).startswith(
            "saltrust.explainers.methods."):
        return None
    kind, parameters = COUNTERPARTS[name]
    return bind(captum_explainer(f"captum.{kind}"), parameters(ours.parameters))


def explain_by_captum(ours: BoundExplainer, theirs: BoundExplainer, module: nn.Module,
                      inputs: Tensor, outputs: Sequence[int], context: BatchContext) -> Tensor:
    """Maps of a batch by captum, of the same noisy copies where ours averages over some.

    Parameters
    ----------
    ours : BoundExplainer
    theirs : BoundExplainer
        From :func:`counterpart`.
    module : torch.nn.Module
    inputs : Tensor, shape (B, C, H, W)
    outputs : sequence of int
        Indices of F logits.
    context : BatchContext

    Returns
    -------
    Tensor, shape (B, F, H, W)

    Raises
    ------
    DataError
        If captum fails.
    """
    if "samples" not in ours.parameters:
        explanation = explain(module, inputs, outputs, [theirs], context=context)
        return explanation.heatmaps[theirs.name]
    samples: int = ours.parameters["samples"]
    total = torch.zeros(len(inputs), len(outputs), *inputs.shape[2:]).to(inputs)
    theirs = theirs.fit(module, inputs[:1])
    with recording():
        for sample in range(samples):
            noisy = inputs + gaussian_noise(context, inputs, sample, ours.parameters["noise"])
            total += theirs(run_forward(module, noisy, to_inputs=False), outputs, context)
    return total / samples
