"""Readers who are a sample of readers: treatments compared by them, and a model against them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from saltrust.analysis.inference.multireader.area_covariance import (
    areas_with_covariance,
    areas_without_each,
)
from saltrust.analysis.inference.multireader.random_readers import readers_against_one
from saltrust.analysis.localization.random_readers import random_readers
from saltrust.analysis.multireader.map_figures import Compared, map_factorials
from saltrust.analysis.multireader.tables import Factorial, factorial_tables
from saltrust.choices import AreaCovariance, FixedFactor
from tests.calibration.designs import (
    Design,
    drawn_patients,
    hits,
    latent,
    overlaps,
)
from tests.calibration.outcome import Cell, Outcome, against

#: Variance that readers add to the latent score, of 1 in all.
_BETWEEN_READERS = 0.05
#: Of latent ratings, as Roe and Metz (1997) have them: reader, case, and their interactions with
#: treatment and each other; several cases of a patient share half of what is of the case.
_ROE_METZ = {"reader": 0.01, "case": 0.3, "treatment case": 0.3, "reader case": 0.2,
             "treatment reader": 0.01, "error": 0.18}
_AREA = 0.85


def cells() -> Iterator[Cell]:
    for readers, design, covariance in (
            (3, Design(40), "jackknife"), (5, Design(40), "jackknife"), (5, Design(40), "delong"),
            (5, Design(40), "unbiased"), (3, Design(60, "one"), "jackknife"),
            (5, Design(60, "one"), "jackknife"), (3, Design(120), "jackknife")):
        what = f"{design}, {readers} readers, {covariance}"
        yield Cell("ratings of two treatments", what,
                   lambda g, d=design, r=readers, c=covariance: _ratings(g, d, r, c),
                   ("type I", "coverage"), design.patients, 1000)
        if covariance == "delong" or design.images == "one":
            yield Cell("mean area of readers", what,
                       lambda g, d=design, r=readers, c=covariance: _mean_area(g, d, r, c),
                       ("coverage",), design.patients, 1000)
    for fixed in ("readers", "cases"):
        yield Cell("ratings of two treatments", f"{Design(40)}, 5 readers, fixed {fixed}",
                   lambda g, f=fixed: _ratings(g, Design(40), 5, "jackknife", f),
                   ("type I", "coverage"), 40, 1000)
    for patients in (12, 40, 120):
        for readers in (3, 5):
            design = Design(patients, "many" if patients < 120 else "one")
            yield Cell("maps by readers", f"{design}, {readers} readers",
                       lambda g, d=design, r=readers: _maps(g, d, r), ("type I", "coverage"),
                       patients, 1000)
    for patients in (12, 40, 200):
        design = Design(patients, "many" if patients < 200 else "one")
        for readers, metric in ((3, "iou"), (3, "hit"), (5, "iou"), (5, "hit"), (2, "iou")):
            yield Cell("random readers" if readers > 2 else "two random readers",
                       f"{design}, {readers} readers, {metric}",
                       lambda g, d=design, r=readers, m=metric: _among(g, d, r, m),
                       ("type I", "coverage") if readers > 2 else ("at most",), patients, 1000)
    yield Cell("random readers' areas", f"{Design(60)}, 4 readers",
               lambda g: _areas_among(g, Design(60), 4), ("type I", "coverage"), 60, 1000)


def _latent_ratings(generator: np.random.Generator, design: Design, readers: int,
                    fixed: FixedFactor | None = None) -> tuple[Any, Any, Any]:
    """Truth, ratings of shape (case, 2, readers) with ties, and patients."""
    owner, _ = drawn_patients(generator, design)
    positive = owner % 2 == 0
    spread = {name: np.sqrt(value) for name, value in _ROE_METZ.items()}
    if fixed == "readers":
        spread = {**spread, "reader": 0.0, "treatment reader": 0.0}

    def by_case(*shape: int) -> Any:
        """Half of the variance is the patient's."""
        return np.sqrt(0.5) * (generator.normal(size=(design.patients, *shape))[owner]
                               + generator.normal(size=(len(owner), *shape)))

    total = (spread["reader"] * generator.normal(size=(2, 1, readers))[positive.astype(int)]
             + spread["treatment reader"]
             * generator.normal(size=(2, 2, readers))[positive.astype(int)]
             + spread["case"] * by_case(1, 1) + spread["treatment case"] * by_case(2, 1)
             + spread["reader case"] * by_case(1, readers)
             + spread["error"] * by_case(2, readers))
    shift = ndtri(_AREA) * np.sqrt(2 * sum(value**2 for value in spread.values()))
    return positive, np.round(2 * (total + shift * positive[:, None, None])), owner


def _rated(generator: np.random.Generator, design: Design, readers: int,
           covariance: AreaCovariance, fixed: FixedFactor | None) -> dict[str, pd.DataFrame]:
    positive, ratings, owner = _latent_ratings(generator, design, readers, fixed)
    made = areas_with_covariance(positive, ratings.reshape(len(ratings), -1), owner, covariance)
    one = Factorial({}, "treatments", ["A", "B"], [f"r{k}" for k in range(readers)],
                    made.auc.reshape(2, readers), made.covariance, len(ratings), design.patients)
    return factorial_tables([one], fixed, 0.95)


def _ratings(generator: np.random.Generator, design: Design, readers: int,
             covariance: AreaCovariance, fixed: FixedFactor | None = None) -> Outcome:
    """Two treatments that are alike; with fixed cases in truth, of the same case differences."""
    if fixed == "cases":
        return _fixed_cases(generator, design, readers)
    tables = _rated(generator, design, readers, covariance, fixed)
    (row,) = tables["differences"].to_dict("records")
    # Of two treatments both tests are the same.
    assert np.isclose(row["p_value"], tables["test"]["p_value"].iloc[0], atol=1e-9)
    return against(row, 0.0)


def _fixed_cases(generator: np.random.Generator, design: Design, readers: int) -> Outcome:
    """Cases are given: what treatments do to them is zero, and readers vary."""
    owner, levels = drawn_patients(np.random.default_rng(1), design)
    base = latent(np.random.default_rng(2), owner, levels)
    positive = owner % 2 == 0
    noise = generator.normal(size=(len(owner), 2, readers))
    bias = 0.2 * generator.normal(size=(2, 2, readers))[positive.astype(int)]
    ratings = np.round(2 * (base[:, None, None] + bias + 0.5 * noise
                            + 1.2 * positive[:, None, None]))
    made = areas_with_covariance(positive, ratings.reshape(len(ratings), -1), owner)
    one = Factorial({}, "treatments", ["A", "B"], [f"r{k}" for k in range(readers)],
                    made.auc.reshape(2, readers), made.covariance, len(ratings), design.patients)
    (row,) = factorial_tables([one], "cases", 0.95)["differences"].to_dict("records")
    return against(row, 0.0)


def _mean_area(generator: np.random.Generator, design: Design, readers: int,
               covariance: AreaCovariance) -> Outcome:
    """The mean over all readers and cases; rounding moves it by what ties add."""
    tables = _rated(generator, design, readers, covariance, None)
    return against(tables["means"].to_dict("records")[0], _rounded_area())


def _rounded_area() -> float:
    """Area of the rounded ratings of one case against another, by their distribution."""
    steps = np.arange(-40, 60) / 2
    scale = np.sqrt(sum(_ROE_METZ.values()))
    shift = ndtri(_AREA) * np.sqrt(2) * scale

    def shares(mean: float) -> Any:
        edges = ndtr((steps[:, None] + np.array([-0.25, 0.25]) - mean) / scale)
        return edges[:, 1] - edges[:, 0]

    negative, positive = shares(0.0), shares(shift)
    return float((positive * (np.cumsum(negative) - negative / 2)).sum())


def _maps(generator: np.random.Generator, design: Design, readers: int) -> Outcome:
    """Three explainers that are alike; readers draw wider or narrower, some not at all."""
    owner, levels = drawn_patients(generator, design)
    names = ["a", "b", "c"]
    people = [f"r{k}" for k in range(readers)]
    shared = latent(generator, owner, levels)
    parts = []
    for name in names:
        of_map = (np.sqrt(0.6) * shared
                  + np.sqrt(0.4) * latent(generator, owner, generator.normal(size=len(levels))))
        for person in people:
            z = (np.sqrt(0.75) * of_map + np.sqrt(0.2) * generator.normal(size=len(owner))
                 + np.sqrt(_BETWEEN_READERS) * generator.normal())
            parts.append(pd.DataFrame({"image": np.arange(len(owner)).astype(str),
                                       "finding": "Edema", "explainer": name, "model": "net",
                                       "reader": person, "iou": overlaps(z),
                                       "hit": hits(z, 0.5)}))
    images = parts[0]["image"].tolist()
    compared = Compared("explainer", names, people, ["Edema"], images, owner.astype(object))
    one = next(iter(map_factorials(pd.concat(parts, ignore_index=True), compared)))
    tables = factorial_tables([one], None, 0.95)
    row = tables["differences"].to_dict("records")[0]
    covered = against(row, 0.0)
    return Outcome(covered.error, covered.std_error, covered.covered,
                   float(tables["test"]["p_value"].iloc[0] <= 0.05))


def _among(generator: np.random.Generator, design: Design, readers: int, metric: str) -> Outcome:
    """A map that is as good as readers are on average."""
    owner, levels = drawn_patients(generator, design)
    shared = latent(generator, owner, levels)
    frame = {"image": np.arange(len(owner)).astype(str), "patient": owner.astype(str),
             "finding": "Edema", "reader": "reference"}
    parts = []
    for k in range(readers + 1):
        own_part = latent(generator, owner, generator.normal(size=len(levels)))
        between = 0.0 if k == readers else _BETWEEN_READERS
        z = (np.sqrt(0.5) * shared + np.sqrt(0.5 - between) * own_part
             + np.sqrt(between) * generator.normal())
        who = ("gradcam", "net") if k == readers else ("expert", f"r{k}")
        parts.append(pd.DataFrame({**frame, "explainer": who[0], "model": who[1],
                                   "iou": overlaps(z), "hit": hits(z, 0.6)}))
    table = random_readers(pd.concat(parts, ignore_index=True))
    (row,) = table[(table["metric"] == metric) & (table["finding"] == "Edema")].to_dict("records")
    return against(row, 0.0)


def _areas_among(generator: np.random.Generator, design: Design, readers: int) -> Outcome:
    """Areas of readers against that of a model, of the same cases."""
    positive, ratings, owner = _latent_ratings(generator, design, readers + 1)
    # The model is no reader: what readers add to chance, it has from case to case.
    spread = np.sqrt(_ROE_METZ["reader"] + _ROE_METZ["treatment reader"])
    rated = ratings[:, 0].copy()
    rated[:, -1] = np.round(2 * (_unrounded(generator, positive, owner, design)
                                 + spread * generator.normal(size=len(owner))))
    left_out, areas = areas_without_each(positive, rated, owner)
    made = readers_against_one(areas[:-1], areas[-1], left_out[:, :-1], left_out[:, -1])
    return against(made, 0.0)


def _unrounded(generator: np.random.Generator, positive: Any, owner: Any, design: Design) -> Any:
    scale = 1 - _ROE_METZ["reader"] - _ROE_METZ["treatment reader"]
    alone = np.sqrt(scale / 2) * (generator.normal(size=design.patients)[owner]
                                  + generator.normal(size=len(owner)))
    return alone + ndtri(_AREA) * np.sqrt(2) * positive
