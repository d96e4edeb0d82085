"""The class activation maps of pytorch-grad-cam, by name: ``pytorch_grad_cam.GradCAM``."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from saltrust.errors import DataError, SaltrustError, UsageError, nearest
from saltrust.explainers.declaration import COUNT, Explainer
from saltrust.explainers.libraries.random_state import random_state, without_warnings
from saltrust.explainers.passes.context import BatchContext
from saltrust.explainers.passes.layers import find_layer
from saltrust.models.torchvision_operators import declare_missing_operators
from saltrust.models.user_code import describe_error

PREFIX = "pytorch_grad_cam."

_TO_THE_LAYER = "a backward pass to the inputs for each finding"
_ONE = "a forward pass for each finding, all of which get the same map"
_CHANNELS = "a forward pass for each channel of the layer and finding"

#: What each class costs.
COSTS: dict[str, str] = {
    "GradCAM": _TO_THE_LAYER, "GradCAMPlusPlus": _TO_THE_LAYER, "HiResCAM": _TO_THE_LAYER,
    "XGradCAM": _TO_THE_LAYER, "LayerCAM": _TO_THE_LAYER, "GradCAMElementWise": _TO_THE_LAYER,
    "EigenGradCAM": _TO_THE_LAYER, "FinerCAM": _TO_THE_LAYER, "RefineCAM": _TO_THE_LAYER,
    "ShapleyCAM": "a second derivative for each finding",
    "FullGrad": "a backward pass for each finding, and maps of every layer with a bias",
    "EigenCAM": _ONE, "KPCA_CAM": _ONE, "SegEigenCAM": _TO_THE_LAYER, "FEM": _ONE,
    "RandomCAM": "a forward pass for each finding", "ScoreCAM": _CHANNELS, "AblationCAM": _CHANNELS,
    "SESS": "Grad-CAM of every window at twelve scales, for each finding",
}
#: Classes that make no map of a finding, and why.
WITHOUT_MAPS: dict[str, str] = {
    "DeepFeatureFactorization": "it makes maps of concepts, not of findings",
    "GuidedBackpropReLUModel": "it makes no class activation map; take `guided_backprop`",
    "AblationLayer": "it is a part of AblationCAM",
    "AblationLayerVit": "it is a part of AblationCAM",
    "AblationLayerFasterRCNN": "it is a part of AblationCAM",
    "ActivationsAndGradients": "it is a part of the others",
}
_RANDOM = ("RandomCAM",)
_OF_SKLEARN = ("KPCA_CAM",)
#: Modules of the library that read the values of a layer as planes themselves.
_OF_PLANES = ("AblationCAM", "FullGrad")
#: They differentiate twice, or what no graph reaches from the inputs.
_WITH_WEIGHTS = ("ShapleyCAM", "SESS")
_PACKAGES = ("pytorch_grad_cam", "sklearn", "numpy", "torch")


def why_not(kind: str) -> str:
    """Why a class of pytorch-grad-cam cannot be asked for here; empty where it can.

    Parameters
    ----------
    kind : str
        Its name.
    """
    if find_spec("pytorch_grad_cam") is None:
        return "pytorch_grad_cam is not installed; pip install grad-cam"
    if kind in WITHOUT_MAPS:
        return f"pytorch_grad_cam's {kind} makes no map of a finding: {WITHOUT_MAPS[kind]}"
    if kind not in COSTS:
        return f"pytorch_grad_cam has no method {kind!r}; {nearest(kind, COSTS)}"
    if kind in _OF_SKLEARN and find_spec("sklearn") is None:
        return f"pytorch_grad_cam's {kind} takes scikit-learn; pip install scikit-learn"
    if not hasattr(_library(), kind):
        return f"the installed pytorch_grad_cam has no {kind}; pip install --upgrade grad-cam"
    return ""


def _library() -> Any:
    # It imports torchvision, whose operators may not fit this torch.
    declare_missing_operators()
    return importlib.import_module("pytorch_grad_cam")


def grad_cam_explainer(name: str) -> Explainer:
    """A method of pytorch-grad-cam as an explainer.

    Parameters
    ----------
    name : str
        ``pytorch_grad_cam.CLASS``.

    Raises
    ------
    UsageError
        If the library is not installed, has no such class, or it makes no map of a finding.
    """
    kind = name.removeprefix(PREFIX)
    if reason := why_not(kind):
        raise UsageError(f"explainer {name!r}: {reason}")
    made = getattr(_library(), kind)
    # Texts choose how a map is made, and numbers how finely; the rest are functions and layers.
    defaults = {key: item.default for key, item in inspect.signature(made).parameters.items()
                if isinstance(item.default, bool | int | float | str)}

    def explain(module: nn.Module, inputs: Tensor, outputs: Sequence[int], *, layer: str = "",
                context: BatchContext | None = None, **parameters: Any) -> Tensor:
        context = BatchContext.of(inputs) if context is None else context
        return _maps(name, module, inputs, outputs, layer=layer, context=context,
                     parameters={**defaults, **parameters})

    positional, keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    setattr(explain, "__signature__", inspect.Signature([  # noqa: B010 - mypy knows of none
        *(inspect.Parameter(argument, positional) for argument in ("module", "inputs", "outputs")),
        *(inspect.Parameter(key, keyword, default=value) for key, value in defaults.items()),
        inspect.Parameter("layer", keyword, default=""),
        inspect.Parameter("context", keyword, default=None)]))
    explain.__doc__ = f"pytorch_grad_cam's {kind}, stretched to 0..1 as the library does."
    limits = {key: COUNT for key, value in defaults.items() if type(value) is int}
    return Explainer(name, explain, layers=("layer",), limits=limits,
                     trial={"num_scales": 1} if "num_scales" in defaults else {})


def _maps(name: str, module: nn.Module, inputs: Tensor, outputs: Sequence[int], *, layer: str,
          context: BatchContext, parameters: Mapping[str, Any]) -> Tensor:
    """Maps (B, F, H, W): what draws numbers image by image, the rest batch by batch."""
    kind = name.removeprefix(PREFIX)
    maps = []
    done = 0
    while done < len(inputs):
        rows = 1 if kind in _RANDOM else context.passes.rows
        part = slice(done, min(done + rows, len(inputs)))
        try:
            with without_warnings(_PACKAGES):
                maps.append(torch.stack([
                    _of_finding(name, module, inputs[part], output, layer=layer,
                                context=context.part(part), parameters=parameters)
                    for output in outputs], dim=1))
        except torch.cuda.OutOfMemoryError:
            if not context.passes.halve():
                raise
            continue
        except SaltrustError:
            raise
        except Exception as error:
            raise DataError(
                f"explainer {name!r}: pytorch_grad_cam cannot explain {type(module).__name__} "
                f"({describe_error(error)}); name another `layer`, or take 'gradcam' of saltrust"
            ) from error
        done = part.stop
    return torch.cat(maps).to(inputs)


def _of_finding(name: str, module: nn.Module, inputs: Tensor, output: int, *, layer: str,
                context: BatchContext, parameters: Mapping[str, Any]) -> Tensor:
    library, kind = _library(), name.removeprefix(PREFIX)
    features = find_layer(module, inputs[:1], layer)
    is_plane = features.layout.kind == "plane"
    if features.call or (kind in _OF_PLANES and not is_plane):
        what = (f"takes the first call of {features.name!r}, which is called several times"
                if features.call else
                f"needs a layer of planes, and {features.name!r} has {features.layout.kind}")
        raise UsageError(f"explainer {name!r}: pytorch_grad_cam {what}; name another `layer`")
    target = importlib.import_module("pytorch_grad_cam.utils.model_targets")
    targets = [target.ClassifierOutputTarget(output)] * len(inputs)
    chosen = [] if kind == "FullGrad" else [module.get_submodule(features.name)]
    weights = list(module.parameters()) if kind in _WITH_WEIGHTS else []
    with (_restored(module, features.name), _with_gradient(weights),
          # Bars and warnings of the library.
          contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()),
          random_state(context.seed, context.images[0], output, name, inputs.device)):
        method = getattr(library, kind)(
            module, chosen, None if is_plane else features.layout.plane, **parameters)
        given = inputs.detach().clone().requires_grad_()
        maps = (method(given, targets=None, target_idx=output) if kind == "FinerCAM"
                else method(given, targets=targets))
    return torch.from_numpy(maps.reshape(len(inputs), *inputs.shape[2:]))


@contextlib.contextmanager
def _with_gradient(weights: Sequence[nn.Parameter]) -> Iterator[None]:
    """Let weights be part of graphs, without keeping what arrives at them."""
    for weight in weights:
        weight.requires_grad_(True)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(False)
            weight.grad = None


@contextlib.contextmanager
def _restored(module: nn.Module, layer: str) -> Iterator[None]:
    """Put a layer back that was exchanged, whatever happened meanwhile."""
    parent, _, last = layer.rpartition(".")
    original = module.get_submodule(layer)
    try:
        yield
    finally:
        holder = module.get_submodule(parent)
        if getattr(holder, last) is not original:
            setattr(holder, last, original)
