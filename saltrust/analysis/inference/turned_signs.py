"""Slopes whose sign a stronger model turns: what a simple one says may be of something else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd


def turned_signs(simple: pd.DataFrame, stronger: pd.DataFrame, by: Sequence[str],
                 models: tuple[str, str]) -> list[str]:
    """One phrase for every slope that is of the other sign under the stronger model.

    Parameters
    ----------
    simple, stronger : pandas.DataFrame
        Tables of estimates with one row per label of ``by``; rows that one of them lacks are
        passed over.
    by : sequence of str
        Columns that name a row, what it is called by first.
    models : (str, str)
        What the two are called, such as ``("by least squares", "with random intercepts")``.

    Returns
    -------
    list of str
        That with the smallest p-value under either model first.

    Examples
    --------
    >>> weak = pd.DataFrame({"descriptor": ["elongation"], "estimate": [-0.118], "p_value": [0.2]})
    >>> strong = weak.assign(estimate=0.0924, p_value=0.04)
    >>> turned_signs(weak, strong, ["descriptor"], ("by least squares", "within findings"))
    ['elongation: -0.118 by least squares, +0.092 within findings']
    """
    columns = [*by, "estimate", "p_value"]
    both = simple[columns].merge(stronger[columns], on=list(by), suffixes=("", "_stronger"))
    both = both[np.sign(both["estimate"]) * np.sign(both["estimate_stronger"]) < 0]
    smallest = both[["p_value", "p_value_stronger"]].min(axis=1)
    phrases = []
    for row in both.loc[smallest.sort_values(kind="stable").index].to_dict("records"):
        first, *others = (str(row[name]) for name in by)
        where = f" ({', '.join(others)})" if others else ""
        phrases.append(f"{first}{where}: {row['estimate']:+.3f} {models[0]}, "
                       f"{row['estimate_stronger']:+.3f} {models[1]}")
    return phrases
