"""How far readers agree with each other, and how far maps come towards that.

No map can be asked to agree with one reader better than another reader does.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd

from saltrust.analysis.inference.bootstrap import (
    FEWEST_PATIENTS,
    left_out_means,
    mean_interval,
    resampled_means,
)
from saltrust.analysis.inference.estimate import Estimate, check_confidence_level, estimates_table
from saltrust.analysis.inference.proportions import proportion_interval
from saltrust.analysis.localization.contrasts import bootstrap_estimate
from saltrust.analysis.localization.summary import AVERAGE, checked, score_matrix, unit_clusters
from saltrust.analysis.scores.drawings import Drawings
from saltrust.analysis.scores.score_rows import EXPERT, SCHEMES

FloatArray = npt.NDArray[np.float64]
#: What stands in the column explainer for the mean over pairs of readers.
READERS = "readers"


def pairwise_scores(drawings: Drawings, readers: Sequence[int],
                    areas: npt.NDArray[np.float64]) -> pd.DataFrame:
    """IoU, Dice and hit of every pair of readers on every positive.

    Parameters
    ----------
    drawings : Drawings
    readers : sequence of int
        Readers to compare, reference and benchmark alike.
    areas : ndarray, shape (images, findings, references)
        Of the masks of the reference readers.

    Returns
    -------
    pandas.DataFrame
        ``image, patient, finding, reader_a, reader_b, iou, dice, hit``: for images whose mask by
        some reference reader is not empty and that both annotated.  Overlap is symmetric; a
        hit is the mean, over the two directions that can be had, of one reader's first point
        in the other's mask, NaN where no point was marked.
    """
    annotations = drawings.annotations
    at = np.array([(image, finding, one, two)
                   for image, finding in np.argwhere((areas > 0).any(axis=2)).tolist()
                   for one, two in combinations(
                       [r for r in readers if annotations.annotated[image, finding, r]], 2)],
                  dtype=np.intp).reshape(-1, 4)
    first, second = at[:, [0, 1, 2]], at[:, [0, 1, 3]]
    sizes = np.split(drawings.masks(np.concatenate([first, second]))["area"], 2)
    measured = drawings.pairs(np.concatenate([at, at[:, [0, 1, 3, 2]]]))
    shared, both = measured["shared"][:len(at)], sizes[0] + sizes[1]
    # A direction counts where a point was marked and there is a mask to hit.
    hits = np.stack([
        np.where([bool(size) and bool(annotations.point_pixels(*place)) for size, place in
                  zip(against, masks.tolist(), strict=True)], marked, np.nan)
        for against, masks, marked in zip(sizes[::-1], (first, second),
                                          np.split(measured["first"], 2), strict=True)])
    known = ~np.isnan(hits)
    hit = np.divide(np.where(known, hits, 0).sum(axis=0), known.sum(axis=0),
                    out=np.full(len(at), np.nan), where=known.any(axis=0))

    def share(upper: npt.NDArray[np.int64], lower: npt.NDArray[np.int64]) -> FloatArray:
        return np.divide(upper, lower, out=np.full(len(at), np.nan), where=both > 0)

    names = {name: np.array(labels, dtype=object)[at[:, axis]] for name, labels, axis in
             (("image", annotations.images, 0), ("patient", annotations.patients, 0),
              ("finding", annotations.findings, 1), ("reader_a", annotations.readers, 2),
              ("reader_b", annotations.readers, 3))}
    return pd.DataFrame({**names, "iou": share(shared, both - shared),
                         "dice": share(2 * shared, both), "hit": hit})


def agreement(pairs: pd.DataFrame, *, resamples: int = 1000, confidence_level: float = 0.95,
              seed: int = 0) -> pd.DataFrame:
    """Mean agreement of every pair of readers per finding.

    Parameters
    ----------
    pairs : pandas.DataFrame
        Of :func:`pairwise_scores`.
    resamples, confidence_level, seed
        Of the percentile bootstrap by patient; Wilson's interval where all are hits or misses.

    Returns
    -------
    pandas.DataFrame
        ``finding, reader_a, reader_b, metric`` (``iou``, ``dice``, ``hit``) and the uniform
        columns; ``term`` is ``mean``.
    """
    check_confidence_level(confidence_level)
    rows = []
    for (finding, one, two), group in pairs.groupby(["finding", "reader_a", "reader_b"],
                                                    sort=False):
        patient = group["patient"].where(group["patient"].notna(), "image " + group["image"])
        for metric in ("iou", "dice", "hit"):
            values = group[metric].to_numpy(dtype=np.float64)
            zero_one = metric == "hit" and np.isin(values[~np.isnan(values)], (0.0, 1.0)).all()
            interval = proportion_interval if zero_one else mean_interval
            average = interval(values, patient.to_numpy(dtype=object), resamples=resamples,
                               confidence_level=confidence_level, seed=seed, method="auto")
            n = int(average.n)
            estimate = Estimate(
                estimate=float(average.mean), std_error=float(average.std_error),
                conf_low=float(average.conf_low), conf_high=float(average.conf_high), n=n,
                note=average.notes[0] if n else "no point marked" if metric == "hit" else
                "both masks are empty")
            rows.append({"finding": finding, "reader_a": one, "reader_b": two, "metric": metric,
                         **estimate.row("mean")})
    return estimates_table(rows, ("finding", "reader_a", "reader_b", "metric"))


def share_of_agreement(scores: pd.DataFrame, pairs: pd.DataFrame, *, resamples: int = 1000,
                       confidence_level: float = 0.95, seed: int = 0) -> pd.DataFrame:
    """Each map's mean as a percentage of the mean agreement of readers, on common images.

    Parameters
    ----------
    scores : pandas.DataFrame
        Table of :func:`saltrust.analysis.scores.scored_maps.score_maps`.
    pairs : pandas.DataFrame
        Of :func:`pairwise_scores`.
    resamples, confidence_level, seed
        Of the percentile bootstrap by patient, which resamples both means together.

    Returns
    -------
    pandas.DataFrame
        ``finding, explainer, model, metric, saliency, readers`` (the two means) and the uniform
        columns: ``100 * saliency / readers``, tested against 100; then ``average``, the share
        of the means over findings.
    """
    check_confidence_level(confidence_level)
    identify = ("finding", "explainer", "model", "metric", "saliency", "readers")
    maps = scores[scores["explainer"] != EXPERT]
    if pairs.empty or maps.empty:
        return _typed(estimates_table([], identify))
    mean = pairs.groupby(["image", "finding"], sort=False)[list(SCHEMES)].mean().reset_index()
    units = maps[["image", "patient", "finding", "reader"]].drop_duplicates()
    people = units.merge(mean, on=["image", "finding"]).assign(explainer=READERS, model="")
    table = checked(pd.concat([maps[[*people.columns]], people], ignore_index=True))
    clusters = unit_clusters(table)
    rows = []
    for metric in SCHEMES:
        values, columns = score_matrix(table, metric)
        place = {column: k for k, column in enumerate(columns)}
        series = dict.fromkeys((e, m) for _, e, m in columns if e != READERS)
        for explainer, model in series:
            findings = [f for f, e, m in columns if (e, m) == (explainer, model)
                        and (f, READERS, "") in place]
            both = np.stack([values[:, [place[f, explainer, model] for f in findings]],
                             values[:, [place[f, READERS, ""] for f in findings]]])
            both = np.where(np.isnan(both).any(axis=0), np.nan, both)
            drawn = np.stack([resampled_means(part, clusters, resamples=resamples, seed=seed,
                                              fewest=FEWEST_PATIENTS)
                              for part in both])
            left, present = left_out_means(np.hstack(list(both)), clusters)
            left_out = np.stack(np.split(left, 2, axis=1))
            rows += [{"finding": finding, "explainer": explainer, "model": model,
                      "metric": metric, "saliency": means[0], "readers": means[1],
                      **_share(means, resampled, without, n, confidence_level).row("percentage")}
                     for finding, means, resampled, without, n in
                     _columns(findings, both, drawn, left_out, present[:, :len(findings)])]
    return _typed(estimates_table(rows, identify))


def _columns(findings: list[str], both: FloatArray, drawn: FloatArray, left_out: FloatArray,
             present: npt.NDArray[np.bool_]
             ) -> list[tuple[str, FloatArray, FloatArray, FloatArray, int]]:
    """Name, two means, these resampled and without each patient, and n per finding and averaged."""
    known = ~np.isnan(both[0])
    n = known.sum(axis=0)
    sums = np.where(known, both, 0.0).sum(axis=1)
    means = np.divide(sums, n, out=np.full(sums.shape, np.nan), where=n > 0)
    columns = [(finding, means[:, k], drawn[..., k], left_out[:, present[:, k], k], int(n[k]))
               for k, finding in enumerate(findings)]
    with_images = np.flatnonzero(n > 0)
    if len(with_images):
        columns.append((AVERAGE, means[:, with_images].mean(axis=1),
                        drawn[..., with_images].mean(axis=2),
                        left_out[:, present.any(axis=1)][..., with_images].mean(axis=2),
                        int(n.sum())))
    return columns


def _share(means: FloatArray, drawn: FloatArray, left_out: FloatArray, n: int,
           confidence_level: float) -> Estimate:
    if n == 0:
        return Estimate(note="no image that both the readers and the map were scored on")
    if means[1] == 0:
        return Estimate(n=n, note="the readers' mean is 0")
    ratio, without = (100 * np.divide(part[0], part[1], out=np.full(part.shape[1], np.nan),
                                      where=part[1] > 0) for part in (drawn, left_out))
    return bootstrap_estimate(float(100 * means[0] / means[1]), ratio, n, confidence_level,
                              left_out=without, against=100)


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    return table.astype({"saliency": "float64", "readers": "float64"})
