"""Which models' maps are compared with each other: of one architecture, or of two."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal

import numpy as np
import xarray as xr

from saltrust.analysis.classification.image_auc import architectures
from saltrust.analysis.select import were_selected
from saltrust.analysis.stored.arrays import dataset_of, labels_of
from saltrust.analysis.stored.contents import source
from saltrust.analysis.stored.maps import LOCALIZER, MapSeries, StoredMaps
from saltrust.errors import DataError

_log = logging.getLogger(__name__)

Criterion = Literal["repeatability", "reproducibility"]
#: Names of two models.
Models = tuple[str, str]


@dataclass(frozen=True)
class Comparison:
    """Two models' maps of one explainer, or two localizers'.

    Attributes
    ----------
    criterion : {"repeatability", "reproducibility"}
    explainer : str
        As the tables name it; of localizers ``localizer`` and their architecture.
    models : (str, str)
    series : pair of MapSeries
    of_localizers : bool
    """

    criterion: Criterion
    explainer: str
    models: Models
    series: tuple[MapSeries, MapSeries]
    of_localizers: bool = False


@dataclass(frozen=True)
class Plan:
    """What is compared, and what is not.

    Attributes
    ----------
    comparisons : list of Comparison
        Those of the criterion first, then those of the other one on the same models, then those
        of localizers.
    exclusions : dict of str to int
        By description.
    """

    comparisons: list[Comparison]
    exclusions: dict[str, int] = field(default_factory=dict)


def plan_comparisons(cubes: xr.DataTree, criterion: Criterion, saliency: StoredMaps,
                     localizer: StoredMaps | None) -> Plan:
    """Pairs of models that the criterion is about.

    Two models of one architecture that were trained with different losses (``guidance`` of the
    study) are no pair, unless models were selected by name (:func:`saltrust.select`).

    Parameters
    ----------
    cubes : xarray.DataTree
    criterion : {"repeatability", "reproducibility"}
        Pairs of models of one architecture, or of two.
    saliency : StoredMaps
    localizer : StoredMaps, optional
        Two seeds of one localizer are the high baseline of both criteria.

    Raises
    ------
    DataError
        If there are no two models to compare, an architecture is not stated, or no explainer has
        maps of two of the models.
    """
    pairs, exclusions = _pairs_of_models(cubes, criterion, saliency)
    comparisons = []
    for kind, of_kind in pairs.items():
        for explainer in saliency.labels["explainer"]:
            for models in of_kind:
                first, second = (saliency.series(explainer=explainer, model=model)
                                 for model in models)
                if first.shares_an_image_with(second):
                    comparisons.append(Comparison(kind, explainer, models, (first, second)))
    exclusions |= _alone(saliency, {comparison.explainer for comparison in comparisons
                                    if comparison.criterion == criterion})
    if localizer is not None:
        comparisons += _of_localizers(cubes, localizer, criterion)
    return Plan(comparisons, exclusions)


def _pairs_of_models(cubes: xr.DataTree, criterion: Criterion, maps: StoredMaps
                     ) -> tuple[dict[Criterion, list[Models]], dict[str, int]]:
    """Pairs of the criterion first, then of the other; and number of those that are none."""
    ensembles = _ensembles(cubes)
    names = [name for name in maps.labels["model"] if name not in ensembles]
    built = architectures(cubes, names, "saliency")
    pairs = list(combinations(names, 2))
    unknown = [name for name in names if not built[name]]
    if unknown and pairs:
        raise DataError(f"the cubes do not state the architecture of model {unknown[0]!r} "
                        "(saliency/model_architecture), so it is not known whether two models "
                        "share one; generate them from a study file")
    alike = [pair for pair in pairs if built[pair[0]] == built[pair[1]]]
    of_kind: dict[Criterion, list[Models]] = {
        "repeatability": alike, "reproducibility": [pair for pair in pairs if pair not in alike]}
    exclusions = {}
    if not were_selected(cubes, "model"):
        of_kind["repeatability"] = _guided_alike(cubes, alike)
        if criterion == "repeatability":
            exclusions = _guided_apart(cubes, alike, of_kind["repeatability"])
    if not of_kind[criterion]:
        what = "of one architecture" if criterion == "repeatability" else "of two architectures"
        raise DataError(f"{source(cubes)} has no two models {what} to compare (it has "
                        + ", ".join(f"{name}: {built[name]}" for name in names)
                        + "); train and generate another model")
    return dict(sorted(of_kind.items(), key=lambda item: item[0] != criterion)), exclusions


def _guided_alike(cubes: xr.DataTree, pairs: Sequence[Models]) -> list[Models]:
    """Pairs that were trained with one loss: of two losses, other maps are what was asked for."""
    recorded: Mapping[str, Any] = cubes.attrs.get("models", {})

    def guidance(name: str) -> Any:
        stated = recorded.get(name, {}).get("guidance", {})
        # Without gaze or map, a guided classifier is a classifier.
        return {} if stated.get("loss") == "classification" else stated

    return [(a, b) for a, b in pairs if guidance(a) == guidance(b)]


def _guided_apart(cubes: xr.DataTree, pairs: Sequence[Models], alike: Sequence[Models]
                  ) -> dict[str, int]:
    """Number of pairs of different losses, said aloud; refused where no pair is alike."""
    apart = [pair for pair in pairs if pair not in alike]
    if not apart:
        return {}
    first = " and ".join(apart[0])
    if not alike:
        raise DataError(f"{source(cubes)} has no two models of one architecture that were "
                        f"trained with the same [models.guidance] ({first} were not); train a "
                        "replicate, or name models with --model (saltrust.select) to compare these "
                        "all the same")
    _log.warning("%d pairs of models of one architecture (first: %s) were trained with "
                 "different [models.guidance] and are not compared; name models with --model "
                 "(saltrust.select) to compare them all the same", len(apart), first)
    return {"pairs of models trained with different [models.guidance]": len(apart)}


def _alone(maps: StoredMaps, compared: set[str]) -> dict[str, int]:
    """Explainers that no two models to compare share, with their number of maps; said aloud."""
    exclusions: dict[str, int] = {}
    for explainer in maps.labels["explainer"]:
        if explainer in compared:
            continue
        counts = {model: maps.series(explainer=explainer, model=model).count()
                  for model in maps.labels["model"]}
        models = ", ".join(model for model, count in counts.items() if count) or "no model"
        exclusions[f"{explainer}: maps of {models} only"] = sum(counts.values())
    if exclusions and not compared:
        raise DataError(f"no explainer has maps of two models to compare on one image "
                        f"({'; '.join(exclusions)}); generate the other model's maps")
    for what, count in exclusions.items():
        _log.warning("%s (%d): not compared", what, count)
    return exclusions


def _of_localizers(cubes: xr.DataTree, maps: StoredMaps, criterion: Criterion) -> list[Comparison]:
    names = maps.labels["model"]
    built = architectures(cubes, names, "localizer")
    same = [(a, b) for a, b in combinations(names, 2) if built[a] == built[b]]
    # Decoders of guided classifiers stand here too, by the names of these.
    comparisons = [
        Comparison(criterion, f"{LOCALIZER} {built[models[0]]}".strip(), models,
                   (maps.series(model=models[0]), maps.series(model=models[1])),
                   of_localizers=True)
        for models in _guided_alike(cubes, same)]
    return [one for one in comparisons if one.series[0].shares_an_image_with(one.series[1])]


def _ensembles(cubes: xr.DataTree) -> set[str]:
    """Models that are the mean of others."""
    dataset = dataset_of(cubes, "saliency")
    if dataset is None or "model_role" not in dataset.variables:
        return set()
    return {name for name, role in zip(labels_of(dataset, "model"),
                                       np.atleast_1d(dataset["model_role"].values), strict=True)
            if str(role) == "ensemble"}
