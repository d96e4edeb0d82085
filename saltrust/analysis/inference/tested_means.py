"""Means of columns with intervals by patient, tested together by the largest statistic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from saltrust.analysis.inference.bootstrap import FEWEST_PATIENTS, mean_interval
from saltrust.analysis.inference.estimate import Estimate
from saltrust.analysis.inference.max_t import resamples_for, step_down
from saltrust.choices import BootstrapKind

FloatArray = npt.NDArray[np.float64]


def mean_estimates(values: npt.ArrayLike, patients: npt.ArrayLike, *, resamples: int = 1000,
                   kind: BootstrapKind = "auto", confidence_level: float = 0.95, seed: int = 0
                   ) -> list[Estimate]:
    """Mean of every column with its interval by patient, and no test.

    Parameters
    ----------
    values : array_like of float, shape (n, k)
        NaN where a row does not belong to the column.
    patients : array_like, shape (n,)
    resamples : int
    kind : {"auto", "percentile", "bca", "bootstrap-t"}
        As of :func:`saltrust.analysis.inference.bootstrap.mean_interval`.
    confidence_level : float
    seed : int

    Returns
    -------
    list of Estimate, length k
    """
    made = mean_interval(np.asarray(values, dtype=np.float64), patients, resamples=resamples,
                         method=kind, confidence_level=confidence_level, seed=seed)
    return [Estimate(estimate=float(made.mean[k]), std_error=float(made.std_error[k]),
                     conf_low=float(made.conf_low[k]), conf_high=float(made.conf_high[k]),
                     n=int(made.n[k]), note=note) for k, note in enumerate(made.notes)]


def means_with_tests(values: npt.ArrayLike, patients: npt.ArrayLike, families: Sequence[str], *,
                 resamples: int = 1000, kind: BootstrapKind = "auto",
                 confidence_level: float = 0.95, seed: int = 0) -> list[dict[str, Any]]:
    """The same with the test of every mean against zero, adjusted in families.

    Tests are by step-down max-T on resamples of patients that all columns share
    (:func:`saltrust.analysis.inference.max_t.step_down`); there is none of fewer than
    :data:`saltrust.analysis.inference.bootstrap.FEWEST_PATIENTS` patients, nor where nothing
    varies.

    Parameters
    ----------
    values, patients, resamples, kind, confidence_level, seed
        As of :func:`mean_estimates`.
    families : sequence of str, length k
        Columns of one name are adjusted for each other.

    Returns
    -------
    list of dict, length k
        The uniform columns, with an empty ``term``.

    Examples
    --------
    >>> drawn = np.random.default_rng(0).normal([2.0, 0.0], 1, (60, 2))
    >>> rows = means_with_tests(drawn, np.arange(60), ["f", "f"])
    >>> rows[0]["p_adjusted"] < 0.01 < rows[1]["p_adjusted"], rows[0]["family"]
    (True, 'f (2 tests)')
    """
    table = np.asarray(values, dtype=np.float64)
    labels: npt.NDArray[Any] = np.asarray(patients)
    estimates = mean_estimates(table, labels, resamples=resamples, kind=kind,
                               confidence_level=confidence_level, seed=seed)
    sizes = Counter(families)
    made = step_down(table, labels, [[k] for k in range(table.shape[1])], families,
                     resamples=resamples_for(max(sizes.values(), default=0), resamples),
                     seed=seed)
    rows = []
    for k, (estimate, family) in enumerate(zip(estimates, families, strict=True)):
        enough = len(set(labels[~np.isnan(table[:, k])].tolist())) >= FEWEST_PATIENTS
        tested = enough and estimate.std_error > 0 and not np.isnan(made.p_value[k])
        least = tested and made.p_adjusted[k] <= made.least
        shown = replace(
            estimate, statistic=float(made.statistic[k]), p_value=float(made.p_value[k]),
            note=estimate.note or ("p as small as the resamples can show" if least else "")
        ) if tested else estimate
        count = sizes[family]
        rows.append({**shown.row(""), "adjustment": "max-t",
                     "p_adjusted": float(made.p_adjusted[k]) if tested else np.nan,
                     "family": f"{family} ({count} {'test' if count == 1 else 'tests'})"})
    return rows
