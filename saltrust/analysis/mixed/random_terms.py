"""What random terms deserve: likelihood-ratio tests, and intervals of their deviations.

The tests are those of ``ranova`` of lmerTest with each term left out whole, the intervals those of
``confint(method="profile")`` of lme4.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import chdtrc

from saltrust.analysis.mixed.design import fixed_design
from saltrust.analysis.mixed.fitted import fit
from saltrust.analysis.mixed.likelihood.covariances import elements
from saltrust.analysis.mixed.likelihood.profile_intervals import profile_intervals
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


_CORRELATED = "not profiled: its effects correlate; write (1 + x||g)"


def variance_intervals(request: Request) -> pd.DataFrame:
    """Profile the standard deviations by maximum likelihood, as lme4 does after REML too.

    Returns
    -------
    pandas.DataFrame
        ``group, effect, sd, conf_low, conf_high, note``, in the order of ``random_effects``;
        ``sd`` is that of maximum likelihood, and of effects that correlate NaN bounds.
    """
    fitted = fit(request.frame, request.formula, reml=False)
    bounds = profile_intervals(fitted.data, fitted.optimum.ratios, request.confidence_level)
    rows: list[list[Any]] = []
    for term, (group, matrix) in enumerate(zip(request.frame.groups, fitted.covariances,
                                               strict=True)):
        unit = abs(float(fitted.turns[term][0, 0])) if fitted.turns else 1.0
        low, high = bounds.get(term, (float("nan"),) * 2)
        rows += [[group.name, effect, float(np.sqrt(matrix[place, place])),
                  low * fitted.data.scale / unit, high * fitted.data.scale / unit,
                  "" if term in bounds else _CORRELATED]
                 for place, effect in enumerate(group.effects)]
    low, high = bounds[-1]
    rows.append(["Residual", "", float(np.sqrt(fitted.residual_variance)),
                 low * fitted.data.scale, high * fitted.data.scale, ""])
    return pd.DataFrame(rows, columns=["group", "effect", "sd", "conf_low", "conf_high", "note"])
