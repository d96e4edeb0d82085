"""Options that belong together, as values that analyses share and record."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any, ClassVar, ParamSpec, TypeVar

import numpy as np

from saltrust.analysis.inference.estimate import check_confidence_level, check_number
from saltrust.analysis.inference.resampling import check_resampling, check_whole, warn_of_few
from saltrust.choices import (
    BootstrapKind,
    CaseLevel,
    CorrelationInterval,
    DecidingMetric,
    Definition,
    Errors,
    Failures,
    Images,
    IouSlice,
    LocalizerSeeds,
    MapChoice,
    MapSource,
    Posthoc,
    RelevanceDefinition,
    Resolution,
    Variance,
    check_word,
)
from saltrust.errors import UsageError
from saltrust.reading import shown

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")

#: A number, or a file with one per finding.
Cut = float | str | Path | None

#: Images whose gaze a map is compared with for chance; each is read once more.
MOST_OTHERS = 10_000
#: Processes, each of which has all libraries loaded.
MOST_WORKERS = 1024

KINDS: dict[BootstrapKind, str] = {
    "auto": "bootstrap-t (10 to 30 patients) or percentile (more); hits: Wilson with the number "
            "of rows that patients leave; else",
    "percentile": "percentile", "bca": "bias-corrected and accelerated",
    "bootstrap-t": "bootstrap-t"}


@dataclass(frozen=True)
class Scoring:
    """How a heatmap is scored against a reference mask.

    Attributes
    ----------
    resolution : {"native", "grid"}, optional
        Size at which maps and masks meet; by default native where native masks are stored and
        every native size is known.
    definition : {"default", "peer"}
        ``"peer"``: every definition as the code released with CheXlocalize has it.
    slice : {"positive", "all", "both_nonempty"}, optional
        Which image-finding pairs have an IoU
        (:data:`saltrust.analysis.pixels.overlap.IOU_SLICES`).  By default ``positive``; under
        ``"peer"`` what the released code takes for the analysis.
    threshold : {"otsu", "yen", "isodata", "li"}, float or path, optional
        Pixels strictly above it are the segmentation: Otsu's threshold of each map (the
        default), another of its histogram
        (:func:`saltrust.analysis.pixels.histogram_thresholds.histogram_threshold`; under
        ``"peer"`` too, which fills contours with Otsu's only), a share of its range in [0, 1),
        or a CSV with one per finding (:mod:`saltrust.analysis.scores.segmentation_rules`).
    cutoff : float or path, optional
        The segmentation is empty unless the predicted probability exceeds this.  Hits are not
        touched by it.
    level : {"image", "study"}
        Whose probability a map has, for cut-offs and confidence: that of its image, or the
        largest of the views of its examination, as protocol S.
    map : {"auto", "raw", "absolute", "positive"}
        What of every map is scored, its segmentation, peak and ranking alike: by default what
        its explainer declares (:mod:`saltrust.analysis.stored.readings`), and under ``"peer"``
        the map as stored, as the released code; any other word counts under both definitions.
    relevance : {"default", "quantus"}
        Mass and rank accuracy and the energy pointing game: of positive values, ties at the last
        rank shared (:mod:`saltrust.analysis.pixels.relevance`); or as Quantus, which sums negative
        values as they are and breaks ties by ``argsort``.
    """

    resolution: Resolution | None = None
    definition: Definition = "default"
    slice: IouSlice | None = None
    threshold: Cut = None
    cutoff: Cut = None
    map: MapChoice = "auto"
    level: CaseLevel = "image"
    relevance: RelevanceDefinition = "default"

    def __post_init__(self) -> None:
        if self.resolution is not None:
            check_word(self.resolution, Resolution, "resolution")
        check_word(self.definition, Definition, "definition")
        check_word(self.map, MapChoice, "map")
        check_word(self.level, CaseLevel, "level")
        check_word(self.relevance, RelevanceDefinition, "relevance")
        if self.slice is not None:
            check_word(self.slice, IouSlice, "slice")
        for name in ("threshold", "cutoff"):
            value = getattr(self, name)
            if not isinstance(value, float | int | np.number | str | Path | None):
                raise UsageError(f"{name} = {shown(value)} must be a number or the path of a "
                                 "file with one per finding")

    def sliced(self, under_peer: IouSlice = "both_nonempty") -> IouSlice:
        """The slice, or the definition's own: ``positive``, and ``under_peer`` under peer."""
        return self.slice or (under_peer if self.definition == "peer" else "positive")

    def read(self) -> MapChoice:
        """What of the maps is scored, or the definition's own: ``raw`` under peer."""
        return "raw" if self.map == "auto" and self.definition == "peer" else self.map


@dataclass(frozen=True)
class Execution:
    """How the stored maps are gone through; no number depends on it.

    Attributes
    ----------
    workers : int
        Processes that read maps.
    scheduler : str, optional
        Address of a Dask scheduler in their place; its workers must see the store.
    keep : bool
        Whether what is computed from pixels is kept in ``/scores`` of the store, and used where
        it is there.  Maps that were changed in memory are neither kept nor looked up.
    progress : bool
        Whether bars are shown on stderr.
    """

    workers: int = 1
    scheduler: str | None = None
    keep: bool = True
    progress: bool = False

    def __post_init__(self) -> None:
        check_whole(self.workers, "workers", 1, MOST_WORKERS)


@dataclass(frozen=True)
class Resampling:
    """How uncertainty is had from resamples of patients.

    Attributes
    ----------
    resamples : int
    kind : {"auto", "percentile", "bca", "bootstrap-t"}
        Of the intervals of means (:func:`saltrust.analysis.inference.bootstrap.mean_interval`);
        functions of several means keep percentiles, and have none of fewer than 10 patients.
    seed : int
    confidence_level : float
        Of every interval of the analysis, also of those that need no resamples.
    """

    resamples: int = 1000
    kind: BootstrapKind = "auto"
    seed: int = 0
    confidence_level: float = 0.95

    def __post_init__(self) -> None:
        check_word(self.kind, BootstrapKind, "bootstrap")
        check_resampling(self.resamples, self.seed)
        warn_of_few(self.resamples)
        check_confidence_level(self.confidence_level)

    def describe(self) -> dict[str, Any]:
        """What stands of it in the metadata of a result."""
        return {"resamples": self.resamples, "seed": self.seed,
                "confidence_level": self.confidence_level}


@dataclass(frozen=True)
class Testing:
    """Which errors the estimates of regressions and correlations have, and their intervals.

    Attributes
    ----------
    errors : {"cr2", "classical"}, optional
        Clustered by patient, or of rows taken as independent.  By default clustered, and
        classical under the definition ``"peer"``, as the papers.
    confidence_level : float, optional
        Of the intervals, which are not adjusted for multiplicity; by default 0.95, or that of the
        resampling where an analysis has one.
    interval : {"jackknife", "bonett-wright", "fisher", "bootstrap"}, optional
        Of Spearman's correlation (:func:`saltrust.confidence`): by default the jackknife over
        patients; Bonett and Wright's of classical errors, and Fisher's under ``"peer"``.
    by : str, optional
        Coordinates of images whose groups are compared, such as ``"sex,age:40:60"``
        (:func:`saltrust.analysis.stored.subgroups.groupings`); needs cubes.
    """

    #: Nothing for pytest, which looks for names that begin so.
    __test__: ClassVar[bool] = False

    errors: Errors | None = None
    confidence_level: float | None = None
    interval: CorrelationInterval | None = None
    by: str | None = None

    def __post_init__(self) -> None:
        if self.errors is not None:
            check_word(self.errors, Errors, "errors")
        if self.interval is not None:
            check_word(self.interval, CorrelationInterval, "interval")
        if self.confidence_level is not None:
            check_confidence_level(self.confidence_level)

    def refuse_groups(self) -> None:
        """Refuse groups of images where there is a table and no image.

        Raises
        ------
        UsageError
        """
        if self.by is not None:
            raise UsageError(f"by = {shown(self.by)} needs cubes, which know the groups of images; "
                             "a table of scores has none")

    def chosen(self, definition: Definition) -> Errors:
        """The errors, or the definition's own."""
        return self.errors or ("classical" if definition == "peer" else "cr2")

    def level(self, otherwise: float = 0.95) -> float:
        """The level of intervals."""
        return otherwise if self.confidence_level is None else self.confidence_level


def former_keywords(*names: str) -> Callable[[Callable[Parameters, Returned]],
                                             Callable[Parameters, Returned]]:
    """Take fields of :class:`Testing` as keywords of the function too, as 0.1 did; until 0.3.

    Parameters
    ----------
    *names : str
        ``confidence_level`` is deprecated with a warning; ``interval`` and ``by`` are not.
    """

    def decorate(function: Callable[Parameters, Returned]) -> Callable[Parameters, Returned]:
        @wraps(function)
        def taking(*arguments: Parameters.args, **options: Parameters.kwargs) -> Returned:
            given: dict[str, Any] = {name: options.pop(name) for name in names if name in options}
            if given:
                testing: Any = options.get("testing", Testing())
                options["testing"] = replace(testing, **given)
            if "confidence_level" in given:
                warnings.warn("the keyword confidence_level is deprecated and will be gone in 0.3; "
                              "say testing=saltrust.Testing(confidence_level=...)",
                              DeprecationWarning, stacklevel=2)
            return function(*arguments, **options)

        return taking

    return decorate


@dataclass(frozen=True)
class Margins:
    """How far means may lie apart and still count as equal, or as no worse.

    Attributes
    ----------
    equivalence : float, optional
        Means closer than this, by two one-sided tests, are called equivalent.
    non_inferiority : float, optional
        A mean that is not below another by more than this, by one one-sided test, is called no
        worse; higher is better.
    """

    equivalence: float | None = None
    non_inferiority: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("margin", self.equivalence),
                            ("non-inferiority margin", self.non_inferiority)):
            if value is not None:
                check_number(value, name)
                if not value > 0:
                    raise UsageError(f"{name} = {value} must be positive, such as 0.05")

    @classmethod
    def of(cls, margin: float | Margins | None) -> Margins:
        """The margins; a number is that of equivalence."""
        return margin if isinstance(margin, Margins) else cls(margin)

    def describe(self) -> dict[str, Any]:
        """What stands of it in the metadata of a result."""
        return {name: value for name, value in (
            ("equivalence_margin", self.equivalence),
            ("non_inferiority_margin", self.non_inferiority)) if value is not None}


@dataclass(frozen=True)
class Decision:
    """How explainers are compared with their baselines (protocol A).

    Attributes
    ----------
    posthoc : {"tukey", "control"}
        Tukey's correction over all pairs of levels, as the paper; or contrasts against each
        baseline alone with Dunnett's.
    alpha : float
        Level of the decisions; intervals have level 1 - alpha.
    margin : float or Margins, optional
        Means closer than this, by two one-sided tests, are called equivalent; without one, which
        only the question can give, nothing is.  ``Margins(non_inferiority=...)`` asks whether a
        level is no worse than its baseline.
    resamples, seed : int
        Of the paired bootstrap.
    variance : {"level", "equal"}
        A residual variance per level where every level has ten rows, contrasts decided by errors
        clustered by patient with single-step max-t; or the model of the paper, with one variance
        and its own errors.
    metric : {"ap", "auprc"}
        Which metric of utility decides the marks: the average precision, or the trapezoid of the
        paper, which ties inflate.
    localizers : {"each", "together"}
        Whether utility has a level for each seed of a localizer, or one for all seeds of an
        architecture: the mean of their scores of an image.
    """

    posthoc: Posthoc = "tukey"
    alpha: float = 0.05
    margin: float | Margins | None = None
    resamples: int = 2000
    seed: int = 0
    variance: Variance = "level"
    metric: DecidingMetric = "ap"
    localizers: LocalizerSeeds = "each"

    def __post_init__(self) -> None:
        check_word(self.metric, DecidingMetric, "metric")
        check_word(self.localizers, LocalizerSeeds, "localizers")
        check_word(self.posthoc, Posthoc, "posthoc")
        check_word(self.variance, Variance, "variance")
        check_number(self.alpha, "alpha")
        check_confidence_level(1 - self.alpha)
        check_resampling(self.resamples, self.seed)
        warn_of_few(self.resamples)
        Margins.of(self.margin)

    def describe(self) -> dict[str, Any]:
        """What stands of it in the metadata of a result."""
        return {"alpha": self.alpha, "posthoc": self.posthoc, "variance": self.variance,
                "confidence_level": 1 - self.alpha,
                **Margins.of(self.margin).describe(),
                "resamples": self.resamples, "seed": self.seed,
                "effect_size": "mean difference per image / its standard deviation",
                "decision": "pass: significantly above the baseline by the mixed model; did not "
                            "pass: below; else uncertain"}


@dataclass(frozen=True)
class GazeComparison:
    """Which maps are compared with gaze, and how.

    Attributes
    ----------
    source : {"all", "saliency", "localizer"}
        Maps of explainers, of localizers (and of decoders trained with gaze), or both.
    reading : {"auto", "raw", "absolute", "positive"}
        What of the maps is compared: by default what every explainer declares
        (:mod:`saltrust.analysis.stored.readings`), and maps of localizers as they are stored.
    images : {"positive", "all"}
        Only maps of findings that the image shows, or all: gaze belongs to no finding.
    threshold : float
        Where not every image has fixations stored, pixels with at least this share of the
        maximum of the gaze heatmap count as fixated; above 0, at most 1.
    others : int
        Images of other patients whose gaze each map is compared with besides, for chance.
    failures : {"score", "drop"}
        A flat or non-finite map is scored as one that tells nothing
        (:func:`saltrust.analysis.pixels.gaze_agreement.agreement`), or its image is left out
        for all maps of the finding.
    """

    source: MapSource = "all"
    reading: MapChoice = "auto"
    images: Images = "positive"
    threshold: float = 0.5
    others: int = 5
    failures: Failures = "score"

    def __post_init__(self) -> None:
        check_word(self.source, MapSource, "source")
        check_word(self.reading, MapChoice, "reading")
        check_word(self.images, Images, "images")
        check_word(self.failures, Failures, "failures")
        check_number(self.threshold, "gaze threshold")
        if not 0 < self.threshold <= 1:
            raise UsageError(f"gaze threshold {self.threshold} must lie above 0 and be at most 1, "
                             "such as 0.5")
        check_whole(self.others, "others", 1, MOST_OTHERS)

    def describe(self) -> dict[str, Any]:
        """What stands of it in the metadata of a result."""
        return {"compared": ("findings that the image shows" if self.images == "positive"
                             else "every finding with a map"),
                "other_images": f"{self.others} of other patients per image",
                "failures": ("scored as a map that tells nothing" if self.failures == "score"
                             else "their images are left out")}
