"""Every interval and every p-value has a simulation; a short part of these runs here."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.calibration.__main__ import exception, run
from tests.calibration.outcome import within
from tests.calibration.registry import COLUMNS, EXCEPTIONS, REGISTRY, cells

GOLDEN = Path(__file__).parents[1] / "golden" / "expected"


def tables() -> Iterator[tuple[str, str, dict[str, list[Any]]]]:
    """Topic, name and columns of every table of the golden files."""
    for file in sorted(GOLDEN.glob("*.json.gz")):
        written = json.loads(gzip.decompress(file.read_bytes()))
        command = file.name.partition(".")[0].partition("-")[0]
        for name, document in written.items():
            if not isinstance(document, dict) or "tables" not in document:
                continue
            topic = (command if name == "stdout" else
                     name.rpartition("/")[2].partition(".")[0].partition("_")[0])
            if name.startswith("tables/"):
                continue  # Cells of the papers' tables are those of a result.
            for table, content in document["tables"].items():
                columns = content["columns"]
                yield topic, table, {column: [row[k] for row in content["rows"]]
                                     for k, column in enumerate(columns)}


def test_every_interval_and_every_p_value_has_a_simulation() -> None:
    rows = {(row.topic, row.table): row for row in REGISTRY}
    assert len(rows) == len(REGISTRY)
    simulated = {cell.simulation for cell in cells()}
    looked_at = 0
    for topic, table, columns in tables():
        for column in set(COLUMNS) & columns.keys():
            row = rows.get((topic, table))
            assert row is not None, f"{topic}, {table} has no row in the registry"
            named = row.simulations.get(column, ())
            why = row.not_given.get(column)
            assert named or why, f"{topic}, {table}: nothing stands for {column}"
            if why and why.startswith("always empty"):
                assert all(value is None for value in columns[column]), (topic, table, column)
            looked_at += 1
    assert looked_at > 100
    for row in REGISTRY:
        for names in row.simulations.values():
            assert set(names) <= simulated, (row.topic, row.table)


def test_every_exception_is_of_a_cell_and_says_why() -> None:
    for start, figure, why in EXCEPTIONS:
        assert why
        assert any(cell.name.startswith(start) and figure in cell.asked for cell in cells())


@pytest.mark.parametrize("simulation", ["clustered mean", "CR2 slope", "signed ranks"])
def test_a_short_part_is_in_wide_bounds(simulation: str) -> None:
    cell = next(cell for cell in cells() if cell.simulation == simulation
                and cell.patients == 40 and "10 images" in cell.design)
    values, count, _ = run(cell, 0.1)
    assert count >= 100
    for name, value in values.items():
        low, high = {"type I": (0.01, 0.1), "at most": (0, 0.1), "coverage": (0.9, 0.99),
                     "error ratio": (0.85, 1.25)}[name]
        assert low <= value <= high
        assert not exception(cell, name)
    assert not within("type I", 0.15, 40)
