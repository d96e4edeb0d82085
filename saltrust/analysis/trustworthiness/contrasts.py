"""Contrasts of explainers decided by CR2 on a mixed model with a variance per level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri, stdtrit

from saltrust.analysis.inference.estimate import Estimate
from saltrust.analysis.inference.resampling import cluster_codes
from saltrust.analysis.inference.threads import one_blas_thread
from saltrust.analysis.mixed.adjustment.simultaneous import critical_value, two_sided
from saltrust.analysis.mixed.adjustment.single_step import LargestStatistic
from saltrust.analysis.mixed.formula import parse
from saltrust.analysis.mixed.frame import FloatArray, model_frame
from saltrust.analysis.mixed.inference.marginal_means import mean_rows
from saltrust.analysis.mixed.unequal.fitted import (
    LevelAsymptotic,
    LevelSatterthwaite,
    UnequalFit,
    fit_levels,
)
from saltrust.analysis.mixed.unequal.robust import ClusterRobust, within_clusters
from saltrust.errors import DataError

#: Rows that every level needs for a variance of its own.
FEWEST_ROWS = 10
#: CR2 degrees of freedom below which the t distribution is an approximation in name only.
FEWEST_DF = 4.0

Pair = tuple[str, str]


def enough_rows(scores: pd.DataFrame) -> bool:
    """Whether every level has the rows for a variance of its own."""
    return bool((scores["level"].value_counts() >= FEWEST_ROWS).all())


@one_blas_thread()
def robust_contrasts(scores: pd.DataFrame, family: Sequence[Pair], formula: str, *, alpha: float,
                     seed: int, constants: Mapping[str, float]) -> dict[Pair, dict[str, Any]]:
    """Uniform columns of every contrast of one family, adjusted by single-step max-t.

    The errors are CR2 by patient with Satterthwaite's degrees of freedom; where a random factor
    such as the model goes across patients, they are those of the fitted model, so that what is
    said holds for other models too.

    Parameters
    ----------
    scores : pandas.DataFrame
        ``image, patient, level, value``, and the further columns of the formula.
    family : sequence of (str, str)
        Level and baseline: another level, or a constant's name.
    formula : str
    alpha : float
        Joint confidence of the intervals is 1 - alpha.
    seed : int
        Of the sampling of the single-step adjustment.
    constants : mapping of str to float
        Baselines that are numbers.

    Raises
    ------
    DataError
        If the model cannot be fitted.
    """
    parsed = parse(formula)
    frame = model_frame(scores, parsed, categorical=("level",), where="the scores")
    fit = fit_levels(frame, parsed, "level")
    inference, notes = _inference(fit, scores)
    means = mean_rows(fit.design.coding, frame, "level")
    place = {name: k for k, name in enumerate(frame.factors["level"].levels)}
    counts = np.bincount(frame.factors["level"].codes, minlength=len(place))
    name = f"explainers x baselines ({len(family)} {'test' if len(family) == 1 else 'tests'})"
    known = [(a, b) for a, b in family if a in place and (b in constants or b in place)]
    rows = {pair: Estimate(note="no scores of one of the two").row(" - ".join(pair))
            for pair in family}
    if not known:
        return rows
    combined = np.stack([means[place[a]] - (0.0 if b in constants else means[place[b]])
                         for a, b in known])
    in_basis = fit.in_basis(combined)
    null = np.array([constants.get(b, 0.0) for _, b in known])
    values, vectors = np.linalg.eigh(inference.covariance)
    root = in_basis @ (vectors * np.sqrt(values.clip(min=0.0)))
    errors = np.linalg.norm(root, axis=1)
    effects = in_basis @ fit.basis_coefficients - null
    tested = errors > 1e-10 * float(errors.max(initial=0.0))
    df = inference.degrees(in_basis)
    tested &= np.isfinite(df) & (df > 0)
    t, p, adjusted, width = np.full((4, len(known)), np.nan)
    t[tested] = effects[tested] / errors[tested]
    p[tested] = two_sided(t[tested], df[tested])
    if tested.any():
        working = in_basis[tested] @ LevelAsymptotic(fit).covariance @ in_basis[tested].T
        adjusted[tested], width[tested] = _single_step(
            p[tested], df[tested], _correlation_root(root[tested], working, df[tested]),
            1 - alpha, seed)
    for k, (a, b) in enumerate(known):
        few = [f"{df[k]:.1f} degrees of freedom: too few patients for a t test to be trusted"
               ] if tested[k] and df[k] < FEWEST_DF else []
        same = [] if tested[k] else ["no variation between patients: no test"]
        rows[a, b] = {
            "term": f"{a} - {b}", "estimate": effects[k], "std_error": errors[k],
            "conf_low": effects[k] - width[k] * errors[k],
            "conf_high": effects[k] + width[k] * errors[k], "statistic": t[k], "df": df[k],
            "p_value": p[k], "p_adjusted": adjusted[k], "adjustment": "single-step",
            "family": name, "n": int(counts[place[a]] + counts[place.get(b, place[a])]
                                     * (b in place)),
            "note": "; ".join([*notes, *few, *same])}
    return rows


def _inference(fit: UnequalFit, scores: pd.DataFrame
               ) -> tuple[ClusterRobust | LevelSatterthwaite, list[str]]:
    """Errors by patient where that is a cluster of the model, else those of the model."""
    patients, count = cluster_codes(scores["patient"])
    statistic, df, p_value = fit.likelihood_ratio()
    notes = [f"equal residual variances: chi-squared {statistic:.1f} on {df} df, p {p_value:.2g}"]
    if fit.vanishing:
        notes.append(f"no residual variance of its own: {', '.join(fit.vanishing)}")
    if count < 2:
        raise DataError("scores of one patient only have no error by patient")
    if within_clusters(fit, patients):
        return ClusterRobust(fit, patients), [*notes, "errors CR2 by patient"]
    return LevelSatterthwaite(fit), [*notes, "errors of the model, whose random factors go "
                                             "across patients"]


def _single_step(raw: FloatArray, df: FloatArray, root: FloatArray, confidence_level: float,
                 seed: int) -> tuple[FloatArray, FloatArray]:
    """Adjusted p-values and half widths, each with its contrast's own degrees of freedom.

    Errors by patient of contrasts of different explainers are estimated almost apart, so that
    their t statistics do not share a denominator: they are taken as normal scores of their
    p-values with the contrasts' correlation.  One denominator for all would reject in .10 of runs
    with 12 patients at a nominal .05.
    """
    if len(raw) < 2:
        return raw, critical_value(confidence_level, df)
    largest = LargestStatistic(root, seed)
    infinite = np.full(len(raw), np.inf)
    scores = -ndtri(np.maximum(raw, 1e-300) / 2)
    adjusted = np.clip(largest.survival(scores, infinite), raw, np.minimum(len(raw) * raw, 1.0))
    bound = largest.critical_value(confidence_level, infinite[:1])[0]
    return adjusted, -stdtrit(df, ndtr(-bound))


def _correlation_root(root: FloatArray, working: FloatArray, df: FloatArray) -> FloatArray:
    """Rows whose products are the correlations, shrunk to those of the working model.

    A correlation that few patients give has chance in it, by the share of its rank among rank
    and degrees of freedom; what it has too much lets the contrasts count as fewer than they are.
    """
    size = np.linalg.norm(root, axis=1)[:, None]
    deviation = np.sqrt(np.diag(working))
    sampled = (root / size) @ (root / size).T
    rank = np.linalg.matrix_rank(root)
    weight = rank / (rank + float(np.median(df)))
    values, vectors = np.linalg.eigh((1 - weight) * sampled
                                     + weight * working / np.outer(deviation, deviation))
    made: FloatArray = vectors * np.sqrt(values.clip(min=0.0))
    return made / np.linalg.norm(made, axis=1)[:, None]
