"""Opening a cube store for reading."""

from __future__ import annotations

import glob
import importlib
import json
import logging
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import xarray as xr

from saltrust.cache.checksums import damaged, read_seal, require_intact, unreadable
from saltrust.cache.guarded import SealedStore, guarded
from saltrust.cache.identity import replaced, run_of
from saltrust.cache.plausibility import require_plausible
from saltrust.cache.schema import CHECKSUMS, GROUPS, ROOT, SCHEMA_VERSION, SCORES
from saltrust.errors import DataError, SaltrustError, UsageError

_log = logging.getLogger(__name__)

def _accessor(tree: xr.DataTree) -> Any:
    # By name: this layer knows nothing of analyses, and opening stays light.
    return importlib.import_module("saltrust.accessor").Cubes(tree)


_register: Any = xr.register_datatree_accessor
_register("saltrust")(_accessor)

#: Appended to the name of a store until it is finished.
PARTIAL_SUFFIX = ".partial"


def partial_path(path: str | Path) -> Path:
    """Where a store is built before it is renamed to ``path``."""
    path = Path(path)
    # Such as `.`, in the folder of a store.
    path = path if path.name else path.resolve()
    if not path.name:
        raise UsageError(f"{path} cannot be a store; name a folder below it")
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
    try:
        return _root_attributes(Path(path))
    except PermissionError as error:
        raise unreadable(Path(error.filename or path), error) from None


def _root_attributes(path: Path) -> dict[str, Any]:
    metadata = path / "zarr.json"
    if not path.exists():
        partial = partial_path(path)
        hint = "; check the path"
        if partial.exists():
            hint = (f"; an unfinished {partial.name} lies beside it: repeat the command that made "
                    "it with --resume")
        elif any(path.parent.glob(f".{glob.escape(path.name)}.*.new")):
            hint = ("; a job was stopped while it put a new store in its place: repeat its command "
                    "with --resume")
        raise UsageError(f"there are no cubes at {path}{hint}")
    if not metadata.is_file():
        raise DataError(f"{path} is not a Zarr v3 store (it has no zarr.json); give the folder "
                        "that `saltrust generate` or `saltrust import` wrote")
    try:
        attributes = json.loads(metadata.read_text(encoding="utf-8")).get("attributes", {})
    except OSError as error:
        raise unreadable(metadata, error) from None
    except (ValueError, AttributeError, RecursionError) as error:
        raise DataError(f"{metadata} cannot be read ({error}); the store is damaged, generate it "
                        "again") from None
    if not isinstance(attributes, dict):
        raise DataError(f"{metadata} holds no attributes; the store is damaged, generate it again")
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
        How variables with pixels are cut into dask arrays, as :func:`xarray.open_zarr` takes it;
        None (the default) reads them lazily without dask.  Smaller variables are never cut.

    Returns
    -------
    xarray.DataTree
        One node per group; see :mod:`saltrust.cache.schema` for what each holds.  What is known
        of each image (``patient``, ``study``, ``view``, ``split``, native sizes, covariates) is a
        coordinate of every group that has images, in memory.

    Raises
    ------
    UsageError
        If there is nothing at ``path``, or ``chunks`` is given and dask is not installed.
    DataError
        If it is not a finished cube store of a schema this version knows, or is damaged: labels,
        metadata and all variables without pixels are compared with their checksums here, pixels
        when they are read.

    Notes
    -----
    ``/scores``, where analyses keep what they computed, has dimensions of its own and stays out
    of the tree.

    Examples
    --------
    ::

        cubes = open_cubes("study.zarr")
        cubes["saliency/heatmap"].sel(finding="Edema", explainer="gradcam").mean("image")
        cubes["saliency/heatmap"].groupby("view").mean()
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
    _require_whole(path, attributes)
    stores = {alone: (_RootAlone if alone else SealedStore)(path, read_only=True)
              for alone in (True, False)}
    try:
        root = _open_group(stores[True], None, None)
        of_image = _of_image(root)
        tree = xr.DataTree(root.drop_vars(list(of_image)).assign_coords(of_image))
        for name in _group_names(path):
            try:
                group = _open_group(stores[False], name, chunks)
                if "image" in group.dims:
                    group = group.assign_coords(
                        {label: values for label, values in of_image.items()
                         if label not in group.variables})
                tree[name] = xr.DataTree(group)
            except SaltrustError:
                raise
            except Exception as error:
                if name in GROUPS:
                    raise
                _log.warning("the group /%s of %s is not known to this version and does not fit "
                             "the cubes (%s); it is left out", name, path, _first_line(error))
    except SaltrustError:
        raise
    except PermissionError as error:
        raise unreadable(Path(error.filename or path), error) from error
    except Exception as error:
        raise damaged(path, f"it cannot be opened as cubes ({_first_line(error)})") from error
    # The working directory may change while the cubes are in use.
    tree.attrs["source"] = str(path.absolute())
    # Its groups were opened one after the other.
    for store in stores.values():
        store.require_same()
    if {run_of(tree.attrs), *(store.run for store in stores.values())} != {run_of(attributes)}:
        raise replaced(path)
    return tree


def _require_whole(path: Path, attributes: dict[str, Any]) -> None:
    """Compare what is small with its checksums; say of an older store that it has none."""
    digests = read_seal(path, attributes)
    if digests is None:
        _log.warning("%s has no checksums, so that damage to it is not seen; `saltrust migrate "
                     "%s` adds them", path, path)
        require_plausible(path)
    else:
        require_intact(path, digests)


def _of_image(root: xr.Dataset) -> dict[str, xr.Variable]:
    """What is known of each image, in memory: in the order of the schema, then covariates."""
    # Among the data variables too: a name with a space cannot be marked as a coordinate on disk.
    names = [str(name) for name, variable in root.variables.items()
             if variable.dims == ("image",) and name != "image"]
    declared = [variable.name for variable in ROOT.variables]
    return {name: root.variables[name].load()
            for name in (*(name for name in declared if name in names),
                         *sorted(set(names) - set(declared)))}


def _group_names(path: Path) -> list[str]:
    """Groups below the root, in the order of the schema; kept scores are none of the cubes."""
    names = []
    for metadata in path.glob("*/zarr.json"):
        name = metadata.parent.name
        if name not in (SCORES, CHECKSUMS) and json.loads(
                metadata.read_text(encoding="utf-8")).get("node_type") == "group":
            names.append(name)
    order = list(GROUPS)
    return sorted(names, key=lambda name: (order.index(name) if name in order else len(order),
                                           name))


def _open_group(store: SealedStore, name: str | None, chunks: Any) -> xr.Dataset:
    """One group, lazily; with ``chunks``, its variables with pixels as dask arrays."""
    with warnings.catch_warnings(), guarded():
        # A missing consolidated index is our choice: it would hide groups added later.
        warnings.filterwarnings("ignore", message=".*consolidated.*")
        place: Any = store
        group = xr.open_dataset(place, engine="zarr", group=name, consolidated=False, chunks=None)
        if chunks is None:
            return group
        # Text cannot be cut by size ("auto"), and a piece of what is small only costs time.
        small = [str(label) for label, variable in group.variables.items()
                 if variable.dims[-2:] != ("y", "x")]
        cut = xr.open_dataset(place, engine="zarr", group=name, consolidated=False, chunks=chunks,
                              drop_variables=small)
    return group.assign({label: cut[label].variable for label in cut.data_vars})


class _RootAlone(SealedStore):
    """A store whose root shows its labels only, so that no other group is read with them.

    Damage to kept scores must not matter to the cubes.
    """

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        async for name in super().list_dir(prefix):
            if prefix or (name not in (*GROUPS, SCORES, CHECKSUMS)):
                yield name


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
