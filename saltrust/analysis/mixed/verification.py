"""How far two engines' tables lie apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

#: Differences of p-values are seen against this at least: two p-values of 1e-20 agree.
SMALL_P = 1e-8

#: Others against this share of the column's largest value: a zero has no relative difference.
SMALL = 1e-8

_SKIPPED = {"n", "n_groups", "parameters", "fixed_effects", "reml"}


def differences(first: dict[str, pd.DataFrame], second: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The largest relative difference of every numeric column of every table.

    Parameters
    ----------
    first, second : dict of str to pandas.DataFrame
        Tables of the built-in engine and of pymer4, with the same rows.

    Returns
    -------
    pandas.DataFrame
        ``table, column, row, builtin, pymer4, difference``, the largest difference first;
        ``row`` names where it is.  A number that only one engine has counts as infinite.
    """
    found: list[dict[str, Any]] = []
    for name, left in first.items():
        right = second[name]
        label = next((column for column in ("contrast", "level", "term", "group")
                      if column in left.columns), None)
        for column in left.columns:
            if column in _SKIPPED or not pd.api.types.is_float_dtype(left[column].dtype):
                continue
            one = left[column].to_numpy(dtype=np.float64)
            two = right[column].to_numpy(dtype=np.float64)
            gap = _relative(one, two, column)
            if not len(gap):
                continue
            worst = int(np.argmax(gap))
            found.append({"table": name, "column": column,
                          "row": str(left[label].iloc[worst]) if label else "",
                          "builtin": one[worst], "pymer4": two[worst],
                          "difference": gap[worst]})
    table = pd.DataFrame(found, columns=["table", "column", "row", "builtin", "pymer4",
                                         "difference"])
    return table.sort_values("difference", ascending=False, kind="stable", ignore_index=True)


def largest(table: pd.DataFrame) -> str:
    """The largest difference in a sentence."""
    worst = table.iloc[0]
    return (f"largest relative difference between builtin and pymer4: "
            f"{worst['difference']:.2g} ({worst['table']} {worst['column']} {worst['row']}: "
            f"{worst['builtin']:.9g}, {worst['pymer4']:.9g})")


def _relative(one: np.ndarray[Any, np.dtype[np.float64]],
              two: np.ndarray[Any, np.dtype[np.float64]], column: str,
              ) -> np.ndarray[Any, np.dtype[np.float64]]:
    same = (one == two) | (np.isnan(one) & np.isnan(two))
    finite = np.abs(np.concatenate([one, two]))
    finite = finite[np.isfinite(finite)]
    floor = SMALL_P if column.startswith("p_") else SMALL * finite.max(initial=0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        gap = np.abs(one - two) / np.maximum(np.maximum(np.abs(one), np.abs(two)), floor)
    return np.where(same, 0.0, np.where(np.isnan(gap), np.inf, gap))
