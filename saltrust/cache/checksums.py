"""What a finished store is made of: digests of all of it, so that no damage passes for data.

A store is sealed when it is finished.  Its group ``/checksums`` says, in attributes, the digest
of every ``zarr.json`` and of every variable without pixels, which opening compares; and, in
one array per variable with pixels, the last four bytes of every chunk file and of every chunk in
it (the checksums of what they hold), or 0 where none was written, which reading compares.  The
root attribute ``sealed`` is the digest of its own attributes and of those.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import Crc32cCodec

from saltrust.cache.schema import CHECKSUMS, SCORES
from saltrust.errors import DataError

#: Attribute of the root with the digest of all.
SEALED = "sealed"
_DOCUMENT = "zarr.json"
#: Bytes at the end of a chunk that its content determines.
_TAIL = 4
#: What stands for a chunk whose end cannot be read, or is all zeros; 0 stands for none.
_NO_TAIL = 2**32 - 1
#: What the index at the end of a shard has of one chunk: where it begins, its length; all ones
#: where none was written.
_ENTRY = np.dtype("<u8")
_ABSENT = 2**64 - 1


class Forbidden(DataError):
    """A part may not be read: it may be whole, and nothing is known of it."""


def seal(folder: Path, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``/checksums`` of a store whose arrays are complete.

    Parameters
    ----------
    folder : pathlib.Path
        The store; a seal that it has is replaced.
    attributes : mapping
        Its root attributes, as they will be.

    Returns
    -------
    dict
        The attributes with :data:`SEALED`, to be written last.
    """
    group = zarr.open_group(folder, mode="r+").create_group(CHECKSUMS, overwrite=True)
    documents, variables = {}, {}
    for name, metadata in stored_arrays(folder):
        if has_pixels(metadata):
            tails = chunk_tails(
                folder / name, grid_of(metadata), chunks_within(metadata)).ravel()
            # In one piece and as it is, so that it can be read without Zarr (stored_tails).
            group.create_array(name, shape=tails.shape, chunks=tails.shape, dtype="uint32",
                               dimension_names=[f"chunk of {name}"],
                               compressors=[Crc32cCodec()], config={"write_empty_chunks": True}
                               )[:] = tails
        else:
            variables[name] = digest_of_files(folder / name)
    for document in _documents(folder):
        documents[document] = _digest((folder / document).read_bytes())
    # Last of all, as it has a digest of the arrays just made.
    for document in _documents(folder / CHECKSUMS):
        if document != _DOCUMENT:
            documents[f"{CHECKSUMS}/{document}"] = _digest(
                (folder / CHECKSUMS / document).read_bytes())
    group.attrs.put({"documents": documents, "variables": variables})
    return sealed_attributes(folder, attributes)


def sealed_attributes(folder: Path, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Root attributes of a sealed store with the digest that they and its checksums have.

    Parameters
    ----------
    folder : pathlib.Path
        Whose ``/checksums`` are right.
    attributes : mapping
        Plain JSON values.
    """
    facts = json.loads((folder / CHECKSUMS / _DOCUMENT).read_text(encoding="utf-8"))["attributes"]
    plain = json.loads(json.dumps({key: value for key, value in attributes.items()
                                   if key != SEALED}))
    return {**plain, SEALED: _digest_of_all(plain, facts)}


def read_seal(folder: Path, attributes: Mapping[str, Any]) -> dict[str, dict[str, str]] | None:
    """The digests of a store, themselves checked.

    Parameters
    ----------
    folder : pathlib.Path
    attributes : mapping
        Its root attributes.

    Returns
    -------
    dict or None
        ``documents`` and ``variables``, digests by path; None of a store that was never sealed.

    Raises
    ------
    DataError
        If the digests or the root attributes are not what was written.
    """
    metadata = folder / CHECKSUMS / _DOCUMENT
    try:
        if SEALED not in attributes and not metadata.is_file():
            return None
        facts = json.loads(metadata.read_text(encoding="utf-8"))["attributes"]
        plain = {key: value for key, value in attributes.items() if key != SEALED}
        intact = attributes.get(SEALED) == _digest_of_all(plain, facts)
        digests = {kind: {str(name): str(value) for name, value in facts[kind].items()}
                 for kind in ("documents", "variables")}
    except PermissionError as error:
        raise unreadable(metadata, error) from None
    except Exception as error:  # noqa: BLE001 - one boundary
        raise damaged(folder, f"{CHECKSUMS}/{_DOCUMENT} cannot be read: {error}") from None
    if not intact:
        raise damaged(folder, "its root attributes or its checksums are not what was written")
    return digests


def require_intact(folder: Path, digests: Mapping[str, Mapping[str, str]]) -> None:
    """Compare every document and every variable without pixels with its digest.

    Parameters
    ----------
    folder : pathlib.Path
    digests : mapping
        Of :func:`read_seal`.

    Raises
    ------
    DataError
        Naming what is not as it was written.
    """
    for fault in faults(folder, digests):
        raise damaged(folder, fault)


def faults(folder: Path, digests: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """What of documents and variables without pixels is not as it was written.

    Parameters
    ----------
    folder : pathlib.Path
    digests : mapping
        Of :func:`read_seal`.

    Yields
    ------
    str
        The end of a sentence that begins with the store.

    Raises
    ------
    DataError
        If something may not be read, or the disk fails, which is no damage of the store.
    """
    for kind, digest in (("documents", _digest_of_document), ("variables", digest_of_files)):
        for name, expected in digests[kind].items():
            try:
                actual = digest(folder / name)
            except FileNotFoundError:
                yield f"{name} is lost"
                continue
            except OSError as error:
                raise unreadable(Path(error.filename or folder / name), error) from error
            if actual != expected:
                yield f"{name} is not what was written"


def damaged(folder: Path, fault: str) -> DataError:
    """The error of a store in which something is not as it was written."""
    return DataError(f"{folder} is damaged: {fault}; `saltrust verify {folder}` names all that is")


def unreadable(path: Path, error: OSError) -> DataError:
    """The error of a part that the system does not let us read; it may be whole."""
    reason = f"{path} cannot be read ({error.strerror or error})"
    if isinstance(error, PermissionError):
        return Forbidden(f"{reason}; allow reading it")
    return DataError(f"{reason}; check the disk it lies on, and try again")


def chunk_tails(folder: Path, shape: tuple[int, ...], within: int = 0) -> npt.NDArray[np.uint32]:
    """How every chunk file of a variable ends, and every chunk in it.

    Parameters
    ----------
    folder : pathlib.Path
        Of the variable.
    shape : tuple of int
        How many files there may be along every dimension.
    within : int
        How many chunks a file has an index of (:func:`chunks_within`).

    Returns
    -------
    ndarray of uint32, shape (*shape, 1 + within)
        As :func:`tails_of`; 0 where there is no file.
    """
    tails = np.zeros((*shape, 1 + within), dtype=np.uint32)
    for place, path in _chunk_files(folder):
        with path.open("rb", buffering=0) as stream:
            tails[place] = tails_of(functools.partial(_part_of_file, stream.fileno()),
                                    os.fstat(stream.fileno()).st_size, within)
    return tails


def _part_of_file(file: int, start: int, stop: int) -> bytes:
    return os.pread(file, stop - start, start)


def tails_of(part: Callable[[int, int], bytes], size: int, within: int) -> list[int]:
    """How a chunk file ends, then each chunk that its index names.

    The index of a shard knows only how long its chunks are: those of another map may be as long.

    Parameters
    ----------
    part : callable
        Gives the bytes from one offset up to another.
    size : int
        Of the file.
    within : int
        Chunks in the index; 0 of a file that is one chunk.
    """
    end = tail_of(part(max(size - _TAIL, 0), size))
    start = size - _TAIL - 2 * within * _ENTRY.itemsize
    if not within or start < 0:
        return [end, *[_NO_TAIL] * within]
    entries = np.frombuffer(part(start, size - _TAIL), dtype=_ENTRY).reshape(within, 2).tolist()
    return [end, *(0 if offset == length == _ABSENT else
                   _NO_TAIL if not _TAIL <= offset + length <= size else
                   tail_of(part(offset + length - _TAIL, offset + length))
                   for offset, length in entries)]


def tail_of(content: bytes) -> int:
    """What is compared of a chunk; never 0, which stands for none.

    Examples
    --------
    >>> tail_of(b"abc" + bytes([1, 0, 0, 0])), tail_of(bytes(9)), tail_of(b"")
    (1, 4294967295, 4294967295)
    """
    return int.from_bytes(content[-_TAIL:], "little") or _NO_TAIL


def chunks_within(metadata: Mapping[str, Any]) -> int:
    """How many chunks every chunk file of an array has; 0 where a file is one chunk."""
    codec = metadata["codecs"][0]
    if codec["name"] != "sharding_indexed":
        return 0
    sizes = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    return math.prod(size // inner for size, inner in
                     zip(sizes, codec["configuration"]["chunk_shape"], strict=True))


def grid_of(metadata: Mapping[str, Any]) -> tuple[int, ...]:
    """How many chunk files an array may have along every dimension."""
    sizes = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    return tuple(-(-size // chunk) for size, chunk in zip(metadata["shape"], sizes, strict=True))


def stored_tails(folder: Path, name: str) -> npt.NDArray[np.uint32] | None:
    """What the seal of a store has of a variable with pixels; None where it has nothing.

    Parameters
    ----------
    folder : pathlib.Path
    name : str
        Such as ``saliency/heatmap``.

    Returns
    -------
    ndarray of uint32 or None
        As :func:`chunk_tails`.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    place = folder / CHECKSUMS / name
    # Not through Zarr, in the midst of whose reading this is asked.
    try:
        if not (place / _DOCUMENT).is_file():
            return None
        metadata = json.loads((folder / name / _DOCUMENT).read_text(encoding="utf-8"))
        if not math.prod(grid_of(metadata)):
            # Of no reader, say: nothing was written.
            return np.zeros((*grid_of(metadata), 1 + chunks_within(metadata)), dtype=np.uint32)
        content = (place / "c" / "0").read_bytes()
        tails = np.frombuffer(content[:-_TAIL], dtype="<u4").reshape(
            (*grid_of(metadata), 1 + chunks_within(metadata)))
        intact = google_crc32c.value(content[:-_TAIL]) == int.from_bytes(content[-_TAIL:],
                                                                         "little")
    except PermissionError as error:
        raise unreadable(place, error) from error
    except Exception as error:
        raise damaged(folder, f"the checksums of {name} cannot be read ({error})") from error
    if not intact:
        raise damaged(folder, f"the checksums of {name} are not what was written")
    return tails


def digest_of_files(folder: Path) -> str:
    """Digest of the chunk files of an array as they lie on disk, by their names."""
    digest = hashlib.blake2b(digest_size=16)
    place = folder / "c"
    if place.is_file():
        digest.update(place.read_bytes())
    for path in sorted(_files(place)):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder)} {len(content)}".encode())
        digest.update(content)
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder.  What may not be listed is an error, where rglob passes over it."""
    for parent, _, names in os.walk(folder, onerror=_refuse):
        yield from (Path(parent, name) for name in names)


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def _digest_of_document(path: Path) -> str:
    return _digest(path.read_bytes())


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _digest_of_all(attributes: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    return _digest(json.dumps([attributes, facts], sort_keys=True).encode())


def _documents(folder: Path) -> Iterator[str]:
    """Paths of all metadata below the root but those of scores and of the checksums."""
    paths = []
    for parent, folders, names in os.walk(folder, onerror=_refuse):
        if _DOCUMENT in names:
            paths.append(Path(parent, _DOCUMENT))
        # Chunks, of which there may be millions, have no metadata; a covariate may be called c.
        folders[:] = [name for name in folders
                      if name != "c" or Path(parent, name, _DOCUMENT).is_file()]
    for path in sorted(paths):
        parts = path.relative_to(folder).parts
        if len(parts) > 1 and parts[0] not in (SCORES, CHECKSUMS):
            yield "/".join(parts)


def stored_arrays(folder: Path, damaged_documents: list[str] | None = None
                  ) -> Iterator[tuple[str, dict[str, Any]]]:
    """Arrays of a store with their metadata; those of scores and checksums are none.

    Parameters
    ----------
    folder : pathlib.Path
    damaged_documents : list of str, optional
        Takes the documents that cannot be read, which otherwise are an error.
    """
    try:
        documents = list(_documents(folder))
    except PermissionError as error:
        raise unreadable(Path(error.filename or folder), error) from error
    for document in documents:
        try:
            metadata = json.loads((folder / document).read_text(encoding="utf-8"))
            is_array = metadata["node_type"] == "array" and bool(grid_of(metadata) or True)
        except PermissionError as error:
            raise unreadable(folder / document, error) from error
        except Exception as error:
            if damaged_documents is None:
                raise damaged(folder, f"{document} cannot be read ({error})") from error
            damaged_documents.append(document)
            continue
        if is_array:
            yield document.removesuffix(f"/{_DOCUMENT}"), metadata


def has_pixels(metadata: Mapping[str, Any]) -> bool:
    """Whether an array has planes of pixels."""
    return list(metadata.get("dimension_names") or [])[-2:] == ["y", "x"]


def _chunk_files(folder: Path) -> Iterator[tuple[tuple[int, ...], Path]]:
    """Chunk files of an array with their places."""
    place = folder / "c"
    for path in _files(place):
        parts = path.relative_to(place).parts
        if all(part.isdigit() for part in parts):
            yield tuple(int(part) for part in parts), path
