"""Gradients of several findings at once are those of each alone, and leave torch as it was."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from saltrust.explainers.explain import explain
from saltrust.explainers.passes.forward import map_threads
from saltrust.explainers.registry import resolve
from saltrust.study import ExplainerSpec

METHODS = ("grad", "input_x_gradient", "smoothgrad", "ig", "guided_backprop", "deconvnet",
           "deeplift")
CPU = torch.device("cpu")


@pytest.fixture(params=[2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def _network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Conv2d(6, 4, 1),
        nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 64, 5)).double().eval()


@pytest.mark.parametrize("name", METHODS)
def test_maps_of_many_findings_are_those_of_each_alone(name: str, threads: int) -> None:
    network, inputs = _network(), torch.rand(3, 1, 16, 16, dtype=torch.float64)
    method = resolve(ExplainerSpec(name))
    together = explain(network, inputs, range(5), [method]).heatmaps[name]
    assert together.shape == (3, 5, 16, 16)
    assert not together.requires_grad
    for finding in range(5):
        alone = explain(network, inputs, [finding], [method]).heatmaps[name]
        assert torch.allclose(together[:, finding], alone[:, 0], rtol=1e-10, atol=1e-12)


def test_threads_are_several_and_their_number_is_left_as_it_was(threads: int) -> None:
    together = threading.Barrier(threads)

    def meet(output: int) -> Tensor:
        # Passes only if so many wait at the same time.
        together.wait(timeout=30)
        assert torch.get_num_threads() == 1
        return torch.tensor(output)

    assert [int(output) for output in map_threads(meet, range(2 * threads), CPU)] == list(
        range(2 * threads))
    assert torch.get_num_threads() == threads
    # A thread that begins later has the whole number again.
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [threads]


def test_modes_of_the_caller_hold_in_the_threads(threads: int) -> None:
    with torch.no_grad():
        enabled = map_threads(lambda _: torch.tensor(torch.is_grad_enabled()), [0, 1, 2], CPU)
    assert not any(enabled)


def test_what_a_finding_raises_is_raised(threads: int) -> None:
    def fail(output: int) -> Tensor:
        raise ValueError(f"finding {output}")

    with pytest.raises(ValueError, match="finding 0"):
        map_threads(fail, range(4), CPU)
    assert torch.get_num_threads() == threads
