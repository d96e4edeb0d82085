"""What a person waits for once scores are kept: whole commands on a study of the paper's size.

    python benchmarks/kept_scores.py [--images 668] [--runs 5]

The study of benchmarks/localization.py (668 images, ten findings, one explainer).  Every command
runs once to keep what it finds in the pixels, then as a process of its own, `--runs` times: the
median of its CPU time (user and system, import and all).  Fails where a median is above its
target, or where the tables printed from kept scores are not those of the first run.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from localization import templates, write_study

#: Seconds of CPU, of a whole process.
TARGETS = {"regressions": 2.0, "localization": 2.5}


def run(command: str, store: Path) -> tuple[str, float]:
    """What a command prints, and the CPU seconds of its process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "saltrust", "-q", "analyze", command, str(store)],
                          capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout, (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=668)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="saltrust-kept-"))
    missed = []
    try:
        store = write_study(folder / "study.zarr", arguments.images,
                            templates(np.random.default_rng(0)))
        for command, target in TARGETS.items():
            first, cold = run(command, store)
            outputs, seconds = zip(*(run(command, store) for _ in range(arguments.runs)),
                                   strict=True)
            if set(outputs) != {first}:
                missed.append(f"{command} prints other tables from kept scores")
            median = statistics.median(seconds)
            print(f"{command:13s} first {cold:6.2f} s CPU, then median {median:5.2f} "
                  f"({min(seconds):.2f} to {max(seconds):.2f}), target {target:.1f}")
            if median > target:
                missed.append(f"{command} takes {median:.2f} s of CPU, more than {target:.1f}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for line in missed:
        print(f"MISSED: {line}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
