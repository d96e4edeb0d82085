"""The one place where something stored is read: what goes wrong becomes a sentence that names it.

Arrays that are opened within :func:`guarded` decode through :class:`GuardedPipeline`, wherever
and whenever their values are asked for: in a command, in xarray, in a worker, under Dask.  Bytes
come from a :class:`SealedStore`, which knows how every chunk with pixels ends.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import zarr
from numcodecs import VLenUTF8, Zstd
from zarr.abc.store import OffsetByteRequest, SuffixByteRequest
from zarr.core.codec_pipeline import BatchedCodecPipeline
from zarr.registry import register_pipeline

from saltrust.cache.checksums import damaged, stored_tails, tail_of, tails_of, unreadable
from saltrust.cache.identity import WatchedStore
from saltrust.errors import DataError, SaltrustError

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

_PIPELINE = f"{__name__}.GuardedPipeline"
#: Between the path of an array and the places of its chunk.
_CHUNKS = "/c/"


class GuardedPipeline(BatchedCodecPipeline):
    """Zarr's own decoding, whose errors say which variable and image they are of."""

    async def read(self, batch_info: Iterable[Any], out: Any,
                   drop_axes: tuple[int, ...] = ()) -> None:
        """As of any pipeline.

        Raises
        ------
        DataError
            In the place of whatever a store, a codec or the memory raised.
        """
        batch = list(batch_info)
        try:
            await super().read(batch, out, drop_axes)
        except SaltrustError:
            raise
        except Exception as error:
            raise await self._named(batch, out, drop_axes, error) from error

    async def _named(self, batch: list[Any], out: Any, drop_axes: tuple[int, ...],
                     error: Exception) -> SaltrustError:
        """The error of the first chunk of a batch that cannot be read."""
        for item in batch:
            try:
                await super().read([item], out, drop_axes)
            except SaltrustError as of_item:
                return of_item
            except Exception as of_item:  # noqa: BLE001 - the boundary of reading
                place = item[0]
                root = getattr(place.store, "root", None)
                if root is None:
                    break
                return _of_chunk(Path(root), str(place.path), of_item)
        return DataError(f"a stored variable cannot be read ({_reason(error)}); try again")


register_pipeline(GuardedPipeline)


@contextmanager
def guarded() -> Iterator[None]:
    """Arrays that are opened here say in a sentence what goes wrong when they are read."""
    with zarr.config.set({"codec_pipeline.path": _PIPELINE}):
        yield


class SealedStore(WatchedStore):
    """A store that compares the end of every chunk with pixels with what was written.

    A chunk that is lost, or of another map, has a checksum that fits itself.

    Parameters
    ----------
    root : path
    read_only : bool
    """

    def __init__(self, root: Path | str, *, read_only: bool = False) -> None:
        super().__init__(root, read_only=read_only)
        self._tails: dict[str, npt.NDArray[np.uint32] | None] = {}

    async def get(self, key: str, prototype: BufferPrototype | None = None,
                  byte_range: ByteRequest | None = None) -> Buffer | None:
        """As of any store."""
        value = await super().get(key, prototype, byte_range)
        self._compare(key, value, byte_range)
        return value

    def get_sync(self, key: str, *, prototype: BufferPrototype | None = None,
                 byte_range: ByteRequest | None = None) -> Buffer | None:
        """As of any store."""
        value = super().get_sync(key, prototype=prototype, byte_range=byte_range)
        self._compare(key, value, byte_range)
        return value

    def __getstate__(self) -> dict[str, Any]:
        # A worker reads the few checksums that it needs.
        return {**self.__dict__, "_tails": {}}

    def _compare(self, key: str, value: Buffer | None, byte_range: ByteRequest | None) -> None:
        name, middle, place = key.partition(_CHUNKS)
        if not middle:
            return
        if name not in self._tails:
            self._tails[name] = stored_tails(Path(self.root), name)
        tails = self._tails[name]
        if tails is None:
            return
        expected = tails[tuple(int(part) for part in place.split("/"))].tolist()
        if value is None:
            if expected[0]:
                raise _of_chunk(Path(self.root), key, _Fault("it is lost"))
        elif not _is_as_expected(value, byte_range, expected):
            raise _of_chunk(Path(self.root), key, _Fault("it is not what was written"))


def _is_as_expected(value: Buffer, byte_range: ByteRequest | None, expected: list[int]) -> bool:
    """Whether what was read of a chunk file ends as it, or the chunk in it, was written."""
    content = value.as_numpy_array()
    if byte_range is None:
        return expected == tails_of(lambda start, stop: content[start:stop].tobytes(),
                                    len(content), len(expected) - 1)
    end = tail_of(content[-8:].tobytes())
    if isinstance(byte_range, SuffixByteRequest | OffsetByteRequest):
        return end == expected[0]
    # One chunk of a shard, whose index was read before.
    return end in expected[1:] or len(expected) == 1


def open_stored(folder: Path, name: str) -> zarr.Array[Any]:
    """One array of a store, without the cubes around it, read as guarded as they are.

    Parameters
    ----------
    folder : pathlib.Path
    name : str
        Such as ``reference/annotated``.

    Raises
    ------
    DataError
        If it cannot be opened.
    """
    try:
        with guarded():
            return zarr.open_array(SealedStore(folder, read_only=True), path=name, mode="r")
    except SaltrustError:
        raise
    except PermissionError as error:
        raise unreadable(folder / name, error) from error
    except Exception as error:
        raise damaged(folder, f"{name} cannot be opened ({_reason(error)})") from error


class _Fault(Exception):
    """A chunk that is not as it was written."""


def _of_chunk(root: Path, key: str, error: Exception) -> DataError:
    """The error of one chunk, by the labels of what it holds."""
    what = describe_chunk(root, key)
    if isinstance(error, OSError):
        reason = unreadable(root / key, error)
        return type(reason)(f"{what} cannot be read: {reason}")
    if isinstance(error, MemoryError):
        return DataError(f"{what} of {root} cannot be read: there is not enough memory, or the "
                         f"size it claims is damaged; `saltrust verify {root}` tells")
    return DataError(f"{what} of {root} is damaged ({_reason(error)}); `saltrust verify {root}` "
                     "names all that is, and with --repair `saltrust generate --resume` computes "
                     "it again")


def describe_chunk(root: Path, key: str) -> str:
    """What a chunk file holds, in words.

    Parameters
    ----------
    root : pathlib.Path
        Of the store.
    key : str
        Such as ``saliency/heatmap/c/3/0/1/0/0/0``.

    Returns
    -------
    str
        ``saliency/heatmap, image a, explainer grad``; with numbers where labels cannot be read.
    """
    name, _, place = key.partition(_CHUNKS)
    words = [name]
    try:
        metadata = json.loads((root / name / "zarr.json").read_text(encoding="utf-8"))
        places = [int(part) for part in place.split("/") if part]
        sizes = metadata["chunk_grid"]["configuration"]["chunk_shape"]
        for dim, at, chunk, size in zip(metadata["dimension_names"], places, sizes,
                                        metadata["shape"], strict=True):
            if chunk >= size > 1 or dim in {"y", "x", "instance", "corner", "fixation"}:
                continue
            first, last = at * chunk, min((at + 1) * chunk, size) - 1
            labels = labels_along(root, name, dim)
            one, other = (labels[k] if k < len(labels) else str(k) for k in (first, last))
            words.append(f"{dim} {one}" if first == last else f"{dim}s {one} to {other}")
    except Exception:  # noqa: BLE001 - what is damaged names itself as well as it can
        return f"{name} ({place})" if place else name
    return ", ".join(words)


@functools.lru_cache(maxsize=64)
def _labels_of(place: Path, _state: tuple[int, int]) -> tuple[str, ...]:
    metadata = json.loads((place / "zarr.json").read_text(encoding="utf-8"))
    if metadata["data_type"] != "string":
        return ()
    codecs = [codec["name"] for codec in metadata["codecs"]]
    content = (place / "c" / "0").read_bytes()
    if codecs[-1] == "crc32c":
        content = content[:-4]
    if "zstd" in codecs:
        content = Zstd().decode(content)
    return tuple(str(label) for label in VLenUTF8().decode(content))


def labels_along(root: Path, name: str, dim: str) -> tuple[str, ...]:
    """Labels of a dimension; empty where they cannot be read.

    Not through Zarr, in the midst of whose reading this is asked.

    Parameters
    ----------
    root : pathlib.Path
    name : str
        Of the array.
    dim : str
    """
    group = name.rpartition("/")[0]
    try:
        place = next(path for path in (root / group / dim, root / dim) if path.is_dir())
        state = (place / "c" / "0").stat()
        return _labels_of(place, (state.st_mtime_ns, state.st_size))
    except Exception:  # noqa: BLE001 - numbers stand for labels then
        return ()


def _reason(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
