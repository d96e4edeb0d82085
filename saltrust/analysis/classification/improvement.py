"""Improvement of one model over another in percent, with the interval of the paired bootstrap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from saltrust.analysis.classification.auc_rows import Cases, drawn_areas
from saltrust.analysis.inference.bootstrap import percentile_interval
from saltrust.analysis.options import Resampling

FloatArray = npt.NDArray[np.float64]

#: Columns of :func:`improvements`.
COLUMNS = ("finding", "model", "baseline", "auc", "auc_baseline",
           "improvement_percent", "improvement_percent_low", "improvement_percent_high",
           "improvement_percent_relative", "improvement_percent_relative_low",
           "improvement_percent_relative_high", "n", "patients", "note")


def improvements(cases: dict[str, Cases], models: Sequence[str],
                 pairs: Sequence[tuple[str, str]], resampling: Resampling) -> pd.DataFrame:
    """Areas under ROC curves of models less those of their baselines, in percent.

    Parameters
    ----------
    cases : dict of str to Cases
        By finding, predicted by every model.
    models : sequence of str
        Columns of the probabilities.
    pairs : sequence of (str, str)
        Model and baseline.
    resampling : Resampling
        Both models of a pair have the same resamples of patients.

    Returns
    -------
    pandas.DataFrame
        The mean over findings (``macro average``) first where there are several, then every
        finding, one row per pair.  ``improvement_percent`` is a hundred times the difference of
        the areas, as in Watanabe et al. 2022, where .913 beside .872 is 4.1%;
        ``improvement_percent_relative`` is that difference as a percentage of the baseline's
        area.  ``..._low`` and ``..._high`` are percentiles of the resamples.

    Examples
    --------
    >>> cases = {"Edema": Cases(np.array([True, True, False, False]),
    ...                         np.array([[.9, .9], [.8, .2], [.3, .3], [.1, .1]]),
    ...                         np.array(["a", "b", "c", "d"], dtype=object))}
    >>> made = improvements(cases, ["new", "old"], [("new", "old")], Resampling(resamples=200))
    >>> made[["auc", "auc_baseline", "improvement_percent"]].values.round(6).tolist()
    [[1.0, 0.75, 25.0]]
    """
    at = {name: k for k, name in enumerate(models)}
    rows = []
    drawn = drawn_areas(cases, resampling)
    for finding in [*list(drawn)[len(cases):], *cases]:
        areas, resampled, note = drawn[finding]
        of_finding = [cases[finding]] if finding in cases else list(cases.values())
        count = {"n": max(len(one.positive) for one in of_finding),
                 "patients": len({name for one in of_finding for name in one.patients})}
        for model, baseline in pairs:
            rows.append({
                "finding": finding, "model": model, "baseline": baseline,
                **dict(_values(areas[[at[model], at[baseline]]],
                               resampled[:, [at[model], at[baseline]]],
                               resampling.confidence_level)), **count, "note": note})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _values(areas: FloatArray, drawn: FloatArray, confidence_level: float
            ) -> Iterator[tuple[str, Any]]:
    # A finding of one class has no resamples.
    drawn = drawn if len(drawn) else np.full((1, 2), np.nan)
    yield "auc", float(areas[0])
    yield "auc_baseline", float(areas[1])
    for name, of in (("improvement_percent", _points), ("improvement_percent_relative", _ratio)):
        low, high, _ = percentile_interval(of(drawn), confidence_level)
        yield name, float(of(areas[None])[0])
        yield f"{name}_low", float(low)
        yield f"{name}_high", float(high)


def _points(areas: FloatArray) -> FloatArray:
    return 100 * (areas[:, 0] - areas[:, 1])


def _ratio(areas: FloatArray) -> FloatArray:
    """Percentages of the baseline's area; NaN where that is 0."""
    return 100 * np.divide(areas[:, 0] - areas[:, 1], areas[:, 1],
                           out=np.full(len(areas), np.nan), where=areas[:, 1] > 0)
