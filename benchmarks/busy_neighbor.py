"""What one thread of BLAS saves, alone and beside a process that keeps every core busy.

    python benchmarks/busy_neighbor.py [--rounds 5] [--large]

saltrust limits BLAS to one thread around its kernels (saltrust/analysis/inference/threads.py).
With the limit and without it take turns in one process, first alone, then beside a neighbor
in matrix products; medians and their ratio are printed.  Fails where outputs differ by more than
rounding.  --large adds a crossed model whose dense system saltrust leaves to all threads.  What
"alone" means is up to the machine: close what else runs.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from unittest import mock

import numpy as np
import pandas as pd
import scipy.linalg  # noqa: F401 - its BLAS is limited too

from saltrust.analysis.inference import threads
from saltrust.analysis.inference.auc_covariance import auc_covariance
from saltrust.analysis.inference.bootstrap import mean_interval
from saltrust.analysis.inference.clustered import cr2
from saltrust.analysis.inference.linear import least_squares
from saltrust.analysis.mixed.model import fit_model
from saltrust.analysis.mixed.options import Fitting

Output = np.ndarray
NEIGHBOR = """
import numpy as np
matrix = np.random.default_rng(0).normal(size=(1500, 1500))
print("busy", flush=True)
while True:
    matrix @ matrix
"""


@contextmanager
def all_threads() -> Iterator[None]:
    """Kernels as if they were not limited."""
    with mock.patch.object(threads, "_controller"):
        yield


@contextmanager
def neighbor() -> Iterator[None]:
    """A process that multiplies matrices on every core."""
    process = subprocess.Popen([sys.executable, "-c", NEIGHBOR], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.wait()


def contrasts(table: pd.DataFrame, formula: str) -> Callable[[], Output]:
    def fit() -> Output:
        fitted, _ = fit_model(table, formula, fitting=Fitting(engine="builtin"))
        return fitted.tables["contrasts"][["estimate", "std_error", "df"]].to_numpy()

    return fit


def crossed(rng: np.random.Generator, first: int, second: int, rows: int) -> pd.DataFrame:
    a, b = rng.integers(0, first, rows), rng.integers(0, second, rows)
    y = rng.normal(size=first)[a] + rng.normal(size=second)[b] + rng.normal(size=rows)
    return pd.DataFrame({"a": a, "b": b, "y": y, "explainer": rng.integers(0, 5, rows).astype(str)})


def cases(*, large: bool) -> Iterator[tuple[str, Callable[[], Output]]]:
    rng = np.random.default_rng(0)
    patients = rng.integers(0, 500, 668)
    values = rng.normal(size=(668, 10))
    yield "bootstrap of 10 means, 668 rows", lambda: np.stack([
        (interval := mean_interval(values, patients, seed=1)).conf_low, interval.conf_high])
    label = rng.random(668) < 0.3
    yield "covariance of 10 AUCs, 668 cases", lambda: auc_covariance(
        label, values, patients).covariance
    design, response = rng.normal(size=(6000, 13)), rng.normal(size=6000)
    cluster = rng.integers(0, 500, 6000)

    def clustered_error() -> Output:
        fit = least_squares(design, response)
        assert fit is not None
        return np.array(cr2(design, fit, cluster).std_error)

    yield "clustered error, 6,000 rows", clustered_error
    image = np.repeat(np.arange(200), 7)
    yield "mixed model, 200 images x 7", contrasts(pd.DataFrame({
        "image": image, "patient": image % 60, "explainer": np.tile(list("abcdefg"), 200),
        "y": rng.normal(size=200)[image] + rng.normal(size=len(image))}),
        "y ~ explainer + (1|image) + (1|patient)")
    yield "mixed model, 1,000 x 200 crossed", contrasts(
        crossed(rng, 1000, 200, 6000), "y ~ explainer + (1|a) + (1|b)")
    if large:
        yield "mixed model, 4,000 x 1,500 crossed", contrasts(
            crossed(rng, 4000, 1500, 24_000), "y ~ explainer + (1|a) + (1|b)")


def seconds(function: Callable[[], Output]) -> tuple[float, Output]:
    start = time.perf_counter()
    output = function()
    return time.perf_counter() - start, output


def compare(function: Callable[[], Output], rounds: int) -> tuple[float, float]:
    """Median seconds with all threads and with one."""
    times: dict[str, list[float]] = {"all": [], "one": []}
    outputs = {}
    function()
    for _ in range(rounds):
        with all_threads():
            elapsed, outputs["all"] = seconds(function)
        times["all"].append(elapsed)
        with threads.one_blas_thread():
            elapsed, outputs["one"] = seconds(function)
        times["one"].append(elapsed)
        np.testing.assert_allclose(outputs["all"], outputs["one"], rtol=1e-9)
    return statistics.median(times["all"]), statistics.median(times["one"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large", action="store_true")
    options = parser.parse_args()
    print(f"{'':38s} {'all threads':>12s} {'one thread':>12s} {'ratio':>7s}   "
          f"(median of {options.rounds})")
    for place, beside in (("alone", nullcontext), ("busy neighbor", neighbor)):
        print(place)
        with beside():
            for name, function in cases(large=options.large):
                unlimited, limited = compare(function, options.rounds)
                print(f"  {name:36s} {1e3 * unlimited:9.1f} ms {1e3 * limited:9.1f} ms "
                      f"{unlimited / limited:7.1f}", flush=True)


if __name__ == "__main__":
    main()
