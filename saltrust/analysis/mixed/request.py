"""What is asked of an engine, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from saltrust.analysis.mixed.formula import Formula
from saltrust.analysis.mixed.frame import FloatArray, IntArray, ModelFrame

DfMethod = Literal["satterthwaite", "kenward-roger", "asymptotic"]
Adjustment = Literal["tukey", "bonferroni", "holm", "sidak", "dunnett", "single-step", "none"]

DF_METHODS: tuple[DfMethod, ...] = ("satterthwaite", "kenward-roger", "asymptotic")
ADJUSTMENTS: tuple[Adjustment, ...] = ("tukey", "bonferroni", "holm", "sidak", "dunnett",
                                       "single-step", "none")


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
        One of :data:`ADJUSTMENTS`.
    """

    levels: tuple[str, ...]
    control: str | None
    adjustment: Adjustment

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
    df : str
        One of :data:`DF_METHODS`.
    level : float
        Of every interval.
    reml : bool
    null : float
        Value that marginal means are tested against.
    seed : int
        Of the sampling of the single-step adjustment.
    """

    formula: Formula
    frame: ModelFrame
    over: str | None
    families: tuple[Family, ...]
    df: DfMethod
    level: float
    reml: bool
    null: float
    seed: int


@dataclass(frozen=True)
class Estimates:
    """Estimates with tests and intervals; every array has shape (m,), NaN where unavailable."""

    estimate: FloatArray
    std_error: FloatArray
    df: FloatArray
    statistic: FloatArray
    p_value: FloatArray
    p_adjusted: FloatArray
    conf_low: FloatArray
    conf_high: FloatArray


@dataclass(frozen=True)
class TermTest:
    """Test of all columns of one term together."""

    term: str
    statistic: float
    df_numerator: float
    df_denominator: float
    p_value: float
    note: str = ""


@dataclass(frozen=True)
class Answer:
    """What an engine found.

    Attributes
    ----------
    engine : str
    names, dropped : list of str
        Columns that were estimated, and those that are combinations of them.
    fixed : Estimates
        Of ``names``.
    variances : ndarray of float64, shape (m,)
        Of the random intercepts, in the order of the frame's groups.
    residual_variance : float
    deviance : float
        Minus twice the (restricted) log-likelihood.
    singular : bool
    terms : list of TermTest
    means : Estimates or None
        Of the levels of ``Request.over``.
    contrasts : tuple of Estimates
        Of each family.
    notes : list of str
        What a reader must know of how the answer came about.
    """

    engine: str
    names: list[str]
    dropped: list[str]
    fixed: Estimates
    variances: FloatArray
    residual_variance: float
    deviance: float
    singular: bool
    terms: list[TermTest]
    means: Estimates | None
    contrasts: tuple[Estimates, ...]
    notes: list[str] = field(default_factory=list)
