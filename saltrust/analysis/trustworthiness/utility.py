"""Utility: do heatmaps rank the pixels of a finding above the others?

Protocol A scores each positive image's map by the area under the precision-recall curve of its
pixels against the reference mask or boxes, beside the average mask, beside networks trained to
localise, and beside the same explainer on the model with random weights (Arun et al., 2021).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from saltrust.analysis.classification.image_auc import architectures, study_aucs
from saltrust.analysis.options import Decision
from saltrust.analysis.result import Result
from saltrust.analysis.select import as_cubes
from saltrust.analysis.stored.arrays import dataset_of, labels_of
from saltrust.analysis.stored.contents import split_of
from saltrust.analysis.stored.maps import LOCALIZER, RANDOMIZED, TRAINED
from saltrust.analysis.stored.readings import described
from saltrust.analysis.stored.subgroups import groupings
from saltrust.analysis.trustworthiness.decisions import (
    Decided,
    adjust_together,
    decide,
    decision_tables,
)
from saltrust.analysis.trustworthiness.subgroups import utility_subgroups
from saltrust.analysis.trustworthiness.utility_scores import BASELINE, utility_scores
from saltrust.cache.identity import of_one_store
from saltrust.choices import DecidingMetric, Failures, MapChoice, UtilityBaseline, check_word

#: Columns of the metrics that may decide the marks.
DECIDING: dict[DecidingMetric, str] = {"ap": "average_precision", "auprc": "auprc"}
METRICS = ("auprc", "average_precision", "auroc")
#: What the decisions call the maps of the model with random weights.
RANDOM_MODEL = "randomised model"

_log = logging.getLogger(__name__)


@of_one_store
def utility(cubes: xr.DataTree | str | Path, *, map: MapChoice = "auto",
            baseline: UtilityBaseline | None = None,
            fitted_on: xr.DataTree | str | Path | None = None, failures: Failures = "score",
            decision: Decision = Decision(), by: str | None = None,
            progress: bool = False) -> Result:
    """Utility of every explainer, and whether it passes against its baselines.

    Parameters
    ----------
    cubes : xarray.DataTree or path
        With reference masks on the grid; saliency, localizer and randomization maps are scored
        where there are any.  Any selection (:func:`saltrust.select`), such as the test split;
        selecting a reader says whose masks are the reference where several readers have that
        role, else the first's are.
    map : {"auto", "raw", "absolute", "positive"}
        What of the maps ranks the pixels: by default what every explainer declares, with random
        weights too (:mod:`saltrust.analysis.stored.readings`).  Maps of localizers are taken as
        they are stored.
    baseline : {"average-mask", "none"}, optional
        By default the average mask where training or validation positives are known.  It is not
        scored on the images it is made of, unless the finding has no others.
    fitted_on : xarray.DataTree or path, optional
        Study whose training and validation images the average mask is of.  By default the
        store that the cubes are a selection of, else the cubes.
    failures : {"score", "drop"}
        A flat or non-finite map holds no ranking: ``"score"`` gives it what no information
        gives, AUPRC and average precision equal to the prevalence and AUROC 0.5; ``"drop"``
        leaves its image out for all maps of the finding.
    decision : Decision
        How explainers are compared with their baselines.
    by : str, optional
        Coordinates of images whose groups are compared, such as ``"sex,age:40:60"``
        (:func:`saltrust.analysis.stored.subgroups.groupings`): adds the tables ``subgroups``,
        ``subgroup_differences`` and ``subgroup_tests``
        (:func:`saltrust.analysis.trustworthiness.subgroups.utility_subgroups`).
    progress : bool
        Whether a bar is shown on stderr.

    Returns
    -------
    Result
        ``summary`` (:func:`summarize`, with the AUC of the model), ``decisions`` and ``methods``
        (:mod:`saltrust.analysis.trustworthiness.decisions`), ``models``
        (:mod:`saltrust.analysis.classification.image_auc`) and ``scores``.

    Raises
    ------
    DataError
        If there are no reference masks, no positive image, or nothing to score.
    UsageError
        If an option is not known.

    References
    ----------
    N. Arun et al. (2021), Radiol. Artif. Intell. 3(6), e200267.
    """
    if baseline is not None:
        check_word(baseline, UtilityBaseline, "baseline")
    check_word(failures, Failures, "failures")
    check_word(map, MapChoice, "map")
    tree = as_cubes(cubes)
    groups = groupings(tree, by)
    scored = utility_scores(tree, map=map, baseline=baseline, fitted_on=fitted_on,
                            failures=failures, progress=progress)
    aucs = study_aucs(tree)
    judged, seeds = (joined_localizers(scored.table, tree)
                     if decision.localizers == "together" else (scored.table, {}))
    tables = {"summary": with_auc(summarize(judged), aucs, seeds),
              **compare(judged, tree, decision), "models": aucs, "scores": scored.table}
    meta = {
        "criterion": "utility", "split": split_of(tree), "resolution": "grid",
        **described(map, scored.readings), "reference_reader": scored.reader,
        "standard_deviation": "over images, n - 1",
        "auprc": "trapezoid from recall 0, precision 1, as the paper",
        "average_precision": "sum of precision x gain of recall"
                             + ("; decides, since ties inflate the trapezoid"
                                if decision.metric == "ap" else ""),
        "deciding_metric": DECIDING[decision.metric],
        **({"localizers_together": seeds} if seeds else {}),
        "failures": ("scored as no information: AUPRC and average precision = prevalence, "
                     "AUROC = 0.5") if failures == "score" else "their images are left out",
        "average_mask_of": scored.averaged, **decision.describe(),
        "counts": scored.counts, "exclusions": scored.exclusions}
    if groups:
        meta["by"] = {one.by: one.describe() for one in groups}
        tables |= utility_subgroups(judged, DECIDING[decision.metric], RANDOM_MODEL, groups,
                                    confidence_level=1 - decision.alpha)
    # The first table is the headline; what has no rows needs no place.
    return Result(meta, {name: table for name, table in tables.items() if len(table)},
                  "utility")


def joined_localizers(scores: pd.DataFrame, cubes: xr.DataTree
                      ) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """Scores with one level for the seeds of a localizer: the mean of their scores of an image.

    Parameters
    ----------
    scores : pandas.DataFrame
        With the columns :data:`saltrust.analysis.trustworthiness.utility_scores.SCORE_COLUMNS`.
    cubes : xarray.DataTree
        For the architectures.

    Returns
    -------
    scores : pandas.DataFrame
        Localizers of an architecture that several have are called ``<architecture>: <n> seeds``;
        an image has them where each of the seeds has a map of it.
    seeds : dict of str to list of str
        Which localizers those are.
    """
    of_localizers = scores["condition"] == LOCALIZER
    names = list(dict.fromkeys(scores.loc[of_localizers, "model"]))
    built = architectures(cubes, names, "localizer")
    members: dict[str, list[str]] = {}
    for name in names:
        members.setdefault(built[name], []).append(name)
    seeds = {f"{architecture}: {len(its)} seeds": its for architecture, its in members.items()
             if architecture and len(its) > 1}
    joined = [name for its in seeds.values() for name in its]
    parts = [scores[~(of_localizers & scores["model"].isin(joined))]]
    for name, its in seeds.items():
        chosen = scores[of_localizers & scores["model"].isin(its)]
        grouped = chosen.groupby(["finding", "image"], sort=False, as_index=False)
        mean = grouped.agg({column: "mean" if column in {*METRICS, "prevalence", "lift"} else
                            "any" if column == "failed" else "first" for column in scores.columns
                            if column not in {"finding", "image"}})
        complete = grouped.size()["size"].to_numpy() == len(its)
        parts.append(mean.assign(explainer=name, model=name)[scores.columns][complete])
    return pd.concat(parts, ignore_index=True), seeds


def with_auc(summary: pd.DataFrame, aucs: pd.DataFrame,
             together: Mapping[str, Sequence[str]] = MappingProxyType({})) -> pd.DataFrame:
    """A column ``image_auc`` beside: of the row's model, the mean over replicates.

    Of a localizer it is that of its scores; of the decoder of a classifier, which has none, that
    of the classifier; of several localizers that are one level, the mean of theirs.
    """
    keys = ["finding", "model", "condition"]
    known = aucs.groupby(keys, sort=False)["image_auc"].mean().to_dict()
    for name, members in together.items():
        for finding in summary["finding"].unique():
            areas = [known.get((finding, member, LOCALIZER), np.nan) for member in members]
            known[finding, name, LOCALIZER] = float(np.mean(areas))
    condition = summary["condition"] if "condition" in summary else [TRAINED] * len(summary)
    rows = zip(summary["finding"], summary["model"], condition, strict=True)
    values = [known.get((finding, model, kind),
                        known.get((finding, model, TRAINED), np.nan) if kind == LOCALIZER
                        else np.nan)
              for finding, model, kind in rows]
    return summary.assign(image_auc=np.array(values, dtype=np.float64))


def compare(scores: pd.DataFrame, cubes: xr.DataTree, decision: Decision
            ) -> dict[str, pd.DataFrame]:
    """Decide for every finding, model and metric.

    Where several models have one architecture, they are also taken together, the model being a
    random factor; what no model has, the average mask and the localizers, stands beside each.

    Returns
    -------
    dict of str to pandas.DataFrame
        ``decisions`` and ``methods``.
    """
    decisions: list[dict[str, Any]] = []
    methods: list[dict[str, Any]] = []
    for finding, of_finding in scores.groupby("finding", sort=False):
        trained = of_finding[of_finding["condition"] == TRAINED]
        fixed = of_finding[of_finding["condition"].isin([BASELINE, LOCALIZER])]
        for name, members in _groups(trained, cubes).items():
            chosen = trained[trained["model"].isin(members)]
            beside = pd.concat([fixed.assign(model=member) for member in members])
            random = of_finding[(of_finding["condition"] == RANDOMIZED)
                                & of_finding["model"].isin(members)]
            if random.empty and _randomized(cubes) & set(members):
                _log.warning("no positive image of %s that is scored has maps of random weights of "
                             "%s, so utility is not judged against them; state `positives` under "
                             "[randomization]", finding, name)
            for metric in METRICS:
                identify = {"finding": str(finding), "model": name, "metric": metric}
                decided = _decide(chosen, beside, random, metric, identify, decision)
                decisions += decided[0]
                methods += decided[1]
    return decision_tables(decisions, methods, ["finding", "model", "metric"])


def _randomized(cubes: xr.DataTree) -> set[str]:
    """Models of which there are maps with random weights, of whatever images."""
    group = dataset_of(cubes, "randomization")
    return set() if group is None else set(labels_of(group, "model"))


def _groups(trained: pd.DataFrame, cubes: xr.DataTree) -> dict[str, list[str]]:
    """Models one by one, and those of one architecture together."""
    models = list(dict.fromkeys(trained["model"]))
    groups = {model: [model] for model in models}
    built = architectures(cubes, models, "saliency")
    for architecture in dict.fromkeys(filter(None, built.values())):
        members = [model for model in models if built[model] == architecture]
        if len(members) > 1:
            groups[f"{architecture}: {len(members)} models"] = members
    return groups


def _decide(trained: pd.DataFrame, fixed: pd.DataFrame, randomized: pd.DataFrame, metric: str,
            identify: dict[str, str], decision: Decision) -> Decided:
    explainers = list(dict.fromkeys(trained["explainer"]))
    baselines = list(dict.fromkeys(fixed["explainer"]))
    decisions: list[dict[str, Any]] = []
    methods: list[dict[str, Any]] = []
    if baselines:
        table = _levels(pd.concat([trained, fixed]), metric)
        pairs = [(e, b) for b in baselines for e in explainers]
        decisions, methods = decide(table, pairs, identify=identify, options=decision,
                                    random="model")
    against_random = []
    for explainer in explainers:
        other = randomized[randomized["explainer"] == explainer]
        if other.empty:
            continue
        # Replicates of random weights are averaged per image: an image is compared with itself.
        other = other.groupby(["image", "patient", "model"], sort=False, as_index=False)[
            metric].mean()
        both = pd.concat([trained[trained["explainer"] == explainer],
                          other.assign(explainer=RANDOM_MODEL)])
        against_random.append(decide(_levels(both, metric), [(explainer, RANDOM_MODEL)],
                                     identify=identify, options=decision, random="model"))
    more = adjust_together(against_random, "explainers", decision)
    return [*decisions, *more[0]], [*methods, *more[1]]


def _levels(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    return pd.DataFrame({"image": scores["image"], "patient": scores["patient"],
                         "model": scores["model"], "level": scores["explainer"],
                         "value": scores[metric]}).reset_index(drop=True)


def summarize(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over images of every explainer, model and condition.

    Parameters
    ----------
    scores : pandas.DataFrame
        With the columns :data:`saltrust.analysis.trustworthiness.utility_scores.SCORE_COLUMNS`;
        replicates of a randomized model are averaged per image.

    Returns
    -------
    pandas.DataFrame
        ``finding, explainer, model, condition, n``, then ``<metric>_mean`` and ``<metric>_sd``
        (n - 1; missing for one image) of each metric, of the prevalence and of the lift, and
        ``failed``, the number of flat or non-finite maps.
    """
    names = ["finding", "explainer", "model", "condition"]
    numbers = [*METRICS, "prevalence", "lift"]
    per_image = scores.groupby([*names, "image"], sort=False)[numbers].mean()
    grouped = per_image.groupby(names, sort=False)
    parts: dict[str, Any] = {"n": grouped.size()}
    for number in numbers:
        parts[f"{number}_mean"] = grouped[number].mean()
        parts[f"{number}_sd"] = grouped[number].std(ddof=1)
    parts["failed"] = scores.groupby(names, sort=False)["failed"].sum().astype("int64")
    return pd.DataFrame(parts).reset_index()
