"""Whether maps are no worse than the expert, or than each other, by more than a margin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import stdtr, stdtrit

from saltrust.analysis.inference.bootstrap import FEWEST_PATIENTS
from saltrust.analysis.inference.estimate import Estimate, check_confidence_level, estimates_table
from saltrust.analysis.inference.multiplicity import adjust_families
from saltrust.analysis.inference.subgroups import average_block, mean_block
from saltrust.analysis.inference.wald import Block, combine
from saltrust.analysis.localization.contrasts import contrast_name
from saltrust.analysis.localization.summary import (
    AVERAGE,
    MEAN_EXPERT,
    checked,
    score_matrix,
    unit_clusters,
    with_mean_expert,
)
from saltrust.analysis.scores.score_rows import EXPERT, SCHEMES

FloatArray = npt.NDArray[np.float64]
Series = tuple[str, str]


def non_inferiorities(scores: pd.DataFrame, margin: float, *, confidence_level: float = 0.95
                      ) -> pd.DataFrame:
    """Maps against the expert, and every map against every other, one-sided.

    Parameters
    ----------
    scores : pandas.DataFrame
        Table of :func:`saltrust.analysis.scores.scored_maps.score_maps`, of maps and of those who
        stand for the expert, whose mean is compared.
    margin : float
        In IoU, and in hit rate; above 0.
    confidence_level : float
        One minus the level of the test.

    Returns
    -------
    pandas.DataFrame
        ``finding, metric, contrast`` (``A - expert``, ``A - B`` in both directions; findings,
        then the mean over those that have images of both), the uniform columns, ``lower_bound``
        (one-sided), ``margin`` and ``non_inferior``: ``yes`` where ``p_adjusted < 1 -
        confidence_level``, else ``no``; empty where there is no test. ``p_value`` is that of t =
        (estimate + margin) / error, CR2 by patient with Satterthwaite's degrees of freedom,
        adjusted by Holm: over the maps against the expert of a metric and finding, and over the
        pairs of maps; without adjustment the lower bound lies above minus the margin where the
        test rejects. Fewer than ten patients are not tested.

    References
    ----------
    G. Piaggio et al. (2012), JAMA 308, 2594-2604.
    """
    check_confidence_level(confidence_level)
    table = checked(with_mean_expert(scores))
    clusters = unit_clusters(table)
    rows: list[dict[str, Any]] = []
    families: list[str] = []
    for metric in SCHEMES:
        values, columns = score_matrix(table, metric)
        place = {column: values[:, k] for k, column in enumerate(columns)}
        findings = list(dict.fromkeys(finding for finding, _, _ in columns))
        maps = list(dict.fromkeys((e, m) for _, e, m in columns if e != EXPERT))
        against = [(one, MEAN_EXPERT) for one in maps] if any(
            e == EXPERT for _, e, _ in columns) else []
        several = len({model for _, model in maps}) > 1
        for one, two in [*against, *permutations(maps, 2)]:
            shared = [f for f in findings if (f, *one) in place and (f, *two) in place]
            differences = [place[f, *one] - place[f, *two] for f in shared]
            for finding, block in _blocks(shared, differences, clusters):
                made = _estimate(block, margin, confidence_level)
                rows.append({"finding": finding, "metric": metric,
                             "contrast": contrast_name(one, two, models=several),
                             **made.row("non-inferiority")})
                families.append(f"{metric}, {finding}, "
                                f"{'expert' if two == MEAN_EXPERT else 'pairs of maps'}")
    made_table = estimates_table(rows, ("finding", "metric", "contrast"))
    names = pd.Series(families, dtype=object, index=made_table.index)
    adjusted = adjust_families(made_table, names, "holm",
                               {str(name): int(size) for name, size in
                                names.value_counts().items()})
    verdict = np.where(adjusted["p_adjusted"] < 1 - confidence_level, "yes", "no")
    bound = adjusted["estimate"] - stdtrit(adjusted["df"], confidence_level) * adjusted["std_error"]
    return adjusted.assign(lower_bound=bound, margin=margin, non_inferior=np.where(
        adjusted["p_adjusted"].notna(), verdict, ""))


def _blocks(findings: Sequence[str], differences: Sequence[FloatArray],
            clusters: npt.NDArray[Any]) -> Iterator[tuple[str, Block | None]]:
    for finding, values in zip(findings, differences, strict=True):
        yield finding, mean_block(values, clusters)
    if len(findings) > 1:
        known = [values for values in differences if not np.isnan(values).all()]
        yield AVERAGE, average_block(np.column_stack(known), clusters) if known else None


def _estimate(block: Block | None, margin: float, confidence_level: float) -> Estimate:
    if block is None:
        return Estimate(note="no image that both have")
    n, count = len(block.response), len(set(block.clusters.tolist()))
    fit = combine([block])
    if fit is None:
        return Estimate(n=n, note="1 patient: not tested")
    value, error, df = fit.single([1.0])
    if count < FEWEST_PATIENTS:
        return Estimate(value, n=n, note=f"{count} patients, fewer than {FEWEST_PATIENTS}: not "
                                         "tested")
    if fit.settled_by_one.any() or not error > 1e-12:
        return Estimate(value, n=n, note="one patient alone settles a part of it: not tested"
                        if fit.settled_by_one.any() else
                        "no variation between patients: not tested")
    half = float(stdtrit(df, (1 + confidence_level) / 2)) * error
    statistic = (value + margin) / error
    return Estimate(value, error, value - half, value + half, statistic, df,
                    float(stdtr(df, -statistic)), n)
