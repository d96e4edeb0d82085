"""By which threshold a map becomes a segmentation, and below which probability it stays empty.

A threshold of each map's histogram (Otsu's, or another by name), one number, or a table with a
row per finding, such as a search on a validation split leaves
(:mod:`saltrust.analysis.localization.thresholds`) or as released with
CheXlocalize.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from saltrust.analysis.csv_files import read_table
from saltrust.cache.schema import FINDING_ALIASES
from saltrust.choices import ThresholdMethod
from saltrust.errors import DataError, UsageError, nearest
from saltrust.reading import check_path, reading, shown

#: How each rule is told, by its word.
METHODS: dict[ThresholdMethod, str] = {
    "otsu": "Otsu's threshold of each map", "yen": "Yen's threshold of each map",
    "isodata": "the isodata threshold (Ridler and Calvard) of each map",
    "li": "Li's threshold (least cross-entropy) of each map"}
#: Of a file of thresholds: a thousand findings with a hundred maps each.
MOST_ROWS = 100_000
#: Columns of a file of thresholds; explainer and model may be absent or empty: any.  A threshold
#: of one reading of the maps is none of another, so that the file says of which it is.
COLUMNS = ("finding", "explainer", "model", "map_reading", "threshold", "cutoff")

Named = tuple[str, str, str]


@dataclass(frozen=True)
class Choice:
    """A number for every map: the same, or by finding, explainer and model.

    Attributes
    ----------
    everywhere : float or None
        Where there is no table; None: the threshold of ``method``, or no cut-off.
    table : dict of (finding, explainer, model) to (float or None)
        Empty names stand for any.
    description : str
        How to tell people.
    readings : dict of str to str
        What of the maps the numbers of a table were found for, by explainer, where it is known.
    method : {"otsu", "yen", "isodata", "li"}
        Of the histogram of a map without a number.
    """

    everywhere: float | None = None
    table: dict[Named, float | None] = field(default_factory=dict)
    description: str = ""
    readings: dict[str, str] = field(default_factory=dict)
    method: ThresholdMethod = "otsu"

    def of(self, finding: str, explainer: str, model: str) -> float | None:
        """The number for a map, by the most specific row.

        Raises
        ------
        DataError
            If a table has no row for it.
        """
        if not self.table:
            return self.everywhere
        for key in ((finding, explainer, model), (finding, explainer, ""), (finding, "", model),
                    (finding, "", "")):
            if key in self.table:
                return self.table[key]
        raise DataError(f"{self.description} has no row for finding {finding!r}, explainer "
                        f"{explainer!r}, model {model!r}; add one, or select findings that it has")

    def values(self) -> list[float]:
        """All numbers that can occur."""
        every = [self.everywhere, *self.table.values()]
        return sorted({value for value in every if value is not None})


def threshold_choice(threshold: float | str | Path | None) -> Choice:
    """Read ``"otsu"`` or another method, a number in [0, 1), or a file of thresholds.

    Parameters
    ----------
    threshold : {"otsu", "yen", "isodata", "li"}, float, path or None
        A file has a column ``threshold``; None is Otsu's threshold.

    Raises
    ------
    UsageError
        If it is none of these.
    DataError
        If the file does not hold thresholds.

    Examples
    --------
    >>> threshold_choice("0.3").of("Edema", "gradcam", "net")
    0.3
    >>> threshold_choice("otsu").of("Edema", "gradcam", "net") is None
    True
    """
    if threshold is None:
        threshold = "otsu"
    for method, description in METHODS.items():
        if method == threshold:
            return Choice(description=description, method=method)
    return _choice(threshold, "threshold", f"{', '.join(METHODS)}, a number such as 0.3, or a "
                   "file of thresholds",
                   lambda value: 0 <= value < 1, "at least 0 and below 1")


def cutoff_choice(cutoff: float | str | Path | None, called: str = "cutoff") -> Choice:
    """Read a probability cut-off: a number in [0, 1] or a file with a column ``cutoff``.

    Parameters
    ----------
    cutoff : float, path or None
    called : str
        What messages call it.

    Raises
    ------
    UsageError, DataError
        If it is none of these, or the file cannot be read or lacks a column or a number.
    """
    if cutoff is None:
        return Choice(description="no cut-off")
    return _choice(cutoff, "cutoff", "a number such as 0.3, or a file of cut-offs",
                   lambda value: 0 <= value <= 1, "between 0 and 1", called)


def _choice(given: float | str | Path, column: str, wanted: str, valid: Callable[[float], bool],
            bounds: str, called: str = "") -> Choice:
    called = called or column
    try:
        value = float(given) if not isinstance(given, Path) else None
    except ValueError:
        value = None
    if value is not None:
        if not valid(value):
            raise UsageError(f"{called} {value:g} must be {bounds}")
        return Choice(everywhere=value, description=f"{value:g} for every map")
    path = Path(given)  # type: ignore[arg-type]
    check_path(path, called)
    if not path.is_file():
        meant = nearest(str(given), METHODS) if column == "threshold" else ""
        raise UsageError(f"{called} {str(given)!r} is neither a number nor a file; "
                         f"{meant + ' Else ' if meant.startswith('did') else ''}give {wanted}")
    table = read_rules(path, column)
    wrong = [key for key, number in table.items() if number is not None and not valid(number)]
    if wrong:
        raise DataError(f"{path}: the {column} of {', '.join(filter(None, wrong[0]))} must be "
                        f"{bounds}")
    return Choice(table=table, description=f"table {path.name}", readings=_readings(path))


def read_rules(path: Path, column: str) -> dict[Named, float | None]:
    """Read one column of a file of thresholds.

    Parameters
    ----------
    path : Path
        CSV with ``finding`` and ``threshold`` or ``cutoff`` (``explainer`` and ``model`` may
        stand beside them; an empty number is Otsu's threshold, or no cut-off), or a file
        released with CheXlocalize: ``threshold, task``, or ``prob_threshold, mIoU, task``, of
        which the first row with the largest mIoU counts.
    column : {"threshold", "cutoff"}

    Raises
    ------
    DataError
        If the file is not such a table.
    """
    with reading(str(path), "`saltrust analyze thresholds` writes such files"):
        return _rules(_rows(path), path, column)


def _rows(path: Path) -> pd.DataFrame:
    """All cells as text; those that a short row lacks are empty."""
    rows = read_table(path, dtype=str, missing=())
    if len(rows) > MOST_ROWS:
        raise DataError(f"{path} has {len(rows):,} rows, more than the {MOST_ROWS:,} that a file "
                        "of thresholds may; keep one for each finding, explainer and model")
    return rows.fillna("")


def _rules(rows: pd.DataFrame, path: Path, column: str) -> dict[Named, float | None]:
    rows = rows.rename(columns={"task": "finding"})
    if column == "cutoff" and {"prob_threshold", "mIoU"} <= set(rows.columns):
        reached = _numbers(rows["mIoU"], path, "mIoU")
        first = [max(of_finding, key=lambda row: (reached[row], -row))
                 for of_finding in rows.groupby("finding", sort=False).indices.values()]
        rows = rows.iloc[sorted(first)].rename(columns={"prob_threshold": "cutoff"})
    missing = [name for name in ("finding", column) if name not in rows.columns]
    if missing:
        raise DataError(f"{path} has no column {missing[0]!r} (it has "
                        f"{', '.join(map(str, rows.columns))[:500]}); `saltrust analyze "
                        "thresholds` writes such files")
    numbers = _numbers(rows[column], path, column)
    table: dict[Named, float | None] = {}
    for number, row in zip(numbers, rows.to_dict("records"), strict=True):
        finding = FINDING_ALIASES.get(row["finding"], row["finding"])
        key = (finding, row.get("explainer", ""), row.get("model", ""))
        if key in table:
            raise DataError(f"{path} has more than one row for {', '.join(filter(None, key))}; "
                            "keep one")
        table[key] = None if np.isnan(number) else number
    if not table:
        raise DataError(f"{path} has no rows; tune thresholds again")
    return table


def _readings(path: Path) -> dict[str, str]:
    """What of the maps a file of thresholds is for, by explainer; empty where it does not say."""
    rows = _rows(path)
    if not {"explainer", "map_reading"} <= set(rows.columns):
        return {}
    return {explainer: word for explainer, word in
            zip(rows["explainer"], rows["map_reading"], strict=True) if explainer and word}


def _numbers(column: Iterable[str], path: Path, name: str) -> list[float]:
    numbers = []
    for text in column:
        try:
            numbers.append(float(text) if text.strip() else float("nan"))
        except ValueError:
            raise DataError(f"{path}: {name} {shown(text)} is not a number") from None
    return numbers
