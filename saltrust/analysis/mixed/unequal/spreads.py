"""Whether the levels of a factor spread alike, without fitting a model."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import f as f_distribution

from saltrust.analysis.mixed.frame import ModelFrame

#: Rows of every level below which nothing is said of its spread.
FEWEST_ROWS = 10


class Spreads(NamedTuple):
    """Largest over smallest standard deviation, and the p-value of Brown and Forsythe's test."""

    ratio: float
    p_value: float


def level_spreads(frame: ModelFrame, factor: str) -> Spreads | None:
    """Compare the residual spread of the levels of a factor.

    Values are taken from their level's mean and from the group of the largest grouping factor,
    as far as the levels are seen in it, and their distances from the median of the level are
    compared (M. B. Brown and A. B. Forsythe (1974), J. Am. Stat. Assoc. 69, 364-367).

    Parameters
    ----------
    frame : ModelFrame
    factor : str
        A categorical fixed effect.

    Returns
    -------
    Spreads or None
        None where a level has fewer than ten rows.
    """
    codes = frame.factors[factor].codes
    size = len(frame.factors[factor].levels)
    counts = np.bincount(codes, minlength=size)
    if counts.min() < FEWEST_ROWS:
        return None
    values = frame.response - (np.bincount(codes, frame.response, size) / counts)[codes]
    groups = frame.groups[0]
    in_group = np.bincount(groups.codes, minlength=groups.size)
    values = values - (np.bincount(groups.codes, values, groups.size) / in_group)[groups.codes]
    values = values[np.argsort(codes, kind="stable")]
    parts = np.split(values, np.cumsum(counts)[:-1])
    distances = [np.abs(part - np.median(part)) for part in parts]
    means = np.array([part.mean() for part in distances])
    between = counts @ (means - np.concatenate(distances).mean())**2 / (size - 1)
    rest = len(values) - size
    within = sum(float(((part - mean)**2).sum())
                 for part, mean in zip(distances, means, strict=True)) / rest
    if within <= 0:
        return None
    spreads = np.array([part.std() for part in parts])
    ratio = float(spreads.max() / max(float(spreads.min()), 1e-9 * float(spreads.max())))
    return Spreads(ratio, float(f_distribution.sf(between / within, size - 1, rest)))
