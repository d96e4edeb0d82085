"""Likelihood-ratio tests of random terms, as ``ranova`` of lmerTest: each left out whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.special import chdtrc

from saltrust.analysis.mixed.design import fixed_design
from saltrust.analysis.mixed.fitted import fit
from saltrust.analysis.mixed.likelihood.covariances import elements
from saltrust.analysis.mixed.likelihood.sufficient import sufficient
from saltrust.analysis.mixed.request import Request


def random_tests(request: Request, deviance: float) -> pd.DataFrame:
    """Test every random term of a fitted model.

    Parameters
    ----------
    request : Request
    deviance : float
        Of the whole model.

    Returns
    -------
    pandas.DataFrame
        ``term, log_likelihood, statistic, df, p_value, note``; ``log_likelihood`` without the
        term.  The statistic is referred to chi-squared, which is conservative: a variance
        cannot be negative.
    """
    rows = []
    groups = request.frame.groups
    for place, group in enumerate(groups):
        without = _deviance_of(request, place)
        statistic = max(without - deviance, 0.0)
        df = len(elements([group]))
        term = " + ".join(group.effects).replace("(Intercept)", "1")
        rows.append([f"({term} | {group.name})", -without / 2, statistic, df,
                     float(chdtrc(df, statistic)), _NOTE])
    return pd.DataFrame(rows, columns=["term", "log_likelihood", "statistic", "df", "p_value",
                                       "note"])


_NOTE = "conservative: the null hypothesis lies on the boundary of the parameter space"


def _deviance_of(request: Request, left_out: int) -> float:
    """Deviance of the model without one random term; without any, that of least squares."""
    frame, reml = request.frame, request.fitting.reml
    kept = tuple(group for place, group in enumerate(frame.groups) if place != left_out)
    if kept:
        return fit(replace(frame, groups=kept), request.formula, reml=reml).deviance
    design = fixed_design(frame, request.formula)
    data = sufficient(frame, design)
    degrees = frame.n - data.rank if reml else frame.n
    squares = float(data.gram[-1, -1]) * data.scale**2
    deviance = degrees * (1 + float(np.log(2 * np.pi * squares / degrees)))
    return deviance + (2 * float(np.log(np.diag(design.triangle)).sum()) if reml else 0.0)
