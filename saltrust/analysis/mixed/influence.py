"""How much the fixed effects rest on one group: Cook's distance of leaving a group out.

The variances stay those of all rows (R. D. Cook (1977), Technometrics 19, 15-18, with the
generalized least squares of the mixed model), so that no model is fitted again.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from saltrust.analysis.mixed.design import fixed_design
from saltrust.analysis.mixed.fitted import MixedFit, fit
from saltrust.analysis.mixed.frame import FloatArray, Groups, IntArray, ModelFrame
from saltrust.analysis.mixed.likelihood.computation import likelihood
from saltrust.analysis.mixed.likelihood.covariances import vector
from saltrust.analysis.mixed.likelihood.sufficient import sufficient
from saltrust.analysis.mixed.request import Request
from saltrust.errors import DataError, UsageError, nearest

#: Rows that are visited at most, groups times rows: minutes.
MOST_VISITS = 200_000_000


def influence(request: Request, table: pd.DataFrame, by: str) -> pd.DataFrame:
    """Leave out every group of a column in turn.

    Parameters
    ----------
    request : Request
    table : pandas.DataFrame
        What the request was made of.
    by : str
        A column that the formula groups by.

    Returns
    -------
    pandas.DataFrame
        ``group, level, n, cooks_distance, note``, the largest distance first; NaN with a note
        where the other groups do not determine all fixed effects.

    Raises
    ------
    UsageError
        If the formula does not group by this column.
    DataError
        If there are too many groups.
    """
    grouping = sorted({name for group in request.formula.groupings for name in group.variables})
    if by not in grouping:
        raise UsageError(f"{by!r} is no grouping factor of {request.formula.text!r}, whose groups "
                         f"could be left out; {nearest(by, grouping)}")
    columns = table[list(request.formula.columns)]
    codes, levels = pd.factorize(table[by][columns.notna().all(axis=1)])
    if len(levels) * request.frame.n > MOST_VISITS:
        raise DataError(f"{by} has {len(levels):,} groups in {request.frame.n:,} rows, too many to "
                        "leave out one by one; name a grouping factor of fewer groups")
    fitted = fit(request.frame, request.formula, reml=request.fitting.reml)
    rows = []
    for code, level in enumerate(levels):
        distance = _distance(fitted, request, np.flatnonzero(codes != code))
        rows.append([by, str(level), int((codes == code).sum()), distance,
                     _UNDETERMINED if np.isnan(distance) else ""])
    made = pd.DataFrame(rows, columns=["group", "level", "n", "cooks_distance", "note"])
    return made.sort_values("cooks_distance", ascending=False, kind="stable", ignore_index=True)


_UNDETERMINED = "the other groups do not determine all fixed effects"


def _distance(fitted: MixedFit, request: Request, kept: IntArray) -> float:
    """Squared change of the fixed effects in units of their covariance, per effect."""
    frame = _part(fitted.frame, kept)
    design = fixed_design(frame, request.formula)
    if design.rank < fitted.design.rank or not (design.kept == fitted.design.kept).all():
        return float("nan")
    data = sufficient(frame, design)
    ratios = vector(frame.groups, fitted.covariances) / fitted.residual_variance
    form = likelihood(data)(ratios).form
    p = data.rank
    without = np.linalg.solve(design.triangle, data.least_squares + data.scale * np.linalg.solve(
        form[:p, :p], form[:p, p]))
    change = fitted.basis_coefficients - fitted.design.triangle @ without
    return float(change @ fitted.optimum.information @ change / fitted.residual_variance / p)


def _part(frame: ModelFrame, kept: IntArray) -> ModelFrame:
    """Some rows of a frame, with the levels that these have."""
    return replace(
        frame, response=frame.response[kept],
        factors={name: replace(factor, codes=factor.codes[kept])
                 for name, factor in frame.factors.items()},
        covariates={name: values[kept] for name, values in frame.covariates.items()},
        groups=tuple(_part_of(group, kept) for group in frame.groups))


def _part_of(group: Groups, kept: IntArray) -> Groups:
    codes, levels = pd.factorize(group.codes[kept])
    columns: FloatArray | None = None if group.columns is None else group.columns[kept]
    return replace(group, codes=codes.astype(np.int64), size=len(levels), columns=columns)
