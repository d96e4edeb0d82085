"""No command gives another number, text, row or table than it gave when this was recorded."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

# By its path, since tests are no package and this folder need not be on Python's.
_SPEC = importlib.util.spec_from_file_location("golden_commands",
                                               Path(__file__).with_name("commands.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
commands = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(commands)

RELATIVE, ABSOLUTE = 1e-9, 1e-12


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return commands.make_inputs(tmp_path_factory.mktemp("golden"))


def differences(golden: Any, actual: Any, place: str) -> Iterator[str]:
    """Where two plain values differ; a mapping may have gained keys."""
    if isinstance(golden, Mapping) and isinstance(actual, Mapping):
        for key, value in golden.items():
            if key in actual:
                yield from differences(value, actual[key], f"{place}/{key}")
            else:
                yield f"{place}/{key} is gone"
    elif isinstance(golden, list) and isinstance(actual, list):
        if len(golden) != len(actual):
            yield f"{place}: {len(actual)} values in the place of {len(golden)}"
        for k, (before, now) in enumerate(zip(golden, actual, strict=False)):
            yield from differences(before, now, f"{place}[{k}]")
    elif isinstance(golden, float) and isinstance(actual, int | float) \
            and not isinstance(actual, bool):
        if not math.isclose(golden, actual, rel_tol=RELATIVE, abs_tol=ABSOLUTE):
            yield f"{place}: {actual!r} in the place of {golden!r}"
    elif golden != actual or type(golden) is not type(actual):
        yield f"{place}: {actual!r} in the place of {golden!r}"


def table_differences(golden: Mapping[str, Any], actual: Mapping[str, Any], place: str
                      ) -> Iterator[str]:
    """Where two tables differ; one may have gained columns."""
    if len(golden["rows"]) != len(actual["rows"]):
        yield f"{place}: {len(actual['rows'])} rows in the place of {len(golden['rows'])}"
        return
    for k, column in enumerate(golden["columns"]):
        if column not in actual["columns"]:
            yield f"{place}: the column {column} is gone"
            continue
        now = actual["columns"].index(column)
        yield from differences([row[k] for row in golden["rows"]],
                               [row[now] for row in actual["rows"]], f"{place}.{column}")


def file_differences(golden: Mapping[str, Any], actual: Mapping[str, Any], place: str
                     ) -> Iterator[str]:
    meta = {commands.RENAMED_META.get(key, key): value
            for key, value in golden.get("meta", {}).items()}
    yield from differences(meta, actual.get("meta", {}), f"{place} meta")
    for name, table in golden["tables"].items():
        if name in actual["tables"]:
            yield from table_differences(table, actual["tables"][name], f"{place} {name}")
        else:
            yield f"{place}: the table {name} is gone"


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_command_gives_what_it_gave(name: str, inputs: dict[str, str], tmp_path: Path) -> None:
    actual = commands.run_command(name, inputs, tmp_path / "out")
    wrong = []
    for file, golden in commands.read_golden(name).items():
        if file in actual:
            wrong += list(file_differences(golden, actual[file], file))
        else:
            wrong.append(f"{file} is gone")
    assert not wrong, f"{len(wrong)} differences:\n" + "\n".join(wrong[:20])


def test_a_difference_is_seen() -> None:
    golden = {"meta": {"seed": 0}, "tables": {"auc": {
        "columns": ["model", "estimate", "n"], "rows": [["a", 0.5, 3], ["b", None, 4]]}}}
    gained = {"meta": {"seed": 0, "new": 1}, "tables": {"more": {}, "auc": {
        "columns": ["n", "new", "model", "estimate"],
        "rows": [[3, 0, "a", 0.5 + 1e-11], [4, 0, "b", None]]}}}
    assert list(file_differences(golden, gained, "x")) == []
    for changed in ([["a", 0.5001, 3], ["b", None, 4]], [["a", 0.5, 3], ["b", 0.1, 4]],
                    [["a", 0.5, 3]], [["a", 0.5, 3], ["c", None, 4]],
                    [["a", 0.5, 3], ["b", None, 5]]):
        actual = {"meta": {"seed": 0},
                  "tables": {"auc": {**golden["tables"]["auc"], "rows": changed}}}
        assert list(file_differences(golden, actual, "x"))
    assert list(file_differences(golden, {"meta": {}, "tables": gained["tables"]}, "x"))
    assert list(file_differences(golden, {"meta": {"seed": 0}, "tables": {}}, "x"))
