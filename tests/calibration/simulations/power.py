"""The Monte Carlo interval of a simulated power covers the true one."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from scipy import stats

from saltrust.analysis.power.analysis import power
from saltrust.analysis.power.designs import Designs
from saltrust.analysis.power.options import PowerTest, Simulation, Stated
from tests.calibration.outcome import Cell, Outcome, against


def cells() -> Iterator[Cell]:
    for patients, effect in ((12, 0.3), (40, 0.5)):
        yield Cell("Monte Carlo interval of power", f"{patients} patients, paired t test, effect "
                   f"{effect:g}", partial(_draw, patients=patients, effect=effect), ("coverage",),
                   patients, 600)


def _draw(generator: np.random.Generator, patients: int, effect: float) -> Outcome:
    # Differences of unit variance: the power is that of a noncentral t.
    made = power(test=PowerTest("clustered"), stated=Stated(sd=1.0, correlation=0.5, icc=0.0),
                 designs=Designs(patients=(patients,), effects=(effect,)),
                 simulation=Simulation(replicates=100, seed=int(generator.integers(2**31)),
                                       target=None))
    (row,) = made["power"].to_dict("records")
    bound = stats.t.isf(0.025, patients - 1)
    shift = effect * np.sqrt(patients)
    truth = float(stats.nct.sf(bound, patients - 1, shift) + stats.nct.cdf(-bound, patients - 1,
                                                                          shift))
    return against({**row, "estimate": row["power"], "p_value": float("nan")}, truth)
