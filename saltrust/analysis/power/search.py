"""The fewest patients with which a design has its power."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from scipy.special import ndtri

Power = Callable[[int], float]

#: Fewer patients are no study.
FEWEST = 4


class Smallest(NamedTuple):
    """Result of :func:`fewest_patients`.

    Attributes
    ----------
    patients : int
        0 where the power is not reached.
    looked_at : int
        Numbers of patients that were simulated.
    """

    patients: int
    looked_at: int


def fewest_patients(power: Power, target: float, most: int, *, level: float = 0.05,
                    start: int = 40) -> Smallest:
    """Bracket the number of patients, then halve the bracket.

    Power rises with patients; simulated it wavers by its Monte Carlo error, which is why the
    power of what is found has to be simulated anew.

    Parameters
    ----------
    power : callable
        Of a number of patients.
    target : float
    most : int
        The search ends here.
    level : float
        Of the test, for the second guess: the first is ``start``.
    start : int

    Examples
    --------
    >>> fewest_patients(lambda patients: patients / 200, 0.8, 1000).patients
    160
    >>> fewest_patients(lambda patients: 0.3, 0.8, 1000).patients
    0
    """
    known: dict[int, bool] = {}
    seen: dict[int, float] = {}

    def reached(patients: int) -> bool:
        if patients not in known:
            seen[patients] = power(patients)
            known[patients] = seen[patients] >= target
        return known[patients]

    least = min(FEWEST, most)
    middle = min(max(start, least), most)
    if not reached(middle) or middle > least:
        # Of a normal test the power's quantile grows with the root of the patients.
        quantile = float(ndtri(min(max(seen[middle], 0.01), 0.99)))
        bound = -float(ndtri(level / 2))
        growth = ((bound + float(ndtri(target))) / max(bound + quantile, 0.1)) ** 2
        guess = min(max(round(middle * growth), least), most)
    else:
        guess = middle
    step = max(guess // 8, 1)
    high = guess
    while not reached(high):
        if high >= most:
            return Smallest(0, len(known))
        high = min(high + step, most)
        step *= 2
    low, step = high, max(high // 8, 1)
    while low > least and reached(low):
        high = low
        low = max(low - step, least)
        step *= 2
    if reached(low):
        return Smallest(low, len(known))
    while high - low > 1:
        middle = (low + high) // 2
        if reached(middle):
            high = middle
        else:
            low = middle
    return Smallest(high, len(known))
