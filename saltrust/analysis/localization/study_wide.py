"""One family for a whole study: every finding, metric and question of localization together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from saltrust.analysis.inference.multiplicity import adjust
from saltrust.choices import StudyFamily

#: The name of all tests of a call of step-down max-T that are one family.
STUDY = "study"


def families_of(tables: Mapping[str, pd.DataFrame], family: StudyFamily) -> str:
    """How many families of tests the tables have, and what controls them, in words.

    Parameters
    ----------
    tables : mapping of str to pandas.DataFrame
        Tables without ``p_value`` and ``family`` have none.
    family : {"finding", "study"}
    """
    count = sum(table.loc[table["p_value"].notna(), "family"].nunique()
                for table in tables.values() if {"p_value", "family"} <= set(table.columns))
    return (f"{count}, each controlled by itself (--family study controls all together)"
            if family == "finding" else
            f"{count}, controlled together: max-T or Holm over all tests of a table and metric, "
            "Bonferroni over these")


def study_wide(tables: Mapping[str, pd.DataFrame], alpha: float = 0.05) -> dict[str, pd.DataFrame]:
    """Tables whose adjusted p-values control the error of the whole study.

    All tests of a table and metric are one family: by the step-down max-T that they were made
    with, or else by Holm's correction.  These families are adjusted for each other by
    Bonferroni's: were no hypothesis false, the chance of any rejection in the study would be at
    most the level.

    Parameters
    ----------
    tables : mapping of str to pandas.DataFrame
        Those with ``max-t`` in ``adjustment`` adjusted over all rows of a metric already.
    alpha : float
        Level of the verdicts that some tables have.

    Returns
    -------
    dict of str to pandas.DataFrame
    """
    families = {name: list(_metrics(table)) for name, table in tables.items()}
    count = sum(len(of_table) for of_table in families.values())
    made = dict(tables)
    for name, of_table in families.items():
        table = tables[name].copy()
        for metric, rows in of_table:
            stepped = bool((table.loc[rows, "adjustment"] == "max-t").all())
            size = int(rows.sum())
            p_values = table.loc[rows, "p_adjusted" if stepped else "p_value"].to_numpy()
            if not stepped:
                p_values = adjust(p_values, "holm", size=size)
            table.loc[rows, "p_adjusted"] = np.minimum(count * p_values, 1.0)
            table.loc[rows, "adjustment"] = f"{'max-t' if stepped else 'holm'}, bonferroni"
            table.loc[rows, "family"] = (f"{STUDY}: {', '.join(filter(None, (name, metric)))} "
                                         f"({size} tests), one of {count} families")
        for verdict in {"equivalent", "non_inferior"} & set(table.columns):
            known = table["p_adjusted"].notna()
            table[verdict] = np.where(
                known, np.where(table["p_adjusted"] < alpha, "yes", "no"), "")
        made[name] = table
    return made


def _metrics(table: pd.DataFrame) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """Metrics of a table of tests and their rows; nothing where nothing is tested."""
    if not {"p_value", "p_adjusted", "family"} <= set(table.columns):
        return
    names = table["metric"] if "metric" in table.columns else pd.Series("", index=table.index)
    for metric in dict.fromkeys(names):
        rows = (names == metric).to_numpy()
        if table.loc[rows, "p_value"].notna().any():
            yield str(metric), rows
