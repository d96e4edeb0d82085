"""Areas under ROC curves, and whether probabilities are what they promise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import norm

from saltrust.analysis.classification.auc_rows import (
    AucDraw,
    Cases,
    auc_rows,
    macro_auc_rows,
    macro_pair_rows,
    pair_rows,
)
from saltrust.analysis.classification.calibration import calibration_of_cases
from saltrust.analysis.options import Resampling
from tests.calibration.designs import Design, drawn_patients
from tests.calibration.outcome import Cell, Outcome, against

_DRAW = AucDraw("newcombe", Resampling())


def cells() -> Iterator[Cell]:
    for positives in (8, 20):
        for negatives in (32, 180):
            for images in ("one", "many"):
                for area in (0.8, 0.98):
                    patients = positives + negatives
                    what = (f"{positives} positive and {negatives} negative patients, "
                            f"{'1 image' if images == 'one' else '1 to 10 images'}, area {area}")

                    def draw(generator: np.random.Generator, kind: str, positives: int = positives,
                             negatives: int = negatives, images: Any = images,
                             area: float = area) -> Outcome:
                        return _areas(generator, positives, negatives, images, area, kind)
                    # Few positive patients decide, however many the negative ones.
                    bounds = min(patients, 2 * positives)
                    for kind, asked in (("area", ("coverage",)), ("pair of areas", ("at most",)),
                                        ("macro area", ("coverage",)),
                                        ("pair of macro areas", ("at most", "coverage"))):
                        if "macro" in kind and (negatives == 180 or positives == 8):
                            continue
                        yield Cell(kind, what, lambda g, kind=kind, draw=draw: draw(g, kind),
                                   asked, bounds, 1000)
    for patients in (12, 40, 200):
        for term in ("slope", "intercept", "ece_debiased", "brier"):
            asked = (("coverage",) if term in {"brier", "ece_debiased"} else
                     ("type I", "coverage"))
            design = Design(patients, "many" if patients < 200 else "one")
            yield Cell(f"calibration {term}", str(design),
                       lambda g, design=design, term=term: _calibration(g, design, term), asked,
                       patients, 1000)


def _model(generator: np.random.Generator, labels: Any, owner: Any, area: float,
           shared: Any) -> Any:
    """Probabilities of a model with a known area, like another's by what they share."""
    shift = np.sqrt(2) * norm.ppf(area)
    count = owner.max() + 1
    alone = (np.sqrt(0.5) * generator.normal(size=count)[owner]
             + np.sqrt(0.5) * generator.normal(size=len(owner)))
    return expit(shift * labels + np.sqrt(0.6) * shared + np.sqrt(0.4) * alone)


def _case(generator: np.random.Generator, positives: int, negatives: int, images: Any,
          area: float) -> Cases:
    owner, levels = drawn_patients(generator, Design(positives + negatives, images))
    labels = owner < positives
    shared = (np.sqrt(0.5) * levels[owner] + np.sqrt(0.5) * generator.normal(size=len(owner)))
    both = np.stack([_model(generator, labels, owner, area, shared) for _ in range(2)], axis=1)
    return Cases(labels, both, np.array([f"p{k}" for k in owner], dtype=object))


def _areas(generator: np.random.Generator, positives: int, negatives: int, images: Any,
           area: float, kind: str) -> Outcome:
    one = _case(generator, positives, negatives, images, area)
    if kind == "area":
        return against(next(iter(auc_rows("Edema", one, ["a", "b"], _DRAW))), area)
    if kind == "pair of areas":
        return against(next(iter(pair_rows("Edema", one, ["a", "b"], _DRAW))), 0.0)
    cases = {name: _case(generator, positives, negatives, images, area)
             for name in ("Edema", "Mass", "Nodule")}
    if kind == "macro area":
        return against(next(iter(macro_auc_rows(cases, ["a", "b"], _DRAW))), area)
    return against(next(iter(macro_pair_rows(cases, ["a", "b"], _DRAW))), 0.0)


def _calibration(generator: np.random.Generator, design: Design, term: str) -> Outcome:
    """A model that is calibrated: labels are drawn with the probabilities, alike by patient."""
    owner, _ = drawn_patients(generator, design)
    stated = expit(1.2 * (np.sqrt(0.5) * generator.normal(size=design.patients)[owner]
                        + np.sqrt(0.5) * generator.normal(size=len(owner))))
    # Uniform for every case, and alike within a patient.
    u = norm.cdf(np.sqrt(0.3) * generator.normal(size=design.patients)[owner]
                 + np.sqrt(0.7) * generator.normal(size=len(owner)))
    cases = pd.DataFrame({"model": "net", "finding": "Edema", "label": u < stated,
                          "probability": stated, "patient": [f"p{k}" for k in owner]})
    table = calibration_of_cases(cases, resamples=1000 if term == "brier" else 2,
                                 seed=int(generator.integers(2**31)))
    (row,) = table[table["term"] == term].to_dict("records")
    return against(row, {"slope": 1.0, "intercept": 0.0, "ece_debiased": 0.0,
                         "brier": _brier()}[term])


def _brier() -> float:
    """Mean of p (1 - p) where the logit of p is normal with standard deviation 1.2."""
    x, weights = np.polynomial.hermite_e.hermegauss(101)
    p = expit(1.2 * x)
    assert abs(float(logit(p[60]) - 1.2 * x[60])) < 1e-9
    return float((weights * p * (1 - p)).sum() / weights.sum())
