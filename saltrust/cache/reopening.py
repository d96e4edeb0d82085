"""Going on with a store of which radiographs were left out, mended or replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from saltrust.cache.bad_files import BadFiles
from saltrust.cache.collection import Collection
from saltrust.cache.fewer_images import TAKEN_OUT, ReducedCollection
from saltrust.cache.guarded import open_stored
from saltrust.cache.radiographs import (
    changed_files,
    decode,
    forget,
    forget_changed,
    has_status,
)
from saltrust.cache.repair import reopen
from saltrust.cache.schema import RadiographStatus
from saltrust.cache.writing import StoreWriter
from saltrust.errors import NothingToDo


def opened_again(open_store: Callable[[], StoreWriter], collection: Collection,
                 output: str | Path, images: Sequence[str], *, progress: bool = False,
                 ) -> StoreWriter:
    """Create or reopen a store, also a finished one of which something can be had now.

    Radiographs whose files have another content than what is stored are marked as missing, with
    all that was made of them.

    Parameters
    ----------
    open_store : callable
        Creates or reopens the store; it raises NothingToDo where that is finished.
    collection : Collection
        What the store is filled from.
    output : path
        Of the finished store.
    images : sequence of str
        Those whose radiographs it is to have.
    progress : bool

    Raises
    ------
    NothingToDo
        If the very store is there, finished, and nothing of it has changed.
    """
    try:
        writer = open_store()
    except NothingToDo:
        if not _can_be_had(Path(output), collection, images, progress=progress):
            raise
        reopen(output)
        writer = open_store()
    try:
        forget_changed(writer, collection, progress=progress)
        _forget_taken_out(writer, collection)
    except BaseException:
        writer.owner.release()
        raise
    return writer


def _forget_taken_out(writer: StoreWriter, collection: Collection) -> None:
    """Mark images that the data set lacks now, and unmark those that it has again."""
    names = writer.labels("image")
    before: set[int] = set()
    if has_status(writer):
        remarks = np.asarray(writer.array("radiograph/remark")[:]).tolist()
        before = {at for at, remark in enumerate(remarks) if remark == TAKEN_OUT}
    gone: set[int] = set()
    if isinstance(collection, ReducedCollection):
        gone = {at for at, name in enumerate(names) if name in collection.taken_out}
        # What the data set says of the others is in no fingerprint that could be compared.
        if "reference/mask" in writer.root:
            writer.write("reference/mask", slice(None), False)
        writer.write("reference/stored", slice(None), 0)
    if gone - before:
        forget(writer, sorted(gone - before), RadiographStatus.LEFT_OUT, TAKEN_OUT)
    if before - gone:
        forget(writer, sorted(before - gone), RadiographStatus.MISSING)


def _can_be_had(path: Path, collection: Collection, images: Sequence[str], *,
                progress: bool) -> bool:
    """Whether a finished store lacks something that can be read now, or has what has changed."""
    names = [str(name) for name in _stored(path, "image")]
    unread = np.flatnonzero(_stored(path, "reference/stored") == 0)
    if any(_annotations_can_be_read(collection, names[at]) for at in unread.tolist()):
        return True
    if not (path / "radiograph" / "status" / "zarr.json").is_file():
        return False
    stored = dict(zip(names, _stored(path, "radiograph/stored").tolist(), strict=True))
    grid = open_stored(path, "radiograph/pixels").shape[1:]
    for name in images:
        if not stored.get(name, 1) and decode(collection, name, (grid[0], grid[1]),
                                              BadFiles()).radiograph is not None:
            return True
    return bool(changed_files(collection, names, _stored(path, "radiograph/source"),
                              progress=progress))


def _annotations_can_be_read(collection: Collection, image: str) -> bool:
    bad = BadFiles()
    with bad.collecting(image):
        collection.annotations(image)
    return not bad.reasons


def _stored(path: Path, name: str) -> npt.NDArray[Any]:
    return np.asarray(open_stored(path, name)[...])
