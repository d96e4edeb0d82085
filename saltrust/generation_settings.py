"""``[randomization]``, ``[faithfulness]``, ``[perturbation]``: what maps are judged by."""


from __future__ import annotations

from dataclasses import dataclass

from saltrust.cache.schema import FAITHFULNESS_METRICS, PERTURBATIONS
from saltrust.typed_table import bounded


@dataclass(frozen=True)
class RandomizationSpec:
    """``[randomization]``: maps while weights are randomised cumulatively from the top down."""

    replicates: int = bounded(0, 0, 1000, help="random networks made of each model; 0: none")
    stages: tuple[str, ...] = bounded(
        (), help="where to make maps (`saltrust info --model ARCHITECTURE` lists the stages); "
                "empty: everywhere; the last, wholly random network is always among them")
    models: tuple[str, ...] = bounded((), help="which models, all of the same stages; empty: all")
    images: int = bounded(0, 0, 10_000_000,
                          help="how many of the images of [generate], drawn by seed; 0: all")
    positives: int = bounded(0, 0, 10_000_000,
                             help="in place of `images`: how many that show a finding, drawn by "
                                  "seed")
    negatives: int = bounded(0, 0, 10_000_000,
                             help="in place of `images`: how many that show none")


@dataclass(frozen=True)
class FaithfulnessSpec:
    """``[faithfulness]``: predictions while what maps call relevant is removed or inserted."""

    metrics: tuple[str, ...] = bounded(
        (), choices=(*FAITHFULNESS_METRICS, "infidelity", "sensitivity"),
        help="which curves are computed, and which measures of captum; empty: none")
    steps: int = bounded(5, 2, 1000, help="equal steps from nothing to all, both ends included")
    baseline: str | int = bounded("blur", help="what deletion puts in the place of pixels and "
                                               "insertion starts from: blur, black, gray, white "
                                               "or a gray level of 0..255")
    squares: int = bounded(32, 2, 4096, help="of morf and lerf, along the shorter side; the "
                                             "nearest number that divides it")
    orders: int = bounded(5, 5, 1000, help="random orders of each image")
    labels: str = bounded("positive", choices=("positive", "all"),
                          help="maps that get curves: of findings that the image shows, or of all")
    images: int = bounded(0, 0, 10_000_000,
                          help="how many of the images of [generate], drawn by seed; 0: all")
    passes: int = bounded(200, 0, 10_000_000,
                          help="most forward passes of an image for curves: as many of its "
                               "findings are drawn by seed as fit, one at least; 0: no limit")


@dataclass(frozen=True)
class PerturbationSpec:
    """``[perturbation]``: predictions and maps while radiographs are changed by degrees."""

    kinds: tuple[str, ...] = bounded((), choices=PERTURBATIONS, help="how; empty: not at all")
    levels: int = bounded(3, 2, 100, help="degrees of each kind, in equal steps")
    images: int = bounded(0, 0, 10_000_000,
                          help="how many of the images of [generate], drawn by seed; 0: all")
