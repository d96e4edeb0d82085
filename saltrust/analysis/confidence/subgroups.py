"""Probability against localization by subgroup: slopes and rank correlations of every group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from saltrust.analysis.inference.correlation import spearman
from saltrust.analysis.inference.rank_jackknife import left_out_spearman
from saltrust.analysis.inference.subgroups import (
    INTERACTION,
    Compared,
    Quantity,
    jackknife_block,
    slope_block,
    subgroup_tables,
)
from saltrust.analysis.inference.wald import Block
from saltrust.analysis.scores.score_rows import (
    SCHEMES,
    check_columns,
    check_scores,
    maps,
    response,
)
from saltrust.analysis.stored.subgroups import Grouping
from saltrust.choices import IouSlice

FloatArray = npt.NDArray[np.float64]

IDENTIFY = ("explainer", "model", "scheme", "finding")


def confidence_subgroups(scores: pd.DataFrame, iou_slice: IouSlice, pooled: str,
                         groupings: Sequence[Grouping], *, confidence_level: float = 0.95
                         ) -> dict[str, pd.DataFrame]:
    """Tables of :func:`saltrust.analysis.inference.subgroups.subgroup_tables` of relations.

    Parameters
    ----------
    scores : pandas.DataFrame
        One row per map on a reference, with ``probability`` and ``cluster``.
    iou_slice : str
        Which overlaps count.
    pooled : str
        What the row of all findings is called, which has an intercept per finding and ranks within
        findings.
    groupings : sequence of Grouping
    confidence_level : float

    Returns
    -------
    dict of str to pandas.DataFrame
        Identified by ``explainer, model, scheme, finding``; terms ``probability`` (slope) and
        ``spearman``, whose error is that of the jackknife over patients.  The test that groups are
        equal is that of the interaction of probability and group.  A family has the tests of an
        explainer, model, scheme and term; the pooled row is a family of its own.
    """
    related = [(*one, scheme, _complete(scores, one, scheme, iou_slice))
               for one in maps(scores) for scheme in SCHEMES]
    compared = []
    for grouping in groupings:
        quantities: list[Quantity] = []
        for explainer, model, scheme, rows in related:
            name = {"explainer": explainer, "model": model, "scheme": scheme}
            labels = grouping.labels(rows["image"])
            at = {group: np.flatnonzero(labels == group) for group in grouping.groups}
            quantities += _quantities(name, rows, at, pooled)
        compared.append(Compared(grouping.by, grouping.groups, quantities))
    return subgroup_tables(compared, IDENTIFY, confidence_level=confidence_level)


def with_probabilities(scores: pd.DataFrame, probabilities: pd.DataFrame, reference: str
                       ) -> pd.DataFrame:
    """Scores on the masks of one reader, with the column ``probability``; NaN where there is none.

    Parameters
    ----------
    scores : pandas.DataFrame
        As table ``scores`` of :func:`saltrust.localization`.
    probabilities : pandas.DataFrame
        Columns ``image, finding, model, probability``.
    reference : str
        Name of the reader.

    Raises
    ------
    DataError
        If a table lacks a column or repeats rows.
    """
    checked = check_scores(scores)
    predicted = check_columns(probabilities, ("image", "finding", "model"), ("probability",),
                              "probabilities")
    return checked[checked["reader"] == reference].merge(
        predicted, on=["image", "finding", "model"], how="left", validate="many_to_one")


def _complete(scores: pd.DataFrame, one: tuple[str, str], scheme: Any, iou_slice: IouSlice
              ) -> pd.DataFrame:
    stored = scores[(scores["explainer"] == one[0]) & (scores["model"] == one[1])]
    rows = stored.assign(score=response(stored, scheme, iou_slice))
    return rows[rows["score"].notna() & rows["probability"].notna()]


def _quantities(name: Mapping[str, str], rows: pd.DataFrame,
                at: Mapping[str, npt.NDArray[np.intp]], pooled: str) -> Iterator[Quantity]:
    finding = rows["finding"].to_numpy(dtype=object)
    x, y = rows["probability"].to_numpy(), rows["score"].to_numpy()
    cluster = rows["cluster"].to_numpy()
    for which in [*dict.fromkeys(finding), pooled]:
        for term in ("probability", "spearman"):
            blocks = {}
            for group, members in at.items():
                chosen = (members if which == pooled else
                          members[finding[members] == which])
                strata = finding[chosen] if which == pooled else None
                made = slope_block if term == "probability" else rank_block
                block = made(x[chosen], y[chosen], cluster[chosen], strata)
                if block is not None:
                    blocks[group] = block
            family = ", ".join([*filter(None, name.values()), term,
                                *(["pooled"] if which == pooled else [])])
            yield Quantity({**name, "finding": str(which)}, term, blocks, family, INTERACTION,
                           (-1.0, 1.0) if term == "spearman" else (-np.inf, np.inf),
                           "no rows, or none that vary")


def rank_block(x: FloatArray, y: FloatArray, clusters: npt.NDArray[Any],
                strata: npt.NDArray[Any] | None) -> Block | None:
    """Spearman's correlation by its pseudo-values; None where one patient alone settles it."""
    if len(x) < 3:
        return None
    rho = spearman(x, y, strata=strata, clusters=clusters).estimate
    if np.isnan(rho) or abs(rho) > 1 - 1e-12:
        return None
    without = left_out_spearman(rho, x, y, clusters, strata=strata)
    if not np.isfinite(without).all():
        return None
    return jackknife_block(rho, without, np.array(list(dict.fromkeys(clusters.tolist()))))
