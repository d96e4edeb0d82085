"""What every analysis returns: tidy tables, and the facts needed to read them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

#: Columns of every table of estimates, in this order, after the columns that identify the row.
ESTIMATE_COLUMNS = (
    "term",
    "estimate",
    "std_error",
    "conf_low",
    "conf_high",
    "statistic",
    "df",
    "p_value",
    "p_adjusted",
    "adjustment",
    "family",
    "n",
    "note",
)


@dataclass(frozen=True)
class Result:
    """Tables of one analysis.

    Attributes
    ----------
    meta : dict
        Definitions, versions, seed, counts, what was excluded and why; plain JSON values.
    tables : dict of str to pandas.DataFrame
        One record per row; the first table is the headline.
    """

    meta: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)

    def to_object(self) -> dict[str, Any]:
        """The result as plain values: ``{"meta": ..., "tables": {name: [record, ...]}}``.

        Numbers keep full precision; NaN, NA and infinities become None.
        """
        return {
            "meta": plain(self.meta),
            "tables": {name: records(table) for name, table in self.tables.items()},
        }


def plain(value: Any) -> Any:
    """Turn NumPy and pandas scalars, mappings and sequences into strict JSON values.

    Examples
    --------
    >>> plain({"a": np.float64("nan"), "b": (np.int64(3), np.True_)})
    {'a': None, 'b': [3, True]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bool | int | str):
        return value
    return str(value)


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as plain values (see :func:`plain`)."""
    columns = [str(name) for name in table.columns]
    rows = zip(*(table[name].tolist() for name in table.columns), strict=True)
    return [dict(zip(columns, map(plain, row), strict=True)) for row in rows]
