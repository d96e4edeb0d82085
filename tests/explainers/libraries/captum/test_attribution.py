"""Maps of every class of captum: those of captum called by hand, in batches and one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import captum.attr
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from saltrust.errors import DataError, UsageError
from saltrust.explainers.explain import explain
from saltrust.explainers.libraries.captum.catalog import CLASSES, NOT_METHODS, makes_maps
from saltrust.explainers.libraries.captum.composition import compose
from saltrust.explainers.libraries.captum.superpixels import permuting, superpixels
from saltrust.explainers.libraries.random_state import random_state, without_warnings
from saltrust.explainers.methods.xrai.segments import Labels, SegmentStore
from saltrust.explainers.passes.context import BatchContext
from saltrust.explainers.registry import resolve
from saltrust.study import ExplainerSpec

SIZE = (18, 22)
OUTPUTS = (2, 0)
SEED = 5
NEURON = [3, 4, 5]
#: Parameters that keep the tests short.
SHORT: dict[str, Any] = {"n_steps": 5, "n_samples": 4, "nt_samples": 3, "window": 7, "stride": 5,
                         "scale": 1200, "stdevs": 0.1, "neuron": NEURON}


class Modular(nn.Module):
    """A network as captum wants it: every operation a module that is used once."""

    def __init__(self, channels: int = 2, findings: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 5, 3, padding=1)
        self.act = nn.ReLU()
        self.down = nn.MaxPool2d(2)
        self.last = nn.Conv2d(5, 6, 3, padding=1)
        self.top = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(6, findings)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.top(self.last(self.down(self.act(self.first(inputs)))))
        logits: Tensor = self.head(self.pool(hidden).flatten(1))
        return logits


class Reused(nn.Module):
    """Its rectifier is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 5, 3, padding=1)
        self.act = nn.ReLU()
        self.last = nn.Conv2d(5, 6, 3, padding=1)
        self.head = nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.act(self.last(self.act(self.first(inputs))))
        logits: Tensor = self.head(hidden.mean((2, 3)))
        return logits


class Quarters(SegmentStore):
    """Stands for the segmentation, which takes a second for each image."""

    def labels(self, gray: npt.NDArray[np.float64]) -> Labels:
        halves = np.arange(224) >= 112
        return np.tile(2 * halves[:, None] + halves, (6, 1, 1)).astype(np.uint16)


@pytest.fixture
def modular() -> nn.Module:
    torch.manual_seed(4)
    network = Modular()
    with torch.no_grad():
        # So that no neuron is silent.
        assert network.last.bias is not None
        network.last.bias += 0.5
        # So that Lime's lasso keeps something.
        network.head.weight *= 40
    return network.eval()


@pytest.fixture
def inputs() -> Tensor:
    return torch.rand(3, 2, *SIZE, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def context(inputs: Tensor) -> BatchContext:
    return BatchContext(("a", "b", "c"), torch.zeros(1, 2, 1, 1), torch.ones(1, 2, 1, 1), SEED,
                        segments=Quarters())


def short(name: str) -> dict[str, Any]:
    """Those of the short parameters that a method has."""
    return {key: value for key, value in SHORT.items() if key in compose(name).defaults()}


def by_saltrust(name: str, module: nn.Module, inputs: Tensor, context: BatchContext,
                outputs: Sequence[int] = OUTPUTS) -> Tensor:
    bound = resolve(ExplainerSpec(name, short(name)))
    return explain(module, inputs, outputs, [bound], context=context).heatmaps[name]


def _arguments(kind: str, image: Tensor, context: BatchContext) -> dict[str, Any]:
    """What a user would hand ``attribute`` for one image."""
    black, gray, white = (torch.full_like(image, level) for level in (0.0, 0.5, 1.0))
    mask = superpixels(context, image, SHORT["scale"])
    places = torch.arange(9 * 11).view(1, 1, 9, 11).expand(1, 6, 9, 11)
    both = torch.cat([black, white])
    samples, steps = SHORT["n_samples"], SHORT["n_steps"]
    known: dict[str, dict[str, Any]] = {
        "IntegratedGradients": {"baselines": black, "n_steps": steps},
        "GradientShap": {"baselines": both, "n_samples": samples, "stdevs": 0.1},
        "DeepLift": {"baselines": black},
        "DeepLiftShap": {"baselines": both},
        "Occlusion": {"baselines": gray, "sliding_window_shapes": (2, 7, 7),
                      "strides": (2, 5, 5)},
        "FeatureAblation": {"baselines": gray, "feature_mask": mask},
        "FeaturePermutation": {"feature_mask": mask},
        "Lime": {"baselines": gray, "feature_mask": mask, "n_samples": samples},
        "KernelShap": {"baselines": gray, "feature_mask": mask, "n_samples": samples},
        "ShapleyValueSampling": {"baselines": gray, "feature_mask": mask, "n_samples": samples},
        "ShapleyValues": {"baselines": gray, "feature_mask": mask},
        "LayerFeatureAblation": {"layer_mask": places},
        "LayerFeaturePermutation": {"layer_mask": places},
        **{f"Layer{name}": {"baselines": black, "n_steps": steps}
           for name in ("Conductance", "IntegratedGradients")},
        "InternalInfluence": {"baselines": black, "n_steps": steps},
        **{f"{scope}DeepLift": {"baselines": black} for scope in ("Layer", "Neuron")},
        **{f"{scope}DeepLiftShap": {"baselines": both} for scope in ("Layer", "Neuron")},
        **{f"{scope}GradientShap": {"baselines": both, "n_samples": samples, "stdevs": 0.1}
           for scope in ("Layer", "Neuron")},
        **{f"Neuron{name}": {"baselines": black, "n_steps": steps}
           for name in ("Conductance", "IntegratedGradients")},
        "NeuronFeatureAblation": {"baselines": gray, "feature_mask": mask},
    }
    arguments = known.get(kind, {})
    if kind.startswith("Neuron"):
        arguments = {**arguments, "neuron_selector": tuple(NEURON)}
    return arguments


def _made(kind: str, network: nn.Module, output: int) -> Any:
    """An object of the class, as a user would make it."""
    cls = getattr(captum.attr, kind)
    if kind == "FeaturePermutation":
        return cls(lambda images: network(images)[:, output], permuting())
    if kind == "LayerLRP":
        # The rectifier that is taken by itself has no rule; its convolution has.
        return cls(network, network.last)
    if kind.startswith(("Layer", "Neuron", "Internal", "GuidedGrad")):
        return cls(network, network.top)
    return cls(network)


def by_hand(kind: str, network: nn.Module, image: Tensor, output: int,
            context: BatchContext) -> Tensor:
    """The map (H, W) of one image and finding, from captum alone."""
    arguments = _arguments(kind, image, context)
    method = _made(kind, network, output)
    if "Permutation" in kind:
        image = image.repeat(2, 1, 1, 1)
    takes_target = not kind.startswith("Neuron") or kind == "NeuronConductance"
    if takes_target and kind not in ("LayerActivation", "FeaturePermutation"):
        arguments["target"] = output
    with random_state(SEED, context.images[0], output if takes_target else 0,
                      f"captum.{kind}"), without_warnings(("captum", "sklearn")):
        values = method.attribute(image.clone().requires_grad_(), **arguments)
    values = values[:1].detach()
    if values.shape[2:] != SIZE:
        values = captum.attr.LayerAttribution.interpolate(values, SIZE, "bilinear")
    return values.sum(1)[0]


#: The class permutes the places of a layer by a function of ours within captum.
WITHOUT_HAND = ("NoiseTunnel", "LayerFeaturePermutation")


@pytest.mark.parametrize("kind", [kind for kind in makes_maps() if kind not in WITHOUT_HAND])
def test_maps_are_those_of_captum_called_by_hand(
    kind: str, modular: nn.Module, inputs: Tensor, context: BatchContext
) -> None:
    maps = by_saltrust(f"captum.{kind}", modular, inputs, context)
    assert maps.shape == (3, 2, *SIZE)
    for position in range(len(inputs)):
        part = slice(position, position + 1)
        for column, output in enumerate(OUTPUTS):
            expected = by_hand(kind, modular, inputs[part], output, context.part(part))
            torch.testing.assert_close(maps[position, column], expected, rtol=1e-4, atol=1e-5)
    # A map of nothing would equal another.
    assert bool(maps.any())
    if not kind.startswith("Neuron") and kind != "LayerActivation":
        assert not torch.equal(maps[:, 0], maps[:, 1])


@pytest.mark.parametrize("kind", [
    kind for kind, known in CLASSES.items() if known.random and kind != "NoiseTunnel"])
def test_a_map_does_not_depend_on_its_batch(
    kind: str, modular: nn.Module, inputs: Tensor, context: BatchContext
) -> None:
    name = f"captum.{kind}"
    together = by_saltrust(name, modular, inputs, context)
    turned = by_saltrust(name, modular, inputs.flip(0),
                         replace(context, images=("c", "b", "a")))
    alone = by_saltrust(name, modular, inputs[1:2], context.part(slice(1, 2)))
    # What draws numbers is called image by image: not even the last bits differ.
    assert torch.equal(alone, together[1:2])
    assert torch.equal(turned.flip(0), together)


def test_noise_tunnel_is_that_of_captum(
    modular: nn.Module, inputs: Tensor, context: BatchContext
) -> None:
    name = "captum.NoiseTunnel(captum.IntegratedGradients)"
    maps = by_saltrust(name, modular, inputs[:1], context.part(slice(0, 1)))
    tunnel = captum.attr.NoiseTunnel(captum.attr.IntegratedGradients(modular))
    for column, output in enumerate(OUTPUTS):
        with random_state(SEED, "a", output, name):
            expected = tunnel.attribute(
                inputs[:1].clone().requires_grad_(), nt_samples=3, stdevs=0.1, n_steps=5,
                baselines=torch.zeros_like(inputs[:1]), target=output).detach().sum(1)
        torch.testing.assert_close(maps[:, column], expected, rtol=1e-4, atol=1e-6)


def test_noise_tunnel_wraps_whatever_captum_lets_it(
    modular: nn.Module, inputs: Tensor, context: BatchContext
) -> None:
    refused = []
    for kind in makes_maps():
        name = f"captum.NoiseTunnel(captum.{kind})"
        try:
            compose(name)
        except UsageError:
            refused.append(kind)
            continue
        maps = by_saltrust(name, modular, inputs[:1], context.part(slice(0, 1)), outputs=[1])
        assert bool(torch.isfinite(maps).all()), kind
    assert refused == ["DeepLiftShap", "FeaturePermutation", "LayerDeepLiftShap",
                       "LayerFeaturePermutation", "LayerLRP", "NeuronDeepLiftShap", "NoiseTunnel"]


def test_permuting_the_places_of_a_layer_by_hand(
    modular: nn.Module, inputs: Tensor, context: BatchContext
) -> None:
    name = "captum.LayerFeaturePermutation"
    maps = by_saltrust(name, modular, inputs[:1], context.part(slice(0, 1)), outputs=[1])
    features: list[Tensor] = []
    handle = modular.top.register_forward_hook(lambda *args: features.append(args[2]))
    with torch.no_grad():
        whole = modular(inputs[:1])[0, 1]
    handle.remove()
    drops = torch.zeros(9 * 11)
    with random_state(SEED, "a", 1, name), torch.no_grad():
        for place in range(9 * 11):
            mask = (torch.arange(9 * 11) == place).view(1, 1, 9, 11)
            changed = permuting()(features[0], mask)
            drops[place] = whole - modular.head(modular.pool(changed).flatten(1))[0, 1]
    # Each of six channels has the drop of its place.
    expected = functional.interpolate(6 * drops.view(1, 1, 9, 11), SIZE, mode="bilinear")
    torch.testing.assert_close(maps, expected, rtol=1e-3, atol=1e-4)


def test_many_samples_go_through_in_parts(modular: nn.Module, inputs: Tensor,
                                          context: BatchContext) -> None:
    sizes: list[int] = []
    handle = modular.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    for name in ("captum.GradientShap", "captum.NoiseTunnel(captum.Saliency)", "captum.Occlusion",
                 "captum.IntegratedGradients", "captum.KernelShap"):
        bound = resolve(ExplainerSpec(name, {
            key: value for key, value in (("n_samples", 30), ("nt_samples", 30), ("n_steps", 30),
                                          ("window", 5), ("stride", 4))
            if key in compose(name).defaults()}))
        explain(modular, inputs, [0], [bound], context=context)
    handle.remove()
    assert max(sizes) == 8


def test_every_name_of_captum_is_known() -> None:
    offered = set(captum.attr.__all__)
    assert offered - set(CLASSES) - NOT_METHODS == set(), "say in the catalogue what these are"
    assert (set(CLASSES) | NOT_METHODS) - offered == set()
    methods = {name for name in offered if isinstance(getattr(captum.attr, name), type)
               and issubclass(getattr(captum.attr, name), captum.attr.Attribution)}
    assert methods <= set(CLASSES)


@pytest.mark.parametrize("kind", ["DeepLift", "GuidedBackprop", "LRP"])
def test_what_captum_cannot_is_a_sentence(kind: str, inputs: Tensor, context: BatchContext) -> None:
    torch.manual_seed(4)
    network = Reused()
    before = [dict(vars(part)) for part in network.modules()]
    name = f"captum.{kind}"
    if kind == "DeepLift":
        with pytest.raises(DataError, match=(
                r"explainer 'captum.DeepLift': captum cannot explain Reused .*used once.*take "
                "'deeplift' of saltrust")):
            by_saltrust(name, network, inputs, context)
    else:
        by_saltrust(name, network, inputs, context)
    # Nothing is left on the network.
    assert [set(vars(part)) for part in network.modules()] == [set(item) for item in before]
    assert not any(part._forward_hooks or part._backward_hooks for part in network.modules())


def test_rules_that_captum_leaves_behind_are_taken_off(
    modular: nn.Module, inputs: Tensor, context: BatchContext
) -> None:
    class Flattened(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.flat = modular, nn.Flatten()

        def forward(self, images: Tensor) -> Tensor:
            flat: Tensor = self.flat(self.body(images))
            return flat

    # captum has no rule for what flattens, and has marked the modules before it by then.
    with pytest.raises(DataError, match="captum cannot explain Flattened"):
        by_saltrust("captum.LRP", Flattened(), inputs, context)
    assert not any(hasattr(part, "rule") for part in modular.modules())
    by_saltrust("captum.LRP", modular, inputs, context)


def test_shapley_values_of_many_superpixels_are_refused(modular: nn.Module) -> None:
    noise = torch.rand(1, 2, 96, 96, generator=torch.Generator().manual_seed(0))
    bound = resolve(ExplainerSpec("captum.ShapleyValues", {"scale": 50}))
    with pytest.raises(DataError, match=r"superpixels, whose orders are too many .*Sampling"):
        explain(modular, noise, [0], [bound])


@pytest.mark.parametrize(("neuron", "expected"), [
    ([], "6 x 9 x 11: give its position as the parameter `neuron`, such as \\[3, 4, 5\\]"),
    ([6, 0, 0], "not \\[6, 0, 0\\]"), ([0, 0], "not \\[0, 0\\]"), ([1, -1, 0], "not")])
def test_a_neuron_that_is_none_is_refused(
    neuron: list[int], expected: str, modular: nn.Module, inputs: Tensor, context: BatchContext
) -> None:
    bound = resolve(ExplainerSpec("captum.NeuronGradient", {"neuron": neuron}))
    with pytest.raises(UsageError, match=expected):
        explain(modular, inputs, [0], [bound], context=context)


def test_superpixels_are_numbered_without_gaps(inputs: Tensor, context: BatchContext) -> None:
    masks = superpixels(replace(context, segments=SegmentStore()), inputs, 250)
    assert masks.shape == (3, 1, *SIZE)
    for mask in masks:
        assert torch.equal(mask.unique(), torch.arange(int(mask.max()) + 1))
        assert int(mask.max()) > 0
    black = torch.zeros(1, 2, *SIZE)
    # A uniform image is cut into quarters, so that no method meets a single feature.
    quarters = superpixels(BatchContext.of(black), black, 250)[0, 0]
    assert quarters.unique().tolist() == [0, 1, 2, 3]
    assert np.bincount(quarters.flatten()).tolist() == [99] * 4


def test_random_states_are_as_before(modular: nn.Module, inputs: Tensor,
                                     context: BatchContext) -> None:
    def draw() -> tuple[float, float]:
        return float(torch.rand(1)), float(np.random.random())  # noqa: NPY002

    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    expected = draw()
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    by_saltrust("captum.GradientShap", modular, inputs, context)
    assert draw() == expected


@pytest.mark.parametrize("change", [{"seed": 6}, {"images": ("x", "b", "c")}])
def test_other_images_and_seeds_get_other_numbers(
    change: Mapping[str, Any], modular: nn.Module, inputs: Tensor, context: BatchContext
) -> None:
    other = replace(context, **change)
    name = "captum.NoiseTunnel(captum.Saliency)"
    first, second = (by_saltrust(name, modular, inputs, item) for item in (context, other))
    assert not torch.equal(first[0], second[0])
    assert torch.equal(first[1:], second[1:]) == ("seed" not in change)


class Tokens(nn.Module):
    """Patches as tokens, mixed by attention."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(2, 8, 4, stride=4)
        self.norm1 = nn.LayerNorm(8)
        self.mix = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm2 = nn.LayerNorm(8)
        self.head = nn.Linear(8, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.patches(inputs).flatten(2).transpose(1, 2)
        normed = self.norm1(tokens)
        tokens = tokens + self.mix(normed, normed, normed, need_weights=False)[0]
        logits: Tensor = self.head(self.norm2(tokens).mean(1))
        return logits


def test_layers_of_tokens_are_brought_to_the_image(context: BatchContext) -> None:
    torch.manual_seed(4)
    network = Tokens().eval()
    images = torch.rand(2, 2, 16, 24)
    pair = BatchContext(("a", "b"), context.black, context.white)
    maps = by_saltrust("captum.LayerGradientXActivation", network, images, pair, outputs=[1])
    bound = resolve(ExplainerSpec("captum.LayerGradientXActivation")).fit(network, images[:1])
    layer = network.get_submodule(str(bound.parameters["layer"]))
    values = captum.attr.LayerGradientXActivation(network, layer).attribute(
        images.clone().requires_grad_(), target=1).detach()
    plane = values.sum(2).view(2, 1, 4, 6)
    torch.testing.assert_close(maps, functional.interpolate(plane, (16, 24), mode="bilinear"))
    with pytest.raises(UsageError, match=r"takes the second dimension .* take 'gradcam'"):
        by_saltrust("captum.LayerGradCam", network, images, pair)
    ablated = by_saltrust("captum.LayerFeatureAblation", network, images, pair)
    assert bool(ablated.any())


def test_out_of_memory_halves_the_pass(modular: nn.Module, inputs: Tensor) -> None:
    refuse = {"more than": 2}

    def refuse_many(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        if len(args[0]) > refuse["more than"]:
            raise torch.cuda.OutOfMemoryError("full")

    context = BatchContext(("a", "b", "c"), torch.zeros(1, 2, 1, 1), torch.ones(1, 2, 1, 1), SEED)
    expected = by_saltrust("captum.InputXGradient", modular, inputs, context)
    handle = modular.register_forward_pre_hook(refuse_many)
    method: Callable[..., Tensor] = resolve(
        ExplainerSpec("captum.InputXGradient")).explainer.function
    maps = method(modular, inputs, OUTPUTS, context=context)
    handle.remove()
    torch.testing.assert_close(maps, expected)
    assert context.passes.rows == 2
