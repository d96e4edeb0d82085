"""Protocol W as a whole: Tables 1 to 4, agreement with gaze, figures, and how they were had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from saltrust import __version__
from saltrust.analysis.classification.analysis import classification
from saltrust.analysis.gaze.analysis import gaze
from saltrust.analysis.gaze.maps import select_maps
from saltrust.analysis.options import GazeComparison, Resampling
from saltrust.analysis.result import Result
from saltrust.analysis.select import select
from saltrust.analysis.stored.contents import source
from saltrust.analysis.stored.maps import stored_maps
from saltrust.choices import Adjustment, AucInterval, MapReading
from saltrust.errors import DataError
from saltrust.report.figures import classification as classification_figures
from saltrust.report.figures import guided_training as guided_figures
from saltrust.report.protocols.guided_arms import LOSSES, RULES, Arm, arms
from saltrust.report.protocols.guided_tables import (
    TABLES,
    against_baseline,
    auc_table,
    gaze_against_baseline,
    gaze_table,
    seeds_table,
)
from saltrust.report.protocols.localization import Protocol
from saltrust.report.protocols.trustworthiness import facts

_MAP_OPTIONS = ("rule", "explained", "channels", "sign", "smoothing", "scaling", "detach")
#: Below this the paper's samples are more than half of the cases.
_PAPER_CASES = 120


def run_guided_training(
    cubes: xr.DataTree, *, split: str | None = None, findings: Sequence[str] | None = None,
    explainers: Sequence[str] | None = None, models: Sequence[str] | None = None,
    baseline: str | None = None, level: str = "image", interval: AucInterval = "delong",
    map_form: MapReading = "absolute", adjustment: Adjustment = "holm", resamples: int = 1000,
    confidence_level: float = 0.95, seed: int = 0, progress: bool = False,
) -> Protocol:
    """Compare classifiers guided by gaze with the baseline: how they classify, where they look.

    Parameters
    ----------
    cubes : xarray.DataTree
        Of models trained with ``[models.guidance]``, whose guidance the store records.
    split : str, optional
        Only images of this split; by default the split whose images were predicted, if it is one:
        the average gaze is then of the others.
    findings, models, level, interval, resamples, confidence, seed
        As :func:`saltrust.analysis.classification.analysis.classification`.
    explainers : sequence of str, optional
        Whose maps are compared with gaze; by default guided backpropagation and deconvnet, as
        far as there are any, else all.
    baseline : str, optional
        The model to compare with; by default the model trained with the decoder against gaze
        from the same seed.
    map_form : {'absolute', 'raw', 'positive'}
        What of the maps is compared with gaze: guided maps are signed at the inputs.
    adjustment : {'bonferroni', 'holm', 'bh', 'none'}
        Of p-values against the baseline, one family per finding.
    progress : bool

    Returns
    -------
    Protocol
        ``table1`` to ``table4`` with ``interval`` and paired tests, the same as the paper made
        them (``..._paper``), ``gaze`` and ``seeds``; tables of losses that no model has, and gaze
        where there is none, are among ``missing``.

    Raises
    ------
    DataError
        If there are no predictions or labels, or no model was guided.
    UsageError
        If an option or a name is not known.
    """
    compared = arms(cubes, models, baseline)
    names = [arm.model for arm in compared]
    split = split or _predicted_split(cubes)
    chosen = select(cubes, split=split, finding=findings)
    of_models = select(chosen, model=names)
    resampling = Resampling(resamples=resamples, seed=seed, confidence_level=confidence_level)
    cases: Any = {"level": level, "resampling": resampling}
    found = Protocol()
    sound = classification(of_models, **cases, interval=interval, adjustment="none")
    differences = against_baseline(sound, compared, adjustment)
    found.results["classification"] = Result(
        {**sound.meta, "adjustment": f"{adjustment}, one family per finding: all models against "
                                     "their baseline"},
        {**sound.tables, "against_baseline": differences} if len(differences) else sound.tables)
    paper = classification(of_models, **cases, interval="protocol-w", adjustment="none")
    found.results["classification_paper"] = Result(
        paper.meta, {"auc": paper.tables["auc"]})
    agreement = _agreement(found, chosen, compared, explainers, {
        "fitted_on": cubes, "comparison": GazeComparison(reading=map_form),
        "adjustment": adjustment, "resampling": resampling, "progress": progress})
    _tabulate(found, compared, differences, agreement)
    _draw(found, cubes, compared, agreement)
    if not any(arm.baseline for arm in compared):
        found.missing["comparison with a baseline"] = (
            "no model was trained with the decoder against gaze alone; train one with loss = "
            "\"decoder\", or name another of several models as --baseline")
    found.methods = _methods(found, cubes, compared, map_form)
    return found


def _predicted_split(cubes: xr.DataTree) -> str | None:
    if "split" not in cubes.coords:
        return None
    stored = cubes["prediction"].to_dataset()["probability"].transpose("image", ...)
    known = np.isfinite(stored.values).any(axis=(1, 2))
    splits = {str(name) for name in cubes.to_dataset()["split"].values[known]}
    return splits.pop() if len(splits) == 1 else None


def _agreement(found: Protocol, cubes: xr.DataTree, compared: Sequence[Arm],
               explainers: Sequence[str] | None, options: dict[str, Any]) -> Result | None:
    if explainers is None:
        maps = stored_maps(cubes, "saliency")
        present = [] if maps is None else [name for name in RULES
                                           if name in maps.labels["explainer"]]
        # The decoders are `localizer` to the analysis.
        if present and stored_maps(cubes, "localizer") is not None:
            explainers = [*present, "localizer"]
        else:
            explainers = present or None
    known = set()
    for group in ("saliency", "localizer"):
        maps = stored_maps(cubes, group)
        known |= set() if maps is None else set(maps.labels["model"])
    try:
        if not known:
            raise DataError(f"{source(cubes)} has no maps; name explainers in the study and "
                            "generate the cubes again")
        tree, group = select_maps(cubes, explainers=explainers, models=[
            arm.model for arm in compared if arm.model in known])
        options["comparison"] = replace(options["comparison"], source=group)
        result = gaze(tree, **options)
    except DataError as error:
        found.missing["gaze"] = str(error)
        return None
    different = gaze_against_baseline(result, compared, options["adjustment"])
    found.results["gaze"] = Result(
        result.meta, {**result.tables, **({"against_baseline": different} if len(different)
                                          else {})})
    return found.results["gaze"]


def _tabulate(found: Protocol, compared: Sequence[Arm], differences: pd.DataFrame,
              agreement: Result | None) -> None:
    areas = found.results["classification"].tables["auc"]
    paper = found.results["classification_paper"].tables["auc"]
    for name, loss in TABLES.items():
        table = auc_table(compared, loss, areas, differences)
        if table.empty:
            found.missing[name] = f"no model was trained with {LOSSES[loss]!r}"
            continue
        found.tables[name] = table
        found.tables[f"{name}_paper"] = auc_table(compared, loss, paper, None)
    if agreement is not None:
        found.tables["gaze"] = gaze_table(
            agreement, compared, agreement.tables.get("against_baseline", pd.DataFrame()))
    seeds = seeds_table(compared, areas, agreement)
    if len(seeds):
        found.tables["seeds"] = seeds


def _draw(found: Protocol, cubes: xr.DataTree, compared: Sequence[Arm],
          agreement: Result | None) -> None:
    # One model of each way of training: curves of replicates would lie over each other.
    first = list({arm.label: arm.model for arm in reversed(compared)}.values())
    result = found.results["classification"]
    cases = result.tables["cases"]
    shown = Result(result.meta, {**result.tables, "cases": cases[cases["model"].isin(first)]})
    found.figures["roc"] = classification_figures.roc(shown)
    found.figures["calibration"] = classification_figures.calibration(shown)
    if agreement is None:
        return
    scores = agreement.tables["scores"]
    for explainer in dict.fromkeys(scores.loc[scores["source"] == "saliency", "explainer"]):
        figure = guided_figures.examples(cubes, scores, compared, explainer,
                                         agreement.meta["reader"])
        if figure is not None:
            found.figures[f"examples_{explainer}"] = figure


def _methods(found: Protocol, cubes: xr.DataTree, compared: Sequence[Arm], map_form: str) -> str:
    """How every number was had, in Markdown, from what store and results record."""
    lines = ["# Methods", "",
             f"Computed by saltrust {__version__} from `{source(cubes)}`.  The protocol is that of "
             "Watanabe et al. (2022), Front. Radiol. 2, 991683; where this differs, it is said "
             "below.", "",
             "The p-values of the paper are of a test that it does not name and contradict its "
             "own intervals; they are not reproduced.  Tables 1 to 4 have paired tests against "
             "the baseline instead (DeLong's covariance, clustered by patient; a bootstrap of "
             "patients for the average), the tables `_paper` have the paper's intervals: median "
             "and percentiles of 30 samples of 55 to 60 cases.", "",
             "## Models", ""]
    recorded: Mapping[str, Any] = cubes.attrs.get("models", {})
    for arm in compared:
        lines.append(f"- `{arm.model}`: {arm.label}, seed {arm.seed}"
                     + (f", compared with `{arm.baseline}`" if arm.baseline else ""))
        guidance = recorded.get(arm.model, {}).get("guidance")
        if guidance:
            # What is said of the map in words is not said again as options.
            said = {"loss", *(_MAP_OPTIONS if "map" in guidance else ())}
            lines += facts({key: value for key, value in guidance.items() if key not in said},
                           "  ")
    lines += ["", "## Classification", "", *facts(found.results["classification"].meta)]
    areas = found.results["classification"].tables["auc"]
    if (areas["conf_low"] == areas["conf_high"]).any():
        lines.append("- an area without an interval: cases are told apart without an error, and no "
                     "variance can be had of them")
    if found.results["classification"].meta["cases"] < _PAPER_CASES:
        lines.append("- the paper's samples of 55 to 60 cases, without replacement, are more "
                     "than half of the cases, or all: the intervals of the tables `_paper` are "
                     "too narrow, or cannot be had")
    lines.append("")
    lines += ["## Agreement with gaze", ""]
    if "gaze" in found.results:
        lines += [f"Of maps their {map_form} values, the decoder's heatmap as it is.  The paper "
                  "has no such numbers.", "", *facts(found.results["gaze"].meta), ""]
    if found.missing:
        lines += ["## Not computed", "",
                  *(f"- {name}: {why}" for name, why in found.missing.items()), ""]
    return "\n".join(lines).rstrip() + "\n"
