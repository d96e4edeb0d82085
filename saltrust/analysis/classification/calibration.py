"""Calibration: whether predicted probabilities are the shares of positives that they promise.

A model that is confident where it is wrong would relate localization to confidence for reasons
that have nothing to do with the maps.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from scipy.optimize import brentq
from scipy.special import expit, ndtr

from saltrust.analysis.classification.cases import case_table
from saltrust.analysis.inference.auc import roc_auc
from saltrust.analysis.inference.bootstrap import mean_interval
from saltrust.analysis.inference.clustered_glm import glm_cr2
from saltrust.analysis.inference.estimate import (
    Estimate,
    check_confidence_level,
    estimates_table,
    t_estimate,
)
from saltrust.analysis.inference.jackknife import jackknife_estimate
from saltrust.analysis.inference.logistic import SEPARATED, logistic_regression
from saltrust.analysis.inference.proportions import clustered_wilson
from saltrust.analysis.inference.resampling import cluster_codes
from saltrust.analysis.stored.images import images_of
from saltrust.cache.schema import Label
from saltrust.choices import BootstrapKind, CaseLevel
from saltrust.errors import DataError

FloatArray = npt.NDArray[np.float64]

#: Equally wide bins of probability, for the expected calibration error.
BINS = 10
#: Logits are taken of probabilities this far from 0 and 1 at least.
_NEAREST = 1e-6


def calibration_table(cubes: xr.DataTree, probabilities: pd.DataFrame, *,
                      level: CaseLevel = "image", confidence_level: float = 0.95,
                      resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Brier score, calibration slope, expected calibration error and AUC.

    Parameters
    ----------
    cubes : xarray.DataTree
        For the labels and the patients.
    probabilities : pandas.DataFrame
        Columns ``image, finding, model, probability``.
    level : {"image", "study"}
        What a case is (:func:`saltrust.analysis.classification.cases.case_table`).
    confidence_level : float
        Of the percentile bootstrap by patient (Brier score), of the intervals with CR2 errors
        (slope, intercept) and of the jackknife over patients (debiased error).
    resamples, seed : int
        Of that bootstrap.

    Returns
    -------
    pandas.DataFrame
        ``model, finding`` and the uniform columns, with the terms ``brier`` (mean squared
        difference of probability and label), ``slope`` (of the label on the logit of the
        probability; 1 is calibrated, below 1 overconfident; tested against 1), ``intercept``
        (what is to be added to every logit, 0 where as many are positive as predicted),
        ``ece`` (over 10 equally wide bins), ``ece_debiased`` (:func:`debiased_error`) and
        ``auc``.  Uncertain and unstated labels are left out.

    References
    ----------
    E. W. Steyerberg et al. (2010), Epidemiology 21, 128-138.
    """
    if level == "study":
        cases, _ = case_table(cubes, "study")
        cases = cases[cases["finding"].isin(probabilities["finding"])
                      & cases["model"].isin(probabilities["model"])]
    else:
        cases = _with_labels(cubes, probabilities)
    return calibration_of_cases(cases, resamples=resamples,
                                confidence_level=confidence_level, seed=seed)


def calibration_of_cases(cases: pd.DataFrame, *, confidence_level: float = 0.95,
                         resamples: int = 1000, seed: int = 0,
                         kind: BootstrapKind = "auto") -> pd.DataFrame:
    """Brier score, calibration slope, expected calibration error and AUC of labelled cases.

    Parameters
    ----------
    cases : pandas.DataFrame
        Columns ``patient, finding, model, label`` (0, 1 or bool) and ``probability``.
    confidence_level : float
        Of the intervals of the Brier score, slope, intercept and debiased error.
    resamples, seed : int
        Of the bootstrap by patient of the Brier score.
    kind : {"auto", "percentile", "bca", "bootstrap-t"}
        Of its interval.

    Returns
    -------
    pandas.DataFrame
        The columns of :func:`calibration_table`.
    """
    check_confidence_level(confidence_level)
    rows = []
    for (model, finding), group in cases.groupby(["model", "finding"], sort=False):
        name = {"model": model, "finding": finding}
        p, label = group["probability"].to_numpy(), group["label"].to_numpy(dtype=np.float64)
        n = len(label)
        squared = mean_interval((p - label) ** 2, group["patient"].to_numpy(dtype=object),
                                resamples=resamples, confidence_level=confidence_level, seed=seed,
                                method=kind)
        brier = Estimate(estimate=float(squared.mean), std_error=float(squared.std_error),
                         conf_low=float(squared.conf_low), conf_high=float(squared.conf_high),
                         n=n, note=squared.notes[0])
        area = roc_auc(label, p)
        patients = group["patient"].to_numpy(dtype=object)
        rows += [{**name, **brier.row("brier")},
                 {**name, **_slope(p, label, patients, confidence_level).row("slope")},
                 {**name, **_intercept(p, label, patients, confidence_level).row("intercept")},
                 {**name, **Estimate(estimate=expected_error(p, label), n=n).row("ece")},
                 {**name, **_unbiased(p, label, patients, confidence_level).row("ece_debiased")},
                 {**name, **Estimate(estimate=area, n=n, note="only one class is labelled"
                                     if np.isnan(area) else "").row("auc")}]
    return estimates_table(rows, ("model", "finding"))


def expected_error(p: FloatArray, label: FloatArray) -> float:
    """Mean distance of predicted and observed shares over bins, weighted by their rows.

    Examples
    --------
    >>> expected_error(np.array([0.25, 0.25, 0.75, 0.75]), np.array([0.0, 0.0, 1.0, 1.0]))
    0.25
    """
    surplus = np.bincount(_bins(p), weights=p - label, minlength=BINS)
    return float(np.abs(surplus).sum() / len(p)) if len(p) else float("nan")


def debiased_error(p: FloatArray, label: FloatArray,
                   patients: npt.ArrayLike | None = None) -> float:
    r"""The expected calibration error without what sampling alone adds to it.

    The distance of a bin is that of two numbers one of which is a share of few cases: even of a
    calibrated model it is not zero.  With the share taken as normal about the truth, the mean
    of :math:`|N(d, s^2)|` exceeds :math:`|d|` by that much, which is taken off each bin.

    Parameters
    ----------
    p : ndarray of float64, shape (n,)
        Probabilities.
    label : ndarray of float64, shape (n,)
        0 or 1.
    patients : array_like, shape (n,), optional
        Whose rows are alike: the variance of a bin is then that of the sums of patients, and
        at least that of cases with these probabilities.

    Returns
    -------
    float
        Not below 0; NaN without rows.

    References
    ----------
    A. Kumar, P. Liang and T. Ma (2019), Adv. Neural Inf. Process. Syst. 32, 3792-3803.

    Examples
    --------
    >>> debiased_error(np.array([0.25, 0.25, 0.75, 0.75]), np.array([0.0, 0.0, 1.0, 1.0]))
    0.25
    >>> debiased_error(np.array([0.55, 0.55]), np.array([0.0, 1.0]))
    0.0
    """
    if not len(p):
        return float("nan")
    places = _bins(p)
    counts = np.bincount(places, minlength=BINS)
    held = counts > 0
    counts = counts[held]
    distance = np.abs(np.bincount(places, weights=p - label, minlength=BINS)[held]) / counts
    share = np.bincount(places, weights=label, minlength=BINS)[held] / counts
    variance = share * (1 - share) / counts
    if patients is not None:
        # A bin of few cases, all of them alike, is not known without error.
        promised = np.bincount(places, weights=p * (1 - p), minlength=BINS)[held] / counts**2
        variance = np.maximum(_by_patient(p - label, places, patients, variance), promised)
    spread = np.sqrt(variance)
    ratio = np.divide(distance, spread, out=np.zeros(len(counts)), where=spread > 0)
    folded = np.where(spread > 0, spread * np.sqrt(2 / np.pi) * np.exp(-ratio**2 / 2)
                      + distance * (1 - 2 * ndtr(-ratio)), distance)
    return max(float(counts @ (2 * distance - folded)) / len(p), 0.0)


def _by_patient(surplus: FloatArray, places: npt.NDArray[np.int64], patients: npt.ArrayLike,
                binomial: FloatArray) -> FloatArray:
    """Variance of the mean surplus of every bin with rows, by patients where it has several."""
    codes, count = cluster_codes(patients)
    counts = np.bincount(places, minlength=BINS)
    mean = np.divide(np.bincount(places, weights=surplus, minlength=BINS), counts,
                     out=np.zeros(BINS), where=counts > 0)
    cells = places * count + codes
    sums = np.bincount(cells, weights=surplus - mean[places], minlength=BINS * count)
    sums = sums.reshape(BINS, count)
    present = (np.bincount(cells, minlength=BINS * count).reshape(BINS, count) > 0).sum(axis=1)
    held = counts > 0
    several = present[held] > 1
    clustered = ((sums[held]**2).sum(axis=1) / counts[held]**2
                 * np.where(several, present[held] / np.maximum(present[held] - 1, 1), 1.0))
    return np.where(several, clustered, binomial)


def reliability(cases: pd.DataFrame, *, confidence_level: float = 0.95) -> pd.DataFrame:
    """Share of positives among cases of like probability: what a reliability diagram shows.

    Parameters
    ----------
    cases : pandas.DataFrame
        As for :func:`calibration_of_cases`.
    confidence_level : float
        Of Wilson's intervals, with the number of cases of a bin that their patients leave.

    Returns
    -------
    pandas.DataFrame
        ``model, finding, low, high`` (the bin, one of 10 of equal width), ``n, predicted`` (mean
        probability), ``observed`` (share of positives), ``conf_low, conf_high``.  Bins without
        cases have no row.

    Examples
    --------
    >>> cases = pd.DataFrame({"model": "net", "finding": "Edema", "label": [0, 1, 1],
    ...                       "patient": ["a", "b", "c"], "probability": [0.12, 0.18, 0.75]})
    >>> reliability(cases)[["low", "n", "predicted", "observed"]].round(3).values.tolist()
    [[0.1, 2.0, 0.15, 0.5], [0.7, 1.0, 0.75, 1.0]]
    """
    check_confidence_level(confidence_level)
    rows = []
    for (model, finding), group in cases.groupby(["model", "finding"], sort=False):
        p, label = group["probability"].to_numpy(), group["label"].to_numpy(dtype=np.float64)
        place, patients = _bins(p), group["patient"].to_numpy(dtype=object)
        for k in np.unique(place).tolist():
            inside = place == k
            low, high = clustered_wilson(label[inside], patients[inside], confidence_level)
            rows.append({"model": model, "finding": finding, "low": k / BINS,
                         "high": (k + 1) / BINS, "n": int(inside.sum()),
                         "predicted": float(p[inside].mean()),
                         "observed": float(label[inside].mean()), "conf_low": low,
                         "conf_high": high})
    return pd.DataFrame(rows)


def _bins(p: FloatArray) -> npt.NDArray[np.int64]:
    return np.minimum((p * BINS).astype(np.int64), BINS - 1)


def _logits(p: FloatArray) -> FloatArray:
    inside = np.clip(p, _NEAREST, 1 - _NEAREST)
    return np.asarray(np.log(inside / (1 - inside)), dtype=np.float64)


def _slope(p: FloatArray, label: FloatArray, patients: npt.NDArray[np.object_],
           confidence_level: float) -> Estimate:
    """Slope of the label on the logit, against 1; errors clustered by patient."""
    fitted = logistic_regression(_logits(p), label, clusters=patients, null=1.0,
                                 confidence_level=confidence_level)
    # One case a patient that the probability separates: the penalised likelihood ratio.
    alone = fitted.slope.note == SEPARATED and len(set(patients)) == len(patients)
    fit = fitted.slope if alone else fitted.clustered
    meanings = {"all hits": "only positives are labelled",
                "all misses": "only negatives are labelled",
                "the regressor is constant": "the probability is constant",
                SEPARATED: "positives and negatives are separated: Firth's penalised likelihood"}
    # What is said of few degrees of freedom may follow.
    return replace(fit, note="; ".join(meanings.get(note, note) for note in fit.note.split("; ")))


def _intercept(p: FloatArray, label: FloatArray, patients: npt.NDArray[np.object_],
               confidence_level: float) -> Estimate:
    """Calibration in the large: what is to be added to every logit, clustered by patient."""
    n = len(label)
    if n < 2 or np.ptp(label) == 0:
        return Estimate(n=n, note="only one class is labelled")
    logits, positives = _logits(p), label.sum()
    farthest = float(np.abs(logits).max()) + float(np.log(n)) + 1
    shift = float(brentq(lambda value: float(expit(logits + value).sum()) - positives,
                         -farthest, farthest, xtol=1e-12))
    fitted = expit(logits + shift)
    robust = glm_cr2(np.ones((n, 1)), fitted * (1 - fitted), label - fitted, patients)
    if np.isnan(robust.std_error):
        return Estimate(estimate=shift, n=n, note="no clustered error: fewer than 2 patients")
    return t_estimate(shift, robust.std_error, robust.df, n, confidence_level=confidence_level)


def _unbiased(p: FloatArray, label: FloatArray, patients: npt.NDArray[np.object_],
              confidence_level: float) -> Estimate:
    """The debiased error with an interval of the jackknife over patients, without a test."""
    codes, count = cluster_codes(patients)
    left_out = [debiased_error(p[codes != c], label[codes != c], codes[codes != c])
                for c in range(count)]
    made = jackknife_estimate(debiased_error(p, label, codes), left_out, len(p), bounds=(0, 1),
                              confidence_level=confidence_level)
    return replace(made, statistic=float("nan"), p_value=float("nan"))


def _with_labels(cubes: xr.DataTree, probabilities: pd.DataFrame) -> pd.DataFrame:
    images = images_of(cubes)
    if images.labels is None:
        raise DataError("the cubes hold no labels (/reference/label is absent), so calibration "
                        "cannot be judged")
    known = np.argwhere(np.isin(images.labels, (Label.POSITIVE, Label.NEGATIVE)))
    names, patients, findings = (np.array(labels, dtype=object) for labels in
                                 (images.names, images.patients, images.findings))
    table = pd.DataFrame({"image": names[known[:, 0]], "finding": findings[known[:, 1]],
                          "label": images.labels[known[:, 0], known[:, 1]] == Label.POSITIVE,
                          "patient": patients[known[:, 0]]})
    return probabilities.merge(table, on=["image", "finding"])
