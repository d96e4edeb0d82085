"""Residuals of a mixed model: what the model leaves, and whether it is normal and even.

The predictions of the random effects follow from the variances alone (C. R. Henderson (1975),
Biometrics 31, 423-447), so that they are the same whatever engine has estimated these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import csc_array, csr_array, eye_array, hstack
from scipy.sparse.linalg import splu
from scipy.special import ndtri

from saltrust.analysis.mixed.answer import Answer
from saltrust.analysis.mixed.design import fixed_design
from saltrust.analysis.mixed.frame import FloatArray, Groups
from saltrust.analysis.mixed.request import Request

#: Groups of rows of like fitted values, by quantiles.
_GROUPS = 20
#: Quantiles of a distribution that are set against those of the normal.
_QUANTILES = 99
RESIDUAL = "Residual"


@dataclass(frozen=True)
class Prediction:
    """What a fitted model says of its rows.

    Attributes
    ----------
    fitted, residual : ndarray of float64, shape (n,)
        Fixed and predicted random effects together, and the response less these.
    standardized : ndarray of float64, shape (n,)
        ``residual`` over the residual standard deviation (of its level, where each has one).
    effects : tuple of ndarray of float64, shape (groups, effects)
        Predicted random effects of every term, in the order of the frame, in units of the
        response.
    """

    fitted: FloatArray
    residual: FloatArray
    standardized: FloatArray
    effects: tuple[FloatArray, ...]


def predict(request: Request, answer: Answer) -> Prediction:
    """Best linear unbiased predictions, at the variances of an answer.

    Parameters
    ----------
    request : Request
    answer : Answer

    Returns
    -------
    Prediction
    """
    frame = request.frame
    design = fixed_design(frame, request.formula)
    sd = _residual_sds(request, answer)
    fixed = design.basis[design.cell]
    factors = [_square_root(matrix) for matrix in answer.covariances]
    random = hstack([_columns(group, factor) for group, factor
                     in zip(frame.groups, factors, strict=True)], format="csr")
    weights = csr_array((1 / sd, (np.arange(frame.n), np.arange(frame.n))))
    x, z, y = fixed / sd[:, None], csc_array(weights @ random), frame.response / sd
    # Effects with unit variance: what is estimated as zero stays zero.
    solve = splu(csc_array(z.T @ z + eye_array(z.shape[1])),
                 permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}).solve
    z_x, z_y = z.T @ x, z.T @ y
    coefficients = np.linalg.lstsq(x.T @ x - z_x.T @ solve(z_x),
                                   x.T @ y - z_x.T @ solve(z_y), rcond=None)[0]
    unit = solve(z_y - z_x @ coefficients)
    fitted = fixed @ coefficients + random @ unit
    effects, start = [], 0
    for group, factor in zip(frame.groups, factors, strict=True):
        stop = start + group.size * len(factor)
        effects.append(unit[start:stop].reshape(group.size, -1) @ factor.T)
        start = stop
    residual = frame.response - fitted
    return Prediction(fitted, residual, residual / sd, tuple(effects))


def residual_tables(request: Request, answer: Answer) -> dict[str, pd.DataFrame]:
    """What shows whether residuals are even, and they and the random effects normal.

    Parameters
    ----------
    request : Request
    answer : Answer

    Returns
    -------
    dict of str to pandas.DataFrame
        ``residuals``: rows of like fitted values together (at most 20 groups), the means
        ``fitted`` and ``residual``, the standard deviation ``sd`` of the residuals, and ``n``.
        ``residual_quantiles``: ``group, effect, normal, quantile, n``, at most 99 quantiles of the
        standardized residuals (``group`` is then Residual) and of the predicted random effects
        over their estimated standard deviation, beside those of the normal distribution;
        predicted effects are shrunk, so theirs lie on a line less steep than 1.
    """
    made = predict(request, answer)
    quantiles = [_quantiles(made.standardized, RESIDUAL, "")]
    for group, effects, matrix in zip(request.frame.groups, made.effects, answer.covariances,
                                      strict=True):
        quantiles += [_quantiles(effects[:, place] / np.sqrt(matrix[place, place]), group.name,
                                 effect)
                      for place, effect in enumerate(group.effects) if matrix[place, place] > 0]
    return {"residuals": _grouped(made),
            "residual_quantiles": pd.concat(quantiles, ignore_index=True)}


def _residual_sds(request: Request, answer: Answer) -> FloatArray:
    if answer.levels is None:
        return np.full(request.frame.n, np.sqrt(answer.residual_variance))
    sds: FloatArray = answer.levels.sds[request.frame.factors[answer.levels.factor].codes]
    return sds


def _square_root(matrix: FloatArray) -> FloatArray:
    """A factor whose product with its transpose is the matrix, which may be singular."""
    values, vectors = np.linalg.eigh(matrix)
    root: FloatArray = vectors * np.sqrt(values.clip(0))
    return root


def _columns(group: Groups, factor: FloatArray) -> csr_array:
    """Random effects of unit variance as columns of the model, shape (n, groups * effects)."""
    n, width = len(group.codes), len(factor)
    values = (np.ones((n, 1)) if group.columns is None else group.columns) @ factor
    places = group.codes[:, None] * width + np.arange(width)
    return csr_array((values.ravel(), (np.repeat(np.arange(n), width), places.ravel())),
                     shape=(n, group.size * width))


def _grouped(made: Prediction) -> pd.DataFrame:
    edges = np.unique(np.quantile(made.fitted, np.linspace(0, 1, _GROUPS + 1)[1:-1]))
    rows = pd.DataFrame({"fitted": made.fitted, "residual": made.residual})
    grouped = rows.groupby(np.searchsorted(edges, made.fitted), sort=True)
    means = grouped.mean().assign(sd=grouped["residual"].std(ddof=1), n=grouped.size())
    return means.reset_index(drop=True)


def _quantiles(values: FloatArray, group: str, effect: str) -> pd.DataFrame:
    count = min(len(values), _QUANTILES)
    shares = (np.arange(count) + 0.5) / count
    return pd.DataFrame({"group": group, "effect": effect, "normal": ndtri(shares),
                         "quantile": np.quantile(values, shares, method="hazen"),
                         "n": len(values)})
