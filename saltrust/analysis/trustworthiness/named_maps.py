"""Which maps utility scores, under which names: trained, with random weights, of localizers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from saltrust.analysis.stored.arrays import dataset_of
from saltrust.analysis.stored.average_mask import AVERAGE_MASK
from saltrust.analysis.stored.maps import (
    LOCALIZER,
    RANDOMIZED,
    TRAINED,
    MapSeries,
    StoredMaps,
    stored_maps,
)
from saltrust.analysis.stored.readings import as_read, readings_of
from saltrust.cache.flatness import is_flat
from saltrust.cache.schema import Status
from saltrust.choices import MapChoice, MapReading

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NamedMaps:
    """Maps under the names that the scores give them.

    Attributes
    ----------
    series : MapSeries
    explainer, model : str
        Of a localizer its name is both.
    condition : {"trained", "randomised", "localizer"}
    replicate : str
        Of the random weights.
    reading : {"raw", "absolute", "positive"}
        What of the maps is scored.
    """

    series: MapSeries
    explainer: str
    model: str
    condition: str
    replicate: str = ""
    reading: MapReading = "raw"

    def is_stored(self) -> bool:
        """Whether any image and finding has a map."""
        return self.series.count() > 0


def maps_to_score(cubes: xr.DataTree, map: MapChoice = "auto") -> list[NamedMaps]:
    """Every series of maps that any image has.

    Parameters
    ----------
    cubes : xarray.DataTree
        Of ``/randomization`` the last stage of every replicate is scored.
    map : {"auto", "raw", "absolute", "positive"}
        What of the maps of explainers is scored; those of localizers are, as they are stored.

    Returns
    -------
    list of NamedMaps
        Without what no image has, so that it does not count as missing.
    """
    saliency, randomization, localizer = (stored_maps(cubes, group) for group in
                                          ("saliency", "randomization", "localizer"))
    maps = []
    readings: dict[str, MapReading] = {}
    for group in ("randomization", "saliency"):
        dataset = dataset_of(cubes, group)
        if dataset is not None:
            # Compared with each other, both are read alike.
            readings |= readings_of(dataset, map)
    if saliency is not None:
        maps += [NamedMaps(saliency.series(explainer=explainer, model=model), explainer, model,
                           TRAINED, reading=readings[explainer])
                 for explainer, model in _pairs(saliency)]
    if randomization is not None:
        last = randomization.labels["stage"][-1]
        maps += [NamedMaps(randomization.series(explainer=explainer, model=model,
                                                 replicate=replicate, stage=last),
                            explainer, model, RANDOMIZED, replicate, readings[explainer])
                 for explainer, model in _pairs(randomization)
                 for replicate in randomization.labels["replicate"]]
    if localizer is not None:
        # An average mask among the localizers would stand beside the one computed here.
        maps += [NamedMaps(localizer.series(model=name), name, name, LOCALIZER)
                 for name in localizer.labels["model"] if name != AVERAGE_MASK]
    _warn_of_gaps([one for one in maps if one.condition == TRAINED])
    return [one for one in maps if one.is_stored()]


def _pairs(maps: StoredMaps) -> list[tuple[str, str]]:
    return [(explainer, model) for explainer in maps.labels["explainer"]
            for model in maps.labels["model"]]


def _warn_of_gaps(trained: Sequence[NamedMaps]) -> None:
    """Say where an explainer has maps of one model and of another not: a gap, no plan."""
    stored = [one for one in trained if one.is_stored()]
    explainers, models = ({one.explainer for one in stored}, {one.model for one in stored})
    for one in trained:
        if not one.is_stored() and one.explainer in explainers and one.model in models:
            _log.warning("%s has no map of model %s among the selected images, so that pair is "
                         "not scored; `saltrust generate` makes what is missing", one.explainer,
                         one.model)


def usable_map(maps: NamedMaps, image: str, finding: str) -> np.ndarray | None:
    """A map that says something, as it is read; None where it is flat or not finite."""
    if maps.series.status(image, finding) != Status.OK:
        return None
    values = as_read(maps.series.read([image], finding)[0], maps.reading)
    low, high = values.min(), values.max()
    # Its status may speak too well of it.
    usable = np.isfinite(low) and np.isfinite(high) and not is_flat(low, high)
    return values if usable else None
