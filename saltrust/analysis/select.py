"""Choosing what is analysed: a sub-tree of the cubes, by labels and by coordinates of images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from saltrust.cache.schema import FINDING_ALIASES, Status
from saltrust.cache.stage_names import paper_stages
from saltrust.cache.store import open_cubes
from saltrust.choices import Split, check_word
from saltrust.errors import DataError, UsageError, nearest
from saltrust.reading import reading, shown

#: Dimensions with labels, besides the image.
LABELED = ("finding", "explainer", "model", "reader", "replicate", "stage")
Labels = Mapping[str, Any]


def as_cubes(cubes: xr.DataTree | str | Path, table: str = "") -> xr.DataTree:
    """The tree itself, or that of the store at a path.

    Parameters
    ----------
    cubes : xarray.DataTree or path
    table : str
        The function that takes a table of scores, to name where one was given.

    Raises
    ------
    UsageError, DataError
        Where it cannot be opened (:func:`saltrust.open_cubes`), or is something else.
    """
    if isinstance(cubes, xr.DataTree):
        for dim in ("image", "finding"):
            labels = np.atleast_1d(cubes.coords[dim].values) if dim in cubes.coords else ()
            repeated = pd.Index(labels).duplicated()
            if repeated.any():
                raise DataError(f"the cubes hold {dim} {str(labels[repeated.argmax()])!r} more "
                                "than once; select every label once")
        return cubes
    if isinstance(cubes, str | Path):
        return open_cubes(cubes)
    if isinstance(cubes, pd.DataFrame) and table:
        raise UsageError(f"a table of scores was given in the place of cubes; saltrust.{table} "
                         "takes one")
    raise UsageError(f"cubes must be a DataTree, as saltrust.open_cubes gives, or the path of a "
                     f"store, not {type(cubes).__name__}")


def select(cubes: xr.DataTree | str | Path, *, stored: bool = False, **labels: Any) -> xr.DataTree:
    """The part of the cubes that has the labels; every analysis takes it in their place.

    Parameters
    ----------
    cubes : xarray.DataTree or path
    stored : bool
        Only images, findings, explainers and models of which a usable heatmap is stored, so that
        little but fill values of maps that were never made is left out.
    **labels
        By name of a dimension (``finding``, ``explainer``, ``model``, ``reader``, ``image``,
        ``replicate``, ``stage``) or of a coordinate of images (``split``, ``view``, ``patient``,
        ``study``, any covariate): a label, or a list of labels.  None restricts nothing.
        Stages of InceptionV3 may be called as in protocol A (``mixed10``, ``stem``).
        ``explainer`` and ``model`` concern the groups that have such a label; networks that
        localize stay, as the baselines that they are, unless one of them is named.

    Returns
    -------
    xarray.DataTree
        With the dimensions that the cubes have, in their order; maps are still read when asked
        for.  Its attribute ``selected`` lists the names by which this function chose.

    Raises
    ------
    UsageError
        If a name or a label is not known; the nearest is named.
    DataError
        If no image has all these coordinates, or no usable heatmap is stored.

    Examples
    --------
    ::

        test = saltrust.select(cubes, split="test", finding=["Edema", "Cardiomegaly"])
        saltrust.localization(test)
        saltrust.select(cubes, explainer="gradcam", view="frontal PA", sex="F")
    """
    tree = as_cubes(cubes)
    with reading("the labels " + shown(labels), "name some that the cubes have", UsageError,
                 "selected"):
        return _select(tree, labels, stored=stored)


def _select(tree: xr.DataTree, labels: Labels, *, stored: bool) -> xr.DataTree:
    wanted = {name: _listed(value) for name, value in labels.items() if value is not None}
    for name, values in wanted.items():
        if not values:
            raise UsageError(f"{name} is an empty list, which chooses nothing; leave it out to "
                             "take all")
    groups = _groups(tree)
    _check_known(groups, wanted)
    images = _image_positions(groups["/"], wanted)
    parts: dict[str, xr.Dataset] = {}
    for path, dataset in groups.items():
        chosen = _positions(path, dataset, wanted)
        if images is not None:
            chosen["image"] = images
        parts[path] = _taken(dataset, chosen)
    selected = _tree(tree, parts)
    names = sorted({*tree.attrs.get("selected", ()), *wanted})
    if stored:
        selected = _with_maps(selected)
    selected.attrs = {**tree.attrs, "selected": names} if names else dict(tree.attrs)
    return selected


def were_selected(cubes: xr.DataTree, name: str) -> bool:
    """Whether somebody chose by this name with :func:`select`, be it all that there are.

    Parameters
    ----------
    cubes : xarray.DataTree
    name : str
        Of a dimension, or of a coordinate of images.
    """
    return name in cubes.attrs.get("selected", ())


def _with_maps(tree: xr.DataTree) -> xr.DataTree:
    """Only labels with a usable heatmap."""
    if "saliency" not in tree.children or "status" not in tree["saliency"].data_vars:
        raise DataError("the selected cubes hold no heatmaps (/saliency/status is absent); run "
                        "`saltrust generate`")
    status = tree["saliency"].to_dataset()["status"]
    usable = status.values == int(Status.OK)
    if not usable.any():
        raise DataError("no usable heatmap is stored of what was selected; select other labels or "
                        "run `saltrust generate`")
    kept = {str(dim): np.flatnonzero(usable.any(axis=tuple(
        other for other in range(usable.ndim) if other != axis)))
        for axis, dim in enumerate(status.dims)}
    names = {dim: set(map(str, status[dim].values[at])) for dim, at in kept.items()}
    parts = {}
    for path, dataset in _groups(tree).items():
        positions = {dim: np.flatnonzero([str(label) in names[dim]
                                          for label in dataset[dim].values])
                     for dim in names if dim in dataset.dims}
        if path == "localizer":
            positions.pop("model", None)
        parts[path] = _taken(dataset, positions)
    return _tree(tree, parts)


def _listed(value: Any) -> list[Any]:
    if isinstance(value, str | bytes):
        return [value]
    if hasattr(value, "__array__"):
        return list(np.atleast_1d(np.asarray(value)).tolist())
    return list(value) if isinstance(value, Iterable) else [value]


def _groups(tree: xr.DataTree) -> dict[str, xr.Dataset]:
    return {"/": tree.to_dataset(),
            **{name: node.to_dataset() for name, node in tree.children.items()}}


def _tree(tree: xr.DataTree, parts: Mapping[str, xr.Dataset]) -> xr.DataTree:
    result = xr.DataTree.from_dict({path: part.assign_attrs(
        tree.attrs if path == "/" else tree[path].attrs) for path, part in parts.items()})
    result.name = tree.name
    return result


def _taken(dataset: xr.Dataset, positions: Mapping[str, npt.NDArray[np.intp]]) -> xr.Dataset:
    """A group at these positions; a dimension of which nothing is left out stays as it is."""
    moved = {dim: at for dim, at in positions.items() if dim in dataset.dims
             and not np.array_equal(at, np.arange(dataset.sizes[dim]))}
    return dataset.isel(moved) if moved else dataset


def label_positions(names: Sequence[str], wanted: Sequence[str] | None, what: str,
                    aliases: Mapping[str, str] | None = None) -> npt.NDArray[np.intp]:
    """Positions of the labels asked for, in the order of the cubes; all where None.

    Raises
    ------
    UsageError
        If a label is not among the names; the nearest is named.
    """
    if wanted is None:
        return np.arange(len(names))
    place = {name: k for k, name in enumerate(names)}
    chosen = set()
    for name in map(str, [wanted] if isinstance(wanted, str) else wanted):
        known = name if name in place else (aliases or {}).get(name, name)
        if known not in place:
            raise UsageError(f"the cubes have no {what} {name!r}; {nearest(name, names)}")
        chosen.add(place[known])
    return np.array(sorted(chosen), dtype=np.intp)


def _stage_aliases(names: Sequence[str]) -> dict[str, str]:
    """Stages by the paper's names."""
    return {paper: name for name, paper in paper_stages(names).items()}


def _positions(path: str, dataset: xr.Dataset, wanted: Labels
               ) -> dict[str, npt.NDArray[np.intp]]:
    chosen = {}
    for dim in LABELED:
        if dim not in wanted or dim not in dataset.coords:
            continue
        names = [str(label) for label in np.atleast_1d(dataset[dim].values)]
        labels = [str(label) for label in wanted[dim]]
        if dim in {"finding", "stage"}:
            aliases = FINDING_ALIASES if dim == "finding" else _stage_aliases(names)
            labels = [name if name in names else aliases.get(name, name) for name in labels]
        present = [name for name in labels if name in names]
        if dim == "model" and path == "localizer" and not present:
            continue
        if dim not in dataset.dims:
            if not present:
                raise UsageError(f"the cubes hold {dim} {names[0]!r} alone, not "
                                 f"{' or '.join(map(repr, labels))}; select from cubes that have "
                                 "more")
            continue
        chosen[dim] = label_positions(names, present, dim)
    return chosen


def _check_known(groups: Mapping[str, xr.Dataset], wanted: Labels) -> None:
    """Refuse a name that is no coordinate, and a label that no group has."""
    root = groups["/"]
    known = {"image", *(str(name) for name, array in root.variables.items()
                        if array.dims == root["image"].dims),
             *(dim for dim in LABELED if any(dim in part.coords for part in groups.values()))}
    for name, labels in wanted.items():
        if name == "split":
            for label in labels:
                check_word(label, Split, "split")
            if "split" not in known:
                raise DataError("the cubes do not state which split an image is in; leave the "
                                "split out")
        if name not in known:
            raise UsageError(f"the cubes have no dimension or coordinate of images {name!r}; "
                             f"{nearest(name, sorted(known))}")
        if name not in LABELED:
            continue
        present = list(dict.fromkeys(
            str(label) for path, part in groups.items() if name in part.coords
            for label in np.atleast_1d(part.coords[name].values)))
        aliases = (FINDING_ALIASES if name == "finding" else
                   _stage_aliases(present) if name == "stage" else None)
        label_positions(present, [str(label) for label in labels], name, aliases)


def _image_positions(root: xr.Dataset, wanted: Labels) -> npt.NDArray[np.intp] | None:
    """Positions of the images that have all labels asked for; None where all stay."""
    names = [name for name in wanted if name not in LABELED]
    if not names:
        return None
    kept = np.ones(root.coords["image"].size, dtype=bool)
    for name in names:
        labels = wanted[name]
        if name not in root.variables:
            continue
        values = np.atleast_1d(root[name].values)
        if name == "image":
            label_positions([str(value) for value in values], labels, "image")
        kept &= _is_among(values, labels, name)
        if not kept.any():
            stated = " or ".join(repr(label) for label in labels[:5])
            raise DataError(f"no image of the cubes is in split {stated}" if name == "split" else
                            f"no selected image of the cubes has {name} {stated}; "
                            + nearest(str(labels[0]), dict.fromkeys(map(str, values.tolist()))))
    return np.flatnonzero(kept) if "image" in root.dims else None


def _is_among(values: npt.NDArray[Any], labels: Sequence[Any], name: str
              ) -> npt.NDArray[np.bool_]:
    """Whether each value is one of the labels; of numbers, NaN is NaN."""
    if values.dtype.kind not in "iufb":
        return np.isin(values.astype(object).astype(str), [str(label) for label in labels])
    try:
        numbers = np.array([float(label) for label in labels])
    except (TypeError, ValueError):
        raise UsageError(f"{name} of the images is a number; {labels[0]!r} is none") from None
    return np.isin(values, numbers) | (np.isnan(values.astype(np.float64))
                                       & bool(np.isnan(numbers).any()))
