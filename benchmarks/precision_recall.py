"""Areas under the curves: saltrust against scikit-learn, on the same arrays in one run.

    python benchmarks/precision_recall.py [--rounds 7]

The two take turns; medians and their ratio are printed.  Fails where the areas differ by more
than 1e-12.  scikit-learn computes the precision-recall curve with its area, and the ROC area.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from sklearn.metrics import auc, precision_recall_curve, roc_auc_score

from saltrust.analysis.pixels.precision_recall import curve_areas


def ours(values: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    areas = curve_areas(values, mask)
    return areas.auprc, areas.auroc


def theirs(values: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    precision, recall, _ = precision_recall_curve(mask.ravel(), values.ravel())
    return float(auc(recall, precision)), float(roc_auc_score(mask.ravel(), values.ravel()))


def seconds(function: Callable[..., object], *arguments: object) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def cases() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    generator = np.random.default_rng(0)
    by_name = {}
    for size in (320, 1024):
        y, x = np.mgrid[:size, :size] / size
        mask = (y - 0.4) ** 2 + (x - 0.3) ** 2 < 0.08**2
        noise = generator.normal(size=mask.shape) + mask
        by_name[f"float32 {size}, all different"] = (noise.astype(np.float32), mask)
        by_name[f"float32 {size}, rectified"] = (np.maximum(noise, 0).astype(np.float32), mask)
        scaled = (noise - noise.min()) / np.ptp(noise)
        by_name[f"uint16 {size}"] = (np.round(scaled * 65535).astype(np.uint16), mask)
        by_name[f"float16 {size}"] = (noise.astype(np.float16), mask)
    return by_name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = max(5, parser.parse_args().rounds)
    print(f"{'map':32s} {'scikit-learn':>13s} {'saltrust':>10s} {'ratio':>7s}   "
          f"(median of {rounds})")
    for name, (values, mask) in cases().items():
        np.testing.assert_allclose(ours(values, mask), theirs(values, mask), rtol=0, atol=1e-12)
        pairs = [(seconds(theirs, values, mask), seconds(ours, values, mask))
                 for _ in range(rounds)]
        slow, fast = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"{name:32s} {1e3 * slow:10.1f} ms {1e3 * fast:7.2f} ms {slow / fast:6.1f}x")


if __name__ == "__main__":
    main()
