"""The words that options take: declared once, for functions, for the command line, for checks."""

from __future__ import annotations

from typing import Any, Literal, TypeVar, get_args

from saltrust.errors import UsageError, nearest
from saltrust.reading import shown

#: Where a map is cut, by its histogram.
ThresholdMethod = Literal["otsu", "yen", "isodata", "li"]
#: saltrust's definitions, or those of the released CheXlocalize code.
Definition = Literal["default", "peer"]
#: Size at which maps and masks meet: the radiograph's own, or the grid of the study.
Resolution = Literal["native", "grid"]
#: Which pairs of masks have an IoU (:data:`saltrust.analysis.pixels.overlap.IOU_SLICES`).
IouSlice = Literal["positive", "all", "both_nonempty"]
Split = Literal["train", "val", "test", "none"]

#: Of p-values within a family.
Adjustment = Literal["bonferroni", "holm", "bh", "none"]
#: Which regressions are adjusted for each other.
Family = Literal["response", "scheme", "explainer", "study"]
#: Which tests of localization are adjusted for each other: those of a question and finding, or all
#: of the study.
StudyFamily = Literal["finding", "study"]
#: Models of a regression; least squares always.
Fit = Literal["ols", "cluster", "mixed", "logit", "fractional", "two-part", "ordbeta", "gee",
              "joint", "diagnostics"]
#: Of the logit of a mean, clustered by patient.
MeanCovariance = Literal["cr2", "mancl-derouen"]
#: Which errors the headline of a regression has: clustered by patient, or of independent rows.
Errors = Literal["cr2", "classical"]
#: Of Spearman's correlation.
CorrelationInterval = Literal["jackknife", "bonett-wright", "fisher", "bootstrap"]
#: Of areas under ROC curves.
AucInterval = Literal["newcombe", "delong", "bootstrap", "protocol-w"]
#: Of areas of several treatments and readers.
AreaCovariance = Literal["jackknife", "delong", "unbiased"]
#: Of readers and cases, what a conclusion is not to reach beyond; else both are random.
FixedFactor = Literal["readers", "cases"]
#: What is compared from cubes, with readers beside.
ComparedMaps = Literal["explainer", "model"]
#: What a classified case is.
CaseLevel = Literal["image", "study"]
BootstrapKind = Literal["auto", "percentile", "bca", "bootstrap-t"]

#: Images whose maps are compared: all, or those that show the finding.
Images = Literal["all", "positive"]
#: What a flat or non-finite map counts as.
Failures = Literal["score", "drop"]
#: Of scikit-image's ``regionprops``, beside the four descriptors.
ShapeProperty = Literal["solidity", "feret_diameter_max", "perimeter_crofton", "eccentricity"]
SsimSetting = Literal["default", "paper", "raw"]
#: What counts as passing randomization.
RandomizationRule = Literal["table", "text", "preprint"]
UtilityBaseline = Literal["average-mask", "none"]
#: Which metric of utility decides the marks: average precision, or the paper's trapezoid.
DecidingMetric = Literal["ap", "auprc"]
#: Networks that localize, of one architecture and several seeds: one by one, or as one level.
LocalizerSeeds = Literal["each", "together"]
Posthoc = Literal["tukey", "control"]

#: A map as stored, its absolute values, or its positive part.
MapReading = Literal["raw", "absolute", "positive"]
#: The reading that every explainer declares, or one for all maps.
MapChoice = Literal["auto", "raw", "absolute", "positive"]
#: Maps of explainers, of localizers and decoders, or both.
MapSource = Literal["all", "saliency", "localizer"]

#: How much of a map lies in a mask: its positive values, ties shared; or as Quantus has it.
RelevanceDefinition = Literal["default", "quantus"]
#: What marks of a map are: local maxima, or connected parts above a threshold.
MarkKind = Literal["peaks", "components"]
#: What can be hit: parts of the reference mask, boxes or points.
LesionKind = Literal["components", "boxes", "points"]

#: Which images a figure shows: those of the highest, the middle or the lowest score.
Rank = Literal["best", "median", "worst"]

#: What becomes of a job at a file that cannot be read.
OnError = Literal["stop", "skip"]

#: Of a linear mixed model.
Engine = Literal["auto", "builtin", "pymer4"]
#: Of the response: a number with normal errors, or a hit (a logit link).
ResponseFamily = Literal["gaussian", "binomial"]
DegreesOfFreedom = Literal["satterthwaite", "kenward-roger", "asymptotic"]
#: One residual variance, or one for each level of the compared factor.
Variance = Literal["equal", "level"]
ContrastAdjustment = Literal["tukey", "bonferroni", "holm", "sidak", "dunnett", "single-step",
                             "none"]
#: The comparison of all pairs of levels, by the adjustment that is for it.
AllPairs = Literal["tukey"]

#: What power is asked of: the test of which table.
PowerComparison = Literal["maps", "clustered", "equivalence", "non-inferiority", "criteria",
                          "mixed", "slope", "groups", "auc", "readers"]
#: What is compared: scores such as an overlap, or hits and misses.
Outcome = Literal["score", "hit"]
#: What of a pilot is drawn: its patients, or scores with its components of variance.
PilotUse = Literal["resample", "components"]

#: What a plan may be about: the commands of ``saltrust analyze``.
PlannedAnalysis = Literal["localization", "regressions", "confidence", "classification", "utility",
                          "randomization", "repeatability", "reproducibility", "gaze", "mixed",
                          "descriptors", "thresholds", "mrmc", "froc", "specificity",
                          "faithfulness"]
PlannedClaim = Literal["difference", "equivalence", "non-inferiority"]

#: How a result is printed.
Format = Literal["table", "json", "csv", "markdown", "latex"]

Word = TypeVar("Word", bound=str)


def words(kind: Any) -> tuple[str, ...]:
    """The words of a choice, in the order of their declaration.

    Examples
    --------
    >>> words(Definition)
    ('default', 'peer')
    """
    return get_args(kind)


def check_word(word: Word, kind: Any, option: str) -> Word:
    """``word`` where it is one of the choice's.

    Parameters
    ----------
    word : str
    kind : Literal
        One of this module.
    option : str
        What the message calls it.

    Raises
    ------
    UsageError
        Naming the nearest word.

    Examples
    --------
    >>> check_word("peer", Definition, "definition")
    'peer'
    """
    if word not in get_args(kind):
        raise UsageError(f"{option} {shown(word)} is not known; "
                         f"{nearest(shown(word), get_args(kind))}")
    return word
