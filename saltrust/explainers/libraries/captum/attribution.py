"""Maps of captum's classes: all findings, in parts that fit, the same whatever the batch."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from saltrust.errors import DataError, SaltrustError
from saltrust.explainers.declaration import Explainer
from saltrust.explainers.libraries.captum.calling import Call
from saltrust.explainers.libraries.captum.composition import Composition, compose
from saltrust.explainers.libraries.random_state import without_warnings
from saltrust.explainers.passes.context import BatchContext
from saltrust.explainers.passes.guests import unmarked
from saltrust.models.user_code import describe_error

_PACKAGES = ("captum", "sklearn")


def captum_explainer(name: str) -> Explainer:
    """A method of captum as an explainer.

    Parameters
    ----------
    name : str
        ``captum.CLASS``, or a class within wrappers
        (:func:`saltrust.explainers.libraries.captum.composition.compose`).

    Raises
    ------
    UsageError
        If there is no such method, or it makes no map of an image.

    Examples
    --------
    >>> captum_explainer("captum.NoiseTunnel(captum.Saliency)").defaults["nt_samples"]
    5
    """
    composition = compose(name)

    def attribute(module: nn.Module, inputs: Tensor, outputs: Sequence[int], *,
                  context: BatchContext | None = None, **parameters: Any) -> Tensor:
        context = BatchContext.of(inputs) if context is None else context
        return attributions(composition, module, inputs, outputs, context=context,
                            parameters={**defaults, **parameters})

    defaults = composition.defaults()
    positional, keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    setattr(attribute, "__signature__", inspect.Signature([  # noqa: B010 - mypy knows of none
        *(inspect.Parameter(argument, positional) for argument in ("module", "inputs", "outputs")),
        *(inspect.Parameter(key, keyword, default=value) for key, value in defaults.items()),
        inspect.Parameter("context", keyword, default=None)]))
    attribute.__doc__ = f"captum's {composition.inner}, channels summed."
    return Explainer(
        name, attribute, layers=("layer",) if composition.needs_layer else (),
        limits=composition.limits(), choices=composition.choices(), trial=composition.trial(),
        # What changes the image, or compares two, are small differences of large numbers.
        full_precision=composition.has_superpixels or composition.inner == "Occlusion"
        or "Ablation" in composition.inner or "DeepLift" in composition.inner,
        reading=composition.reading)


def attributions(composition: Composition, module: nn.Module, inputs: Tensor,
                 outputs: Sequence[int], *, context: BatchContext,
                 parameters: Mapping[str, Any]) -> Tensor:
    """Maps of one method of captum.

    What draws numbers, or has features of its own in every image, is called image by image and
    finding by finding, with a random state that follows from both
    (:func:`saltrust.explainers.libraries.random_state.random_state`); the rest batch by batch.

    Parameters
    ----------
    composition : Composition
    module : torch.nn.Module
        Returns logits of shape (B, K).
    inputs : Tensor, shape (B, C, H, W)
    outputs : sequence of int
        Indices of F logits.
    context : BatchContext
    parameters : mapping
        Complete.

    Returns
    -------
    Tensor, shape (B, F, H, W)
        Attributions as captum gives them, summed over channels; those of a layer are brought to
        the image by bilinear interpolation with half-pixel centres.

    Raises
    ------
    DataError
        If captum fails, as its hooks do where a module is used twice.
    """
    alone = (composition.is_random or composition.has_superpixels
             # Baselines that stand for all images of a batch are those of each alone.
             or (composition.takes_distribution and len(context.black) > 1))
    maps = []
    done = 0
    while done < len(inputs):
        part = slice(done, min(done + (1 if alone else context.passes.rows), len(inputs)))
        try:
            with without_warnings(_PACKAGES), unmarked(module):
                call = Call(composition, module, inputs[part].detach(), context.part(part),
                            parameters)
                maps.append(call.maps(outputs))
        except torch.cuda.OutOfMemoryError:
            if not context.passes.halve():
                raise
            continue
        except SaltrustError:
            raise
        except Exception as error:
            raise DataError(_failure(composition, module, error)) from error
        done = part.stop
    return torch.cat(maps).to(inputs.dtype)


def _failure(composition: Composition, module: nn.Module, error: Exception) -> str:
    instead = composition.known.instead
    way = (f"take {instead!r} of saltrust, which needs no hooks on modules" if instead
           else "take another explainer (`saltrust info --explainers` lists them)")
    return (f"explainer {composition.name!r}: captum cannot explain {type(module).__name__} "
            f"({describe_error(error)}); its hooks need every rectifier and pooling to be a "
            f"module that is used once and works out of place; {way}")
