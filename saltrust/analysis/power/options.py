"""What is tested, what is known of the scores, and how much is simulated."""

from __future__ import annotations

from dataclasses import dataclass

from saltrust.analysis.inference.estimate import check_confidence_level, check_number
from saltrust.analysis.inference.resampling import check_resampling, check_whole
from saltrust.analysis.options import MOST_WORKERS
from saltrust.analysis.power.designs import MOST_PATIENTS
from saltrust.choices import Outcome, PilotUse, PowerComparison, check_word
from saltrust.errors import UsageError

#: Of one design; ten times as many change the third digit.
MOST_REPLICATES = 1_000_000
MOST_TESTS = 100_000


@dataclass(frozen=True)
class PowerTest:
    """The test whose power is asked for.

    Attributes
    ----------
    comparison : str
        One of :data:`saltrust.choices.PowerComparison`; ``docs/power.md`` says which table of
        which analysis each is.
    outcome : {"score", "hit"}
        Scores as normal, or hits and misses.
    alpha : float
        Level of the whole family.
    tests : int
        Tests of the family: each has level alpha / tests, which max-T and Holm do not fall below.
    margin : float, optional
        Of equivalence and non-inferiority.
    resamples : int
        Of tests that draw patients.
    """

    comparison: PowerComparison = "maps"
    outcome: Outcome = "score"
    alpha: float = 0.05
    tests: int = 1
    margin: float | None = None
    resamples: int = 999

    def __post_init__(self) -> None:
        check_word(self.comparison, PowerComparison, "comparison")
        check_word(self.outcome, Outcome, "outcome")
        check_number(self.alpha, "alpha")
        if not 0 < self.alpha < 1:
            raise UsageError(f"alpha = {self.alpha:g} must lie between 0 and 1, such as 0.05")
        check_whole(self.tests, "tests", 1, MOST_TESTS)
        check_resampling(self.resamples, 0)
        if self.margin is not None:
            check_number(self.margin, "margin")
            if not self.margin > 0:
                raise UsageError(f"margin = {self.margin} must be positive, such as 0.05")

    @property
    def level(self) -> float:
        """Of one test."""
        return self.alpha / self.tests


@dataclass(frozen=True)
class Stated:
    """What is known, or assumed, of the scores.

    Attributes
    ----------
    mean : float
        Of what the effect is added to (the second map or model, the first group, the AI): a
        score, a hit rate, an area under the curve.
    sd : float
        Of scores over images, patients included.
    icc : float
        Share of the variance that images of one patient have in common.
    correlation : float
        Between two scores of one image: of two maps, or of two readers.
    prevalence : float
        Share of patients in the second group, or with the finding.
    reader_sd : float
        Standard deviation of readers' means over readers.
    model_sd : float
        Standard deviation, over trainings, of an arm's mean.
    model_share : float
        Share of the variance of a score that another training would change.
    """

    mean: float = 0.5
    sd: float = 0.2
    icc: float = 0.3
    correlation: float = 0.5
    prevalence: float = 0.5
    reader_sd: float = 0.05
    model_sd: float = 0.0
    model_share: float = 0.0

    def __post_init__(self) -> None:
        for name in ("mean", "sd", "icc", "correlation", "prevalence", "reader_sd", "model_sd",
                     "model_share"):
            check_number(getattr(self, name), name)
        if not self.sd > 0:
            raise UsageError(f"sd = {self.sd:g} must be positive, such as 0.2")
        for name in ("icc", "model_share", "correlation"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} = {getattr(self, name):g} must lie between 0 and 1, such "
                                 "as 0.3")
        if not 0 < self.prevalence < 1:
            raise UsageError(f"prevalence = {self.prevalence:g} must lie between 0 and 1, such as "
                             "0.3")
        for name in ("reader_sd", "model_sd"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} = {getattr(self, name):g} is a standard deviation and "
                                 "cannot be negative; say 0 where there is none")
        if self.icc + self.model_share > 1:
            raise UsageError(f"icc + model_share = {self.icc + self.model_share:g} are shares of "
                             "one variance and cannot exceed 1; state smaller ones")


@dataclass(frozen=True)
class Pilot:
    """What of pilot cubes is taken.

    Attributes
    ----------
    use : {"resample", "components"}
        Draw the pilot's patients with replacement, the effect put in the place of theirs; or
        estimate :class:`Stated` from them, which allows other numbers of images and readers.
    finding : str, optional
        Needed where the cubes have several.
    pair : (str, str), optional
        What is compared: two explainers, a level and its baseline, or two models; by default the
        first two.
    model : str, optional
        Whose maps; by default the first.
    descriptor : str
        Of the mask, whose slope is tested.
    """

    use: PilotUse = "resample"
    finding: str | None = None
    pair: tuple[str, str] | None = None
    model: str | None = None
    descriptor: str = "area_ratio"

    def __post_init__(self) -> None:
        check_word(self.use, PilotUse, "use")
        if self.pair is not None and (len(self.pair) != 2 or self.pair[0] == self.pair[1]):
            raise UsageError("pair must name two different explainers, levels or models, such as "
                             "gradcam and grad")


@dataclass(frozen=True)
class Simulation:
    """How much is simulated, and what is searched for.

    Attributes
    ----------
    replicates : int
        Data sets of each design.
    seed : int
    workers : int
        Processes; no number depends on them.
    target : float, optional
        Power that the smallest number of patients is searched for; None: no search.
    most_patients : int
        The search ends here.
    confidence_level : float
        Of the Monte Carlo interval.
    """

    replicates: int = 1000
    seed: int = 0
    workers: int = 1
    target: float | None = 0.8
    most_patients: int = 1000
    confidence_level: float = 0.95

    def __post_init__(self) -> None:
        check_whole(self.replicates, "replicates", 2, MOST_REPLICATES)
        check_resampling(1, self.seed)
        check_whole(self.workers, "workers", 1, MOST_WORKERS)
        check_whole(self.most_patients, "most_patients", 2, MOST_PATIENTS)
        check_confidence_level(self.confidence_level)
        if self.target is not None:
            check_number(self.target, "target")
            if not 0 < self.target < 1:
                raise UsageError(f"target = {self.target:g} is a power and must lie between 0 and "
                                 "1, such as 0.8")
