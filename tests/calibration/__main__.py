"""``make calibration``: every simulation of the registry, in bounds or exit status 1.

    python -m tests.calibration [--only TEXT] [--scale 1.0] [--page docs/statistics.md]

The seed of a cell is a digest of its name.  Replications are those of the cell times ``--scale``.
With ``--page`` the table stands between two marks of that page; with ``--only``, the rows of other
cells stay as they are.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from tests.calibration.outcome import BOUNDS, Cell, figures, within
from tests.calibration.registry import EXCEPTIONS, cells

BEGIN, END = "<!-- calibration: begin -->", "<!-- calibration: end -->"
_CELLS: list[Cell] = []


def seed_of(name: str) -> int:
    """From the name of a cell alone."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


def run(cell: Cell, scale: float = 1.0) -> tuple[dict[str, float], int, float]:
    """Figures of a cell, its replications, and the seconds that they took."""
    began = time.perf_counter()
    generator = np.random.default_rng(seed_of(cell.name))
    count = max(int(cell.replications * scale), 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcomes = [cell.draw(generator) for _ in range(count)]
        return figures(cell, outcomes), count, time.perf_counter() - began


def _run(task: tuple[int, float]) -> tuple[int, dict[str, float], int, float]:
    number, scale = task
    return (number, *run(_CELLS[number], scale))


def exception(cell: Cell, figure: str) -> str:
    """Why a figure need not be in its bounds; empty where it must."""
    return next((why for start, name, why in EXCEPTIONS
                 if cell.name.startswith(start) and name == figure), "")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.calibration", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cells whose names contain this")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--page", type=Path)
    options = parser.parse_args(arguments)
    _CELLS[:] = [cell for cell in cells() if options.only in cell.name]
    if not _CELLS:
        print(f"no cell is called {options.only!r}", file=sys.stderr)
        return 2
    rows, missed = [], []
    # The longest come first, so that no process waits for the other at the end.
    order = sorted(range(len(_CELLS)), key=lambda k: -_CELLS[k].patients)
    with multiprocessing.get_context("fork").Pool(options.processes) as pool:
        for number, values, count, seconds in pool.imap_unordered(
                _run, [(k, options.scale) for k in order]):
            cell = _CELLS[number]
            for name, value in values.items():
                good, why = within(name, value, cell.patients), exception(cell, name)
                low, high = BOUNDS[name][0 if cell.patients >= 40 else 1]
                bounds = (f"{low:g} to {high:g}" if low and math.isfinite(high) else
                          f"at most {high:g}" if math.isfinite(high) else f"at least {low:g}")
                rows.append((number, cell, name, value, bounds, good, why))
                print(f"{cell.name:<90} {name:<12} {value:6.3f}  {bounds:<15}"
                      f"{'' if good else 'exception' if why else 'MISSED'}"
                      f"  ({count}, {seconds:.0f} s)", flush=True)
                if not good and not why:
                    missed.append(f"{cell.name}: {name} {value:.3f}, not {bounds}")
    if options.page:
        _write(options.page, {
            (cell.name, name): f"{value:.3f} | {bounds}{'' if good else f' ({why})'}"
            for _, cell, name, value, bounds, good, why in rows})
    print(f"{len(_CELLS)} cells, {len(rows)} figures, {len(missed)} out of bounds")
    for sentence in missed:
        print(f"MISSED {sentence}")
    return int(bool(missed))


def _write(page: Path, values: dict[tuple[str, str], str]) -> None:
    """Set figures of cells in the table of a page, in the order of the registry."""
    text = page.read_text()
    before, rest = text.split(BEGIN)
    table, after = rest.split(END)
    for line in table.splitlines():
        if line.startswith("| ") and line.count(" | ") >= 3:
            simulation, figure, value = line.removeprefix("| ").removesuffix(" |").split(" | ", 2)
            values.setdefault((simulation, figure), value)
    lines = ["| simulation | figure | value | bounds |", "|---|---|---|---|"]
    for cell in cells():
        lines += [f"| {cell.name} | {figure} | {values[cell.name, figure]} |"
                  for figure in cell.asked if (cell.name, figure) in values]
    page.write_text("\n".join([before + BEGIN, *lines, END]) + after)


if __name__ == "__main__":
    sys.exit(main())
