"""Localization by subgroup: means, distance from the expert, and explainers against groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from saltrust.analysis.inference.subgroups import (
    HETEROGENEITY,
    INTERACTION,
    Compared,
    Quantity,
    average_block,
    mean_block,
    profile_block,
    subgroup_tables,
)
from saltrust.analysis.inference.wald import Block
from saltrust.analysis.localization.summary import (
    AVERAGE,
    MEAN_EXPERT,
    Column,
    checked,
    identity_of,
    score_matrix,
    unit_clusters,
    with_mean_expert,
)
from saltrust.analysis.scores.score_rows import EXPERT, SCHEMES, Scheme
from saltrust.analysis.stored.subgroups import Grouping

FloatArray = npt.NDArray[np.float64]

IDENTIFY = ("finding", "explainer", "model", "metric")
#: In the place of an explainer where a test is of all maps of a model together.
ALL_MAPS = "all explainers"


def localization_subgroups(scores: pd.DataFrame, groupings: Sequence[Grouping], *,
                           confidence_level: float = 0.95) -> dict[str, pd.DataFrame]:
    """Tables of :func:`saltrust.analysis.inference.subgroups.subgroup_tables` of scores.

    Parameters
    ----------
    scores : pandas.DataFrame
        Table of :func:`saltrust.analysis.scores.scored_maps.score_maps`, of maps and of those who
        stand for the expert.
    groupings : sequence of Grouping
    confidence_level : float

    Returns
    -------
    dict of str to pandas.DataFrame
        Identified by ``finding, explainer, model, metric``.  Per finding and averaged over those
        findings that every group has: term ``mean`` of every map and of the expert, and term
        ``difference``, expert minus map on the images of both.  Tests: ``heterogeneity`` of means,
        ``interaction`` of expert or map with group, and of all explainers of a model with group
        (:data:`ALL_MAPS`).  A family has the tests of a metric, finding and term.
    """
    table = checked(with_mean_expert(scores))
    clusters = unit_clusters(table)
    images = table.drop_duplicates(["image", "reader"])["image"]
    compared = []
    for grouping in groupings:
        labels = grouping.labels(images)
        at = {group: np.flatnonzero(labels == group) for group in grouping.groups}
        compared.append(Compared(grouping.by, grouping.groups, [
            quantity for metric in SCHEMES
            for quantity in _quantities(table, metric, clusters, at)]))
    return subgroup_tables(compared, IDENTIFY, confidence_level=confidence_level)


def _quantities(table: pd.DataFrame, metric: Scheme, clusters: npt.NDArray[Any],
                at: dict[str, npt.NDArray[np.intp]]) -> Iterator[Quantity]:
    values, columns = score_matrix(table, metric)
    place = {column: k for k, column in enumerate(columns)}
    findings = list(dict.fromkeys(finding for finding, _, _ in columns))
    series = list(dict.fromkeys((e, m) for _, e, m in columns))
    maps = [one for one in series if one[0] != EXPERT]

    def of(finding: str, one: tuple[str, str]) -> FloatArray:
        k = place.get((finding, *one))
        return np.full(len(values), np.nan) if k is None else values[:, k]

    def quantity(column: Column, data: FloatArray, term: str) -> Quantity:
        made = mean_block if data.ndim == 1 else average_block
        if data.ndim == 2:
            # An average is over the same findings in every group.
            data = data[:, [all((~np.isnan(data[rows, k])).any() for rows in at.values())
                            for k in range(data.shape[1])]]
        blocks = {group: block for group, rows in at.items()
                  if (block := made(data[rows], clusters[rows])) is not None}
        mean = term == "mean"
        return Quantity(identity_of(column, metric), term, blocks,
                        f"{metric}, {column[0]}, {term}", HETEROGENEITY if mean else INTERACTION,
                        (0.0, 1.0) if mean else (-1.0, 1.0))

    for finding in [*findings, *([AVERAGE] if len(findings) > 1 else [])]:
        members = findings if finding == AVERAGE else [finding]
        data = {one: np.column_stack([of(name, one) for name in members]) for one in series}
        if finding != AVERAGE:
            data = {one: matrix[:, 0] for one, matrix in data.items()}
        for one in series:
            yield quantity((finding, *one), data[one], "mean")
        if MEAN_EXPERT in series:
            for one in maps:
                yield quantity((finding, *one), data[MEAN_EXPERT] - data[one], "difference")
        if finding == AVERAGE:
            continue
        for model in dict.fromkeys(model for _, model in maps):
            profile = np.column_stack([data[one] for one in maps if one[1] == model])
            if profile.shape[1] > 1:
                yield _explainers(profile, clusters, at, (finding, model, metric))


def _explainers(profile: FloatArray, clusters: npt.NDArray[Any],
                at: dict[str, npt.NDArray[np.intp]], names: tuple[str, str, Scheme]) -> Quantity:
    """Whether explainers differ from each other in one group as in the others."""
    finding, model, metric = names
    blocks: dict[str, Block] = {
        group: block for group, rows in at.items()
        if (block := profile_block(profile[rows], clusters[rows])) is not None}
    return Quantity(identity_of((finding, ALL_MAPS, model), metric), "difference", blocks,
                    f"{metric}, {finding}, explainers", INTERACTION, joint=profile.shape[1])
