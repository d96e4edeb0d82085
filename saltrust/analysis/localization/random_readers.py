"""Maps against benchmark readers who are a sample of readers, beside the mean of just these.

The mean over the readers of an image says how maps compare with these readers; whether they
compare so with others of their kind is a test in which readers vary as well as patients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from saltrust.analysis.inference.bootstrap import FEWEST_PATIENTS, left_out_means
from saltrust.analysis.inference.estimate import Estimate, check_confidence_level, estimates_table
from saltrust.analysis.inference.multiplicity import adjust_families
from saltrust.analysis.inference.multireader.random_readers import readers_against_one
from saltrust.analysis.localization.expert_tests import family_of
from saltrust.analysis.localization.summary import (
    AVERAGE,
    IDENTIFY,
    Column,
    checked,
    identity_of,
    score_matrix,
    unit_clusters,
)
from saltrust.analysis.scores.score_rows import EXPERT, SCHEMES, Scheme

FloatArray = npt.NDArray[np.float64]

#: From as many readers on, it is the test of the protocol.
ENOUGH_READERS = 3
_MOVED = ("statistic", "df", "p_value", "p_adjusted", "adjustment", "family")


@dataclass(frozen=True)
class _AgainstMap:
    """Figures of readers and of a map, of one finding or averaged, and without each patient.

    Attributes
    ----------
    readers, of_map : ndarray of float64, shape (J,)
        Of the map on the images of each reader.
    readers_left_out, map_left_out : ndarray of float64, shape (G, J)
    present : ndarray of bool, shape (G,)
        Patients who have a part in any.
    n : int
        Rows of map and readers.
    """

    readers: FloatArray
    of_map: FloatArray
    readers_left_out: FloatArray
    map_left_out: FloatArray
    present: npt.NDArray[np.bool_]
    n: int

    def estimate(self, confidence_level: float) -> Estimate:
        """Readers minus map, with the test in which readers are random."""
        with_cases = np.isfinite(self.readers) & np.isfinite(self.of_map)
        patients = int(self.present.sum())
        made = readers_against_one(
            self.readers[with_cases], self.of_map[with_cases],
            self.readers_left_out[self.present][:, with_cases],
            self.map_left_out[self.present][:, with_cases], self.n,
            confidence_level=confidence_level)
        if patients < FEWEST_PATIENTS and not made.note:
            return Estimate(estimate=made.estimate, n=self.n,
                            note=f"fewer than {FEWEST_PATIENTS} patients: no test and no interval")
        if int(with_cases.sum()) == 2 and not made.note:
            return replace(made, note=f"2 readers: {made.df:.3g} degrees of freedom")
        return made


def random_readers(scores: pd.DataFrame, *, paired: Collection[Scheme] = SCHEMES,
                   confidence_level: float = 0.95) -> pd.DataFrame:
    """Every map against the benchmark readers, of whom there may be more.

    Parameters
    ----------
    scores : pandas.DataFrame
        Table of :func:`saltrust.analysis.scores.scored_maps.score_maps`.
    paired : collection of {"iou", "hit"}
        For which metrics a map and a reader are compared on the images that both have.
    confidence_level : float

    Returns
    -------
    pandas.DataFrame
        ``finding, explainer, model, metric``, the uniform columns of the mean of readers minus
        map (:func:`saltrust.analysis.inference.multireader.random_readers.readers_against_one`;
        p by Holm over the findings of a map and metric) and ``readers``, how many there are.
        The finding ``average`` is the mean over those that all readers have.  No rows without
        two readers.

    Raises
    ------
    DataError
        If the table lacks a column or repeats rows.
    UsageError
        If the confidence level is out of range.
    """
    check_confidence_level(confidence_level)
    table = checked(scores)
    clusters = unit_clusters(table)
    rows = []
    families: list[str] = []
    people = benchmark_readers(table)
    for metric in SCHEMES if len(people) > 1 else ():
        values, columns = score_matrix(table, metric)
        for explainer, model in dict.fromkeys(c[1:] for c in columns if c[1] != EXPERT):
            made = _by_finding(values, columns, (explainer, model), people, clusters,
                               paired=metric in paired)
            for finding, one in made.items():
                column = (finding, explainer, model)
                rows.append({**identity_of(column, metric),
                             **one.estimate(confidence_level).row("readers - map"),
                             "readers": int((np.isfinite(one.readers)
                                             & np.isfinite(one.of_map)).sum())})
                families.append(f"{metric}, {family_of(column)}")
    named = estimates_table(rows, IDENTIFY, ("readers",)).astype({"readers": "int64"})
    return adjust_families(named, pd.Series(families, dtype=str), "holm", Counter(families))


def benchmark_readers(scores: pd.DataFrame) -> list[str]:
    """Names of the people among the scores."""
    return list(dict.fromkeys(map(str, scores.loc[scores["explainer"] == EXPERT, "model"])))


def decreases_among_readers(falls: pd.DataFrame, tests: pd.DataFrame) -> pd.DataFrame:
    """A table of decreases whose test is of random readers, where there are enough of them.

    Parameters
    ----------
    falls : pandas.DataFrame
        Of :func:`saltrust.analysis.localization.decreases.decrease`; not changed.
    tests : pandas.DataFrame
        Of :func:`random_readers`.

    Returns
    -------
    pandas.DataFrame
        With ``mean_reader_p_value`` and ``mean_reader_p_adjusted``, which the table had in the
        place of the others; as it is where no test has three readers.
    """
    if not len(tests) or tests["readers"].max() < ENOUGH_READERS:
        return falls
    by_name = tests.set_index(list(IDENTIFY)).reindex(pd.MultiIndex.from_frame(
        falls[list(IDENTIFY)]))
    filled = falls.assign(mean_reader_p_value=falls["p_value"],
                          mean_reader_p_adjusted=falls["p_adjusted"])
    for name in _MOVED:
        filled[name] = by_name[name].to_numpy()
    notes = by_name["note"].to_numpy(dtype=object)
    filled["note"] = ["; ".join(dict.fromkeys(filter(None, pair))) for pair in
                      zip(falls["note"], notes, strict=True)]
    return filled


def _by_finding(values: FloatArray, columns: Sequence[Column], series: tuple[str, str],
                people: Sequence[str], clusters: npt.ArrayLike, *, paired: bool
                ) -> Mapping[str, _AgainstMap]:
    at = {column: k for k, column in enumerate(columns)}
    nobody = np.full(len(values), np.nan)
    made = {}
    for finding in dict.fromkeys(column[0] for column in columns if column[1:] == series):
        of_map = np.repeat(values[:, [at[(finding, *series)]]], len(people), axis=1)
        read = np.stack([values[:, at[finding, EXPERT, name]] if (finding, EXPERT, name) in at
                         else nobody for name in people], axis=1)
        if paired:
            either = np.isnan(of_map) | np.isnan(read)
            of_map, read = (np.where(either, np.nan, part) for part in (of_map, read))
        made[finding] = _compared(read, of_map, clusters)
    complete = [one for one in made.values()
                if np.isfinite(one.readers).all() and np.isfinite(one.of_map).all()]
    nothing = np.full(len(people), np.nan)
    if not complete:
        one = next(iter(made.values()))
        made[AVERAGE] = replace(one, readers=nothing, of_map=nothing, n=0)
    else:
        made[AVERAGE] = _AgainstMap(
            np.mean([one.readers for one in complete], axis=0),
            np.mean([one.of_map for one in complete], axis=0),
            np.mean([one.readers_left_out for one in complete], axis=0),
            np.mean([one.map_left_out for one in complete], axis=0),
            np.logical_or.reduce([one.present for one in complete]),
            sum(one.n for one in complete))
    return made


def _compared(read: FloatArray, of_map: FloatArray, clusters: npt.ArrayLike) -> _AgainstMap:
    count = read.shape[1]
    both = np.hstack([read, of_map])
    known = ~np.isnan(both)
    totals = known.sum(axis=0)
    means = np.divide(np.where(known, both, 0.0).sum(axis=0), totals,
                      out=np.full(2 * count, np.nan), where=totals > 0)
    left_out, present = left_out_means(both, clusters)
    return _AgainstMap(means[:count], means[count:], left_out[:, :count], left_out[:, count:],
                       np.asarray(present.any(axis=1)),
                       int((known[:, :count].any(axis=1) & known[:, count:].any(axis=1)).sum()))
