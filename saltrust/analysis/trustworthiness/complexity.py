"""Does the complexity of maps rise when the model is randomized (efficient MPRT)?

A map of what a network has learnt is simpler than one of random weights.  No map is compared with
another, so that noise which both share cannot pass for similarity.
"""

from __future__ import annotations

from collections import Counter
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from tqdm import tqdm

from saltrust.analysis.inference.estimate import estimates_table
from saltrust.analysis.inference.tested_means import means_with_tests
from saltrust.analysis.options import Decision
from saltrust.analysis.stored.maps import MapSeries, StoredMaps
from saltrust.analysis.trustworthiness.map_pairs import MapPairs
from saltrust.cache.schema import Status
from saltrust.choices import Failures

#: Bins between the minimum and the maximum of a map (Hedstrom et al. 2024).
BINS = 100
#: Rows of all findings together.
ALL = "all"
MEANING = (f"efficient MPRT (Hedstrom et al. 2024): (H random - H trained) / H trained per image, "
           f"H the entropy of the histogram of the raw map in {BINS} bins, random the last stage, "
           "mean over replicates; above 0 the complexity rises, as it should")

_NAMES = ["finding", "explainer", "model"]
_SCORES = [*_NAMES, "image", "patient", "trained", "random", "rise", "failed"]
#: Maps held at a time.
_AT_ONCE = 16


def histogram_entropy(heatmap: npt.NDArray[np.floating[Any]], bins: int = BINS) -> float:
    r"""Entropy :math:`-\sum_b p_b \ln p_b` of the shares of pixels in bins of equal width.

    Bins lie between the minimum and the maximum of the map, so that neither its scale nor its
    zero matters; turning its sign does not either.

    Parameters
    ----------
    heatmap : ndarray of float
        At least one value, all finite.
    bins : int

    Returns
    -------
    float
        In nats, from 0 of a map with one value to ``ln(bins)``.

    References
    ----------
    A. Hedstrom, L. Weber, S. Lapuschkin and M. Hoehne (2024), Sanity checks revisited: an
    exploration to repair the model parameter randomisation test, arXiv:2401.06465.

    Examples
    --------
    >>> round(histogram_entropy(np.array([0.0, 1.0, 0.0, 1.0])), 4)
    0.6931
    """
    values = np.asarray(heatmap, dtype=np.float64).ravel()
    low, high = float(values.min()), float(values.max())
    # Halves first: the range of huge values would overflow.
    width = high / 2 - low / 2
    if not width > 0:
        return 0.0
    places = ((values / 2 - low / 2) / width * bins).astype(np.intp)
    counts = np.bincount(np.minimum(places, bins - 1), minlength=bins)
    shares = counts[counts > 0] / len(values)
    return float(max(0.0, -(shares * np.log(shares)).sum()))


def complexity_scores(maps: StoredMaps, compared: MapPairs, failures: Failures,
                      progress: bool = False) -> pd.DataFrame:
    """Entropy of trained and fully randomized maps of every image.

    Parameters
    ----------
    maps : StoredMaps
        Of ``/randomization``.
    compared : MapPairs
        Which images.
    failures : {"score", "drop"}
        A flat or non-finite map of a random network has no spread of values: entropy 0, or its
        image is left out.  A trained map that is flat or not finite is left out.
    progress : bool

    Returns
    -------
    pandas.DataFrame
        ``finding, explainer, model, image, patient``; ``trained`` and ``random``, the entropies in
        nats; ``rise``, their relative difference; ``failed``, random maps without a value.
        Means over replicates.
    """
    replicates, last = maps.labels["replicate"], maps.labels["stage"][-1]
    first = maps.labels["stage"][0]
    keys = list(product(maps.labels["finding"], maps.labels["explainer"], maps.labels["model"]))
    rows: list[dict[str, Any]] = []
    for finding, explainer, model in tqdm(keys, desc="complexity", unit="explainer",
                                          disable=None if progress else True):
        names = {"explainer": explainer, "model": model}
        trained = maps.series(**names, replicate=replicates[0], stage=first)
        # A constant map that is stored as usable has nothing to rise from.
        known = {image: entropy for image, entropy in _entropies(
            trained, finding, compared.usable(finding, trained)).items() if entropy > 0}
        totals: dict[str, list[float]] = {}
        failed: Counter[str] = Counter()
        for replicate in replicates:
            random = maps.series(**names, replicate=replicate, stage=last)
            stored = [image for image in compared.stored(finding, random) if image in known]
            usable = [image for image in stored if random.status(image, finding) == Status.OK]
            values = _entropies(random, finding, usable)
            for image in stored:
                failed[image] += image not in values
                if image in values or failures == "score":
                    totals.setdefault(image, []).append(values.get(image, 0.0))
        for image, entropies in totals.items():
            mean = float(np.mean(entropies))
            rows.append({"finding": finding, **names, "image": image,
                         "patient": compared.patients[image], "trained": known[image],
                         "random": mean, "rise": mean / known[image] - 1,
                         "failed": failed[image]})
    return pd.DataFrame(rows, columns=_SCORES)


def complexity_table(scores: pd.DataFrame, decision: Decision) -> pd.DataFrame:
    """Mean relative rise of complexity per explainer, per finding and of all pairs together.

    Parameters
    ----------
    scores : pandas.DataFrame
        Of :func:`complexity_scores`.
    decision : Decision
        Its resamples, seed and level.

    Returns
    -------
    pandas.DataFrame
        ``finding, explainer, model``, the uniform columns (``term`` is ``complexity rise``; tests
        against 0 by max-T over the explainers of a finding and model), ``trained``, ``random``,
        ``patients``, ``failed``.
    """
    findings = list(dict.fromkeys(scores["finding"]))
    rows: list[dict[str, Any]] = []
    for finding in [*findings, *([ALL] if len(findings) > 1 else [])]:
        of_finding = scores if finding == ALL else scores[scores["finding"] == finding]
        for model, of_model in of_finding.groupby("model", sort=False):
            wide = of_model.pivot_table(index=["finding", "image", "patient"], sort=False,
                                        columns="explainer", values="rise", observed=True)
            made = means_with_tests(
                wide.to_numpy(dtype=np.float64), wide.index.get_level_values("patient"),
                [f"explainers, {finding}, {model!s}"] * wide.shape[1],
                resamples=decision.resamples, seed=decision.seed,
                confidence_level=1 - decision.alpha)
            for explainer, row in zip(wide.columns, made, strict=True):
                part = of_model[of_model["explainer"] == explainer]
                rows.append({
                    "finding": finding, "explainer": explainer, "model": model, **row,
                    "term": "complexity rise", "trained": part["trained"].mean(),
                    "random": part["random"].mean(), "patients": part["patient"].nunique(),
                    "failed": part["failed"].sum()})
    return estimates_table(rows, _NAMES, ("trained", "random", "patients", "failed")).astype(
        {"patients": "int64", "failed": "int64"})


def _entropies(series: MapSeries, finding: str, images: list[str]) -> dict[str, float]:
    return {image: histogram_entropy(heatmap)
            for start in range(0, len(images), _AT_ONCE)
            for block in [images[start:start + _AT_ONCE]]
            for image, heatmap in zip(block, series.read(block, finding), strict=True)}
