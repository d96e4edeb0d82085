"""Estimated marginal means: predictions averaged over a balanced grid, as emmeans defines them.

S. R. Searle, F. M. Speed and G. A. Milliken (1980), Am. Stat. 34, 216-221.  All combinations
of the other factors' levels weigh equally; covariates are held at their mean, but those with
one or two distinct values are averaged over these, as emmeans does with indicators.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

from saltrust.analysis.mixed.design import Coding
from saltrust.analysis.mixed.frame import FloatArray, ModelFrame
from saltrust.errors import DataError

_LARGEST_GRID = 2_000_000
_KEPT_VALUES = 2


def mean_rows(coding: Coding, frame: ModelFrame, over: str | Sequence[str]) -> FloatArray:
    """Combinations of the model-matrix columns that give the marginal means of factors.

    Parameters
    ----------
    coding : Coding
    frame : ModelFrame
    over : str or sequence of str
        Categorical fixed effects; the levels of the first vary fastest.

    Returns
    -------
    ndarray of float64, shape (cells, columns)

    Raises
    ------
    DataError
        If the other factors have too many combinations to average over.
    """
    over = [over] if isinstance(over, str) else list(over)
    others: dict[str, npt.NDArray[np.generic]] = {
        name: np.arange(len(levels)) for name, levels in coding.levels.items()
        if name not in over}
    others |= {name: grid_values(values) for name, values in frame.covariates.items()}
    size = int(np.prod([len(values) for values in others.values()], dtype=np.int64))
    cells = list(product(*(range(len(coding.levels[name])) for name in reversed(over))))
    if size * len(cells) > _LARGEST_GRID:
        raise DataError(f"the marginal means of {' and '.join(over)} average over "
                        f"{size} combinations of {', '.join(others)}, which "
                        "are too many; group some of their levels")
    values: dict[str, npt.NDArray[np.generic]] = {
        name: mesh.ravel() for name, mesh in
        zip(others, np.meshgrid(*others.values(), indexing="ij"), strict=True)} if others else {}
    rows = []
    for codes in cells:
        values |= {name: np.full(size, code)
                   for name, code in zip(reversed(over), codes, strict=True)}
        rows.append(coding.matrix(values, size).mean(axis=0))
    return np.vstack(rows)


def grid_values(covariate: FloatArray) -> FloatArray:
    """Where a covariate is held: at its one or two values, else at its mean."""
    distinct = np.unique(covariate)
    return distinct if len(distinct) <= _KEPT_VALUES else np.array([covariate.mean()])
