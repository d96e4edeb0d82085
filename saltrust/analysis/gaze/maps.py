"""Choosing maps by explainers and models where localizers count as an explainer."""

from __future__ import annotations

from collections.abc import Sequence

import xarray as xr

from saltrust.analysis.gaze.scores import LOCALIZER
from saltrust.analysis.select import select
from saltrust.analysis.stored.arrays import dataset_of, labels_of
from saltrust.choices import MapSource
from saltrust.errors import UsageError


def select_maps(cubes: xr.DataTree, *, explainers: Sequence[str] | None = None,
                models: Sequence[str] | None = None, source: MapSource = "all"
                ) -> tuple[xr.DataTree, MapSource]:
    """Maps of these explainers and models and no others, localizers neither.

    :func:`saltrust.select` leaves networks that localize where a model of another name is
    selected, since they are baselines of the criteria.  Beside gaze they are not.

    Parameters
    ----------
    cubes : xarray.DataTree
    explainers : sequence of str, optional
        ``localizer`` stands for the maps of localizers.
    models : sequence of str, optional
    source : {"all", "saliency", "localizer"}
        Which groups are wanted before names are looked at.

    Returns
    -------
    cubes : xarray.DataTree
    source : {"all", "saliency", "localizer"}
        The groups that still have maps of these names, for
        :class:`saltrust.analysis.options.GazeComparison`.

    Raises
    ------
    UsageError
        If a name is not known, or the source has no maps of these names.
    """
    groups = [name for name in ("saliency", "localizer") if source in ("all", name)]
    plain = None if explainers is None else [name for name in explainers if name != LOCALIZER]
    if explainers is not None:
        groups = [name for name in groups
                  if (LOCALIZER in explainers if name == "localizer" else plain)]
    if models is not None:
        groups = [name for name in groups if set(models) & set(_models(cubes, name))]
    chosen = select(cubes, explainer=plain or None, model=models)
    if not groups:
        raise UsageError("no map is of what was named: " + ", ".join(
            [*(explainers or ()), *(models or ())]) + f" (source {source}); name others")
    return chosen, "all" if len(groups) > 1 else "saliency" if "saliency" in groups else "localizer"


def _models(cubes: xr.DataTree, group: str) -> list[str]:
    dataset = dataset_of(cubes, group)
    return [] if dataset is None or "model" not in dataset.coords else labels_of(dataset, "model")
