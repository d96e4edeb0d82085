"""Going through all that a store holds, and naming what is not as it was written."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from saltrust.cache.checksums import (
    Forbidden,
    faults,
    grid_of,
    has_pixels,
    read_seal,
    stored_arrays,
    stored_tails,
    tail_of,
    unreadable,
)
from saltrust.cache.flatness import is_flat
from saltrust.cache.guarded import labels_along, open_stored
from saltrust.cache.plausibility import implausible
from saltrust.cache.schema import CHECKSUMS, SCORES, RadiographStatus, Status
from saltrust.cache.scores import read_scores
from saltrust.cache.store import open_cubes, root_attributes
from saltrust.cache.validation import problems
from saltrust.errors import DataError, SaltrustError, UsageError

Labels = dict[str, str]

#: Variables with pixels, and which variable says that they are there.
STATED_BY = {"radiograph/pixels": "radiograph/stored", "reference/mask": "reference/annotated",
             "reference/gaze": "reference/gaze_recorded"}


@dataclass(frozen=True)
class Fault:
    """One thing that is not as it was written, or that contradicts another.

    Attributes
    ----------
    variable : str
        Path in the store, such as ``saliency/heatmap``; a document, such as ``zarr.json``; or
        empty where it is of the store as a whole.
    what : str
        What is wrong with it.
    labels : dict of str to str
        Of the part, by dimension, as far as it has any: ``image``, ``finding``, ...
    place : tuple of int
        Of the chunk file, where it is one chunk with pixels.
    """

    variable: str
    what: str
    labels: Labels = field(default_factory=dict)
    place: tuple[int, ...] = ()

    def __str__(self) -> str:
        named = ", ".join(filter(None, (self.variable, *(
            f"{dim} {label}" for dim, label in self.labels.items()))))
        return f"{named}: {self.what}" if named else self.what


#: Where nobody renamed it: a repair that was killed, or a user who did.
UNFINISHED = Fault("zarr.json", "the store is unfinished")


@dataclass(frozen=True)
class Verification:
    """What was gone through, and what is wrong.

    Attributes
    ----------
    path : pathlib.Path
    faults : tuple of Fault
        Empty where all is well.
    sealed : bool
        Whether the store has checksums at all.
    chunks : int
        Chunk files that were read.
    left_out : int
        Radiographs that the store says were left out because they cannot be read, which is no
        fault of the store.
    """

    path: Path
    faults: tuple[Fault, ...]
    sealed: bool
    chunks: int
    left_out: int = 0


def verify(path: str | Path, *, progress: bool = False) -> Verification:
    """Read a whole store and compare it with its checksums, its statuses and the schema.

    Parameters
    ----------
    path : path
        Of a finished store; it may be damaged in any way.
    progress : bool
        Whether a bar is shown on stderr.

    Returns
    -------
    Verification

    Raises
    ------
    UsageError
        If there is nothing at the path.
    DataError
        If it is a store of a newer saltrust, or a part of it may not be read: then nothing is
        known of it.
    """
    try:
        return _gone_through(Path(path), progress)
    except PermissionError as error:
        raise unreadable(Path(error.filename or path), error) from error


def _gone_through(path: Path, progress: bool) -> Verification:
    seen: list[Fault] = []
    attributes: dict[str, Any] = {}
    try:
        attributes = root_attributes(path)
    except DataError as error:
        if "update saltrust" in str(error):
            raise
        seen.append(Fault("zarr.json", _end(error, path)))
    if attributes and not attributes.get("complete"):
        seen.append(UNFINISHED)
    digests = None
    try:
        digests = read_seal(path, attributes) if attributes else None
    except DataError as error:
        seen.append(Fault(CHECKSUMS, _end(error, path)))
    sealed = digests is not None or (path / CHECKSUMS).is_dir()
    for text in faults(path, digests) if digests is not None else ():
        name, _, what = text.partition(" is ")
        seen.append(Fault(name, f"it is {what}"))
    unreadable_documents: list[str] = []
    arrays = dict(stored_arrays(path, unreadable_documents))
    seen += [Fault(name, "it cannot be read") for name in unreadable_documents
             if not any(fault.variable == name for fault in seen)]
    for name, what in list(implausible(path, arrays)):
        seen.append(Fault(name, f"it {what}"))
        del arrays[name]
    chunks = 0
    with _quiet(), tqdm(total=len(arrays), desc="verify", unit="variable",
                        disable=None if progress else True) as bar:
        for name, metadata in arrays.items():
            reader = _Reader(path, name, metadata)
            try:
                seen += reader.faults()
            except (SaltrustError, PermissionError):
                raise
            except Exception as error:  # noqa: BLE001 - one boundary: what contradicts itself
                seen.append(Fault(name, "it cannot be gone through "
                                        f"({str(error) or type(error).__name__})"))
            chunks += reader.chunks
            bar.update()
        seen += _scores(path)
    # Where something is damaged, what does not fit is no news.
    if not seen:
        seen += _misfits(path)
    return Verification(path, tuple(_unique(seen)), sealed, chunks,
                        0 if seen else _count_left_out(path))


def _count_left_out(path: Path) -> int:
    if not (path / "radiograph" / "status" / "zarr.json").is_file():
        return 0
    return int((np.asarray(open_stored(path, "radiograph/status")[...])
                == RadiographStatus.LEFT_OUT).sum())


class _Reader:
    """Goes through one array, chunk by chunk."""

    def __init__(self, path: Path, name: str, metadata: dict[str, Any]) -> None:
        self._path, self._name, self._metadata = path, name, metadata
        self._dims = [str(dim) for dim in metadata.get("dimension_names") or []]
        self._opened: Any = None
        self.chunks = 0

    def faults(self) -> Iterator[Fault]:
        if not has_pixels(self._metadata):
            yield from self._small()
            return
        try:
            grid = grid_of(self._metadata)
            tails = stored_tails(self._path, self._name)
            stated = _stated(self._path, self._name)
        except DataError as error:
            yield Fault(self._name, _end(error, self._path))
            return
        for place in np.ndindex(*grid):
            yield from self._chunk(place, None if tails is None else int(tails[place][0]),
                                   stated)

    def _read(self, region: Any) -> npt.NDArray[Any]:
        """A part of the array, which is opened once."""
        if self._opened is None:
            self._opened = open_stored(self._path, self._name)
        return np.asarray(self._opened[region])

    def _small(self) -> Iterator[Fault]:
        self.chunks += 1
        try:
            self._read(...)
        except DataError as error:
            yield Fault(self._name, _end(error, self._path))

    def _chunk(self, place: tuple[int, ...], tail: int | None, stated: _Stated) -> Iterator[Fault]:
        """One chunk file: all findings of an image, or one plane."""
        file = self._path / self._name / "c" / "/".join(map(str, place))
        sizes = self._metadata["chunk_grid"]["configuration"]["chunk_shape"]
        region = tuple(slice(at * size, min((at + 1) * size, whole)) for at, size, whole in zip(
            place, sizes, self._metadata["shape"], strict=True))
        labels = self._labels(place, sizes)
        exists = file.is_file()
        if tail is not None and (exists != bool(tail) or (
                exists and tail_of(_last_bytes(file)) != tail)):
            yield Fault(self._name, "it is lost" if not exists else "it is not what was written",
                        labels, place)
            return
        if not exists and not stated.claims(region):
            return
        self.chunks += 1
        try:
            values = self._read(region)
        except DataError as error:
            yield from self._inner(region, labels, place, error)
            return
        for at, what in stated.contradictions(values, region):
            yield Fault(self._name, what, {**labels, **self._inner_labels(region, at)}, place)

    def _inner(self, region: tuple[slice, ...], labels: Labels, place: tuple[int, ...],
               error: DataError) -> Iterator[Fault]:
        """Which planes of a chunk file cannot be read; all of it where none can be told."""
        named = False
        leading = [range(part.start, part.stop) for part in region[:-2]]
        for at in np.ndindex(*(len(part) for part in leading)):
            index = tuple(part[k] for part, k in zip(leading, at, strict=True))
            try:
                self._read(index)
            except DataError as of_plane:
                named = True
                yield Fault(self._name, _end(of_plane, self._path),
                            {**labels, **self._inner_labels(region, at)}, place)
        if not named:
            yield Fault(self._name, _end(error, self._path), labels, place)

    def _labels(self, place: Sequence[int], sizes: Sequence[int]) -> Labels:
        """Labels of the dimensions along which the file holds one."""
        return {dim: _label(self._path, self._name, dim, at) for dim, at, size in
                zip(self._dims[:-2], place, sizes, strict=False) if size == 1}

    def _inner_labels(self, region: tuple[slice, ...], at: tuple[int, ...]) -> Labels:
        return {dim: _label(self._path, self._name, dim, part.start + k)
                for dim, part, k in zip(self._dims[:-2], region, at, strict=False)
                if part.stop - part.start > 1}


@dataclass(frozen=True)
class _Stated:
    """What other variables say of planes of pixels."""

    status: npt.NDArray[np.uint8] | None = None
    present: npt.NDArray[np.bool_] | None = None
    gaze: bool = False

    def claims(self, region: tuple[slice, ...]) -> bool:
        """Whether anything is said to lie in a region without a file."""
        if self.status is not None:
            return bool((self.status[region[:-2]] == Status.OK).any())
        # An empty mask has no file, and a black radiograph neither.
        return bool(self.gaze and self.present is not None and self.present[region[:-2]].any())

    def contradictions(self, values: npt.NDArray[Any], region: tuple[slice, ...]
                       ) -> Iterator[tuple[tuple[int, ...], str]]:
        """Place within the region and fault of every plane that is not what is said of it."""
        if self.status is None and not self.gaze:
            return
        with np.errstate(invalid="ignore"):
            finite = np.isfinite(values).all(axis=(-2, -1))
            flat = is_flat(*(np.where(finite, edge(values, axis=(-2, -1)), 0)
                             for edge in (np.min, np.max)))
        if self.status is None:
            assert self.present is not None
            wrong = self.present[region[:-2]] & ~finite
            yield from ((tuple(at), "gaze was recorded and the heatmap is missing or not finite")
                        for at in np.argwhere(wrong).tolist())
            return
        stated = self.status[region[:-2]]
        for status, is_so, what in (
                (Status.OK, finite & ~flat, "has status ok and is missing, flat or not finite"),
                (Status.FLAT, finite & flat, "has status flat and is not"),
                (Status.NONFINITE, ~finite, "has status nonfinite and is finite")):
            wrong = (stated == status) & ~is_so
            yield from ((tuple(at), what) for at in np.argwhere(wrong).tolist())


def _stated(path: Path, name: str) -> _Stated:
    group, _, variable = name.rpartition("/")
    if variable == "heatmap" and (path / group / "status" / "zarr.json").is_file():
        return _Stated(status=np.asarray(open_stored(path, f"{group}/status")[...]))
    by = STATED_BY.get(name)
    if by is None or not (path / by / "zarr.json").is_file():
        return _Stated()
    return _Stated(present=np.asarray(open_stored(path, by)[...]).astype(bool),
                   gaze=name == "reference/gaze")


def _scores(path: Path) -> Iterator[Fault]:
    """Kept scores, and groups of them, that are not what was written."""
    for group in (path / SCORES, *sorted((path / SCORES).glob("*"))):
        if group.is_dir() and not _is_group(group / "zarr.json"):
            yield Fault(str(group.relative_to(path)), "the group of kept scores cannot be read")
    for place in sorted((path / SCORES).glob("*/*")):
        topic, key = place.parts[-2:]
        if place.is_dir() and read_scores(path, topic, key) is None:
            yield Fault(f"{SCORES}/{topic}/{key}", "the kept scores are not what was written")


def _is_group(document: Path) -> bool:
    try:
        return bool(json.loads(document.read_text(encoding="utf-8"))["node_type"] == "group")
    except PermissionError:
        raise
    except Exception:  # noqa: BLE001 - whatever is there, it is no document of a group
        return False


def _misfits(path: Path) -> Iterator[Fault]:
    try:
        cubes = open_cubes(path)
    except (DataError, UsageError) as error:
        yield Fault("", _end(error, path))
        return
    for problem in problems(cubes):
        yield Fault("", problem)


def _label(path: Path, name: str, dim: str, at: int) -> str:
    labels = labels_along(path, name, dim)
    return labels[at] if at < len(labels) else str(at)


def _last_bytes(file: Path) -> bytes:
    with file.open("rb") as stream:
        stream.seek(0, 2)
        stream.seek(max(stream.tell() - 8, 0))
        return stream.read()


def _unique(seen: Sequence[Fault]) -> Iterator[Fault]:
    """Faults, each once; of a variable whose digest differs the chunks are named instead."""
    located = {fault.variable for fault in seen if fault.labels}
    texts: set[str] = set()
    for fault in seen:
        text = str(fault)
        if text in texts or (fault.variable in located and not fault.labels):
            continue
        texts.add(text)
        yield fault


def _end(error: Exception, path: Path) -> str:
    """What an error says beyond the store and the way out.

    Raises
    ------
    Forbidden
        Where that is the error: what may not be read is not wrong.
    """
    if isinstance(error, Forbidden):
        raise error
    text = str(error).partition("; ")[0]
    for beginning in (f"{path} is damaged: ", f"{path} "):
        text = text.removeprefix(beginning)
    return text.replace(f" of {path}", "")


@contextmanager
def _quiet() -> Iterator[None]:
    """What is logged of kept scores is said here as a fault."""
    logger = logging.getLogger("saltrust.cache.scores")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before
