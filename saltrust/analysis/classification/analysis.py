"""Image-level performance: areas under ROC curves with intervals, and models compared.

Cases are images, or examinations: the probability of an examination is the largest of its
views, as protocol S has it, taken from the stored probabilities of the images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from scipy.special import ndtr, ndtri

from saltrust.analysis.classification.calibration import calibration_of_cases
from saltrust.analysis.inference.auc_covariance import (
    auc_covariance,
    resampled_aucs,
    weighted_aucs,
)
from saltrust.analysis.inference.bootstrap import percentile_interval
from saltrust.analysis.inference.estimate import Estimate, check_confidence_level, estimates_table
from saltrust.analysis.inference.multiplicity import adjust_families
from saltrust.analysis.inference.resampling import check_resampling, resample_blocks
from saltrust.analysis.result import Result
from saltrust.analysis.select import label_positions
from saltrust.analysis.stored.contents import source
from saltrust.analysis.stored.maps import select_images
from saltrust.cache.schema import Label
from saltrust.choices import Adjustment, AucInterval, CaseLevel, words
from saltrust.errors import DataError, UsageError, nearest

FloatArray = npt.NDArray[np.float64]

LEVELS = words(CaseLevel)
INTERVALS: dict[AucInterval, str] = {
    "delong": "normal, with the covariance of DeLong, clustered by patient as Obuchowski's",
    "bootstrap": "percentiles of resamples of patients",
    "protocol-w": "median and percentiles of 30 samples of 55 to 60 cases, without replacement",
}
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


def classification(
    cubes: xr.DataTree,
    *,
    split: str | None = None,
    findings: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    level: CaseLevel = "image",
    interval: AucInterval = "delong",
    adjustment: Adjustment = "bonferroni",
    resamples: int = 1000,
    confidence_level: float = 0.95,
    seed: int = 0,
) -> Result:
    """Areas under the ROC curves of every model and finding, and all pairs of models.

    Parameters
    ----------
    cubes : xarray.DataTree
    split : str, optional
        Only images of this split.
    findings, models : sequence of str, optional
        Only these.
    level : {'image', 'study'}
        What a case is.  An examination is positive where one of its images is, else uncertain
        where one is, else negative; its probability is the maximum over its images.
    interval : {'delong', 'bootstrap', 'protocol-w'}
        :data:`INTERVALS`.  The macro average, which has no covariance of DeLong, takes the
        bootstrap in its place.
    adjustment : str
        Of the p-values of the pairs of models, one family per finding.
    resamples, confidence, seed
        Of the bootstrap and of every interval.

    Returns
    -------
    Result
        Tables ``auc`` (``finding, model`` and the uniform columns, with ``n_positive,
        n_negative, patients``), ``comparisons`` (``finding, model_a, model_b``; the difference
        is of a minus b, paired by case), ``calibration``
        (:func:`saltrust.analysis.classification.calibration.calibration_of_cases`) and ``cases``
        (``case,
        patient, finding, model, label, probability``).  Cases that any chosen model did not
        predict, and those whose label is uncertain or not stated, are left out and counted.

    Raises
    ------
    UsageError
        If an option, a finding, a model or the split is not known.
    DataError
        If the cubes hold no labels or predictions, or no examinations for ``level='study'``.
    """
    for name, value, known in (("level", level, LEVELS), ("interval", interval, INTERVALS)):
        if value not in known:
            raise UsageError(f"{name} = {value!r} is not known; {nearest(value, known)}")
    check_confidence_level(confidence_level)
    check_resampling(resamples, seed)
    table, exclusions = case_table(cubes, split=split, findings=findings, models=models,
                                   level=level)
    names = list(dict.fromkeys(table["model"]))
    cases = {str(finding): _cases(group, names)
             for finding, group in table.groupby("finding", sort=False)}
    draw = _Draw(interval, resamples, confidence_level, seed)
    rows = [row for finding, found in cases.items() for row in _aucs(finding, found, names, draw)]
    pairs = [row for finding, found in cases.items() for row in _pairs(finding, found, names, draw)]
    if len(cases) > 1:
        rows += _macro_aucs(cases, names, draw)
        pairs += _macro_pairs(cases, names, draw)
    tables = {"auc": estimates_table(rows, ("finding", "model"),
                                     ("n_positive", "n_negative", "patients"))}
    if pairs:
        compared = estimates_table(pairs, ("finding", "model_a", "model_b"))
        size = len(names) * (len(names) - 1) // 2
        tables["comparisons"] = adjust_families(
            compared, compared["finding"] + f": {size} pairs of models", adjustment,
            {f"{finding}: {size} pairs of models": size for finding in (*cases, MACRO)})
    tables["calibration"] = calibration_of_cases(table, confidence_level=confidence_level,
                                                 resamples=resamples, seed=seed)
    tables["cases"] = table
    meta = {"level": level, "split": split or "all", "interval": INTERVALS[interval],
            "confidence_level": confidence_level, "resamples": resamples, "seed": seed,
            "adjustment": adjustment, "cases": int(table["case"].nunique()),
            "patients": int(table["patient"].nunique()), "exclusions": exclusions}
    return Result(meta, tables)


def case_table(cubes: xr.DataTree, *, split: str | None = None,
               findings: Sequence[str] | None = None, models: Sequence[str] | None = None,
               level: CaseLevel = "image") -> tuple[pd.DataFrame, dict[str, int]]:
    """Label and probability of every case that has both, one row per model.

    Parameters
    ----------
    cubes, split, findings, models, level
        As :func:`classification`.

    Returns
    -------
    table : pandas.DataFrame
        ``case, patient, finding, model, label`` (0, 1), ``probability``.
    exclusions : dict of str to int
        Cases times findings left out, by reason.
    """
    images = select_images(cubes, split, findings)
    if images.labels is None:
        raise DataError(f"{source(cubes)} holds no labels, which a ROC curve needs; give the data "
                        "set labels and generate the cubes again")
    if "prediction" not in cubes.children or "probability" not in cubes["prediction"].data_vars:
        raise DataError(f"{source(cubes)} has no predictions (/prediction/probability is absent); "
                        "run `saltrust generate`")
    stored = cubes["prediction"].to_dataset()["probability"].transpose("image", "finding", "model")
    known = [str(name) for name in stored["model"].values]
    columns = label_positions(known, models, "model")
    probability = stored.values[:, :, columns].astype(np.float64)
    names, members = _members(cubes, images.names, images.chosen, level)
    exclusions: dict[str, int] = {}
    parts = []
    for f in images.chosen_findings.tolist():
        label = np.array([_label(images.labels[rows, f]) for rows in members])
        scores = np.stack([probability[rows, f].max(axis=0) for rows in members])
        predicted = np.isfinite(scores).all(axis=1)
        for reason, out in (
            ("label uncertain", label == Label.UNCERTAIN),
            ("label not stated", label == Label.NOT_STATED),
            ("not predicted by every model", ~predicted
             & np.isin(label, (Label.POSITIVE, Label.NEGATIVE))),
        ):
            if out.any():
                exclusions[reason] = exclusions.get(reason, 0) + int(out.sum())
        kept = np.flatnonzero(predicted & np.isin(label, (Label.POSITIVE, Label.NEGATIVE)))
        for column, m in enumerate(np.asarray(columns).tolist()):
            parts.append(pd.DataFrame({
                "case": [names[i] for i in kept],
                "patient": [images.patients[members[i][0]] for i in kept],
                "finding": images.findings[f], "model": known[m],
                "label": (label[kept] == Label.POSITIVE).astype(np.int64),
                "probability": scores[kept, column]}))
    table = pd.concat(parts, ignore_index=True)
    if table.empty:
        reasons = ", ".join(f"{count} {reason}" for reason, count in exclusions.items())
        raise DataError(f"{source(cubes)} has no case with a label and a prediction ({reasons}); "
                        "choose another split, or generate predictions of it")
    return table, exclusions


def _members(cubes: xr.DataTree, names: Sequence[str], chosen: npt.NDArray[np.intp],
             level: CaseLevel) -> tuple[list[str], list[list[int]]]:
    """Name and images of every case."""
    if level == "image":
        return [names[i] for i in chosen], [[int(i)] for i in chosen]
    root = cubes.to_dataset()
    if "study" not in root.variables:
        raise DataError(f"{source(cubes)} does not say which examination an image belongs to "
                        "(there is no coordinate study); take --level image")
    examinations = [str(name) for name in root["study"].values]
    patients = [str(name) for name in root["patient"].values] if "patient" in root.variables \
        else [""] * len(names)
    members: dict[tuple[str, str], list[int]] = {}
    for i in chosen.tolist():
        # An image of no stated examination stands for itself; "study1" is of one patient only.
        place = (patients[i], examinations[i]) if examinations[i] else ("", names[i])
        members.setdefault(place, []).append(i)
    return (["/".join(part for part in place if part) for place in members],
            list(members.values()))


def _label(labels: npt.NDArray[np.int8]) -> int:
    for label in (Label.POSITIVE, Label.UNCERTAIN, Label.NEGATIVE):
        if (labels == label).any():
            return int(label)
    return int(Label.NOT_STATED)


def _cases(group: pd.DataFrame, models: list[str]) -> Cases:
    wide = [group[group["model"] == model] for model in models]
    first = wide[0]
    return Cases(first["label"].to_numpy() == 1,
                 np.column_stack([part["probability"].to_numpy() for part in wide]),
                 first["patient"].to_numpy(dtype=object))


@dataclass(frozen=True)
class _Draw:
    interval: AucInterval
    resamples: int
    confidence_level: float
    seed: int

    def aucs(self, cases: Cases) -> FloatArray:
        """Areas in every resample, shape (resamples, model)."""
        if self.interval != "protocol-w":
            return resampled_aucs(cases.positive, cases.probability, cases.patients,
                                  resamples=self.resamples, seed=self.seed)
        count, low, high = _PROTOCOL_W
        n = len(cases.positive)
        generator = np.random.default_rng(self.seed)
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


def _aucs(finding: str, cases: Cases, models: list[str], draw: _Draw) -> Iterator[dict[str, Any]]:
    found = auc_covariance(cases.positive, cases.probability, cases.patients)
    drawn = None if draw.interval == "delong" or _one_class(cases) else draw.aucs(cases)
    for k, model in enumerate(models):
        if drawn is None:
            made = _normal(found.auc[k], found.covariance[k, k], 0.5, draw, len(cases.positive),
                           bounds=(0, 1), note=_one_class(cases))
        else:
            made = _resampled(found.auc[k], drawn[:, k], 0.5, draw, len(cases.positive))
        yield {"finding": finding, "model": model, **made.row("auc"), **_counts(cases)}


def _pairs(finding: str, cases: Cases, models: list[str], draw: _Draw) -> Iterator[dict[str, Any]]:
    found = auc_covariance(cases.positive, cases.probability, cases.patients)
    drawn = draw.aucs(cases) if draw.interval == "bootstrap" and not _one_class(cases) else None
    for a, b in combinations(range(len(models)), 2):
        difference = found.auc[a] - found.auc[b]
        if drawn is None:
            variance = (found.covariance[a, a] + found.covariance[b, b]
                        - 2 * found.covariance[a, b])
            made = _normal(difference, variance, 0, draw, len(cases.positive),
                           note=_one_class(cases))
        else:
            made = _resampled(difference, drawn[:, a] - drawn[:, b], 0, draw, len(cases.positive))
        yield {"finding": finding, "model_a": models[a], "model_b": models[b],
               **made.row("auc difference")}


def _macro(cases: dict[str, Cases], draw: _Draw) -> tuple[FloatArray, FloatArray, int, str]:
    """Mean area over findings, and in every resample: patients are drawn for all at once."""
    usable = {finding: one for finding, one in cases.items() if not _one_class(one)}
    left_out = [finding for finding in cases if finding not in usable]
    note = f"without {', '.join(left_out)} (one class only)" if left_out else ""
    if not usable:
        width = next(iter(cases.values())).probability.shape[1]
        return np.full(width, np.nan), np.empty((0, width)), 0, note
    areas = [auc_covariance(one.positive, one.probability).auc for one in usable.values()]
    if draw.interval == "protocol-w":
        drawn = np.mean([draw.aucs(one) for one in usable.values()], axis=0)
    else:
        drawn = _jointly_resampled(list(usable.values()), draw)
    return np.mean(areas, axis=0), drawn, max(len(one.positive) for one in usable.values()), note


def _jointly_resampled(cases: list[Cases], draw: _Draw) -> FloatArray:
    everyone = list(dict.fromkeys(name for one in cases for name in one.patients))
    place = {name: k for k, name in enumerate(everyone)}
    codes = [np.array([place[name] for name in one.patients]) for one in cases]
    blocks = [np.mean([weighted_aucs(one.positive, one.probability, weights[:, of])
                       for one, of in zip(cases, codes, strict=True)], axis=0)
              for weights in resample_blocks(len(everyone), draw.resamples, draw.seed)]
    return np.concatenate(blocks)


def _macro_aucs(cases: dict[str, Cases], models: list[str], draw: _Draw
                ) -> Iterator[dict[str, Any]]:
    areas, drawn, n, note = _macro(cases, draw)
    patients = len({name for one in cases.values() for name in one.patients})
    counts = {"n_positive": np.nan, "n_negative": np.nan, "patients": patients}
    for k, model in enumerate(models):
        made = _resampled(areas[k], drawn[:, k], 0.5, draw, n, note)
        yield {"finding": MACRO, "model": model, **made.row("auc"), **counts}


def _macro_pairs(cases: dict[str, Cases], models: list[str], draw: _Draw
                 ) -> Iterator[dict[str, Any]]:
    areas, drawn, n, note = _macro(cases, draw)
    for a, b in combinations(range(len(models)), 2):
        made = _resampled(areas[a] - areas[b], drawn[:, a] - drawn[:, b], 0, draw, n, note,
                          median=False)
        yield {"finding": MACRO, "model_a": models[a], "model_b": models[b],
               **made.row("auc difference")}


def _normal(estimate: float, variance: float, null: float, draw: _Draw, n: int, *,
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
    half = float(-ndtri((1 - draw.confidence_level) / 2)) * error
    statistic = (estimate - null) / error
    return Estimate(
        estimate=float(estimate), std_error=error, conf_low=float(max(bounds[0], estimate - half)),
        conf_high=float(min(bounds[1], estimate + half)), statistic=float(statistic),
        df=np.inf, p_value=float(2 * ndtr(-abs(statistic))), n=n, note=note)


def _resampled(estimate: float, drawn: FloatArray, null: float, draw: _Draw, n: int,
               note: str = "", *, median: bool = True) -> Estimate:
    usable = drawn[np.isfinite(drawn)]
    if np.isnan(estimate) or len(usable) < 2:
        return Estimate(estimate=float(estimate), n=n,
                        note=note or "no interval: resamples lack a class")
    low, high, _ = percentile_interval(usable, draw.confidence_level)
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
