"""The rows of a model for lme4: complete, categorical where they group or are no numbers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from saltrust.analysis.mixed.frame import Factor, FloatArray, ModelFrame
from saltrust.analysis.mixed.lme4.formula import VerbatimFormula
from saltrust.errors import DataError, UsageError, nearest


@dataclass(frozen=True)
class VerbatimData:
    """Complete rows.

    Attributes
    ----------
    numbers : dict of str to ndarray of float64, shape (n,)
    factors : dict of str to Factor
        Levels in order of first appearance.
    weights : ndarray of float64, shape (n,), or None
    rows_read : int
    missing : dict of str to int
    """

    numbers: dict[str, FloatArray]
    factors: dict[str, Factor]
    weights: FloatArray | None
    rows_read: int
    missing: dict[str, int]

    @property
    def n(self) -> int:
        """Number of complete rows."""
        values = [*self.numbers.values(), *(factor.codes for factor in self.factors.values())]
        return len(values[0])

    def frame(self, formula: VerbatimFormula) -> ModelFrame:
        """The factors that may be compared, as the other engines have them."""
        factors = {name: self.factors[name] for name in formula.fixed if name in self.factors}
        return ModelFrame(np.empty(0), factors, {}, (), self.rows_read, self.missing)


def verbatim_data(table: pd.DataFrame, formula: VerbatimFormula, *, categorical: Collection[str],
                  weights: str | None, where: str) -> VerbatimData:
    """Keep the complete rows and encode them.

    Parameters
    ----------
    table : pandas.DataFrame
    formula : VerbatimFormula
    categorical : collection of str
        Columns that are categorical even where their levels are numbers.
    weights : str, optional
        Column of weights.
    where : str
        Name of the table in errors.

    Raises
    ------
    DataError
        If no row is complete, or the response or weights are no finite numbers.
    UsageError
        If the table lacks a column.
    """
    wanted = [*formula.columns, *([weights] if weights and weights not in formula.columns else [])]
    for name in wanted:
        if name not in table.columns:
            raise UsageError(f"{'--weights' if name == weights else f'formula {formula.text!r}'} "
                             f"names {name!r}, which is no column of {where}; "
                             f"{nearest(name, map(str, table.columns))}")
    forced = {*formula.grouping, *formula.categorical, *categorical}
    chosen = table[wanted]
    missing = {str(name): int(count) for name, count in chosen.isna().sum().items() if count}
    kept = chosen[chosen.notna().all(axis="columns")]
    if not len(kept):
        counts = ", ".join(f"{name} {count}" for name, count in missing.items())
        raise DataError(f"{where} has no complete row: of {len(table)} rows, missing are {counts}"
                        if counts else f"{where} has a header but no rows")
    numbers: dict[str, FloatArray] = {}
    factors: dict[str, Factor] = {}
    for name in wanted:
        values = None if name in forced else _numbers(kept[name])
        if values is not None:
            if not np.isfinite(values).all():
                raise DataError(f"{name} of {where} has infinite values; remove these rows or "
                                "make them empty")
            numbers[name] = values
            continue
        if name in formula.responses or name == weights:
            raise DataError(f"{name} of {where} has values that are not numbers: the response "
                            "and weights must be numeric")
        codes, levels = pd.factorize(kept[name].map(_as_text))
        factors[name] = Factor(tuple(map(str, levels)), codes.astype(np.int64))
    if weights is not None and not (numbers[weights] > 0).all():
        raise DataError(f"{weights} of {where} has weights that are not positive; leave out these "
                        "rows")
    _check_levels(factors, formula, where)
    return VerbatimData(numbers, factors, None if weights is None else numbers[weights],
                        len(table), missing)


def _check_levels(factors: dict[str, Factor], formula: VerbatimFormula, where: str) -> None:
    for name, factor in factors.items():
        if len(factor.levels) < 2 and name in {*formula.fixed, *formula.grouping}:
            raise DataError(f"{name} has one level only ({factor.levels[0]}) in the complete rows "
                            f"of {where}: leave it out of the formula")


def _numbers(column: pd.Series[Any]) -> FloatArray | None:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return None
    try:
        return pd.to_numeric(column).to_numpy(dtype=np.float64)
    except (ValueError, TypeError):
        return None


def _as_text(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def check_binomial(data: VerbatimData, responses: Collection[str], where: str) -> None:
    """Refuse a response that is no hit, or with weights no share of hits.

    Raises
    ------
    DataError
    """
    for name in responses:
        values = data.numbers[name]
        if data.weights is None and not np.isin(values, (0.0, 1.0)).all():
            raise DataError(f"{name} of {where} is not 0 or 1 in every row, as --family binomial "
                            "needs; shares of hits take their numbers of trials by --weights")
        if not ((values >= 0) & (values <= 1)).all():
            raise DataError(f"{name} of {where} has shares below 0 or above 1")
        if np.ptp(values) == 0:
            raise DataError(f"{name} of {where} is {values[0]:g} in all {data.n} rows: there are "
                            "no odds to compare")
