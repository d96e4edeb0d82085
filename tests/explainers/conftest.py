from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

torch.set_num_threads(1)


class SmallNetwork(nn.Module):
    """Convolutions, a batch norm, an in-place functional rectifier and a reused module."""

    def __init__(self, channels: int = 3, findings: int = 4) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 6, 3, padding=1)
        self.act = nn.ReLU()
        self.down = nn.MaxPool2d(2)
        self.block = nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, findings)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.act(self.down(self.act(self.first(inputs)) - 0.1))
        hidden = functional.relu(self.block(hidden), inplace=True)
        pooled = hidden.square().mean(dim=(2, 3))
        logits: Tensor = self.head(self.drop(pooled))
        return logits


def settle(network: nn.Module) -> nn.Module:
    """Give batch norms statistics and scales that are not the trivial ones."""
    generator = torch.Generator().manual_seed(8)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor, low, high in (
                (part.running_mean, -0.2, 0.2), (part.running_var, 0.5, 1.5),
                (part.weight.data, 0.5, 1.5), (part.bias.data, -0.2, 0.2),
            ):
                assert tensor is not None
                tensor.uniform_(low, high, generator=generator)
    return network


@pytest.fixture
def make_network() -> Callable[..., nn.Module]:
    def make(channels: int = 3, findings: int = 4) -> nn.Module:
        torch.manual_seed(3)
        return settle(SmallNetwork(channels, findings))

    return make


@pytest.fixture
def network(make_network: Callable[..., nn.Module]) -> nn.Module:
    return make_network()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, 16, 20, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def _untouched_seed() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        yield
