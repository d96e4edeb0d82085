"""Estimated marginal means: predictions averaged over a balanced grid, as emmeans defines them.

S. R. Searle, F. M. Speed and G. A. Milliken (1980), Am. Stat. 34, 216-221.  All combinations
of the other factors' levels weigh equally; covariates are held at their mean, but those with
one or two distinct values are averaged over these, as emmeans does with indicators.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from saltrust.analysis.mixed.design import Coding
from saltrust.analysis.mixed.frame import FloatArray, ModelFrame
from saltrust.errors import DataError

_LARGEST_GRID = 2_000_000
_KEPT_VALUES = 2


def mean_rows(coding: Coding, frame: ModelFrame, over: str) -> FloatArray:
    """Combinations of the model-matrix columns that give the marginal means of a factor.

    Parameters
    ----------
    coding : Coding
    frame : ModelFrame
    over : str
        A categorical fixed effect.

    Returns
    -------
    ndarray of float64, shape (levels, columns)

    Raises
    ------
    DataError
        If the other factors have too many combinations to average over.
    """
    others: dict[str, npt.NDArray[np.generic]] = {
        name: np.arange(len(levels)) for name, levels in coding.levels.items() if name != over}
    others |= {name: grid_values(values) for name, values in frame.covariates.items()}
    size = int(np.prod([len(values) for values in others.values()], dtype=np.int64))
    levels = len(coding.levels[over])
    if size * levels > _LARGEST_GRID:
        raise DataError(f"the marginal means of {over} average over {size} combinations of "
                        f"{', '.join(others)}, which are too many; group some of their levels")
    values: dict[str, npt.NDArray[np.generic]] = {
        name: mesh.ravel() for name, mesh in
        zip(others, np.meshgrid(*others.values(), indexing="ij"), strict=True)} if others else {}
    rows = []
    for level in range(levels):
        values[over] = np.full(size, level)
        rows.append(coding.matrix(values, size).mean(axis=0))
    return np.vstack(rows)


def grid_values(covariate: FloatArray) -> FloatArray:
    """Where a covariate is held: at its one or two values, else at its mean."""
    distinct = np.unique(covariate)
    return distinct if len(distinct) <= _KEPT_VALUES else np.array([covariate.mean()])
