"""Protocol W as a whole: classification and gaze of guided models, and Tables 1 to 4."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from saltrust import __version__
from saltrust.analysis.classification.analysis import classification
from saltrust.analysis.gaze.analysis import gaze
from saltrust.analysis.gaze.scores import LOCALIZER
from saltrust.analysis.options import GazeComparison, Resampling
from saltrust.analysis.protocols.guided_training.arms import LOSSES, RULES, Arm, arms_of
from saltrust.analysis.protocols.guided_training.methods import write_methods
from saltrust.analysis.protocols.guided_training.tables import (
    TABLES,
    against_baseline,
    auc_table,
    gaze_against_baseline,
    gaze_table,
    improvement_table,
    seeds_table,
)
from saltrust.analysis.protocols.result import ProtocolResult
from saltrust.analysis.result import Result
from saltrust.analysis.select import as_cubes, select
from saltrust.analysis.stored.arrays import group_of, values_of
from saltrust.analysis.stored.contents import source, split_of
from saltrust.analysis.stored.maps import stored_maps
from saltrust.analysis.stored.whole_study import fitted_study
from saltrust.cache.identity import of_one_store
from saltrust.choices import Adjustment, AucInterval, CaseLevel, MapChoice, MapSource
from saltrust.errors import DataError

#: The explainer that the paper shows of its baseline (Fig. 4), beside those that were in a loss.
SHOWN_BESIDE = "gradcam"


@dataclass(frozen=True)
class Areas:
    """How areas under ROC curves are had.

    Attributes
    ----------
    level : {"image", "study"}
        What a case is: an image or an examination.
    interval : {"newcombe", "delong", "bootstrap", "protocol-w"}
        Of Tables 1 to 4; the paper's own stand in the tables ``_paper``.
    """

    level: CaseLevel = "image"
    interval: AucInterval = "newcombe"


@of_one_store
def protocol_guided_training(
    cubes: xr.DataTree | str | Path, *, explainers: Sequence[str] | None = None,
    baseline: str | None = None, areas: Areas = Areas(), reading: MapChoice = "absolute",
    adjustment: Adjustment = "holm", resampling: Resampling = Resampling(),
    progress: bool = False,
) -> ProtocolResult:
    """Compare classifiers guided by gaze with the baseline: how they classify, where they look.

    Parameters
    ----------
    cubes : xarray.DataTree or path
        Of models trained with ``[models.guidance]``, whose guidance the store records, or a part
        of it (:func:`saltrust.select`).  Where all predicted images are of one split, only that
        is analysed; the average gaze is then of the others.
    explainers : sequence of str, optional
        Whose maps are compared with gaze, ``localizer`` for the decoders; by default guided
        backpropagation, deconvnet, Grad-CAM and the decoders, as far as there are any of the
        first two, else all.
    baseline : str, optional
        The model to compare with; by default the model trained with the decoder against gaze
        from the same seed.
    areas : Areas
        How areas under ROC curves are had.
    reading : {"absolute", "auto", "raw", "positive"}
        What of the maps is compared with gaze: guided maps are signed at the inputs, and the
        paper's are of gradients.  ``"auto"``: what every explainer declares.
    adjustment : {"bonferroni", "holm", "bh", "none"}
        Of p-values against the baseline, one family per finding.
    resampling : Resampling
        The bootstrap by patient, and the level of every interval.
    progress : bool
        Whether bars are shown on stderr.

    Returns
    -------
    ProtocolResult
        ``table1`` to ``table4`` with paired tests, the same as the paper made them
        (``..._paper``), ``improvement`` in percent, ``gaze`` and ``seeds``; tables of losses
        that no model has, and gaze where there is none, are among ``missing``.

    Raises
    ------
    DataError
        If there are no predictions or labels, or no model was guided.
    UsageError
        If an option or a name is not known.

    References
    ----------
    T. Watanabe et al. (2022), Front. Radiol. 2, 991683.
    """
    tree = as_cubes(cubes)
    arms = arms_of(tree, baseline)
    predicted = _predicted_images(tree)
    results, differences = _classify(predicted, arms, areas, adjustment, resampling)
    missing: dict[str, str] = {}
    try:
        chosen, which = _compared_maps(predicted, arms, explainers)
        agreement = gaze(
            chosen, comparison=GazeComparison(source=which, reading=reading),
            fitted_on=fitted_study(tree), adjustment=adjustment, resampling=resampling,
            progress=progress)
        results["gaze"] = _with(agreement, gaze_against_baseline(agreement, arms, adjustment))
    except DataError as error:
        missing["gaze"] = str(error)
    tables = _tables(results, arms, differences, missing, resampling)
    if not any(arm.baseline for arm in arms):
        missing["comparison with a baseline"] = (
            "no model was trained with the decoder against gaze alone; train one with loss = "
            "\"decoder\", or name another of several models as --baseline")
    meta = {"protocol": "W", "source": tree.attrs.get("source"), "split": split_of(predicted),
            "saltrust_version": __version__, "level": areas.level, "map": reading,
            "adjustment": adjustment, **resampling.describe(),
            "arms": [{"model": arm.model, "trained": arm.label, "seed": arm.seed,
                      "baseline": arm.baseline, "loss": arm.loss, "rule": arm.rule}
                     for arm in arms]}
    return ProtocolResult(meta, tables, "protocol_guided_training", results, {}, missing,
                          write_methods(results, missing, tree, arms, reading))


def _predicted_images(cubes: xr.DataTree) -> xr.DataTree:
    """The cubes with only the split that all predicted images belong to, if it is one."""
    root = cubes.to_dataset()
    if "split" not in root.variables:
        return cubes
    stored = values_of(group_of(cubes, "prediction")["probability"],
                       ("image", "finding", "model"))
    known = np.isfinite(stored).any(axis=(1, 2))
    splits = {str(name) for name in values_of(root["split"], ["image"])[known]}
    return select(cubes, split=splits.pop()) if len(splits) == 1 else cubes


def _classify(cubes: xr.DataTree, arms: Sequence[Arm], areas: Areas, adjustment: Adjustment,
              resampling: Resampling) -> tuple[dict[str, Result], pd.DataFrame]:
    """Areas with paired tests against the baseline, and areas as the paper had them."""
    tested = classification(cubes, level=areas.level, interval=areas.interval, adjustment="none",
                            resampling=resampling)
    differences = against_baseline(tested, arms, adjustment)
    family = f"{adjustment}, one family per finding: all models against their baseline"
    paper = classification(cubes, level=areas.level, interval="protocol-w", adjustment="none",
                           resampling=resampling)
    return {"classification": replace(_with(tested, differences), topic="classification",
                                      meta={**tested.meta, "adjustment": family}),
            "classification_paper": Result(paper.meta, {"auc": paper["auc"]}, "classification"),
            }, differences


def _compared_maps(cubes: xr.DataTree, arms: Sequence[Arm], explainers: Sequence[str] | None
                   ) -> tuple[xr.DataTree, MapSource]:
    """The cubes with the maps that are compared with gaze, and of which groups these are."""
    groups = {name: stored_maps(cubes, name) for name in ("saliency", "localizer")}
    models = {name: [] if maps is None else maps.labels["model"]
              for name, maps in groups.items()}
    if not any(models.values()):
        raise DataError(f"{source(cubes)} has no maps; name explainers in the study and "
                        "generate the cubes again")
    names = [arm.model for arm in arms if arm.model in {*models["saliency"],
                                                        *models["localizer"]}]
    saliency = groups["saliency"]
    known = [] if saliency is None else saliency.labels["explainer"]
    if explainers is None:
        explainers = [*([name for name in (*RULES, SHOWN_BESIDE) if name in known]
                        if set(RULES) & set(known) else known), LOCALIZER]
    shown = [name for name in explainers if name != LOCALIZER]
    # Networks that localize but are no arm stay in a selection as baselines: not here.
    decoded = LOCALIZER in explainers and bool(set(names) & set(models["localizer"]))
    chosen = select(cubes, model=names, explainer=shown or None)
    return chosen, "all" if decoded and shown else "localizer" if decoded else "saliency"


def _with(result: Result, differences: pd.DataFrame) -> Result:
    """A result with the differences from the baseline beside, where there are any."""
    if differences.empty:
        return result
    return replace(result, tables={**result.tables, "against_baseline": differences})


def _tables(results: dict[str, Result], arms: Sequence[Arm], differences: pd.DataFrame,
            missing: dict[str, str], resampling: Resampling) -> dict[str, pd.DataFrame]:
    """The printed tables; losses that no model has are added to what is missing."""
    areas, paper = results["classification"]["auc"], results["classification_paper"]["auc"]
    improved = improvement_table(results["classification"], arms, resampling)
    tables: dict[str, pd.DataFrame] = {}
    for name, loss in TABLES.items():
        table = auc_table(arms, loss, areas, differences, improved)
        if table.empty:
            missing[name] = f"no model was trained with {LOSSES[loss]!r}"
            continue
        tables[name] = table
        tables[f"{name}_paper"] = auc_table(arms, loss, paper, None)
    if len(improved):
        tables["improvement"] = improved
    agreement = results.get("gaze")
    if agreement is not None:
        tables["gaze"] = gaze_table(agreement, arms, agreement.tables.get("against_baseline",
                                                                          pd.DataFrame()))
    seeds = seeds_table(arms, areas, agreement)
    if len(seeds):
        tables["seeds"] = seeds
    return tables
