"""SSIM: saltrust against scikit-image, on the same pairs of maps in one run.

    python benchmarks/ssim.py [--rounds 7]

The two take turns; medians per pair and their ratio are printed.  Fails where the values differ
by more than 1e-10 (float64) or 1e-4 (float32, in which scikit-image calculates; saltrust always
calculates in float64).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from scipy import ndimage
from skimage.metrics import structural_similarity

from saltrust.analysis.pixels.ssim import SsimSettings, ssim

PAIRS = 12


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return (time.perf_counter() - start) / PAIRS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = max(5, parser.parse_args().rounds)
    generator = np.random.default_rng(0)
    maps = ndimage.gaussian_filter(generator.normal(size=(2, PAIRS, 320, 320)), (0, 0, 2, 2))
    maps = (maps - maps.min()) / np.ptp(maps)
    print(f"{'window':28s} {'scikit-image':>13s} {'saltrust':>10s} {'ratio':>7s}   "
          f"(median of {rounds}, per pair of 320 x 320)")
    for dtype, tolerance in ((np.float64, 1e-10), (np.float32, 1e-4)):
        first, second = maps.astype(dtype)
        for window in ("uniform", "gaussian"):
            settings = SsimSettings(window, window == "uniform", "none", 1.0)

            def theirs(first: np.ndarray = first, second: np.ndarray = second,
                       gaussian: bool = window == "gaussian") -> np.ndarray:
                return np.array([structural_similarity(
                    a, b, data_range=1.0, gaussian_weights=gaussian,
                    use_sample_covariance=not gaussian)
                    for a, b in zip(first, second, strict=True)])

            def ours(first: np.ndarray = first, second: np.ndarray = second,
                     settings: SsimSettings = settings) -> np.ndarray:
                return ssim(first, second, settings)

            np.testing.assert_allclose(ours(), theirs(), rtol=0, atol=tolerance)
            pairs = [(seconds(theirs), seconds(ours)) for _ in range(rounds)]
            slow, fast = (statistics.median(column) for column in zip(*pairs, strict=True))
            print(f"{np.dtype(dtype).name} {window:19s} {1e3 * slow:10.2f} ms "
                  f"{1e3 * fast:7.2f} ms {slow / fast:6.1f}x")


if __name__ == "__main__":
    main()
