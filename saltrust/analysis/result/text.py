"""A result as text: for people (table, markdown, latex) and for programs (json, csv)."""

from __future__ import annotations

import html
import json
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from saltrust.analysis.result.cells import Cells, lay_out, significant
from saltrust.analysis.result.markup import escape_markdown, html_table, latex, markdown
from saltrust.analysis.result.plain_text import WIDTH, plain_text
from saltrust.analysis.result.result import Result, plain, records
from saltrust.analysis.result.spreadsheets import quote_formulas, to_csv
from saltrust.analysis.result.topics import printed_table
from saltrust.choices import Format, words
from saltrust.errors import UsageError, nearest
from saltrust.printable import printable

FORMATS = words(Format)

#: Rows that people are shown of a table they did not ask for by name.
PREVIEW_ROWS = 50
#: Longest line of what the interpreter shows of a result.
_LINE = 100


def render(result: Result, format: str, *, tables: Sequence[str] | None = None,
           spreadsheet_safe: bool = False) -> str:
    """Render the tables of a result.

    Parameters
    ----------
    result : Result
        What an analysis returned.
    format : {"table", "json", "csv", "markdown", "latex"}
        ``json`` is one strict object ``{"format", "meta", "tables"}`` and ``csv`` one table,
        both with every digit a float64 needs; the others round for reading.
    tables : sequence of str, optional
        Which tables, in this order, whole.  By default ``json`` has all; the others have the
        first, which is the headline, name the rest, and ``table``, ``markdown`` and ``latex``
        show at most its first ``PREVIEW_ROWS`` rows and say how many there are.  In place of a
        headline that has a form of its own in print, ``markdown`` and ``latex`` have that
        (:data:`saltrust.analysis.result.topics.PRINTED`).
    spreadsheet_safe : bool
        Whether texts of ``csv`` that a spreadsheet takes for formulas are quoted
        (:func:`saltrust.analysis.result.spreadsheets.quote_formulas`).

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
        return _json(Result(result.meta, chosen).to_dict())
    if format == "csv":
        if tables is not None and len(chosen) > 1:
            raise UsageError(f"csv holds one table, not {len(chosen)} ({', '.join(chosen)}): "
                             "name one of them, or take json")
        return "".join(render_frame(frame, "csv", spreadsheet_safe=spreadsheet_safe)
                       for frame in list(chosen.values())[:1])
    printed = printed_table(result.topic) if tables is None and chosen else None
    if printed is not None and format in {"markdown", "latex"}:
        stars = f"\n{result.meta['stars']}\n" if "stars" in result.meta else ""
        return render_frame(printed(result), format) + stars
    headline = list(chosen.items())[:1]
    level = confidence_level(result.meta)
    parts = []
    for name, frame in chosen.items() if tables is not None else headline:
        shown = frame if tables is not None else frame.head(PREVIEW_ROWS)
        note = (f"shown: the first {len(shown)} of {len(frame)} rows"
                if len(shown) < len(frame) else "")
        title, legend = result.caption(name)
        parts.append(_WRITERS[format](lay_out(shown, level=level), title, note))
        parts += [_FOOTNOTES[format](legend)] if legend else []
    facts = list(facts_of(result.meta))
    if tables is None and len(chosen) > 1:
        facts.append("other tables: " + ", ".join(
            f"{name} ({len(frame)} rows)" for name, frame in list(chosen.items())[1:]))
    return "\n".join([*parts, *([_FOOTNOTES[format]("; ".join(facts))] if facts else [])])


def render_frame(frame: pd.DataFrame, format: str, *, title: str = "", legend: str = "",
                 spreadsheet_safe: bool = False) -> str:
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
        return to_csv(quote_formulas(frame) if spreadsheet_safe else frame, index=indexed)
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
    level = meta.get("confidence_level")
    return float(level) if isinstance(level, int | float) and 0 < level < 1 else 0.95


def render_html(result: Result) -> str:
    """The headline of a result as a notebook shows it: caption, table as in print, notes.

    Parameters
    ----------
    result : Result

    Returns
    -------
    str
        HTML that needs no style sheet.
    """
    if not result.tables:
        return html_table(Cells((), (), (), []), result.topic or "Result without a table", [])
    (name, frame), *others = result.tables.items()
    title, legend = result.caption(name)
    shown = frame.head(PREVIEW_ROWS)
    notes = [legend or str(result.meta.get("stars", ""))]
    if len(shown) < len(frame):
        notes.append(f"Shown: the first {len(shown)} of {len(frame)} rows.")
    if others:
        notes.append("Other tables: " + ", ".join(f"{other} ({len(rows)} rows)"
                                                  for other, rows in others) + ".")
    facts = "; ".join(facts_of(result.meta))
    caption = f"{result.topic}: {title}" if result.topic and title == name else title
    table = html_table(lay_out(shown, level=confidence_level(result.meta)), caption,
                       [note for note in notes if note])
    return table + (f'<details style="font-size:small"><summary>Definitions and counts</summary>'
                    f"{html.escape(facts)}</details>\n" if facts else "")


def describe_tables(result: Result) -> str:
    """What a result holds: one line per table, and no rows.

    Parameters
    ----------
    result : Result

    Returns
    -------
    str
    """
    lines = [f"{type(result).__name__}{f' of {result.topic}' if result.topic else ''}: "
             + ("1 table" if len(result) == 1 else f"{len(result)} tables")]
    width = max(map(len, result.tables), default=0)
    for name, frame in result.tables.items():
        columns = ", ".join(map(str, frame.columns))
        line = f"  {name:<{width}}  {len(frame):>6} rows: {columns}"
        lines.append(line if len(line) <= _LINE else f"{line[:_LINE - 4]} ...")
    return "\n".join(lines)


def facts_of(meta: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """One short phrase per fact of the result, for the line below the tables."""
    yield from map(printable, _facts(plain(meta), prefix))


def _facts(meta: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key, value in meta.items():
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


_WRITERS: dict[str, Callable[[Cells, str, str], str]] = {
    "table": plain_text,
    "markdown": markdown,
    "latex": latex,
}
_FOOTNOTES: dict[str, Callable[[str], str]] = {
    "table": lambda facts: textwrap.fill(facts, WIDTH) + "\n",
    "markdown": lambda facts: escape_markdown(facts) + "\n",
    "latex": lambda facts: textwrap.fill(facts, WIDTH, initial_indent="% ",
                                         subsequent_indent="% ") + "\n",
}
