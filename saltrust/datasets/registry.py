"""The data set that a study file names, opened by the reader that declared itself for its kind."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from importlib.metadata import entry_points

import saltrust.datasets
from saltrust.cache.collection import Collection
from saltrust.choices import OnError
from saltrust.datasets.reader import Reader
from saltrust.errors import UsageError, nearest
from saltrust.study import DataSpec, Study

ENTRY_POINTS = "saltrust.datasets"


def built_in_readers() -> dict[str, Reader]:
    """The readers that the folders of :mod:`saltrust.datasets` declare, by kind."""
    readers: dict[str, Reader] = {}
    for module in pkgutil.iter_modules(saltrust.datasets.__path__, "saltrust.datasets."):
        if module.ispkg:
            package = importlib.import_module(module.name)
            readers |= {item.kind: item for item in vars(package).values()
                        if isinstance(item, Reader)}
    return readers


def data_kinds() -> list[str]:
    """All kinds of data sets: those built in, then those of other packages."""
    return list(dict.fromkeys([*built_in_readers(),
                               *sorted(entry_points(group=ENTRY_POINTS).names)]))


def find_reader(kind: str) -> Reader:
    """Look up the reader of a kind of data set.

    Parameters
    ----------
    kind : str
        As ``[data]`` of a study file says.

    Returns
    -------
    Reader

    Raises
    ------
    UsageError
        If no folder of saltrust and no entry point has this kind (the nearest is named), or the
        entry point cannot be loaded or is no reader.
    """
    readers = built_in_readers()
    if kind in readers:
        return readers[kind]
    registered = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    if kind not in registered:
        raise UsageError(f"kind = {kind!r} under [data] is not known; "
                         f"{nearest(kind, [*readers, *registered])}")
    entry = registered[kind]
    try:
        loaded = entry.load()
    except Exception as error:
        raise UsageError(f"the reader of kind = {kind!r} could not be loaded from its entry point "
                         f"{entry.value}: {error}") from error
    if not isinstance(loaded, Reader):
        raise UsageError(f"the entry point {entry.value} of kind = {kind!r} is no reader; declare "
                         "it with saltrust.datasets.reader.reader")
    return dataclasses.replace(loaded, kind=kind)


def open_collection(study: Study, on_error: OnError = "stop") -> Collection:
    """Open the data set of a study.

    Parameters
    ----------
    study : Study
        Its ``[data]`` says what kind of data set, where it lies and which findings are asked.
    on_error : {'stop', 'skip'}
        Whether radiographs that cannot be read, as far as they are looked into now, are an error.

    Returns
    -------
    Collection

    Raises
    ------
    UsageError
        If the kind is not known, a key is missing from ``[data]`` or means nothing for the kind,
        or the path does not exist.
    DataError
        If the data set is empty, damaged or lacks a finding; each kind says more.
    """
    reader = find_reader(study.data.kind)
    _check_keys(study, reader)
    return reader(study, on_error)


def _check_keys(study: Study, reader: Reader) -> None:
    plain = DataSpec()
    stated = [item.name for item in dataclasses.fields(plain)
              if getattr(study.data, item.name) != getattr(plain, item.name)]
    where = f"[data] of the study in {study.folder}"
    for key in stated:
        if key not in reader.keys:
            takers = [other.kind for other in built_in_readers().values() if key in other.keys]
            fitting = f"is for kind = {' or '.join(takers)} and " if takers else ""
            raise UsageError(f"`{key}` under {where} {fitting}means nothing for {reader.kind!r}, "
                             f"{reader.meaning}; leave it out")
    for key in reader.required:
        if key not in stated:
            raise UsageError(f"{where} says kind = {reader.kind!r}, {reader.meaning}, but no "
                             f"{key}; add {key}")
    if "path" in reader.required and not study.path(study.data.path).exists():
        raise UsageError(f"the data path {study.path(study.data.path)} of the study in "
                         f"{study.folder} does not exist; correct path under [data] (it starts "
                         "at the study file)")
