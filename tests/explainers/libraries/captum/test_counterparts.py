"""Maps of ours beside captum's, on networks that captum can explain."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from saltrust.explainers.declaration import explainer
from saltrust.explainers.explain import explain
from saltrust.explainers.libraries.captum.counterparts import (
    COUNTERPARTS,
    counterpart,
    explain_by_captum,
)
from saltrust.explainers.passes.context import BatchContext
from saltrust.explainers.registry import BUILT_IN, resolve
from saltrust.study import ExplainerSpec

SHORT: dict[str, dict[str, Any]] = {
    "ig": {"steps": 6, "baseline": "white"}, "smooth_ig": {"steps": 4, "samples": 3},
    "smoothgrad": {"samples": 3}, "occlusion": {"window": 6, "stride": 4, "fill": "white"},
    "deeplift": {"baseline": "gray"}, "gradcam": {"layer": "0.3"}}


@pytest.fixture
def modular() -> nn.Module:
    torch.manual_seed(6)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2),
                      nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)).eval()


@pytest.mark.parametrize("name", list(COUNTERPARTS))
def test_ours_are_captums(name: str, modular: nn.Module) -> None:
    images = torch.rand(2, 3, 16, 20, generator=torch.Generator().manual_seed(1))
    context = BatchContext(("a", "b"), torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1), 3)
    ours = resolve(ExplainerSpec(name, SHORT.get(name, {}))).fit(modular, images[:1])
    theirs = counterpart(ours)
    assert theirs is not None
    expected = explain_by_captum(ours, theirs, modular, images, [1, 3], context)
    maps = explain(modular, images, [1, 3], [ours], context=context).heatmaps[name]
    assert bool(maps.any())
    # captum covers three channels together and gives each the fall of the logit.
    channels = 3 if name == "occlusion" else 1
    torch.testing.assert_close(channels * maps, expected, rtol=1e-3,
                               atol=1e-3 * float(expected.abs().max()))


def test_what_captum_does_not_have_has_no_counterpart() -> None:
    @explainer()
    def grad(module: nn.Module, inputs: Tensor, outputs: Any) -> Tensor:
        return inputs.mean(1, keepdim=True).expand(-1, len(outputs), -1, -1)

    missing = [name for name in BUILT_IN if counterpart(resolve(ExplainerSpec(name))) is None]
    assert missing == ["xrai", "gradcam_plus_plus", "eigencam", "attention_rollout", "chefer",
                       "attnlrp"]
    assert counterpart(resolve(ExplainerSpec("captum.Saliency"))) is None
    # One of a user's own with the name of ours is not ours.
    mine = resolve(ExplainerSpec("grad"))
    mine = type(mine)(type(mine.explainer)("grad", grad), {})
    assert counterpart(mine) is None
    # A label is no name.
    assert counterpart(resolve(ExplainerSpec("grad", label="xrai"))) is not None
