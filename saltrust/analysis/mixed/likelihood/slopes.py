"""Restricted maximum likelihood with random slopes, by Newton's method in Cholesky factors.

The columns of every term are made orthonormal, so that neither the units of a covariate nor its
distance from zero matter; the deviance is minimized over the factors of the relative covariance
matrices, where a singular matrix is a place like others.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from saltrust.analysis.mixed.frame import FloatArray, Groups
from saltrust.analysis.mixed.likelihood.computation import likelihood
from saltrust.analysis.mixed.likelihood.covariances import (
    bend,
    elements,
    jacobian,
    of_factor,
    vector,
)
from saltrust.analysis.mixed.likelihood.pieces import Likelihood
from saltrust.analysis.mixed.likelihood.profile import Profile, profile
from saltrust.analysis.mixed.likelihood.reml import PERFECT_SHARE, descent, line_search, perfect
from saltrust.analysis.mixed.likelihood.sufficient import Sufficient
from saltrust.errors import DataError

_STEPS = 200
_IDENTIFIED = 1e-11
_MANY_ROWS = 20_000


def fit(data: Sufficient, *, reml: bool = True) -> Profile:
    """Find the covariance matrices that maximise the (restricted) likelihood.

    Parameters
    ----------
    data : Sufficient
        With columns by :func:`orthonormal`.
    reml : bool
        Restricted likelihood; ordinary likelihood otherwise.

    Raises
    ------
    DataError
        If the variances cannot be told apart, or the model fits perfectly.
    """
    evaluate = likelihood(data)
    _check_identified(data, profile(data, evaluate, np.zeros(len(elements(data.groups))),
                                     reml=True))
    best: Profile | None = None
    for size in (1.0,) if data.n > _MANY_ROWS else (1.0, 0.2, 5.0):
        start = vector(data.groups, [size * np.eye(len(group.effects))
                                      for group in data.groups])
        minimum = _newton(data, evaluate, start, reml=reml)
        if best is None or minimum.deviance < best.deviance - 1e-9:
            best = minimum
    assert best is not None
    if best.quadratic < PERFECT_SHARE * data.gram[-1, -1]:
        raise perfect(data)
    return best


def orthonormal(data: Sufficient) -> tuple[Sufficient, tuple[FloatArray, ...]]:
    """The same data with orthonormal columns of every term.

    Returns
    -------
    data : Sufficient
    turns : tuple of ndarray of float64, shape (effects, effects)
        ``T`` of every term: the columns as they were are the new ones times ``T``.
    """
    turned = [_orthonormal(group) for group in data.groups]
    return (replace(data, groups=tuple(group for group, _ in turned)),
            tuple(turn for _, turn in turned))


def turned_back(matrix: FloatArray, turn: FloatArray) -> FloatArray:
    """The covariance of the effects of the columns as they were."""
    half = np.linalg.solve(turn, matrix)
    result: FloatArray = np.linalg.solve(turn, half.T)
    return (result + result.T) / 2


def _orthonormal(group: Groups) -> tuple[Groups, FloatArray]:
    """A term whose columns are orthonormal over the rows, and ``T``: old columns are new ``T``."""
    if group.columns is None:
        return group, np.eye(1)
    columns, rows = group.columns, len(group.codes)
    scale = np.abs(columns).max(axis=0)
    basis, triangle = np.linalg.qr(columns / np.where(scale > 0, scale, 1.0))
    size = np.abs(np.diag(triangle))
    if (scale == 0).any() or size.min() < 1e-10 * size.max():
        raise DataError(f"the random slopes of {group.name} ({', '.join(group.effects)}) are "
                        "combinations of each other: a covariate is constant, or stands twice; "
                        f"write (1|{group.name})")
    return (replace(group, columns=basis * np.sqrt(rows)),
            triangle * scale / np.sqrt(rows))


def _check_identified(data: Sufficient, null: Profile) -> None:
    """Refuse covariances whose expected information, at zero, is singular."""
    labels = ["the residual", *(
        f"{data.groups[e.term].effects[e.row]} by {data.groups[e.term].name}"
        for e in elements(data.groups))]
    matrix = np.empty((len(labels),) * 2)
    matrix[0, 0] = data.n - data.rank
    matrix[0, 1:] = matrix[1:, 0] = null.log_dets_1
    matrix[1:, 1:] = -null.log_dets_2
    diagonal = np.diag(matrix)
    values, vectors = np.linalg.eigh(matrix / np.sqrt(np.outer(diagonal, diagonal))
                                     if diagonal.min() > 0 else np.diag(diagonal))
    if values[0] < _IDENTIFIED:
        involved = dict.fromkeys(label for label, share in zip(labels, np.abs(vectors[:, 0]),
                                                               strict=True) if share > 0.1)
        raise DataError(f"the variances of {' and '.join(involved)} cannot be told apart in the "
                        f"{data.n} rows; leave out a slope, or take (1|group)")


def _newton(data: Sufficient, evaluate: Likelihood, start: FloatArray, *, reml: bool) -> Profile:
    """Newton's method over the factors; negative curvature is turned round."""

    def at(place: FloatArray) -> Profile | None:
        try:
            return profile(data, evaluate, of_factor(data.groups, place), reml=reml)
        except np.linalg.LinAlgError:
            return None  # a trial step to where rounding is all that is left

    place, nowhere = start, np.full(len(start), -np.inf)
    here = profile(data, evaluate, of_factor(data.groups, place), reml=reml)
    for _ in range(_STEPS):
        chain = jacobian(data.groups, place)
        gradient = chain.T @ here.gradient
        hessian = chain.T @ here.hessian @ chain + bend(data.groups, here.gradient)
        step = descent(hessian, gradient)
        step /= max(1.0, float(np.abs(step).max()) / (2 + float(np.abs(place).max())))
        moved = line_search(here, gradient, step, place, nowhere, at)
        if moved is None:
            break
        place, here = moved
        if np.abs(place).max() > 1e7:
            raise perfect(data)
        if np.abs(step).max() < 1e-9 * max(1.0, float(np.abs(place).max())):
            break
    return here
