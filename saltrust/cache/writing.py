"""Building a cube store: created whole, filled region by region, renamed when finished.

A store grows at ``<path>.partial``.  Only :meth:`StoreWriter.finish` gives it its name, so
that a store found at ``path`` is always complete, whatever happened on the way.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr

from saltrust import __version__
from saltrust.cache.layout import create_group, variables_with_room
from saltrust.cache.schema import (
    GROUPS,
    LABELED_DIMS,
    ROOT,
    SCHEMA_VERSION,
    Variable,
    covariate,
    covariate_fault,
)
from saltrust.cache.store import PARTIAL_SUFFIX, partial_path, root_attributes
from saltrust.errors import DataError, NothingToDo, UsageError
from saltrust.files import Advice, is_about_the_place, writing_error

_ADVICE = Advice("repeat the command with --resume",
                 "choose another output or change its permissions")


@dataclass
class StoreWriter:
    """A store under construction.

    Attributes
    ----------
    path : pathlib.Path
        Where the finished store will be.
    root : zarr.Group
        The unfinished store at ``<path>.partial``.
    """

    path: Path
    root: zarr.Group
    overwrite: bool = False
    _arrays: dict[str, zarr.Array[Any]] = field(default_factory=dict, repr=False)

    @property
    def partial(self) -> Path:
        """Folder of the unfinished store."""
        return partial_path(self.path)

    @property
    def attributes(self) -> dict[str, Any]:
        """Root attributes as they stand in the store."""
        return dict(self.root.attrs)

    def array(self, name: str) -> zarr.Array[Any]:
        """The Zarr array of a variable, e.g. ``"saliency/heatmap"``."""
        # Looking an array up reads its metadata from disk; a store's layout does not change.
        if name not in self._arrays:
            array = self.root[name]
            if not isinstance(array, zarr.Array):
                raise KeyError(name)
            self._arrays[name] = array
        return self._arrays[name]

    def labels(self, dim: str) -> list[str]:
        """Labels of a dimension, in storage order."""
        holder = next((f"{name}/{dim}" for name, group in self.root.groups() if dim in group),
                      dim)
        return [str(label) for label in np.asarray(self.array(holder)[:])]

    def write(self, name: str, region: Any, values: npt.ArrayLike) -> None:
        """Write one region of a variable.

        Raises
        ------
        DataError
            If the disk is full or cannot be written to; what was written stays in the
            partial store and the message says how to go on.
        """
        with disk_errors(self.partial):
            self.array(name)[region] = values

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Add root attributes (plain JSON values)."""
        with disk_errors(self.partial):
            self.root.attrs.update(dict(attributes))

    def finish(self, attributes: Mapping[str, Any] | None = None) -> Path:
        """Mark the store complete and give it its name.

        Returns
        -------
        pathlib.Path
            The finished store.
        """
        for leftover in _leftovers(self.partial):
            leftover.unlink()
        self.set_attributes({**(attributes or {}), "complete": True, "finished": _now()})
        if self.path.exists():
            if not self.overwrite:
                raise UsageError(f"{self.path} has appeared meanwhile; the finished store is "
                                 f"{self.partial}, move one of them away")
            old = self.path.with_name(self.path.name + ".old")
            _remove_store(old)
            self.path.rename(old)
            self.partial.rename(self.path)
            _remove_store(old)
        else:
            self.partial.rename(self.path)
        return self.path


def create_store(
    path: str | Path,
    *,
    index: xr.Dataset,
    grid: tuple[int, int],
    groups: Sequence[str],
    models: xr.Dataset | None = None,
    explainers: xr.Dataset | None = None,
    randomization: xr.Dataset | None = None,
    localizers: xr.Dataset | None = None,
    n_points: int = 0,
    n_boxes: int = 0,
    n_fixations: int | None = None,
    attributes: Mapping[str, Any] | None = None,
    identity: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> StoreWriter:
    """Create an empty store with every array it will need, or reopen an unfinished one.

    Parameters
    ----------
    path : path
        Where the finished store will be; building goes on at ``<path>.partial``.
    index : xarray.Dataset
        Labels of the study and covariates of its images, as in
        :class:`saltrust.cache.collection.Collection`.
    grid : (int, int)
        Height and width of every map.
    groups : sequence of str
        Which groups of :data:`saltrust.cache.schema.GROUPS` to create besides the root.
    models, explainers : xarray.Dataset, optional
        Coordinates ``model``, ``model_*`` and ``explainer``, ``explainer_parameters``,
        ``explainer_reading``.
    randomization : xarray.Dataset, optional
        Coordinates ``replicate``, ``replicate_seed`` and ``stage``, and those of ``models``
        where only some of them are randomised.
    localizers : xarray.Dataset, optional
        Coordinates ``model`` and ``model_*`` of ``/localizer``.
    n_points, n_boxes : int
        Longest list of points and of boxes of one annotation.  A variable is created only
        where there is something to hold.
    n_fixations : int, optional
        Most fixations of one image and reader; None (default): the data have no gaze; 0: gaze
        as heatmaps only.
    attributes : mapping, optional
        Provenance for the root, plain JSON values.
    identity : mapping, optional
        What must agree for an unfinished store to be resumed (besides all labels): seeds,
        hashes of data and models, batch size.
    overwrite, resume : bool
        Replace what is there; go on with what is unfinished.

    Raises
    ------
    UsageError
        If something is there and neither was said, or the unfinished store is of another
        study (what differs is named).
    NothingToDo
        If ``resume`` was said and the very store is there, finished.
    DataError
        If labels repeat, or a covariate has a name that the schema or a finding has.
    """
    path = Path(path)
    if not path.name or path.is_symlink():
        raise UsageError(f"{path} cannot be a store; give the name of a folder to create")
    coords = _coordinates(index, models, explainers)
    covariates = _covariates(index)
    of_group = {"randomization": _coordinates(randomization),
                "localizer": _coordinates(localizers)}
    wanted = json.loads(json.dumps({
        "labels": _label_digests(coords, covariates, of_group), "grid": list(grid),
        "groups": list(groups), **(identity or {}),
    }))
    reopened = _reopen(path, wanted, overwrite=overwrite, resume=resume)
    if reopened is not None:
        return reopened
    partial = partial_path(path)
    sizes = {"y": grid[0], "x": grid[1], "instance": max(n_points, n_boxes), "corner": 4,
             "fixation": n_fixations or 0}
    with disk_errors(partial):
        partial.parent.mkdir(parents=True, exist_ok=True)
        root = zarr.open_group(partial, mode="w-", zarr_format=3)
        root.attrs.update({
            "saltrust_schema": SCHEMA_VERSION, "saltrust_version": __version__,
            "complete": False, "identity": wanted, "started": _now(), **(attributes or {}),
        })
        create_group(root, ROOT, sizes, coords, (*ROOT.variables, *covariates))
        for name in groups:
            child = root.create_group(name)
            child.attrs["meaning"] = GROUPS[name].meaning
            create_group(child, GROUPS[name], sizes, coords | of_group.get(name, {}),
                         variables_with_room(GROUPS[name], n_points, n_boxes, n_fixations))
        # Last: a store that was killed while it was laid out is begun again, not resumed.
        root.attrs["laid_out"] = True
    return StoreWriter(path, root, overwrite=overwrite)


def _label_digests(coords: Mapping[str, Any], covariates: Sequence[Variable],
                   of_group: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Digests of all labels that a store will have, by name."""
    names = [name for name in coords if name in LABELED_DIMS]
    names += [variable.name for variable in covariates]
    return {**{name: _digest(coords[name]) for name in names},
            **{f"{group}/{name}": _digest(values)
               for group, labels in of_group.items() for name, values in labels.items()}}


def _reopen(path: Path, wanted: Mapping[str, Any], *, overwrite: bool, resume: bool
            ) -> StoreWriter | None:
    """The unfinished store to go on with; None where a store is to be begun."""
    partial = partial_path(path)
    finished = _existing(path, overwrite=overwrite, resume=resume)
    if finished is not None:
        _compare(finished, wanted, path)
        raise NothingToDo(f"{path} is finished already; say --overwrite to make it anew")
    if partial.exists() and overwrite:
        _remove_store(partial)
    if not partial.exists():
        return None
    attrs = _unfinished(partial)
    if not resume:
        raise UsageError(f"{partial} is left from an interrupted run; say --resume to go on "
                         "with it or --overwrite to start again")
    if attrs is None:
        _remove_store(partial)
        return None
    _compare(attrs.get("identity", {}), wanted, partial)
    return StoreWriter(path, zarr.open_group(partial, mode="r+"), overwrite=overwrite)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full or unwritable disk into a sentence that says how to go on."""
    try:
        yield
    except OSError as error:
        if is_about_the_place(error):
            raise writing_error(error, path, _ADVICE) from error
        raise DataError(f"writing {path} failed ({error}); repeat the command with --resume"
                        ) from error


def _coordinates(*sources: xr.Dataset | None) -> dict[str, npt.NDArray[Any]]:
    """Coordinate values by name, checked for duplicate labels."""
    coords: dict[str, npt.NDArray[Any]] = {}
    for source in sources:
        if source is None:
            continue
        for name in source.coords:
            coords[str(name)] = source[name].values
    for name, values in coords.items():
        if name in LABELED_DIMS and len(set(values.tolist())) != len(values):
            labels = [str(label) for label in values]
            twice = next(label for label in labels if labels.count(label) > 1)
            raise DataError(f"the {name} {twice!r} occurs more than once; {name} names must be "
                            "unique")
    return coords


def _covariates(index: xr.Dataset) -> list[Variable]:
    """Declarations of what the images have besides the coordinates of the schema."""
    covariates = []
    for name, coordinate in index.coords.items():
        if coordinate.dims == ("image",) and str(name) not in ROOT:
            fault = covariate_fault(str(name), index["finding"].values.tolist())
            if fault:
                raise DataError(f"the covariate {str(name)!r} {fault}; rename it")
            covariates.append(covariate(str(name), text=coordinate.dtype.kind in "OTU"))
    return covariates


def _digest(values: npt.NDArray[Any]) -> str:
    """A short text that differs when labels differ; long lists would swell the metadata."""
    text = json.dumps([str(value) for value in values])
    return f"{len(values)} labels, SHA-256 {hashlib.sha256(text.encode()).hexdigest()}"


def _existing(path: Path, *, overwrite: bool, resume: bool) -> dict[str, Any] | None:
    """Check a finished output; return its identity where resuming was asked."""
    if not path.exists():
        return None
    if overwrite:
        if not _is_store(path):
            raise UsageError(f"{path} exists and is not a Zarr store, so --overwrite will not "
                             "remove it; choose another output")
        return None
    if resume:
        identity = root_attributes(path).get("identity", {})
        if isinstance(identity, dict):
            return identity
    raise UsageError(f"{path} exists; say --overwrite to replace it, --resume to go on with an "
                     "interrupted run, or choose another output")


def _unfinished(partial: Path) -> dict[str, Any] | None:
    """Attributes of an unfinished store; None when it was never laid out completely."""
    if not (partial / "zarr.json").is_file():
        if not _is_empty(partial):
            raise UsageError(f"{partial} is in the way and is not a Zarr store; move it away")
        return None
    try:
        attributes = root_attributes(partial)
    except DataError:
        return None
    return attributes if attributes.get("laid_out") else None


def _compare(begun: Mapping[str, Any], wanted: Mapping[str, Any], partial: Path) -> None:
    """Raise, naming what differs, unless two identities agree."""
    differing = sorted(key for key in {*begun, *wanted} if begun.get(key) != wanted.get(key))
    if differing == ["labels"]:
        labels, other = begun.get("labels", {}), wanted.get("labels", {})
        differing = [f"labels of {key}" for key in sorted({*labels, *other})
                     if labels.get(key) != other.get(key)]
    if differing:
        raise UsageError(f"{partial} was begun with another {', '.join(differing)}; resume with "
                         "the study it was begun with, or say --overwrite to start again")


def _is_store(path: Path) -> bool:
    return (path / "zarr.json").is_file()


def _remove_store(path: Path) -> None:
    if path.exists() and (_is_store(path) or _is_empty(path)):
        shutil.rmtree(path)


def _is_empty(path: Path) -> bool:
    return {*path.rglob("*")} == {*_leftovers(path)}


def _leftovers(path: Path) -> list[Path]:
    """Files that Zarr was writing aside when it was killed; it renames them when whole."""
    return list(path.rglob(f"*{PARTIAL_SUFFIX}"))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
