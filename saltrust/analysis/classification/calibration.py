"""Calibration: whether predicted probabilities are the shares of positives that they promise.

A model that is confident where it is wrong would relate localization to confidence for reasons
that have nothing to do with the maps.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from saltrust.analysis.inference.auc import roc_auc
from saltrust.analysis.inference.bootstrap import mean_interval, wilson_interval
from saltrust.analysis.inference.estimate import Estimate, check_confidence_level, estimates_table
from saltrust.analysis.inference.logistic import SEPARATED, logistic_regression
from saltrust.analysis.stored.images import images_of
from saltrust.cache.schema import Label
from saltrust.choices import BootstrapKind
from saltrust.errors import DataError

FloatArray = npt.NDArray[np.float64]

#: Equally wide bins of probability, for the expected calibration error.
BINS = 10
#: Logits are taken of probabilities this far from 0 and 1 at least.
_NEAREST = 1e-6


def calibration_table(cubes: xr.DataTree, probabilities: pd.DataFrame, *,
                      confidence_level: float = 0.95, resamples: int = 1000, seed: int = 0,
                      ) -> pd.DataFrame:
    """Brier score, calibration slope, expected calibration error and AUC.

    Parameters
    ----------
    cubes : xarray.DataTree
        For the labels and the patients.
    probabilities : pandas.DataFrame
        Columns ``image, finding, model, probability``.
    confidence_level : float
        Of the percentile bootstrap by patient (Brier score) and the Wald interval (slope).
    resamples, seed : int
        Of that bootstrap.

    Returns
    -------
    pandas.DataFrame
        ``model, finding`` and the uniform columns, with the terms ``brier`` (mean squared
        difference of probability and label), ``slope`` (of the label on the logit of the
        probability; 1 is calibrated, below 1 overconfident; tested against 0, like any
        slope), ``ece`` (over 10 equally wide bins) and ``auc``.  Uncertain and unstated labels
        are left out.

    References
    ----------
    E. W. Steyerberg et al. (2010), Epidemiology 21, 128-138.
    """
    return calibration_of_cases(_with_labels(cubes, probabilities), resamples=resamples,
                                confidence_level=confidence_level, seed=seed)


def calibration_of_cases(cases: pd.DataFrame, *, confidence_level: float = 0.95,
                         resamples: int = 1000, seed: int = 0,
                         kind: BootstrapKind = "percentile") -> pd.DataFrame:
    """Brier score, calibration slope, expected calibration error and AUC of labelled cases.

    Parameters
    ----------
    cases : pandas.DataFrame
        Columns ``patient, finding, model, label`` (0, 1 or bool) and ``probability``.
    confidence_level : float
        Of the interval of the Brier score and of the Wald interval of the slope.
    resamples, seed : int
        Of the bootstrap by patient of the Brier score.
    kind : {"percentile", "bca"}
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
        rows += [{**name, **brier.row("brier")},
                 {**name, **_slope(p, label, confidence_level).row("slope")},
                 {**name, **Estimate(estimate=expected_error(p, label), n=n).row("ece")},
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


def reliability(cases: pd.DataFrame, *, confidence_level: float = 0.95) -> pd.DataFrame:
    """Share of positives among cases of like probability: what a reliability diagram shows.

    Parameters
    ----------
    cases : pandas.DataFrame
        As for :func:`calibration_of_cases`.
    confidence_level : float
        Of Wilson's intervals, which take the cases of a bin for independent.

    Returns
    -------
    pandas.DataFrame
        ``model, finding, low, high`` (the bin, one of 10 of equal width), ``n, predicted`` (mean
        probability), ``observed`` (share of positives), ``conf_low, conf_high``.  Bins without
        cases have no row.

    Examples
    --------
    >>> cases = pd.DataFrame({"model": "net", "finding": "Edema", "label": [0, 1, 1],
    ...                       "probability": [0.12, 0.18, 0.75]})
    >>> reliability(cases)[["low", "n", "predicted", "observed"]].round(3).values.tolist()
    [[0.1, 2.0, 0.15, 0.5], [0.7, 1.0, 0.75, 1.0]]
    """
    check_confidence_level(confidence_level)
    rows = []
    for (model, finding), group in cases.groupby(["model", "finding"], sort=False):
        p, label = group["probability"].to_numpy(), group["label"].to_numpy(dtype=np.float64)
        place = _bins(p)
        for k in np.unique(place).tolist():
            inside = place == k
            n, positives = int(inside.sum()), int(label[inside].sum())
            low, high = wilson_interval(positives, n, confidence_level)
            rows.append({"model": model, "finding": finding, "low": k / BINS,
                         "high": (k + 1) / BINS, "n": n, "predicted": float(p[inside].mean()),
                         "observed": positives / n, "conf_low": low, "conf_high": high})
    return pd.DataFrame(rows)


def _bins(p: FloatArray) -> npt.NDArray[np.int64]:
    return np.minimum((p * BINS).astype(np.int64), BINS - 1)


def _slope(p: FloatArray, label: FloatArray, confidence_level: float) -> Estimate:
    inside = np.clip(p, _NEAREST, 1 - _NEAREST)
    fit = logistic_regression(np.log(inside / (1 - inside)), label,
                              confidence_level=confidence_level).slope
    meanings = {"all hits": "only positives are labelled",
                "all misses": "only negatives are labelled",
                "the regressor is constant": "the probability is constant",
                SEPARATED: "positives and negatives are separated: Firth's penalised likelihood"}
    note = meanings.get(fit.note, fit.note)
    return Estimate(fit.estimate, fit.std_error, fit.conf_low, fit.conf_high, fit.statistic,
                    fit.df, fit.p_value, fit.n, note)


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
