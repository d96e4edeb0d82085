"""Giving an older store what stores of this version have: checksums of every chunk, a seal."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ShardingCodec

from saltrust import __version__
from saltrust.cache import replacing
from saltrust.cache.checksums import grid_of, read_seal, seal, stored_arrays
from saltrust.cache.guarded import open_stored
from saltrust.cache.ownership import owned
from saltrust.cache.schema import CHECKSUMS, SCHEMA_VERSION, SCORES
from saltrust.cache.store import root_attributes
from saltrust.cache.verification import verify
from saltrust.errors import DataError, NothingToDo


def migrate(path: str | Path) -> Path:
    """Write a store anew with checksums, aside, and put it in the place of the old one.

    Parameters
    ----------
    path : path
        Of a finished store; it is untouched until the new one is whole.

    Returns
    -------
    pathlib.Path
        The store.  Values, attributes, run and kept scores are those it had.

    Raises
    ------
    NothingToDo
        If it has all that it could be given.
    DataError
        If it is unfinished, or a part of it cannot be read.
    UsageError
        If there is nothing, or somebody writes there.
    """
    path = Path(path)
    attributes = root_attributes(path)
    if not attributes.get("complete"):
        raise DataError(f"{path} is unfinished; repeat the command that made it with --resume")
    if read_seal(path, attributes) is not None and attributes["saltrust_schema"] == SCHEMA_VERSION:
        raise NothingToDo(f"{path} has its checksums already; `saltrust verify {path}` compares "
                          "them")
    with owned(path):
        replacing.recover(path)
        wrong = verify(path).faults
        if wrong:
            # Sealed as it is, damage would pass for data ever after.
            raise DataError(f"{path} is damaged ({wrong[0]}), so it gets no checksums; `saltrust "
                            f"verify {path}` names all that is, and with --repair what can be "
                            "computed again is")
        run = uuid.uuid4().hex
        new = replacing.aside(path, run, "new")
        try:
            _copy(path, new)
            facts = {**attributes, "saltrust_schema": SCHEMA_VERSION, "migrated_by": __version__}
            zarr.open_group(new, mode="r+").attrs.put(seal(new, facts))
            if (path / SCORES).is_dir():
                shutil.copytree(path / SCORES, new / SCORES)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        replacing.replace_store(new, path, run)
    return path


def _copy(path: Path, new: Path) -> None:
    """Copy groups and arrays, each chunk with a checksum as its outermost codec."""
    root = zarr.open_group(new, mode="w-", zarr_format=3)
    source = zarr.open_group(path, mode="r")
    for name, group in source.groups():
        if name not in (SCORES, CHECKSUMS):
            root.create_group(name, attributes=group.attrs.asdict())
    for name, metadata in stored_arrays(path):
        array = open_stored(path, name)
        copied = root.create_array(
            name, shape=array.shape, dtype=array.dtype, chunks=array.chunks, shards=array.shards,
            fill_value=array.fill_value, compressors=_with_checksum(array),
            dimension_names=metadata.get("dimension_names"), attributes=array.attrs.asdict())
        sizes = metadata["chunk_grid"]["configuration"]["chunk_shape"]
        for place in np.ndindex(*grid_of(metadata)):
            region = tuple(slice(at * size, (at + 1) * size)
                           for at, size in zip(place, sizes, strict=True))
            if array.shape and (path / name / "c" / "/".join(map(str, place))).is_file():
                copied[region] = array[region]
        if not array.shape:
            copied[...] = array[...]


def _with_checksum(array: zarr.Array[Any]) -> list[Any]:
    codecs: list[Any] = list(array.compressors)
    inner = array.metadata.codecs[0]  # type: ignore[union-attr]
    if not codecs and isinstance(inner, ShardingCodec):
        codecs = list(inner.codecs[1:])
    return codecs if codecs and isinstance(codecs[-1], Crc32cCodec) else [*codecs, Crc32cCodec()]
