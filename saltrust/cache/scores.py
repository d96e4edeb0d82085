"""What analyses found in the pixels, kept in the store at ``/scores/<topic>/<key>``.

The key is a digest of everything the content was made from, so that another definition, or a
store that was generated again, never meets old numbers.  A group is written beside the store
and renamed into it: it is there whole or not at all.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr
import zarr.errors

from saltrust.cache.guarded import open_stored
from saltrust.cache.identity import run_of
from saltrust.cache.replacing import exchange
from saltrust.cache.schema import SCORES
from saltrust.cache.store import root_attributes
from saltrust.errors import DataError
from saltrust.processes import Process, marked

_log = logging.getLogger(__name__)

#: Attribute that holds the digest of what was written.
_DIGEST = "sha256"
#: What another machine was writing so long ago is not being written any more.
_SECONDS_OF_OTHERS = 24 * 3600
#: How often scores are put in their place anew when others do the same.
_TRIES = 20


@dataclass(frozen=True)
class ScoreStore:
    """The store that cubes were opened from, as a place for scores.

    Attributes
    ----------
    source : Path
    attributes : mapping
        Root attributes of the store.
    keep : bool
        Whether scores are looked up and kept at all.
    """

    source: Path
    attributes: Mapping[str, Any]
    keep: bool

    def holds(self, group: str, name: str) -> bool:
        """Whether a variable is stored."""
        return (self.source / group / name / "zarr.json").is_file()

    def labels(self, group: str, dims: Sequence[str]) -> dict[str, list[str]]:
        """Labels along some dimensions of a stored group, without opening the cubes.

        Raises
        ------
        DataError
            If they cannot be read.
        """
        stored = {dim: self.values(group, dim) for dim in dims}
        return {dim: [] if values is None else [str(label) for label in values]
                for dim, values in stored.items()}

    def values(self, group: str, name: str, image: int | None = None
               ) -> npt.NDArray[Any] | None:
        """A small stored variable, without opening the cubes; None where it is not stored.

        Parameters
        ----------
        group, name : str
        image : int, optional
            Only what is of the image at this position.

        Raises
        ------
        DataError
            If it cannot be read.
        """
        if not self.holds(group, name):
            return None
        return np.asarray(open_stored(self.source, f"{group}/{name}")[
            slice(None) if image is None else image])

    def read(self, topic: str, made_from: Mapping[str, Any]) -> xr.Dataset | None:
        """What is kept of a topic, made from just this (:func:`read_scores`)."""
        if not self.keep:
            return None
        return read_scores(self.source, topic, scores_key(self.attributes, made_from))

    def write(self, topic: str, made_from: Mapping[str, Any], scores: xr.Dataset) -> None:
        """Keep scores in the place of those made from the same (:func:`write_scores`)."""
        if self.keep:
            key = scores_key(self.attributes, made_from)
            write_scores(self.source, topic, key, scores, made_from)


def score_store(cubes: xr.DataTree, *, keep: bool) -> ScoreStore | None:
    """Where scores of these cubes are kept.

    Parameters
    ----------
    cubes : xarray.DataTree
    keep : bool
        Whether scores are looked up and kept at all.

    Returns
    -------
    ScoreStore or None
        None for cubes that were not opened from a store, or whose store is another by now.
    """
    source = cubes.attrs.get("source")
    if not source or not (Path(str(source)) / "zarr.json").is_file():
        return None
    attributes = root_attributes(str(source))
    if run_of(attributes) != run_of(cubes.attrs):
        return None
    if keep:
        sweep_leftovers(Path(str(source)))
    return ScoreStore(Path(str(source)), attributes, keep)


def scores_key(attributes: Mapping[str, Any], made_from: Mapping[str, Any]) -> str:
    """Digest of what scores are made from.

    Parameters
    ----------
    attributes : mapping
        Root attributes of the store; its identity and its run count, of a store of versions
        that knew no runs the time it was finished.
    made_from : mapping
        Definitions and options, as JSON values.

    Returns
    -------
    str
        16 hexadecimal digits.

    Examples
    --------
    >>> scores_key({"finished": "today"}, {"definition": "peer"}) == scores_key(
    ...     {"finished": "tomorrow"}, {"definition": "peer"})
    False
    """
    run = "run_id" if "run_id" in attributes else "finished"
    facts = {"store": {name: attributes.get(name) for name in (run, "identity")},
             "made_from": made_from}
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_scores(store: str | Path, topic: str, key: str) -> xr.Dataset | None:
    """Read what was kept, into memory.

    Returns
    -------
    xarray.Dataset or None
        None where nothing is kept under this key, or where it cannot be read or is not what
        was written, which is said.
    """
    place = Path(store) / SCORES / topic / key
    if not (place / "zarr.json").is_file():
        return None
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*consolidated.*")
            # What lost its metadata is found missing by the digest.
            warnings.filterwarnings("ignore", message=".*not recognized as a component.*")
            kept = xr.open_zarr(place, consolidated=False, chunks=None).load()
    except Exception as error:  # noqa: BLE001 - of damaged files, whatever a codec likes
        _log.warning("the scores kept at %s cannot be read (%s); they are computed again", place,
                     type(error).__name__)
        return None
    if kept.attrs.get(_DIGEST) != _digest(kept):
        # Zarr reads a lost chunk as zeros.
        _log.warning("the scores kept at %s are not what was written there; they are computed "
                     "again", place)
        return None
    return kept


def write_scores(store: str | Path, topic: str, key: str, scores: xr.Dataset,
                 made_from: Mapping[str, Any]) -> bool:
    """Keep scores in the store, in the place of those under the same key.

    Parameters
    ----------
    store : path
        Folder of a finished store.
    topic, key : str
        Names of the groups.
    scores : xarray.Dataset
    made_from : mapping
        Kept as the attribute ``made_from``, for people who look.

    Returns
    -------
    bool
        False where the store cannot be written to, which is said and is no error.

    Raises
    ------
    DataError
        If ``store`` is not a store.
    """
    store = Path(store)
    if not (store / "zarr.json").is_file():
        raise DataError(f"{store} is not a Zarr store, so no scores can be kept in it")
    try:
        if not os.access(store, os.W_OK):
            raise PermissionError(errno.EACCES, "it is read-only", str(store))
        with _folder_beside(store) as aside:
            facts = {"made_from": json.dumps(made_from, sort_keys=True, default=str),
                     _DIGEST: _digest(scores)}
            _write(scores.assign_attrs(facts), aside / key)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*consolidated.*")
                for group in (SCORES, f"{SCORES}/{topic}"):
                    _make_group(store / group)
            _put(aside / key, store / SCORES / topic / key, aside / "replaced")
    except OSError as error:
        _log.warning("%s cannot be written to (%s): what was found in the pixels is not kept, and "
                     "will be computed again next time", store, error.strerror or error)
        return False
    return True


@contextmanager
def _folder_beside(store: Path) -> Iterator[Path]:
    """A folder that is removed at the end; its name says who makes scores in it."""
    folder = Path(tempfile.mkdtemp(prefix=f".{store.name}.{SCORES}.{Process.current().mark}.",
                                   dir=store.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put(made: Path, place: Path, replaced: Path) -> None:
    """Put a folder in its place, or in that of one that is there, which another may do too."""
    for _ in range(_TRIES):
        try:
            if place.exists():
                if exchange(made, place):
                    return
                place.rename(replaced)
            made.rename(place)
            return
        except OSError as error:
            # Somebody else has put or taken something meanwhile.
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
                raise
            shutil.rmtree(replaced, ignore_errors=True)
    raise OSError(errno.EBUSY, "others keep scores there all the time", str(place))


def _make_group(place: Path) -> None:
    """Make a group, in the place of one whose metadata cannot be read."""
    metadata = place / "zarr.json"
    try:
        if json.loads(metadata.read_text(encoding="utf-8")).get("node_type") == "group":
            return
    except (OSError, ValueError, AttributeError):
        metadata.unlink(missing_ok=True)
    # Another analysis may make it at the same time.
    with suppress(zarr.errors.ContainsGroupError):
        zarr.open_group(place, mode="a")


def _digest(scores: xr.Dataset) -> str:
    """Digest of all values; text counts as text, however it is held."""
    digest = hashlib.sha256()
    for name in sorted(map(str, scores.variables)):
        values = np.asarray(scores[name].values)
        digest.update(f"{name} {scores[name].dims} {values.shape}".encode())
        if values.dtype.kind in "OUT":
            digest.update("\0".join(map(str, values.ravel().tolist())).encode())
        else:
            digest.update(values.dtype.str.encode() + np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def _write(scores: xr.Dataset, place: Path) -> None:
    text = np.dtypes.StringDType()
    converted = scores.assign({name: array.astype(text) for name, array in scores.data_vars.items()
                              if array.dtype.kind in "UO"})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*consolidated.*")
        converted.to_zarr(place, mode="w", consolidated=False, zarr_format=3)


def sweep_leftovers(store: Path) -> None:
    """Remove folders beside a store in which processes that have ended were making scores.

    Parameters
    ----------
    store : pathlib.Path

    Notes
    -----
    Of earlier versions, whose folders do not name a process, none is being written to while this
    one is at work; of other machines, those of yesterday are removed.
    """
    name = re.compile(rf"\.{re.escape(store.name)}\.{SCORES}\."
                      r"(?:(\d+-\w+-[0-9a-f]{8})\.)?\w{8}")
    try:
        siblings = list(store.parent.iterdir())
    except OSError:
        return
    for folder in siblings:
        match = name.fullmatch(folder.name)
        if not match or folder.is_symlink() or not folder.is_dir():
            continue
        runs = False if match[1] is None else marked(match[1])
        if runs is None:
            runs = _age(folder) < _SECONDS_OF_OTHERS
        if not runs:
            shutil.rmtree(folder, ignore_errors=True)


def _age(folder: Path) -> float:
    try:
        return time.time() - folder.stat().st_mtime
    except OSError:
        return 0.0
