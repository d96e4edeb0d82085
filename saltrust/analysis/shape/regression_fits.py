"""The regressions of protocol S once more, by models that know which rows belong together.

Least squares takes every row for independent.  Beside it, on the same rows and with the same
min-max normalised descriptor: random intercepts for image, patient and finding, and log odds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from saltrust.analysis.inference.estimate import Estimate, estimates_table
from saltrust.analysis.inference.logistic import SEPARATED, logistic_regression
from saltrust.analysis.inference.logit_means import LogitMean, logit_mean
from saltrust.analysis.inference.ordered_beta import ordered_beta
from saltrust.analysis.inference.two_part import two_part_effect
from saltrust.choices import Fit, MeanCovariance
from saltrust.errors import DataError

FloatArray = npt.NDArray[np.float64]
#: What may have a random intercept.
_RANDOM = ("image", "patient", "finding")
_NO_HIT = "a mean over several readers is neither hit nor miss: name one benchmark reader"

FITS: dict[Fit, str] = {
    "ols": "least squares with classical errors (table classical)",
    "cluster": "least squares with CR2 errors clustered by patient (table robust)",
    "mixed": "random intercepts for image, patient and finding, REML, Satterthwaite (table mixed)",
    "logit": "log odds of a hit, CR2 errors clustered by patient; where hits and misses are "
             "separated Firth's estimate, of single rows with its profile (table logit)",
    "fractional": "fractional logit of the mean IoU, CR2 errors clustered by patient, with its "
                  "marginal effect (table fractional)",
    "two-part": "logit of whether the IoU is above 0 and fractional logit of what is, marginal "
                "effect on the mean IoU, errors clustered by patient (table two_part)",
    "ordbeta": "ordered beta regression of the IoU (Kubinec), marginal effect on the mean IoU, "
               "errors clustered by patient (table ordbeta)",
    "gee": "log odds of a hit by estimating equations, independence within patients, covariance of "
           "Mancl and DeRouen, t with G - p degrees of freedom (table gee)",
    "joint": "least squares on all descriptors together, with variance inflation factors (table "
             "joint)",
    "diagnostics": "of every least-squares fit Cook's distance, the tests of Breusch and Pagan and "
                   "of Ramsey (table diagnostics), and mean residuals (table residuals)",
}


@dataclass(frozen=True)
class Design:
    """One regression before it is fitted.

    Attributes
    ----------
    name : dict of str to str
        What identifies the row.
    x, y : ndarray of float64, shape (n,)
        Descriptor, min-max normalised, and response.
    image, finding : ndarray of str, shape (n,)
    clusters : ndarray, shape (n,)
        Patients, by number.
    patient : ndarray, shape (n,)
        Their names, empty where they are not known.
    missing : str
        Why there is nothing to fit, else empty.
    """

    name: dict[str, str]
    x: FloatArray
    y: FloatArray
    image: npt.NDArray[Any]
    finding: npt.NDArray[Any]
    clusters: npt.NDArray[Any]
    patient: npt.NDArray[Any]
    missing: str


def mixed_table(designs: Iterable[Design], identify: tuple[str, ...], confidence_level: float
                ) -> pd.DataFrame:
    """Slopes with random intercepts for image, patient and finding.

    Returns
    -------
    pandas.DataFrame
        The identifying columns, the uniform ones (t with Satterthwaite's degrees of freedom),
        and the standard deviations ``sd_image``, ``sd_patient``, ``sd_finding`` and
        ``sd_residual``.
    """
    extra = ("sd_image", "sd_patient", "sd_finding", "sd_residual")
    rows = []
    for design in designs:
        estimate, deviations = (Estimate(note=design.missing), {}) if design.missing else _mixed(
            design, confidence_level)
        rows.append({**design.name, **estimate.row(design.name["descriptor"]),
                     **{f"sd_{name}": deviations.get(name, np.nan)
                        for name in (*_RANDOM, "residual")}})
    return estimates_table(rows, identify, extra)


def logit_table(designs: Iterable[Design], identify: tuple[str, ...], confidence_level: float
                ) -> pd.DataFrame:
    """Slopes of the log odds of a hit.

    Returns
    -------
    pandas.DataFrame
        Rows of the scheme ``hit`` whose response is a person's or a map's: the identifying
        columns, the uniform ones, ``odds_ratio, odds_low, odds_high`` per full range of the
        descriptor, ``std_error_clustered`` (CR2) and ``std_error_classical`` of rows taken as
        independent, and ``errors``, which
        says what the uniform columns have: ``cr2`` where a patient has several rows, else
        ``classical``, or ``profile`` where hits and misses are separated.
    """
    extra = ("odds_ratio", "odds_low", "odds_high", "std_error_clustered",
             "std_error_classical", "errors")
    rows = []
    for design in designs:
        if design.name["scheme"] != "hit" or design.name["response"] == "difference":
            continue
        clustered, classical, errors = float("nan"), float("nan"), ""
        if design.missing:
            estimate = Estimate(note=design.missing)
        elif not np.isin(design.y, (0.0, 1.0)).all():
            estimate = Estimate(n=len(design.y), note=_NO_HIT)
        else:
            fit = logistic_regression(design.x, design.y, clusters=design.clusters,
                                      confidence_level=confidence_level)
            single = len(set(design.clusters)) == len(design.clusters)
            errors = ("cr2" if not single else
                      "profile" if fit.slope.note == SEPARATED else "classical")
            estimate = fit.slope if single else fit.clustered
            clustered, classical = fit.clustered.std_error, fit.slope.std_error
        odds = np.exp(np.clip([estimate.estimate, estimate.conf_low, estimate.conf_high],
                              -700, 700)).tolist()
        rows.append({**design.name, **estimate.row(design.name["descriptor"]),
                     **dict(zip(extra, [*odds, clustered, classical, errors], strict=True))})
    return estimates_table(rows, identify, extra)


def fractional_table(designs: Iterable[Design], identify: tuple[str, ...],
                     confidence_level: float) -> pd.DataFrame:
    """Slopes of the log odds of the mean IoU, whatever its distribution in 0..1.

    Returns
    -------
    pandas.DataFrame
        Rows of the scheme ``iou`` whose response is a person's or a map's: the identifying
        columns, the uniform ones, then of the marginal effect on the mean IoU per full range of
        the descriptor ``effect, effect_error, effect_low, effect_high, effect_p``, ``clusters``
        and ``errors`` (``cr2``).
    """
    return _means(designs, identify, "iou", "cr2", confidence_level)


def two_part_table(designs: Iterable[Design], identify: tuple[str, ...], confidence_level: float
                   ) -> pd.DataFrame:
    """Marginal effects on the mean IoU of two parts: whether there is any, and how much.

    Returns
    -------
    pandas.DataFrame
        Rows of the scheme ``iou`` whose response is a person's or a map's: the identifying
        columns and the uniform ones, per full range of the descriptor.
    """
    return _effects(designs, identify, lambda design: two_part_effect(
        design.x, design.y, design.clusters, confidence_level=confidence_level))


def ordbeta_table(designs: Iterable[Design], identify: tuple[str, ...], confidence_level: float
                  ) -> pd.DataFrame:
    """Marginal effects on the mean IoU by ordered beta regression.

    Returns
    -------
    pandas.DataFrame
        The rows and columns of :func:`two_part_table`.
    """
    return _effects(designs, identify, lambda design: ordered_beta(
        design.x, design.y, design.clusters, confidence_level=confidence_level).effect)


def _effects(designs: Iterable[Design], identify: tuple[str, ...],
             effect: Callable[[Design], Estimate]) -> pd.DataFrame:
    rows = [{**design.name, **(Estimate(note=design.missing) if design.missing else
                               effect(design)).row(design.name["descriptor"])}
            for design in designs
            if design.name["scheme"] == "iou" and design.name["response"] != "difference"]
    return estimates_table(rows, identify)


def gee_table(designs: Iterable[Design], identify: tuple[str, ...], confidence_level: float
              ) -> pd.DataFrame:
    """Slopes of the log odds of a hit by estimating equations.

    Returns
    -------
    pandas.DataFrame
        The columns of :func:`fractional_table`, of the scheme ``hit`` and the hit rate.
    """
    return _means(designs, identify, "hit", "mancl-derouen", confidence_level)


def _means(designs: Iterable[Design], identify: tuple[str, ...], scheme: str,
           covariance: MeanCovariance, confidence_level: float) -> pd.DataFrame:
    extra = ("effect", "effect_error", "effect_low", "effect_high", "effect_p", "clusters",
             "errors")
    rows = []
    for design in designs:
        if design.name["scheme"] != scheme or design.name["response"] == "difference":
            continue
        if design.missing:
            nothing = Estimate(note=design.missing)
            made = LogitMean(nothing, nothing)
        elif scheme == "hit" and not np.isin(design.y, (0.0, 1.0)).all():
            nothing = Estimate(n=len(design.y), note=_NO_HIT)
            made = LogitMean(nothing, nothing)
        else:
            made = logit_mean(design.x, design.y, design.clusters, covariance=covariance,
                              confidence_level=confidence_level)
        effect = made.marginal
        rows.append({
            **design.name, **made.slope.row(design.name["descriptor"]),
            **dict(zip(extra, [effect.estimate, effect.std_error, effect.conf_low,
                               effect.conf_high, effect.p_value, made.clusters, covariance],
                       strict=True))})
    return estimates_table(rows, identify, extra).astype({"clusters": "int64"})


def _mixed(design: Design, confidence_level: float) -> tuple[Estimate, dict[str, float]]:
    from saltrust.analysis.mixed.model import fit_model
    from saltrust.analysis.mixed.options import Fitting

    n = len(design.y)
    if n < 4 or np.ptp(design.x) == 0 or np.ptp(design.y) == 0:
        return Estimate(n=n, note="too few rows, or nothing varies"), {}
    frame = pd.DataFrame({"image": design.image, "patient": design.clusters,
                          "finding": design.finding, "x": design.x, "y": design.y})
    # With one level, or one row per level, an intercept cannot be told from another term.
    groups = [name for name in _RANDOM if 1 < frame[name].nunique() < n]
    if "patient" in groups and frame["patient"].nunique() == frame["image"].nunique():
        groups.remove("patient")
    if not groups:
        return Estimate(n=n, note="no image, patient or finding has several rows: use ols"), {}
    formula = "y ~ x + " + " + ".join(f"(1 | {name})" for name in groups)
    try:
        # Trial steps of the search may leave the region where the likelihood is defined.
        with np.errstate(all="ignore"):
            # What it warns of stands in the note of the row.
            fitted, _ = fit_model(frame, formula, fitting=Fitting(engine="builtin"),
                                  confidence_level=confidence_level)
    except DataError as error:
        return Estimate(n=n, note=str(error)), {}
    effects = fitted.tables["fixed_effects"]
    row = effects[effects["term"] == "x"].to_dict("records")[0]
    if not np.isfinite([row["estimate"], row["std_error"]]).all():
        return Estimate(n=n, note="the mixed model does not converge"), {}
    deviations = {str(name).lower(): float(sd) for name, sd in zip(
        fitted.tables["random_effects"]["group"], fitted.tables["random_effects"]["sd"],
        strict=True)}
    left_out = [name for name in _RANDOM if name not in groups]
    notes = [*fitted.meta.get("notes", []),
             *(f"no random intercept for {name}: " + (
                 "there is but 1" if len(set(frame[name])) == 1 else "it does not repeat")
               for name in left_out)]
    return Estimate(float(row["estimate"]), float(row["std_error"]), float(row["conf_low"]),
                    float(row["conf_high"]), float(row["statistic"]), float(row["df"]),
                    float(row["p_value"]), n, "; ".join(map(str, notes))), deviations
