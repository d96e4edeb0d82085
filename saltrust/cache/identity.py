"""Whether a store is still the one that was opened: what is computed of two is of neither."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import xarray as xr
from zarr.storage import LocalStore

from saltrust.errors import DataError

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

P = ParamSpec("P")
T = TypeVar("T")


def run_of(attributes: Mapping[Any, Any]) -> str:
    """What tells a store from one that took its place: its run, of older ones when they ended."""
    return str(attributes.get("run_id") or attributes.get("finished"))


def of_one_store(analysis: Callable[P, T]) -> Callable[P, T]:
    """An analysis that is an error where its store was replaced while it ran.

    Parameters
    ----------
    analysis : callable
        Its first argument, or the one named ``cubes``, are cubes or the path of a store; of
        anything else nothing is asked.
    """
    @functools.wraps(analysis)
    def checked(*arguments: P.args, **options: P.kwargs) -> T:
        cubes = arguments[0] if arguments else options.get("cubes")
        noted = _noted(cubes)
        result = analysis(*arguments, **options)
        if noted is not None:
            require_run(*noted)
        return result

    return checked


def _noted(cubes: Any) -> tuple[Path, str] | None:
    """Place and run of the store that cubes, or a path, are of; None where there is none.

    Cubes that were made or changed in memory may name a store that is gone, or another: what is
    lazy in them is watched when it is read.
    """
    if isinstance(cubes, xr.DataTree):
        place = Path(str(cubes.attrs.get("source", "")))
        run = _run_at(place) if place.is_absolute() else None
        return (place, run) if run is not None and run == run_of(cubes.attrs) else None
    if not isinstance(cubes, str | Path):
        return None
    run = _run_at(Path(cubes))
    return None if run is None else (Path(cubes).absolute(), run)


class WatchedStore(LocalStore):
    """A store that is read only while it is the one that was opened.

    Another takes the place of a store in one step, so that what was read before a look at the
    root is of the store that the root is of.

    Parameters
    ----------
    root : path
    read_only : bool

    Attributes
    ----------
    run : str
        Of the store, as :func:`run_of`.
    """

    def __init__(self, root: Path | str, *, read_only: bool = False) -> None:
        super().__init__(root, read_only=read_only)
        self._seen = self._signature()
        self.run = str(_run_at(self.root))

    async def get(self, key: str, prototype: BufferPrototype | None = None,
                  byte_range: ByteRequest | None = None) -> Buffer | None:
        """As of any store."""
        value = await super().get(key, prototype, byte_range)
        self.require_same()
        return value

    def get_sync(self, key: str, *, prototype: BufferPrototype | None = None,
                 byte_range: ByteRequest | None = None) -> Buffer | None:
        """As of any store."""
        value = super().get_sync(key, prototype=prototype, byte_range=byte_range)
        self.require_same()
        return value

    async def get_partial_values(
            self, prototype: BufferPrototype,
            key_ranges: Iterable[tuple[str, ByteRequest | None]]) -> list[Buffer | None]:
        """As of any store."""
        values = await super().get_partial_values(prototype, key_ranges)
        self.require_same()
        return values

    def require_same(self) -> None:
        """Refuse to go on where the store was replaced since it was opened, with a DataError."""
        now = self._signature()
        if now is None or now != self._seen:
            require_run(self.root, self.run)
            self._seen = now

    def _signature(self) -> tuple[int, ...] | None:
        """Changes whenever the root is written or replaced; cheap to ask."""
        try:
            state = (self.root / "zarr.json").stat()
        except OSError:
            return None
        return state.st_dev, state.st_ino, state.st_mtime_ns, state.st_size


def require_run(path: Path, run: str) -> None:
    """Refuse a store at ``path`` that is not of this run (:func:`run_of`), with a DataError."""
    if _run_at(path) != run:
        raise replaced(path)


def replaced(path: Path) -> DataError:
    """What is said of a store that is another by now."""
    return DataError(f"{path} was replaced by another store, or removed, while it was in use; "
                     "nothing that was computed is of one store: open it again, or repeat the "
                     "command")


def _run_at(path: Path) -> str | None:
    """The run of the store at a path; None where its root cannot be read."""
    try:
        attributes = json.loads((path / "zarr.json").read_text(encoding="utf-8"))["attributes"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return run_of(attributes) if isinstance(attributes, dict) else None
