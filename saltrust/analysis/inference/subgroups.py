"""Estimates by subgroup, differences between subgroups, and whether these are more than chance.

One inference for every analysis: what is estimated in a group is a combination of coefficients of
a small linear model (:class:`saltrust.analysis.inference.wald.Block`), clustered by patient.
Groups of fewer than ten patients have an estimate and no more; they are named and not tested.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit, logit, stdtrit

from saltrust.analysis.inference.bootstrap import FEWEST_PATIENTS
from saltrust.analysis.inference.clustered import few_degrees
from saltrust.analysis.inference.estimate import (
    Estimate,
    check_confidence_level,
    estimates_table,
    t_estimate,
)
from saltrust.analysis.inference.linear import indicators, least_squares
from saltrust.analysis.inference.multiplicity import adjust_families
from saltrust.analysis.inference.wald import Block, Combined, combine

FloatArray = npt.NDArray[np.float64]

#: Tables of :func:`subgroup_tables`, in their order.
TABLES = ("subgroups", "subgroup_differences", "subgroup_tests")
#: What a joint test is of: one mean in every group, or a contrast or slope in every group.
HETEROGENEITY, INTERACTION = "heterogeneity", "interaction"


@dataclass(frozen=True)
class Quantity:
    """Something that is estimated in every group.

    Attributes
    ----------
    name : dict of str to str
        Columns that say what it is of.
    term : str
        Such as ``mean``, ``difference`` or ``slope``.
    blocks : dict of str to Block
        By group; a group without rows is left out.
    family : str
        Whose tests are adjusted for each other, within a coordinate.
    test : str
        :data:`HETEROGENEITY`, or :data:`INTERACTION`.
    bounds : (float, float)
        Of the quantity; intervals of shares are symmetric in log-odds.
    without : str
        What is said of a group without a block.
    untested : dict of str to str
        Why a group is not tested, where there is a reason beside its number of patients.
    joint : int
        Of a quantity that has a joint test and no estimates: rows of its blocks per image; else 0.
    """

    name: Mapping[str, str]
    term: str
    blocks: Mapping[str, Block]
    family: str
    test: str = HETEROGENEITY
    bounds: tuple[float, float] = (-np.inf, np.inf)
    without: str = "no rows"
    untested: Mapping[str, str] = field(default_factory=dict)
    joint: int = 0


@dataclass(frozen=True)
class Compared:
    """The quantities of one coordinate.

    Attributes
    ----------
    by : str
        Name of the coordinate.
    groups : sequence of str
        In the order in which they are compared.
    quantities : sequence of Quantity
    """

    by: str
    groups: Sequence[str]
    quantities: Sequence[Quantity]


def subgroup_tables(compared: Sequence[Compared], identify: Sequence[str], *,
                    confidence_level: float = 0.95) -> dict[str, pd.DataFrame]:
    """Tables of all coordinates.

    Parameters
    ----------
    compared : sequence of Compared
    identify : sequence of str
        Names of the columns that say what a quantity is of.
    confidence_level : float
        Of the intervals, which are not adjusted for multiplicity.

    Returns
    -------
    dict of str to pandas.DataFrame
        ``subgroups``: ``by, group``, the identifying columns, the uniform ones without a test,
        ``patients``.  ``subgroup_differences``: ``by``, the identifying columns, ``contrast``
        (``A - B``, all pairs of groups), the uniform ones.  ``subgroup_tests``: ``by``, the
        identifying columns, ``quantity`` (the term of what is compared), the uniform ones with F
        in ``statistic`` and its degrees of freedom in ``df`` and ``df_denominator``; ``groups``,
        the number of groups that are tested.  Both are adjusted by Holm in families whose sizes
        count what could not be tested too.
    """
    check_confidence_level(confidence_level)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
    families: dict[str, list[str]] = {name: [] for name in TABLES}
    for one in compared:
        for quantity in one.quantities:
            family = f"{one.by}: {quantity.family}"
            made = FittedGroups.of(quantity, one.groups)
            start = {"by": one.by, **quantity.name}
            if not quantity.joint:
                rows["subgroups"] += [
                    {**start, "group": group, **made.estimate(group, confidence_level).row(
                        quantity.term), "patients": float(made.patients[group])}
                    for group in one.groups]
                differences = [
                    {**start, "contrast": f"{a} - {b}",
                     **made.difference(a, b, confidence_level).row(quantity.term)}
                    for a, b in combinations(one.groups, 2)]
                rows["subgroup_differences"] += differences
                families["subgroup_differences"] += [family] * len(differences)
            rows["subgroup_tests"].append({**start, "quantity": quantity.term,
                                           **made.together()})
            families["subgroup_tests"].append(family)
    tables = {
        "subgroups": estimates_table(rows["subgroups"], ("by", "group", *identify),
                                     ("patients",)).astype({"patients": "int64"}),
        "subgroup_differences": estimates_table(rows["subgroup_differences"],
                                                ("by", *identify, "contrast")),
        "subgroup_tests": estimates_table(
            rows["subgroup_tests"], ("by", *identify, "quantity"),
            ("df_denominator", "groups")).astype({"groups": "int64"})}
    return {name: table if name == "subgroups" else adjust_families(
        table, pd.Series(families[name], dtype=object), "holm", Counter(families[name]))
        for name, table in tables.items()}


@dataclass(frozen=True)
class FittedGroups:
    """A quantity with the fit of the groups that are tested.

    Attributes
    ----------
    quantity : Quantity
    why : dict of str to str
        Why a group is not tested; empty where it is.
    patients : dict of str to int
    tested : list of str
    fit : Combined or None
    """

    quantity: Quantity
    why: dict[str, str]
    patients: dict[str, int]
    tested: list[str]
    fit: Combined | None

    @classmethod
    def of(cls, quantity: Quantity, groups: Sequence[str]) -> FittedGroups:
        """Fit the groups that have patients enough."""
        why, patients = {}, {}
        for group in groups:
            block = quantity.blocks.get(group)
            patients[group] = 0 if block is None else len(set(block.clusters.tolist()))
            why[group] = (f"{quantity.without}: not tested" if block is None
                          else _why_not(block, patients[group])
                          or quantity.untested.get(group, ""))
        tested = [group for group in groups if not why[group]]
        return cls(quantity, why, patients, tested,
                   combine([quantity.blocks[group] for group in tested]))

    def estimate(self, group: str, confidence_level: float) -> Estimate:
        """Of one group."""
        block = self.quantity.blocks.get(group)
        if block is None:
            return Estimate(note=self.why[group])
        n = len(block.response)
        fit = least_squares(block.design, block.response)
        value = float("nan") if fit is None else float(block.weights[0] @ fit.coefficients)
        if self.why[group] or self.fit is None:
            return Estimate(estimate=value, n=n, note=self.why[group])
        row = np.array([float(one == group) for one in self.tested])
        _, error, df = self.fit.single(row)
        made = t_estimate(value, error, df, n, confidence_level=confidence_level,
                          note=few_degrees(df))
        low, high = _interval(value, error, df, confidence_level, self.quantity.bounds)
        return Estimate(value, error, low, high, df=df, n=n, note=made.note)

    def difference(self, a: str, b: str, confidence_level: float) -> Estimate:
        """Of two groups."""
        blocks = [self.quantity.blocks[group] for group in (a, b) if group in self.quantity.blocks]
        n = sum(len(block.response) for block in blocks)
        notes = [f"{group}: {self.why[group]}" for group in (a, b) if self.why[group]]
        if notes or self.fit is None:
            values = [self.estimate(group, confidence_level).estimate for group in (a, b)]
            return Estimate(estimate=values[0] - values[1], n=n, note="; ".join(notes))
        row = np.array([float(one == a) - float(one == b) for one in self.tested])
        value, error, df = self.fit.single(row)
        return t_estimate(value, error, df, n, confidence_level=confidence_level,
                          note=few_degrees(df))

    def together(self) -> dict[str, Any]:
        """Uniform columns of the test that all groups are equal."""
        n = sum(len(block.response) for block in self.quantity.blocks.values())
        n //= self.quantity.joint or 1
        left_out = [f"{group}: {why}" for group, why in self.why.items() if why]
        extra = {"df_denominator": float("nan"), "groups": len(self.tested)}
        if len(self.tested) < 2 or self.fit is None:
            note = "; ".join([*left_out, "fewer than 2 groups can be compared: no test"])
            return {**Estimate(n=n, note=note).row(self.quantity.test), **extra}
        m = len(self.quantity.blocks[self.tested[0]].weights)
        count = len(self.tested)
        # Every combination of the first group against that of each other group.
        rows = np.hstack([np.tile(np.eye(m), (count - 1, 1)), -np.eye(m * (count - 1))])
        made = self.fit.joint(rows)
        if np.isnan(made.p_value):
            left_out.append(f"too few patients for {len(rows)} differences at once: no test")
        estimate = Estimate(statistic=made.statistic, df=made.df, p_value=made.p_value, n=n,
                            note="; ".join(left_out))
        return {**estimate.row(self.quantity.test), **extra,
                "df_denominator": made.df_denominator}


def _why_not(block: Block, patients: int) -> str:
    """Why a group is not tested; empty where it is."""
    if patients < FEWEST_PATIENTS:
        return (f"{patients} patient{'s' * (patients != 1)}, fewer than {FEWEST_PATIENTS}: "
                "not tested")
    fit = combine([block])
    if fit is None:
        return "its rows do not settle an estimate: not tested"
    if fit.settled_by_one.any():
        return "one patient alone settles a part of it: not tested"
    variances = np.diag(fit.covariance)
    if not (variances > 1e-24 * np.maximum(fit.estimates**2, 1.0)).all():
        return "no variation between patients: not tested"
    return ""


def _interval(value: float, error: float, df: float, confidence_level: float,
              bounds: tuple[float, float]) -> tuple[float, float]:
    half = float(stdtrit(df, (1 + confidence_level) / 2)) * error
    if bounds == (0.0, 1.0) and 0 < value < 1:
        # Near a bound the error goes with the distance from it.
        center, half = float(logit(value)), half / (value * (1 - value))
        return float(expit(center - half)), float(expit(center + half))
    return max(bounds[0], value - half), min(bounds[1], value + half)


def mean_block(values: FloatArray, clusters: npt.NDArray[Any]) -> Block | None:
    """The mean of rows; None where all are NaN.

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
    clusters : ndarray, shape (n,)
    """
    known = ~np.isnan(values)
    if not known.any():
        return None
    return Block(np.ones((int(known.sum()), 1)), values[known], clusters[known], np.ones((1, 1)))


def average_block(values: FloatArray, clusters: npt.NDArray[Any]) -> Block | None:
    """The mean of the means of columns; None where a column is NaN throughout.

    Parameters
    ----------
    values : ndarray of float64, shape (n, k)
    clusters : ndarray, shape (n,)
    """
    known = ~np.isnan(values)
    if not known.any(axis=0).all() or not values.shape[1]:
        return None
    rows, columns = np.nonzero(known)
    k = values.shape[1]
    return Block(np.eye(k)[columns], values[rows, columns], clusters[rows],
                 np.full((1, k), 1 / k))


def profile_block(values: FloatArray, clusters: npt.NDArray[Any]) -> Block | None:
    """Differences of the means of columns from that of the first, on the rows that have all.

    Parameters
    ----------
    values : ndarray of float64, shape (n, k)
        With at least two columns.
    clusters : ndarray, shape (n,)
    """
    complete = ~np.isnan(values).any(axis=1)
    k = values.shape[1]
    if not complete.any():
        return None
    return Block(np.tile(np.eye(k), (int(complete.sum()), 1)), values[complete].ravel(),
                 np.repeat(clusters[complete], k),
                 np.column_stack([-np.ones(k - 1), np.eye(k - 1)]))


def slope_block(x: FloatArray, y: FloatArray, clusters: npt.NDArray[Any],
                strata: npt.NDArray[Any] | None = None) -> Block | None:
    """The slope of y on x, with an intercept or one per stratum; None without rows.

    Parameters
    ----------
    x, y : ndarray of float64, shape (n,)
    clusters : ndarray, shape (n,)
    strata : ndarray, shape (n,), optional
        Labels of fixed effects.
    """
    if not len(x):
        return None
    design = np.column_stack([indicators(strata, len(x)), x - x.mean()])
    weights = np.zeros((1, design.shape[1]))
    weights[0, -1] = 1.0
    return Block(design, y, clusters, weights)


def jackknife_block(value: float, left_out: FloatArray, clusters: npt.NDArray[Any]) -> Block:
    """Any statistic that is smooth in the patients, by its pseudo-values.

    Parameters
    ----------
    value : float
        Of all patients.
    left_out : ndarray of float64, shape (patients,)
        Without each patient.
    clusters : ndarray, shape (patients,)
        One label of each.

    Notes
    -----
    The CR2 error of the mean of the pseudo-values is the error of the jackknife.
    """
    pseudo = value + (len(left_out) - 1) * (left_out.mean() - left_out)
    return Block(np.ones((len(left_out), 1)), pseudo, clusters, np.ones((1, 1)))
