"""A result as text: for people (table, markdown, latex) and for programs (json, csv)."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from saltrust.analysis.result import ESTIMATE_COLUMNS, Result, plain, records
from saltrust.analysis.result.cells import UNDEFINED, Cells, lay_out, significant
from saltrust.errors import UsageError, nearest

FORMATS = ("table", "json", "csv", "markdown", "latex")

#: Widest line of the plain text format, in characters.
WIDTH = 120

#: Rows that people are shown of a table they did not ask for by name.
PREVIEW_ROWS = 50

_MIN_WRAPPED = 20
#: Columns of estimates that a table too wide for a line does without, in this order.
_LEAST_READ = ("family", "statistic", "df", "std_error", "adjustment")


def render(result: Result, format: str, *, tables: Sequence[str] | None = None) -> str:
    """Render the tables of a result.

    Parameters
    ----------
    result : Result
        What an analysis returned.
    format : {"table", "json", "csv", "markdown", "latex"}
        ``json`` is one strict object ``{"meta", "tables"}`` and ``csv`` one table, both with
        every digit a float64 needs; the others round for reading.
    tables : sequence of str, optional
        Which tables, in this order, whole.  By default ``json`` has all; the others have the
        first, which is the headline, name the rest, and ``table``, ``markdown`` and ``latex``
        show at most its first ``PREVIEW_ROWS`` rows and say how many there are.

    Returns
    -------
    str
        Ends with a newline.

    Raises
    ------
    UsageError
        If the format or a table is unknown, or several tables are wanted as ``csv``.
    """
    _check_format(format)
    chosen = _choose(result, tables)
    if format == "json":
        selected = Result(result.meta, chosen)
        return _json(selected.to_object())
    if format == "csv":
        if tables is not None and len(chosen) > 1:
            raise UsageError(f"csv holds one table, not {len(chosen)} ({', '.join(chosen)}): "
                             "name one of them, or take json")
        return "".join(render_frame(frame, "csv") for frame in list(chosen.values())[:1])
    headline = list(chosen.items())[:1]
    level = confidence_level(result.meta)
    parts = []
    for name, frame in chosen.items() if tables is not None else headline:
        shown = frame if tables is not None else frame.head(PREVIEW_ROWS)
        note = (f"shown: the first {len(shown)} of {len(frame)} rows"
                if len(shown) < len(frame) else "")
        parts.append(_WRITERS[format](lay_out(shown, level=level), name, note))
    facts = list(_facts(result.meta))
    if tables is None and len(chosen) > 1:
        facts.append("other tables: " + ", ".join(
            f"{name} ({len(frame)} rows)" for name, frame in list(chosen.items())[1:]))
    return "\n".join([*parts, *([_FOOTNOTES[format]("; ".join(facts))] if facts else [])])


def render_frame(frame: pd.DataFrame, format: str, *, title: str = "", legend: str = "") -> str:
    """Render one table, all its rows, in any format of :func:`render`.

    ``json`` gives a list of records.  ``title`` stands above the table and ``legend`` below it
    where the format has a place for them.

    Examples
    --------
    >>> frame = pd.DataFrame({"finding": ["Edema"], "estimate": [0.3071], "n": [83]})
    >>> print(render_frame(frame, "markdown"), end="")
    | finding | estimate |   n |
    | :------ | -------: | --: |
    | Edema   |    0.307 |  83 |
    """
    _check_format(format)
    if format == "json":
        return _json(records(frame))
    if format == "csv":
        indexed = any(name is not None for name in frame.index.names)
        finite = frame.replace([np.inf, -np.inf], np.nan)
        return finite.to_csv(index=indexed, lineterminator="\n")
    text = _WRITERS[format](lay_out(frame), title, "")
    return f"{text}\n{_FOOTNOTES[format](legend)}" if legend else text


def _check_format(format: str) -> None:
    if format not in FORMATS:
        raise UsageError(f"unknown table format {format!r}; {nearest(format, FORMATS)}")


def _choose(result: Result, names: Sequence[str] | None) -> dict[str, pd.DataFrame]:
    if names is None:
        return dict(result.tables)
    for name in names:
        if name not in result.tables:
            raise UsageError(f"the result has no table {name!r}; {nearest(name, result.tables)}")
    return {name: result.tables[name] for name in names}


def _json(value: Any) -> str:
    return json.dumps(plain(value), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def confidence_level(meta: Mapping[str, Any]) -> float:
    """Confidence level of the intervals of a result; 0.95 where it does not say."""
    level = meta.get("confidence", meta.get("confidence_level"))
    return float(level) if isinstance(level, int | float) and 0 < level < 1 else 0.95


def _facts(meta: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """One short phrase per fact of the result, for the line below the tables."""
    for key, value in plain(meta).items():
        name = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(value, dict):
            yield from _facts(value, f"{name}: ")
        elif isinstance(value, list):
            if value:
                yield f"{name} {', '.join(map(str, value))}"
        elif isinstance(value, float):
            yield f"{name} {significant(value)}"
        elif value is not None and value != "":
            yield f"{name} {value}"


# Plain text ---------------------------------------------------------------------------------


def _plain_text(cells: Cells, title: str, note: str) -> str:
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


# Markdown -----------------------------------------------------------------------------------

_MARKDOWN_SPECIAL = re.compile(r"[\\`_|<>\[\]]")
# A run of asterisks between spaces cannot open or close emphasis: stars of significance stay.
_MARKDOWN_STARS = re.compile(r"(?<=[^\s*])\*+|(?<!\*)\*+(?=[^\s*])")


def escape_markdown(text: str) -> str:
    r"""Make a text literal in a cell of a Markdown table.

    Examples
    --------
    >>> print(escape_markdown("grad_cam|a*b"), escape_markdown("0.5 (0.4, 0.6) ***"))
    grad\_cam\|a\*b 0.5 (0.4, 0.6) ***
    """
    text = _MARKDOWN_SPECIAL.sub(lambda match: "\\" + match.group(), text)
    return _MARKDOWN_STARS.sub(lambda match: "\\*" * len(match.group()), text)


def _markdown(cells: Cells, title: str, note: str) -> str:
    lines = [f"**{escape_markdown(title)}**", ""] if title else []
    if not cells.headings:
        return "\n".join([*lines, "(no rows)", ""])
    rows = [tuple(map(escape_markdown, cells.headings)),
            *(tuple(text if numeric else escape_markdown(text)
                    for text, numeric in zip(row, cells.numeric, strict=True))
              for row in cells.rows)]
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * (width - 1) + ":" if numeric else ":" + "-" * (width - 1)
            for width, numeric in zip(widths, cells.numeric, strict=True)]
    for number, row in enumerate(rows):
        texts = [text.rjust(width) if numeric else text.ljust(width)
                 for text, width, numeric in zip(row, widths, cells.numeric, strict=True)]
        lines.append("| " + " | ".join(texts) + " |")
        if number == 0:
            lines.append("| " + " | ".join(rule) + " |")
    return "\n".join([*lines, *(["", f"({note}; json and csv have all)"] if note else []), ""])


# LaTeX --------------------------------------------------------------------------------------

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$",
    "#": r"\#", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"$<$", ">": r"$>$", "|": r"\textbar{}", "\N{MINUS SIGN}": "$-$",
    "\N{MULTIPLICATION SIGN}": r"$\times$", "\N{GREEK SMALL LETTER RHO}": r"$\rho$",
    "\N{LESS-THAN OR EQUAL TO}": r"$\leq$", "\N{GREATER-THAN OR EQUAL TO}": r"$\geq$",
}
_NEGATIVE = re.compile(r"(?<![\w.)])-(?=[\d.]|inf)")


def escape_latex(text: str) -> str:
    r"""Make a text literal in a cell of a LaTeX table.

    Examples
    --------
    >>> print(escape_latex("50% of grad_cam & more"))
    50\% of grad\_cam \& more
    """
    return "".join(_LATEX.get(character, character) for character in text)


def _latex(cells: Cells, title: str, note: str) -> str:
    lines = [f"% {title}"] if title else []
    if not cells.headings:
        return "\n".join([*lines, "% no rows", ""])
    alignment = "".join("r" if numeric else "l" for numeric in cells.numeric)
    lines += ["% \\usepackage{booktabs}", f"\\begin{{tabular}}{{{alignment}}}", "\\toprule",
              " & ".join(map(escape_latex, cells.headings)) + r" \\", "\\midrule"]
    for row in cells.rows:
        line = " & ".join(_NEGATIVE.sub("$-$", escape_latex(text)) for text in row)
        # After \\ a bracket or an asterisk would be taken for its argument.
        lines.append((f"{{{line[0]}}}{line[1:]}" if line[:1] in {"[", "*"} else line) + r" \\")
    lines += ["\\bottomrule", "\\end{tabular}"]
    return "\n".join([*lines, *([f"% {note}; json and csv have all"] if note else []), ""])


_WRITERS: dict[str, Callable[[Cells, str, str], str]] = {
    "table": _plain_text,
    "markdown": _markdown,
    "latex": _latex,
}
_FOOTNOTES: dict[str, Callable[[str], str]] = {
    "table": lambda facts: textwrap.fill(facts, WIDTH) + "\n",
    "markdown": lambda facts: escape_markdown(facts) + "\n",
    "latex": lambda facts: textwrap.fill(facts, WIDTH, initial_indent="% ",
                                         subsequent_indent="% ") + "\n",
}
