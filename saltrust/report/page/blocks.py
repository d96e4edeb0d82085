"""What a page is made of: sections that hold paragraphs, tables, figures and cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd
from matplotlib.figure import Figure

from saltrust.analysis.result import plain
from saltrust.analysis.result.cells import Cells, lay_out
from saltrust.choices import Split, words
from saltrust.report.figures.palette import to_data_uri
from saltrust.report.page.gallery import Case


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: Literal["text"] = "text"


@dataclass(frozen=True)
class Table:
    """A table with its caption; ``note`` stands below it.

    ``stacked`` sets an interval below its estimate, for tables of many columns.
    """

    caption: str
    cells: Cells
    note: str = ""
    stacked: bool = False
    kind: Literal["table"] = "table"


@dataclass(frozen=True)
class Picture:
    """A figure: ``alt`` says in words what it shows, for those who cannot see it.

    ``width`` is its largest width on the page in inches, so that letters are alike in all.
    """

    uri: str
    caption: str
    alt: str
    width: float
    kind: Literal["picture"] = "picture"


@dataclass(frozen=True)
class Facts:
    """Names with their values."""

    caption: str
    pairs: list[tuple[str, str]]
    kind: Literal["facts"] = "facts"


@dataclass(frozen=True)
class Gallery:
    """Cases, grouped by finding; ``marks`` are the kinds of marks that need a key."""

    cases: dict[str, list[Case]]
    marks: frozenset[str]
    kind: Literal["gallery"] = "gallery"


Block = Text | Table | Picture | Facts | Gallery


@dataclass(frozen=True)
class Section:
    """One section of the page.

    Attributes
    ----------
    key : str
        Its id in the page.
    title : str
    blocks : list of Block
    missing : str
        Why the section has no result; empty when it has.
    """

    key: str
    title: str
    blocks: list[Block] = field(default_factory=list)
    missing: str = ""


def table(caption: str, frame: pd.DataFrame, *, note: str = "", level: float = 0.95,
          stacked: bool = False) -> Table:
    """A table block, laid out for reading."""
    return Table(caption, lay_out(frame, level=level), note, stacked)


def picture(figure: Figure, caption: str, alt: str) -> Picture:
    """A figure block, encoded."""
    return Picture(to_data_uri(figure), caption, alt, float(figure.get_size_inches()[0]))


def facts(caption: str, meta: Mapping[str, Any]) -> Facts:
    """A mapping as names and values, nested mappings opened up.

    Examples
    --------
    >>> facts("", {"slice": "positive", "excluded": {"no mask": 3}, "none": None}).pairs
    [('slice', 'positive'), ('excluded: no mask', '3')]
    """
    return Facts(caption, list(_pairs(plain(meta), "")))


def split_phrase(meta: Mapping[str, Any]) -> str:
    """Words for the one split that images are of; empty where they are of several or of none.

    Examples
    --------
    >>> split_phrase({"split": "test"}), split_phrase({"split": "train, val"})
    (' of the test split', '')
    """
    split = meta.get("split")
    return f" of the {split} split" if split in words(Split) else ""


def _pairs(meta: Mapping[str, Any], prefix: str) -> Sequence[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for key, value in meta.items():
        name = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(value, dict):
            pairs += _pairs(value, f"{name}: ")
        elif isinstance(value, list):
            text = "; ".join(_joined(item) for item in value)
            pairs += [(name, text)] if text else []
        elif value is not None and value != "":
            pairs.append((name, _joined(value)))
    return pairs


def _joined(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_joined(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_joined, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.12g}" if isinstance(value, float) else str(value)
