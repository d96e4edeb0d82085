"""Decisions on paired scores: signed ranks, bootstrap, equivalence, randomization."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from saltrust.analysis.inference.paired_differences import (
    bootstrap,
    equivalence,
    non_inferiority,
    signed_rank,
)
from saltrust.analysis.pixels.map_similarity import DifferentImages
from saltrust.analysis.trustworthiness.contrasts import robust_contrasts
from saltrust.analysis.trustworthiness.map_pairs import ByChance
from saltrust.analysis.trustworthiness.patient_jackknife import contrast
from tests.calibration.designs import Design, drawn_patients, explainers, latent, overlaps
from tests.calibration.outcome import Cell, Outcome, against


def cells() -> Iterator[Cell]:
    for patients in (12, 40, 200):
        for images in ("one", "many"):
            design = Design(patients, images)
            yield _cell("signed ranks", design, _signed_rank, ("at most",))
            yield _cell("paired bootstrap", design, _bootstrap, ("type I", "coverage"), 1000)
            yield _cell("equivalence at the margin", design, _equivalence, ("at most",))
            yield _cell("non-inferiority at the margin", design, _no_worse, ("type I",))
        if patients < 200:
            for images in ("one", "many"):
                yield _cell("decisions, any pair", Design(patients, images), _decisions,
                            ("familywise",), 400, which="any pair")
            # Its interval is joint for the nine of them.
            yield _cell("decisions, mean against a constant", Design(patients), _decisions,
                        ("type I",), 600, which="mean")
        if patients == 40:
            for which in ("loudest pair", "quietest pair"):
                yield _cell(f"decisions, {which}", Design(patients), _decisions, ("type I",), 400,
                            which=which)
        for share in (0.0, 0.5):
            yield _cell("randomization", Design(patients, "many" if patients < 200 else "one"),
                        _randomization,
                        ("type I", "coverage", "error ratio"), 1000, alike=share)


def _cell(name: str, design: Design, draw: Any, asked: tuple[str, ...], replications: int = 2000,
          **options: Any) -> Cell:
    described = ", ".join([str(design), *(f"{key} {value:g}" for key, value in options.items()
                                         if not isinstance(value, str))])
    return Cell(name, described, lambda generator: draw(generator, design, **options), asked,
                design.patients, replications)


def _differences(generator: np.random.Generator, design: Design) -> tuple[Any, Any]:
    """Differences of two explainers of equal distribution, some of them zero."""
    owner, levels = drawn_patients(generator, design)
    first = overlaps(latent(generator, owner, levels))
    second = overlaps(latent(generator, owner, 0.5 * levels + np.sqrt(0.75) * generator.normal(
        size=design.patients)))
    return first - second, owner


def _signed_rank(generator: np.random.Generator, design: Design) -> Outcome:
    made = signed_rank(*_differences(generator, design))
    return Outcome(rejected=float(made.p_value <= 0.05))


def _bootstrap(generator: np.random.Generator, design: Design) -> Outcome:
    values, owner = _differences(generator, design)
    return against(bootstrap(values, owner, resamples=1000, confidence_level=0.95,
                             seed=int(generator.integers(2**31))), 0.0)


def _equivalence(generator: np.random.Generator, design: Design) -> Outcome:
    values, owner = _differences(generator, design)
    return Outcome(rejected=float(equivalence(values + 0.1, owner, 0.1).p_value <= 0.05))


def _no_worse(generator: np.random.Generator, design: Design) -> Outcome:
    values, owner = _differences(generator, design)
    return Outcome(rejected=float(non_inferiority(values - 0.1, owner, 0.1).p_value <= 0.05))


def _decisions(generator: np.random.Generator, design: Design, which: str) -> Outcome:
    """Nine explainers of equal means whose standard deviations go from .02 to .25."""
    owner, levels = drawn_patients(generator, design)
    values = explainers(generator, owner, levels)
    n, count = values.shape
    names = [f"e{k}" for k in range(count)]
    table = pd.DataFrame({
        "image": np.repeat([f"i{k}" for k in range(n)], count),
        "patient": np.repeat([f"p{k}" for k in owner], count),
        "level": names * n, "value": values.ravel()})
    formula = "value ~ level + (1|image)" + (" + (1|patient)" if design.images != "one" else "")
    if which == "mean":
        made = robust_contrasts(table, [(name, "half") for name in names], formula, alpha=0.05,
                                seed=0, constants={"half": 0.5})
        return against(made["e8", "half"], 0.0)
    pairs = [(a, b) for k, a in enumerate(names) for b in names[k + 1:]]
    made = robust_contrasts(table, pairs, formula, alpha=0.05, seed=0, constants={})
    if which == "any pair":
        return Outcome(rejected=float(min(row["p_adjusted"] for row in made.values()) <= 0.05))
    pair = ("e7", "e8") if which == "loudest pair" else ("e0", "e1")
    return Outcome(rejected=float(made[pair]["p_value"] <= 0.05))


def _randomization(generator: np.random.Generator, design: Design, alike: float) -> Outcome:
    """Similarities of maps and of pairs of images; both depend on what images share."""
    owner, levels = drawn_patients(generator, design)
    names = [f"i{k}" for k in range(len(owner))]
    patients = {name: f"p{k}" for name, k in zip(names, owner.tolist(), strict=True)}
    level = np.sqrt(alike) * levels[owner] + np.sqrt(1 - alike) * generator.normal(
        size=len(owner))
    left, right = np.triu_indices(len(owner), 1)
    different = owner[left] != owner[right]
    left, right = left[different], right[different]
    if len(left) > 4000:
        kept = np.sort(generator.choice(len(left), 4000, replace=False))
        left, right = left[kept], right[kept]
    # Of images that are like the rest, both sides of a pair are.
    pairs = 0.3 + 0.05 * (level[left] + level[right]) / 2 + 0.03 * generator.normal(
        size=len(left))
    alone = 0.3 + 0.05 * level + 0.03 * generator.normal(size=len(owner))
    made = contrast(pd.DataFrame({"image": names, "ssim": alone}),
                    ByChance(names, DifferentImages(left, right, pairs, len(left))), patients)
    return against(made, 0.0)
