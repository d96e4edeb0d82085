"""Obuchowski and Rockette's analysis of figures of treatments by readers, with Hillis' df."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import chdtrc, fdtrc

from saltrust.choices import FixedFactor

FloatArray = npt.NDArray[np.float64]

_NAN = float("nan")


class Components(NamedTuple):
    """What the tests are made of.

    Attributes
    ----------
    treatments, readers : int
    ms_t, ms_tr : float
        Mean squares of treatments, and of their interaction with readers; NaN of one.
    var : float
        Mean variance of a figure.
    cov1, cov2, cov3 : float
        Mean covariances: of two treatments by the same reader, of the same treatment by two
        readers, of two treatments by two readers; NaN where there are no such pairs.
    """

    treatments: int
    readers: int
    ms_t: float
    ms_tr: float
    var: float
    cov1: float
    cov2: float
    cov3: float


class TreatmentTest(NamedTuple):
    """Whether all treatments are alike, and how exactly two are told apart.

    Attributes
    ----------
    f, df1, df2, p_value : float
        With fixed readers ``f`` is chi-squared over ``df1``, and ``df2`` is NaN.
    denominator : float
        Of F; of chi-squared with fixed readers.
    std_error, df : float
        Of the difference of two treatments; ``df`` infinite with fixed readers.
    """

    f: float
    df1: float
    df2: float
    p_value: float
    denominator: float
    std_error: float
    df: float


class MeanError(NamedTuple):
    """Precision of the mean over readers of one treatment.

    Attributes
    ----------
    mean, std_error, df : float
        ``df`` infinite with fixed readers; NaN where there is no error.
    """

    mean: float
    std_error: float
    df: float


def components(figures: npt.ArrayLike, covariance: npt.ArrayLike) -> Components:
    r"""Mean squares of figures and means of their covariances.

    :math:`MS(T) = J \sum_i (\theta_{i.} - \theta_{..})^2 / (I - 1)` and
    :math:`MS(T{:}R) = \sum_{ij} (\theta_{ij} - \theta_{i.} - \theta_{.j} + \theta_{..})^2 /
    ((I - 1)(J - 1))` of I treatments and J readers.

    Parameters
    ----------
    figures : array_like of float, shape (treatments, readers)
    covariance : array_like of float, shape (treatments * readers, treatments * readers)
        Of the figures in the order of ``figures.ravel()``, over the cases.

    References
    ----------
    N. A. Obuchowski and H. E. Rockette (1995), Commun. Stat. Simul. Comput. 24, 285-308.
    S. L. Hillis (2007), Statistics in Medicine 26, 596-619.

    Examples
    --------
    >>> made = components([[0.8, 0.9], [0.7, 0.6]], np.eye(4) + 1)
    >>> round(made.ms_t, 4), round(made.ms_tr, 4), made.var, made.cov1, made.cov3
    (0.04, 0.01, 2.0, 1.0, 1.0)
    """
    theta = np.asarray(figures, dtype=np.float64)
    treatments, readers = theta.shape
    by_treatment, by_reader = theta.mean(axis=1), theta.mean(axis=0)
    residual = theta - by_treatment[:, None] - by_reader + theta.mean()
    ms_t = (readers * ((by_treatment - theta.mean())**2).sum() / (treatments - 1)
            if treatments > 1 else _NAN)
    interaction = (treatments - 1) * (readers - 1)
    ms_tr = (residual**2).sum() / interaction if interaction else _NAN
    of_cells = np.asarray(covariance, dtype=np.float64)
    treatment, reader = (np.ravel(part) for part in np.indices(theta.shape))
    same_treatment = treatment[:, None] == treatment
    same_reader = reader[:, None] == reader
    return Components(
        treatments, readers, float(ms_t), float(ms_tr),
        *(_mean(of_cells[pairs]) for pairs in (
            same_treatment & same_reader, ~same_treatment & same_reader,
            same_treatment & ~same_reader, ~same_treatment & ~same_reader)))


def treatments_alike(made: Components, fixed: FixedFactor | None = None) -> TreatmentTest:
    r"""Test that all treatments have the same expected figure.

    Readers and cases random: :math:`F = MS(T) / [MS(T{:}R) + \max(J (Cov_2 - Cov_3), 0)]` with
    :math:`I - 1` and :math:`D^2 / (MS(T{:}R)^2 / ((I - 1)(J - 1)))` degrees of freedom, D being
    the denominator.  Readers fixed:
    :math:`\chi^2 = (I - 1) MS(T) / [Var - Cov_1 + (J - 1)(Cov_2 - Cov_3)]`.  Cases fixed:
    :math:`F = MS(T) / MS(T{:}R)` with :math:`(I - 1)(J - 1)`.  Two treatments differ by
    :math:`\sqrt{2 D / J}`.

    Parameters
    ----------
    made : Components
    fixed : {"readers", "cases"}, optional
        What the conclusion is not to reach beyond.

    Returns
    -------
    TreatmentTest
        NaN where the denominator is not above 0, or there is one treatment, or one reader and
        readers are random.

    Examples
    --------
    >>> made = Components(2, 5, 0.00479617053166, 0.0005510306217441, 0.0, 0.0,
    ...                   0.0003440748288609, 0.0002390283708922)
    >>> test = treatments_alike(made)
    >>> round(test.f, 6), round(test.df2, 6), round(test.p_value, 6)
    (4.456319, 15.259675, 0.051666)
    """
    count, readers = made.treatments, made.readers
    df1 = float(count - 1)
    beside = made.cov2 - made.cov3
    if fixed == "readers":
        # Of one reader there are no covariances between readers.
        shared = (readers - 1) * beside if readers > 1 else 0.0
        denominator, df = made.var - made.cov1 + shared, np.inf
    elif fixed == "cases":
        denominator, df = made.ms_tr, df1 * (readers - 1)
    else:
        denominator = _NAN if np.isnan(beside) else made.ms_tr + max(readers * beside, 0.0)
        df = (denominator**2 / (made.ms_tr**2 / (df1 * (readers - 1)))
              if made.ms_tr > 0 else np.inf)
    if not denominator > 0 or not df1:
        return TreatmentTest(_NAN, df1, _NAN, _NAN, denominator, _NAN, _NAN)
    f = made.ms_t / denominator
    p_value = fdtrc(df1, df, f) if np.isfinite(df) else chdtrc(df1, df1 * f)
    return TreatmentTest(f, df1, _NAN if fixed == "readers" else float(df), float(p_value),
                         denominator, float(np.sqrt(2 * denominator / readers)), float(df))


def treatment_mean(figures: npt.ArrayLike, covariance: npt.ArrayLike,
                   fixed: FixedFactor | None = None) -> MeanError:
    r"""Mean over the readers of one treatment, with its error from this treatment alone.

    :math:`D = MS(R) + J \max(Cov_2, 0)`, the error :math:`\sqrt{D / J}` and
    :math:`D^2 / (MS(R)^2 / (J - 1))` degrees of freedom, MS(R) being the variance between the J
    readers.  Readers fixed: :math:`Var + (J - 1) \max(Cov_2, 0)` and no degrees of freedom to
    estimate; cases fixed: :math:`MS(R)` and J - 1.

    Parameters
    ----------
    figures : array_like of float, shape (readers,)
    covariance : array_like of float, shape (readers, readers)
    fixed : {"readers", "cases"}, optional

    Examples
    --------
    >>> made = treatment_mean([0.8, 0.9], [[0.02, 0.01], [0.01, 0.02]])
    >>> round(made.mean, 3), round(made.std_error, 4), round(made.df, 3)
    (0.85, 0.1118, 25.0)
    """
    theta = np.asarray(figures, dtype=np.float64)
    of_readers = np.asarray(covariance, dtype=np.float64)
    readers = len(theta)
    mean = float(theta.mean())
    shared = (max(_mean(of_readers[~np.eye(readers, dtype=bool)]), 0.0) if readers > 1 else 0.0)
    spread = float(theta.var(ddof=1)) if readers > 1 else _NAN
    if fixed == "readers":
        total, df = float(np.diag(of_readers).mean()) + (readers - 1) * shared, np.inf
    elif fixed == "cases":
        total, df = spread, float(readers - 1)
    else:
        total = spread + readers * shared
        df = total**2 / (spread**2 / (readers - 1)) if spread > 0 else np.inf
    if not total > 0:
        return MeanError(mean, _NAN, _NAN)
    return MeanError(mean, float(np.sqrt(total / readers)), float(df))


def _mean(values: FloatArray) -> float:
    return float(values.mean()) if values.size else _NAN
