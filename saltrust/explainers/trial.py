"""Whether each explainer works with a network at all, and what it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from saltrust.errors import SaltrustError
from saltrust.explainers.explain import explain
from saltrust.explainers.passes.layouts import FeatureLayer
from saltrust.explainers.registry import BUILT_IN, resolve
from saltrust.study import ExplainerSpec


@dataclass(frozen=True)
class Trial:
    """What became of one explainer.

    Attributes
    ----------
    name : str
    layers : tuple of FeatureLayer
        From which it makes maps; empty where it needs none.
    reason : str
        Why it does not work; empty where it does.
    """

    name: str
    layers: tuple[FeatureLayer, ...]
    reason: str


def try_explainers(module: nn.Module, inputs: Tensor,
                   names: Sequence[str] = tuple(BUILT_IN)) -> list[Trial]:
    """Try explainers on one image, with parameters that make them cheap.

    Parameters
    ----------
    module : torch.nn.Module
        Left as it was found.
    inputs : Tensor, shape (1, C, H, W)
        Gives the size; its values do not matter.
    names : sequence of str
        Of explainers as in a study; all that come with the package.
    """
    # Regions of a constant image would be none.
    noise = torch.rand(inputs.shape, generator=torch.Generator().manual_seed(0)).to(inputs)
    trials = []
    for name in names:
        bound = resolve(ExplainerSpec(name)).with_trial_parameters()
        try:
            bound = bound.fit(module, inputs)
            explain(module, noise, [0], [bound])
        except SaltrustError as error:
            trials.append(Trial(name, (), str(error)))
        else:
            trials.append(Trial(name, bound.features, ""))
    return trials
