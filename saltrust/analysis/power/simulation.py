"""Many studies of one design, each tested: how often the test rejects, and how sure that is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from saltrust.analysis.inference.threads import one_blas_thread
from saltrust.analysis.power.comparisons.registry import COMPARISONS
from saltrust.analysis.power.designs import Design
from saltrust.analysis.power.options import PowerTest, Simulation, Stated
from saltrust.analysis.power.pilot import PilotSample

#: Studies that are drawn from one generator, so that results do not depend on the workers.
_BLOCK = 50

Source = Stated | PilotSample


@dataclass(frozen=True)
class Rate:
    """How often the test rejected.

    Attributes
    ----------
    rejected, untested, replicates : int
        A study without a test does not reject.
    mean_estimate : float
        Over studies.
    """

    rejected: int
    untested: int
    replicates: int
    mean_estimate: float

    @property
    def power(self) -> float:
        """Share of studies in which the test rejects."""
        return self.rejected / self.replicates

    @property
    def std_error(self) -> float:
        """Monte Carlo standard error of the power."""
        return float(np.sqrt(self.power * (1 - self.power) / self.replicates))

    def interval(self, confidence_level: float) -> tuple[float, float]:
        """Wilson's interval of the power.

        Examples
        --------
        >>> low, high = Rate(80, 0, 100, 0.1).interval(0.95)
        >>> round(low, 4), round(high, 4)
        (0.7112, 0.8666)
        """
        z, n, p = float(ndtri((1 + confidence_level) / 2)), self.replicates, self.power
        middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
        # At the ends the bound is exact; rounding must not pass it.
        return (0.0 if not self.rejected else max(float(middle - half), 0.0),
                1.0 if self.rejected == n else min(float(middle + half), 1.0))


def rate(design: Design, source: Source, test: PowerTest, simulation: Simulation, *,
         part: str = "", executor: Executor | None = None) -> Rate:
    """Simulate a design.

    Parameters
    ----------
    design : Design
    source : Stated or PilotSample
        What data are drawn from.
    test : PowerTest
    simulation : Simulation
    part : str
        Studies of different parts are different ones.
    executor : Executor, optional
        Where blocks are simulated; here when left out.
    """
    sizes = [min(_BLOCK, simulation.replicates - start)
             for start in range(0, simulation.replicates, _BLOCK)]
    seeds = [_seed(simulation.seed, f"{test.comparison} {design} {part} {k}")
             for k in range(len(sizes))]
    made: Iterable[tuple[int, int, float]]
    if executor is None:
        made = (_block(design, source, test, seed, size)
                for seed, size in zip(seeds, sizes, strict=True))
    else:
        count = len(sizes)
        made = executor.map(_block, [design] * count, [source] * count, [test] * count, seeds,
                            sizes)
    rejected, untested, totals = zip(*made, strict=True)
    tested = simulation.replicates - sum(untested)
    return Rate(sum(rejected), sum(untested), simulation.replicates,
                sum(totals) / tested if tested else float("nan"))


def _seed(seed: int, text: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {text}".encode()).digest()[:16], "big")


@one_blas_thread()
def _block(design: Design, source: Source, test: PowerTest, seed: int, size: int
           ) -> tuple[int, int, float]:
    """Rejections, studies without a test, and the sum of the estimates of the others."""
    comparison = COMPARISONS[test.comparison]
    generator = np.random.default_rng(seed)
    rejected = untested = 0
    total = 0.0
    for _ in range(size):
        sample = (comparison.draw(generator, design, source, test) if isinstance(source, Stated)
                  else source.drawn(generator, design.patients))
        made = comparison.decide(sample, test, int(generator.integers(2**31)))
        if np.isnan(made.p_value):
            untested += 1
            continue
        total += made.estimate
        rejected += bool(made.p_value < test.level)
    return rejected, untested, total
