"""Localization where the model calls the finding and where it does not, and by confidence.

A slope over all positives hides where it comes from: a map of a finding that the model does not
see can hardly lie on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from saltrust.analysis.inference.bootstrap import mean_interval
from saltrust.analysis.inference.clustered import robust_slope
from saltrust.analysis.inference.estimate import Estimate, check_confidence_level, estimates_table
from saltrust.analysis.inference.linear import simple_regression
from saltrust.analysis.inference.multiplicity import adjust_families
from saltrust.analysis.inference.proportions import proportion_interval
from saltrust.analysis.scores.score_rows import SCHEMES, Scheme, response
from saltrust.analysis.scores.segmentation_rules import Choice
from saltrust.choices import Adjustment

FloatArray = npt.NDArray[np.float64]

#: Bounds of the bins of probability; the last one includes 1.
BIN_BOUNDS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
TRUE_POSITIVE, FALSE_NEGATIVE = "true positive", "false negative"
CONTRAST = f"{TRUE_POSITIVE} - {FALSE_NEGATIVE}"
ALL = "All findings"
#: Rows of a stratum, below which its mean is not tested (with 3, .20 at nominal .05).
FEWEST_ROWS = 10
_IDENTIFY = ("explainer", "model", "scheme", "finding", "stratum")


def confidence_strata(scores: pd.DataFrame, operating_point: Choice, *,
                      adjustment: Adjustment = "bonferroni", confidence_level: float = 0.95,
                      resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Mean localization of positives by what the model said of them.

    Parameters
    ----------
    scores : pandas.DataFrame
        One row per map on a reference: ``explainer, model, finding, iou, hit, area_reference,
        area_predicted, probability, cluster``; rows without a probability or without a
        positive reference are left out.
    operating_point : Choice
        A positive is a true positive where its probability *exceeds* this, else a false
        negative.
    adjustment : {"bonferroni", "holm", "bh", "none"}
        Of the contrasts: per explainer, model and scheme the findings are one family, the
        pooled row another.
    confidence, resamples, seed
        Of the bootstrap by patient: percentiles; Wilson's interval where all are hits or
        all are misses.

    Returns
    -------
    pandas.DataFrame
        ``explainer, model, scheme, finding, stratum``, the uniform columns, and
        ``probability``: the mean of the stratum.  Strata are :data:`TRUE_POSITIVE` and
        :data:`FALSE_NEGATIVE` (term ``mean``), their difference :data:`CONTRAST` (term
        ``difference``, with a t test and interval by CR2 errors of patients where both have
        :data:`FEWEST_ROWS` rows), and bins of probability (term
        ``mean``).  Empty strata keep their rows.  ``All findings`` pools rows.
    """
    check_confidence_level(confidence_level)
    options = {"resamples": resamples, "confidence_level": confidence_level, "seed": seed}
    rows: list[dict[str, Any]] = []
    for (explainer, model), stored in scores.groupby(["explainer", "model"], sort=False):
        point = np.array([operating_point.of(finding, str(explainer), str(model)) or 0.0
                          for finding in stored["finding"]], dtype=np.float64)
        for scheme in SCHEMES:
            # An empty prediction on a positive is a failure here, whatever the slice elsewhere.
            table = stored.assign(score=response(stored, scheme, "positive"), point=point)
            table = table[table["score"].notna() & table["probability"].notna()]
            name = {"explainer": explainer, "model": model, "scheme": scheme}
            for finding in (*dict.fromkeys(stored["finding"]), ALL):
                rows_of_finding = table if finding == ALL else table[table["finding"] == finding]
                rows += [{**name, "finding": finding, **row}
                         for row in _strata(rows_of_finding, scheme, options)]
    table = estimates_table(rows, _IDENTIFY, ("probability",))
    families = table[["explainer", "model", "scheme"]].agg(", ".join, axis=1)
    families = families.where(table["finding"] != ALL, families + ", pooled")
    contrast = table["stratum"] == CONTRAST
    sizes = {str(name): int(count) for name, count in families[contrast].value_counts().items()}
    tested = adjust_families(table[contrast], families[contrast], adjustment, sizes)
    for column in ("p_adjusted", "adjustment", "family"):
        table.loc[contrast, column] = tested[column]
    return table


def _strata(table: pd.DataFrame, scheme: Scheme, options: Mapping[str, Any]
            ) -> Iterator[dict[str, Any]]:
    score, p = table["score"].to_numpy(), table["probability"].to_numpy()
    cluster = table["cluster"].to_numpy()
    # Probabilities are stored in float32, and so is the operating point compared.
    called = p.astype(np.float32) > table["point"].to_numpy().astype(np.float32)
    bins = np.clip(np.searchsorted(BIN_BOUNDS, p, side="right") - 1, 0, len(BIN_BOUNDS) - 2)
    named = [(TRUE_POSITIVE, called), (FALSE_NEGATIVE, ~called)]
    last = len(BIN_BOUNDS) - 2
    named += [(f"[{low:g}, {high:g}{']' if k == last else ')'}", bins == k) for k, (low, high) in
              enumerate(pairwise(BIN_BOUNDS))]
    for stratum, belongs in named:
        # Every stratum in its column keeps the resamples of patients the same for all.
        estimate = _mean(np.where(belongs, score, np.nan), cluster, scheme, options)
        yield {"stratum": stratum, **estimate.row("mean"),
               "probability": float(p[belongs].mean()) if belongs.any() else np.nan}
        if stratum == FALSE_NEGATIVE:
            yield {"stratum": CONTRAST, "probability": np.nan,
                   **_contrast(score, called, cluster, options).row("difference")}


def _mean(values: FloatArray, cluster: npt.NDArray[Any], scheme: Scheme,
          options: Mapping[str, Any]) -> Estimate:
    take = proportion_interval if scheme == "hit" and np.isin(
        values[~np.isnan(values)], (0.0, 1.0)).all() else mean_interval
    average = take(values, cluster, method="auto", **options)
    return Estimate(estimate=float(average.mean), std_error=float(average.std_error),
                    conf_low=float(average.conf_low), conf_high=float(average.conf_high),
                    n=int(average.n), note=average.notes[0])


def _contrast(score: FloatArray, called: npt.NDArray[np.bool_], cluster: npt.NDArray[Any],
              options: Mapping[str, Any]) -> Estimate:
    """Difference of the two means with its CR2 error by patient; no test of small strata."""
    sizes = int(called.sum()), int((~called).sum())
    if not min(sizes):
        return Estimate(n=sum(sizes), note=f"{sizes[0]} true positives and {sizes[1]} false "
                                           "negatives: both are needed")
    indicator, level = called.astype(np.float64), options["confidence_level"]
    fitted = simple_regression(indicator, score, confidence_level=level)
    if min(sizes) < FEWEST_ROWS:
        return Estimate(estimate=fitted.estimate, n=sum(sizes),
                        note=f"{sizes[0]} true positives and {sizes[1]} false negatives, fewer "
                             f"than {FEWEST_ROWS} of one: no test")
    return robust_slope(fitted, indicator, score, cluster, confidence_level=level)
