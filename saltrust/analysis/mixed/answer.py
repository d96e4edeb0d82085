"""What an engine answers: estimates, tests and variances, the same whatever the engine."""

from __future__ import annotations

from dataclasses import dataclass, field

from saltrust.analysis.mixed.frame import FloatArray


@dataclass(frozen=True)
class LevelVariances:
    """Residual standard deviation of every level, and the test that all are equal."""

    factor: str
    sds: FloatArray
    statistic: float
    df: int
    p_value: float


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
    """The estimates of an engine.

    Attributes
    ----------
    engine : str
    names, dropped : list of str
        Columns that were estimated, and those that are combinations of them.
    fixed : Estimates
        Of ``names``.
    covariances : tuple of ndarray of float64, shape (effects, effects)
        Of the effects of every random term, in the order of the frame's groups.
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
    levels : LevelVariances or None
        Where every level has a residual variance; ``residual_variance`` is then their mean.
    """

    engine: str
    names: list[str]
    dropped: list[str]
    fixed: Estimates
    covariances: tuple[FloatArray, ...]
    residual_variance: float
    deviance: float
    singular: bool
    terms: list[TermTest]
    means: Estimates | None
    contrasts: tuple[Estimates, ...]
    notes: list[str] = field(default_factory=list)
    levels: LevelVariances | None = None
