"""Figures of maps and models against the drawings of each reader, with their covariances."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from saltrust.analysis.inference.bootstrap import FEWEST_PATIENTS, left_out_means
from saltrust.analysis.inference.jackknife import jackknife_covariance
from saltrust.analysis.inference.multireader.area_covariance import areas_without_each
from saltrust.analysis.localization.summary import AVERAGE
from saltrust.analysis.multireader.tables import Factorial
from saltrust.analysis.scores.score_rows import SCHEMES, text
from saltrust.choices import ComparedMaps

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Compared:
    """What is compared, by whom it is judged, and on which images.

    Attributes
    ----------
    factor : {"explainer", "model"}
        Whose labels are the treatments; the other's are taken one by one.
    treatments, readers, findings : list of str
    images : list of str
    patients : ndarray of object, shape (image,)
        The image where the patient is not known.
    """

    factor: ComparedMaps
    treatments: list[str]
    readers: list[str]
    findings: list[str]
    images: list[str]
    patients: npt.NDArray[np.object_]

    @property
    def beside(self) -> ComparedMaps:
        """The factor that is not compared."""
        return "model" if self.factor == "explainer" else "explainer"


@dataclass(frozen=True)
class _Cells:
    """Figures of one finding, shape (cells,), and without each patient, shape (G, cells)."""

    figures: FloatArray
    left_out: FloatArray
    #: Patients who have a part in any figure.
    present: npt.NDArray[np.bool_]
    n: int


def map_factorials(scores: pd.DataFrame, compared: Compared) -> Iterator[Factorial]:
    """Mean IoU and hit rate of every treatment against every reader, per finding and averaged.

    Parameters
    ----------
    scores : pandas.DataFrame
        Rows of maps of :func:`saltrust.analysis.scores.scored_maps.score_maps`, the column
        ``reader`` naming whose drawing a map was scored against.
    compared : Compared

    Yields
    ------
    Factorial
        Images that lack a score of any treatment against a reader are left out for all of that
        reader.
    """
    for beside, rows in scores.groupby(compared.beside, sort=False):
        for metric in SCHEMES:
            cells = {finding: _mean_cells(rows[rows["finding"] == finding], metric, compared)
                     for finding in compared.findings}
            yield from _factorials(cells, compared, metric, str(beside))


def area_factorials(drawn: FloatArray, probability: FloatArray, compared: Compared
                    ) -> Iterator[Factorial]:
    """Areas under ROC curves of models against what each reader saw, per finding and averaged.

    Parameters
    ----------
    drawn : ndarray of float64, shape (image, finding, reader)
        Area of each drawing; NaN where nothing is known.
    probability : ndarray of float64, shape (image, finding, model)
        NaN where there is none.
    compared : Compared
        Models are the treatments.

    Yields
    ------
    Factorial
    """
    cells = {}
    for f, finding in enumerate(compared.findings):
        predicted = np.asarray(~np.isnan(probability[:, f]).any(axis=1))
        parts = []
        used = np.zeros(len(predicted), dtype=np.bool_)
        for r in range(len(compared.readers)):
            known = predicted & ~np.isnan(drawn[:, f, r])
            used = np.logical_or(used, known)
            parts.append(areas_without_each(
                drawn[:, f, r] > 0, np.where(known[:, None], probability[:, f], np.nan),
                compared.patients))
        # From reader by model to model by reader.
        figures = np.stack([auc for _, auc in parts], axis=1).ravel()
        left_out = np.stack([without for without, _ in parts], axis=2)
        codes = pd.factorize(compared.patients)[0]
        present = np.bincount(codes[used], minlength=len(left_out)) > 0
        cells[finding] = _Cells(figures, left_out.reshape(len(left_out), -1), present,
                                int(used.sum()))
    return _factorials(cells, compared, "auc", "")


def _mean_cells(rows: pd.DataFrame, metric: str, compared: Compared) -> _Cells:
    shape = (len(compared.images), len(compared.treatments), len(compared.readers))
    values = np.full(shape, np.nan)
    at = [pd.Index(labels).get_indexer(pd.Index(text(rows[name]))) for name, labels in
          (("image", compared.images), (compared.factor, compared.treatments),
           ("reader", compared.readers))]
    values[tuple(at)] = rows[metric].to_numpy(dtype=np.float64)
    # Treatments are compared on the same images of a reader.
    values[np.broadcast_to(np.isnan(values).any(axis=1, keepdims=True), shape)] = np.nan
    known = ~np.isnan(values)
    flat = values.reshape(len(values), -1)
    counts = known.reshape(len(values), -1).sum(axis=0)
    figures = np.divide(np.nansum(flat, axis=0), counts, out=np.full(flat.shape[1], np.nan),
                        where=counts > 0)
    left_out, present = left_out_means(flat, compared.patients)
    return _Cells(figures, left_out, np.asarray(present.any(axis=1)),
                  int(known.any(axis=(1, 2)).sum()))


def _factorials(cells: dict[str, _Cells], compared: Compared, metric: str, beside: str
                ) -> Iterator[Factorial]:
    family = ", ".join(filter(None, (metric, beside)))
    for finding, made in cells.items():
        yield _factorial(made, compared, finding, metric, beside, family)
    whole = [made for made in cells.values() if np.isfinite(made.figures).all()]
    if len(cells) > 1:
        average = _average(whole) if whole else next(iter(cells.values()))
        yield _factorial(average, compared, AVERAGE, metric, beside, f"{family}, {AVERAGE}")


def _average(cells: Sequence[_Cells]) -> _Cells:
    """The mean over findings, each with the weight of one."""
    return _Cells(np.mean([made.figures for made in cells], axis=0),
                  np.mean([made.left_out for made in cells], axis=0),
                  np.logical_or.reduce([made.present for made in cells]),
                  sum(made.n for made in cells))


def _factorial(made: _Cells, compared: Compared, finding: str, metric: str, beside: str,
               family: str) -> Factorial:
    figures = made.figures.reshape(len(compared.treatments), len(compared.readers))
    left_out = made.left_out[made.present]
    patients, width = left_out.shape
    covariance = jackknife_covariance(left_out) if patients > 1 else np.full((width, width), np.nan)
    identity: dict[str, Any] = {"finding": finding, compared.beside: beside, "metric": metric}
    return Factorial(identity, family, compared.treatments, compared.readers, figures, covariance,
                     made.n, patients, _why_not(figures, covariance, patients, compared.readers))


def _why_not(figures: FloatArray, covariance: FloatArray, patients: int, readers: Sequence[str]
             ) -> str:
    """Why there is no test; empty where there is one."""
    without = [reader for reader, column in zip(readers, figures.T, strict=True)
               if not np.isfinite(column).all()]
    if without:
        return f"no figure against {', '.join(without)}: no case, or of one class only"
    if patients < FEWEST_PATIENTS:
        return f"fewer than {FEWEST_PATIENTS} patients: no test and no interval"
    if not np.isfinite(covariance).all():
        return "one patient alone settles a figure: no test and no interval"
    return ""
