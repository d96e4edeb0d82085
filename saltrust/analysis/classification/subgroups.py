"""Areas under ROC curves by subgroup, differences between groups, and models against groups."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from scipy.stats import rankdata

from saltrust.analysis.classification.auc_rows import MACRO, Cases, cases_by_finding
from saltrust.analysis.inference.bootstrap import FEWEST_PATIENTS
from saltrust.analysis.inference.subgroups import (
    HETEROGENEITY,
    INTERACTION,
    Compared,
    Quantity,
    subgroup_tables,
)
from saltrust.analysis.inference.wald import Block
from saltrust.analysis.stored.examinations import examinations_of
from saltrust.analysis.stored.images import images_of
from saltrust.analysis.stored.subgroups import Grouping
from saltrust.choices import CaseLevel

FloatArray = npt.NDArray[np.float64]

IDENTIFY = ("finding", "model")
_log = logging.getLogger(__name__)


def classification_subgroups(cases: pd.DataFrame, cubes: xr.DataTree, level: CaseLevel,
                             groupings: Sequence[Grouping], *, confidence_level: float = 0.95
                             ) -> dict[str, pd.DataFrame]:
    """Tables of :func:`saltrust.analysis.inference.subgroups.subgroup_tables` of areas.

    Parameters
    ----------
    cases : pandas.DataFrame
        Of :func:`saltrust.analysis.classification.cases.case_table`.
    cubes : xarray.DataTree
        For the images of examinations.
    level : {'image', 'study'}
        An examination whose images lie in several groups is in none.
    groupings : sequence of Grouping
    confidence_level : float

    Returns
    -------
    dict of str to pandas.DataFrame
        Identified by ``finding, model``.  Per finding, and averaged over the findings that have
        both classes in every group: term ``auc`` of every model and term ``difference`` of every
        pair (``A - B`` in ``model``).  An area is compared by the placements of its cases, whose
        clustered covariance is DeLong's and Obuchowski's but for the corrections of CR2.  A group
        with fewer than ten patients of a class (added up over findings in the average) is not
        tested.
    """
    models = list(dict.fromkeys(cases["model"]))
    compared = []
    for grouping in groupings:
        labels = _case_labels(cubes, level, grouping)
        group = cases["case"].map(lambda case, of=labels: of.get(str(case), ""))
        by_group = {name: cases_by_finding(cases[group == name], models)
                    for name in grouping.groups}
        findings = list(dict.fromkeys(cases["finding"]))
        compared.append(Compared(grouping.by, grouping.groups,
                                 list(_quantities(by_group, findings, models))))
    return subgroup_tables(compared, IDENTIFY, confidence_level=confidence_level)


def _case_labels(cubes: xr.DataTree, level: CaseLevel, grouping: Grouping) -> dict[str, str]:
    """Group of every case that is in one."""
    if level == "image":
        return grouping.of_image
    images = images_of(cubes).names
    names, members = examinations_of(cubes)
    sets = [set(grouping.labels([images[i] for i in rows])) - {""} for rows in members]
    mixed = [name for name, groups in zip(names, sets, strict=True) if len(groups) > 1]
    if mixed:
        _log.warning("%d examinations have images in several groups of %s and are in none, such "
                     "as %s; say --level image to compare images", len(mixed), grouping.by,
                     mixed[0])
    return {name: groups.pop() for name, groups in zip(names, sets, strict=True)
            if len(groups) == 1}


def _quantities(by_group: Mapping[str, Mapping[str, Cases]], findings: Sequence[str],
                models: Sequence[str]) -> Iterator[Quantity]:
    series: list[tuple[str, tuple[int, ...]]] = [(model, (k,)) for k, model in enumerate(models)]
    series += [(f"{models[a]} - {models[b]}", (a, b))
               for a, b in combinations(range(len(models)), 2)]
    shared = [finding for finding in findings
              if all(_both(of_group.get(finding)) for of_group in by_group.values())]
    for finding in [*findings, *([MACRO] if len(findings) > 1 else [])]:
        members = shared if finding == MACRO else [finding]
        for name, columns in series:
            blocks = {group: auc_block([of_group[member] for member in members], columns)
                      for group, of_group in by_group.items()
                      if members and all(_both(of_group.get(member)) for member in members)}
            untested = {group: few for group, of_group in by_group.items() if group in blocks
                        and (few := _few([of_group[member] for member in members]))}
            term = "auc" if len(columns) == 1 else "difference"
            yield Quantity({"finding": finding, "model": name}, term, blocks, f"{finding}, {term}",
                           HETEROGENEITY if term == "auc" else INTERACTION,
                           (0.0, 1.0) if term == "auc" else (-1.0, 1.0), "no case of one class",
                           untested)


def _both(cases: Cases | None) -> bool:
    """Whether there are cases of both classes."""
    return cases is not None and bool(cases.positive.any() and not cases.positive.all())


def _few(findings: Sequence[Cases]) -> str:
    """Why areas are not tested: patients of a class, added up over findings, are too few."""
    for positive in (True, False):
        count = sum(len(set(cases.patients[cases.positive == positive])) for cases in findings)
        if count < FEWEST_PATIENTS:
            kind = "positive" if positive else "negative"
            return (f"{count} patient{'s' * (count != 1)} with a {kind} case, fewer than "
                    f"{FEWEST_PATIENTS}: not tested")
    return ""


def auc_block(findings: Sequence[Cases], columns: Sequence[int]) -> Block:
    """The mean over findings of an area, or of a difference of two.

    An area is the mean placement of the positives and of the negatives alike; half of it is taken
    from either, so that the sum of both means is the area and its variance the sum of theirs.
    """
    responses: list[FloatArray] = []
    cells: list[npt.NDArray[np.intp]] = []
    patients: list[npt.NDArray[Any]] = []
    for k, cases in enumerate(findings):
        placed = _placements(cases.positive, cases.probability[:, columns[0]])
        if len(columns) == 2:
            placed = placed - _placements(cases.positive, cases.probability[:, columns[1]])
        responses.append(placed - placed[cases.positive].mean() / 2)
        cells.append(2 * k + cases.positive.astype(np.intp))
        patients.append(cases.patients)
    count = len(findings)
    return Block(np.eye(2 * count)[np.concatenate(cells)], np.concatenate(responses),
                 np.concatenate(patients), np.full((1, 2 * count), 1 / count))


def _placements(positive: npt.NDArray[np.bool_], scores: FloatArray) -> FloatArray:
    """Share of cases of the other class on the right side of each, ties counting one half."""
    ranks = rankdata(scores)
    placed = np.empty(len(scores))
    m, n = int(positive.sum()), int((~positive).sum())
    placed[positive] = (ranks[positive] - rankdata(scores[positive])) / n
    placed[~positive] = 1 - (ranks[~positive] - rankdata(scores[~positive])) / m
    return placed
