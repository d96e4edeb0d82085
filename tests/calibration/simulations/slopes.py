"""Regressions of scores and of hits."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.stats import rankdata

from saltrust.analysis.inference.clustered import robust_slope
from saltrust.analysis.inference.correlation import spearman
from saltrust.analysis.inference.linear import simple_regression
from saltrust.analysis.inference.logistic import logistic_regression
from saltrust.analysis.inference.logit_means import logit_mean
from saltrust.analysis.inference.ordered_beta import ordered_beta
from saltrust.analysis.inference.rank_jackknife import clustered_spearman
from saltrust.analysis.inference.two_part import two_part_effect
from saltrust.analysis.shape.joint_model import joint_table
from saltrust.analysis.shape.regression_fits import Design as RegressionDesign
from tests.calibration.designs import Design, drawn_patients, hits, latent, overlaps
from tests.calibration.outcome import Cell, Outcome, against

PATIENTS = (12, 40, 200)


def cells() -> Iterator[Cell]:
    for patients in PATIENTS:
        for images in ("one", "many"):
            for covariate in ("patient", "image"):
                if images == "one" and covariate == "image":
                    continue
                yield _cell("CR2 slope", Design(patients, images), _slope,
                            ("type I", "coverage"), covariate=covariate)
        for covariate in ("patient", "image"):
            design = Design(patients, "many" if patients < 200 else "one")
            yield _cell("CR2 logit", design, _logit, ("type I", "coverage"), covariate=covariate)
            yield _cell("GEE of hits", design, _gee, ("type I", "coverage"), covariate=covariate)
            yield _cell("fractional logit", design, _fractional, ("type I", "coverage"),
                        covariate=covariate)
            yield _cell("joint model", design, _joint, ("type I", "coverage"),
                        covariate=covariate)
            if patients == 40:
                yield Cell("two-part model", f"{design}, covariate {covariate}",
                           lambda g, design=design, covariate=covariate: _two_part(
                               g, design, covariate), ("type I", "coverage"), patients, 500)
            if patients < 200:
                yield Cell("ordered beta", f"{design}, covariate {covariate}",
                           lambda g, design=design, covariate=covariate: _ordered(
                               g, design, covariate), ("type I", "coverage"), patients,
                           # Near its bound, so that 2,000 would be a toss of a coin.
                           6000 if patients < 40 else 2000)
            yield _cell("rank correlation", design, _spearman, ("type I",), covariate=covariate)
        yield _cell("rank correlation of related values", design, _spearman, ("coverage",),
                    covariate="image", slope=0.1)
    yield _cell("CR2 slope, with an effect", Design(40), _slope, ("power",), covariate="image",
                slope=0.04)


def _cell(name: str, design: Design, draw: Any, asked: tuple[str, ...], **options: Any) -> Cell:
    described = ", ".join([str(design), *(f"{key} {value}" for key, value in options.items())])
    return Cell(name, described, lambda generator: draw(generator, design, **options), asked,
                design.patients)


def covariates(generator: np.random.Generator, owner: Any, patients: int, kind: str) -> Any:
    """A covariate of patients, or of images."""
    if kind == "patient":
        return generator.normal(size=patients)[owner]
    return generator.normal(size=len(owner))


def _slope(generator: np.random.Generator, design: Design, covariate: str,
           slope: float = 0.0) -> Outcome:
    owner, levels = drawn_patients(generator, design)
    x = covariates(generator, owner, design.patients, covariate)
    y = overlaps(latent(generator, owner, levels)) + slope * x
    made = robust_slope(simple_regression(x, y), x, y, owner)
    return against(made, slope, null=0.0 if slope else None)


def _logit(generator: np.random.Generator, design: Design, covariate: str) -> Outcome:
    owner, levels = drawn_patients(generator, design)
    x = covariates(generator, owner, design.patients, covariate)
    y = hits(latent(generator, owner, levels), 0.6)
    return against(logistic_regression(x, y, clusters=owner).clustered, 0.0)


def _spearman(generator: np.random.Generator, design: Design, covariate: str,
              slope: float = 0.0) -> Outcome:
    owner, levels = drawn_patients(generator, design)
    x = covariates(generator, owner, design.patients, covariate)
    y = overlaps(latent(generator, owner, levels)) + slope * x
    made = clustered_spearman(spearman(x, y, clusters=owner), x, y, owner)
    return against(made, _rho(design, slope))


def _gee(generator: np.random.Generator, design: Design, covariate: str) -> Outcome:
    owner, levels = drawn_patients(generator, design)
    x = covariates(generator, owner, design.patients, covariate)
    y = hits(latent(generator, owner, levels), 0.6)
    return against(logit_mean(x, y, owner, covariance="mancl-derouen").slope, 0.0)


def _fractional(generator: np.random.Generator, design: Design, covariate: str) -> Outcome:
    owner, levels = drawn_patients(generator, design)
    x = covariates(generator, owner, design.patients, covariate)
    return against(logit_mean(x, overlaps(latent(generator, owner, levels)), owner).slope, 0.0)


def _two_part(generator: np.random.Generator, design: Design, covariate: str) -> Outcome:
    owner, levels = drawn_patients(generator, design)
    x = covariates(generator, owner, design.patients, covariate)
    return against(two_part_effect(x, overlaps(latent(generator, owner, levels)), owner), 0.0)


def _ordered(generator: np.random.Generator, design: Design, covariate: str) -> Outcome:
    owner, levels = drawn_patients(generator, design)
    x = covariates(generator, owner, design.patients, covariate)
    return against(ordered_beta(x, overlaps(latent(generator, owner, levels)), owner).effect, 0.0)


def _joint(generator: np.random.Generator, design: Design, covariate: str) -> Outcome:
    """Two related covariates, neither of which matters."""
    owner, levels = drawn_patients(generator, design)
    x = covariates(generator, owner, design.patients, covariate)
    other = 0.6 * x + 0.8 * generator.normal(size=len(owner))
    y = overlaps(latent(generator, owner, levels))
    names = np.array([f"i{k}" for k in range(len(owner))])
    designs = [RegressionDesign({"descriptor": name}, values, y, names, np.full(len(y), "Edema"),
                                owner, np.array([f"p{k}" for k in owner]), "")
               for name, values in (("a", x), ("b", other))]
    (row, _) = joint_table(designs, ("descriptor",), 0.95).to_dict("records")
    return against(row, 0.0)


@lru_cache
def _rho(design: Design, slope: float) -> float:
    """Spearman's rho of a million images with a covariate of their own."""
    if not slope:
        return 0.0
    generator = np.random.default_rng(20_260_103)
    owner, levels = drawn_patients(generator, Design(200_000, design.images))
    x = generator.normal(size=len(owner))
    y = overlaps(latent(generator, owner, levels)) + slope * x
    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])
