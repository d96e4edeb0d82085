"""Means, shares and their differences: scores of maps, hits, agreement."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from saltrust.analysis.confidence.strata import CONTRAST, confidence_strata
from saltrust.analysis.inference.bootstrap import mean_interval
from saltrust.analysis.inference.clustered import clustered_mean
from saltrust.analysis.inference.max_t import step_down
from saltrust.analysis.inference.proportions import proportion_interval
from saltrust.analysis.localization.contrasts import equivalences, map_differences
from saltrust.analysis.localization.decreases import decrease
from saltrust.analysis.localization.non_inferiority import non_inferiorities
from saltrust.analysis.localization.study_wide import study_wide
from saltrust.analysis.scores.segmentation_rules import Choice
from tests.calibration.designs import (
    Design,
    drawn_patients,
    explainers,
    hits,
    latent,
    overlaps,
    truth,
)
from tests.calibration.outcome import Cell, Outcome, against

PATIENTS = (12, 40, 200)
_BOOTSTRAPS = 1000


def cells() -> Iterator[Cell]:
    for patients in PATIENTS:
        for images in ("one", "many", "informative"):
            design = Design(patients, images)
            yield _cell("mean", design, _mean, ("coverage",), _BOOTSTRAPS)
            yield _cell("clustered mean", design, _clustered_mean,
                        ("type I", "coverage", "error ratio"))
            for share in (0.5, 0.85):
                yield _cell("share", design, _share, ("coverage",), _BOOTSTRAPS, share=share)
        for images in ("one", "many"):
            yield _cell("max-T of nine maps", Design(patients, images), _nine, ("familywise",),
                        _BOOTSTRAPS)
        # Tables of a thousand images would take the time of all else.
        design = Design(patients, "many" if patients < 200 else "one")
        yield _cell("strata", design, _strata, ("type I", "coverage"))
        yield _cell("difference of maps", design, _difference, ("coverage",), _BOOTSTRAPS)
        yield _cell("decrease", design, _decrease, ("coverage",), _BOOTSTRAPS)
        for tested in ("expert against map", "change of the decrease"):
            yield _cell(tested, design, _without_decrease, ("type I",), _BOOTSTRAPS,
                        change=float(tested.startswith("change")))
        yield _cell("equivalence of maps", design, _equivalent, ("at most",), _BOOTSTRAPS)
        yield _cell("non-inferiority of maps", design, _no_worse, ("type I",), _BOOTSTRAPS)
    for design in (Design(12), Design(40)):
        yield _cell("study of localization", design, _study, ("familywise",), 300)
    yield _cell("clustered mean, with an effect", Design(40), _clustered_mean, ("power",),
                shift=0.12)
    yield _cell("max-T of nine maps, with an effect", Design(40), _nine, ("power",), _BOOTSTRAPS,
                shift=0.04)


def _cell(name: str, design: Design, draw: Any, asked: tuple[str, ...], replications: int = 2000,
          **options: Any) -> Cell:
    described = ", ".join([str(design), *(f"{key} {value:g}" for key, value in options.items())])
    return Cell(name, described, lambda generator: draw(generator, design, **options), asked,
                design.patients, replications)


def _seed(generator: np.random.Generator) -> int:
    return int(generator.integers(2**31))


def _scores(generator: np.random.Generator, design: Design) -> tuple[Any, Any]:
    owner, levels = drawn_patients(generator, design)
    return overlaps(latent(generator, owner, levels)), owner


def _mean(generator: np.random.Generator, design: Design) -> Outcome:
    values, owner = _scores(generator, design)
    made = mean_interval(values, owner, method="auto", seed=_seed(generator))
    expected = truth(design.images)
    return Outcome(float(made.mean) - expected, float(made.std_error),
                   float(made.conf_low <= expected <= made.conf_high))


def _clustered_mean(generator: np.random.Generator, design: Design, shift: float = 0) -> Outcome:
    values, owner = _scores(generator, design)
    expected = truth(design.images)
    return against(clustered_mean(values, owner, null=expected - shift), expected,
                   null=expected - shift)


def _share(generator: np.random.Generator, design: Design, share: float) -> Outcome:
    owner, levels = drawn_patients(generator, design)
    values = hits(latent(generator, owner, levels), share)
    made = proportion_interval(values, owner, method="auto", seed=_seed(generator))
    expected = truth(design.images, share)
    return Outcome(float(made.mean) - expected, float(made.std_error),
                   float(made.conf_low <= expected <= made.conf_high))


def _nine(generator: np.random.Generator, design: Design, shift: float = 0) -> Outcome:
    owner, levels = drawn_patients(generator, design)
    values = explainers(generator, owner, levels)
    # The last is loud, and differs from the first.
    values[:, -1] += shift
    first, second = np.triu_indices(values.shape[1], 1)
    made = step_down(values[:, first] - values[:, second], owner,
                     [np.array([k]) for k in range(len(first))], ["all"] * len(first),
                     seed=_seed(generator), resamples=999 if shift == 0 else 1999)
    if shift == 0:
        return Outcome(rejected=float((made.p_adjusted <= 0.05).any()))
    last = values.shape[1] - 2  # of the first against the last
    raw = float((values[:, 0] - values[:, -1]).mean())
    return Outcome(raw + shift, rejected=float(made.p_value[last] <= 0.05), effect=-shift)


def _table(columns: dict[str, Any], owner: Any, **others: Any) -> pd.DataFrame:
    """Scores of several maps in the tidy form."""
    n = len(owner)
    parts = [pd.DataFrame({
        "image": [f"i{k}" for k in range(n)], "patient": [f"p{k}" for k in owner],
        "finding": "Edema", "explainer": explainer, "model": "" if explainer == "expert" else "net",
        "reader": "truth", "iou": values, "hit": (values > 0).astype(float), **others})
        for explainer, values in columns.items()]
    return pd.concat(parts, ignore_index=True)


def _two(generator: np.random.Generator, design: Design) -> tuple[Any, Any, Any]:
    owner, levels = drawn_patients(generator, design)
    first = latent(generator, owner, levels)
    second = 0.7 * first + np.sqrt(1 - 0.49) * generator.normal(size=len(owner))
    return overlaps(first), overlaps(second), owner


def _difference(generator: np.random.Generator, design: Design) -> Outcome:
    one, two, owner = _two(generator, design)
    table = map_differences(_table({"grad": one, "xrai": two}, owner), resamples=1000,
                            seed=_seed(generator))
    (row,) = table[table["metric"] == "iou"].to_dict("records")
    return against(row, 0.0)


def _decrease(generator: np.random.Generator, design: Design) -> Outcome:
    one, two, owner = _two(generator, design)
    falls, _ = decrease(_table({"expert": np.clip(one + 0.2, 0, 1), "grad": two}, owner),
                        resamples=1000, seed=_seed(generator))
    (row,) = falls[(falls["metric"] == "iou") & (falls["finding"] == "Edema")].to_dict("records")
    expected = truth(design.images)
    shifted = _shifted(design.images)
    return against(row, 100 * (shifted - expected) / shifted)


def _without_decrease(generator: np.random.Generator, design: Design, change: float) -> Outcome:
    """Expert and map of one distribution; or the map a fifth worse in IoU and in hits alike."""
    one, two, owner = _two(generator, design)
    kept = generator.random(len(owner)) < (0.8 if change else 1.0)
    table = _table({"expert": one, "grad": two * kept}, owner)
    falls, changes = decrease(table, resamples=1000, seed=_seed(generator))
    rows = changes if change else falls[falls["metric"] == "iou"]
    (row,) = rows[rows["finding"] == "Edema"].to_dict("records")
    return Outcome(row["estimate"], row["std_error"], rejected=float(row["p_value"] <= 0.05))


def _shifted(images: Any) -> float:
    """Mean of an expert's scores: those of a map and .2, at most 1."""
    if images not in _EXPERTS:
        generator = np.random.default_rng(20_260_102)
        owner, levels = drawn_patients(generator, Design(200_000, images))
        _EXPERTS[images] = float(np.clip(
            overlaps(latent(generator, owner, levels)) + 0.2, 0, 1).mean())
    return _EXPERTS[images]


_EXPERTS: dict[Any, float] = {}


def _equivalent(generator: np.random.Generator, design: Design) -> Outcome:
    one, two, owner = _two(generator, design)
    table = equivalences(_table({"grad": one + 0.05, "expert": two}, owner), 0.05,
                         resamples=1000, seed=_seed(generator))
    (row,) = table[(table["metric"] == "iou") & (table["finding"] == "Edema")].to_dict("records")
    return Outcome(rejected=float(row["p_value"] <= 0.05))


def _no_worse(generator: np.random.Generator, design: Design) -> Outcome:
    """A map that is worse than the expert by the margin exactly."""
    one, two, owner = _two(generator, design)
    table = non_inferiorities(_table({"grad": one - 0.05, "expert": two}, owner), 0.05)
    rows = table[(table["metric"] == "iou") & table["contrast"].str.endswith("expert")]
    return Outcome(rejected=float(rows["p_value"].item() <= 0.05))


def _study(generator: np.random.Generator, design: Design) -> Outcome:
    """Two findings, an expert and three maps of one distribution; whether anything is rejected."""
    owner, levels = drawn_patients(generator, design)
    parts = []
    for finding in ("Edema", "Fracture"):
        values = {name: overlaps(latent(generator, owner, levels))
                  for name in ("expert", "grad", "gradcam", "xrai")}
        parts.append(_table(values, owner).assign(finding=finding))
    table, seed = pd.concat(parts, ignore_index=True), _seed(generator)
    falls, change = decrease(table, resamples=999, seed=seed, together=True)
    tables = study_wide({"decrease": falls, "decrease_change": change, "differences":
                         map_differences(table, resamples=999, seed=seed, together=True)})
    return Outcome(rejected=float(any((one["p_adjusted"] <= 0.05).any()
                                      for one in tables.values())))


def _strata(generator: np.random.Generator, design: Design) -> Outcome:
    values, owner = _scores(generator, design)
    table = _table({"grad": values}, owner, area_reference=9.0, area_predicted=9.0)
    # What the model says varies between patients and between their images.
    stated = latent(generator, owner, generator.normal(size=design.patients))
    table = table.assign(probability=1 / (1 + np.exp(-stated)), cluster=owner)
    strata = confidence_strata(table, Choice(everywhere=0.5), resamples=2)
    (row,) = strata[(strata["stratum"] == CONTRAST) & (strata["scheme"] == "iou")
                    & (strata["finding"] == "Edema")].to_dict("records")
    return against(row, 0.0)
