"""Groups compared: unequal sizes and spreads, several images, patients in several groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from saltrust.analysis.classification.auc_rows import Cases
from saltrust.analysis.classification.subgroups import auc_block
from saltrust.analysis.confidence.subgroups import rank_block
from saltrust.analysis.inference.subgroups import (
    FittedGroups,
    Quantity,
    mean_block,
    profile_block,
    slope_block,
)
from saltrust.analysis.inference.wald import Block
from tests.calibration.designs import (
    Design,
    Images,
    drawn_patients,
    explainers,
    latent,
    overlaps,
    truth,
)
from tests.calibration.outcome import Cell, Outcome, against

#: Numbers of patients of three groups, and their spreads: the smallest group varies most.
SMALL, LARGE = (11, 13, 12), (20, 80, 40)
SPREADS = (1.0, 0.5, 0.2)

Draw = Callable[[np.random.Generator, Sequence[int], Images], Mapping[str, Block]]


def cells() -> Iterator[Cell]:
    for sizes in (SMALL, LARGE):
        for images in ("one", "many"):
            for name, draw in (("means", _means), ("overlaps", _overlaps), ("slopes", _slopes)):
                yield from _three(f"subgroup {name}", draw, sizes, images)
        yield from _three("subgroup areas", _areas, sizes, "many")
        yield from _three("subgroup correlations", _correlations, sizes, "many")
        yield from _three("subgroup views of the same patients", _views, sizes, "many")
        yield _cell("explainers against subgroups", _profiles, sizes, "many", _test, ("type I",))


def _three(name: str, draw: Draw, sizes: Sequence[int], images: Images,
           replications: int = 1000) -> Iterator[Cell]:
    """Interval of a group, difference of two groups, and test of all."""
    for what, look, asked in (("estimate", _estimate, ("coverage",)),
                              ("difference", _difference, ("type I", "coverage")),
                              ("test", _test, ("type I",))):
        yield _cell(f"{name}, {what}", draw, sizes, images, look, asked, replications)


def _cell(name: str, draw: Draw, sizes: Sequence[int], images: Images,
          look: Callable[[FittedGroups, float], Outcome], asked: tuple[str, ...],
          replications: int = 1000) -> Cell:
    def one(generator: np.random.Generator) -> Outcome:
        blocks = draw(generator, sizes, images)
        bounds = (0.0, 1.0) if draw in {_areas, _overlaps} else (-np.inf, np.inf)
        fitted = FittedGroups.of(Quantity({}, "mean", blocks, "f", bounds=bounds), list(blocks))
        return look(fitted, truth(images) if draw is _overlaps else _TRUTH.get(draw, 0.0))

    described = (f"{'+'.join(map(str, sizes))} patients, "
                 f"{'1 image' if images == 'one' else '1 to 10 images'}")
    return Cell(name, described, one, asked, min(sizes), replications)


def _estimate(fitted: FittedGroups, value: float) -> Outcome:
    return against(fitted.estimate(next(iter(fitted.why)), 0.95), value)


def _difference(fitted: FittedGroups, _value: float) -> Outcome:
    return against(fitted.difference(*list(fitted.why)[:2], 0.95), 0.0)


def _test(fitted: FittedGroups, _value: float) -> Outcome:
    return Outcome(rejected=float(fitted.together()["p_value"] <= 0.05))


def _groups(generator: np.random.Generator, sizes: Sequence[int], images: Images,
            block: Callable[..., Block | None]) -> dict[str, Block]:
    """A block of every group, from patients, their levels and their spread."""
    made = {}
    for k, size in enumerate(sizes):
        owner, levels = drawn_patients(generator, Design(size, images))
        names = np.array([f"{k}-{i}" for i in owner], dtype=object)
        one = block(owner, levels, names, SPREADS[k])
        if one is not None:
            made[f"g{k}"] = one
    return made


def _means(generator: np.random.Generator, sizes: Sequence[int], images: Images
           ) -> Mapping[str, Block]:
    return _groups(generator, sizes, images, lambda owner, levels, names, spread: mean_block(
        spread * latent(generator, owner, levels), names))


def _overlaps(generator: np.random.Generator, sizes: Sequence[int], images: Images
              ) -> Mapping[str, Block]:
    return _groups(generator, sizes, images, lambda owner, levels, names, _: mean_block(
        overlaps(latent(generator, owner, levels)), names))


def _slopes(generator: np.random.Generator, sizes: Sequence[int], images: Images
            ) -> Mapping[str, Block]:
    def block(owner: Any, levels: Any, names: Any, spread: float) -> Block | None:
        x = generator.random(len(owner))
        return slope_block(x, spread * latent(generator, owner, levels), names)

    return _groups(generator, sizes, images, block)


def _areas(generator: np.random.Generator, sizes: Sequence[int], images: Images
           ) -> Mapping[str, Block]:
    def block(owner: Any, levels: Any, names: Any, _: float) -> Block | None:
        # Half of the patients are positive; the area is .80.
        positive = (np.arange(len(levels)) % 2 == 0)[owner]
        scores = latent(generator, owner, levels) + 1.1902 * positive
        return auc_block([Cases(positive, scores[:, None], names)], [0])

    return _groups(generator, sizes, images, block)


def _correlations(generator: np.random.Generator, sizes: Sequence[int], images: Images
                  ) -> Mapping[str, Block]:
    def block(owner: Any, levels: Any, names: Any, _: float) -> Block | None:
        x = latent(generator, owner, generator.normal(size=len(levels)))
        return rank_block(x, latent(generator, owner, levels), names, None)

    return _groups(generator, sizes, images, block)


def _views(generator: np.random.Generator, sizes: Sequence[int], images: Images
           ) -> Mapping[str, Block]:
    """Patients who are in all groups, by chance of every image, but for the sizes."""
    owner, levels = drawn_patients(generator, Design(sum(sizes), images))
    scores = latent(generator, owner, levels)
    view = generator.choice(3, len(owner), p=(0.2, 0.5, 0.3))
    return {f"v{k}": mean_block(spread * scores[view == k], owner[view == k])
            for k, spread in enumerate(SPREADS)}  # type: ignore[misc]


def _profiles(generator: np.random.Generator, sizes: Sequence[int], images: Images
              ) -> Mapping[str, Block]:
    return _groups(generator, sizes, images, lambda owner, levels, names, spread: profile_block(
        explainers(generator, owner, levels, np.array([0.1, 0.2 * spread, 0.2])), names))


#: What every group's value is.
_TRUTH: dict[Draw, float] = {_areas: 0.8}
