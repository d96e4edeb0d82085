"""The data of a mixed model: complete rows of the columns that a formula names."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from saltrust.analysis.mixed.formula import Formula, Grouping, NamesColumns
from saltrust.errors import DataError, UsageError, nearest

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
#: Name of the effect of a random intercept, as in R.
INTERCEPT = "(Intercept)"
Coded = tuple[IntArray, npt.NDArray[np.object_]]


@dataclass(frozen=True)
class Factor:
    """A categorical fixed effect: levels in order of first appearance, a code per row."""

    levels: tuple[str, ...]
    codes: IntArray


@dataclass(frozen=True)
class Groups:
    """One random term: its grouping factor, a code per row, how many groups there are.

    Its effects are an intercept, or those of ``columns``, shape (n, effects).
    """

    name: str
    codes: IntArray
    size: int
    effects: tuple[str, ...] = (INTERCEPT,)
    columns: FloatArray | None = None


@dataclass(frozen=True)
class ModelFrame:
    """Complete rows, ready for a model matrix.

    Attributes
    ----------
    response : ndarray of float64, shape (n,)
    factors : dict of str to Factor
        Categorical fixed effects by column.
    covariates : dict of str to ndarray of float64, shape (n,)
        Numeric fixed effects by column.
    groups : tuple of Groups
        Random terms, the one with most groups first, as lme4 orders them.
    rows_read : int
        Rows of the table before incomplete ones were dropped.
    missing : dict of str to int
        Missing values by column, where there are any.
    """

    response: FloatArray
    factors: dict[str, Factor]
    covariates: dict[str, FloatArray]
    groups: tuple[Groups, ...]
    rows_read: int
    missing: dict[str, int]

    @property
    def n(self) -> int:
        """Number of complete rows."""
        return len(self.response)


def require_columns(formula: NamesColumns, columns: Collection[str], where: str) -> None:
    """Refuse a formula that names a column that the table lacks."""
    for name in formula.columns:
        if name not in columns:
            raise UsageError(f"formula {formula.text!r} names {name!r}, which is no column of "
                             f"{where}; {nearest(name, columns)}")


def model_frame(table: pd.DataFrame, formula: Formula, *, categorical: Collection[str] = (),
                where: str = "the table") -> ModelFrame:
    """Keep the complete rows and encode them.

    Parameters
    ----------
    table : pandas.DataFrame
        A row per score.
    formula : Formula
    categorical : collection of str
        Fixed effects that are categorical even where they look like numbers, beside those
        written ``factor(x)`` and those that also group.
    where : str
        Name of the table in errors.

    Returns
    -------
    ModelFrame
        Other fixed effects are numeric where every value is a number, else categorical.

    Raises
    ------
    DataError
        If no complete row is left, the response or a covariate is not a finite number, or a
        factor has one level only.
    UsageError
        If the formula names a column that the table lacks.
    """
    require_columns(formula, [str(name) for name in table.columns], where)
    if not len(table):
        raise DataError(f"{where} has a header but no rows")
    grouping = {name for group in formula.groupings for name in group.variables}
    forced = {*categorical, *formula.categorical, *grouping}
    numbers = {formula.response: _response(table[formula.response], formula.response, where)}
    coded: dict[str, Coded] = {}
    for name in formula.columns[1:]:
        values = None if name in forced else _numbers(table[name], name, where)
        if values is None:
            codes, levels = pd.factorize(table[name])  # -1 where missing
            coded[name] = codes, np.asarray(levels, dtype=object)
        else:
            numbers[name] = values
    complete, missing = _completeness(numbers, coded, formula, where)
    if missing:
        numbers = {name: values[complete] for name, values in numbers.items()}
        coded = {name: _keep(entry, complete) for name, entry in coded.items()}
    for name, values in numbers.items():
        _refuse_infinite(values, name, where)
    factors = {name: _factor(coded[name], name, where)
               for name in formula.fixed if name in coded}
    groups = [_groups(group, [coded[name] for name in group.variables],
                      random_effects(group, numbers, coded, formula, where), where)
              for group in formula.groupings]
    return ModelFrame(
        response=numbers[formula.response], factors=factors,
        covariates={name: numbers[name] for name in formula.fixed if name in numbers},
        groups=tuple(sorted(groups, key=lambda group: -group.size)),
        rows_read=len(table), missing=missing)


def _completeness(numbers: dict[str, FloatArray], coded: dict[str, Coded], formula: Formula,
                  where: str) -> tuple[npt.NDArray[np.bool_], dict[str, int]]:
    """Which rows have all values, and how many each column lacks."""
    blank = {name: np.isnan(numbers[name]) if name in numbers else coded[name][0] < 0
             for name in formula.columns}
    missing = {name: int(cells.sum()) for name, cells in blank.items() if cells.any()}
    complete = ~np.logical_or.reduce([blank[name] for name in formula.columns])
    if not complete.any():
        counts = ", ".join(f"{name} {count}" for name, count in missing.items())
        raise DataError(f"{where} has no complete row: of {len(complete)} rows, missing are "
                        f"{counts}")
    return complete, missing


def _response(column: pd.Series[Any], name: str, where: str) -> FloatArray:
    if isinstance(column.dtype, pd.CategoricalDtype) or pd.api.types.is_bool_dtype(column.dtype):
        column = column.astype(object)  # a hit may be true or false: 1 or 0
    values = _numbers(column, name, where)
    if values is not None:
        return values
    parsed = pd.to_numeric(column.astype(object), errors="coerce").to_numpy(dtype=np.float64)
    rows = np.flatnonzero(np.isnan(parsed) & column.notna().to_numpy())
    example = f", such as {column.iloc[rows[0]]!r} in data row {rows[0] + 1}" if len(rows) else ""
    raise DataError(f"{name} of {where} has {len(rows)} values that are not numbers{example}: "
                    "the response must be numeric")


def _numbers(column: pd.Series[Any], name: str, where: str) -> FloatArray | None:
    """The column as floats, NaN where missing; None where it is not numeric."""
    if isinstance(column.dtype, pd.CategoricalDtype) or pd.api.types.is_bool_dtype(column.dtype):
        return None
    if pd.api.types.is_complex_dtype(column.dtype):
        raise DataError(f"{name} of {where} holds complex numbers")
    try:
        return pd.to_numeric(column).to_numpy(dtype=np.float64, na_value=np.nan)
    except (ValueError, TypeError):
        return None


def _refuse_infinite(values: FloatArray, name: str, where: str) -> None:
    infinite = len(values) - int(np.isfinite(values).sum())
    if infinite:
        raise DataError(f"{name} of {where} has {infinite} infinite values; remove these rows or "
                        "make them empty")


def _keep(coded: Coded, complete: npt.NDArray[np.bool_]) -> Coded:
    """Codes of the complete rows, and the levels that are left, in the order they had."""
    codes, levels = coded[0][complete], coded[1]
    present = np.bincount(codes, minlength=len(levels)) > 0
    return (codes if present.all() else (np.cumsum(present) - 1)[codes]), levels[present]


def _factor(coded: Coded, name: str, where: str) -> Factor:
    """Name the levels; two that are written alike, such as 1 and "1", are one."""
    codes, levels = coded
    merged, names = pd.factorize(np.array([_as_text(level) for level in levels], dtype=object))
    if len(names) < 2:
        raise DataError(f"{name} has one level only ({names[0]}) in the {len(codes)} complete "
                        f"rows of {where}: there is nothing to compare")
    return Factor(tuple(names), codes if len(names) == len(levels) else merged[codes])


def _as_text(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def random_effects(grouping: Grouping, numbers: dict[str, FloatArray], coded: dict[str, Coded],
                   formula: Formula, where: str) -> dict[str, FloatArray]:
    """Columns of a random term by name; of an intercept alone there are none."""
    if not grouping.slopes:
        return {}
    columns, full = {}, not grouping.intercept
    if grouping.intercept:
        rows = len(numbers[formula.response])
        columns[INTERCEPT] = np.ones(rows)
    for name in grouping.slopes:
        if name in numbers:
            columns[name] = numbers[name]
            continue
        factor = _factor(coded[name], name, where)
        for code in range(0 if full else 1, len(factor.levels)):
            columns[formula.label(name) + factor.levels[code]] = (
                factor.codes == code).astype(np.float64)
        full = False  # as R: the first factor has a column for every level
    return columns


def _groups(grouping: Grouping, parts: list[Coded], columns: dict[str, FloatArray], where: str,
            ) -> Groups:
    codes, levels = parts[0]
    size = len(levels)
    for more, more_levels in parts[1:]:
        joint = codes * len(more_levels) + more
        combined, distinct = pd.factorize(joint)
        codes, size = combined, len(distinct)
    if size < 2:
        raise DataError(f"the grouping factor {grouping.name} has one level only in the "
                        f"{len(codes)} complete rows of {where}; a random intercept needs "
                        "several")
    if size == len(codes):
        raise DataError(f"the grouping factor {grouping.name} has {size} levels in {size} "
                        f"complete rows of {where}: with one row per group its variance cannot "
                        "be told from the residual's")
    if not columns:
        return Groups(grouping.name, codes, size)
    if len(columns) > 1 and size * len(columns) >= len(codes):
        slopes = " + ".join(grouping.slopes)
        raise DataError(f"the slopes of {slopes} in {grouping.name} are {size * len(columns)} "
                        f"random effects of {len(codes)} complete rows of {where}, which cannot be "
                        f"told from the residual; take (1|{grouping.name})")
    return Groups(grouping.name, codes, size, tuple(columns),
                  np.column_stack(list(columns.values())))
