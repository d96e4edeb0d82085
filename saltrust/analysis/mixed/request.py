"""What is asked of an engine: a model, and the means to compare."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from saltrust.analysis.mixed.formula import Formula, parse
from saltrust.analysis.mixed.frame import IntArray, ModelFrame, model_frame
from saltrust.analysis.mixed.options import Contrasts, Fitting
from saltrust.choices import ContrastAdjustment
from saltrust.errors import DataError, UsageError, nearest

#: Of one family: all pairs of 447 levels; each costs a row of the model matrix.
MOST_CONTRASTS = 100_000


@dataclass(frozen=True)
class Family:
    """Contrasts of marginal means that are adjusted together.

    Attributes
    ----------
    levels : tuple of str
        Levels of the factor whose means are compared.
    control : str or None
        Level that every other one is compared with; None for all pairs.
    adjustment : str
        A word of :data:`saltrust.choices.ContrastAdjustment`.
    """

    levels: tuple[str, ...]
    control: str | None
    adjustment: ContrastAdjustment

    @property
    def pairs(self) -> tuple[IntArray, IntArray]:
        """Indices of the levels ``A`` and ``B`` of every contrast ``A - B``."""
        size = len(self.levels)
        if self.control is None:
            first, second = np.triu_indices(size, 1)
            return first.astype(np.int64), second.astype(np.int64)
        control = self.levels.index(self.control)
        others = np.setdiff1d(np.arange(size), [control])
        return others, np.full(len(others), control)

    @property
    def name(self) -> str:
        """What the family is, and how many contrasts it has."""
        count = len(self.pairs[0])
        kind = "all pairs" if self.control is None else f"against {self.control}"
        return f"{kind} ({count} {'contrast' if count == 1 else 'contrasts'})"


@dataclass(frozen=True)
class Request:
    """A model and the comparisons wanted.

    Attributes
    ----------
    formula : Formula
    frame : ModelFrame
    over : str or None
        Factor whose marginal means are wanted.
    families : tuple of Family
    contrasts : Contrasts
    fitting : Fitting
    confidence_level : float
        Of every interval.
    """

    formula: Formula
    frame: ModelFrame
    over: str | None
    families: tuple[Family, ...]
    contrasts: Contrasts
    fitting: Fitting
    confidence_level: float


def make_request(table: pd.DataFrame, formula: str, *, over: str | None, contrasts: Contrasts,
                 fitting: Fitting, confidence_level: float, where: str) -> Request:
    """Parse the formula, encode the table, and choose the factor and its families of contrasts.

    Parameters
    ----------
    table : pandas.DataFrame
        A row per score.
    formula : str
    over : str, optional
        Factor whose marginal means are compared.
    contrasts : Contrasts
    fitting : Fitting
    confidence_level : float
    where : str
        Name of the table in errors.

    Raises
    ------
    DataError
        If no complete row is left, the response or a covariate is not a finite number, or a
        factor has one level only.
    UsageError
        If the formula is wrong or names a column that the table lacks, or the contrasts do not
        belong to its factors.
    """
    parsed = parse(formula)
    if over is not None and over not in parsed.fixed:
        raise UsageError(f"{over!r} is no fixed effect of {parsed.text!r}; " + (
            nearest(over, parsed.fixed) if parsed.fixed else "it has an intercept only"))
    frame = model_frame(table, parsed, categorical=() if over is None else (over,), where=where)
    factor = over if over is not None else _only_factor(parsed, frame, wanted=contrasts.wanted)
    return Request(parsed, frame, factor, families_of(frame, factor, contrasts), contrasts, fitting,
                   confidence_level)


def _only_factor(formula: Formula, frame: ModelFrame, *, wanted: bool) -> str | None:
    """The factor whose means are compared where none is named."""
    if len(frame.factors) == 1:
        return next(iter(frame.factors))
    if wanted:
        choice = (f"say --over {' or --over '.join(frame.factors)}" if frame.factors else
                  "its fixed effects are all numeric; name one by --over to make it categorical"
                  if formula.fixed else "it has no fixed effect but the intercept")
        raise UsageError(f"{formula.text!r} does not say which factor's levels to compare: "
                         f"{choice}")
    return None


def families_of(frame: ModelFrame, factor: str | None, contrasts: Contrasts,
                ) -> tuple[Family, ...]:
    """The families of contrasts of a factor's levels that are asked for."""
    if factor is None:
        return ()
    levels, control = frame.factors[factor].levels, contrasts.control
    chosen = contrasts.adjustment
    if control is not None and control not in levels:
        raise UsageError(f"{factor} has no level {control!r}; {nearest(control, levels)}")
    # Each kind has an adjustment that is for it alone, and takes it where none or the other
    # kind's is chosen.
    families: list[Family] = []
    if contrasts.posthoc is not None or control is None:
        families.append(Family(levels, None,
                               "tukey" if chosen is None or chosen == "dunnett" else chosen))
    if control is not None:
        families.append(Family(levels, control,
                               "dunnett" if chosen is None or chosen == "tukey" else chosen))
    if chosen is not None and all(family.adjustment != chosen for family in families):
        raise UsageError("--adjust tukey is for all pairs (--posthoc tukey)" if chosen == "tukey"
                         else "--adjust dunnett is for comparisons with one level: name it by "
                         "--control")
    for family in families:
        count = math.comb(len(levels), 2) if family.control is None else len(levels) - 1
        if count > MOST_CONTRASTS:
            raise DataError(f"{factor} has {len(levels):,} levels, of which {count:,} contrasts "
                            f"can be made, more than the {MOST_CONTRASTS:,} that are compared; "
                            "name a --control, another factor by --over, or fewer rows")
    return tuple(families)
