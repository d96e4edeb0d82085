"""Networks through ``torch.compile``: where they may, with the same numbers, or a sentence."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from saltrust.errors import DataError
from saltrust.explainers.explain import explain
from saltrust.explainers.passes import compiled
from saltrust.explainers.passes.compiled import compiles, compiling, try_compiled
from saltrust.explainers.registry import resolve
from saltrust.study import ExplainerSpec

METHODS = [resolve(ExplainerSpec("ig", {"steps": 4})),
           resolve(ExplainerSpec("smoothgrad", {"samples": 2})),
           resolve(ExplainerSpec("occlusion", {"window": 8, "stride": 8})),
           resolve(ExplainerSpec("guided_backprop")), resolve(ExplainerSpec("gradcam"))]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes that compiled code was given; it is not compiled, which takes half a minute."""
    shapes: list[tuple[int, ...]] = []

    def compile_nothing(forward: Callable[..., Any]) -> Callable[..., Any]:
        def call(module: nn.Module, inputs: Tensor) -> Any:
            shapes.append(tuple(inputs.shape))
            return forward(module, inputs)

        return call

    monkeypatch.setattr(torch, "compile", compile_nothing)
    monkeypatch.setattr(compiled, "_FORWARDS", {})
    return shapes


def test_it_is_for_passes_that_nothing_looks_into(
    network: nn.Module, images: Tensor, calls: list[tuple[int, ...]]
) -> None:
    network.eval()
    expected = explain(network, images, [0, 2], METHODS)
    assert calls == []
    with compiling(True):
        maps = explain(network, images, [0, 2], METHODS)
    # ig: 3 images x 4 steps; smoothgrad: 3 x 2; occlusion: 3 x (2 x 3) windows; completeness.
    rows = [shape[0] for shape in calls]
    assert sum(rows) == 12 + 6 + 18 + 3
    assert "forward" not in vars(network)
    assert not network._forward_hooks
    for name, values in expected.heatmaps.items():
        torch.testing.assert_close(maps.heatmaps[name], values, rtol=1e-3, atol=1e-6)


def test_what_has_hooks_inside_or_is_asked_for_its_operations_is_not_compiled(
    network: nn.Module, images: Tensor, calls: list[tuple[int, ...]]
) -> None:
    class Watched(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (),
                               kwargs: Any = None) -> Any:
            return func(*args, **(kwargs or {}))

    with compiling(True):
        assert compiles()
        assert compiles(network)
        with Watched():
            explain(network.eval(), images, [0], METHODS[:1])
        handle = network.get_submodule("first").register_forward_hook(lambda *_: None)
        assert not compiles(network)
        handle.remove()
        with warnings.catch_warnings(action="ignore"):
            traced = torch.jit.trace(network.eval(), images)
        assert not compiles(traced)
    assert calls == []
    assert not compiles()
    assert not compiles(network)


def test_what_cannot_be_compiled_is_a_sentence(
    network: nn.Module, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_forward: Callable[..., Any]) -> Callable[..., Any]:
        def call(*_arguments: Any) -> Any:
            raise RuntimeError("Failed to find C compiler")
        return call

    monkeypatch.setattr(torch, "compile", refuse)
    monkeypatch.setattr(compiled, "_FORWARDS", {})
    with compiling(True), pytest.raises(
            DataError, match=r"model 'a' cannot be run through torch.compile on cpu \(.*Failed to "
                             r"find C compiler.*\); leave `compile` out of \[generate\]"):
        try_compiled(network.eval(), images, 1, "a")
    assert "forward" not in vars(network)
