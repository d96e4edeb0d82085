"""Utility by subgroup: means of the deciding metric, and explainers against their baselines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from saltrust.analysis.inference.subgroups import (
    HETEROGENEITY,
    INTERACTION,
    Compared,
    Quantity,
    mean_block,
    profile_block,
    subgroup_tables,
)
from saltrust.analysis.stored.maps import LOCALIZER, RANDOMIZED, TRAINED
from saltrust.analysis.stored.subgroups import Grouping
from saltrust.analysis.trustworthiness.utility_scores import BASELINE

IDENTIFY = ("finding", "explainer", "baseline", "model", "metric")
#: In the place of an explainer where a test is of all maps of a model together.
ALL_MAPS = "all explainers"


def utility_subgroups(scores: pd.DataFrame, metric: str, random: str,
                      groupings: Sequence[Grouping], *, confidence_level: float = 0.95
                      ) -> dict[str, pd.DataFrame]:
    """Tables of :func:`saltrust.analysis.inference.subgroups.subgroup_tables` of utility.

    Parameters
    ----------
    scores : pandas.DataFrame
        With the columns of :data:`saltrust.analysis.trustworthiness.utility_scores.SCORE_COLUMNS`.
    metric : str
        The column that decides.
    random : str
        What the baseline of random weights is called.
    groupings : sequence of Grouping
    confidence_level : float

    Returns
    -------
    dict of str to pandas.DataFrame
        Identified by ``finding, explainer, baseline, model, metric``.  Term ``mean`` of every
        trained map, baseline and localizer (``baseline`` empty); term ``difference`` of every
        explainer less each of its baselines, on the images of both; and a test of all explainers
        of a model against group.  A family has the tests of a finding and term.
    """
    compared = [Compared(grouping.by, grouping.groups,
                         [quantity for finding, of_finding in scores.groupby("finding", sort=False)
                          for quantity in _quantities(str(finding), of_finding, (metric, random),
                                                      grouping)])
                for grouping in groupings]
    return subgroup_tables(compared, IDENTIFY, confidence_level=confidence_level)


def _quantities(finding: str, scores: pd.DataFrame, names: tuple[str, str], grouping: Grouping
                ) -> Iterator[Quantity]:
    metric, random = names
    # Replicates of random weights are averaged per image.
    wide = scores.pivot_table(index=["image", "patient"], columns=["condition", "model",
                                                                    "explainer"],
                              values=metric, aggfunc="mean", sort=False)
    clusters = wide.index.get_level_values("patient").to_numpy(dtype=object)
    labels = grouping.labels(wide.index.get_level_values("image"))
    at = {group: np.flatnonzero(labels == group) for group in grouping.groups}
    columns = [tuple(map(str, column)) for column in wide.columns.tolist()]
    values = dict(zip(columns, wide.to_numpy(dtype=np.float64).T, strict=True))
    trained = [one for one in columns if one[0] == TRAINED]
    fixed = [one for one in columns if one[0] in {BASELINE, LOCALIZER}]

    def quantity(explainer: str, baseline: str, model: str, data: np.ndarray) -> Quantity:
        blocks = {group: block for group, rows in at.items()
                  if (block := mean_block(data[rows], clusters[rows])) is not None}
        term = "difference" if baseline else "mean"
        return Quantity({"finding": finding, "explainer": explainer, "baseline": baseline,
                         "model": model, "metric": metric}, term, blocks, f"{finding}, {term}",
                        INTERACTION if baseline else HETEROGENEITY,
                        (-1.0, 1.0) if baseline else (0.0, 1.0))

    for one in [*trained, *fixed]:
        yield quantity(one[2], "", one[1], values[one])
    for one in trained:
        _, model, explainer = one
        for other in fixed:
            yield quantity(explainer, other[2], model, values[one] - values[other])
        weights = (RANDOMIZED, model, explainer)
        if weights in values:
            yield quantity(explainer, random, model, values[one] - values[weights])
    for model in dict.fromkeys(model for _, model, _ in trained):
        profile = np.column_stack([values[one] for one in trained if one[1] == model])
        if profile.shape[1] > 1:
            blocks = {group: block for group, rows in at.items()
                      if (block := profile_block(profile[rows], clusters[rows])) is not None}
            yield Quantity({"finding": finding, "explainer": ALL_MAPS, "baseline": "",
                            "model": model, "metric": metric}, "difference", blocks,
                           f"{finding}, explainers", INTERACTION, joint=profile.shape[1])
