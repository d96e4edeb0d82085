"""Tables of a multi-reader analysis: the test, the differences of treatments, their means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from saltrust.analysis.inference.estimate import Estimate, estimates_table, t_estimate
from saltrust.analysis.inference.multiplicity import adjust_families
from saltrust.analysis.inference.multireader.obuchowski_rockette import (
    Components,
    TreatmentTest,
    components,
    treatment_mean,
    treatments_alike,
)
from saltrust.choices import FixedFactor

FloatArray = npt.NDArray[np.float64]

_NUMBERS = ("f", "df1", "df2", "p_value", "p_adjusted")
_COMPONENTS = ("ms_t", "ms_tr", "var", "cov1", "cov2", "cov3")
_COUNTS = ("treatments", "readers", "n", "patients")
#: Columns of the table ``test``, after those that name the row.
TEST_COLUMNS = (*_NUMBERS, "adjustment", "family", *_COMPONENTS, "denominator", *_COUNTS, "note")
_NAN = float("nan")


@dataclass(frozen=True)
class Factorial:
    """Figures of treatments by readers, and their covariance over cases.

    Attributes
    ----------
    identity : dict of str to str
        Columns that name it among others.
    family : str
        Tests that this one's is adjusted with.
    treatments, readers : list of str
    figures : ndarray of float64, shape (treatments, readers)
        From 0 to 1; NaN where there is none.
    covariance : ndarray of float64, shape (treatments * readers, treatments * readers)
        NaN where it cannot be had.
    n, patients : int
        Cases, and clusters of them.
    note : str
        Why there is no test, where there is none.
    """

    identity: dict[str, str]
    family: str
    treatments: list[str]
    readers: list[str]
    figures: FloatArray
    covariance: FloatArray
    n: int
    patients: int
    note: str = ""


def factorial_tables(designs: Sequence[Factorial], fixed: FixedFactor | None,
                     confidence_level: float) -> dict[str, pd.DataFrame]:
    """The tables of one design, or of several that are tested beside each other.

    Parameters
    ----------
    designs : sequence of Factorial
        At least one, all with the same columns in their identity.
    fixed : {"readers", "cases"}, optional
    confidence_level : float

    Returns
    -------
    dict of str to pandas.DataFrame
        ``test`` (:data:`TEST_COLUMNS`; p adjusted by Holm over the designs of a family),
        ``differences`` (``contrast`` and the uniform columns; p adjusted by Holm over the pairs
        of a design), ``means`` (``treatment`` and the uniform columns, without a test) and
        ``figures`` (``treatment, reader, estimate``).
    """
    names = list(designs[0].identity)
    tests: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    means: list[dict[str, Any]] = []
    figures: list[dict[str, Any]] = []
    families: list[str] = []
    for design in designs:
        made = components(design.figures, design.covariance)
        test = treatments_alike(made, fixed)
        if design.note:
            test = test._replace(f=_NAN, df2=_NAN, p_value=_NAN)
        tests.append(_test_row(design, made, test, fixed))
        for row in _difference_rows(design, test, confidence_level):
            pairs.append(row)
            families.append(", ".join([*design.identity.values(), "pairs"]))
        means += _mean_rows(design, fixed, confidence_level)
        figures += [{**design.identity, "treatment": treatment, "reader": reader,
                     "estimate": float(design.figures[i, j])}
                    for i, treatment in enumerate(design.treatments)
                    for j, reader in enumerate(design.readers)]
    tested = adjust_families(_test_table(tests, names),
                             pd.Series([design.family for design in designs], dtype=str), "holm",
                             Counter(design.family for design in designs))
    compared = adjust_families(estimates_table(pairs, [*names, "contrast"]),
                               pd.Series(families, dtype=str), "holm", Counter(families))
    return {"test": tested, "differences": compared,
            "means": estimates_table(means, [*names, "treatment"]),
            "figures": pd.DataFrame(figures)}


def _test_table(rows: list[dict[str, Any]], names: list[str]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=[*names, *TEST_COLUMNS])
    texts = {*names, "adjustment", "family", "note"}
    kinds = {name: "float64" for name in table.columns if name not in texts}
    return table.astype({**kinds, **dict.fromkeys(_COUNTS, "int64")})


def _test_row(design: Factorial, made: Components, test: TreatmentTest,
              fixed: FixedFactor | None) -> dict[str, Any]:
    note = design.note
    if not note and np.isnan(test.p_value):
        note = "the denominator is not above 0: no test"
    elif not note and made.readers == 2 and fixed != "readers":
        note = "2 readers: what is known of others rests on them"
    return {**design.identity, "f": test.f, "df1": test.df1, "df2": test.df2,
            "p_value": test.p_value, "p_adjusted": _NAN, "adjustment": "none", "family": "",
            **{name: getattr(made, name) for name in _COMPONENTS},
            "denominator": test.denominator, "treatments": made.treatments,
            "readers": made.readers, "n": design.n, "patients": design.patients, "note": note}


def _difference_rows(design: Factorial, test: TreatmentTest, confidence_level: float
                     ) -> Iterator[dict[str, Any]]:
    means = design.figures.mean(axis=1)
    for a, b in combinations(range(len(design.treatments)), 2):
        value = float(means[a] - means[b])
        if design.note or np.isnan(value):
            made = Estimate(estimate=value, n=design.n, note=design.note)
        elif not test.std_error > 0:
            made = Estimate(estimate=value, n=design.n,
                            note="the denominator is not above 0: no interval")
        else:
            made = t_estimate(value, test.std_error, test.df, design.n,
                              confidence_level=confidence_level)
        yield {**design.identity, "contrast": f"{design.treatments[a]} - {design.treatments[b]}",
               **made.row("difference")}


def _mean_rows(design: Factorial, fixed: FixedFactor | None, confidence_level: float
               ) -> Iterator[dict[str, Any]]:
    count = len(design.readers)
    for i, treatment in enumerate(design.treatments):
        part = slice(i * count, (i + 1) * count)
        precision = treatment_mean(design.figures[i], design.covariance[part, part], fixed)
        if design.note or not precision.std_error > 0:
            made = Estimate(estimate=precision.mean, n=design.n,
                            note=design.note or "no variation: no interval")
        else:
            made = t_estimate(precision.mean, precision.std_error, precision.df, design.n,
                              confidence_level=confidence_level)
            # Nothing is tested: no figure of interest is 0.
            made = replace(made, conf_low=max(made.conf_low, 0.0),
                           conf_high=min(made.conf_high, 1.0), statistic=_NAN, p_value=_NAN)
        yield {**design.identity, "treatment": treatment, **made.row("mean")}
