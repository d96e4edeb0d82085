"""How far two engines' tables lie apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

FloatArray = npt.NDArray[np.float64]

#: Smaller p-values are compared as if they were this: R's studentized range is accurate to
#: about 1e-9, so that those of 1e-12 have no common digits.
SMALL_P = 1e-3

#: Variances below this share of the largest are compared as if they were it: an estimate of
#: zero is 1e-16 to an optimiser.
SMALL_VARIANCE = 1e-6

_SKIPPED = {"sd", "df_numerator"}
_ON_THE_SCALE = {"estimate", "conf_low", "conf_high"}


def differences(builtin: dict[str, pd.DataFrame], pymer4: dict[str, pd.DataFrame],
                ) -> pd.DataFrame:
    """The largest relative difference of every numeric column of every table.

    Parameters
    ----------
    builtin, pymer4 : dict of str to pandas.DataFrame
        Tables of the two engines, with the same rows.

    Returns
    -------
    pandas.DataFrame
        ``table, column, row, builtin, pymer4, difference, not_compared``, the largest
        difference first.  ``row`` names where it is; ``not_compared`` counts the rows where one
        engine alone gives a number, as lmerTest does for tests that empty cells leave
        undefined.  Estimates and bounds are seen against their standard error where that is
        larger.
    """
    rows: list[dict[str, Any]] = []
    for name, left in builtin.items():
        right = pymer4[name]
        label = next((column for column in ("contrast", "level", "term", "group")
                      if column in left.columns), None)
        for column in left.columns:
            if column in _SKIPPED or not pd.api.types.is_float_dtype(left[column].dtype):
                continue
            one, two = _values(left, column), _values(right, column)
            both = ~np.isnan(one) & ~np.isnan(two)
            if not both.any():
                continue
            gap = np.where(both, _relative(one, two, _floor(left, column)), 0.0)
            worst = int(np.argmax(gap))
            rows.append({"table": name, "column": column,
                         "row": str(left[label].iloc[worst]) if label else "",
                         "builtin": one[worst], "pymer4": two[worst], "difference": gap[worst],
                         "not_compared": int((np.isnan(one) != np.isnan(two)).sum())})
    table = pd.DataFrame(rows, columns=["table", "column", "row", "builtin", "pymer4",
                                         "difference", "not_compared"])
    return table.sort_values("difference", ascending=False, kind="stable", ignore_index=True)


def largest(table: pd.DataFrame) -> str:
    """The largest difference in a sentence."""
    worst = table.iloc[0]
    return (f"largest relative difference between builtin and pymer4: "
            f"{worst['difference']:.2g} ({worst['table']} {worst['column']} {worst['row']}: "
            f"{worst['builtin']:.9g}, {worst['pymer4']:.9g})")


def _values(table: pd.DataFrame, column: str) -> FloatArray:
    return table[column].to_numpy(dtype=np.float64)


def _floor(table: pd.DataFrame, column: str) -> FloatArray | float:
    """What a difference is seen against at least."""
    if column.startswith("p_"):
        return SMALL_P
    if column == "variance":
        return SMALL_VARIANCE * float(_values(table, column).max())
    if column in _ON_THE_SCALE and "std_error" in table.columns:
        return np.nan_to_num(_values(table, "std_error"))
    if column in _ON_THE_SCALE | {"d"} and "d" in table.columns:
        return 1.0  # in standard deviations
    return 1.0 if column in {"statistic", "value"} else 0.0


def _relative(one: FloatArray, two: FloatArray, floor: FloatArray | float) -> FloatArray:
    with np.errstate(invalid="ignore", divide="ignore"):
        gap = np.abs(one - two) / np.maximum(np.maximum(np.abs(one), np.abs(two)), floor)
    return np.where(one == two, 0.0, gap)
