"""Whether expert and saliency map differ: the test beside every percentage decrease.

A decrease is zero where the two means are equal, so that the means are compared, which have an
error where the expert's mean is small too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from saltrust.analysis.inference.max_t import resamples_for, step_down
from saltrust.analysis.localization.study_wide import STUDY
from saltrust.analysis.localization.summary import AVERAGE, Column

FloatArray = npt.NDArray[np.float64]


class ExpertTest(NamedTuple):
    """Test of expert against map.

    Attributes
    ----------
    statistic : float
        Difference of the means, expert minus map, over its error by patient.
    p_value, p_adjusted : float
        For the finding alone, and for all findings of the map and metric.
    """

    statistic: float
    p_value: float
    p_adjusted: float


def expert_tests(expert: FloatArray, saliency: FloatArray, columns: Sequence[Column],
                 clusters: npt.NDArray[Any], *, resamples: int = 1000, seed: int = 0,
                 together: bool = False) -> Mapping[Column, ExpertTest]:
    """Test the mean of the expert against that of the map, in every finding and on average.

    Step-down max-T over patients (:func:`saltrust.analysis.inference.max_t.step_down`): on the
    same images that is the test of their paired differences; where each has images of its own,
    patients are drawn with all that they add to either mean.

    Parameters
    ----------
    expert, saliency : ndarray, shape (units, k)
        NaN where there is no score.
    columns : sequence of (finding, explainer, model), length k
        One of each; the findings of a map are adjusted for each other, the mean over findings
        is a family of its own.
    clusters : ndarray, shape (units,)
        Patients.
    resamples : int
        At least; a family has as many as it needs.
    seed : int
    together : bool
        Whether all maps and findings are one family.

    Returns
    -------
    dict of (finding, explainer, model) to ExpertTest
        Also of the finding ``average``; NaN where nothing varies, or one has no score.
    """
    count = len(columns)
    known = np.logical_and((~np.isnan(expert)).any(axis=0), (~np.isnan(saliency)).any(axis=0))
    names: list[Column] = []
    averaged: list[npt.NDArray[np.intp]] = []
    for _, explainer, model in dict.fromkeys((AVERAGE, *column[1:]) for column in columns):
        places = [k for k, column in enumerate(columns) if column[1:] == (explainer, model)]
        names += [columns[k] for k in places] + [(AVERAGE, explainer, model)]
        averaged += [np.array([k, count + k]) for k in places]
        with_scores = np.array([k for k in places if known[k]], dtype=np.intp)
        averaged.append(np.concatenate([with_scores, count + with_scores]))
    families = [STUDY if together else family_of(name) for name in names]
    largest = max((families.count(name) for name in families), default=1)
    # The mean of one column and another's negative is half of the difference of their means.
    made = step_down(np.hstack([expert, -saliency]), clusters, averaged, families,
                     resamples=resamples_for(largest, resamples), seed=seed)
    return {name: ExpertTest(*map(float, values)) for name, *values in zip(
        names, made.statistic, made.p_value, made.p_adjusted, strict=True)}


def family_of(column: Column) -> str:
    """Which tests a row is adjusted with: the findings of a map, or the mean over them.

    Examples
    --------
    >>> family_of(("Edema", "gradcam", "net")), family_of(("average", "gradcam", ""))
    ('gradcam, net', 'gradcam, average')
    """
    finding, explainer, model = column
    names = [name for name in (explainer, model) if name]
    return ", ".join([*names, AVERAGE] if finding == AVERAGE else names)
