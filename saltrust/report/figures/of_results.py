"""The figure that belongs to a result, for those of which other modules draw parts.

``result.plot()`` calls these by name (:mod:`saltrust.analysis.result.topics`).
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from saltrust.analysis.result import Result
from saltrust.analysis.result.text import confidence_level
from saltrust.report.figures import distributions, estimates, trustworthiness


def localization(result: Result) -> Figure:
    """Bars of the mean IoU per finding, expert beside maps.

    Parameters
    ----------
    result : Result
        Of :func:`saltrust.analysis.localization.analysis.localization`.
    """
    return estimates.localization(result["summary"], "iou", decrease=result["decrease"],
                                  level=confidence_level(result.meta))


def descriptors(result: Result) -> Figure:
    """Distributions of the descriptors of all masks that are not empty.

    Parameters
    ----------
    result : Result
        Of :func:`saltrust.analysis.shape.descriptors.descriptors`.
    """
    return distributions.descriptors(result["descriptors"])


def regressions(result: Result) -> Figure:
    """Coefficients of the first explainer and model.

    Parameters
    ----------
    result : Result
        Of :func:`saltrust.analysis.shape.regressions.regressions`.
    """
    return estimates.coefficients(_first(result["estimates"], "explainer", "model"),
                                  level=confidence_level(result.meta))


def confidence(result: Result) -> Figure:
    """Spearman's correlation of probability with localization, per finding and pooled.

    Parameters
    ----------
    result : Result
        Of :func:`saltrust.analysis.confidence.analysis.confidence`.
    """
    table = result["estimates"]
    ranks = table[table["term"] == "spearman"]
    return estimates.correlations(ranks.assign(series=estimates.series_names(ranks)),
                                  level=confidence_level(result.meta))


def utility(result: Result) -> Figure:
    """The deciding metric of every map of the first finding, beside the baselines.

    Parameters
    ----------
    result : Result
        Of :func:`saltrust.analysis.trustworthiness.utility.utility`.
    """
    return trustworthiness.utility(_first(result["scores"], "finding"),
                                   result.meta["deciding_metric"])


def randomization(result: Result) -> Figure:
    """Similarity along the randomization, of the first finding and model.

    Parameters
    ----------
    result : Result
        Of :func:`saltrust.analysis.trustworthiness.randomization.randomization`.
    """
    return trustworthiness.stages(_first(result["stages"], "finding", "model"),
                                  result.meta["stages"])


def similarity(result: Result) -> Figure:
    """Similarity of two models' maps, of the first finding.

    Parameters
    ----------
    result : Result
        Of ``repeatability`` or ``reproducibility``
        (:mod:`saltrust.analysis.trustworthiness.repeatability`).
    """
    return trustworthiness.similarity({result.topic: _first(result["scores"], "finding")},
                                      result.meta["low_baseline"])


def _first(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Rows with the labels of the first one."""
    for column in columns:
        table = table[table[column] == table[column].iloc[0]] if len(table) else table
    return table
