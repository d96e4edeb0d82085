"""All descriptors in one regression: what each explains beside the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
import numpy.typing as npt
import pandas as pd

from saltrust.analysis.inference.clustered import cr2, few_degrees
from saltrust.analysis.inference.estimate import Estimate, estimates_table, t_estimate
from saltrust.analysis.inference.linear import LeastSquares, least_squares
from saltrust.analysis.shape.regression_fits import Design
from saltrust.choices import Errors

FloatArray = npt.NDArray[np.float64]


def joint_table(designs: Iterable[Design], identify: tuple[str, ...], confidence_level: float,
                errors: Errors = "cr2") -> pd.DataFrame:
    """Slopes of least squares on all descriptors together.

    Parameters
    ----------
    designs : iterable of Design
        The descriptors of a response one after the other.
    identify : tuple of str
        Columns that name a row, the descriptor last.
    confidence_level : float
    errors : {"cr2", "classical"}
        Clustered by patient with Satterthwaite's t, or of rows taken as independent.

    Returns
    -------
    pandas.DataFrame
        The identifying columns, the uniform ones, ``vif`` (the variance inflation factor: how
        many times the variance of the slope is that without the other descriptors), ``r_squared``
        of the whole model, and ``errors``.  A descriptor that is missing or constant is left out
        of the model.
    """
    rows = []
    for _, of_response in groupby(designs, key=lambda design: [design.name[name]
                                                               for name in identify[:-1]]):
        group = list(of_response)
        varying = [design for design in group
                   if not design.missing and len(design.x) and np.ptp(design.x) > 0]
        fits = _fit(varying, confidence_level, errors)
        for design in group:
            fit, inflation = fits.get(design.name["descriptor"], (Estimate(
                n=len(design.y), note=design.missing or "the descriptor is constant"), np.nan))
            rows.append({**design.name, **fit.row(design.name["descriptor"]), "vif": inflation,
                         "r_squared": fit.r_squared, "errors": errors})
    return estimates_table(rows, identify, ("vif", "r_squared", "errors"))


def inflation_factors(x: FloatArray) -> FloatArray:
    """Variance inflation factor of every column, shape (p,).

    Parameters
    ----------
    x : ndarray of float64, shape (n, p)
        Linearly independent, each with an intercept of its own taken off.

    Examples
    --------
    >>> x = np.array([[0.0, 1.0], [1.0, 2.0], [2.0, 1.0], [3.0, 4.0]])
    >>> inflation_factors(x).round(4).tolist()
    [2.1429, 2.1429]
    """
    return np.asarray(np.diag(np.linalg.inv(np.atleast_2d(np.corrcoef(x, rowvar=False)))))


def _fit(designs: Sequence[Design], confidence_level: float, errors: Errors
         ) -> dict[str, tuple[Estimate, float]]:
    """Slope and inflation factor by descriptor."""
    if not designs:
        return {}
    names = [design.name["descriptor"] for design in designs]
    x, y = np.column_stack([design.x for design in designs]), designs[0].y
    n = len(y)
    centered = np.column_stack([np.ones(n), x - x.mean(axis=0)])
    squares = least_squares(centered, y) if n > len(names) + 1 else None
    if squares is None:
        note = (f"{n} rows: at least {len(names) + 2} are needed" if n < len(names) + 2 else
                "the descriptors are linearly dependent")
        return dict.fromkeys(names, (Estimate(n=n, note=note), float("nan")))
    inflations = inflation_factors(x)
    around = float(((y - y.mean()) ** 2).sum())
    share = 1 - squares.residual_sum / around if around > 0 else float("nan")
    return {name: (replace(_slope(squares, centered, k + 1, designs[0], confidence_level, errors),
                           r_squared=share), float(inflations[k]))
            for k, name in enumerate(names)}


def _slope(squares: LeastSquares, x: FloatArray, column: int, design: Design,
           confidence_level: float, errors: Errors) -> Estimate:
    slope, n = float(squares.coefficients[column]), len(design.y)
    if squares.residual_sum == 0:
        return Estimate(estimate=slope, n=n, note="perfect fit: no test")
    if errors == "classical":
        error, df = float(squares.std_errors[column]), float(squares.df)
    else:
        robust = cr2(x, squares, design.clusters, column=column, confidence_level=confidence_level)
        error, df = robust.std_error, robust.df
        if np.isnan(error):
            why = "1 patient" if robust.clusters == 1 else "no variation between patients"
            return Estimate(estimate=slope, n=n, note=f"{why}: no clustered error")
    return t_estimate(slope, error, df, n, confidence_level=confidence_level,
                      note=few_degrees(df) if errors == "cr2" else "")
