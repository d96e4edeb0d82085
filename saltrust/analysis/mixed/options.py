"""Options of mixed models that belong together, as values that a result records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from saltrust.analysis.inference.estimate import check_number
from saltrust.analysis.inference.resampling import check_seed
from saltrust.analysis.mixed.cells import Factors
from saltrust.choices import (
    AllPairs,
    ContrastAdjustment,
    DegreesOfFreedom,
    Engine,
    ResponseFamily,
    Variance,
    check_word,
)
from saltrust.errors import UsageError
from saltrust.reading import shown

_DF: dict[DegreesOfFreedom, str] = {
    "satterthwaite": "Satterthwaite, as lmerTest",
    "kenward-roger": "Kenward-Roger with adjusted covariance, as pbkrtest",
    "asymptotic": "infinite: normal reference distribution, as multcomp for mixed models",
}

#: What stands of an adjustment in the metadata of a result.
ADJUSTMENTS: dict[ContrastAdjustment, str] = {
    "tukey": "studentized range",
    "bonferroni": "Bonferroni",
    "holm": "Holm; intervals by Bonferroni",
    "sidak": "Sidak",
    "dunnett": "Dunnett, approximated as emmeans does by default (dunnettx)",
    "single-step": "single-step: the largest statistic under the contrasts' own correlation",
    "none": "none",
}


@dataclass(frozen=True)
class Contrasts:
    """Which marginal means are compared, and how their p-values go together.

    Attributes
    ----------
    posthoc : "tukey", optional
        Compare all pairs of levels.  This is the default without ``control``.
    control : str, optional
        Level that every other one is compared with.
    adjustment : {"tukey", "bonferroni", "holm", "sidak", "dunnett", "single-step", "none"}, \
optional
        Of p-values and intervals within a family.  By default Tukey's for all pairs and
        Dunnett's against a control, which are for these alone.
    against_value : float
        Constant that the marginal means are tested against.
    seed : int
        Of the sampling that the single-step adjustment of unbalanced pairs needs.
    by : str or sequence of str, optional
        Factors within whose levels the means are compared (simple effects); the contrasts of
        each level are a family of their own, adjusted apart, as in emmeans.
    interaction : bool
        Compare differences: ``(A - B) at P - (A - B) at Q``, of two factors.  With ``control``,
        a level of the first factor, A is every other one and B the control.  The default
        adjustment is Sidak's, which emmeans takes where Tukey's is asked for.

    Raises
    ------
    UsageError
        If a word is not known, or the adjustment is not one of the contrasts.

    Examples
    --------
    >>> Contrasts(control="average-mask", adjustment="holm").describe()
    {'means_tested_against': 0.0, 'seed': 0}
    """

    posthoc: AllPairs | None = None
    control: str | None = None
    adjustment: ContrastAdjustment | None = None
    against_value: float = 0.0
    seed: int = 0
    by: Factors | None = None
    interaction: bool = False

    def __post_init__(self) -> None:
        if self.posthoc is not None:
            check_word(self.posthoc, AllPairs, "posthoc")
        if self.adjustment is not None:
            check_word(self.adjustment, ContrastAdjustment, "adjustment")
        check_seed(self.seed)
        check_number(self.against_value, "against_value")
        if self.interaction and self.posthoc is not None:
            raise UsageError("--interaction compares differences and --posthoc means; say one of "
                             "them, and the other in a call of its own")
        if self.interaction and self.adjustment in ("tukey", "dunnett"):
            raise UsageError(f"--adjust {self.adjustment} is for comparisons of means; of "
                             "--interaction take sidak, single-step, holm, bonferroni or none")

    @property
    def wanted(self) -> bool:
        """Whether a comparison is asked for, so that a model without means is an error."""
        return bool(self.posthoc is not None or self.control is not None or self.by
                    or self.interaction)

    def describe(self) -> dict[str, Any]:
        """What stands of it in the metadata of a result, beside its families."""
        by = [self.by] if isinstance(self.by, str) else list(self.by or ())
        return {"means_tested_against": self.against_value, "seed": self.seed,
                **({"by": by} if by else {}),
                **({"interaction": True} if self.interaction else {})}


@dataclass(frozen=True)
class Inspection:
    """What is looked at beside a fitted mixed model, as it costs further fits.

    Attributes
    ----------
    random_tests : bool
        Refit the model without each random term in turn: table ``random_tests`` of
        likelihood-ratio tests, as ``ranova`` of lmerTest.
    influence : str, optional
        A column that the formula groups by: table ``influence`` of Cook's distances of leaving
        each of its groups out, at the variances of all rows.
    profile : bool
        Table ``variance_intervals`` of profile likelihood intervals of the standard deviations,
        as ``confint(method="profile")`` of lme4.
    residuals : bool
        Tables ``residuals`` and ``residual_quantiles`` of the residuals and the predicted random
        effects, and their panels in the figure.

    Examples
    --------
    >>> Inspection(profile=True).asked
    ['--profile']
    """

    random_tests: bool = False
    influence: str | None = None
    profile: bool = False
    residuals: bool = False

    @property
    def asked(self) -> list[str]:
        """The options of the command line that ask for it."""
        return [option for option, wanted in (
            ("--random-tests", self.random_tests), ("--profile", self.profile),
            ("--influence", self.influence is not None),
            ("--residuals", self.residuals)) if wanted]


@dataclass(frozen=True)
class Fitting:
    """How a mixed model is fitted.

    Attributes
    ----------
    df : {"satterthwaite", "kenward-roger", "asymptotic"}
        Degrees of freedom; Kenward-Roger adjusts the standard errors too, and needs REML.
    reml : bool
        Restricted maximum likelihood; ordinary for comparing likelihoods of models that differ
        in their fixed effects.
    engine : {"auto", "builtin", "pymer4"}
        ``builtin`` needs NumPy and SciPy alone; ``pymer4`` goes through lme4, lmerTest and
        emmeans in R; ``auto`` takes pymer4 where it and the R packages are present, up to
        20,000 rows, beyond which the built-in engine gives the same much sooner.
    family : {"gaussian", "binomial"}
        ``binomial`` is lme4's ``glmer`` with a logit link, for hits; it needs R.
    weights : str, optional
        Column of weights of the rows, or of numbers of trials where the response is a share of
        hits; needs R.
    verify : bool
        Run both engines, return the chosen one's tables, and a table ``verification`` of the
        largest differences.
    inspection : Inspection
        What is looked at beside the fit.
    variance : {"equal", "level"}
        One residual variance, as lme4; or one for each level of the factor whose means are
        compared, which the built-in engine fits.

    Raises
    ------
    UsageError
        If a word is not known, Kenward-Roger is asked for without REML, or a variance per level
        together with what is not defined for it.

    Examples
    --------
    >>> Fitting(reml=False).describe()["estimation"]
    'maximum likelihood'
    """

    df: DegreesOfFreedom = "satterthwaite"
    reml: bool = True
    engine: Engine = "auto"
    verify: bool = False
    family: ResponseFamily = "gaussian"
    weights: str | None = None
    inspection: Inspection = Inspection()
    variance: Variance = "equal"

    def __post_init__(self) -> None:
        check_word(self.df, DegreesOfFreedom, "df")
        check_word(self.engine, Engine, "engine")
        check_word(self.family, ResponseFamily, "family")
        if self.verify and (self.family == "binomial" or self.weights is not None):
            raise UsageError("--verify compares two engines, and lme4 alone fits --family binomial "
                             "and --weights; leave it out")
        if self.family == "binomial" and self.df == "kenward-roger":
            raise UsageError("a binomial model has no Kenward-Roger degrees of freedom; leave out "
                             "--df")
        check_word(self.variance, Variance, "variance")
        if not isinstance(self.inspection, Inspection):
            raise UsageError(f"inspection = {shown(self.inspection)} must be an Inspection, such "
                             "as Inspection(profile=True)")
        if self.df == "kenward-roger" and not self.reml:
            raise UsageError("Kenward-Roger's degrees of freedom are defined for REML; drop --ml "
                             "or take --df satterthwaite")
        if self.variance == "level":
            if self.df == "kenward-roger":
                raise UsageError("Kenward-Roger's degrees of freedom are made for one residual "
                                 "variance; say --variance equal, or take --df satterthwaite")
            if self.engine == "pymer4" or self.verify:
                raise UsageError("lme4 knows no residual variance per level; say --variance "
                                 "equal, or leave out --engine pymer4 and --verify")
            beyond = [option for option in self.inspection.asked if option != "--residuals"]
            if beyond:
                raise UsageError(f"{' and '.join(beyond)} is made for models with one residual "
                                 "variance; say --variance equal, or leave it out")

    def describe(self) -> dict[str, Any]:
        """What stands of it in the metadata of a result, beside the engine that was taken."""
        if self.family == "binomial":
            return {"family": "binomial, logit link", "df": _DF["asymptotic"],
                    "estimation": "maximum likelihood (Laplace)", "weights": self.weights}
        return {"estimation": "REML" if self.reml else "maximum likelihood", "df": _DF[self.df],
                **({} if self.weights is None else {"weights": self.weights}),
                **({"residual_variance": "one per level"} if self.variance == "level" else {})}
