"""Which simulation stands for which column: every interval and every p-value has one."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.calibration.outcome import Cell
from tests.calibration.simulations import (
    areas,
    decisions,
    free_response,
    means,
    mixed,
    power,
    readers,
    slopes,
    subgroups,
    tested_means,
)

#: What a column of intervals or p-values may be called.
COLUMNS = ("conf_low", "p_value")


@dataclass(frozen=True)
class Row:
    """A table of an analysis.

    Attributes
    ----------
    topic, table : str
    simulations : dict of str to tuple of str
        By column; names of simulations, without their designs.
    not_given : dict of str to str
        Columns that are always empty, or that are another's, and why.
    """

    topic: str
    table: str
    simulations: dict[str, tuple[str, ...]] = field(default_factory=dict)
    not_given: dict[str, str] = field(default_factory=dict)


_NONE = "always empty: nothing is tested"
_PAPER = "the paper's, which takes images for independent; `estimates` has the test by patient"
_MEANS = {"conf_low": ("mean with a test",),
          "p_value": ("mean with a test", "any of nine means with tests")}
_DECIDED = {"conf_low": ("paired bootstrap", "decisions, mean against a constant"),
            "p_value": ("signed ranks", "paired bootstrap", "decisions, any pair",
                        "decisions, mean against a constant")}

#: What is compared between subgroups, by topic.
_BY_GROUP = {"localization": ("means", "overlaps", "views of the same patients"),
             "utility": ("means", "overlaps", "views of the same patients"),
             "classification": ("areas",), "regressions": ("slopes",),
             "confidence": ("slopes", "correlations")}


def _of_groups(topic: str) -> tuple[Row, ...]:
    names = {what: tuple(f"subgroup {one}, {what}" for one in _BY_GROUP[topic])
             for what in ("estimate", "difference", "test")}
    together = (("explainers against subgroups",) if topic in {"localization", "utility"} else ())
    return (Row(topic, "subgroups", {"conf_low": names["estimate"]},
                {"p_value": "always empty: groups are tested against each other"}),
            Row(topic, "subgroup_differences", dict.fromkeys(COLUMNS, names["difference"])),
            Row(topic, "subgroup_tests", {"p_value": (*names["test"], *together)},
                {"conf_low": "always empty: a test of several differences"}))


REGISTRY: tuple[Row, ...] = (
    *(row for topic in _BY_GROUP for row in _of_groups(topic)),
    Row("classification", "auc", {"conf_low": ("area", "macro area")},
        {"p_value": "inverts the interval (tests/analysis/inference/test_area_interval.py)"}),
    Row("classification", "comparisons", {"conf_low": ("pair of macro areas",),
                                          "p_value": ("pair of areas", "pair of macro areas")}),
    Row("classification", "against_baseline", {"conf_low": ("pair of macro areas",),
                                               "p_value": ("pair of areas",)}),
    *(Row(topic, "calibration", {
        "conf_low": ("calibration slope", "calibration intercept", "calibration ece_debiased",
                     "calibration brier"),
        "p_value": ("calibration slope", "calibration intercept")})
      for topic in ("classification", "confidence")),
    *(Row("regressions", table, {"conf_low": ("CR2 slope",), "p_value": ("CR2 slope",)})
      for table in ("estimates", "robust")),
    *(Row("confidence", table, {
        "conf_low": ("CR2 slope", "rank correlation of related values"),
        "p_value": ("CR2 slope", "rank correlation")}) for table in ("estimates", "robust")),
    *(Row(topic, "classical", {}, dict.fromkeys(COLUMNS, _PAPER))
      for topic in ("regressions", "confidence")),
    Row("regressions", "mixed", {"conf_low": ("mixed fixed_effects",),
                                 "p_value": ("mixed fixed_effects",)}),
    Row("regressions", "logit", {"conf_low": ("CR2 logit",), "p_value": ("CR2 logit",)}),
    *(Row("regressions", table, {"conf_low": (name,), "p_value": (name,)}) for table, name in
      (("fractional", "fractional logit"), ("gee", "GEE of hits"), ("joint", "joint model"),
       ("two_part", "two-part model"), ("ordbeta", "ordered beta"))),
    Row("confidence", "strata", {"conf_low": ("mean", "share", "strata"), "p_value": ("strata",)}),
    Row("froc", "summary", {"conf_low": ("wAFROC",)}, {"p_value": _NONE}),
    Row("froc", "differences", {"conf_low": ("wAFROC of two maps",),
                                "p_value": ("wAFROC of two maps",)}),
    Row("gaze", "summary", {"conf_low": ("mean",)}, {"p_value": _NONE}),
    *(Row("gaze", table, {"conf_low": ("mean",), "p_value": ("clustered mean",)})
      for table in ("specificity", "comparisons", "against_baseline")),
    *(Row("localization", table, {"conf_low": ("mean", "share")}, {"p_value": _NONE})
      for table in ("summary", "expert", "hit_baselines", "agreement")),
    Row("localization", "relevance", {"conf_low": ("mean",)}, {"p_value": _NONE}),
    *(Row("localization", table, {"conf_low": ("decrease",), "p_value": tested})
      for table, tested in (("decrease", ("expert against map", "random readers")),
                            ("decrease_change", ("change of the decrease",)),
                            ("decrease_shared", ("expert against map", "random readers")))),
    Row("localization", "agreement_share", {"conf_low": ("decrease",),
                                            "p_value": ("paired bootstrap",)}),
    *(Row("localization", table, {"conf_low": ("difference of maps",),
                                  "p_value": ("max-T of nine maps", "study of localization")})
      for table in ("differences", "hit_above_baseline")),
    Row("localization", "equivalence", {"conf_low": ("difference of maps",),
                                        "p_value": ("equivalence of maps",)}),
    Row("localization", "random_readers", {"conf_low": ("random readers",),
                                           "p_value": ("random readers",)}),
    Row("mrmc", "test", {"p_value": ("ratings of two treatments", "maps by readers")}),
    Row("mrmc", "differences", {"conf_low": ("ratings of two treatments", "maps by readers"),
                                "p_value": ("ratings of two treatments",)}),
    Row("mrmc", "means", {"conf_low": ("mean area of readers",)}, {"p_value": _NONE}),
    Row("mrmc", "against_ai", {"conf_low": ("random readers' areas",),
                               "p_value": ("random readers' areas",)}),
    Row("localization", "non_inferiority", {"conf_low": ("clustered mean",),
                                            "p_value": ("non-inferiority of maps",
                                                        "non-inferiority at the margin")}),
    *(Row("mixed", table, {"conf_low": (f"mixed {table}",), "p_value": (f"mixed {table}",)})
      for table in ("means", "fixed_effects")),
    Row("mixed", "contrasts", {"conf_low": ("mixed contrasts",), "p_value": ("mixed contrasts",)}),
    Row("mixed", "anova", {"p_value": ("mixed anova",)}),
    Row("mixed", "effect_sizes", {"conf_low": ("mixed contrasts",)}),
    Row("mixed", "variance_intervals", {}, {"conf_low": "lme4's profile intervals of a likelihood "
        "(tests/analysis/mixed/likelihood/test_slopes.py); of variances nothing is claimed"}),
    Row("mixed", "random_tests", {}, {"p_value": "likelihood ratios at a boundary: conservative, "
                                                 "as lmerTest's, and said beside them"}),
    *(Row(topic, table, _DECIDED) for topic in ("utility", "repeatability", "reproducibility")
      for table in ("decisions", "methods")),
    *(Row("randomization", table, {"conf_low": ("randomization",), "p_value": ("randomization",)})
      for table in ("decisions", "methods")),
    Row("randomization", "complexity", _MEANS),
    *(Row("faithfulness", table, {"conf_low": ("mean with a test",)}, {"p_value": _NONE})
      for table in ("summary", "curves")),
    Row("perturbation", "per_image", _MEANS),
    Row("perturbation", "pooled", {"conf_low": ("rank correlation of related values",),
                                   "p_value": ("rank correlation",)}),
    *(Row("faithfulness", table, _MEANS) for table in ("decisions", "comparisons", "agreement")),
    # The same contrast by the same function.
    *(Row("specificity", table, {"conf_low": ("randomization",), "p_value": ("randomization",)})
      for table in ("decisions", "findings")),
    *(Row("power", table, {"conf_low": ("Monte Carlo interval of power",)})
      for table in ("power", "smallest")),
)

#: Figures that are not in their bounds, and why: beginning of a cell's name, figure, reason.
EXCEPTIONS: tuple[tuple[str, str, str], ...] = (
    ("CR2 logit: 12 patients, 1 to 10 images, covariate patient", "type I",
     "cautious: twelve values of a covariate leave Satterthwaite's t few degrees of freedom (.024 "
     "of 6,000)"),
    ("wAFROC: 40 patients, 1 image", "coverage",
     "a little cautious: the jackknife of all patients where each is of one kind (.971)"),
    ("share: 12 patients, 1 to 10 images, more where scores are high, share 0.85", "coverage",
     "a little cautious: half of the patients have nothing but hits"),
    *((f"{kind}: {count}", "coverage", "cautious near 1, as Newcombe's interval is of independent "
                                       "cases too") for kind, count in (
        ("area", "20 positive and 32 negative patients, 1 image, area 0.98"),
        ("area", "20 positive and 32 negative patients, 1 to 10 images, area 0.98"),
        ("area", "20 positive and 180 negative patients, 1 image, area 0.98"),
        ("area", "20 positive and 180 negative patients, 1 to 10 images, area 0.98"),
        ("area", "8 positive and 32 negative patients, 1 to 10 images, area 0.98"),
        ("area", "8 positive and 180 negative patients, 1 to 10 images, area 0.98"),
        ("macro area", "20 positive and 32 negative patients, 1 image, area 0.98"),
        ("pair of macro areas", "20 positive and 32 negative patients, 1 image, area 0.98"))),
    ("mean area of readers", "coverage", "short, as the published interval is (Hillis 2007; "
     "MRMCaov): it is symmetric and an area is not, and its df count readers, not patients"),
    *((f"random readers: {design}, 3 readers", figure, "a little liberal with three "
       "readers who differ: Hillis' degrees of freedom are estimated from them")
      for design in ("200 patients, 1 image", "40 patients, 1 to 10 images")
      for figure in ("type I", "coverage")),
    ("two random readers", "at most", "two readers say next to nothing of others, whatever the "
     "degrees of freedom: said in the note, and not the test of the protocol"),
    *((f"calibration ece_debiased: {count} patients", "coverage", "a little short: bins of one or "
       "two patients, whose chance is not seen whole") for count in (12, 40)),
)


def cells() -> list[Cell]:
    """Every simulation on every design."""
    made = [cell for module in (means, slopes, areas, decisions, free_response, mixed, power,
                                readers, subgroups, tested_means)
            for cell in module.cells()]
    names = [cell.name for cell in made]
    assert len(set(names)) == len(names)
    return made
