"""Rows of areas under ROC curves: of models, of pairs of them, and averaged over findings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtr, ndtri

from saltrust.analysis.inference.area_interval import effective_sizes, score_estimate
from saltrust.analysis.inference.auc_covariance import (
    auc_covariance,
    exchange_parts,
    left_out_aucs,
    resampled_aucs,
    weighted_aucs,
)
from saltrust.analysis.inference.bootstrap import percentile_interval
from saltrust.analysis.inference.estimate import Estimate
from saltrust.analysis.inference.jackknife import jackknife_estimate, share_jackknife
from saltrust.analysis.inference.resampling import resample_blocks
from saltrust.analysis.inference.sign_flips import sign_flip_test
from saltrust.analysis.options import Resampling
from saltrust.choices import AucInterval

FloatArray = npt.NDArray[np.float64]

#: What stands in the column ``finding`` for the mean over findings.
MACRO = "macro average"
_PROTOCOL_W = (30, 55, 60)


@dataclass(frozen=True)
class Cases:
    """Cases with a known label of one finding, predicted by every model.

    Attributes
    ----------
    positive : ndarray of bool, shape (n,)
    probability : ndarray of float64, shape (n, model)
    patients : ndarray of object, shape (n,)
    """

    positive: npt.NDArray[np.bool_]
    probability: FloatArray
    patients: npt.NDArray[np.object_]


def cases_by_finding(table: pd.DataFrame, models: Sequence[str]) -> dict[str, Cases]:
    """Cases of every finding.

    Parameters
    ----------
    table : pandas.DataFrame
        Of :func:`saltrust.analysis.classification.cases.case_table`.
    models : sequence of str
    """
    made = {}
    for finding, group in table.groupby("finding", sort=False):
        of_model = [group[group["model"] == model] for model in models]
        made[str(finding)] = Cases(
            of_model[0]["label"].to_numpy() == 1,
            np.column_stack([rows["probability"].to_numpy() for rows in of_model]),
            of_model[0]["patient"].to_numpy(dtype=object))
    return made


@dataclass(frozen=True)
class AucDraw:
    """How intervals of areas are had.

    Attributes
    ----------
    interval : {'newcombe', 'delong', 'bootstrap', 'protocol-w'}
    resampling : Resampling
    """

    interval: AucInterval
    resampling: Resampling

    def aucs(self, cases: Cases) -> FloatArray:
        """Areas in every resample, shape (resamples, model)."""
        if self.interval != "protocol-w":
            return resampled_aucs(cases.positive, cases.probability, cases.patients,
                                  resamples=self.resampling.resamples,
                                  seed=self.resampling.seed)
        count, low, high = _PROTOCOL_W
        n = len(cases.positive)
        generator = np.random.default_rng(self.resampling.seed)
        weights = np.zeros((count, n), dtype=np.int64)
        for row in weights:
            size = min(n, int(generator.integers(low, high + 1)))
            row[generator.choice(n, size, replace=False)] = 1
        return weighted_aucs(cases.positive, cases.probability, weights)


def _one_class(cases: Cases) -> str:
    if cases.positive.all():
        return "no negative case"
    return "" if cases.positive.any() else "no positive case"


def _counts(cases: Cases) -> dict[str, int]:
    return {"n_positive": int(cases.positive.sum()), "n_negative": int((~cases.positive).sum()),
            "patients": len(set(cases.patients))}


def auc_rows(finding: str, cases: Cases, models: list[str], draw: AucDraw
             ) -> Iterator[dict[str, Any]]:
    """One row per model."""
    areas = auc_covariance(cases.positive, cases.probability, cases.patients)
    plain = auc_covariance(cases.positive, cases.probability)
    resampled = draw.interval in {"bootstrap", "protocol-w"} and not _one_class(cases)
    drawn = draw.aucs(cases) if resampled else None
    for k, model in enumerate(models):
        variance = float(areas.covariance[k, k])
        if drawn is not None:
            made = _resampled(areas.auc[k], drawn[:, k], 0.5, draw, len(cases.positive))
        elif draw.interval == "newcombe" and not _one_class(cases):
            sizes = effective_sizes(cases.positive, cases.patients, variance,
                                    float(plain.covariance[k, k]), float(areas.df[k]))
            made = score_estimate(float(areas.auc[k]), float(np.sqrt(variance)), sizes,
                                  len(cases.positive), draw.resampling.confidence_level)
        else:
            made = _normal(areas.auc[k], variance, 0.5, draw, len(cases.positive),
                           bounds=(0, 1), note=_one_class(cases))
        yield {"finding": finding, "model": model, **made.row("auc"), **_counts(cases)}


def pair_rows(finding: str, cases: Cases, models: list[str], draw: AucDraw
              ) -> Iterator[dict[str, Any]]:
    """One row per pair of models, whose difference is of the same cases."""
    areas = auc_covariance(cases.positive, cases.probability, cases.patients)
    drawn = draw.aucs(cases) if draw.interval == "bootstrap" and not _one_class(cases) else None
    for a, b in combinations(range(len(models)), 2):
        difference = areas.auc[a] - areas.auc[b]
        if drawn is None:
            variance = (areas.covariance[a, a] + areas.covariance[b, b]
                        - 2 * areas.covariance[a, b])
            made = _normal(difference, variance, 0, draw, len(cases.positive),
                           note=_one_class(cases))
            if draw.interval == "newcombe" and not _one_class(cases):
                made = _exchanged(made, cases, a, b)
        else:
            made = _resampled(difference, drawn[:, a] - drawn[:, b], 0, draw, len(cases.positive))
        yield {"finding": finding, "model_a": models[a], "model_b": models[b],
               **made.row("auc difference")}


def _exchanged(made: Estimate, cases: Cases, a: int, b: int) -> Estimate:
    """A difference with the test that exchanges the ranks of two models within patients."""
    test = sign_flip_test(exchange_parts(cases.positive, cases.probability[:, a],
                                         cases.probability[:, b], cases.patients))
    return replace(made, statistic=test.statistic, df=np.inf, p_value=test.p_value)


@dataclass(frozen=True)
class _Macro:
    """Mean areas over the findings that have both classes.

    Attributes
    ----------
    areas : ndarray, shape (model,)
    drawn : ndarray, shape (resamples, model)
        In every resample, where patients are drawn for all findings at once; or, for the
        jackknife, without each patient.
    n : int
        Most cases of a finding.
    note : str
    """

    areas: FloatArray
    drawn: FloatArray
    n: int
    note: str

    def estimate(self, value: float, drawn: FloatArray, null: float, draw: AucDraw, *,
                 of_pair: bool = False) -> Estimate:
        """The mean area of a model, or the difference of two, with its interval."""
        if draw.interval != "newcombe":
            return _resampled(value, drawn, null, draw, self.n, self.note, median=not of_pair)
        level = draw.resampling.confidence_level
        made = (jackknife_estimate(value, drawn, self.n, null=null, bounds=(-1, 1),
                                   confidence_level=level) if of_pair else
                share_jackknife(value, drawn, self.n, null=null, confidence_level=level))
        return replace(made, note="; ".join(filter(None, (self.note, made.note))))


def _macro(cases: dict[str, Cases], draw: AucDraw) -> _Macro:
    usable = {finding: one for finding, one in cases.items() if not _one_class(one)}
    left_out = [finding for finding in cases if finding not in usable]
    note = f"without {', '.join(left_out)} (one class only)" if left_out else ""
    if not usable:
        width = next(iter(cases.values())).probability.shape[1]
        return _Macro(np.full(width, np.nan), np.empty((0, width)), 0, note)
    areas = [auc_covariance(one.positive, one.probability).auc for one in usable.values()]
    if draw.interval == "protocol-w":
        drawn = np.mean([draw.aucs(one) for one in usable.values()], axis=0)
    elif draw.interval == "newcombe":
        drawn = _macro_left_out(list(usable.values()))
    else:
        drawn = _jointly_resampled(list(usable.values()), draw)
    return _Macro(np.mean(areas, axis=0), drawn,
                  max(len(one.positive) for one in usable.values()), note)


def _jointly_resampled(cases: list[Cases], draw: AucDraw) -> FloatArray:
    everyone = list(dict.fromkeys(name for one in cases for name in one.patients))
    place = {name: k for k, name in enumerate(everyone)}
    codes = [np.array([place[name] for name in one.patients]) for one in cases]
    blocks = [np.mean([weighted_aucs(one.positive, one.probability, weights[:, of])
                       for one, of in zip(cases, codes, strict=True)], axis=0)
              for weights in resample_blocks(len(everyone), draw.resampling.resamples,
                                       draw.resampling.seed)]
    return np.concatenate(blocks)


def _macro_left_out(cases: Sequence[Cases]) -> FloatArray:
    """Mean area over findings with one patient left out, shape (patients, model)."""
    everyone = list(dict.fromkeys(name for one in cases for name in one.patients))
    means = np.zeros((len(everyone), cases[0].probability.shape[1]))
    for one in cases:
        # Whoever has no case of a finding leaves its area as it is.
        whole = auc_covariance(one.positive, one.probability).auc
        left = dict(zip(dict.fromkeys(one.patients),
                        left_out_aucs(one.positive, one.probability, one.patients), strict=True))
        means += np.array([left.get(name, whole) for name in everyone])
    return means / len(cases)


def macro_auc_rows(cases: dict[str, Cases], models: list[str], draw: AucDraw
                   ) -> Iterator[dict[str, Any]]:
    """One row per model, of the mean over findings."""
    macro = _macro(cases, draw)
    patients = len({name for one in cases.values() for name in one.patients})
    counts = {"n_positive": np.nan, "n_negative": np.nan, "patients": patients}
    for k, model in enumerate(models):
        made = macro.estimate(macro.areas[k], macro.drawn[:, k], 0.5, draw)
        yield {"finding": MACRO, "model": model, **made.row("auc"), **counts}


def macro_pair_rows(cases: dict[str, Cases], models: list[str], draw: AucDraw
                    ) -> Iterator[dict[str, Any]]:
    """One row per pair of models, of the mean over findings."""
    macro = _macro(cases, draw)
    for a, b in combinations(range(len(models)), 2):
        made = macro.estimate(macro.areas[a] - macro.areas[b],
                              macro.drawn[:, a] - macro.drawn[:, b], 0, draw, of_pair=True)
        yield {"finding": MACRO, "model_a": models[a], "model_b": models[b],
               **made.row("auc difference")}


def drawn_areas(cases: dict[str, Cases], resampling: Resampling
                ) -> dict[str, tuple[FloatArray, FloatArray, str]]:
    """Areas of all models in the data and in every resample of patients.

    Parameters
    ----------
    cases : dict of str to Cases
    resampling : Resampling

    Returns
    -------
    dict
        By finding, and last :data:`MACRO` where there are several: areas, shape (model,), areas
        in every resample, shape (resamples, model), and a note.
    """
    draw = AucDraw("bootstrap", resampling)
    made = {}
    for finding, one in cases.items():
        note = _one_class(one)
        areas = auc_covariance(one.positive, one.probability).auc
        made[finding] = (areas, np.empty((0, len(areas))) if note else draw.aucs(one), note)
    if len(cases) > 1:
        macro = _macro(cases, draw)
        made[MACRO] = macro.areas, macro.drawn, macro.note
    return made


def _normal(estimate: float, variance: float, null: float, draw: AucDraw, n: int, *,
            bounds: tuple[float, float] = (-1, 1), note: str = "") -> Estimate:
    if np.isnan(estimate):
        return Estimate(n=n, note=note)
    if np.isnan(variance):
        return Estimate(estimate=float(estimate), n=n,
                        note="no interval: fewer than two patients of a class")
    error = float(np.sqrt(max(variance, 0.0)))
    if error < 1e-12:  # Rounding is all that is left of the variance of equal placements.
        return Estimate(estimate=float(estimate), std_error=0.0, n=n, p_value=np.nan,
                        conf_low=float(estimate), conf_high=float(estimate),
                        note="no variance between cases: the interval has no width")
    half = float(-ndtri((1 - draw.resampling.confidence_level) / 2)) * error
    statistic = (estimate - null) / error
    return Estimate(
        estimate=float(estimate), std_error=error, conf_low=float(max(bounds[0], estimate - half)),
        conf_high=float(min(bounds[1], estimate + half)), statistic=float(statistic),
        df=np.inf, p_value=float(2 * ndtr(-abs(statistic))), n=n, note=note)


def _resampled(estimate: float, drawn: FloatArray, null: float, draw: AucDraw, n: int,
               note: str = "", *, median: bool = True) -> Estimate:
    usable = drawn[np.isfinite(drawn)]
    if np.isnan(estimate) or len(usable) < 2:
        return Estimate(estimate=float(estimate), n=n,
                        note=note or "no interval: resamples lack a class")
    low, high, _ = percentile_interval(usable, draw.resampling.confidence_level)
    if draw.interval == "protocol-w" and n <= _PROTOCOL_W[1]:
        return Estimate(estimate=float(estimate), n=n, note="; ".join(filter(None, (
            note, f"no interval: the paper's samples are of {_PROTOCOL_W[1]} cases or more, and "
                  f"there are {n}"))))
    lost = len(drawn) - len(usable)
    notes = [note, f"{lost} resamples lacked a class and were left out" if lost else ""]
    if draw.interval == "protocol-w":
        shown = float(np.median(usable)) if median else float(estimate)
        notes.append("as the paper, without a test")
        p_value = np.nan
    else:
        shown = float(estimate)
        tail = min(np.sum(usable <= null), np.sum(usable >= null))
        p_value = min(1.0, 2 * (float(tail) + 1) / (len(usable) + 1))
    return Estimate(estimate=shown, std_error=float(np.std(usable, ddof=1)), conf_low=float(low),
                    conf_high=float(high), p_value=p_value, n=n,
                    note="; ".join(part for part in notes if part))
