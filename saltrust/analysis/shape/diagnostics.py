"""What speaks against a regression: rows it hangs on, uneven errors, a wrong form.

Measures and tests are those of statsmodels, which is imported when they are asked for; our own
least squares stays for slopes, since it tells rounding from variation and needs no import.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from saltrust.analysis.inference.linear import simple_regression
from saltrust.analysis.scores.score_rows import text
from saltrust.analysis.shape.regression_fits import Design

COLUMNS = ("n", "cook", "cook_image", "cook_finding", "cook_patient", "breusch_pagan",
           "breusch_pagan_p", "reset", "reset_p", "note")
#: Of the table of residuals.
RESIDUAL_COLUMNS = ("fitted", "residual", "sd", "n")
#: Groups of rows of like fitted values, by quantiles.
_GROUPS = 15
#: Below which tests of the residuals have no degrees of freedom left.
_FEWEST = 6


def diagnostics_table(designs: Iterable[Design], identify: tuple[str, ...]) -> pd.DataFrame:
    """Diagnostics of every least-squares regression.

    Parameters
    ----------
    designs : iterable of Design
    identify : tuple of str
        Columns that name a row.

    Returns
    -------
    pandas.DataFrame
        The identifying columns, ``n``, the largest Cook's distance ``cook`` with its image,
        finding and patient, the statistics and p-values of Breusch and Pagan's test of uneven
        errors (Koenker's studentized form) and of Ramsey's RESET with squares and cubes of the
        fitted values, and ``note``.  The tests take rows as independent, and judge the form of a
        regression, not an effect: they are not adjusted.
    """
    rows = [{**{name: design.name[name] for name in identify}, **_diagnose(design)}
            for design in designs]
    numbers = [name for name in COLUMNS if name in {"cook", "breusch_pagan", "breusch_pagan_p",
                                                    "reset", "reset_p"}]
    return pd.DataFrame(rows, columns=[*identify, *COLUMNS]).astype(
        {**dict.fromkeys(numbers, "float64"), "n": "int64"})


def _diagnose(design: Design) -> dict[str, Any]:
    nothing: dict[str, Any] = {**dict.fromkeys(COLUMNS, np.nan), "n": len(design.y),
                               "cook_image": "", "cook_finding": "", "cook_patient": "",
                               "note": design.missing}
    if design.missing:
        return {**nothing, "n": 0}
    fit = simple_regression(design.x, design.y)
    if np.isnan(fit.p_value):
        return {**nothing, "note": fit.note}
    from statsmodels.regression.linear_model import OLS
    from statsmodels.stats.diagnostic import het_breuschpagan, linear_reset
    from statsmodels.stats.outliers_influence import OLSInfluence

    x = np.column_stack([np.ones(len(design.y)), design.x])
    fitted = OLS(design.y, x).fit()
    influence = OLSInfluence(fitted)
    # A row that alone settles the slope has leverage 1, and no distance that is a number.
    settled = influence.hat_matrix_diag > 1 - 1e-10
    with np.errstate(divide="ignore", invalid="ignore"):
        cook = np.where(settled, np.inf, influence.cooks_distance[0])
    worst = int(np.argmax(cook))
    made = {**nothing, "cook": float(cook[worst]), "cook_image": str(design.image[worst]),
            "cook_finding": str(design.finding[worst]),
            "cook_patient": text(pd.Series(design.patient)).iloc[worst]}
    if len(design.y) < _FEWEST:
        return {**made, "note": f"{len(design.y)} rows: at least {_FEWEST} are needed for tests"}
    made["breusch_pagan"], made["breusch_pagan_p"] = map(float, het_breuschpagan(
        fitted.resid, x)[:2])
    if len(np.unique(design.x)) < 4:
        # Squares and cubes of three values are sums of the values themselves.
        return {**made, "note": "fewer than 4 values of the descriptor: no RESET"}
    reset = linear_reset(fitted, power=3, use_f=True)
    return {**made, "reset": float(reset.statistic), "reset_p": float(reset.pvalue)}


def residuals_table(designs: Iterable[Design], identify: tuple[str, ...]) -> pd.DataFrame:
    """Mean residuals of groups of rows with like fitted values, of every least-squares fit.

    Parameters
    ----------
    designs : iterable of Design
    identify : tuple of str
        Columns that name a regression.

    Returns
    -------
    pandas.DataFrame
        The identifying columns; of at most 15 groups a regression, cut at quantiles of the fitted
        values: the means of ``fitted`` and ``residual``, the standard deviation ``sd`` of the
        residuals (NaN of a single row), and ``n``.
    """
    parts = []
    for design in designs:
        if design.missing or len(design.y) < 3 or not np.ptp(design.x) or not np.ptp(design.y):
            continue
        x = np.column_stack([np.ones(len(design.y)), design.x])
        fitted = x @ np.linalg.lstsq(x, design.y, rcond=None)[0]
        edges = np.unique(np.quantile(design.x, np.linspace(0, 1, _GROUPS + 1)[1:-1]))
        grouped = pd.DataFrame({"fitted": fitted, "residual": design.y - fitted}).groupby(
            np.searchsorted(edges, design.x), sort=True)
        means = grouped.mean().assign(sd=grouped["residual"].std(ddof=1), n=grouped.size())
        parts.append(means.reset_index(drop=True).assign(
            **{name: design.name[name] for name in identify}))
    columns = [*identify, *RESIDUAL_COLUMNS]
    return (pd.concat(parts, ignore_index=True)[columns] if parts else
            pd.DataFrame(columns=columns))
