"""Image-level performance: areas under ROC curves with intervals, and models compared.

Cases are images, or examinations: the probability of an examination is the largest of its
views, as protocol S has it, taken from the stored probabilities of the images.
"""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from saltrust.analysis.classification.auc_rows import (
    MACRO,
    AucDraw,
    auc_rows,
    cases_by_finding,
    macro_auc_rows,
    macro_pair_rows,
    pair_rows,
)
from saltrust.analysis.classification.calibration import calibration_of_cases
from saltrust.analysis.classification.cases import case_table
from saltrust.analysis.classification.subgroups import classification_subgroups
from saltrust.analysis.inference.estimate import estimates_table
from saltrust.analysis.inference.multiplicity import adjust_families
from saltrust.analysis.options import Resampling
from saltrust.analysis.result import Result
from saltrust.analysis.select import as_cubes
from saltrust.analysis.stored.contents import split_of
from saltrust.analysis.stored.subgroups import groupings
from saltrust.cache.identity import of_one_store
from saltrust.choices import Adjustment, AucInterval, CaseLevel, check_word

INTERVALS: dict[AucInterval, str] = {
    "newcombe": "Newcombe's method 5, with as many independent cases as the covariance clustered "
                "by patient says; pairs of models tested by exchanging their ranks within "
                "patients; means over findings by the jackknife over patients",
    "delong": "normal, with the covariance of DeLong, clustered by patient as Obuchowski's",
    "bootstrap": "percentiles of resamples of patients",
    "protocol-w": "median and percentiles of 30 samples of 55 to 60 cases, without replacement",
}


@of_one_store
def classification(cubes: xr.DataTree | str | Path, *, level: CaseLevel = "image",
                   interval: AucInterval = "newcombe", adjustment: Adjustment = "bonferroni",
                   resampling: Resampling = Resampling(), by: str | None = None) -> Result:
    """Areas under the ROC curves of every model and finding, and all pairs of models.

    Parameters
    ----------
    cubes : xarray.DataTree or path
        With ``/reference/label`` and ``/prediction``.  Any selection (:func:`saltrust.select`).
    level : {'image', 'study'}
        What a case is.  An examination is positive where one of its images is, else uncertain
        where one is, else negative; its probability is the maximum over its images.
    interval : {'newcombe', 'delong', 'bootstrap', 'protocol-w'}
        :data:`INTERVALS`.  With ``newcombe`` pairs of models are tested by exchanging their ranks
        within patients (Bandos 2005), beside an interval from DeLong's covariance.  The macro
        average has no covariance of DeLong: with ``delong`` it takes the bootstrap.
    adjustment : {'bonferroni', 'holm', 'bh', 'none'}
        Of the p-values of the pairs of models, one family per finding.
    resampling : Resampling
        Of the bootstrap by patient, and the confidence level of every interval.  Areas keep
        percentiles whatever its kind, which is that of the interval of the Brier score.
    by : str, optional
        Coordinates of images whose groups are compared, such as ``"sex,age:40:60"``
        (:func:`saltrust.analysis.stored.subgroups.groupings`): adds the tables ``subgroups``,
        ``subgroup_differences`` and ``subgroup_tests``
        (:func:`saltrust.analysis.classification.subgroups.classification_subgroups`).

    Returns
    -------
    Result
        Tables ``auc`` (``finding, model`` and the uniform columns, with ``n_positive,
        n_negative, patients``), ``comparisons`` (``finding, model_a, model_b``; the difference
        is of a minus b, paired by case), ``calibration``
        (:func:`saltrust.analysis.classification.calibration.calibration_of_cases`) and ``cases``
        (``case, patient, finding, model, label, probability``).  Cases that any model did not
        predict, and those whose label is uncertain or not stated, are left out and counted.

    Raises
    ------
    UsageError
        If an option is not known.
    DataError
        If the cubes hold no labels or predictions, or no examinations for ``level='study'``.

    References
    ----------
    R. G. Newcombe (2006), Statistics in Medicine 25, 559-573.
    A. I. Bandos, H. E. Rockette and D. Gur (2005), Statistics in Medicine 24, 2873-2893.
    """
    check_word(level, CaseLevel, "level")
    check_word(interval, AucInterval, "interval")
    check_word(adjustment, Adjustment, "adjustment")
    tree = as_cubes(cubes)
    groups = groupings(tree, by)
    table, exclusions = case_table(tree, level)
    names = list(dict.fromkeys(table["model"]))
    cases = cases_by_finding(table, names)
    draw = AucDraw(interval, resampling)
    rows = [row for finding, its_cases in cases.items()
            for row in auc_rows(finding, its_cases, names, draw)]
    pairs = [row for finding, its_cases in cases.items()
             for row in pair_rows(finding, its_cases, names, draw)]
    if len(cases) > 1:
        rows += macro_auc_rows(cases, names, draw)
        pairs += macro_pair_rows(cases, names, draw)
    tables = {"auc": estimates_table(rows, ("finding", "model"),
                                     ("n_positive", "n_negative", "patients"))}
    if pairs:
        compared = estimates_table(pairs, ("finding", "model_a", "model_b"))
        size = len(names) * (len(names) - 1) // 2
        tables["comparisons"] = adjust_families(
            compared, compared["finding"] + f": {size} pairs of models", adjustment,
            {f"{finding}: {size} pairs of models": size for finding in (*cases, MACRO)})
    tables["calibration"] = calibration_of_cases(
        table, confidence_level=resampling.confidence_level, resamples=resampling.resamples,
        seed=resampling.seed, kind=resampling.kind)
    tables["cases"] = table
    meta = {"level": level, "split": split_of(tree), "interval": INTERVALS[interval],
            **resampling.describe(), "adjustment": adjustment,
            "cases": int(table["case"].nunique()), "patients": int(table["patient"].nunique()),
            "exclusions": exclusions}
    if groups:
        meta["by"] = {one.by: one.describe() for one in groups}
        tables |= classification_subgroups(table, tree, level, groups,
                                           confidence_level=resampling.confidence_level)
    return Result(meta, tables, "classification")
