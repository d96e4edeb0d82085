"""Opening a cube store for reading."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import xarray as xr
import zarr
import zarr.storage

from saltrust.cache.schema import SCHEMA_VERSION, SCORES
from saltrust.errors import DataError, UsageError

_log = logging.getLogger(__name__)

#: What reading a damaged store raises.
_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError)

#: Appended to the name of a store until it is finished.
PARTIAL_SUFFIX = ".partial"


def partial_path(path: str | Path) -> Path:
    """Where a store is built before it is renamed to ``path``."""
    path = Path(path)
    return path.with_name(path.name + PARTIAL_SUFFIX)


def root_attributes(path: str | Path) -> dict[str, Any]:
    """Read and check the root metadata of a store, finished or not.

    Raises
    ------
    UsageError
        If there is nothing at ``path``.
    DataError
        If what is there is not a cube store, or one of a newer schema.
    """
    path = Path(path)
    metadata = path / "zarr.json"
    if not path.exists():
        partial = partial_path(path)
        hint = (f"; an unfinished {partial.name} lies beside it: repeat the command that made it "
                "with --resume") if partial.exists() else "; check the path"
        raise UsageError(f"there are no cubes at {path}{hint}")
    if not metadata.is_file():
        raise DataError(f"{path} is not a Zarr v3 store (it has no zarr.json); give the folder "
                        "that `saltrust generate` or `saltrust import` wrote")
    try:
        attributes = json.loads(metadata.read_text(encoding="utf-8")).get("attributes", {})
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{metadata} cannot be read ({error}); the store is damaged, generate it "
                        "again") from None
    version = attributes.get("saltrust_schema")
    if not isinstance(version, int):
        raise DataError(f"{path} is a Zarr store but not saltrust cubes (no saltrust_schema "
                        "among its attributes)")
    if version > SCHEMA_VERSION:
        raise DataError(
            f"{path} was written with cube schema {version} by saltrust "
            f"{attributes.get('saltrust_version', 'unknown')}, this saltrust reads up to "
            f"{SCHEMA_VERSION}; update saltrust")
    return dict(attributes)


def open_cubes(path: str | Path, chunks: Any = None) -> xr.DataTree:
    """Open the cubes of a study for reading.

    Parameters
    ----------
    path : path
        Folder of a finished store.
    chunks : None, "auto", int or dict, optional
        Passed to xarray; None (the default) reads lazily without dask.

    Returns
    -------
    xarray.DataTree
        One node per group; see :mod:`saltrust.cache.schema` for what each holds.

    Raises
    ------
    UsageError
        If there is nothing at ``path``.
    DataError
        If it is not a finished cube store of a schema this version knows.

    Notes
    -----
    Where only ``/scores`` is damaged, which holds nothing that cannot be computed again, the
    tree comes without it and a warning says so.

    Examples
    --------
    ::

        cubes = open_cubes("study.zarr")
        cubes["saliency/heatmap"].sel(finding="Edema", explainer="gradcam").mean("image")
    """
    path = Path(path)
    attributes = root_attributes(path)
    if not attributes.get("complete", False):
        raise DataError(f"{path} is unfinished; repeat the command that made it with --resume")
    if chunks is not None:
        try:
            import dask.array  # noqa: F401
        except ImportError:
            raise UsageError("chunks need dask, which is not installed; install saltrust[dask] "
                             "or leave chunks out") from None
    with warnings.catch_warnings():
        # A missing consolidated index is our choice: it would hide groups added later.
        warnings.filterwarnings("ignore", message=".*consolidated.*")
        try:
            tree = xr.open_datatree(path, engine="zarr", consolidated=False, chunks=chunks)
        except _DAMAGE as error:
            try:
                tree = _without_scores(path, chunks)
            except _DAMAGE:
                raise DataError(f"{path} cannot be opened as cubes ({_first_line(error)}); the "
                                "store is damaged, generate it again") from error
            _log.warning("%s cannot be read (%s) and is left out of the cubes; delete it: what it "
                         "kept is computed again", path / SCORES, _first_line(error))
    tree.attrs["source"] = str(path)
    return tree


def _without_scores(path: Path, chunks: Any) -> xr.DataTree:
    """Open every group but that of kept scores, which are no more than a saving of time."""
    if not (path / SCORES).exists():
        raise ValueError("there are no kept scores that could be the trouble")
    store: Any = _StoreWithoutScores(path, read_only=True)
    return xr.open_datatree(store, engine="zarr", consolidated=False, chunks=chunks)


class _StoreWithoutScores(zarr.storage.LocalStore):
    """A store in whose root nobody finds the kept scores."""

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        async for name in super().list_dir(prefix):
            if prefix or name != SCORES:
                yield name


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
