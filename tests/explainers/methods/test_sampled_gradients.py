"""SmoothGrad and integrated gradients: captum, PAIR, closed forms, noise that can be repeated."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import InputXGradient, IntegratedGradients
from saliency.core import IntegratedGradients as PairIntegratedGradients
from torch import Tensor, nn

from saltrust.errors import UsageError
from saltrust.explainers.explain import explain
from saltrust.explainers.methods.gradient import grad, input_x_gradient
from saltrust.explainers.methods.integrated_gradients import (
    QUADRATURES,
    ig,
    path_positions,
    smooth_ig,
)
from saltrust.explainers.methods.smoothgrad import smoothgrad
from saltrust.explainers.passes.context import BatchContext, PassSize
from saltrust.explainers.passes.sampling import average_gradient, gaussian_noise
from saltrust.explainers.registry import resolve
from saltrust.models.classifiers.registry import build
from saltrust.study import ExplainerSpec


class Square(nn.Module):
    """logit f = sum of w[f] * x^2: integrated gradients are w * (x^2 - baseline^2)."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.einsum("bcyx,fcyx->bf", inputs.square(), self.weights)


@pytest.fixture
def square() -> Square:
    return Square(torch.randn(4, 3, 16, 20, dtype=torch.float64))


def context_of(images: Tensor, black: float, white: float, **more: Any) -> BatchContext:
    shape = (1, images.shape[1], 1, 1)
    return BatchContext(tuple(f"film {i}" for i in range(len(images))),
                        torch.full(shape, black), torch.full(shape, white), **more)


@pytest.mark.parametrize("quadrature", ["midpoint", "trapezoid", "gauss-legendre"])
@pytest.mark.parametrize("baseline", ["black", "gray", "white"])
def test_ig_of_a_square(square: Square, images: Tensor, quadrature: str, baseline: str) -> None:
    images = images.double()
    context = context_of(images, -1.0, 2.0)
    maps = ig(square, images, [3, 1], baseline=baseline, quadrature=quadrature, context=context)
    level = {"black": -1.0, "gray": 0.5, "white": 2.0}[baseline]
    change = images.square() - level**2
    expected = torch.einsum("bcyx,fcyx->bfyx", change, square.weights[[3, 1]].detach())
    torch.testing.assert_close(maps, expected)


def test_right_sums_overshoot_as_they_should(square: Square, images: Tensor) -> None:
    """Of 2 x^2 * mean of k / m: (1 + 1 / m) x^2 from a baseline of 0."""
    images = images.double()
    maps = ig(square, images, [0], steps=25, context=context_of(images, 0.0, 1.0))
    expected = (images.square() * square.weights[0].detach()).sum(dim=1) * (1 + 1 / 25)
    torch.testing.assert_close(maps[:, 0], expected)


@pytest.mark.parametrize(("quadrature", "peer"), [
    ("right", "riemann_right"), ("midpoint", "riemann_middle"),
    ("trapezoid", "riemann_trapezoid"), ("gauss-legendre", "gausslegendre")])
def test_captum_agrees_on_ig(
    network: nn.Module, images: Tensor, quadrature: str, peer: str
) -> None:
    network, images = network.double().eval(), images.double()
    maps = ig(network, images, [2, 0], baseline="gray", quadrature=quadrature,
              context=context_of(images, -0.5, 0.9))
    for position, finding in enumerate([2, 0]):
        expected = IntegratedGradients(network).attribute(
            images, torch.full_like(images, 0.2), target=finding, n_steps=25, method=peer)
        if quadrature == "trapezoid":
            # captum spreads n weights of 1 / n, of which half ones at the ends lose 1 / n.
            expected = expected * (25 / 24)
        torch.testing.assert_close(maps[:, position], expected.sum(dim=1).detach(),
                                   rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize(("architecture", "size"), [("densenet121", 64), ("inception_v3", 75)])
def test_captum_agrees_on_ig_of_real_architectures(architecture: str, size: int) -> None:
    torch.manual_seed(1)
    network = build(architecture, 2).double().eval()
    images = torch.rand(1, 3, size, size, dtype=torch.float64)
    maps = ig(network, images, [1], steps=4, context=context_of(images, -2.0, 2.0))
    expected = IntegratedGradients(network).attribute(
        images, torch.full_like(images, -2.0), target=1, n_steps=4, method="riemann_right")
    torch.testing.assert_close(maps[:, 0], expected.sum(dim=1).detach(), rtol=1e-6, atol=1e-12)


def test_pair_agrees_on_ig(network: nn.Module, images: Tensor) -> None:
    network, images = network.double().eval(), images.double()

    def call(values: Any, call_model_args: Any, expected_keys: Any) -> dict[str, Any]:
        points = torch.as_tensor(np.asarray(values)).permute(0, 3, 1, 2).requires_grad_()
        (gradient,) = torch.autograd.grad(network(points)[:, 1].sum(), points)
        return {"INPUT_OUTPUT_GRADIENTS": gradient.permute(0, 2, 3, 1).numpy()}

    channels_last = images[0].permute(1, 2, 0).numpy()
    expected = PairIntegratedGradients().GetMask(
        channels_last, call, x_baseline=np.zeros_like(channels_last), x_steps=30, batch_size=6)
    points = np.linspace(0, 1, 30)
    # PAIR takes the plain mean over positions from 0 to 1, both included.
    total = np.zeros_like(channels_last)
    for position in points:
        total += call([channels_last * position], None, None)["INPUT_OUTPUT_GRADIENTS"][0]
    total *= channels_last / 30
    # PAIR adds up in float32.
    np.testing.assert_allclose(expected, total, rtol=1e-4, atol=1e-6 * np.abs(total).max())
    maps = ig(network, images[:1], [1], steps=2000, quadrature="midpoint",
              context=context_of(images[:1], 0.0, 1.0))
    fine = PairIntegratedGradients().GetMask(
        channels_last, call, x_baseline=np.zeros_like(channels_last), x_steps=2000, batch_size=50)
    close = np.abs(maps[0, 0].numpy() - fine.sum(axis=2)).max()
    assert close < 2e-3 * np.abs(fine.sum(axis=2)).max()


def test_completeness_is_reported(network: nn.Module, images: Tensor) -> None:
    network, images = network.double().eval(), images.double()
    few, many = (
        explain(network, images, [0, 3], [resolve(ExplainerSpec("ig", {"steps": steps}))],
                context=context_of(images, 0.0, 1.0)) for steps in (5, 400))
    with torch.no_grad():
        change = (network(images) - network(torch.zeros_like(images)))[:, [0, 3]]
    gap = few.heatmaps["ig"].sum(dim=(2, 3)) - change
    torch.testing.assert_close(few.completeness["ig"], gap)
    assert few.completeness["ig"].abs().max() > 0.01 * change.abs().max()
    assert many.completeness["ig"].abs().max() < 0.01 * change.abs().max()


def test_only_methods_that_promise_completeness_are_held_to_it(
    network: nn.Module, images: Tensor
) -> None:
    methods = [resolve(ExplainerSpec(name)) for name in ("grad", "input_x_gradient")]
    assert explain(network, images, [0], methods).completeness == {}


def test_smoothgrad_is_the_mean_gradient_at_noisy_copies(
    network: nn.Module, images: Tensor
) -> None:
    network, images = network.double().eval(), images.double()
    context = context_of(images, 0.0, 1.0, seed=7)
    maps = smoothgrad(network, images, [1, 2], samples=5, noise=0.3, context=context)
    copies = [images + gaussian_noise(context, images, sample, 0.3) for sample in range(5)]
    expected = torch.stack([grad(network, copy, [1, 2]) for copy in copies]).mean(dim=0)
    torch.testing.assert_close(maps, expected)


def test_smooth_ig_is_the_mean_of_ig_at_noisy_copies(network: nn.Module, images: Tensor) -> None:
    network, images = network.double().eval(), images.double()
    context = context_of(images, -0.2, 1.0, seed=7)
    maps = smooth_ig(network, images, [1, 2], steps=6, samples=3, context=context)
    expected = []
    for sample in range(3):
        noisy = images + gaussian_noise(context, images, sample, 0.15)
        expected.append(torch.stack([
            IntegratedGradients(network).attribute(
                noisy, torch.full_like(noisy, -0.2), target=finding, n_steps=6,
                method="riemann_right").sum(dim=1) for finding in (1, 2)], dim=1))
    torch.testing.assert_close(maps, torch.stack(expected).mean(dim=0), rtol=1e-6, atol=1e-10)


def test_the_noise_is_gaussian_of_the_stated_size() -> None:
    images = torch.rand(2, 3, 100, 110) * torch.tensor([1.0, 50.0]).view(2, 1, 1, 1)
    noise = gaussian_noise(context_of(images, 0, 1), images, 3, 0.15)
    spread = torch.stack([image.max() - image.min() for image in images])
    scaled = noise / (0.15 * spread.view(2, 1, 1, 1))
    for image in scaled:
        values = image.flatten().double()
        n = len(values)
        assert abs(values.mean()) < 5 / n**0.5
        assert abs(values.var() - 1) < 5 * (2 / n) ** 0.5
        assert abs((values**4).mean() - 3) < 5 * (96 / n) ** 0.5
    correlations = np.corrcoef(scaled.flatten(0, 1).flatten(1).numpy())
    assert np.abs(correlations - np.eye(6)).max() < 5 / 11_000**0.5


def test_noise_follows_from_seed_name_and_sample_alone() -> None:
    images = torch.rand(3, 1, 6, 7)
    context = context_of(images, 0, 1, seed=3)
    noise = gaussian_noise(context, images, 2, 0.1)
    again = gaussian_noise(context.part(slice(1, 2)), images[1:2], 2, 0.1)
    torch.testing.assert_close(again, noise[1:2], rtol=0, atol=0)
    for other in (context_of(images, 0, 1, seed=4), BatchContext.of(images, seed=3)):
        assert not torch.allclose(gaussian_noise(other, images, 2, 0.1), noise)
    assert not torch.allclose(gaussian_noise(context, images, 1, 0.1), noise)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 7, 100])
def test_the_size_of_a_pass_changes_nothing_but_the_passes(
    network: nn.Module, images: Tensor, rows: int
) -> None:
    network, images = network.double().eval(), images.double()
    sizes: list[int] = []
    handle = network.register_forward_hook(lambda _m, args, _o: sizes.append(len(args[0])))
    small = context_of(images, 0.0, 1.0, passes=PassSize(rows))
    for method in (ig, smoothgrad):
        expected = method(network, images, [1, 2], context=context_of(images, 0.0, 1.0))
        sizes.clear()
        maps = method(network, images, [1, 2], context=small)
        torch.testing.assert_close(maps, expected, rtol=1e-10, atol=1e-13)
        assert sum(sizes) == 3 * 25
        assert max(sizes) <= rows
        assert len(sizes) <= -(-25 // max(1, rows // 3)) * -(-3 // rows)
    handle.remove()


def test_out_of_memory_halves_the_pass_and_goes_on(network: nn.Module, images: Tensor) -> None:
    network, images = network.double().eval(), images.double()
    expected = ig(network, images, [0], context=context_of(images, 0.0, 1.0))

    def limit(rows: int) -> Any:
        def check(_module: nn.Module, args: Any) -> None:
            if len(args[0]) > rows:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return network.register_forward_pre_hook(check)

    context = context_of(images, 0.0, 1.0)
    handle = limit(5)
    maps = ig(network, images, [0], context=context)
    handle.remove()
    torch.testing.assert_close(maps, expected, rtol=1e-10, atol=1e-13)
    assert context.passes.rows == 4
    handle = limit(0)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        ig(network, images, [0], context=context)
    handle.remove()


def test_weights_and_direction_of_the_average() -> None:
    """For a linear logit the gradient is known: weights and direction can be read off."""
    weights = torch.randn(2, 1, 3, 4, dtype=torch.float64)
    images = torch.rand(2, 1, 3, 4, dtype=torch.float64)

    class Linear(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.einsum("bcyx,fcyx->bf", x, weights)

    def points(part: slice, samples: slice) -> Tensor:
        return images[part, None].repeat(1, samples.stop - samples.start, 1, 1, 1)

    average = average_gradient(Linear(), [1], points, torch.tensor([0.5, 2.0]).double(), images,
                               PassSize(3))
    torch.testing.assert_close(average[:, 0], 2.5 * (images * weights[1]).sum(dim=1))


@pytest.mark.parametrize("quadrature", QUADRATURES)
@pytest.mark.parametrize("steps", [1, 2, 25])
def test_weights_add_up(quadrature: str, steps: int) -> None:
    positions, weights = path_positions(quadrature, steps)
    assert len(positions) == len(weights) == steps
    assert weights.sum() == pytest.approx(1)
    assert (np.diff(positions) > 0).all()
    assert positions.min() >= 0
    assert positions.max() <= 1


def test_captum_agrees_on_input_x_gradient(network: nn.Module, images: Tensor) -> None:
    network, images = network.double().eval(), images.double() - 0.3
    maps = input_x_gradient(network, images, [2, 0])
    for position, finding in enumerate([2, 0]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = InputXGradient(network).attribute(
                images.clone().requires_grad_(), target=finding)
        torch.testing.assert_close(maps[:, position], expected.sum(dim=1).detach(),
                                   rtol=1e-9, atol=1e-15)
    assert (maps < 0).any()


@pytest.mark.parametrize(("name", "parameters", "message"), [
    ("ig", {"steps": 0}, "steps must lie in 1 to"),
    ("smoothgrad", {"samples": -3}, "samples must lie in 1 to"),
    ("smoothgrad", {"noise": -0.1}, "noise must lie in 0 to 10, not -0.1"),
    ("ig", {"baseline": "red"}, "baseline must be 'black' or 'gray' or 'white', not 'red'"),
    ("smooth_ig", {"quadrature": "simpson"}, "quadrature must be 'right' or "),
    ("ig", {"steps": 2.5}, "steps must be of type int"),
])
def test_parameters_out_of_range_are_refused(
    name: str, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as raised:
        resolve(ExplainerSpec(name, parameters))
    assert message in str(raised.value)


def test_without_a_context_black_is_the_darkest_value_of_each_image(images: Tensor) -> None:
    context = BatchContext.of(images)
    torch.testing.assert_close(context.level("black", images), images.amin((2, 3), keepdim=True))
    torch.testing.assert_close(
        context.level("gray", images),
        (images.amin((2, 3), keepdim=True) + images.amax((2, 3), keepdim=True)) / 2)
    with pytest.raises(UsageError, match="'red' is no gray level"):
        context.level("red", images)
