"""What a method reads of its tensors: on a GPU, each look is a wait for all that was queued."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from saltrust.explainers.explain import explain
from saltrust.explainers.passes.context import BatchContext, PassSize
from saltrust.explainers.registry import BUILT_IN, resolve
from saltrust.models.transfers import begin_copies, to_device
from saltrust.study import ExplainerSpec

LOOKS = ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__",
         "nonzero", "equal", "is_nonzero")
#: These decompose on the CPU, grow regions there, or are about networks of another kind.
READ = ("eigencam", "xrai", "attention_rollout", "chefer", "attnlrp")
METHODS = [name for name in BUILT_IN if name not in READ]
PARAMETERS: dict[str, dict[str, Any]] = {"occlusion": {"window": 8, "stride": 4}}


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    seen: list[str] = []

    def watched(name: str) -> Any:
        whole = getattr(Tensor, name)

        def look(self: Tensor, *args: Any, **keywords: Any) -> Any:
            seen.append(name)
            return whole(self, *args, **keywords)

        return look

    for name in LOOKS:
        if hasattr(Tensor, name):
            monkeypatch.setattr(Tensor, name, watched(name))
    yield seen


@pytest.mark.parametrize("name", METHODS)
def test_a_method_reads_nothing_while_it_computes(
    name: str, network: nn.Module, images: Tensor, looks: list[str],
    monkeypatch: pytest.MonkeyPatch
) -> None:
    method = resolve(ExplainerSpec(name, PARAMETERS.get(name, {})))
    method = method.fit(network.eval(), images[:1])
    level = torch.ones(1, 3, 1, 1)
    context = BatchContext(("a", "b", "c"), 0 * level, level, 0,
                           (images[:, 0] * 255).byte().numpy(), PassSize(7))
    # The range of inputs that were made from gray values is not looked at on a GPU.
    monkeypatch.setattr(BatchContext, "check_range", lambda *_: None)
    looks.clear()
    explained = explain(network, images, [0, 1, 2], [method], context=context)
    assert looks == []
    assert float(explained.heatmaps[name].abs().sum()) > 0
    assert looks == ["__float__"]


def test_copies_are_of_float32_in_order() -> None:
    finish = begin_copies([torch.arange(3, dtype=torch.float64), torch.ones(1, 2).bfloat16()])
    first, second = finish()
    assert (first.dtype, second.dtype) == (np.float32, np.float32)
    np.testing.assert_array_equal(first, [0, 1, 2])
    assert second.shape == (1, 2)
    assert begin_copies([])() == []
    values = torch.arange(2)
    assert to_device(values, torch.device("cpu")) is values
