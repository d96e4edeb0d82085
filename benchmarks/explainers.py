"""Heatmaps: saltrust against captum, pytorch-grad-cam and PAIR's saliency, in one process.

    python benchmarks/explainers.py [--size 320] [--findings 10] [--threads 1] [--only ig xrai]

DenseNet121 with random weights, one radiograph, all findings.  The peers are called as they are
meant to be, once per method and finding; they are timed on one finding, which is multiplied by
their number (XRAI: segmentation and first finding, and a further one).  Both sides use saltrust's
`ig` map for XRAI.  For the guided methods captum gets a copy of the network in which functional
rectifiers are modules, since it sees no others.  Every map of that finding is correlated with the
peer's, which fails below 0.9999 (smooth_ig: 3 samples of 25 steps on both sides), but for
two: pytorch-grad-cam adds 1e-6 to squared gradients, which are smaller than that here, in
Grad-CAM++; and captum's DeepLIFT loses a part where the windows of max pooling overlap (its own
convergence delta says so; with average pooling the maps are the same).
Networks are as they come, weights with gradients; saltrust sets those aside by itself.
"""

from __future__ import annotations

import argparse
import copy
import time
import warnings
from collections.abc import Callable
from typing import Any

import captum.attr
import numpy as np
import torch
from saliency.core import xrai as pair
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn
from torch.nn import functional

from saltrust.explainers.context import BatchContext
from saltrust.explainers.explain import explain
from saltrust.explainers.forward import run_forward
from saltrust.explainers.registry import resolve
from saltrust.explainers.sampling import gaussian_noise
from saltrust.models.registry import build
from saltrust.models.torchvision_operators import import_torchvision
from saltrust.study import ExplainerSpec

METHODS: dict[str, dict[str, Any]] = {
    "grad": {}, "smoothgrad": {}, "ig": {}, "gradcam": {}, "gradcam_plus_plus": {},
    "guided_backprop": {}, "guided_gradcam": {}, "occlusion": {"fill": "black"},
    "deeplift": {}, "smooth_ig": {"samples": 3}, "xrai": {"baselines": ["black"]},
}
#: The set that is stated as one ratio.
TOGETHER = ("grad", "smoothgrad", "ig", "gradcam", "guided_backprop", "guided_gradcam",
            "occlusion", "xrai")
LEAST_CORRELATION = 0.9999
PEER_DIFFERS = ("gradcam_plus_plus", "deeplift")


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")
    network, inputs, context = _subject(arguments.size, arguments.findings)
    peers = Peers(network, inputs, context)
    print(f"{'':18s} {'peer':>9s} {'saltrust':>9s} {'ratio':>7s}   correlation   (DenseNet121, "
          f"{arguments.size} x {arguments.size}, {arguments.findings} findings, "
          f"{arguments.threads} threads)")
    totals = np.zeros(2)
    names = arguments.only or list(METHODS)
    for name in names:
        ours, maps = _ours(name, network, inputs, arguments.findings, context)
        theirs, expected = getattr(peers, name)(arguments.findings)
        correlation = np.corrcoef(maps[0, 0].flatten(), expected.flatten())[0, 1]
        print(f"{name:18s} {theirs:8.2f}s {ours:8.2f}s {theirs / ours:6.1f}x   {correlation:.6f}",
              flush=True)
        if correlation < LEAST_CORRELATION and name not in PEER_DIFFERS:
            raise SystemExit(f"{name}: the maps are not the same")
        totals += np.array([theirs, ours]) * (name in TOGETHER)
    if set(TOGETHER) <= set(names):
        print(f"{'together':18s} {totals[0]:8.2f}s {totals[1]:8.2f}s "
              f"{totals[0] / totals[1]:6.1f}x   {', '.join(TOGETHER)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--findings", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=METHODS, default=[])
    return parser.parse_args()


def _subject(size: int, findings: int) -> tuple[nn.Module, Tensor, BatchContext]:
    torch.manual_seed(0)
    network = build("densenet121", findings)
    random = np.random.default_rng(0)
    films = gaussian_filter(random.normal(size=(5, size, size)), (0, 9, 9))
    films += gaussian_filter(random.normal(size=(5, size, size)), (0, 2, 2)) / 6
    low, high = films.min((1, 2), keepdims=True), films.max((1, 2), keepdims=True)
    pixels = (255 * (films - low) / (high - low)).astype(np.uint8)
    inputs = (torch.from_numpy(pixels)[:, None].expand(-1, 3, -1, -1).float() / 255 - 0.5) / 0.25
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
    # With statistics of its own even an untrained network answers to its input.
    with torch.no_grad():
        network(inputs)
    network.eval()
    level = torch.full((1, 3, 1, 1), 2.0)
    return network, inputs[:1], BatchContext(("film",), -level, level, pixels=pixels[:1])


def _ours(name: str, network: nn.Module, inputs: Tensor, findings: int,
          context: BatchContext) -> tuple[float, Tensor]:
    outputs = range(findings)
    method = resolve(ExplainerSpec(name, METHODS[name])).fit(network, inputs)
    if name == "xrai":
        # The run's own maps of `ig` are there already, as in a study that asks for both.
        forward = run_forward(network, inputs)
        resolve(ExplainerSpec("ig"))(forward, outputs, context)
        return timed(lambda: method(forward, outputs, context))
    seconds, found = timed(lambda: explain(network, inputs, outputs, [method], context=context))
    return seconds, found.heatmaps[name]


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


class Peers:
    """Each method by an independent implementation: seconds for all findings, the first map."""

    def __init__(self, network: nn.Module, inputs: Tensor, context: BatchContext) -> None:
        self.network, self.inputs, self.context = network, inputs, context
        self.modular = _modules_for_functions(network)
        self.layer = network.get_submodule("features")

    def _each(self, findings: int, function: Callable[[], Tensor]) -> tuple[float, Tensor]:
        seconds, found = timed(function)
        return seconds * findings, found.detach().sum(dim=1)[0]

    def _leaf(self) -> Tensor:
        return self.inputs.clone().requires_grad_()

    @property
    def _black(self) -> Tensor:
        return self.context.black.expand_as(self.inputs)

    def grad(self, findings: int) -> tuple[float, Tensor]:
        peer = captum.attr.Saliency(self.network)
        return self._each(findings, lambda: peer.attribute(self._leaf(), target=0, abs=False))

    def smoothgrad(self, findings: int) -> tuple[float, Tensor]:
        # The same noise as ours, or the maps could not be compared.
        peer = captum.attr.Saliency(self.network)
        noise = [gaussian_noise(self.context, self.inputs, n, 0.15) for n in range(25)]

        def one() -> Tensor:
            copies = (self.inputs + torch.cat(noise)).requires_grad_()
            return torch.cat([peer.attribute(part, target=0, abs=False).sum(0, keepdim=True)
                              for part in copies.split(13)]).mean(dim=0, keepdim=True)

        return self._each(findings, one)

    def ig(self, findings: int) -> tuple[float, Tensor]:
        peer = captum.attr.IntegratedGradients(self.network)
        return self._each(findings, lambda: peer.attribute(
            self.inputs, self._black, target=0, n_steps=25, method="riemann_right"))

    def smooth_ig(self, findings: int) -> tuple[float, Tensor]:
        peer = captum.attr.IntegratedGradients(self.network)

        def one() -> Tensor:
            total = torch.zeros_like(self.inputs)
            for n in range(3):
                noisy = self.inputs + gaussian_noise(self.context, self.inputs, n, 0.15)
                total += peer.attribute(noisy, self._black, target=0, n_steps=25,
                                        method="riemann_right")
            return total / 3

        return self._each(findings, one)

    def gradcam(self, findings: int) -> tuple[float, Tensor]:
        peer = captum.attr.LayerGradCam(self.network, self.layer)

        def one() -> Tensor:
            small = peer.attribute(self._leaf(), target=0, relu_attributions=True)
            return functional.interpolate(small, self.inputs.shape[2:], mode="bilinear")

        return self._each(findings, one)

    def gradcam_plus_plus(self, findings: int) -> tuple[float, Tensor]:
        import_torchvision()
        from pytorch_grad_cam import GradCAMPlusPlus
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        with GradCAMPlusPlus(self.network, [self.layer]) as peer:
            seconds, found = timed(
                lambda: peer(self.inputs.clone(), [ClassifierOutputTarget(0)]))
        return seconds * findings, torch.as_tensor(found[0])

    def guided_backprop(self, findings: int) -> tuple[float, Tensor]:
        peer = captum.attr.GuidedBackprop(self.modular)
        return self._each(findings, lambda: peer.attribute(self._leaf(), target=0))

    def guided_gradcam(self, findings: int) -> tuple[float, Tensor]:
        peer = captum.attr.GuidedGradCam(self.modular, self.modular.get_submodule("features.norm5"))
        return self._each(findings, lambda: peer.attribute(
            self._leaf(), target=0, interpolate_mode="bilinear"))

    def occlusion(self, findings: int) -> tuple[float, Tensor]:
        peer = captum.attr.Occlusion(self.network)
        with torch.no_grad():
            seconds, found = timed(lambda: peer.attribute(
                self.inputs, sliding_window_shapes=(3, 32, 32), strides=(3, 16, 16),
                baselines=self._black, target=0))
        return seconds * findings, found[0, 0]

    def deeplift(self, findings: int) -> tuple[float, Tensor]:
        peer = captum.attr.DeepLift(self.modular)
        return self._each(findings, lambda: peer.attribute(self.inputs, self._black, target=0))

    def xrai(self, findings: int) -> tuple[float, Any]:
        ig = resolve(ExplainerSpec("ig"))
        found = explain(self.network, self.inputs, [0], [ig], context=self.context)
        attribution = found.heatmaps["ig"][0, 0].double().numpy()
        assert self.context.pixels is not None
        film = np.repeat(self.context.pixels[0][..., None].astype(float), 3, axis=2)
        seconds, masks = timed(lambda: pair._get_segments_felzenszwalb(film))
        each, (heatmap, _) = timed(lambda: pair.XRAI._xrai(attribution, masks))
        return (seconds + each) * findings, heatmap


def _modules_for_functions(network: nn.Module) -> nn.Module:
    """A copy in which every rectifier is a module of its own, as captum needs it."""
    traced = torch.fx.symbolic_trace(copy.deepcopy(network))
    for number, node in enumerate(list(traced.graph.nodes)):
        is_module = (node.op == "call_module"
                     and isinstance(traced.get_submodule(node.target), nn.ReLU))
        if is_module or node.target is functional.relu:
            traced.add_module(f"rectifier_{number}", nn.ReLU())
            with traced.graph.inserting_after(node):
                new = traced.graph.call_module(f"rectifier_{number}", (node.args[0],))
            node.replace_all_uses_with(new)
            traced.graph.erase_node(node)
    traced.recompile()
    return traced.eval()


if __name__ == "__main__":
    main()
