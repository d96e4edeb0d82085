"""A table as plain text: numbers below their points, never wider than a line."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from saltrust.analysis.result.cells import UNDEFINED, Cells
from saltrust.analysis.result.result import ESTIMATE_COLUMNS

#: Widest line, in characters.
WIDTH = 120

_MIN_WRAPPED = 20
#: Columns of estimates that a table too wide for a line does without, in this order.
_LEAST_READ = ("family", "statistic", "df", "std_error", "adjustment")


def plain_text(cells: Cells, title: str, note: str) -> str:
    """A table with its title above and a note below, broken into blocks where it is too wide.

    Parameters
    ----------
    cells : Cells
    title : str
        Empty for none.
    note : str
        Set in brackets, with a word on where the rest is; empty for none.

    Returns
    -------
    str
        Ends with a newline.
    """
    lines = [title] if title else []
    if not cells.rows:
        return "\n".join([*lines, "(no rows)", ""])
    cells = _align_points(cells)
    if _total(cells) > WIDTH:
        cells, constants = _lift_constants(_without_repetitions(cells))
        lines += textwrap.wrap("; ".join(constants), WIDTH, initial_indent="every row: ",
                               subsequent_indent="           ")
        cells, left_out = _leave_out(cells)
        if left_out:
            note = "; ".join([*([note] if note else []), f"not shown: {', '.join(left_out)}"])
    for number, block in enumerate(_fit(cells)):
        lines += [""] if number else []
        lines += _block(block, _widths(block))
    return "\n".join([*lines, *([f"({note}; json and csv have all)"] if note else []), ""])


def _widths(cells: Cells) -> list[int]:
    columns = zip(cells.headings, *cells.rows, strict=True)
    return [max(map(len, column)) for column in columns]


def _total(cells: Cells) -> int:
    widths = _widths(cells)
    return sum(widths) + 2 * (len(widths) - 1)


def _lift_constants(cells: Cells) -> tuple[Cells, list[str]]:
    """Take out columns that say the same in every row, but never all of them."""
    if len(cells.rows) < 2:
        return cells, []
    constant = [len(set(column)) == 1 for column in zip(*cells.rows, strict=True)]
    kept = [i for i, same in enumerate(constant) if not same]
    if not kept:
        return cells, []
    lifted = [f"{cells.headings[i]} {cells.rows[0][i].strip()}"
              for i, same in enumerate(constant) if same]
    return cells.select(kept), lifted


def _without_repetitions(cells: Cells) -> Cells:
    """Leave out texts that repeat another column row by row."""
    seen: dict[tuple[str, ...], int] = {}
    for i, column in enumerate(zip(*cells.rows, strict=True)):
        if not cells.numeric[i]:
            seen.setdefault(column, i)
    return cells.select([i for i, numeric in enumerate(cells.numeric)
                         if numeric or i in seen.values()])


def _leave_out(cells: Cells) -> tuple[Cells, list[str]]:
    """Leave out columns of a table of estimates until it fits, the least read first."""
    if "estimate" not in cells.columns:
        return cells, []
    extra = [name for name in cells.columns[cells.columns.index("estimate"):]
             if name not in ESTIMATE_COLUMNS]
    left_out: list[str] = []
    for name in [*_LEAST_READ, *reversed(extra)]:
        if _total(cells) <= WIDTH:
            break
        if name in cells.columns:
            place = cells.columns.index(name)
            left_out.append(cells.headings[place])
            cells = cells.select([i for i in range(len(cells.columns)) if i != place])
    return cells, left_out


def _fit(cells: Cells) -> Iterator[Cells]:
    """Break texts until a table fits, else cut it into blocks that repeat its first columns."""
    first_number = cells.numeric.index(True) if any(cells.numeric) else len(cells.numeric)
    keys = list(range(min(first_number, len(cells.numeric) - 1)))
    widths = _widths(cells)
    least = [w if numeric else min(w, _MIN_WRAPPED)
             for w, numeric in zip(widths, cells.numeric, strict=True)]
    if sum(least) + 2 * (len(least) - 1) <= WIDTH:
        yield _wrap(cells)
        return
    widths = [w if numeric else min(w, 40)
              for w, numeric in zip(widths, cells.numeric, strict=True)]
    room = WIDTH - sum(widths[i] + 2 for i in keys)
    if room < 24:
        keys, room = keys[:1], WIDTH - sum(widths[i] + 2 for i in keys[:1])
    block: list[int] = []
    used = 0
    for i in range(len(widths)):
        if i in keys:
            continue
        if block and used + widths[i] > room:
            yield _wrap(cells.select([*keys, *block]))
            block, used = [], 0
        block.append(i)
        used += widths[i] + 2
    yield _wrap(cells.select([*keys, *block]))


def _wrap(cells: Cells) -> Cells:
    """Break the longest texts until the table fits; a broken cell holds newlines."""
    widths = _widths(cells)
    while sum(widths) + 2 * (len(widths) - 1) > WIDTH:
        texts = [i for i, numeric in enumerate(cells.numeric)
                 if not numeric and widths[i] > _MIN_WRAPPED]
        if not texts:
            break
        widths[max(texts, key=widths.__getitem__)] -= 1

    def wrapped(row: Sequence[str]) -> tuple[str, ...]:
        return tuple(cell if len(cell) <= width else "\n".join(textwrap.wrap(cell, width))
                     for cell, width in zip(row, widths, strict=True))

    return Cells(cells.columns, wrapped(cells.headings), cells.numeric,
                 [wrapped(row) for row in cells.rows])


def _block(cells: Cells, widths: list[int]) -> list[str]:
    split = [[cell.split("\n") for cell in row] for row in (cells.headings, *cells.rows)]
    widths = [max(len(line) for row in split for line in row[i]) for i in range(len(widths))]
    lines = []
    for number, row in enumerate(split):
        for k in range(max(map(len, row))):
            texts = [cell[k] if k < len(cell) else "" for cell in row]
            lines.append("  ".join(
                text.rjust(width) if numeric else text.ljust(width)
                for text, width, numeric in zip(texts, widths, cells.numeric, strict=True)
            ).rstrip())
        if number == 0:
            lines.append("  ".join("-" * width for width in widths))
    return lines


def _align_points(cells: Cells) -> Cells:
    """Pad numbers on the right so that their decimal points stand below one another."""
    columns = [list(column) for column in zip(*cells.rows, strict=True)]
    for i, column in enumerate(columns):
        if not cells.numeric[i] or any(set(text) & set("[e<") for text in column):
            continue
        tails = [len(text) - text.index(".") if "." in text else 0 for text in column]
        columns[i] = [text if text == UNDEFINED else text + " " * (max(tails) - tail)
                      for text, tail in zip(column, tails, strict=True)]
    return Cells(cells.columns, cells.headings, cells.numeric, list(zip(*columns, strict=True)))
