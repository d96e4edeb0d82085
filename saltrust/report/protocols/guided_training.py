"""Figures of protocol W: ROC curves, calibration, gaze beside maps and decoders."""

from __future__ import annotations

from dataclasses import replace

import xarray as xr
from matplotlib.figure import Figure

from saltrust.analysis.protocols.guided_training.arms import Arm
from saltrust.analysis.protocols.result import ProtocolResult
from saltrust.report.figures import classification, guided_training


def draw_guided_training(protocol: ProtocolResult, cubes: xr.DataTree) -> dict[str, Figure]:
    """Draw what the protocol computed.

    Parameters
    ----------
    protocol : ProtocolResult
        Of :func:`saltrust.protocol_guided_training`.
    cubes : xarray.DataTree
        What it was computed from, for the examples.

    Returns
    -------
    dict of str to Figure
    """
    arms = [Arm(**{name: arm[name] for name in ("model", "loss", "rule", "seed", "baseline")})
            for arm in protocol.meta["arms"]]
    # One model of each way of training: curves of replicates would lie over each other.
    first = list({arm.label: arm.model for arm in reversed(arms)}.values())
    result = protocol.results["classification"]
    cases = result["cases"]
    shown = replace(result, tables={**result.tables, "cases": cases[cases["model"].isin(first)]})
    figures = {"roc": classification.roc(shown), "calibration": classification.calibration(shown)}
    agreement = protocol.results.get("gaze")
    if agreement is None:
        return figures
    scores = agreement["scores"]
    for explainer in dict.fromkeys(scores.loc[scores["source"] == "saliency", "explainer"]):
        figure = guided_training.examples(cubes, scores, arms, explainer,
                                          agreement.meta["reader"])
        if figure is not None:
            figures[f"examples_{explainer}"] = figure
    return figures
