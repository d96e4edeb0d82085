"""TOML tables as frozen dataclasses: every key known, every value of its type and range."""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import field
from typing import Any, TypeVar

from saltrust.errors import UsageError, nearest
from saltrust.reading import shown

_T = TypeVar("_T")

#: Of one list: labels, models and their like, each of which costs a pass over the images.
MOST_ENTRIES = 10_000


def bounded(default: Any, low: float | None = None, high: float | None = None,
            choices: tuple[str, ...] = (), help: str = "") -> Any:
    """A field of a dataclass with what its values have to fulfil.

    Parameters
    ----------
    default : object
    low, high : float, optional
        Of numbers, both allowed themselves.
    choices : tuple of str
        Of texts; empty: any.
    help : str
        What it means, for people.
    """
    metadata = {"low": low, "high": high, "choices": choices, "help": help}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def build(cls: type[_T], table: dict[str, Any], path: str, where: str) -> _T:
    """A table as an instance of a dataclass, tables within it too.

    Parameters
    ----------
    cls : type
        A dataclass; fields whose metadata say ``internal`` cannot be set.
    table : dict
        As ``tomllib`` reads it.
    path : str
        The file it is of, for messages.
    where : str
        The name of the table within the file; empty at the top.

    Raises
    ------
    UsageError
        If a key is not known (the nearest is named), a value is of another type, or out of
        range.
    """
    fields = {
        item.name: item
        for item in dataclasses.fields(cls)  # type: ignore[arg-type]
        if not item.metadata.get("internal")
    }
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{where}.{key}" if where else key
        if key not in fields:
            raise UsageError(f"{path}: unknown key {shown(name)}; {nearest(key, fields)}")
        values[key] = _convert(hints[key], value, path, name, fields[key].metadata)
    return cls(**values)


def _convert(hint: Any, value: Any, path: str, name: str,
             metadata: types.MappingProxyType[Any, Any]) -> Any:
    origin = typing.get_origin(hint)
    if origin is types.UnionType:
        hint = _member(hint, value, path, name)
        origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, dict):
            raise UsageError(f"{path}: {name} must be a table, [{name}]")
        return build(hint, value, path, name)
    if origin is tuple:
        item = typing.get_args(hint)[0]
        if not isinstance(value, list):
            raise UsageError(f"{path}: {name} must be a list, not {shown(value)}")
        if name == "explainers":
            value = [{"name": entry} if isinstance(entry, str) else entry for entry in value]
        if len(value) > MOST_ENTRIES:
            raise UsageError(f"{path}: {name} has {len(value):,} entries, of which a study may "
                             f"have {MOST_ENTRIES:,}; shorten it")
        return tuple(_convert(item, entry, path, name, metadata) for entry in value)
    if origin is dict:
        if not isinstance(value, dict):
            raise UsageError(f"{path}: {name} must be a table, not {shown(value)}")
        return dict(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = _as_float(value, path, name)
    if type(value) is not hint:
        raise UsageError(f"{path}: {name} must be of type {hint.__name__}, not {shown(value)}")
    low, high, choices = (metadata.get(key) for key in ("low", "high", "choices"))
    if choices and isinstance(value, str) and value not in choices:
        raise UsageError(f"{path}: {name} = {shown(value)} is not known; "
                         f"{nearest(value, filter(None, choices))}")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # Written so that NaN fails.
    if is_number and low is not None and not low <= value <= high:
        raise UsageError(f"{path}: {name} = {shown(value)} must lie between {low} and {high}")
    return value


def _as_float(value: int, path: str, name: str) -> float:
    try:
        return float(value)
    except OverflowError:
        raise UsageError(f"{path}: {name} = {shown(value)} is too large for a number with a "
                         "point; give a smaller one") from None


def _member(union: Any, value: Any, path: str, name: str) -> Any:
    """Which type of a union a value is of."""
    members = {typing.get_origin(hint) or hint: hint for hint in typing.get_args(union)}
    kind = tuple if isinstance(value, list) else type(value)
    if kind not in members:
        words = " or ".join("a list" if member is tuple else f"of type {member.__name__}"
                            for member in members)
        raise UsageError(f"{path}: {name} must be {words}, not {shown(value)}")
    return members[kind]
