"""How fast a device explains and trains, beside captum on it and beside this machine's CPU.

    python benchmarks/gpu/measure.py --device cuda [--seconds 240] [--output build/gpu]

DenseNet121 with random weights, radiographs of noise at 320 x 320, ten findings, float32, and the
most useful of the other precisions; on the CPU, which is for rehearsal, a small network at 48 x 48.
captum gets images and findings as rows of one batch, as its documentation has it
(`internal_batch_size`, `nt_samples_batch_size`, `perturbations_per_eval`), and the network with
rectifiers as modules where it needs them.  Every figure is written as soon as it is there, to
figures.json and figures.md; what no time is left for is left out and named.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import json
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

ROOT = Path(__file__).resolve().parents[2]
METHODS = ("grad", "smoothgrad", "ig", "gradcam", "guided_backprop", "guided_gradcam", "occlusion",
           "xrai")
#: Images of methods that take many passes, which fill a device with fewer.
FEWER = {"smoothgrad": 8, "ig": 8, "occlusion": 8, "xrai": 4}
#: Seconds without which compiling is not begun.
TO_COMPILE = 120
#: Rows of a batch of captum's: as many as a pass of ours has on a GPU.
ROWS = 64
NEEDED = ("zarr", "xarray", "captum", "pydicom", "pycocotools", "scipy", "skimage", "pandas",
          "pytest", "hypothesis", "segmentation_models_pytorch", "saltrust")


@dataclass(frozen=True)
class Size:
    """What is explained: network, side of the images, findings, images of ours and of captum, steps
    and noisy copies.
    """

    network: str
    side: int
    findings: int
    images: int
    of_captum: int
    steps: int
    layer: str
    rectified_layer: str


GPU = Size("densenet121", 320, 10, 16, 2, 25, "features", "features.norm5")
REHEARSAL = Size("resnet18", 48, 2, 2, 1, 2, "layer4", "layer4.1.bn2")


@dataclass
class Figures:
    """Rows as they come, and the time that is left for more."""

    folder: Path
    facts: dict[str, Any]
    until: float
    rows: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def add(self, name: str, measure: Callable[[], dict[str, Any]], needs: float = 0) -> None:
        """Measure a row, unless the time is over; one that fails does not stop the others."""
        if time.monotonic() + needs > self.until:
            self.left_out.append(name)
        else:
            try:
                row = {"name": name, **measure()}
            except Exception as error:  # noqa: BLE001 - whatever it is, the next row may work
                row = {"name": name, "failed": f"{type(error).__name__}: {error}"[:300]}
            self.rows.append(row)
            print(json.dumps(row), flush=True)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        content = {**self.facts, "rows": self.rows, "left_out": self.left_out}
        (self.folder / "figures.json").write_text(json.dumps(content, indent=1) + "\n")
        (self.folder / "figures.md").write_text(as_markdown(content))

    @property
    def failed(self) -> list[str]:
        return [row["name"] for row in self.rows if "failed" in row]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--output", type=Path, default=Path("build/gpu"))
    parser.add_argument("--check", action="store_true", help="only whether everything is here")
    arguments = parser.parse_args()
    _check(arguments.device)
    if arguments.check:
        return
    warnings.simplefilter("ignore")
    arguments.output.mkdir(parents=True, exist_ok=True)
    figures = Figures(arguments.output, _facts(arguments.device),
                      time.monotonic() + arguments.seconds)
    size = GPU if arguments.device == "cuda" else REHEARSAL
    figures.facts["size"] = vars(size)
    subject = Subject(size, torch.device(arguments.device))
    for name in METHODS:
        figures.add(name, lambda name=name: _explainer(name, subject))
    for precision in (("float32", "tf32", "bf16", "float16") if arguments.device == "cuda"
                      else ("float32", "bf16")):
        figures.add(f"training, {precision}", lambda precision=precision: _training(
            subject, precision))
    for name in METHODS:
        figures.add(f"{name}, CPU", lambda name=name: _on_cpu(name, subject))
    figures.add("generate", lambda: _generate(subject))
    for precision in ("bf16", *(["tf32"] if arguments.device == "cuda" else [])):
        figures.add(f"ig, {precision}", lambda precision=precision: _ours(
            "ig", subject, precision))
    figures.add("ig, channels last", lambda: _other_layout(subject))
    figures.add("ig, compiled", lambda: _compiled(subject), needs=TO_COMPILE)
    print((arguments.output / "figures.md").read_text())
    if figures.failed:
        raise SystemExit(f"not measured, for an error: {', '.join(figures.failed)}")


def _check(device: str) -> None:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise SystemExit(f"this Python lacks {', '.join(missing)}; make the wheels with "
                         "benchmarks/gpu/wheels.py, say what is there with --present, and carry "
                         "build/gpu-wheels along")
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch sees no CUDA device; --device cpu rehearses without one")


def _facts(device: str) -> dict[str, Any]:
    import captum

    card = "none: rehearsed on the CPU"
    if device == "cuda":
        card = torch.cuda.get_device_name()
    return {"date": datetime.now(UTC).date().isoformat(), "card": card, "torch": torch.__version__,
            "captum": captum.__version__, "threads": torch.get_num_threads()}


class Subject:
    """Network, inputs and context on the device, and the peer's calls."""

    def __init__(self, size: Size, device: torch.device) -> None:
        from saltrust.models.classifiers.registry import build
        from saltrust.models.torchvision_operators import import_torchvision

        import_torchvision()
        self.size, self.device = size, device
        torch.manual_seed(0)
        self.network = build(size.network, size.findings)
        random = np.random.default_rng(0)
        coarse = torch.from_numpy(random.random((size.images, 1, 16, 16), dtype=np.float32))
        films = functional.interpolate(coarse, size=(size.side, size.side), mode="bicubic")
        noise = torch.from_numpy(random.random(films.shape, dtype=np.float32))
        self.pixels = ((0.8 * films.clamp(0, 1) + 0.2 * noise) * 255)[:, 0].byte().numpy()
        for part in self.network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.momentum = 1.0
        # With statistics of its own even an untrained network answers to its input.
        with torch.no_grad():
            self.network(self.inputs("cpu"))
        self.network.eval().requires_grad_(False).to(device)

    def inputs(self, device: torch.device | str, n: int | None = None) -> Tensor:
        from saltrust.models.preprocessing import IMAGENET, to_input

        return to_input(self.pixels[:n], IMAGENET, device)

    def context(self, device: torch.device | str, n: int) -> Any:
        from saltrust.explainers.passes.context import BatchContext, PassSize
        from saltrust.models.preprocessing import IMAGENET, to_input

        ends = to_input(np.array([[[0, 255]]], np.uint8), IMAGENET, device)
        return BatchContext(tuple(f"film {k}" for k in range(n)), ends[..., :1], ends[..., 1:], 0,
                            self.pixels[:n], PassSize.on(torch.device(device)))


def _maps(name: str, subject: Subject, n: int, precision: str = "float32",
          device: torch.device | str | None = None) -> Callable[[], Tensor]:
    """What explains n images by all findings."""
    from saltrust.explainers.explain import explain
    from saltrust.explainers.registry import resolve
    from saltrust.study import ExplainerSpec

    device = subject.device if device is None else device
    inputs, network = subject.inputs(device, n), subject.network
    steps = subject.size.steps
    parameters: dict[str, Any] = {
        "occlusion": {"fill": "black"}, "smoothgrad": {"samples": steps}, "ig": {"steps": steps},
        "xrai": {"steps": steps}}.get(name, {})
    method = resolve(ExplainerSpec(name, parameters)).fit(network, inputs[:1])
    return lambda: explain(
        network, inputs, range(subject.size.findings), [method],
        context=subject.context(device, n), precision=precision).heatmaps[name]


def _explainer(name: str, subject: Subject) -> dict[str, Any]:
    """Images per second of ours and of captum's, and how well their maps agree."""
    row = _ours(name, subject)
    if not hasattr(Captum, name):
        return row
    n = subject.size.of_captum
    peer = Captum(subject, n)
    rate, theirs = _rate(getattr(peer, name), n, subject.device)
    row |= {"captum_images_per_s": rate, "ratio": row["images_per_s"] / rate}
    if name != "smoothgrad":  # Its noise is its own.
        from saltrust.generate.agreement import correlations

        mine = _maps(name, subject, n)().float().cpu().numpy()
        together = correlations(mine, theirs.float().cpu().numpy())
        row["correlation_median"] = float(np.median(together)) if len(together) else None
    return row


def _ours(name: str, subject: Subject, precision: str = "float32") -> dict[str, Any]:
    n = min(subject.size.images, FEWER.get(name, subject.size.images))
    call = _maps(name, subject, n, precision)
    rate, _ = _rate(call, n, subject.device)
    row: dict[str, Any] = {"images_per_s": rate, "computing": _share_computing(
        _maps(name, subject, min(n, 4), precision), subject.device)}
    if subject.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        call()
        row["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return row


def _rate(call: Callable[[], Any], n: int, device: torch.device) -> tuple[float, Any]:
    """Images per second: the median of rounds after a first one, within some seconds."""
    def timed() -> tuple[float, Any]:
        _wait(device)
        start = time.perf_counter()
        result = call()
        _wait(device)
        return time.perf_counter() - start, result

    first, result = timed()
    if device.type == "cpu":  # For rehearsal, where it is no figure.
        return n / first, result
    seconds: list[float] = []
    while len(seconds) < 5 and sum(seconds) < min(4.0, 4 * first):
        taken, result = timed()
        seconds.append(taken)
    return n / statistics.median(seconds), result


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _share_computing(call: Callable[[], Any], device: torch.device) -> float | None:
    """Part of the time in which the device runs kernels or copies (torch's profiler)."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    cuda = device.type == "cuda"
    kind = DeviceType.CUDA if cuda else DeviceType.CPU
    _wait(device)
    with profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as profiler:
        start = time.perf_counter()
        call()
        _wait(device)
        whole = time.perf_counter() - start
    assert profiler.profiler is not None
    results = profiler.profiler.kineto_results
    spans = sorted((event.start_ns(), event.start_ns() + event.duration_ns())
                   for event in results.events() if event.device_type() == kind)
    busy, reached = 0, 0
    for begin, end in spans:
        busy += max(0, end - max(begin, reached))
        reached = max(reached, end)
    return min(1.0, busy / 1e9 / whole) if spans else None


class Captum:
    """captum's methods on images and findings as rows of one batch."""

    def __init__(self, subject: Subject, n: int) -> None:
        size = subject.size
        self.n, self.findings, self.side, self.steps = n, size.findings, size.side, size.steps
        self.network = subject.network
        self.images = subject.inputs(subject.device, n)
        self.rows = self.images.repeat_interleave(size.findings, dim=0)
        self.targets = list(range(size.findings)) * n
        self.black = subject.context(subject.device, n).black
        self.modular = _modules_for_functions(subject.network)
        self.layer, self.rectified_layer = size.layer, size.rectified_layer

    def _in_parts(self, attribute: Callable[[Tensor, list[int]], Tensor], rows: int) -> Tensor:
        parts = [attribute(self.rows[start:start + rows].clone().requires_grad_(),
                           self.targets[start:start + rows])
                 for start in range(0, len(self.rows), rows)]
        maps = torch.cat([part.detach().sum(dim=1) for part in parts])
        return maps.view(self.n, self.findings, self.side, self.side)

    def grad(self) -> Tensor:
        from captum.attr import Saliency

        peer = Saliency(self.network)
        return self._in_parts(lambda rows, targets: peer.attribute(
            rows, target=targets, abs=False), ROWS)

    def smoothgrad(self) -> Tensor:
        from captum.attr import NoiseTunnel, Saliency

        peer = NoiseTunnel(Saliency(self.network))
        spread = float(self.images.amax() - self.images.amin())
        return self._in_parts(lambda rows, targets: peer.attribute(
            rows, nt_type="smoothgrad", nt_samples=self.steps,
            nt_samples_batch_size=max(1, ROWS // len(rows)), stdevs=0.15 * spread,
            target=targets, abs=False), min(ROWS, self.findings))

    def ig(self) -> Tensor:
        from captum.attr import IntegratedGradients

        peer = IntegratedGradients(self.network)
        return self._in_parts(lambda rows, targets: peer.attribute(
            rows, self.black.expand_as(rows), target=targets, n_steps=self.steps,
            method="riemann_right", internal_batch_size=ROWS), self.findings)

    def gradcam(self) -> Tensor:
        from captum.attr import LayerGradCam

        peer = LayerGradCam(self.network, self.network.get_submodule(self.layer))
        return self._in_parts(lambda rows, targets: functional.interpolate(
            peer.attribute(rows, target=targets, relu_attributions=True),
            (self.side, self.side), mode="bilinear"), ROWS)

    def guided_backprop(self) -> Tensor:
        from captum.attr import GuidedBackprop

        peer = GuidedBackprop(self.modular)
        return self._in_parts(lambda rows, targets: peer.attribute(rows, target=targets), ROWS)

    def guided_gradcam(self) -> Tensor:
        from captum.attr import GuidedGradCam

        peer = GuidedGradCam(self.modular, self.modular.get_submodule(self.rectified_layer))
        return self._in_parts(lambda rows, targets: peer.attribute(
            rows, target=targets, interpolate_mode="bilinear"), ROWS)

    def occlusion(self) -> Tensor:
        from captum.attr import Occlusion

        peer = Occlusion(self.network)
        window = min(32, self.side)
        with torch.no_grad():
            return torch.stack([peer.attribute(
                self.images, sliding_window_shapes=(3, window, window),
                strides=(3, window // 2, window // 2), baselines=self.black.expand_as(self.images),
                target=finding, perturbations_per_eval=max(1, ROWS // self.n))[:, 0]
                for finding in range(self.findings)], dim=1)


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


def _other_layout(subject: Subject) -> dict[str, Any]:
    """In float32, where generate takes them for rounded products only; on the CPU as always."""
    from saltrust.explainers.passes import evaluation

    before = evaluation.prefers_channels_last
    evaluation.prefers_channels_last = lambda device: device.type == "cuda"
    try:
        return _ours("ig", subject)
    finally:
        evaluation.prefers_channels_last = before


def _compiled(subject: Subject) -> dict[str, Any]:
    from saltrust.explainers.passes.compiled import compiling

    start = time.perf_counter()
    with compiling(True):
        row = _ours("ig", subject)
    return {**row, "seconds_with_compilation": time.perf_counter() - start}


def _on_cpu(name: str, subject: Subject) -> dict[str, Any]:
    """Ours on this machine's CPU, one image, once after a first try where that is quick."""
    subject.network.to("cpu")
    try:
        call = _maps(name, subject, 1, device="cpu")
        start = time.perf_counter()
        call()
        taken = time.perf_counter() - start
        if taken < 2:
            start = time.perf_counter()
            call()
            taken = time.perf_counter() - start
        return {"images_per_s": 1 / taken}
    finally:
        subject.network.to(subject.device)


def _training(subject: Subject, precision: str) -> dict[str, Any]:
    """Steps as the training loop makes them: varied images, cross-entropy, Adam."""
    from saltrust.models.classifiers.registry import build
    from saltrust.models.preprocessing import IMAGENET
    from saltrust.training.data.images import LabeledImages
    from saltrust.training.precision import allow_tensor_cores, autocast, gradient_scaler
    from saltrust.training.tasks.classifier import ClassifierTask
    from saltrust.training_settings import TrainSpec

    size, device = subject.size, subject.device
    batch = 32 if device.type == "cuda" else 4
    pixels = np.concatenate([subject.pixels] * (batch // len(subject.pixels) + 1))[:batch]
    images = LabeledImages(
        names=tuple(map(str, range(batch))), findings=tuple(map(str, range(size.findings))),
        split=np.array(["train"] * batch), pixels=pixels,
        labels=np.random.default_rng(0).integers(0, 2, (batch, size.findings)).astype(np.int8),
        left_out=())
    network = build(size.network, size.findings).to(device).train()
    spec = replace(TrainSpec(), precision=precision, augment=True)
    task = ClassifierTask("figures", network, device, images, spec, IMAGENET,
                          np.arange(size.findings))
    optimizer = torch.optim.Adam(network.parameters(), 1e-4)
    scaler, generator = gradient_scaler(precision, device), torch.Generator().manual_seed(0)

    def steps() -> None:
        for _ in range(5 if device.type == "cuda" else 1):
            with autocast(precision, device):
                loss = task.loss(torch.arange(batch), generator)
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(loss.value).backward()
            scaler.step(optimizer)
            scaler.update()

    with allow_tensor_cores(precision) if device.type == "cuda" else nullcontext():
        rate, _ = _rate(steps, batch * (5 if device.type == "cuda" else 1), device)
        return {"images_per_s": rate, "computing": _share_computing(steps, device)}


def _generate(subject: Subject) -> dict[str, Any]:
    """The whole command: reading, grad, gradcam and ig of three findings, storing."""
    from saltrust.generate.job import Overrides, generate
    from saltrust.study import ExplainerSpec, GenerateSpec, ModelSpec, Study

    path = ROOT / "tests" / "generate" / "tiny_study.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    tiny = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = tiny
    spec.loader.exec_module(tiny)
    from saltrust.models.classifiers.registry import build

    n = 96 if subject.device.type == "cuda" else 6
    with tempfile.TemporaryDirectory() as folder:
        network = build(subject.size.network, 3)
        tiny.save_model(Path(folder), "a", network, architecture=subject.size.network)
        study = Study(name="figures", grid=subject.size.side, folder=Path(folder),
                      models=(ModelSpec("a", subject.size.network),),
                      explainers=tuple(map(ExplainerSpec, ("grad", "gradcam", "ig"))),
                      generate=GenerateSpec("all", "auto"))
        start = time.perf_counter()
        generate(tiny.NoisyCollection(n), study, Path(folder) / "out.zarr", progress=False,
                 overrides=Overrides(subject.device.type))
        return {"images_per_s": n / (time.perf_counter() - start)}


def as_markdown(content: dict[str, Any]) -> str:
    """The figures as a table for docs/performance.md."""
    size = content["size"]
    rows = {row["name"]: row for row in content["rows"]}
    lines = [f"{content['card']}, {content['date']}; torch {content['torch']}, captum "
             f"{content['captum']}; {size['network']} at {size['side']} x {size['side']}, "
             f"{size['findings']} findings, {size['steps']} steps and noisy copies, up to "
             f"{size['images']} images at once, captum {size['of_captum']}; CPU of the same "
             f"machine, one image, {content['threads']} threads. Images per second, all "
             "findings:", "",
             "| | saltrust | captum | ratio | computing | memory | CPU |",
             "|---|---|---|---|---|---|---|"]
    for name, row in rows.items():
        if name.endswith(", CPU"):
            continue
        if "failed" in row:
            lines.append(f"| {name} | failed: {row['failed']} | | | | | |")
            continue
        cpu = rows.get(f"{name}, CPU", {}).get("images_per_s")
        lines.append("| " + " | ".join([
            name, _number(row["images_per_s"]), _number(row.get("captum_images_per_s")),
            _number(row.get("ratio")), "" if row.get("computing") is None
            else f"{row['computing']:.0%}", "" if "peak_gib" not in row
            else f"{row['peak_gib']:.1f} GiB", _number(cpu)]) + " |")
    if content["left_out"]:
        lines += ["", f"No time was left for: {', '.join(content['left_out'])}."]
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


if __name__ == "__main__":
    main()
