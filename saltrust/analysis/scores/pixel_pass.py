"""The one pass over the pixels of stored maps, from which all localization scores follow.

Per map: Otsu's threshold, the peak, and the histogram of the map; per reference reader also the
histogram inside the mask (:mod:`saltrust.analysis.pixels.levels`).  About 2 kB a map remain of it.
Which maps are scored depends on a selection; what is found of each does not, so that it is kept
and used again whatever is selected next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr
from tqdm import tqdm

from saltrust.analysis.pixels.levels import Levels, count_levels, filled_above, levels_for
from saltrust.analysis.pixels.run_masks import RunMask
from saltrust.analysis.pixels.segmentation import otsu_threshold
from saltrust.analysis.pixels.upsampling import Arithmetic, bilinear_map, is_finite
from saltrust.analysis.scores.pass_workers import executor
from saltrust.analysis.stored.annotations import Annotations, read_annotations
from saltrust.cache.schema import Status
from saltrust.cache.scores import read_scores, scores_key, write_scores
from saltrust.cache.store import open_cubes
from saltrust.choices import Definition, Resolution
from saltrust.errors import UsageError

#: Raised when the same cubes would give other numbers.
PASS_VERSION = 1
TOPIC = "localization"

#: Images that a worker is handed at once.
_BLOCK = 8

MapKey = tuple[int, int, int, int]


class MapCounts(NamedTuple):
    """What the pass finds in one map.

    Attributes
    ----------
    outcome : int
        A :class:`saltrust.cache.schema.Status`: OK, FLAT or NONFINITE.
    threshold : int
        Otsu's, on 0..255; -1 where the map is not usable, as all that follows but counts.
    peak_y, peak_x, n_peak : int
        First maximum in row order, and the number of pixels that share it.
    area : int
        Pixels of the segmentation by Otsu's threshold.
    total : ndarray of int32, shape (bins,)
    shared : ndarray of int32, shape (readers,)
        Pixels of that segmentation inside the mask of each reference reader.
    covered : ndarray of int8, shape (readers,)
        Whether the mask of the reader holds the peak.
    inside : ndarray of int32, shape (readers, bins)
    """

    outcome: int
    threshold: int
    peak_y: int
    peak_x: int
    n_peak: int
    area: int
    total: npt.NDArray[np.int32]
    shared: npt.NDArray[np.int32]
    covered: npt.NDArray[np.int8]
    inside: npt.NDArray[np.int32]


_PER_MAP = ("outcome", "threshold", "peak_y", "peak_x", "n_peak", "area", "total")
_PER_READER = ("shared", "covered", "inside")
#: Of the fields that are not int32.
_DTYPES = {"outcome": "uint8", "threshold": "int16", "covered": "int8"}


@dataclass(frozen=True)
class PassOptions:
    """What the numbers of a pass depend on, besides the cubes.

    Attributes
    ----------
    resolution : {"native", "grid"}
    definition : {"default", "peer"}
    thresholds : tuple of float
        At which the histograms are exact, beside the standard ones.
    """

    resolution: Resolution
    definition: Definition
    thresholds: tuple[float, ...] = ()

    def made_from(self) -> dict[str, Any]:
        """The facts that the key of kept scores is a digest of."""
        return {"pass": PASS_VERSION, "resolution": self.resolution,
                "definition": self.definition,
                "thresholds": list(levels_for(self.thresholds).thresholds)}


@dataclass(frozen=True)
class PassCounts:
    """What the pass found in some maps, in their order.

    Attributes
    ----------
    levels : Levels
    readers : list of str
        The reference readers.
    found : dict of str to ndarray
        One array per field of :class:`MapCounts`, shape (maps, ...).
    computed, kept : int
        Maps that were computed now, and that had been kept in the store.
    """

    levels: Levels
    readers: list[str]
    found: dict[str, npt.NDArray[Any]]
    computed: int
    kept: int


def count_map(values: npt.NDArray[np.float32], size: tuple[int, int], definition: Definition,
              levels: Levels, masks: Sequence[RunMask | None]) -> MapCounts:
    """Pass over one map.

    Parameters
    ----------
    values : ndarray of float32, shape (rows, columns)
        As stored.
    size : (int, int)
        Height and width of the masks.
    definition : {"default", "peer"}
        ``"peer"``: rounding of the released pipeline, and contours filled.
    levels : Levels
    masks : sequence of (RunMask or None)
        Of each reference reader; None where the reader did not annotate.

    Returns
    -------
    MapCounts
    """
    if not is_finite(values):
        return _unusable(Status.NONFINITE, levels, len(masks))
    arithmetic: Arithmetic = "torch" if definition == "peer" else "lerp"
    heatmap = bilinear_map(values, *size, arithmetic)
    peak, low = heatmap.peak(), heatmap.minimum()
    if low == peak.value:
        return _unusable(Status.FLAT, levels, len(masks))
    known = [(r, mask) for r, mask in enumerate(masks) if mask is not None and len(mask.bounds)]
    counts = count_levels(heatmap, low, peak.value, levels, [mask for _, mask in known])
    threshold = otsu_threshold(levels.of_level(counts.total))
    inside = np.zeros((len(masks), levels.n), dtype=np.int32)
    shared, covered = np.zeros(len(masks), dtype=np.int32), np.zeros(len(masks), dtype=np.int8)
    above = slice(int(levels.first[threshold + 1]), None)
    area = int(counts.total[above].sum())
    filled = None
    if definition == "peer":
        filled = filled_above(heatmap, low, peak.value, threshold)
        area = filled.area
    for row, (r, mask) in zip(counts.inside, known, strict=True):
        inside[r] = row
        shared[r] = filled.shared_with(mask) if filled is not None else row[above].sum()
        covered[r] = mask.covers(peak.row, peak.column)
    return MapCounts(Status.OK, threshold, peak.row, peak.column, peak.n, area,
                     counts.total.astype(np.int32), shared, covered, inside)


def _unusable(outcome: Status, levels: Levels, readers: int) -> MapCounts:
    return MapCounts(outcome, -1, -1, -1, -1, 0, np.zeros(levels.n, dtype=np.int32),
                     np.zeros(readers, dtype=np.int32), np.zeros(readers, dtype=np.int8),
                     np.zeros((readers, levels.n), dtype=np.int32))


def reference_positions(annotations: Annotations) -> list[int]:
    """Positions of all readers with the role reference."""
    return [r for r, role in enumerate(annotations.roles) if role == "reference"]


def run_pass(cubes: xr.DataTree, wanted: Sequence[MapKey], options: PassOptions, *,
             keep: bool = False, workers: int = 1, scheduler: str | None = None,
             progress: bool = False) -> PassCounts:
    """Pass over maps, or take what was kept of them.

    Parameters
    ----------
    cubes : xarray.DataTree
    wanted : sequence of (image, finding, explainer, model)
        Positions in the cubes, in ascending order.
    options : PassOptions
    keep : bool
        Whether to read and write ``/scores`` of the store that the cubes were opened from.
        Only for cubes as they were opened: what was changed in memory is not seen by it.
    workers : int
        Processes.
    scheduler : str, optional
        Address of a Dask scheduler whose workers see the same store, in the place of processes.
    progress : bool
        Show a bar on stderr.

    Returns
    -------
    PassCounts

    Raises
    ------
    UsageError
        If workers are asked for cubes that were not opened from a store, or the scheduler
        cannot be reached.
    """
    levels = levels_for(options.thresholds)
    names = _names(cubes)
    source = cubes.attrs.get("source")
    made_from = options.made_from()
    key = scores_key({str(name): value for name, value in cubes.attrs.items()}, made_from)
    kept = read_scores(source, TOPIC, key) if keep and source else None
    held = _rows_of(kept, names) if kept is not None else {}
    missing = [place for place in wanted if place not in held]
    reference = cubes["reference"].to_dataset()
    roles = ([str(role) for role in reference["reader_role"].values]
             if "reader_role" in reference.variables else None)
    readers = [str(name) for k, name in enumerate(reference["reader"].values)
               if roles is None or roles[k] == "reference"]
    new = _compute(cubes, missing, options, workers, scheduler, progress)
    if kept is not None and len(held):
        stored = {name: kept[name].values for name in (*_PER_MAP, *_PER_READER)}
        new = {name: np.concatenate([stored[name], new[name]]) for name in new} if missing \
            else stored
        labels = {place: row for row, place in enumerate([*held, *missing])}
    else:
        labels = {place: row for row, place in enumerate(missing)}
    if keep and source and missing:
        write_scores(source, TOPIC, key, _dataset(new, list(labels), names, readers, levels),
                     made_from)
    order = np.array([labels[place] for place in wanted], dtype=np.int64)
    if not np.array_equal(order, np.arange(len(labels))):
        new = {name: array[order] for name, array in new.items()}
    return PassCounts(levels, readers, new, len(missing), len(wanted) - len(missing))


_DIMS = ("image", "finding", "explainer", "model")


def _names(cubes: xr.DataTree) -> dict[str, list[str]]:
    saliency = cubes["saliency"].to_dataset()
    return {dim: [str(name) for name in saliency[dim].values] for dim in _DIMS}


def _rows_of(kept: xr.Dataset, names: dict[str, list[str]]) -> dict[MapKey, int]:
    """Row of every kept map; empty where its labels are not those of the cubes."""
    place = {dim: {name: k for k, name in enumerate(labels)} for dim, labels in names.items()}
    columns = [kept[f"map_{dim}"].values for dim in _DIMS]
    rows: dict[MapKey, int] = {}
    for row, labels in enumerate(zip(*columns, strict=True)):
        try:
            i, f, e, m = (place[dim][str(label)] for dim, label in zip(_DIMS, labels, strict=True))
        except KeyError:
            return {}
        rows[i, f, e, m] = row
    return rows


def _dataset(found: dict[str, npt.NDArray[Any]], places: list[MapKey],
             names: dict[str, list[str]], readers: list[str], levels: Levels) -> xr.Dataset:
    dims = {"total": ("map", "level"), "inside": ("map", "reader", "level"),
            "shared": ("map", "reader"), "covered": ("map", "reader")}
    variables: dict[str, Any] = {name: (dims.get(name, ("map",)), array)
                                 for name, array in found.items()}
    for axis, dim in enumerate(_DIMS):
        variables[f"map_{dim}"] = ("map", np.array([names[dim][place[axis]] for place in places],
                                                   dtype=object))
    variables["map_reader"] = ("reader", np.array(readers, dtype=object))
    variables["cut"] = ("level", levels.cuts)
    return xr.Dataset(variables)


def _compute(cubes: xr.DataTree, missing: Sequence[MapKey], options: PassOptions, workers: int,
             scheduler: str | None, progress: bool) -> dict[str, npt.NDArray[Any]]:
    of_image: dict[int, list[tuple[int, int, int]]] = {}
    for image, *rest in missing:
        of_image.setdefault(image, []).append((rest[0], rest[1], rest[2]))
    jobs = list(of_image.items())
    blocks = [jobs[k:k + _BLOCK] for k in range(0, len(jobs), _BLOCK)]
    if not blocks:
        return {}
    parts: list[dict[str, npt.NDArray[Any]]] = []
    with tqdm(total=len(jobs), desc="localization", unit="image",
              disable=None if progress else True) as bar, \
            _blocks_done(cubes, blocks, options, workers, scheduler) as done:
        for block, part in zip(blocks, done, strict=True):
            parts.append(part)
            bar.update(len(block))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


_Block = Sequence[tuple[int, Sequence[tuple[int, int, int]]]]


@contextmanager
def _blocks_done(cubes: xr.DataTree, blocks: Sequence[_Block], options: PassOptions,
                 workers: int, scheduler: str | None
                 ) -> Iterator[Iterable[dict[str, npt.NDArray[Any]]]]:
    if scheduler is None and (workers == 1 or len(blocks) == 1):
        reader = _Reader(cubes, options)
        yield (reader.block(block) for block in blocks)
        return
    source = cubes.attrs.get("source")
    if not source:
        raise UsageError("several workers need cubes that were opened from a store; leave workers "
                         "out for cubes in memory")
    with executor(workers, scheduler) as pool:
        yield pool.map(_block_of_store, [str(source)] * len(blocks), blocks,
                           [options] * len(blocks))


def _block_of_store(source: str, block: _Block, options: PassOptions
                    ) -> dict[str, npt.NDArray[Any]]:
    return _reader_of_store(source, options).block(block)


@lru_cache(maxsize=2)
def _reader_of_store(source: str, options: PassOptions) -> _Reader:
    return _Reader(open_cubes(source), options)


class _Reader:
    """Passes over blocks of images of one study; holds what they share."""

    def __init__(self, cubes: xr.DataTree, options: PassOptions) -> None:
        self._options = options
        self._levels = levels_for(options.thresholds)
        self._annotations = read_annotations(cubes, resolution=options.resolution)
        self._references = reference_positions(self._annotations)
        saliency = cubes["saliency"].to_dataset()
        self._heatmap = saliency["heatmap"].transpose(*_DIMS, "y", "x")
        self._status = saliency["status"].transpose(*_DIMS)

    def block(self, block: _Block) -> dict[str, npt.NDArray[Any]]:
        """Fields of all maps of a block, stacked."""
        found = [counts for image, maps in block for counts in self._image(image, maps)]
        return {name: np.array([getattr(counts, name) for counts in found],
                               dtype=_DTYPES.get(name, "int32"))
                for name in MapCounts._fields}

    def _image(self, image: int, maps: Sequence[tuple[int, int, int]]) -> list[MapCounts]:
        status = self._status.isel(image=image).values
        planes = self._planes(image, maps)
        masks: dict[int, list[RunMask | None]] = {}
        found = []
        for place in maps:
            finding = place[0]
            if finding not in masks:
                masks[finding] = [self._annotations.runs(image, finding, reader)
                                  if self._annotations.annotated[image, finding, reader] else None
                                  for reader in self._references]
            known = Status(status[place])
            found.append(
                count_map(planes[place], self._annotations.size(image), self._options.definition,
                          self._levels, masks[finding]) if known == Status.OK
                else _unusable(known, self._levels, len(self._references)))
        return found

    def _planes(self, image: int, maps: Sequence[tuple[int, int, int]]
                ) -> dict[tuple[int, int, int], npt.NDArray[np.float32]]:
        of_pair: dict[tuple[int, int], list[int]] = {}
        for finding, e, m in maps:
            of_pair.setdefault((e, m), []).append(finding)
        planes = {}
        for (e, m), findings in of_pair.items():
            low, high = min(findings), max(findings) + 1
            # One slice of a shard is read several times faster than a list of findings.
            values = self._heatmap.isel(image=image, finding=slice(low, high), explainer=e,
                                        model=m).values
            planes.update({(f, e, m): values[f - low] for f in findings})
        return planes
