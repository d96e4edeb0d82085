"""What a plan states, declared once; and reading one."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from saltrust.choices import PlannedAnalysis, PlannedClaim, Split, words
from saltrust.errors import UsageError
from saltrust.reading import read_text, reading, reason_of
from saltrust.typed_table import bounded, build

MOST_BYTES = 2**20
#: What a plan needs before it can be frozen.
REQUIRED = ("question", "primary.analysis", "primary.table", "primary.row", "families.adjustment",
            "exclusions.rules", "data.cubes", "sample_size.patients", "sample_size.justification")


@dataclass(frozen=True)
class Analysis:
    """An analysis that is planned, and the row of it that answers the question.

    Attributes
    ----------
    analysis : str
        Of ``saltrust analyze``.
    table : str
    row : dict of str to str
        Columns and what stands in them.
    options : dict of str to object
        By the names of the command line, without the dashes.
    """

    analysis: str = bounded("", choices=("", *words(PlannedAnalysis)))
    table: str = ""
    row: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Primary(Analysis):
    """The one analysis that the study is about.

    Attributes
    ----------
    claim : {"difference", "equivalence", "non-inferiority"}
    alpha : float
        Level of its family.
    """

    claim: str = bounded("difference", choices=words(PlannedClaim))
    alpha: float = bounded(0.05, 1e-9, 0.5)


@dataclass(frozen=True)
class Families:
    """Which tests are adjusted for each other.

    Attributes
    ----------
    adjustment : str
        As in the column of that name: max-t, holm, bonferroni, single-step, ...
    size : int
        Tests of the family of the primary row; 0: not stated.
    """

    adjustment: str = ""
    size: int = bounded(0, 0, 1_000_000)


@dataclass(frozen=True)
class Margins:
    """Differences that would not matter; 0: none.

    Attributes
    ----------
    equivalence, non_inferiority : float
    """

    equivalence: float = bounded(0.0, 0.0, 1e9)
    non_inferiority: float = bounded(0.0, 0.0, 1e9)


@dataclass(frozen=True)
class Exclusions:
    """What is left out, and how flat maps and missing labels are taken.

    Attributes
    ----------
    rules : tuple of str
        ``["none"]`` where nothing is.
    """

    rules: tuple[str, ...] = ()


@dataclass(frozen=True)
class Data:
    """Which cubes, and what of them.

    Attributes
    ----------
    cubes : str
        Path, from the folder of the plan.
    run_id : str
        Of the store, where it exists already.
    split : str
    findings, explainers, models, readers : tuple of str
        Empty: all.
    """

    cubes: str = ""
    run_id: str = ""
    split: str = bounded("", choices=("", *words(Split)))
    findings: tuple[str, ...] = ()
    explainers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()


@dataclass(frozen=True)
class SampleSize:
    """How many, and why.

    Attributes
    ----------
    patients : int
    power, effect : float
        0: not stated.
    justification : str
        Such as the command of ``saltrust power``.
    """

    patients: int = bounded(0, 0, 10_000_000)
    power: float = bounded(0.0, 0.0, 1.0)
    effect: float = bounded(0.0, -1e9, 1e9)
    justification: str = ""


@dataclass(frozen=True)
class Frozen:
    """What ``saltrust plan freeze`` wrote.

    Attributes
    ----------
    date, saltrust, data_seen, content : str
    earlier : tuple of str
        Freezes before this one: date, digest, reason.
    keys : dict of str to str
        Digest of every value.
    """

    date: str = ""
    saltrust: str = ""
    data_seen: str = ""
    content: str = ""
    earlier: tuple[str, ...] = ()
    keys: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """A plan of a study.

    Attributes
    ----------
    title, question, hypothesis : str
    primary : Primary
    secondary : tuple of Analysis
    families, margins, exclusions, data, sample_size
    frozen : Frozen
    """

    title: str = ""
    question: str = ""
    hypothesis: str = ""
    primary: Primary = Primary()
    secondary: tuple[Analysis, ...] = ()
    families: Families = Families()
    margins: Margins = Margins()
    exclusions: Exclusions = Exclusions()
    data: Data = Data()
    sample_size: SampleSize = SampleSize()
    frozen: Frozen = Frozen()


@dataclass(frozen=True)
class PlanFile:
    """A plan, and the file it is of.

    Attributes
    ----------
    path : pathlib.Path
    text : str
    content : dict
        As TOML has it, without ``frozen``.
    plan : Plan
    """

    path: Path
    text: str
    content: dict[str, Any]
    plan: Plan

    def missing(self) -> list[str]:
        """Keys that are needed before the plan can be frozen."""
        values = dict(flat(self.plan))
        absent = [key for key in REQUIRED if not values[key]]
        for claim, key in (("equivalence", "margins.equivalence"),
                           ("non-inferiority", "margins.non_inferiority")):
            if self.plan.primary.claim == claim and not values[key]:
                absent.append(key)
        return absent


def read_plan(path: str | Path) -> PlanFile:
    """Read and check a plan.

    Parameters
    ----------
    path : path

    Raises
    ------
    UsageError
        If it is missing, no TOML, has an unknown key (the nearest is named), or a value of
        another type or out of range.
    """
    path = Path(path)
    with reading(f"plan {path}", "correct it, or write one with `saltrust plan init`", UsageError):
        try:
            text = read_text(path, MOST_BYTES)
            content = tomllib.loads(text)
        except FileNotFoundError:
            raise UsageError(f"plan {path} does not exist; `saltrust plan init {path}` writes one "
                             "to start from") from None
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"plan {path} is not valid TOML: {reason_of(error)}; correct that "
                             "line") from None
        plan = build(Plan, content, str(path), "")
        return PlanFile(path, text, {k: v for k, v in content.items() if k != "frozen"}, plan)


def flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a plan by its dotted key; lists and free tables stay whole."""
    for item in fields(value):
        if item.name == "frozen":
            continue
        one = getattr(value, item.name)
        if is_dataclass(one):
            yield from flat(one, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", one
