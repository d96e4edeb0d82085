"""The means that are compared: of a factor's levels, of cells of several factors, by others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from saltrust.analysis.mixed.formula import NamesColumns
from saltrust.analysis.mixed.frame import IntArray, ModelFrame
from saltrust.errors import DataError, UsageError, nearest
from saltrust.reading import shown

#: One factor, or several: a sequence, or their names with commas between.
Factors = str | Sequence[str]
#: Of one model; each costs a row of the model matrix.
MOST_CELLS = 100_000


@dataclass(frozen=True)
class Cells:
    """Combinations of levels, one after another: of ``over`` within those of ``by``.

    Attributes
    ----------
    over, by : tuple of str
        Factors that are compared, and those within whose levels they are.
    shape : tuple of int
        How many levels each factor of ``over`` has; the first varies fastest.
    levels : tuple of str
        Names of the combinations of ``over``, as emmeans writes them: ``grad`` or ``grad net``.
    groups : tuple of tuple of int
        Level of each factor of ``by`` in every group; one empty group where there are none.
    group_names : tuple of str
        Such as ``net``, empty where there are none.
    counts : ndarray of int64, shape (groups * levels,)
        Rows of every cell.
    """

    over: tuple[str, ...]
    by: tuple[str, ...]
    shape: tuple[int, ...]
    levels: tuple[str, ...]
    groups: tuple[tuple[int, ...], ...]
    group_names: tuple[str, ...]
    counts: IntArray

    @property
    def factors(self) -> tuple[str, ...]:
        """All factors, from that which varies fastest."""
        return (*self.over, *self.by)

    def identify(self) -> list[dict[str, str]]:
        """Columns that say of which mean a row is."""
        factor = ",".join(self.over)
        return [{"factor": factor, "level": level, **self.named_group(group)}
                for group in range(len(self.groups)) for level in self.levels]

    def named_group(self, group: int) -> dict[str, str]:
        """Columns that say within what a row is; none where nothing stands by."""
        return {"by": ",".join(self.by), "by_level": self.group_names[group]} if self.by else {}

    @property
    def group_columns(self) -> list[str]:
        """Names of these columns."""
        return list(self.named_group(0))


def cells_of(frame: ModelFrame, over: Sequence[str], by: Sequence[str] = ()) -> Cells:
    """The cells of factors of a frame.

    Raises
    ------
    DataError
        If there are too many, or two combinations of levels have one name.
    """
    factors = [frame.factors[name] for name in over]
    within = [frame.factors[name] for name in by]
    shape = tuple(len(factor.levels) for factor in factors)
    count = math.prod((*shape, *(len(factor.levels) for factor in within)))
    if count > MOST_CELLS:
        raise DataError(f"{' and '.join((*over, *by))} have {count:,} combinations of levels, more "
                        f"than the {MOST_CELLS:,} whose means are compared; name fewer factors, "
                        "or fewer rows")
    names = [" ".join(reversed(parts)) for parts in
             product(*(factor.levels for factor in reversed(factors)))]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"two combinations of {' and '.join(over)} are called {twice!r}; rename a "
                        "level")
    groups = tuple(tuple(reversed(codes)) for codes in
                   product(*(range(len(factor.levels)) for factor in reversed(within))))
    place = np.zeros(len(factors[0].codes), dtype=np.int64)
    for factor in reversed([*factors, *within]):
        place = place * len(factor.levels) + factor.codes
    return Cells(
        tuple(over), tuple(by), shape, tuple(names), groups,
        tuple(", ".join(factor.levels[code] for factor, code in zip(within, codes, strict=True))
              for codes in groups),
        np.bincount(place, minlength=len(names) * len(groups)))


def describe_cells(cells: Cells | None) -> dict[str, Any]:
    """What stands of them in the metadata of a result, beside what contrasts say of ``by``."""
    if cells is None:
        return {"over": None, "levels": []}
    return {"over": cells.over[0] if len(cells.over) == 1 else list(cells.over),
            "levels": list(cells.levels)}


def cell_notes(cells: Cells, terms: Sequence[Sequence[str]], factors: Sequence[str]) -> list[str]:
    """What a reader of the means has to know of the effects that the factors interact with.

    Parameters
    ----------
    cells : Cells
    terms : sequence of sequence of str
        Fixed effects of the model.
    factors : sequence of str
        Those that are categorical.
    """
    notes = []
    crossed = [set(term) for term in terms if len(term) > 1]
    beside = {name for term in crossed if term & set(cells.over) for name in term} - {
        *cells.factors}
    if beside:
        by = " or ".join(f"--by {name}" for name in factors if name in beside)
        what = (f"{cells.over[0]} interacts with other effects: its means are averages"
                if len(cells.over) == 1 else f"{' and '.join(cells.over)} interact with other "
                "effects: their means are averages")
        notes.append(f"{what} over them" + (f"; {by} compares within levels" if by else ""))
    alone = [name for name in cells.by
             if not any(name in term and term & set(cells.over) for term in crossed)]
    if alone:
        notes.append(f"{' and '.join(alone)} does not interact with {' or '.join(cells.over)}: the "
                     "contrasts are the same in each of its levels")
    if len(cells.groups) > 1:
        notes.append(f"the contrasts within each level of {' and '.join(cells.by)} are a family "
                     f"of their own: p-values are not adjusted for {len(cells.groups)} families")
    return notes


def named_factors(text: Factors | None, fixed: Sequence[str], formula: str) -> tuple[str, ...]:
    """The factors that an option names.

    Parameters
    ----------
    text : str or sequence of str, optional
        A column's name, or several with commas between.
    fixed : sequence of str
        Columns of the fixed effects.
    formula : str
        For the sentence of an error.

    Raises
    ------
    UsageError
        If one of them is no fixed effect, or stands twice.

    Examples
    --------
    >>> named_factors("explainer, model", ("explainer", "model"), "y ~ explainer * model")
    ('explainer', 'model')
    """
    if text is None:
        return ()
    if not isinstance(text, str | Sequence):
        raise UsageError(f"{shown(text)} names no factor of {formula!r}; "
                         f"{nearest(str(text), fixed)}")
    if isinstance(text, str):
        names = [text] if text in fixed else [name.strip() for name in text.split(",")]
    else:
        names = list(text)
    for name in names:
        if name not in fixed:
            raise UsageError(f"{name!r} is no fixed effect of {formula!r}; " + (
                nearest(str(name), fixed) if fixed else "it has an intercept only"))
        if names.count(name) > 1:
            raise UsageError(f"{name!r} is named twice; say it once")
    return tuple(names)


def chosen_factors(over: Factors | None, by: Factors | None, fixed: Sequence[str], formula: str,
                   ) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The factors that are compared, which may be none, and those within whose levels.

    Raises
    ------
    UsageError
        If one of them is no fixed effect, or stands on both sides.
    """
    compared, within = named_factors(over, fixed, formula), named_factors(by, fixed, formula)
    if both := [name for name in within if name in compared]:
        raise UsageError(f"{both[0]!r} cannot be compared within its own levels: name it by "
                         "--over or by --by")
    return compared, within


def compared_factors(over: tuple[str, ...], by: tuple[str, ...], factors: Sequence[str], *,
                     interaction: bool, wanted: bool, formula: NamesColumns,
                     ) -> tuple[str, ...]:
    """The factors that are compared where none is named: the only one beside ``by``.

    Parameters
    ----------
    over, by : tuple of str
        As named.
    factors : sequence of str
        Categorical fixed effects.
    interaction : bool
        Whether differences of differences are wanted, which takes two factors.
    wanted : bool
        Whether no answer is an error.
    formula : NamesColumns

    Returns
    -------
    tuple of str
        Empty where it cannot be said.

    Raises
    ------
    UsageError
        If a comparison is wanted and the factor is not clear.
    """
    others = tuple(name for name in factors if name not in by)
    chosen = over or (others if len(others) == 1 + interaction else ())
    if interaction and len(chosen) != 2:
        raise UsageError("interaction contrasts are differences of differences, of two factors: "
                         f"name them, such as --over {','.join(others[:2])}" if len(others) > 1
                         else f"{formula.text!r} has no two factors whose interaction could be "
                         "compared; leave out --interaction")
    if not chosen and wanted:
        way = (f"say --over {' or --over '.join(others)}" if others else
               "no factor is left beside --by; name one by --over" if by else
               "its fixed effects are all numeric; name one by --over to make it categorical"
               if formula.fixed else "it has no fixed effect but the intercept")
        raise UsageError(f"{formula.text!r} does not say which factor's levels to compare: {way}")
    return chosen
