"""Maps of pytorch-grad-cam by name: those of the library called by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from saltrust.errors import DataError, UsageError
from saltrust.explainers.explain import explain
from saltrust.explainers.libraries import grad_cam
from saltrust.explainers.libraries.random_state import random_state, without_warnings
from saltrust.explainers.passes.context import BatchContext
from saltrust.explainers.registry import resolve
from saltrust.models.torchvision_operators import declare_missing_operators
from saltrust.study import ExplainerSpec

OUTPUTS = (2, 0)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.act = nn.ReLU()
        self.down = nn.MaxPool2d(2)
        self.last = nn.Conv2d(6, 8, 3, padding=1)
        self.top = nn.ReLU()
        self.head = nn.Linear(8, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.top(self.last(self.down(self.act(self.first(inputs)))))
        # Not linear in the features, so that their gradients have derivatives.
        logits: Tensor = self.head(hidden.square().mean((2, 3)))
        return logits


@pytest.fixture
def small() -> nn.Module:
    torch.manual_seed(4)
    return Network().eval()


@pytest.fixture
def pictures() -> Tensor:
    return torch.rand(3, 3, 24, 20, generator=torch.Generator().manual_seed(1))


def by_saltrust(kind: str, module: nn.Module, images: Tensor) -> Tensor:
    name = f"pytorch_grad_cam.{kind}"
    context = BatchContext(tuple("abc"[:len(images)]), torch.zeros(1, 3, 1, 1),
                           torch.ones(1, 3, 1, 1), 7)
    return explain(module, images, OUTPUTS, [resolve(ExplainerSpec(name))],
                   context=context).heatmaps[name]


@pytest.mark.parametrize("kind", list(grad_cam.COSTS))
def test_maps_are_those_of_the_library_called_by_hand(
    kind: str, small: nn.Module, pictures: Tensor
) -> None:
    maps = by_saltrust(kind, small, pictures)
    assert maps.shape == (3, 2, 24, 20)
    assert (small.top, small.last) == tuple(small.get_submodule(name) for name in ("top", "last"))
    assert all(weight.grad is None and weight.requires_grad for weight in small.parameters())
    assert not any(part._forward_hooks for part in small.modules())
    declare_missing_operators()
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    layers = [] if kind == "FullGrad" else [small.get_submodule("top")]
    for column, output in enumerate(OUTPUTS):
        for row in range(3):
            name = f"pytorch_grad_cam.{kind}"
            with without_warnings(("pytorch_grad_cam", "numpy", "sklearn", "torch")), random_state(
                    7, "abc"[row], output, name):
                method = getattr(pytorch_grad_cam, kind)(small, layers)
                image = pictures[row:row + 1].clone().requires_grad_()
                expected = (method(image, target_idx=output) if kind == "FinerCAM" else
                            method(image, targets=[ClassifierOutputTarget(output)]))
            torch.testing.assert_close(maps[row, column], torch.from_numpy(expected)[0],
                                       rtol=1e-3, atol=1e-4)
    assert bool(maps.any())


def test_every_class_of_the_library_is_known() -> None:
    declare_missing_operators()
    import pytorch_grad_cam

    offered = {name for name, item in vars(pytorch_grad_cam).items()
               if isinstance(item, type) and name != "BaseCAM"}
    assert offered == set(grad_cam.COSTS) | set(grad_cam.WITHOUT_MAPS)


@pytest.mark.parametrize(("kind", "message"), [
    ("GradCam", "pytorch_grad_cam has no method 'GradCam'; did you mean 'GradCAM'"),
    ("DeepFeatureFactorization", "makes no map of a finding: it makes maps of concepts"),
])
def test_a_name_that_is_none_is_a_sentence(kind: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve(ExplainerSpec(f"pytorch_grad_cam.{kind}"))


def test_without_the_library_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grad_cam, "find_spec", lambda _name: None)
    with pytest.raises(UsageError, match="not installed; pip install grad-cam"):
        resolve(ExplainerSpec("pytorch_grad_cam.GradCAM"))


def test_what_the_library_cannot_is_a_sentence(pictures: Tensor) -> None:
    class OneLogit(Network):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs)[:, :1]

    # It compares a finding with others, of which there are none.
    name = "pytorch_grad_cam.FinerCAM"
    with pytest.raises(DataError, match=r"cannot explain OneLogit .* 'gradcam'"):
        explain(OneLogit().eval(), pictures, [0], [resolve(ExplainerSpec(name))])


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.norm1 = nn.LayerNorm(8)
        self.mix = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm2 = nn.LayerNorm(8)
        self.head = nn.Linear(8, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.patches(inputs).flatten(2).transpose(1, 2)
        normed = self.norm1(tokens)
        tokens = tokens + self.mix(normed, normed, normed, need_weights=False)[0]
        logits: Tensor = self.head(self.norm2(tokens).square().mean(1))
        return logits


def test_tokens_are_brought_to_a_plane(pictures: Tensor) -> None:
    torch.manual_seed(4)
    network = Tokens().eval()
    maps = by_saltrust("GradCAM", network, pictures)
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    bound = resolve(ExplainerSpec("gradcam")).fit(network, pictures[:1])
    method = pytorch_grad_cam.GradCAM(
        network, [network.get_submodule(str(bound.parameters["layer"]))],
        reshape_transform=lambda tokens: tokens.transpose(1, 2).reshape(len(tokens), 8, 6, 5))
    expected = method(pictures.clone().requires_grad_(), targets=[ClassifierOutputTarget(2)] * 3)
    torch.testing.assert_close(maps[:, 0], torch.from_numpy(expected), rtol=1e-3, atol=1e-4)
    with pytest.raises(UsageError, match=r"needs a layer of planes, and .* has tokens"):
        by_saltrust("AblationCAM", network, pictures)
