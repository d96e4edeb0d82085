"""How one estimate of one data set fared, and what many of them come to."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from saltrust.analysis.inference.estimate import Estimate

_NAN = float("nan")


@dataclass(frozen=True)
class Outcome:
    """One estimate against what is true.

    Attributes
    ----------
    error : float
        Estimate minus truth.
    std_error : float
    covered, rejected : float
        1 or 0; NaN where there is no interval or no test.
    effect : float
        Distance of the truth from the tested value, where power is looked at.
    """

    error: float = _NAN
    std_error: float = _NAN
    covered: float = _NAN
    rejected: float = _NAN
    effect: float = 0.0


def against(made: Estimate | Mapping[str, Any], truth: float, *, null: float | None = None,
            alpha: float = 0.05) -> Outcome:
    """An estimate against the truth; with a null other than the truth, of its power."""
    values = made if isinstance(made, Mapping) else vars(made)
    low, high, p = (float(values[name]) for name in ("conf_low", "conf_high", "p_value"))
    return Outcome(
        float(values["estimate"]) - truth, float(values["std_error"]),
        _NAN if math.isnan(low) else float(low <= truth <= high),
        _NAN if math.isnan(p) else float(p <= alpha), 0.0 if null is None else truth - null)


@dataclass(frozen=True)
class Cell:
    """A simulation on a design, and what is asked of it.

    Attributes
    ----------
    simulation : str
    design : str
    draw : callable
        From a generator to an :class:`Outcome`.
    asked : tuple of {"type I", "at most", "coverage", "familywise", "error ratio", "power"}
        ``at most``: of exact and stepwise tests, bounded above alone.
    patients : int
        Bounds are wider under 40.
    replications : int
    """

    simulation: str
    design: str
    draw: Callable[[np.random.Generator], Outcome]
    asked: tuple[str, ...]
    patients: int
    replications: int = 2000

    @property
    def name(self) -> str:
        return f"{self.simulation}: {self.design}"


#: Bounds with 40 patients or more, and with fewer.
BOUNDS: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "type I": ((0.030, 0.070), (0.025, 0.080)),
    "at most": ((0.0, 0.070), (0.0, 0.080)),
    "coverage": ((0.93, 0.97), (0.92, 0.98)),
    "familywise": ((0.0, 0.07), (0.0, 0.07)),
    "error ratio": ((0.95, 1.15), (0.95, 1.15)),
    "power": ((0.9, math.inf), (0.9, math.inf)),
}


def figures(cell: Cell, outcomes: Sequence[Outcome]) -> dict[str, float]:
    """The figures that are asked of a cell."""
    errors = np.array([outcome.error for outcome in outcomes])
    std_errors = np.array([outcome.std_error for outcome in outcomes])
    rejected = np.array([outcome.rejected for outcome in outcomes])
    covered = np.array([outcome.covered for outcome in outcomes])
    # What has no test does not reject; what has no interval says nothing.
    rates = {"type I": np.nan_to_num(rejected).mean(),
             "coverage": np.nanmean(covered) if np.isfinite(covered).any() else _NAN}
    rates["at most"] = rates["familywise"] = rates["type I"]
    spread = np.nanstd(errors)
    if "error ratio" in cell.asked:
        rates["error ratio"] = np.sqrt(np.nanmean(std_errors**2)) / spread
    if "power" in cell.asked:
        # The oracle is the z test of the same estimate that knows its true standard error.
        effect = outcomes[0].effect
        oracle = (np.abs(errors + effect) > 1.959964 * spread).mean()
        rates["power"] = rates["type I"] / oracle
    return {name: float(rates[name]) for name in cell.asked}


def within(name: str, value: float, patients: int) -> bool:
    """Whether a figure is in its bounds."""
    low, high = BOUNDS[name][0 if patients >= 40 else 1]
    return low <= value <= high
