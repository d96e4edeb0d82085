"""Figures of protocol A: box plots, similarity along the stages, examples of maps."""

from __future__ import annotations

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from saltrust.analysis.protocols.result import ProtocolResult
from saltrust.analysis.trustworthiness.utility import METRICS
from saltrust.report.figures import trustworthiness


def draw_trustworthiness(protocol: ProtocolResult, cubes: xr.DataTree) -> dict[str, Figure]:
    """Draw what the protocol computed.

    Parameters
    ----------
    protocol : ProtocolResult
        Of :func:`saltrust.protocol_trustworthiness`.
    cubes : xarray.DataTree
        What it was computed from, for the examples.

    Returns
    -------
    dict of str to Figure
    """
    results, figures = protocol.results, {}
    if "utility" in results:
        for finding, scores in _by(results["utility"]["scores"], "finding"):
            for metric in METRICS:
                figures[f"utility_{metric}{finding}"] = trustworthiness.utility(scores, metric)
            example = trustworthiness.examples(cubes, scores, "average_precision")
            if example is not None:
                figures[f"examples{finding}"] = example
    if "randomization" in results:
        result = results["randomization"]
        for finding, of_finding in _by(result["stages"], "finding"):
            for model, rows in _by(of_finding, "model"):
                figures[f"randomization{finding}{model}"] = trustworthiness.stages(
                    rows, result.meta["stages"])
    criteria: tuple[str, ...] = ("repeatability", "reproducibility")
    similar = {name: results[name] for name in criteria if name in results}
    findings = dict.fromkeys(finding for result in similar.values()
                             for finding in result["scores"]["finding"])
    for finding in findings:
        shown = {name: result["scores"][result["scores"]["finding"] == finding]
                 for name, result in similar.items()}
        suffix = f"_{finding}" if len(findings) > 1 else ""
        low = next(iter(similar.values())).meta["low_baseline"]
        figures[f"similarity{suffix}"] = trustworthiness.similarity(shown, low)
    return figures


def _by(table: pd.DataFrame, name: str) -> list[tuple[str, pd.DataFrame]]:
    """Rows of each label, with what to add to a file's name where there are several."""
    labels = list(dict.fromkeys(table[name]))
    return [(f"_{label}" if len(labels) > 1 else "", table[table[name] == label])
            for label in labels]
