"""Which share of the variance the effects explain, and how large contrasts are beside it.

S. Nakagawa and H. Schielzeth (2013), Methods Ecol. Evol. 4, 133-142; with random slopes
P. C. D. Johnson (2014), Methods Ecol. Evol. 5, 944-946: the variance of a random term is its
mean over the rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from saltrust.analysis.mixed.answer import Answer
from saltrust.analysis.mixed.design import fixed_design
from saltrust.analysis.mixed.formula import Formula
from saltrust.analysis.mixed.frame import FloatArray, Groups, ModelFrame
from saltrust.analysis.mixed.request import Request


def explained_variance(frame: ModelFrame, formula: Formula, answer: Answer) -> pd.DataFrame:
    """R squared and intraclass correlations of a fitted model.

    Returns
    -------
    pandas.DataFrame
        ``quantity, group, value``: ``r2_marginal`` of the fixed effects, ``r2_conditional`` of
        fixed and random effects, shares of the whole variance; ``icc`` of all random effects,
        and of each term, shares of what the fixed effects leave.  Where every level has a
        residual variance, their mean counts; rows with the level as ``group`` follow.
    """
    design = fixed_design(frame, formula)
    predicted = (design.basis @ (design.triangle @ answer.fixed.estimate))[design.cell]
    fixed = float(predicted.var(ddof=1))
    of_terms = [mean_variance(group, matrix) for group, matrix in
                zip(frame.groups, answer.covariances, strict=True)]
    random = sum(of_terms)
    left = random + answer.residual_variance
    rows: Sequence[tuple[str, str, float]] = [
        ("r2_marginal", "", fixed / (fixed + left)),
        ("r2_conditional", "", (fixed + random) / (fixed + left)),
        ("icc", "", random / left),
        *(("icc", group.name, variance / left)
          for group, variance in zip(frame.groups, of_terms, strict=True))]
    if answer.levels is not None:
        for level, sd in zip(frame.factors[answer.levels.factor].levels, answer.levels.sds,
                             strict=True):
            of_level = random + float(sd) ** 2
            rows = [*rows, ("r2_marginal", level, fixed / (fixed + of_level)),
                    ("r2_conditional", level, (fixed + random) / (fixed + of_level)),
                    ("icc", level, random / of_level)]
    return pd.DataFrame(rows, columns=["quantity", "group", "value"])


def effect_sizes(request: Request, answer: Answer) -> pd.DataFrame:
    """Contrasts in standard deviations of a score: Cohen's d of a mixed model.

    Returns
    -------
    pandas.DataFrame
        ``contrast, level_a, level_b, d, conf_low, conf_high, sd, family``.  ``sd`` is the total
        one, of all random effects and the residual (J. Westfall et al. (2014), J. Exp. Psychol.
        Gen. 143, 2020-2045), and taken as known: the bounds are those of the contrast, joint
        within its family, over it.  Where every level has a residual variance, it is the mean
        of the two levels'.
    """
    random = sum(mean_variance(group, matrix) for group, matrix in
                 zip(request.frame.groups, answer.covariances, strict=True))
    rows = []
    for family, estimates in zip(request.families, answer.contrasts, strict=True):
        within = request.cells.named_group(family.group) if request.cells else {}
        for place, (one, two) in enumerate(family.names):
            # A variance per level is of one factor, whose levels are compared.
            residual = (answer.residual_variance if answer.levels is None else float(np.mean(
                answer.levels.sds[[family.levels.index(one), family.levels.index(two)]] ** 2)))
            sd = float(np.sqrt(random + residual))
            rows.append([f"{one} - {two}", one, two, *within.values(),
                         estimates.estimate[place] / sd, estimates.conf_low[place] / sd,
                         estimates.conf_high[place] / sd, sd, family.name])
    return pd.DataFrame(rows, columns=[
        "contrast", "level_a", "level_b", *(request.cells.group_columns if request.cells else []),
        "d", "conf_low", "conf_high", "sd", "family"])


def mean_variance(group: Groups, covariance: FloatArray) -> float:
    """Variance of what a term adds to a row, its mean over the rows."""
    if group.columns is None:
        return float(covariance[0, 0])
    return float(np.einsum("ia,ab,ib->", group.columns, covariance, group.columns)
                 / len(group.columns))
