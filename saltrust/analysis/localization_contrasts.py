"""Paired differences of localization scores: between maps, and between a map and a baseline.

Both members of a pair are compared on the images that both have, and patients are resampled,
so that neither hard images nor several images of a patient pass for a difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

from saltrust.analysis.inference.bootstrap import percentile_interval, resampled_means
from saltrust.analysis.inference.estimate import Estimate, check_confidence, estimates_table
from saltrust.analysis.localization_summary import AVERAGE, checked, score_matrix, unit_clusters
from saltrust.analysis.inference.multiplicity import adjust_families
from saltrust.analysis.selection import EXPERT, SCHEMES, Scheme

FloatArray = npt.NDArray[np.float64]
Series = tuple[str, str]

_IDENTIFY = ("finding", "metric", "contrast")


def map_differences(scores: pd.DataFrame, *, resamples: int = 1000, confidence: float = 0.95,
                    seed: int = 0) -> pd.DataFrame:
    """Differences between all pairs of maps (explainer and model), per finding and averaged.

    Parameters
    ----------
    scores : pandas.DataFrame
        As :func:`saltrust.analysis.localization.score_maps` gives.
    resamples : int
        Bootstrap resamples of patients.
    confidence : float
        Level of the percentile intervals.
    seed : int

    Returns
    -------
    pandas.DataFrame
        ``finding, metric, contrast`` (``A - B``) and the uniform columns; see
        :func:`paired_differences`.
    """
    pairs = dict.fromkeys((str(e), str(m)) for e, m in zip(
        scores["explainer"], scores["model"], strict=True) if e != EXPERT)
    names = list(pairs)
    contrasts = [(one, two) for k, one in enumerate(names) for two in names[k + 1:]]
    return paired_differences(scores, contrasts, resamples=resamples, confidence=confidence,
                              seed=seed)


def paired_differences(scores: pd.DataFrame, contrasts: Iterable[tuple[Series, Series]], *,
                       metrics: Iterable[Scheme] = SCHEMES, resamples: int = 1000,
                       confidence: float = 0.95, seed: int = 0) -> pd.DataFrame:
    """Mean differences of given pairs of series, with intervals and p-values.

    Parameters
    ----------
    scores : pandas.DataFrame
        Columns ``image, finding, explainer, model, reader`` and the metrics; ``patient`` where
        known.
    contrasts : iterable of ((explainer, model), (explainer, model))
    metrics : iterable of {"iou", "hit"}
    resamples, confidence, seed
        As :func:`map_differences`.

    Returns
    -------
    pandas.DataFrame
        Rows per finding in which both series occur, then ``average``: the mean over findings.
        ``term`` is ``difference``.  ``p_value`` is twice the smaller share of resamples on
        either side of zero, both counted with one more resample at zero, and so never below
        ``2 / (resamples + 1)``; adjusted by Holm over the contrasts of a metric and finding.

    Raises
    ------
    DataError
        If the table lacks a column or repeats rows.
    UsageError
        If an option is out of range.

    References
    ----------
    B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap (1993), section 15.4.
    """
    check_confidence(confidence)
    table = checked(scores)
    clusters = unit_clusters(table)
    chosen = list(contrasts)
    rows = []
    for metric in metrics:
        values, columns = score_matrix(table, metric)
        place = {column: k for k, column in enumerate(columns)}
        findings = list(dict.fromkeys(finding for finding, _, _ in columns))
        for one, two in chosen:
            shared = [f for f in findings if (f, *one) in place and (f, *two) in place]
            if not shared:
                continue
            differences = (values[:, [place[f, *one] for f in shared]]
                           - values[:, [place[f, *two] for f in shared]])
            drawn = resampled_means(differences, clusters, resamples=resamples, seed=seed)
            name = {"metric": metric, "contrast": contrast_name(one, two)}
            rows += [{"finding": finding, **name, **estimate.row("difference")}
                     for finding, estimate in _by_finding(shared, differences, drawn, confidence)]
    found = estimates_table(rows, _IDENTIFY)
    families = found["metric"] + ", " + found["finding"]
    sizes = {str(name): int(count) for name, count in families.value_counts().items()}
    return adjust_families(found, families, "holm", sizes)


def contrast_name(one: Series, two: Series) -> str:
    """``A - B``, with the models only where they differ.

    Examples
    --------
    >>> contrast_name(("grad", "net"), ("gradcam", "net"))
    'grad - gradcam'
    >>> contrast_name(("grad", "a"), ("grad", "b"))
    'grad (a) - grad (b)'
    """
    if one[1] == two[1] or not two[1]:
        return f"{one[0]} - {two[0]}"
    return f"{one[0]} ({one[1]}) - {two[0]} ({two[1]})"


def _by_finding(findings: list[str], differences: FloatArray, drawn: FloatArray,
                confidence: float) -> Iterator[tuple[str, Estimate]]:
    known = ~np.isnan(differences)
    n = known.sum(axis=0)
    means = np.divide(np.where(known, differences, 0.0).sum(axis=0), n,
                      out=np.full(len(n), np.nan), where=n > 0)
    for k, finding in enumerate(findings):
        yield finding, bootstrap_estimate(float(means[k]), drawn[:, k], int(n[k]), confidence)
    there = np.flatnonzero(n > 0)
    if len(findings) > 1:
        mean = float(means[there].mean()) if len(there) else float("nan")
        average = drawn[:, there].mean(axis=1) if len(there) else drawn[:, 0]
        yield AVERAGE, bootstrap_estimate(mean, average, int(n.sum()), confidence)


def bootstrap_estimate(value: float, drawn: FloatArray, n: int, confidence: float,
                       *, against: float = 0.0) -> Estimate:
    """An estimate with percentile interval and p-value from its resampled values.

    Parameters
    ----------
    value : float
        NaN where it cannot be had.
    drawn : ndarray, shape (resamples,)
        What is not finite is left out.
    n : int
        Rows it is made from.
    confidence : float
    against : float
        Tested value.
    """
    if np.isnan(value):
        return Estimate(n=n, note="no image that both have")
    finite = drawn[np.isfinite(drawn)]
    low, high, used = percentile_interval(finite, confidence)
    if used < 2 or n < 2:
        return Estimate(estimate=value, n=n, note=f"{n} row{'s' * (n != 1)}: no interval")
    error = float(np.std(finite, ddof=1))
    if error == 0:
        return Estimate(estimate=value, std_error=0.0, conf_low=float(low),
                        conf_high=float(high), n=n,
                        note="all resamples are equal: the interval has no width, no test")
    below, above = (1 + np.count_nonzero(finite <= against),
                    1 + np.count_nonzero(finite >= against))
    p_value = min(1.0, 2 * min(below, above) / (len(finite) + 1))
    return Estimate(estimate=value, std_error=error, conf_low=float(low), conf_high=float(high),
                    p_value=p_value, n=n)
