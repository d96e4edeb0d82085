"""Rows of figures of merit: of explainers and models, and of their differences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit, logit

from saltrust.analysis.inference.bootstrap import FEWEST_PATIENTS
from saltrust.analysis.inference.estimate import Estimate, t_estimate
from saltrust.analysis.inference.free_response import (
    CURVES,
    Figure,
    FreeResponse,
    figure_of_merit,
    left_out_figures,
    operating_points,
)
from saltrust.analysis.inference.max_t import resamples_for, step_down
from saltrust.analysis.inference.resampling import cluster_codes
from saltrust.analysis.options import Resampling

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
#: Explainer and model.
Series = tuple[str, str]

#: What stands in the column ``finding`` for the mean over findings.
AVERAGE = "average"
IDENTIFY = ("finding", "explainer", "model", "metric")
DENOMINATORS = ("normal_images", "lesion_images", "lesions", "patients")
#: Points of a curve that are kept; more cannot be drawn.
MOST_POINTS = 400


@dataclass(frozen=True)
class FindingMarks:
    """Ratings of every explainer and model on the same images of one finding.

    Attributes
    ----------
    finding : str
    series : dict of (str, str) to FreeResponse
    patients : ndarray of int64, shape (images,)
        Numbered over all findings.
    """

    finding: str
    series: dict[Series, FreeResponse]
    patients: IntArray

    @property
    def normal(self) -> npt.NDArray[np.bool_]:
        """Which images are normal."""
        return next(iter(self.series.values())).normal

    def problem(self) -> str:
        """Why no figure of merit can be had; empty where it can."""
        if self.normal.all():
            return "no image with a lesion"
        return "" if self.normal.any() else "no normal image"

    def denominators(self) -> dict[str, float]:
        """Numbers that figures and curves are shares of."""
        return {"normal_images": float(self.normal.sum()),
                "lesion_images": float((~self.normal).sum()),
                "lesions": float(len(next(iter(self.series.values())).lesion_rating)),
                "patients": float(len(np.unique(self.patients)))}


def by_finding(images: pd.DataFrame, lesions: pd.DataFrame, marks: pd.DataFrame
               ) -> list[FindingMarks]:
    """Tables of :class:`saltrust.analysis.froc.marked_maps.MarkedMaps` as ratings."""
    # Numbered over all findings, so that means over findings are of the same patients.
    codes = pd.Series(cluster_codes(images["patient"])[0], index=images.index)
    # A mark that hits nothing.
    false = marks[marks["lesion"] == 0]
    names = ["finding", "explainer", "model"]
    rated, outside = (dict(iter(table.groupby(names, sort=False))) for table in (lesions, false))
    made = []
    for finding, of_finding in images.groupby("finding", sort=False):
        series: dict[Series, FreeResponse] = {}
        patients = np.zeros(0, dtype=np.int64)
        for (explainer, model), rows in of_finding.groupby(["explainer", "model"], sort=False):
            place = {name: k for k, name in enumerate(rows["image"])}
            key = (finding, explainer, model)
            of_series = rated.get(key, lesions.iloc[:0])
            series[str(explainer), str(model)] = FreeResponse(
                rows["false_rating"].to_numpy(dtype=np.float64),
                rows["normal"].to_numpy(dtype=bool),
                of_series["rating"].to_numpy(dtype=np.float64),
                np.array([place[name] for name in of_series["image"]], dtype=np.int64),
                outside.get(key, false.iloc[:0])["rating"].to_numpy(dtype=np.float64))
            patients = codes[rows.index].to_numpy()
        made.append(FindingMarks(str(finding), series, patients))
    return made


@dataclass(frozen=True)
class Figures:
    """A figure of merit of every series of one finding, or averaged over findings.

    Attributes
    ----------
    finding : str
    series : list of (str, str)
    values : ndarray of float64, shape (series,)
    left_out : ndarray of float64, shape (patients, series)
        Without each patient.
    patients : ndarray of int64, shape (patients,)
        Which they are.
    with_lesion : ndarray of bool, shape (patients,)
        Who have an image with a lesion.
    n : int
        Images.
    denominators : dict of str to float
    note : str
    """

    finding: str
    series: list[Series]
    values: FloatArray
    left_out: FloatArray
    patients: IntArray
    with_lesion: npt.NDArray[np.bool_]
    n: int
    denominators: dict[str, float]
    note: str = ""

    def estimate(self, value: float, left_out: FloatArray, *, share: bool, level: float
                 ) -> Estimate:
        """One of the values, or a difference of two, by the jackknife over patients.

        The error is that of the jackknife; its degrees of freedom are Welch's and Satterthwaite's
        of patients with and without a lesion, since few of either kind leave it uncertain.  A
        share has its interval on the scale of its log-odds.
        """
        why = self.note
        if not np.isnan(value) and not np.isfinite(left_out).all():
            why = "one patient alone settles it: no interval"
        elif not np.isnan(value) and len(left_out) < FEWEST_PATIENTS:
            why = f"fewer than {FEWEST_PATIENTS} patients: no interval"
        if np.isnan(value) or not np.isfinite(left_out).all() or len(left_out) < FEWEST_PATIENTS:
            return Estimate(estimate=float(value), n=self.n, note=why)
        error, df = self._error(left_out)
        if error < 1e-12:
            return Estimate(estimate=float(value), std_error=0.0, n=self.n,
                            note="no variation between patients: no interval")
        null = 0.5 if share else 0.0
        made = t_estimate(float(value), error, df, self.n, null=null, confidence_level=level,
                          note=self.note)
        low, high = made.conf_low, made.conf_high
        if share and 0 < value < 1 and ((left_out > 0) & (left_out < 1)).all():
            scaled = t_estimate(float(logit(value)), self._error(logit(left_out))[0], df, self.n,
                                confidence_level=level)
            low, high = float(expit(scaled.conf_low)), float(expit(scaled.conf_high))
        bound = (0.0, 1.0) if share else (-1.0, 1.0)
        return Estimate(made.estimate, error, max(bound[0], low), min(bound[1], high),
                        n=self.n, note=made.note, df=df)

    def _error(self, left_out: FloatArray) -> tuple[float, float]:
        """Error of the jackknife, and its degrees of freedom."""
        count = len(left_out)
        squares = (count - 1) / count * (left_out - left_out.mean()) ** 2
        parts = [squares[kind] for kind in (self.with_lesion, ~self.with_lesion)]
        total = float(squares.sum())
        rest = sum(float(part.sum()) ** 2 / max(len(part) - 1, 1) for part in parts)
        return float(np.sqrt(total)), total**2 / rest if rest > 0 else float(count - 1)


def figures_of(findings: Sequence[FindingMarks], figure: Figure) -> list[Figures]:
    """A figure of merit per finding, and the mean over those that have both kinds of images."""
    count = 1 + max(int(one.patients.max(initial=-1)) for one in findings)
    made = [_of_finding(one, figure, count) for one in findings]
    usable = [one for one in made if not one.note]
    return made + ([_average(usable, count)] if len(usable) > 1 else [])


def _of_finding(one: FindingMarks, figure: Figure, count: int) -> Figures:
    values = np.array([figure_of_merit(data, figure) for data in one.series.values()])
    everyone = np.unique(one.patients)
    left_out = np.column_stack([left_out_figures(data, one.patients, count, figure)[everyone]
                                for data in one.series.values()])
    return Figures(one.finding, list(one.series), values, left_out, everyone,
                   np.isin(everyone, one.patients[~one.normal]), len(one.normal),
                   one.denominators(), one.problem())


def _average(findings: Sequence[Figures], count: int) -> Figures:
    """The mean over findings; of whoever has no image of a finding its value stays."""
    series = [name for name in findings[0].series
              if all(name in one.series for one in findings)]
    values = np.mean([one.values[_places(one, series)] for one in findings], axis=0)
    without = np.zeros((count, len(series)))
    lesion = np.zeros(count, dtype=bool)
    for one in findings:
        at = _places(one, series)
        of_finding = np.tile(one.values[at], (count, 1))
        of_finding[one.patients] = one.left_out[:, at]
        without += of_finding / len(findings)
        lesion[one.patients] |= one.with_lesion
    everyone = np.unique(np.concatenate([one.patients for one in findings]))
    numbers = {name: sum(one.denominators[name] for one in findings) for name in DENOMINATORS}
    return Figures(AVERAGE, series, values, without[everyone], everyone, lesion[everyone],
                   sum(one.n for one in findings),
                   {**numbers, "patients": float(len(everyone))})


def _places(one: Figures, series: Sequence[Series]) -> list[int]:
    return [one.series.index(name) for name in series]


def summary_rows(figures: Sequence[Figures], metric: Figure, level: float
                 ) -> Iterator[dict[str, Any]]:
    """One row per finding, explainer and model."""
    for one in figures:
        for k, (explainer, model) in enumerate(one.series):
            made = one.estimate(one.values[k], one.left_out[:, k], share=True, level=level)
            yield {"finding": one.finding, "explainer": explainer, "model": model,
                   "metric": metric, **made.row("figure of merit"), **one.denominators}


def difference_rows(figures: Sequence[Figures], metric: Figure, resampling: Resampling
                    ) -> list[dict[str, Any]]:
    """One row per finding and pair; p-values by step-down max-T of pseudovalues.

    A pseudovalue of a patient is what the patient adds to the difference, their mean is shifted to
    the difference itself; tests of a finding share the resamples of patients.
    """
    rows, columns, families = [], [], []
    count = 1 + max(int(one.patients.max(initial=-1)) for one in figures)
    several = len({model for one in figures for _, model in one.series}) > 1
    for one in figures:
        for a, b in combinations(range(len(one.series)), 2):
            value, without = one.values[a] - one.values[b], one.left_out[:, a] - one.left_out[:, b]
            made = one.estimate(value, without, share=False,
                                level=resampling.confidence_level)
            names = [name if not several else f"{name} ({model})"
                     for name, model in (one.series[a], one.series[b])]
            column = np.full(count, np.nan)
            # Without an interval there is no test either.
            if not np.isnan(made.conf_low):
                column[one.patients] = value - (len(without) - 1) * (without - without.mean())
            columns.append(column)
            families.append(one.finding)
            rows.append({"finding": one.finding, "metric": metric, "contrast": " - ".join(names),
                         **made.row("difference")})
    if not rows:
        return rows
    tested = step_down(np.column_stack(columns), np.arange(count), [[k] for k in range(len(rows))],
                       families, seed=resampling.seed,
                       resamples=resamples_for(len(rows), resampling.resamples))
    for k, row in enumerate(rows):
        size = families.count(families[k])
        least = tested.p_adjusted[k] <= tested.least
        row |= {"statistic": float(tested.statistic[k]), "p_value": float(tested.p_value[k]),
                "p_adjusted": float(tested.p_adjusted[k]), "adjustment": "max-t",
                "family": f"{metric}, {families[k]} ({size} {'test' if size == 1 else 'tests'})"}
        if least:
            row["note"] = "p as small as the resamples can show"
    return rows


def curve_rows(findings: Sequence[FindingMarks]) -> Iterator[dict[str, Any]]:
    """Points of every curve, at most :data:`MOST_POINTS` of each."""
    for one in findings:
        if one.problem():
            continue
        for (explainer, model), data in one.series.items():
            for curve in CURVES:
                points = np.column_stack(operating_points(data, curve))
                if len(points) > MOST_POINTS:
                    points = points[np.unique(np.linspace(0, len(points) - 1, MOST_POINTS)
                                              .round().astype(int))]
                for threshold, across, up in points.tolist():
                    yield {"finding": one.finding, "explainer": explainer, "model": model,
                           "curve": curve, "threshold": threshold, "across": across, "up": up}

