"""The scan of stored maps: what all localization scores of a study are made from, with labels.

Which maps are scored depends on a selection; what is counted in each does not, so that it is kept
in ``/scores`` of the store, by label, and used again whatever is selected next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from tqdm import tqdm

from saltrust.analysis.options import Execution
from saltrust.analysis.pixels.levels import levels_for
from saltrust.analysis.scores.map_counts import FIELDS, MapCounts, count_map, unusable
from saltrust.analysis.scores.workers import executor
from saltrust.analysis.stored.annotations import Annotations, read_annotations
from saltrust.analysis.stored.arrays import group_of, labels_of, read_at, values_of
from saltrust.analysis.stored.maps import require_finite
from saltrust.analysis.stored.origin import store_positions
from saltrust.analysis.stored.readings import as_read
from saltrust.cache.schema import GROUPS, Status
from saltrust.cache.scores import ScoreStore
from saltrust.cache.store import open_cubes
from saltrust.choices import Definition, MapReading, RelevanceDefinition, Resolution
from saltrust.errors import UsageError

#: Raised when the same cubes would give other numbers, or are kept in another form.
SCAN_VERSION = 6
TOPIC = "localization"
#: What names a map.
MAP = ["image", "finding", "explainer", "model"]

#: What is kept is kept apart by them.
_READINGS: tuple[MapReading, ...] = ("raw", "absolute", "positive")

#: Images that a worker is handed at once.
_BLOCK = 8


@dataclass(frozen=True)
class ScanOptions:
    """What the numbers of a scan depend on, besides the cubes.

    Attributes
    ----------
    resolution : {"native", "grid"}
    definition : {"default", "peer"}
    thresholds : tuple of float
        At which the histograms are exact, beside the standard ones.
    relevance : {"default", "quantus"}
        How much of a map lies in a mask.
    """

    resolution: Resolution
    definition: Definition
    thresholds: tuple[float, ...] = ()
    relevance: RelevanceDefinition = "default"

    def made_from(self, reading: MapReading) -> dict[str, Any]:
        """The facts that the key of kept scores is a digest of.

        Those of raw maps name no reading.
        """
        return {"pass": SCAN_VERSION, "resolution": self.resolution,
                "definition": self.definition,
                "thresholds": list(levels_for(self.thresholds).thresholds),
                **({"map": reading} if reading != "raw" else {}),
                **({"relevance": self.relevance} if self.relevance != "default" else {})}


def scan_maps(saliency: xr.Dataset, annotations: Annotations, options: ScanOptions,
              execution: Execution, store: ScoreStore | None,
              readings: Mapping[str, MapReading]) -> xr.Dataset | None:
    """Count the pixels of every stored map, or take what was kept of it.

    Parameters
    ----------
    saliency : xarray.Dataset
        The group of the maps.
    annotations : Annotations
        Of the same cubes, at the resolution of the options.
    options : ScanOptions
    execution : Execution
    store : ScoreStore or None
        That the cubes were opened from; None for cubes in memory.
    readings : mapping of str to {"raw", "absolute", "positive"}
        What of the maps is counted, by explainer
        (:func:`saltrust.analysis.stored.readings.readings_of`).

    Returns
    -------
    xarray.Dataset or None
        None where no map is stored.  Dimensions ``map``, ``reader`` (the reference readers) and
        ``level`` (bins of the map stretched to 0..1, beginning at ``cut``); labels ``image,
        finding, explainer, model`` of every map.  Variables: the fields of
        :class:`saltrust.analysis.scores.map_counts.MapCounts`; ``mask_digest(map, reader)``, -1
        where the reader did not annotate; ``status(map)``, as the cubes state it.  Attributes:
        ``explainers`` and ``models`` in the order of the cubes; ``missing``, the number of maps
        that images with maps do not have.

    Raises
    ------
    UsageError
        If workers are asked for maps that are not those of a store, or cannot be had.
    """
    maps, missing = _stored_maps(saliency, readings)
    if maps.empty:
        return None
    scan = None
    if store is not None:
        scan = _from_store(saliency, annotations, maps, options, execution, store)
    if scan is None:
        if execution.workers > 1 or execution.scheduler is not None:
            raise UsageError("several workers need maps as they lie in a store; leave workers out "
                             "for cubes that were made or changed in memory")
        scan = _count(_Scanner(saliency, annotations, options), maps, execution.progress)
    return scan.assign_attrs(explainers=labels_of(saliency, "explainer"),
                             models=labels_of(saliency, "model"), missing=missing)


def _stored_maps(saliency: xr.Dataset, readings: Mapping[str, MapReading]
                 ) -> tuple[pd.DataFrame, int]:
    """Labels, status and reading of every stored map, in the order of the cubes.

    And how many maps images with maps do not have.
    """
    status = values_of(saliency["status"], MAP)
    stored = status != Status.MISSING
    at = np.argwhere(stored)
    names = {dim: np.array(labels_of(saliency, dim), dtype=object) for dim in MAP}
    maps = pd.DataFrame({dim: names[dim][at[:, axis]] for axis, dim in enumerate(MAP)})
    return (maps.assign(status=status[tuple(at.T)], reading=maps["explainer"].map(readings)),
            int((~stored[stored.any(axis=(1, 2, 3))]).sum()))


def _from_store(saliency: xr.Dataset, annotations: Annotations, maps: pd.DataFrame,
                options: ScanOptions, execution: Execution, store: ScoreStore
                ) -> xr.Dataset | None:
    """The scan by labels of the store; None where the maps are not the store's own any more."""
    positions = store_positions(saliency["heatmap"], store, "saliency/heatmap",
                                GROUPS["saliency"]["heatmap"].dims)
    if positions is None:
        return None
    names = store.labels("saliency", MAP)
    wanted = pd.DataFrame({dim: _renamed(labels_of(saliency, dim), np.array(
        names[dim], dtype=object)[positions[dim]], maps[dim]) for dim in MAP}
        ).assign(reading=maps["reading"])
    scan = _kept_and_counted(store, wanted, options, execution)
    readers = annotations.references
    if scan is None or not set(readers) <= set(scan["reader"].values.tolist()):
        return None
    scan = scan.sel(reader=readers).assign_coords(
        {dim: ("map", maps[dim].to_numpy(dtype=object)) for dim in MAP})
    # A mask or a status that was changed in memory: only what is in memory counts.
    stale = ((scan["mask_digest"].values != _digests(annotations, maps)).any(axis=1)
             | (scan["status"].values != maps["status"].to_numpy()))
    if stale.any():
        fresh = _count(_Scanner(saliency, annotations, options), maps[stale], execution.progress)
        scan = _joined([scan.isel(map=~stale), fresh])
        scan = scan.isel(map=np.argsort(np.concatenate(
            [np.flatnonzero(~stale), np.flatnonzero(stale)])))
    return scan


def _renamed(labels: Sequence[str], stored: npt.NDArray[Any], column: pd.Series[str]
             ) -> npt.NDArray[Any]:
    """Labels in the store, of labels that somebody may have given other names."""
    return stored[pd.Index(labels).get_indexer(pd.Index(column))]


def _kept_and_counted(store: ScoreStore, wanted: pd.DataFrame, options: ScanOptions,
                      execution: Execution) -> xr.Dataset | None:
    """What is kept in a store of the maps, and the others counted; kept together from now on.

    None where maps have to be counted and the store holds no masks to count them with.
    """
    places, parts = np.full(len(wanted), -1), []
    kept: dict[MapReading, xr.Dataset | None] = {}
    n = 0
    for reading in _READINGS:
        rows = np.flatnonzero(wanted["reading"] == reading)
        kept[reading] = one = (store.read(TOPIC, options.made_from(reading)) if len(rows) else
                               None)
        if one is None:
            continue
        at = _index(one).get_indexer(pd.MultiIndex.from_frame(wanted[MAP].iloc[rows]))
        places[rows[at >= 0]] = n + np.arange((at >= 0).sum())
        parts.append(one.isel(map=at[at >= 0]))
        n += int((at >= 0).sum())
    missing = places < 0
    if missing.any():
        annotated = store.values("reference", "annotated")
        masks = "mask_rle" if options.resolution == "native" else "mask"
        if annotated is None or not annotated.any() or not store.holds("reference", masks):
            return None
        counted = _count_in_store(store, wanted[missing], options, execution)
        for reading, one in kept.items():
            fresh = np.flatnonzero(wanted["reading"].to_numpy()[missing] == reading)
            _keep(store, options.made_from(reading), one, counted.isel(map=fresh))
        places[missing] = n + np.arange(missing.sum())
        parts.append(counted)
    scan = parts[0] if len(parts) == 1 else _joined(parts)
    return scan if np.array_equal(places, np.arange(len(places))) else scan.isel(map=places)


def _keep(store: ScoreStore, made_from: Mapping[str, Any], kept: xr.Dataset | None,
          counted: xr.Dataset) -> None:
    """Keep what was counted behind what was kept of the same."""
    # Of a map that memory may hold but the store does not, there is nothing to keep.
    held = counted["status"].values != Status.MISSING
    if held.any():
        fresh = counted if held.all() else counted.isel(map=held)
        store.write(TOPIC, made_from, fresh if kept is None else _joined([kept, fresh]))


def _index(scan: xr.Dataset) -> pd.MultiIndex:
    return pd.MultiIndex.from_arrays([scan[dim].values.astype(object) for dim in MAP])


def _joined(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """One scan after the other.  Several times as fast as xarray.concat, which compares labels."""
    first = parts[0]
    variables = {name: (array.dims, np.concatenate([part[name].values for part in parts]))
                 for name, array in first.variables.items() if "map" in array.dims}
    return xr.Dataset({name: value for name, value in variables.items() if name not in MAP},
                      {**{dim: variables[dim] for dim in MAP}, "reader": first["reader"],
                       "cut": first["cut"]})


def _digests(annotations: Annotations, maps: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Digest of every reference reader's mask of each map's image and finding."""
    pairs = maps[MAP[:2]].drop_duplicates()
    images = pd.Index(annotations.images).get_indexer(pd.Index(pairs["image"]))
    findings = pd.Index(annotations.findings).get_indexer(pd.Index(pairs["finding"]))
    digests = np.array([[annotations.digest(image, finding, annotations.readers.index(reader))
                         for reader in annotations.references]
                        for image, finding in zip(images.tolist(), findings.tolist(),
                                                  strict=True)], dtype=np.int64)
    of_pair = pd.MultiIndex.from_frame(pairs).get_indexer(pd.MultiIndex.from_frame(maps[MAP[:2]]))
    return digests.reshape(len(pairs), len(annotations.references))[of_pair]


def _count(scanner: _Scanner, maps: pd.DataFrame, progress: bool) -> xr.Dataset:
    """Count maps in this process."""
    with tqdm(total=maps["image"].nunique(), desc="localization", unit="image",
              disable=None if progress else True) as bar:
        parts = []
        for block in _blocks(maps):
            parts.append(scanner.scan(block))
            bar.update(block["image"].nunique())
    return _joined(parts)


def _count_in_store(store: ScoreStore, maps: pd.DataFrame, options: ScanOptions,
                    execution: Execution) -> xr.Dataset:
    """Count maps of a store by its labels, here or by workers that open it themselves."""
    blocks = _blocks(maps)
    with tqdm(total=maps["image"].nunique(), desc="localization", unit="image",
              disable=None if execution.progress else True) as bar, \
            _scanned(store, blocks, options, execution) as scans:
        parts = []
        for block, part in zip(blocks, scans, strict=True):
            parts.append(part)
            bar.update(block["image"].nunique())
    return _joined(parts)


def _blocks(maps: pd.DataFrame) -> list[pd.DataFrame]:
    """Maps of a few images each."""
    block = pd.factorize(maps["image"])[0] // _BLOCK
    return [part for _, part in maps.groupby(block, sort=False)]


@contextmanager
def _scanned(store: ScoreStore, blocks: Sequence[pd.DataFrame], options: ScanOptions,
             execution: Execution) -> Iterator[Iterable[xr.Dataset]]:
    if execution.scheduler is None and (execution.workers == 1 or len(blocks) == 1):
        scanner = _scanner(store, options)
        yield (scanner.scan(block) for block in blocks)
        return
    with executor(execution.workers, execution.scheduler) as pool:
        yield pool.map(_scan_block_of_store, [store] * len(blocks), blocks,
                       [options] * len(blocks))


#: The last scanner of a worker, which gets many blocks of one store.
_of_worker: dict[tuple[Path, Any, ScanOptions], _Scanner] = {}


def _scan_block_of_store(store: ScoreStore, block: pd.DataFrame, options: ScanOptions
                         ) -> xr.Dataset:
    # A store that was generated again, while a worker of Dask lives on, is another one.
    key = store.source, store.attributes.get("finished"), options
    if key not in _of_worker:
        _of_worker.clear()
        _of_worker[key] = _scanner(store, options)
    return _of_worker[key].scan(block)


def _scanner(store: ScoreStore, options: ScanOptions) -> _Scanner:
    cubes = open_cubes(store.source)
    return _Scanner(group_of(cubes, "saliency"),
                    read_annotations(cubes, resolution=options.resolution), options)


class _Scanner:
    """Scans maps of one study by label; holds what its blocks share."""

    def __init__(self, saliency: xr.Dataset, annotations: Annotations, options: ScanOptions
                 ) -> None:
        self._options = options
        self._levels = levels_for(options.thresholds)
        self._annotations = annotations
        self._readers = [annotations.readers.index(name) for name in annotations.references]
        self._heatmap, self._status = saliency["heatmap"], values_of(saliency["status"], MAP)
        self._labels = {dim: pd.Index(labels_of(saliency, dim)) for dim in MAP}
        self._rows = pd.Index(annotations.images), pd.Index(annotations.findings)

    def scan(self, maps: pd.DataFrame) -> xr.Dataset:
        """Count the maps with these labels, each as it is read, in their order."""
        readings = maps["reading"].to_numpy()
        places = np.stack([self._labels[dim].get_indexer(pd.Index(maps[dim])) for dim in MAP],
                          axis=1)
        drawn = np.stack([index.get_indexer(pd.Index(maps[dim])) for index, dim in
                          zip(self._rows, MAP, strict=False)], axis=1)
        counts: list[MapCounts] = []
        digest = np.full((len(maps), len(self._readers)), -1, dtype=np.int64)
        for rows in _runs_of_equal(places[:, 0]):
            planes = self._planes(places[rows])
            for row, plane in zip(rows, planes, strict=True):
                image, finding = drawn[row].tolist()
                masks = [self._annotations.runs(image, finding, reader)
                         if self._annotations.annotated[image, finding, reader] else None
                         for reader in self._readers]
                digest[row] = [self._annotations.digest(image, finding, reader)
                               for reader in self._readers]
                status = Status(self._status[tuple(places[row])])
                if status == Status.OK:
                    require_finite(plane, **{dim: str(maps[dim].iloc[row]) for dim in MAP})
                counts.append(
                    count_map(as_read(plane, readings[row]), self._annotations.size(image),
                              self._options.definition, self._levels, masks,
                              self._options.relevance)
                    if status == Status.OK
                    else unusable(status, self._levels, masks))
        variables = {name: (dims, np.array([getattr(one, name) for one in counts], dtype=dtype))
                     for name, (dims, dtype) in FIELDS.items()}
        return xr.Dataset(
            {**variables, "mask_digest": (("map", "reader"), digest),
             "status": ("map", self._status[tuple(places.T)])},
            {**{dim: ("map", maps[dim].to_numpy(dtype=object)) for dim in MAP},
             "reader": np.array(self._annotations.references, dtype=object),
             "cut": ("level", self._levels.cuts)})

    def _planes(self, places: npt.NDArray[np.intp]) -> list[npt.NDArray[np.float32]]:
        """Maps of one image, in the order of the places."""
        planes: dict[tuple[int, ...], npt.NDArray[np.float32]] = {}
        for pair in dict.fromkeys(map(tuple, places[:, 2:].tolist())):
            findings = places[(places[:, 2:] == pair).all(axis=1), 1].tolist()
            low, high = min(findings), max(findings) + 1
            # One slice of a shard is read several times faster than a list of findings.
            values = read_at(self._heatmap, ("finding", "y", "x"), image=int(places[0, 0]),
                             finding=slice(low, high), explainer=pair[0], model=pair[1])
            planes |= {(finding, *pair): values[finding - low] for finding in findings}
        return [planes[tuple(place)] for place in places[:, 1:].tolist()]


def _runs_of_equal(values: npt.NDArray[np.intp]) -> list[npt.NDArray[np.intp]]:
    """Positions of each run of equal values."""
    return np.split(np.arange(len(values)), np.flatnonzero(np.diff(values)) + 1)
