"""Columns of a CSV manifest that say something of each image: age, sex, site, scanner."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from saltrust.cache.schema import covariate_fault
from saltrust.datasets.files.csv_tables import CsvTable, stated
from saltrust.datasets.files.limits import check_names
from saltrust.errors import DataError, nearest
from saltrust.reading import shown

# Not all that float() takes: "1_000" and "infinity" are text.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


#: An age as DICOM writes it: three digits and years, months, weeks or days.
_AGE = re.compile(r"(\d{1,3})\s?([YMWD])", re.ASCII | re.IGNORECASE)
_OF_A_YEAR = {"Y": 1.0, "M": 12.0, "W": 365.25 / 7, "D": 365.25}


def covariate_values(table: CsvTable, names: Sequence[str], *, reserved: Collection[str],
                     findings: Collection[str], demographics: Mapping[str, str] = {},
                     ) -> dict[str, npt.NDArray[Any]]:
    """Read the columns that a study names as covariates, and those that are covariates anyway.

    Parameters
    ----------
    table : CsvTable
    names : sequence of str
    reserved : collection of str
        Columns that mean something else in a manifest.
    findings : collection of str
        Findings that the study names.
    demographics : mapping of str to str
        Covariates that the study does not name -> their columns.

    Returns
    -------
    dict
        Values by name, each of shape (rows,), as :func:`column_values` reads them.

    Raises
    ------
    DataError
        If a name is no column (the nearest is named), stands twice, or means something else in
        a manifest or in the cubes.

    Examples
    --------
    >>> from pathlib import Path
    >>> table = CsvTable(Path("a.csv"), ["path", "age"], [["a.png", "61"], ["b.png", ""]], [2, 3])
    >>> covariate_values(table, ["age"], reserved=["path"], findings=[])
    {'age': array([61., nan])}
    """
    for name in names:
        fault = ("has a meaning of its own in a manifest" if name in reserved
                 else covariate_fault(name, findings))
        if fault:
            raise DataError(f"the covariate {name!r} of {table.path} {fault}; rename the column or "
                            "take it out of covariates under [data]")
        if name not in table.columns:
            raise DataError(f"{table.path} has no column {name!r}, which covariates under [data] "
                            f"names; {nearest(name, filter(None, table.columns))}")
        if list(names).count(name) > 1:
            raise DataError(f"covariates under [data] names {name!r} twice; name it once")
    values = {}
    for name, column in {**{name: name for name in names}, **demographics}.items():
        cells = [row[column] for _, row in table.rows()]
        check_names(cells, f"value of {column}")
        values[name] = column_values(cells)
        if values[name].dtype.kind == "f" and np.isinf(values[name]).any():
            at = int(np.flatnonzero(np.isinf(values[name]))[0])
            raise DataError(f"{table.path}, row {table.numbers[at]}: {column} is "
                            f"{shown(cells[at])}, too large for a number; correct or blank it")
    return values


def column_values(cells: Sequence[str]) -> npt.NDArray[Any]:
    """Cells as numbers where all that is stated are numbers or ages, else as text.

    Parameters
    ----------
    cells : sequence of str
        Blank, or a word such as ``nan``, where nothing is stated.

    Returns
    -------
    ndarray of float64 or str, shape (len(cells),)
        A blank cell is NaN among numbers; a column without any number is text.  Ages with a unit,
        as ``063Y`` or ``018M`` of DICOM, are years.

    Examples
    --------
    >>> column_values(["61", "", "5.5e1"])
    array([61., nan, 55.])
    >>> column_values(["61", "", "unknown"])
    array(['61', '', 'unknown'], dtype='<U7')
    >>> column_values(["063Y", "006M", "nan"])
    array([63. ,  0.5,  nan])
    """
    known = [stated(cell) for cell in cells]
    if any(known) and all(_NUMBER.fullmatch(cell) for cell in known if cell):
        return np.array([float(cell) if cell else np.nan for cell in known])
    ages = [_years(cell) for cell in known]
    if any(known) and None not in ages and any(_AGE.fullmatch(cell) for cell in known):
        return np.array(ages, dtype=np.float64)
    return np.array(known, dtype=np.str_)


def _years(cell: str) -> float | None:
    """An age in years, NaN where none is stated; None where it is no age."""
    if not cell:
        return np.nan
    match = _AGE.fullmatch(cell)
    if match:
        return int(match[1]) / _OF_A_YEAR[match[2].upper()]
    return float(cell) if _NUMBER.fullmatch(cell) else None
