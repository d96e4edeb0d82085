"""Building a cube store: created whole, filled region by region, renamed when finished.

A store grows at ``<path>.partial``.  Only :meth:`StoreWriter.finish` gives it its name, so
that a store found at ``path`` is always complete, whatever happened on the way.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr

from saltrust import __version__
from saltrust.cache import replacing
from saltrust.cache.checksums import seal
from saltrust.cache.guarded import guarded
from saltrust.cache.layout import create_group, variables_with_room
from saltrust.cache.ownership import Owner, take_store
from saltrust.cache.resuming import OVERWRITES, leftovers_of_writes, prepare_place
from saltrust.cache.schema import (
    GROUPS,
    LABELED_DIMS,
    ROOT,
    SCHEMA_VERSION,
    Variable,
    covariate,
    covariate_fault,
)
from saltrust.cache.scores import sweep_leftovers
from saltrust.cache.store import partial_path, root_attributes
from saltrust.errors import DataError, UsageError
from saltrust.files import Advice, is_about_the_place, writing_error
from saltrust.interrupts import delay_interrupts

_ADVICE = Advice("repeat the command with --resume",
                 "choose another output or change its permissions")


@dataclass
class StoreWriter:
    """A store under construction, whose place belongs to this job until it is finished.

    As a context it gives the place free again at the end, however that comes.

    Attributes
    ----------
    path : pathlib.Path
        Where the finished store will be.
    root : zarr.Group
        The unfinished store at ``<path>.partial``.
    owner : Owner
    """

    path: Path
    root: zarr.Group
    owner: Owner
    overwrite: bool = False
    _arrays: dict[str, zarr.Array[Any]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._run = str(self.root.attrs["run_id"])
        self.owner.note(run_id=self._run)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None,
                 _trace: TracebackType | None) -> None:
        if isinstance(error, KeyboardInterrupt):
            error.add_note(f"what is finished stays in {self.partial}" if self.partial.exists()
                           else f"{self.path} is finished")
        self.owner.release()

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
            with guarded():
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

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Write to the arrays: interrupts wait, and what goes wrong is a sentence.

        Raises
        ------
        DataError
            If the disk is full or cannot be written to; what was written stays in the
            partial store and the message says how to go on.  If the store is not this job's any
            more.
        """
        if self.owner.is_challenged():
            self._require_own_run()
        with delay_interrupts(), disk_errors(self.partial):
            yield

    def write(self, name: str, region: Any, values: npt.ArrayLike) -> None:
        """Write one region of a variable.

        Raises
        ------
        DataError
            As in :meth:`writing`.
        """
        with self.writing():
            self.array(name)[region] = values

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Add root attributes (plain JSON values)."""
        with self.writing():
            self.root.attrs.update(dict(attributes))

    def finish(self, attributes: Mapping[str, Any] | None = None) -> Path:
        """Mark the store complete and give it its name, and its place free.

        Returns
        -------
        pathlib.Path
            The finished store.

        Raises
        ------
        UsageError
            If another store has appeared there and it was not said that it may be replaced.
        DataError
            If the store is not this job's any more, or as in :meth:`writing`.
        """
        self._require_own_run()
        replaces = self.path.exists()
        if replaces and not self.overwrite:
            raise UsageError(f"{self.path} has appeared meanwhile; the store that is about to be "
                             f"finished is {self.partial}, move one of them away")
        with self.writing():
            for leftover in leftovers_of_writes(self.partial):
                leftover.unlink()
            facts = {**self.attributes, **(attributes or {}), "complete": True, "finished": _now()}
            # Only now, as a job that is killed here has to know what became of the old store.
            facts.pop(OVERWRITES, None)
            place = self.partial
            if replaces:
                place = replacing.aside(self.path, self._run, "new")
                self.partial.rename(place)
            zarr.open_group(place, mode="r+").attrs.put(seal(place, facts))
            if replaces:
                replacing.replace_store(place, self.path, self._run)
            else:
                place.rename(self.path)
            self.owner.release()
        return self.path

    def _require_own_run(self) -> None:
        """Refuse to go on with a store that somebody else has begun at the same place."""
        try:
            run = root_attributes(self.partial).get("run_id")
        except (DataError, UsageError):
            run = None
        if run != self._run:
            raise DataError(f"{self.partial} is not the store of this run any more: it was "
                            "replaced or removed by somebody else; start again when it is free")


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
    faithfulness: xr.Dataset | None = None,
    perturbation: xr.Dataset | None = None,
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
    localizers, faithfulness, perturbation : xarray.Dataset, optional
        Coordinates of these groups: ``model`` and ``model_*``; ``metric``, ``fraction``, ``order``
        and ``explainer_reading``, by which pixels are ordered; ``perturbation`` and ``level``.
    n_points, n_boxes : int
        Longest list of points and of boxes of one annotation.  A variable is created only
        where there is something to hold.
    n_fixations : int, optional
        Most fixations of one image and reader; None (default): the data have no gaze; 0: gaze
        as heatmaps only.
    attributes, identity : mapping, optional
        Provenance for the root, plain JSON values; what must agree for an unfinished store to be
        resumed (besides all labels): seeds, hashes of data and models, batch size.
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
    with disk_errors(path):
        replacing.check_name(path)
    coords = _coordinates(index, models, explainers)
    covariates = _covariates(index)
    of_group = {"randomization": _coordinates(randomization),
                "localizer": _coordinates(localizers), "faithfulness": _coordinates(faithfulness),
                "perturbation": _coordinates(perturbation)}
    wanted = json.loads(json.dumps({
        "labels": _label_digests(coords, covariates, of_group), "grid": list(grid),
        "groups": list(groups), **(identity or {})}))
    sizes = {"y": grid[0], "x": grid[1], "instance": max(n_points, n_boxes), "corner": 4,
             "fixation": n_fixations or 0}
    partial = partial_path(path)
    with disk_errors(partial):
        partial.parent.mkdir(parents=True, exist_ok=True)
    owner = take_store(path)
    try:
        with delay_interrupts(), disk_errors(partial):
            replacing.recover(path)
            sweep_leftovers(path)
            start = prepare_place(path, wanted, overwrite=overwrite, resume=resume)
            if start.goes_on:
                root = _go_on(partial)
            else:
                root = _begin(partial, wanted, attributes or {}, overwrites=start.overwrites)
                create_group(root, ROOT, sizes, coords, (*ROOT.variables, *covariates))
                for name in groups:
                    room = variables_with_room(GROUPS[name], n_points, n_boxes, n_fixations)
                    _create_child(root, name, sizes, coords | of_group.get(name, {}), room)
                # Last: a store that was killed while it was laid out is begun again.
                root.attrs["laid_out"] = True
            return StoreWriter(path, root, owner, overwrite=start.overwrites)
    except BaseException:
        owner.release()
        raise


def _begin(partial: Path, wanted: Mapping[str, Any], attributes: Mapping[str, Any], *,
           overwrites: bool) -> zarr.Group:
    # With its attributes in one step: a store that is killed here is known to be ours.
    return zarr.open_group(partial, mode="w-", zarr_format=3, attributes={
        "saltrust_schema": SCHEMA_VERSION, "saltrust_version": __version__,
        "run_id": uuid.uuid4().hex, "complete": False, "identity": wanted, "started": _now(),
        **({OVERWRITES: True} if overwrites else {}), **attributes})


def _go_on(partial: Path) -> zarr.Group:
    root = zarr.open_group(partial, mode="r+")
    if "run_id" not in root.attrs:
        root.attrs["run_id"] = uuid.uuid4().hex
    return root


def _create_child(root: zarr.Group, name: str, sizes: Mapping[str, int],
                  coords: Mapping[str, npt.NDArray[Any]], variables: Sequence[Variable]) -> None:
    child = root.create_group(name)
    child.attrs["meaning"] = GROUPS[name].meaning
    create_group(child, GROUPS[name], sizes, coords, variables)


def _label_digests(coords: Mapping[str, Any], covariates: Sequence[Variable],
                   of_group: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Digests of all labels that a store will have, by name."""
    names = [name for name in coords if name in LABELED_DIMS]
    names += [variable.name for variable in covariates]
    return {**{name: _digest(coords[name]) for name in names},
            **{f"{group}/{name}": _digest(values)
               for group, labels in of_group.items() for name, values in labels.items()}}


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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
