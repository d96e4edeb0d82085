"""What checksums cost: their share of the CPU time of generate, of a scan, and of opening.

    python benchmarks/integrity.py [--patients 40] [--grid 224] [--rounds 5]

A phantom study (grad and gradcam of an untrained small network, the cheapest that a generate can
be), generated, opened and scanned, `--rounds` times each, in one process.  The time of everything
that exists for integrity is taken inside those calls: CRC-32C of every chunk written and read, the
seal at the end, the comparison of a store with its seal on opening, and that of every chunk's end
with the seal.  So is what is measured a share, which other work on the machine does not move.
Fails where the median share of generate or of the scan is above 3%, or where the maps or scores of
two rounds differ.
"""

from __future__ import annotations

import argparse
import functools
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from zarr.codecs import Crc32cCodec

from saltrust.analysis.localization.analysis import localization
from saltrust.analysis.options import Execution, Resampling
from saltrust.cache import guarded, store, writing
from saltrust.cache.store import open_cubes
from saltrust.datasets.phantom.collection import phantom
from saltrust.generate.job import generate
from saltrust.models.checkpoint import save
from saltrust.models.classifiers.small import PhantomNet
from saltrust.study import ExplainerSpec, GenerateSpec, ModelSpec, Study

MOST = 0.03
#: Functions that are there for integrity: where they are called by name, and the name.
COUNTED: tuple[tuple[Any, str], ...] = (
    (Crc32cCodec, "_encode_sync"), (Crc32cCodec, "_decode_sync"),
    (writing, "seal"), (store, "read_seal"), (store, "require_intact"),
    (guarded.SealedStore, "_compare"), (guarded, "stored_tails"))


class Clock:
    """CPU seconds of the counted functions, each thread's outermost call."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._inside = threading.local()
        self._lock = threading.Lock()

    def counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            if getattr(self._inside, "so", False):
                return function(*arguments, **options)
            self._inside.so, before = True, time.thread_time()
            try:
                return function(*arguments, **options)
            finally:
                self._inside.so = False
                with self._lock:
                    self.seconds += time.thread_time() - before
        return call

    def share(self, function: Callable[[], Any]) -> tuple[Any, float, float]:
        """What a function returns, its CPU seconds, and the share of what is counted."""
        self.seconds, before = 0.0, time.process_time()
        made = function()
        whole = time.process_time() - before
        return made, whole, self.seconds / whole


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=40)
    parser.add_argument("--grid", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    clock = Clock()
    for owner, name in COUNTED:
        setattr(owner, name, clock.counted(getattr(owner, name)))
    folder = Path(tempfile.mkdtemp(prefix="saltrust-integrity-"))
    shares: dict[str, list[tuple[float, float]]] = {}
    try:
        torch.set_num_threads(1)
        study = Study(name="integrity", grid=arguments.grid, folder=folder, seed=1,
                      models=(ModelSpec("net", architecture="phantom_net"),),
                      explainers=(ExplainerSpec("grad"), ExplainerSpec("gradcam")),
                      generate=GenerateSpec(split="all", batch_size=8, device="cpu"))
        collection = phantom(patients=arguments.patients, size=arguments.grid, seed=1)
        findings = [str(name) for name in collection.index["finding"].values]
        run = folder / "runs" / "net"
        run.mkdir(parents=True)
        torch.manual_seed(1)
        save(PhantomNet(len(findings), width=8), run / "model.safetensors",
             {"architecture": "phantom_net", "findings": findings, "seed": 1,
              "grid": arguments.grid, "arguments": {"width": 8}})
        outcomes = []
        for number in range(arguments.rounds):
            path = folder / f"{number}.zarr"
            steps: dict[str, Callable[[], Any]] = {
                "generate": lambda path=path: generate(collection, study, path, progress=False),
                "open": lambda path=path: open_cubes(path),
                "scan": lambda path=path: localization(
                    path, resampling=Resampling(resamples=200), execution=Execution(keep=False))}
            for step, function in steps.items():
                made, seconds, share = clock.share(function)
                shares.setdefault(step, []).append((seconds, share))
            scores = made.tables["scores"]["iou"].to_numpy()
            maps = open_cubes(path)["saliency/heatmap"].values
            outcomes.append((scores, maps))
            shutil.rmtree(path)
        same = all(np.array_equal(a, b, equal_nan=True) for one in outcomes[1:]
                   for a, b in zip(one, outcomes[0], strict=True))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    missed = [] if same else ["maps or scores of two rounds differ"]
    for step, measured in shares.items():
        seconds, share = (statistics.median(part) for part in zip(*measured, strict=True))
        print(f"{step:10s} {seconds:8.3f} s CPU, of it for integrity {100 * share:6.2f} %")
        if step != "open" and share > MOST:
            missed.append(f"{step} spends {100 * share:.1f}% on integrity, more than "
                          f"{100 * MOST:.0f}%")
    for sentence in missed:
        print(f"FAILED: {sentence}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
