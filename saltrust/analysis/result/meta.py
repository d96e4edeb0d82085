"""The metadata of results: every key that an analysis may record, declared once."""

from __future__ import annotations

from typing import Any, TypedDict


class Meta(TypedDict, total=False):
    """What a result records of itself; plain JSON values, no key of all analyses alike.

    A test compares the keys with what the commands give.  Values that are texts are phrases for
    people, to stand in a methods section or below a table.
    """

    # What was analysed -----------------------------------------------------------------------

    #: Names of the splits of the analysed images, joined by ", "; "not stated" where unknown.
    split: str
    #: Size at which maps and masks met: "native" or "grid".
    resolution: str
    #: "default", or "peer" for the definitions of the code released with CheXlocalize.
    definition: str
    #: What the definition means for this analysis.
    meaning: str
    #: CSV that the scores were read from, where they are not of cubes.
    scores: str
    #: Which image-finding pairs have an IoU, by name.
    slice: str
    #: The same in words.
    slice_meaning: str
    #: Images whose maps were compared ("all" or "positive"); of descriptors their number.
    images: str | int
    #: What a classified case is, and whose probability a map has: "image" or "study".
    level: str
    #: Number of cases that have a label and predictions.
    cases: int
    #: Number of patients these are of.
    patients: int
    #: Number of annotated masks, the empty ones included.
    masks: int
    #: Number of annotated masks that are empty.
    empty_masks: int
    #: Which rows entered; of a mixed model the number of rows read.
    rows: str | int
    #: Rows of a mixed model that entered the fit.
    n: int
    #: Only rows of these labels entered a mixed model, by column.
    only: dict[str, Any]
    #: Numbers of what was met, by what it is.
    counts: dict[str, Any]
    #: Numbers of what was left out, by reason; by scheme or map where these differ.
    exclusions: dict[str, Any]
    #: The same of a mixed model.
    excluded: dict[str, int]
    #: Labels that the rows of a mixed model lack, by column.
    missing: dict[str, Any]
    #: Descriptors without a value, by reason.
    undefined: dict[str, int]
    #: Further columns of descriptors.
    properties: list[str]

    # Readers ---------------------------------------------------------------------------------

    #: Readers whose masks the maps were compared with.
    reference_readers: list[str]
    #: The one of them, where an analysis takes one.
    reference_reader: str
    #: Readers who are the benchmark.
    benchmark_readers: list[str]
    #: How the expert's score is made of theirs; None without any.
    expert: str | None
    #: How maps are compared with readers who are a sample.
    random_readers: str
    #: Names of readers who are a sample, or of these alone.
    readers: list[str]
    #: Who of them is a model.
    ai: str | None
    #: Those who stand for the expert.
    expert_readers: list[str]
    #: Whose gaze it is.
    reader: str

    # How maps were segmented and compared ----------------------------------------------------

    #: Where maps were cut.
    threshold: str
    #: Probability below which a segmentation is empty.
    probability_cutoff: str
    #: Grid, slice and its meaning of the search for thresholds.
    threshold_search: dict[str, Any]
    #: The same of the search for probability cut-offs.
    cutoff_search: dict[str, Any]
    #: Mean area ratio of the reference masks that are not empty, by finding.
    hit_chance: dict[str, float]
    #: Which rows have a hit.
    hits: str
    #: What the hit rates stand beside.
    hit_baselines: str
    #: Definition of mass and rank accuracy and energy pointing: "default" or "quantus".
    relevance: str
    #: What a mark of a map is.
    marks: str
    #: What marks are to hit.
    lesions: str
    #: When they do.
    hit: str
    #: Which images false marks are ranked on.
    normal: str
    #: What the figures of merit of marks are, by name.
    figures: dict[str, str]
    #: How many points of a curve are given.
    curve_points: str
    #: What of the maps was scored: "auto", "raw", "absolute" or "positive".
    map: str
    #: The same by explainer: "raw", "absolute" or "positive".
    map_readings: dict[str, str]
    #: Which maps were compared with gaze.
    compared: str
    #: What counts as fixated.
    fixated: str
    #: With how many other images' gaze a map was compared.
    other_images: str
    #: The map that knows nothing but the centre.
    centre_prior: str
    #: What the average gaze is the mean of.
    average_gaze: str
    #: Which direction of a measure is better.
    better: str
    #: Settings of the structural similarity.
    ssim: dict[str, Any]
    #: Number of pairs of different images.
    pairs_of_different_images: int
    #: Stages of the randomization, the trained model first.
    stages: list[str]
    #: Which metric of utility decides the marks.
    deciding_metric: str
    #: Localizers of several seeds that are one level, by its name.
    localizers_together: dict[str, list[str]]
    #: What flat and non-finite maps count as.
    failures: str

    # Definitions of estimates ----------------------------------------------------------------

    #: The percentage decrease from expert to map.
    decrease: str
    #: The test of expert against map, and that of the change between metrics.
    decrease_test: str
    #: The same on positives that everyone drew.
    decrease_shared: str
    #: Differences between maps, their intervals and p-values.
    differences: str
    #: Between readers.
    agreement: str
    #: Groups that are compared, by coordinate: numbers of images, and of those without a value.
    by: dict[str, Any]
    #: Which descriptors, of whose masks, on which scale.
    descriptors: str
    #: The probability that localization is related to.
    probability: str
    #: Probability above which a model calls a finding.
    operating_point: str
    #: What each pooled row is, by its name.
    pooled: dict[str, str]
    #: Fits of the regressions, by name.
    fits: dict[str, str]
    #: What AUPRC is.
    auprc: str
    #: What average precision is.
    average_precision: str
    #: Images that the average mask is of, by finding.
    average_mask_of: dict[str, int]
    #: What the rise of the complexity of maps is (efficient MPRT).
    complexity: str
    #: Metrics of faithfulness that were judged.
    metrics: list[str]
    #: How the area of a curve is taken.
    area: str
    #: How radiographs were changed.
    perturbations: list[str]
    #: Which correlation, of what.
    correlation: str
    #: What the mean over images is of.
    per_image: str
    #: What was removed from images, and how, as it was generated.
    removal: dict[str, Any]
    #: What "standard deviation" is over.
    standard_deviation: str
    #: What the effect sizes are.
    effect_size: str

    # Inference -------------------------------------------------------------------------------

    #: Of every interval.
    confidence_level: float
    #: Bootstrap resamples.
    resamples: int
    #: Of every random step.
    seed: int
    #: What the intervals are.
    interval: str
    #: The same where classical and robust intervals stand beside each other.
    intervals: str
    #: Which errors the estimates have: "cr2" (clustered by patient) or "classical".
    errors: str
    #: Slopes whose sign a stronger model turns, a phrase each.
    turned_signs: list[str]
    #: Which interval Spearman's correlation has.
    spearman_interval: str
    #: Correction of p-values.
    adjustment: str
    #: Correction of the contrasts of a mixed model, by what they are.
    adjustments: dict[str, str]
    #: Method, family and factor of the correction.
    multiplicity: dict[str, Any]
    #: How many families of tests there are, and what controls them.
    families: str
    #: What stars behind an estimate mean.
    stars: str
    #: Differences within it count as none.
    equivalence_margin: float
    #: Who is not below another by more than this is no worse.
    non_inferiority_margin: float

    # Several readers, several cases ---------------------------------------------------------

    #: What is compared: "explainer" or "model".
    treatment: str
    #: Labels of what is compared.
    treatments: list[str]
    #: The figure of merit of ratings.
    metric: str
    #: "readers" or "cases" where one of them is no sample.
    fixed: str | None
    #: The test in words.
    test: str
    #: How covariances over cases are had.
    covariance: str
    #: Column of patients of a table of ratings.
    cluster: str | None
    #: Number of abnormal cases.
    abnormal: int
    #: Number of ratings.
    ratings: int

    # Criteria of trustworthiness -------------------------------------------------------------

    #: "utility", "randomization", "repeatability", "reproducibility" or "faithfulness".
    criterion: str
    #: What passes, by name.
    rule: str
    #: The same in words.
    rule_meaning: str
    #: Findings that are not compared with the others.
    listed_apart: str
    #: How a decision is made.
    decision: str
    #: What maps are compared with.
    baseline: str
    #: A constant that similarity is compared with.
    low_baseline: float
    #: Level of significance.
    alpha: float
    #: Contrasts of the mixed model: "tukey" or "control".
    posthoc: str

    # Linear mixed models ---------------------------------------------------------------------

    #: As in lme4.
    formula: str
    #: "builtin" or "pymer4".
    engine: str
    #: Of the engine.
    versions: str
    #: "REML" or "ML".
    estimation: str
    #: Residual variance of the mixed models of decisions: one, or one for each explainer.
    variance: str
    #: Of the degrees of freedom.
    df: str
    #: Factor whose levels are compared.
    over: str
    #: Its levels.
    levels: list[str]
    #: Value that every mean is tested against.
    means_tested_against: float
    #: Numbers of levels of the random effects, by name.
    groups: dict[str, int]
    #: What to beware of.
    notes: list[str]
    #: Largest differences between two engines.
    verification: Any

    # Power -----------------------------------------------------------------------------------

    #: What is compared, by name.
    comparison: str
    #: Table of the analysis that has the test.
    compared_table: str
    #: The test whose power it is.
    decides: str
    #: "score" or "hit".
    outcome: str
    #: What data are drawn from.
    drawn_from: str
    #: Finding, model, pair and score of the pilot.
    pilot: dict[str, str]
    #: What is known or assumed of the scores.
    stated: dict[str, float]
    #: Tests of the family.
    tests: int
    #: alpha / tests.
    level_of_a_test: float
    #: Of equivalence or non-inferiority.
    margin: float
    #: Simulated data sets of each design.
    replicates: int
    #: Power that the fewest patients are searched for.
    target_power: float

    # Plans -----------------------------------------------------------------------------------

    #: File of the plan.
    plan: str
    #: When it was frozen, or "not frozen".
    frozen: str
    #: SHA-256 of what was frozen.
    plan_digest: str
    #: Keys of a frozen plan that were changed since.
    changed: list[str]
    #: Whether the cubes existed when the plan was frozen.
    data_seen: str
    #: Points that followed the plan, that did not, that were not checked, that are exploratory.
    points: dict[str, int]

    # Protocols -------------------------------------------------------------------------------

    #: "S", "A" or "W", as docs/architecture.md names them.
    protocol: str
    #: Where the cubes were opened from.
    source: str
    #: When they were finished.
    finished: str
    #: Models of protocol W: how each was trained, and which it is compared with.
    arms: list[dict[str, Any]]
    #: Of the program that computed.
    saltrust_version: str
