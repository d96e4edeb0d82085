"""Curves of faithfulness beside integrated gradients: what they cost for one radiograph.

    python benchmarks/faithfulness.py [--size 320] [--findings 10] [--explainers 8] [--threads 2]
                                      [--metrics deletion insertion] [--rounds 1]

DenseNet121 with random weights, a radiograph of noise, maps of smooth noise, `batch` of eight as in
`saltrust generate`.  `ig` is of all findings, 25 steps, as it is generated.  Curves are of all
maps (findings x explainers), and of what the default of `passes` of `[faithfulness]` leaves of
them.  Sides take turns; CPU seconds of all threads, medians.  The run fails where curves within the
budget cost more than `ig`, or where those of a map differ between the two.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from saltrust.cache.schema import Status
from saltrust.explainers.explain import explain
from saltrust.explainers.passes.context import BatchContext, PassSize
from saltrust.explainers.passes.forward import run_forward
from saltrust.explainers.registry import resolve
from saltrust.generate.faithfulness.curves import ImageCurves, image_curves
from saltrust.generate.faithfulness.perturbation import Subject
from saltrust.generate.faithfulness.plan import FaithfulnessPlan, findings_within
from saltrust.generation_settings import FaithfulnessSpec
from saltrust.models.classifiers.registry import build
from saltrust.study import ExplainerSpec

CHANNELS = 3


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")
    size, findings, explainers = arguments.size, arguments.findings, arguments.explainers
    generator = np.random.default_rng(0)
    film = gaussian_filter(generator.normal(size=(size, size)), size / 35)
    pixels = (255 * (film - film.min()) / np.ptp(film)).astype(np.uint8)
    network = _network(findings, pixels)
    maps = gaussian_filter(generator.normal(size=(findings, explainers, size, size)),
                           (0, 0, size / 20, size / 20)).astype(np.float32)
    spec = FaithfulnessSpec(tuple(arguments.metrics), labels="all")
    plan = FaithfulnessPlan(spec, 0, (size, size), np.ones((1, findings), dtype=bool),
                            {f"explainer {k}": "raw" for k in range(explainers)})
    within = findings_within(spec, explainers)
    counted = _Counted(network)
    results: dict[str, ImageCurves] = {}

    def curves(name: str, first: int) -> None:
        status = np.full((findings, explainers), int(Status.MISSING), np.uint8)
        status[:first] = Status.OK
        counted.passes = 0
        subject = Subject.of(pixels, "film", plan, torch.device("cpu"))
        results[name] = image_curves(counted, subject, maps, status, "film", plan)

    inputs = _inputs(torch.from_numpy(pixels / np.float32(255))[None])
    ends = (_inputs(torch.full((1, 1, 1), level)) for level in (0.0, 1.0))
    context = BatchContext(("film",), *ends)
    method = resolve(ExplainerSpec("ig")).fit(network, inputs)
    sides: dict[str, Callable[[], object]] = {
        f"ig of {findings} findings": lambda: explain(network, inputs, range(findings), [method],
                                                      context=context),
        "curves within the budget": lambda: curves("within", within),
        "curves of all maps": lambda: curves("all", findings)}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    passes: dict[str, int] = {}
    for number in range(arguments.rounds):
        for name in sorted(sides, reverse=bool(number % 2)):
            counted.passes = 0
            start = time.process_time()
            sides[name]()
            seconds[name].append(time.process_time() - start)
            passes[name] = counted.passes
    print(f"DenseNet121, {size} x {size}, {findings} findings x {explainers} explainers, "
          f"{', '.join(arguments.metrics)}, {spec.steps} steps, {spec.orders} random orders, "
          f"passes = {spec.passes}: {within} findings of an image")
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    of_ig = next(iter(medians.values()))
    for name, median in medians.items():
        print(f"{name:26s} {median:8.1f} s  {median / of_ig:5.2f} x ig  "
              f"{passes[name] or '':>5} forward passes")
    np.testing.assert_allclose(results["within"].curve[:within], results["all"].curve[:within],
                               atol=1e-5)
    if medians["curves within the budget"] > of_ig:
        raise SystemExit("curves within the budget cost more than ig")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--findings", type=int, default=10)
    parser.add_argument("--explainers", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--metrics", nargs="+", default=["deletion", "insertion"])
    return parser.parse_args()


def _inputs(planes: Tensor) -> Tensor:
    return ((planes[:, None] - 0.5) / 0.25).expand(-1, CHANNELS, -1, -1)


def _network(findings: int, pixels: np.ndarray) -> nn.Module:
    torch.manual_seed(0)
    network = build("densenet121", findings)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
    planes = torch.from_numpy(pixels / np.float32(255))
    with torch.no_grad():
        # With statistics of its own even an untrained network answers to its input.
        network(_inputs(torch.stack([planes, planes.flip(0), planes.T, planes.flip(1)])))
    network.eval()
    return network


@dataclasses.dataclass
class _Counted:
    """Predictions by batches of eight, and how many images were predicted."""

    network: nn.Module
    passes: int = 0

    def __call__(self, planes: Tensor) -> Tensor:
        self.passes += len(planes)
        return torch.cat([
            run_forward(self.network, _inputs(planes[part]), to_inputs=False).logits.sigmoid()
            for part in PassSize().slices(len(planes))])


if __name__ == "__main__":
    main()
