"""Several readers and several cases: do treatments differ, whoever reads and whatever the cases?

Treatments are explainers or models, judged by the drawings of several readers, or whatever else
stands in a table of ratings.  Readers are taken as a sample, as patients are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from saltrust.analysis.inference.bootstrap import FEWEST_PATIENTS
from saltrust.analysis.inference.estimate import check_confidence_level, estimates_table
from saltrust.analysis.inference.multireader.area_covariance import areas_with_covariance
from saltrust.analysis.multireader.map_figures import Compared, area_factorials, map_factorials
from saltrust.analysis.multireader.model_among_readers import model_among_readers
from saltrust.analysis.multireader.ratings import (
    RatedCases,
    RatingColumns,
    check_factorial,
    read_ratings,
)
from saltrust.analysis.multireader.tables import Factorial, factorial_tables
from saltrust.analysis.options import Execution, Scoring
from saltrust.analysis.result import Result
from saltrust.analysis.scores.score_rows import EXPERT
from saltrust.analysis.scores.scored_maps import ScoredMaps, score_maps
from saltrust.analysis.select import as_cubes
from saltrust.analysis.stored.arrays import dataset_of, labels_of, values_of
from saltrust.analysis.stored.contents import require_heatmaps, require_masks, source
from saltrust.cache.identity import of_one_store
from saltrust.choices import AreaCovariance, ComparedMaps, FixedFactor, check_word
from saltrust.errors import DataError

_TESTS: dict[FixedFactor | None, str] = {
    None: "Obuchowski and Rockette's F of readers and cases that are random, with the degrees of "
          "freedom of Hillis (2007)",
    "readers": "chi-squared of Obuchowski and Rockette, cases random, for these readers only (f is "
               "chi-squared over df1)",
    "cases": "F of readers who are random, for these cases only"}
_COVARIANCES: dict[AreaCovariance, str] = {
    "jackknife": "the jackknife over {0}", "delong": "DeLong{1}",
    "unbiased": "products of pairs that share no {2} (Gallas, unbiased)"}


@of_one_store
def mrmc(cubes: xr.DataTree | str | Path, *, treatment: ComparedMaps | None = None,
         fixed: FixedFactor | None = None, scoring: Scoring = Scoring(),
         execution: Execution = Execution(), confidence_level: float = 0.95) -> Result:
    """Compare explainers, or models, judged by the drawings of several readers.

    The figure of a treatment and a reader is the mean IoU, or the hit rate, of its maps against
    what that reader drew; of models also the area under the ROC curve of the probability against
    whether the reader drew anything.  Readers and patients are both taken as samples.

    Parameters
    ----------
    cubes : xarray.DataTree or path
        The tree that :func:`saltrust.open_cubes` gives, or a part of it
        (:func:`saltrust.select`), with heatmaps and masks of two readers or more, whatever their
        role; ``reader=[...]`` of the selection says which.  Leave out a consensus of the others.
    treatment : {"explainer", "model"}, optional
        What is compared, for each of the other by itself; by default explainers where there are
        several, else models.
    fixed : {"readers", "cases"}, optional
        Not taken as a sample: conclusions are of these readers, or of these patients, only.
    scoring : Scoring
        Resolution, definitions, slice, threshold and cut-off of the scores.
    execution : Execution
        Progress.  Counts against readers with the role benchmark are not kept.
    confidence_level : float
        Of every interval.

    Returns
    -------
    Result
        ``test``, ``differences``, ``means`` and ``figures``
        (:func:`saltrust.analysis.multireader.tables.factorial_tables`) by ``finding`` (and the
        mean over findings, ``average``), ``metric``, and the factor that is not compared.
        Covariances are of the jackknife over patients.

    Raises
    ------
    DataError
        If the cubes hold no heatmaps, one reader or one treatment only, or nothing can be
        computed.
    UsageError
        If an option is not known.

    References
    ----------
    N. A. Obuchowski and H. E. Rockette (1995), Commun. Stat. Simul. Comput. 24, 285-308.
    S. L. Hillis (2007), Statistics in Medicine 26, 596-619.
    """
    _check_words(fixed, confidence_level)
    if treatment is not None:
        check_word(treatment, ComparedMaps, "treatment")
    tree = as_cubes(cubes)
    purpose = "maps cannot be compared by readers"
    require_heatmaps(tree, purpose)
    tree = _every_reader_a_reference(tree)
    require_masks(tree, purpose)
    scored = score_maps(tree, scoring, execution, readers=False)
    compared = _compared(tree, scored, treatment, fixed)
    designs = list(map_factorials(scored.table[scored.table["explainer"] != EXPERT], compared))
    if compared.factor == "model":
        designs += _of_probabilities(tree, scored, compared)
    tables = factorial_tables(designs, fixed, confidence_level)
    if tables["test"]["p_value"].isna().all():
        raise DataError(f"{source(tree)} allows no test of its {compared.factor}s: "
                        f"{'; '.join(_reasons(tables['test']))}; select more images, or other "
                        "readers")
    meta: dict[str, Any] = {**{name: scored.meta[name] for name in
               ("resolution", "definition", "meaning", "map", "map_readings", "slice",
                "slice_meaning", "threshold", "probability_cutoff", "level", "split", "counts",
                "exclusions") if name in scored.meta},
            **_described(fixed, "jackknife", "patient", confidence_level),
            "treatment": compared.factor, "treatments": compared.treatments,
            "readers": compared.readers}
    return Result(meta, tables, "mrmc")


def mrmc_from_ratings(ratings: pd.DataFrame | str | Path, *, cluster: str | None = None,
                      covariance: AreaCovariance = "jackknife", fixed: FixedFactor | None = None,
                      ai: str | None = None, columns: RatingColumns = RatingColumns(),
                      confidence_level: float = 0.95) -> Result:
    """Compare areas under ROC curves of treatments, from anyone's ratings by several readers.

    Parameters
    ----------
    ratings : pandas.DataFrame or path
        One row per rating, or a CSV of them.
    cluster : str, optional
        Column of patients, where a patient has several cases; by default cases are independent.
    covariance : {"jackknife", "delong", "unbiased"}
        How the covariance of areas over cases is had
        (:func:`saltrust.analysis.inference.multireader.area_covariance.areas_with_covariance`).
        The jackknife alone serves where some readers did not rate every case.
    fixed : {"readers", "cases"}, optional
        Not taken as a sample: conclusions are of these readers, or of these cases, only.
    ai : str, optional
        The reader who is a model: compared with the others, who are a sample of readers, in the
        table ``against_ai``, and left out of all else.
    columns : RatingColumns
        Names of the columns.
    confidence_level : float
        Of every interval.

    Returns
    -------
    Result
        ``test``, ``differences``, ``means`` and ``figures``
        (:func:`saltrust.analysis.multireader.tables.factorial_tables`); with ``ai`` also
        ``against_ai``, which is all there is where there is one treatment.

    Raises
    ------
    DataError
        If the table cannot be read or contradicts itself, or has one reader or one treatment.
    UsageError
        If an option or a column is not known.

    References
    ----------
    N. A. Obuchowski and H. E. Rockette (1995), Commun. Stat. Simul. Comput. 24, 285-308.
    S. L. Hillis (2007), Statistics in Medicine 26, 596-619.
    N. A. Obuchowski (1997), Biometrics 53, 567-578.
    B. D. Gallas, G. A. Pennello and K. J. Myers (2007), J. Opt. Soc. Am. A 24, B70-B80.

    Examples
    --------
    ::

        result = saltrust.mrmc_from_ratings("ratings.csv", cluster="patient")
        result["test"]
    """
    _check_words(fixed, confidence_level)
    check_word(covariance, AreaCovariance, "covariance")
    cases, where = read_ratings(ratings, columns, cluster)
    tables = {}
    if ai is not None:
        cases, rows = model_among_readers(cases, where, ai, confidence_level)
        tables["against_ai"] = estimates_table(rows, ("treatment", "ai"))
    if ai is None or len(cases.treatments) > 1:
        check_factorial(cases, where, covariance, fixed)
        tables = {**factorial_tables([_of_ratings(cases, where, covariance)], fixed,
                                     confidence_level), **tables}
    unit = "case" if cluster is None else "patient"
    meta = {**_described(fixed, covariance, unit, confidence_level), "metric": "auc",
            "cluster": cluster, "ai": ai, "treatments": cases.treatments,
            "readers": cases.readers, "cases": len(cases.positive),
            "abnormal": int(cases.positive.sum()), "patients": len(set(cases.clusters)),
            "ratings": int((~np.isnan(cases.ratings)).sum())}
    return Result(meta, tables, "mrmc")


def _check_words(fixed: FixedFactor | None, confidence_level: float) -> None:
    if fixed is not None:
        check_word(fixed, FixedFactor, "fixed")
    check_confidence_level(confidence_level)


def _described(fixed: FixedFactor | None, covariance: AreaCovariance, unit: str,
               confidence_level: float) -> dict[str, Any]:
    clustered = ", clustered by patient as Obuchowski (1997)" if unit == "patient" else ""
    return {"fixed": fixed, "test": _TESTS[fixed], "confidence_level": confidence_level,
            "covariance": _COVARIANCES[covariance].format(f"{unit}s", clustered, unit),
            "adjustment": "holm"}


def _of_ratings(cases: RatedCases, where: str, covariance: AreaCovariance) -> Factorial:
    shape = cases.ratings.shape
    made = areas_with_covariance(cases.positive, cases.ratings.reshape(shape[0], -1),
                                 cases.clusters, covariance)
    if not np.isfinite(made.covariance).all():
        raise DataError(f"{where} has too few patients of a class for --covariance {covariance}; "
                        "add cases")
    patients = len(set(cases.clusters))
    return Factorial({}, "treatments", cases.treatments, cases.readers,
                     made.auc.reshape(shape[1:]), made.covariance, shape[0], patients)


def _every_reader_a_reference(tree: xr.DataTree) -> xr.DataTree:
    """The tree in which whatever anybody drew is scored against."""
    reference = dataset_of(tree, "reference")
    if reference is None or "reader" not in reference.sizes or "reader_role" not in reference:
        return tree
    relabeled = tree.copy()
    roles = np.full(reference.sizes["reader"], "reference", dtype=object)
    relabeled.children["reference"].dataset = tree.children["reference"].to_dataset(
        inherit=False).assign_coords(reader_role=("reader", roles))
    return relabeled


def _compared(tree: xr.DataTree, scored: ScoredMaps, treatment: ComparedMaps | None,
              fixed: FixedFactor | None) -> Compared:
    maps = scored.table[scored.table["explainer"] != EXPERT]
    labels: Mapping[str, list[str]] = {
        name: list(dict.fromkeys(map(str, maps[name]))) for name in ("explainer", "model")}
    factor: ComparedMaps = treatment or ("explainer" if len(labels["explainer"]) > 1 else "model")
    where = source(tree)
    if len(labels[factor]) < 2:
        other = "model" if factor == "explainer" else "explainer"
        advice = (f"say --treatment {other}" if treatment and len(labels[other]) > 1 else
                  "select or generate more")
        named = ([factor] if treatment else ["explainer", "model"])
        only = " and ".join(f"one {name}, {', '.join(labels[name])}" for name in named)
        raise DataError(f"{where} has maps of {only}; two or more are compared: {advice}")
    annotations = scored.annotations
    readers = [annotations.readers[r] for r in scored.references]
    _require_readers(annotations.readers, readers, where, fixed)
    patients = [patient or f"image {image}" for image, patient in
                zip(annotations.images, annotations.patients, strict=True)]
    scored_findings = set(maps["finding"])
    return Compared(factor, labels[factor], readers,
                    [name for name in annotations.findings if name in scored_findings],
                    annotations.images, np.array(patients, dtype=object))


def _require_readers(named: Sequence[str], drew: Sequence[str], where: str,
                     fixed: FixedFactor | None) -> None:
    idle = [name for name in named if name not in drew]
    if len(drew) < 2 and fixed != "readers":
        beside = (f" ({', '.join(idle)} annotated no selected image)" if idle else "")
        raise DataError(f"{where} has masks of one reader here, {', '.join(drew)}{beside}, of whom "
                        "nothing follows for others; select or add more, or say --fixed readers")
    if idle and len(named) > len(drew):
        raise DataError(f"the reader {idle[0]} annotated no selected image of {where} and cannot "
                        f"be among the readers; choose others with --reader, such as {drew[0]}")


def _of_probabilities(tree: xr.DataTree, scored: ScoredMaps, compared: Compared
                      ) -> Iterable[Factorial]:
    """Designs of areas under ROC curves; none where no probabilities are stored."""
    prediction = dataset_of(tree, "prediction")
    if prediction is None or "probability" not in prediction:
        return ()
    dims = ("image", "finding", "model")
    wanted = (compared.images, compared.findings, compared.treatments)
    at = [pd.Index(labels_of(prediction, dim)).get_indexer(pd.Index(labels))
          for dim, labels in zip(dims, wanted, strict=True)]
    values = values_of(prediction["probability"], dims).astype(np.float64)[np.ix_(*at)]
    for axis, places in enumerate(at):
        shape = [-1 if k == axis else 1 for k in range(3)]
        values = np.where((places < 0).reshape(shape), np.nan, values)
    of_findings = pd.Index(scored.annotations.findings).get_indexer(pd.Index(compared.findings))
    return area_factorials(scored.areas[:, of_findings], values, compared)


def _reasons(test: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(test["note"])) or [f"fewer than {FEWEST_PATIENTS} patients"]
