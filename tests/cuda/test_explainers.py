"""Every explainer on the device against the CPU, in float32 and in bfloat16."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from saltrust.explainers.explain import explain
from saltrust.explainers.passes.context import BatchContext, PassSize
from saltrust.explainers.registry import BUILT_IN, resolve
from saltrust.generate.agreement import correlations
from saltrust.study import ExplainerSpec

pytestmark = pytest.mark.cuda

SIZE, FINDINGS = 48, 3
ATTENTION = ("attention_rollout", "chefer", "attnlrp")
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoothgrad": {"samples": 4}, "ig": {"steps": 8}, "smooth_ig": {"samples": 2, "steps": 4},
    "xrai": {"steps": 8}, "occlusion": {"window": 16, "stride": 8},
}
#: Of float32: the largest difference as a part of the largest value, in at least half of the maps,
#: and the correlation of each. Rounding may turn single rectifiers; XRAI chooses between regions,
#: and a rounded sum may choose another.
LARGEST_DIFFERENCE, LEAST_CORRELATION, OF_REGIONS = 2e-3, 0.999, 0.9
#: Of bfloat16, which has 8 bits: the least median correlation with the CPU's float32; of regions.
IN_HALF, REGIONS_IN_HALF = 0.95, 0.8


class Convolutions(nn.Module):
    """What convolutional networks are made of: norms, branches, pooling, rectifiers in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16),
                                  nn.ReLU(inplace=True), nn.MaxPool2d(2))
        self.branch = nn.Sequential(nn.Conv2d(16, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
                                    nn.Conv2d(16, 16, 3, padding=1))
        self.body = nn.Sequential(nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 24, 3, padding=1))
        self.head = nn.Linear(24, FINDINGS)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        x = functional.relu(self.body(torch.cat([x, self.branch(x)], dim=1)), inplace=True)
        logits: Tensor = self.head(functional.adaptive_avg_pool2d(x, 1).flatten(1))
        return logits


class Transformer(nn.Module):
    """Patches, a class token, two blocks of attention."""

    def __init__(self, width: int = 16, patch: int = 8) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.places = nn.Parameter(torch.randn(1, (SIZE // patch) ** 2, width) * 0.1)
        self.attention = nn.ModuleList(
            [nn.MultiheadAttention(width, 4, batch_first=True) for _ in range(2)])
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(4)])
        self.mlps = nn.ModuleList(
            [nn.Sequential(nn.Linear(width, 32), nn.GELU(), nn.Linear(32, width))
             for _ in range(2)])
        self.head = nn.Linear(width, FINDINGS)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).mT + self.places
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1)
        for k in range(2):
            y = self.norms[2 * k](x)
            x = x + self.attention[k](y, y, y, need_weights=False)[0]
            x = x + self.mlps[k](self.norms[2 * k + 1](x))
        logits: Tensor = self.head(x[:, 0])
        return logits


def _network(name: str) -> nn.Module:
    torch.manual_seed(5)
    network = Transformer() if name in ATTENTION else Convolutions()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean = torch.randn_like(part.running_mean) * 0.1
            part.running_var = torch.rand_like(part.running_var) + 0.5
    return network.eval()


def _images(n: int = 3) -> Tensor:
    """Blobs on noise, in [-2, 2]."""
    generator = torch.Generator().manual_seed(2)
    coarse = torch.rand(n, 1, 6, 6, generator=generator)
    smooth = functional.interpolate(coarse, size=(SIZE, SIZE), mode="bicubic").clamp(0, 1)
    noise = torch.rand(n, 1, SIZE, SIZE, generator=generator)
    return ((0.8 * smooth + 0.2 * noise) * 4 - 2).expand(-1, 3, -1, -1).contiguous()


def _context(images: Tensor, rows: int = 8) -> BatchContext:
    level = torch.full((1, 3, 1, 1), 2.0, device=images.device)
    pixels = ((images[:, 0] + 2) * 63.75).round().to(torch.uint8).cpu().numpy()
    return BatchContext(tuple(f"film {k}" for k in range(len(images))), -level, level, 4, pixels,
                        PassSize(rows))


def _maps(name: str, device: torch.device | str, precision: str = "float32") -> np.ndarray:
    network, images = _network(name).to(device), _images().to(device)
    method = resolve(ExplainerSpec(name, PARAMETERS.get(name, {})))
    explained = explain(network, images, range(FINDINGS), [method], context=_context(images),
                        precision=precision)
    maps: np.ndarray = explained.heatmaps[name].cpu().numpy()
    return maps


@pytest.mark.parametrize("name", BUILT_IN)
def test_float32_gives_the_maps_of_the_cpu(name: str, device: torch.device) -> None:
    expected, maps = _maps(name, "cpu"), _maps(name, device)
    assert np.isfinite(maps).all()
    together = correlations(maps, expected)
    assert len(together) == 3 * FINDINGS
    assert together.min() > (OF_REGIONS if name == "xrai" else LEAST_CORRELATION)
    if name != "xrai":
        largest = np.abs(expected).max(axis=(2, 3))
        differences = np.abs(maps - expected).max(axis=(2, 3))
        assert np.median(differences / largest) <= LARGEST_DIFFERENCE


@pytest.mark.parametrize("name", BUILT_IN)
def test_bfloat16_gives_maps_near_them(name: str, device: torch.device) -> None:
    expected, maps = _maps(name, "cpu"), _maps(name, device, "bf16")
    assert np.isfinite(maps).all()
    assert np.median(correlations(maps, expected)) > (
        REGIONS_IN_HALF if name == "xrai" else IN_HALF)
    if BUILT_IN[name].full_precision:
        assert correlations(maps, expected).min() > LEAST_CORRELATION


def test_tf32_is_a_precision_of_gpus_alone(device: torch.device) -> None:
    precision = "tf32" if device.type == "cuda" else "float32"
    together = correlations(_maps("ig", device, precision), _maps("ig", "cpu"))
    assert np.median(together) > 0.99


def test_no_method_waits_for_the_device(device: torch.device) -> None:
    """With an error at every synchronisation that torch knows of."""
    names = [name for name in BUILT_IN
             if name not in (*ATTENTION, "xrai", "eigencam")]  # Regions; eigenvalues of LAPACK.
    methods = [resolve(ExplainerSpec(name, PARAMETERS.get(name, {}))) for name in names]
    network, images = _network("grad").to(device), _images().to(device)
    context = _context(images)
    methods = [method.fit(network, images[:1]) for method in methods]
    for _ in range(2):  # What torch sets up once may wait.
        explain(network, images, range(FINDINGS), methods, context=context)
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
    try:
        explained = explain(network, images, range(FINDINGS), methods, context=context)
    finally:
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    assert sorted(explained.heatmaps) == sorted(names)


def test_a_pass_that_does_not_fit_is_halved(device: torch.device) -> None:
    """On a GPU by a limit on the memory of the process; on a CPU by an error that is made up."""
    network = _network("ig").to(device)
    images = functional.interpolate(_images(), scale_factor=8).to(device)
    method = resolve(ExplainerSpec("ig", {"steps": 32}))
    expected = explain(network, images, [0], [method], context=_context(images, 2))
    context = _context(images, 96)
    hook = None
    if device.type == "cuda":
        torch.cuda.empty_cache()
        whole = torch.cuda.get_device_properties(device).total_memory
        # 96 images of 384 x 384 take some GB on their way.
        torch.cuda.set_per_process_memory_fraction(
            (torch.cuda.memory_reserved() + 600 * 2**20) / whole)
    else:
        def check(_module: nn.Module, args: Any) -> None:
            if len(args[0]) > 20:
                raise torch.cuda.OutOfMemoryError("made up")

        hook = network.register_forward_pre_hook(check)
    try:
        explained = explain(network, images, [0], [method], context=context)
    finally:
        if hook is not None:
            hook.remove()
        else:
            torch.cuda.set_per_process_memory_fraction(1.0)
    assert 1 <= context.passes.rows < 96
    assert correlations(explained.heatmaps["ig"].cpu().numpy(),
                        expected.heatmaps["ig"].cpu().numpy()).min() > LEAST_CORRELATION
