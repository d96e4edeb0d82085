"""Contrasts of explainers decided by CR2 on a mixed model with a variance per level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from saltrust.analysis.inference.estimate import Estimate
from saltrust.analysis.inference.resampling import cluster_codes
from saltrust.analysis.inference.threads import one_blas_thread
from saltrust.analysis.mixed.adjustment.simultaneous import critical_value, two_sided
from saltrust.analysis.mixed.adjustment.single_step import LargestStatistic
from saltrust.analysis.mixed.formula import parse
from saltrust.analysis.mixed.frame import FloatArray, model_frame
from saltrust.analysis.mixed.inference.marginal_means import mean_rows
from saltrust.analysis.mixed.unequal.fitted import LevelSatterthwaite, UnequalFit, fit_levels
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
    adjusted[tested], width[tested] = _single_step(
        np.abs(t[tested]), df[tested], root[tested] / errors[tested][:, None], p[tested],
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


def _single_step(t: FloatArray, df: FloatArray, root: FloatArray, raw: FloatArray,
                 confidence_level: float, seed: int) -> tuple[FloatArray, FloatArray]:
    """Adjusted p-values and half widths, each with its contrast's own degrees of freedom."""
    if len(t) < 2:
        return raw, critical_value(confidence_level, df)
    largest = LargestStatistic(root, seed)
    adjusted = np.clip(largest.survival(t, df), raw, np.minimum(len(t) * raw, 1.0))
    low, high = float(df.min()), float(df.max())
    if high - low < 1e-6 * high:
        return adjusted, np.full(len(t), largest.critical_value(confidence_level, df[:1])[0])
    # Smooth in 1 / df: three points tell the critical values between.
    nodes = np.array([1 / high, (1 / low + 1 / high) / 2, 1 / low])
    solved = np.log(largest.critical_value(confidence_level, 1 / nodes))
    return adjusted, np.exp(np.polyval(np.polyfit(nodes, solved, 2), 1 / df))
