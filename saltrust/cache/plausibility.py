"""Whether the sizes that metadata claim can be so, before anything is set aside for them.

A sealed store has digests of its metadata; of others this is all that can be told.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from saltrust.cache.checksums import damaged, stored_arrays
from saltrust.cache.schema import GROUPS, LABELED_DIMS

#: Bytes that one chunk may claim, far more than any map or list of labels has.
LARGEST_CHUNK = 2**31
#: Of an element whose type has no size of its own, such as text.
_OF_TEXT = 16
_KEYS = {"name": "default", "configuration": {"separator": "/"}}


def require_plausible(folder: Path) -> None:
    """Refuse a store whose arrays claim sizes that cannot be.

    Parameters
    ----------
    folder : pathlib.Path

    Raises
    ------
    DataError
        Naming the first of them, or what may not be read.
    """
    unread: list[str] = []
    arrays = dict(stored_arrays(folder, unread))
    for document in unread:
        if document.split("/")[0] in GROUPS or document.count("/") == 1:
            raise damaged(folder, f"{document} cannot be read")
    for name, what in implausible(folder, arrays):
        raise damaged(folder, f"{name} {what}")


def implausible(folder: Path, arrays: Mapping[str, Mapping[str, Any]]
                ) -> Iterator[tuple[str, str]]:
    """Arrays that claim sizes that cannot be, and what they claim.

    Parameters
    ----------
    folder : pathlib.Path
        The store.
    arrays : mapping
        Metadata by name (:func:`saltrust.cache.checksums.stored_arrays`).

    Yields
    ------
    (str, str)
        Name, and the end of a sentence that begins with it.  Groups that the schema does not
        know are passed over.
    """
    for name, metadata in arrays.items():
        if name.count("/") > 1 or name.rpartition("/")[0] not in ("", *GROUPS):
            continue
        what = _fault_of_sizes(metadata) or _fault_of_labels(folder, name, metadata, arrays)
        if what:
            yield name, what


def _fault_of_sizes(metadata: Mapping[str, Any]) -> str:
    try:
        shape = [int(size) for size in metadata["shape"]]
        chunk = [int(size) for size in metadata["chunk_grid"]["configuration"]["chunk_shape"]]
    except (KeyError, TypeError, ValueError):
        return "states no shape"
    if len(shape) != len(chunk) or min(shape, default=0) < 0 or min(chunk, default=1) < 1:
        return f"has a shape {shape} that chunks of {chunk} cannot make up"
    try:
        size = np.dtype(metadata["data_type"]).itemsize or _OF_TEXT
    except (KeyError, TypeError):
        size = _OF_TEXT
    if math.prod(chunk) * size > LARGEST_CHUNK:
        return f"claims chunks of {chunk}, more than {LARGEST_CHUNK >> 30} GB each"
    return ""


def _fault_of_labels(folder: Path, name: str, metadata: Mapping[str, Any],
                     arrays: Mapping[str, Mapping[str, Any]]) -> str:
    group, _, variable = name.rpartition("/")
    shape, dims = metadata["shape"], metadata.get("dimension_names") or []
    for dim, size in zip(dims, shape, strict=False):
        holder = arrays.get(f"{group}/{dim}", arrays.get(str(dim)))
        if dim in LABELED_DIMS and holder is not None and list(holder["shape"]) != [size]:
            return f"claims {size} of {dim}, of which {holder['shape'][0]} are named"
    if variable in LABELED_DIMS and len(shape) == 1 and shape[0] and (
            metadata.get("chunk_key_encoding") == _KEYS):
        # No label is empty, so that every chunk of them was written.
        last = -(-shape[0] // metadata["chunk_grid"]["configuration"]["chunk_shape"][0]) - 1
        if not (folder / name / "c" / str(last)).is_file():
            return f"claims {shape[0]} labels, not all of which are stored"
    return ""
