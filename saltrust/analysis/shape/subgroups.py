"""Slopes of localization on shape by subgroup: does shape matter more in one group?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from saltrust.analysis.inference.subgroups import (
    INTERACTION,
    Compared,
    Quantity,
    slope_block,
    subgroup_tables,
)
from saltrust.analysis.shape.regression_fits import Design
from saltrust.analysis.stored.subgroups import Grouping

IDENTIFY = ("explainer", "model", "scheme", "response", "descriptor")


def regression_subgroups(designs: Sequence[Design], groupings: Sequence[Grouping], *,
                         confidence_level: float = 0.95) -> dict[str, pd.DataFrame]:
    """Tables of :func:`saltrust.analysis.inference.subgroups.subgroup_tables` of slopes.

    Parameters
    ----------
    designs : sequence of Design
        Descriptors are min-max normalised over all rows, so that slopes of groups are on one
        scale.
    groupings : sequence of Grouping
    confidence_level : float

    Returns
    -------
    dict of str to pandas.DataFrame
        Identified by ``explainer, model, scheme, response, descriptor``; the term is ``slope``, of
        a fit with an intercept and a slope for every group.  The test that slopes are equal is
        that of the interaction of descriptor and group.  A family has the tests of an explainer,
        model, scheme and response.
    """
    return subgroup_tables([Compared(grouping.by, grouping.groups,
                                     list(_quantities(designs, grouping)))
                            for grouping in groupings], IDENTIFY,
                           confidence_level=confidence_level)


def _quantities(designs: Sequence[Design], grouping: Grouping) -> Iterator[Quantity]:
    for design in designs:
        labels = grouping.labels(design.image)
        blocks = {}
        for group in grouping.groups:
            rows = np.flatnonzero(labels == group)
            block = None if design.missing else slope_block(
                design.x[rows], design.y[rows].astype(np.float64), design.clusters[rows])
            if block is not None:
                blocks[group] = block
        family = ", ".join(design.name[name] for name in IDENTIFY[:-1] if design.name[name])
        yield Quantity(design.name, "slope", blocks, family, INTERACTION,
                       without=design.missing or "no rows")
