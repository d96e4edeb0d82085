"""Heatmaps: saltrust against captum, pytorch-grad-cam and PAIR's saliency, in one process.

    python benchmarks/explainers.py [--size 320] [--images 1] [--findings 10] [--threads 2]
                                    [--rounds 5] [--precision float32] [--only ig xrai]

DenseNet121 with random weights, radiographs of noise, all findings.  The peers are called as they
are meant to be, a batch of images at a time, once per method and finding; in each round they
explain one finding, another each time, whose seconds are multiplied by the number of findings.
The two sides take turns, and who begins changes from round to round; medians and their ratio are
printed.  Every map of the round's finding is correlated with the peer's: the run fails where the
median is below 0.9999 in float32, or a single map is below 0.999 (rounding turns some rectifiers of
a network that has not learned: captum's own gradients correlate with those of float64 by 0.99994
to 1).  smooth_ig has 3 samples of 25 steps on both sides.  Two rows are exempt: pytorch-grad-cam
adds 1e-6 to squared gradients, which are smaller than that here, in Grad-CAM++; and captum's
DeepLIFT loses a part where the windows of max pooling overlap (its own convergence delta says so;
with average pooling the maps are the same).  With `--precision bf16` the peers stay in float32, and
correlations are printed for what they are.

For the guided methods captum gets a copy of the network in which functional rectifiers are modules,
since it sees no others; so does pytorch-grad-cam, whose activations on a CPU are otherwise changed
by the in-place rectifier after them (the maps then correlate with captum's by 0.8).  Noise is the
same on both sides, and so is XRAI's attribution, saltrust's `ig`; PAIR's XRAI segments the
radiograph in every call, saltrust once: `xrai, first` is a finding whose radiograph is not
segmented yet, `xrai, further` all findings where it is.  Networks are as they come, weights with
gradients; saltrust sets those aside by itself.
"""

from __future__ import annotations

import argparse
import copy
import functools
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import captum.attr
import numpy as np
import saliency.core
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn
from torch.nn import functional

from saltrust.explainers.explain import explain
from saltrust.explainers.methods.xrai.segments import SegmentStore
from saltrust.explainers.passes.context import BatchContext
from saltrust.explainers.passes.forward import run_forward
from saltrust.explainers.passes.sampling import gaussian_noise
from saltrust.explainers.registry import resolve
from saltrust.models.classifiers.registry import build
from saltrust.models.torchvision_operators import import_torchvision
from saltrust.study import ExplainerSpec

#: Rows: the explainer and the peer's name for it (a method of `Peers`).
ROWS = {
    "grad": ("grad", "grad"), "smoothgrad": ("smoothgrad", "smoothgrad"), "ig": ("ig", "ig"),
    "gradcam": ("gradcam", "gradcam"), "gradcam, grad-cam": ("gradcam", "gradcam_pytorch"),
    "gradcam_plus_plus": ("gradcam_plus_plus", "gradcam_plus_plus"),
    "guided_backprop": ("guided_backprop", "guided_backprop"),
    "guided_gradcam": ("guided_gradcam", "guided_gradcam"),
    "occlusion": ("occlusion", "occlusion"), "deeplift": ("deeplift", "deeplift"),
    "smooth_ig": ("smooth_ig", "smooth_ig"), "xrai": ("xrai", "xrai"),
    "xrai, first": ("xrai", "xrai"), "xrai, further": ("xrai", "xrai"),
}
PARAMETERS: dict[str, dict[str, Any]] = {
    "occlusion": {"fill": "black"}, "smooth_ig": {"samples": 3}, "xrai": {"baselines": ["black"]},
}
#: The set that is stated as one ratio.
TOGETHER = ("grad", "smoothgrad", "ig", "gradcam", "guided_backprop", "guided_gradcam",
            "occlusion", "xrai")
LEAST_MEDIAN_CORRELATION, LEAST_CORRELATION = 0.9999, 0.999
PEER_DIFFERS = ("gradcam_plus_plus", "deeplift")


@dataclass(frozen=True)
class Subject:
    """What is explained: inputs (B, C, H, W), by how many findings, in which precision."""

    network: nn.Module
    inputs: Tensor
    context: BatchContext
    findings: int
    precision: str


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")
    subject = _subject(arguments)
    peers = Peers(subject)
    print(f"DenseNet121, {arguments.images} x {arguments.size} x {arguments.size}, "
          f"{arguments.findings} findings, {arguments.threads} threads, {arguments.precision}, "
          f"medians of {arguments.rounds} rounds")
    print(f"{'':18s} {'peer':>9s} {'saltrust':>9s} {'ratio':>7s}   least correlation")
    totals = np.zeros(2)
    names = arguments.only or list(ROWS)
    for name in names:
        totals += _compare(name, subject, peers, arguments.rounds) * (name in TOGETHER)
    if set(TOGETHER) <= set(names):
        print(f"{'together':18s} {totals[0]:8.2f}s {totals[1]:8.2f}s "
              f"{totals[0] / totals[1]:6.1f}x   {', '.join(TOGETHER)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--findings", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32")
    parser.add_argument("--only", nargs="*", choices=ROWS, default=[])
    return parser.parse_args()


def _compare(name: str, subject: Subject, peers: Peers, rounds: int) -> np.ndarray:
    """Print a row; seconds of the peer for all findings, and of saltrust."""
    explainer, peer = ROWS[name]
    # The row of a single finding is not multiplied.
    findings = range(1) if name == "xrai, first" else range(subject.findings)
    ours = _prepare(name, explainer, subject)
    theirs = getattr(peers, peer)
    seconds: dict[str, list[float]] = {"peer": [], "saltrust": []}
    correlations = []
    theirs(0)  # What is prepared once is not timed.
    for number in range(rounds):
        finding = findings[number % len(findings)]
        sides = {"peer": lambda: theirs(finding), "saltrust": lambda: ours(findings)}  # noqa: B023
        maps = {}
        for side in sorted(sides, reverse=bool(number % 2)):
            start = time.perf_counter()
            maps[side] = sides[side]()
            seconds[side].append(time.perf_counter() - start)
        correlations += [
            np.corrcoef(mine.flatten(), other.flatten())[0, 1]
            for mine, other in zip(maps["saltrust"][:, finding], maps["peer"], strict=True)]
    totals = np.array([statistics.median(seconds["peer"]) * len(findings),
                       statistics.median(seconds["saltrust"])])
    print(f"{name:18s} {totals[0]:8.2f}s {totals[1]:8.2f}s {totals[0] / totals[1]:6.1f}x   "
          f"{min(correlations):.6f}", flush=True)
    differ = (statistics.median(correlations) < LEAST_MEDIAN_CORRELATION
              or min(correlations) < LEAST_CORRELATION)
    if differ and explainer not in PEER_DIFFERS and subject.precision == "float32":
        raise SystemExit(f"{name}: the maps are not the same")
    return totals


def _prepare(name: str, explainer: str, subject: Subject) -> Callable[[range], Tensor]:
    """What makes saltrust's maps (B, F, H, W) of some findings."""
    network, inputs, context = subject.network, subject.inputs, subject.context
    method = resolve(ExplainerSpec(explainer, PARAMETERS.get(explainer, {}))).fit(network, inputs)
    if explainer != "xrai":
        return lambda findings: explain(network, inputs, findings, [method], context=context,
                                        precision=subject.precision).heatmaps[explainer]
    # The run's own maps of `ig` are there already, as in a study that asks for both.
    forward = run_forward(network, inputs)
    resolve(ExplainerSpec("ig"))(forward, range(subject.findings), context)
    resolve(ExplainerSpec("ig"))(forward, range(1), context)
    if name == "xrai, further":
        for gray in context.gray(inputs):
            context.segments.masks(gray)
        return lambda findings: method(forward, findings, context)
    return lambda findings: method(forward, findings, replace(context, segments=SegmentStore()))


def _subject(arguments: argparse.Namespace) -> Subject:
    size, n_images = arguments.size, arguments.images
    torch.manual_seed(0)
    network = build("densenet121", arguments.findings)
    random = np.random.default_rng(0)
    films = gaussian_filter(random.normal(size=(n_images + 4, size, size)), (0, 9, 9))
    films += gaussian_filter(random.normal(size=films.shape), (0, 2, 2)) / 6
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
    names = tuple(f"film {number}" for number in range(n_images))
    context = BatchContext(names, -level, level, pixels=pixels[:n_images])
    return Subject(network, inputs[:n_images], context, arguments.findings, arguments.precision)


class Peers:
    """Each method by an independent implementation: maps (B, H, W) of one finding."""

    def __init__(self, subject: Subject) -> None:
        self.network, self.inputs, self.context = subject.network, subject.inputs, subject.context
        self.modular = _modules_for_functions(self.network)
        self.layer = self.network.get_submodule("features")
        self.findings = subject.findings

    def _leaf(self) -> Tensor:
        return self.inputs.clone().requires_grad_()

    @property
    def _black(self) -> Tensor:
        return self.context.black.expand_as(self.inputs)

    @functools.cached_property
    def _attribution(self) -> np.ndarray:
        explained = explain(self.network, self.inputs, range(self.findings),
                            [resolve(ExplainerSpec("ig"))], context=self.context)
        return explained.heatmaps["ig"].double().numpy()

    def _noise(self, number: int) -> Tensor:
        # The same noise as ours, or the maps could not be compared.
        return gaussian_noise(self.context, self.inputs, number, 0.15)

    def grad(self, finding: int) -> Tensor:
        peer = captum.attr.Saliency(self.network)
        return peer.attribute(self._leaf(), target=finding, abs=False).sum(dim=1)

    def smoothgrad(self, finding: int) -> Tensor:
        peer = captum.attr.Saliency(self.network)
        copies = torch.cat([self.inputs + self._noise(number) for number in range(25)])
        parts = [peer.attribute(part.clone().requires_grad_(), target=finding, abs=False)
                 for part in copies.split(13)]
        return torch.cat(parts).reshape(25, *self.inputs.shape).mean(dim=0).sum(dim=1)

    def ig(self, finding: int) -> Tensor:
        peer = captum.attr.IntegratedGradients(self.network)
        return peer.attribute(self.inputs, self._black, target=finding, n_steps=25,
                              method="riemann_right", internal_batch_size=25).sum(dim=1).detach()

    def smooth_ig(self, finding: int) -> Tensor:
        peer = captum.attr.IntegratedGradients(self.network)
        return torch.stack([
            peer.attribute(self.inputs + self._noise(number), self._black, target=finding,
                           n_steps=25, method="riemann_right", internal_batch_size=25)
            for number in range(3)]).mean(dim=0).sum(dim=1).detach()

    def gradcam(self, finding: int) -> Tensor:
        peer = captum.attr.LayerGradCam(self.network, self.layer)
        small = peer.attribute(self._leaf(), target=finding, relu_attributions=True)
        return functional.interpolate(small, self.inputs.shape[2:], mode="bilinear")[:, 0].detach()

    def gradcam_pytorch(self, finding: int) -> Tensor:
        return self._pytorch_grad_cam("GradCAM", finding)

    def gradcam_plus_plus(self, finding: int) -> Tensor:
        return self._pytorch_grad_cam("GradCAMPlusPlus", finding)

    def _pytorch_grad_cam(self, method: str, finding: int) -> Tensor:
        import_torchvision()
        import pytorch_grad_cam
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        layer = self.modular.get_submodule("features.norm5")
        with getattr(pytorch_grad_cam, method)(self.modular, [layer]) as peer:
            targets = [ClassifierOutputTarget(finding)] * len(self.inputs)
            return torch.as_tensor(peer(self.inputs.clone(), targets))

    def guided_backprop(self, finding: int) -> Tensor:
        peer = captum.attr.GuidedBackprop(self.modular)
        return peer.attribute(self._leaf(), target=finding).sum(dim=1)

    def guided_gradcam(self, finding: int) -> Tensor:
        peer = captum.attr.GuidedGradCam(self.modular, self.modular.get_submodule("features.norm5"))
        return peer.attribute(self._leaf(), target=finding,
                              interpolate_mode="bilinear").sum(dim=1).detach()

    def occlusion(self, finding: int) -> Tensor:
        peer = captum.attr.Occlusion(self.network)
        with torch.no_grad():
            return peer.attribute(self.inputs, sliding_window_shapes=(3, 32, 32),
                                  strides=(3, 16, 16), baselines=self._black,
                                  target=finding)[:, 0]

    def deeplift(self, finding: int) -> Tensor:
        peer = captum.attr.DeepLift(self.modular)
        return peer.attribute(self.inputs, self._black, target=finding).sum(dim=1).detach()

    def xrai(self, finding: int) -> Tensor:
        assert self.context.pixels is not None
        maps = []
        for film, attribution in zip(self.context.pixels, self._attribution[:, finding],
                                     strict=True):
            # PAIR takes the greatest of the channels, which are one and the same here.
            image, values = (np.repeat(plane[..., None].astype(float), 3, axis=2)
                             for plane in (film, attribution))
            maps.append(saliency.core.XRAI().GetMask(image, None, base_attribution=values))
        return torch.from_numpy(np.stack(maps))


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
