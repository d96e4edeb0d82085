"""What is asked of an engine: a model, and the means to compare."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from saltrust.analysis.mixed.cells import (
    Cells,
    Factors,
    cells_of,
    chosen_factors,
    compared_factors,
)
from saltrust.analysis.mixed.formula import Formula, NamesColumns, parse
from saltrust.analysis.mixed.frame import FloatArray, IntArray, ModelFrame, model_frame
from saltrust.analysis.mixed.options import Contrasts, Fitting
from saltrust.choices import ContrastAdjustment
from saltrust.errors import DataError, UsageError, nearest

#: Of one family: all pairs of 447 levels; each costs a row of the model matrix.
MOST_CONTRASTS = 100_000


@dataclass(frozen=True)
class Family:
    """Contrasts of marginal means that are adjusted together.

    Attributes
    ----------
    levels : tuple of str
        Names of the means that are compared, of one group of cells.
    control : str or None
        Level that every other one is compared with; None for all pairs.
    adjustment : str
        A word of :data:`saltrust.choices.ContrastAdjustment`.
    group : int
        Of the cells within which they are compared.
    within : str
        What this group is called, empty where there is one only.
    crossed : tuple of tuple of str
        Levels of the two factors whose differences of differences these are, empty where means
        are compared; ``control`` is then a level of the first.
    """

    levels: tuple[str, ...]
    control: str | None
    adjustment: ContrastAdjustment
    group: int = 0
    within: str = ""
    crossed: tuple[tuple[str, ...], ...] = ()

    @property
    def pairs(self) -> tuple[IntArray, IntArray]:
        """Indices of the levels ``A`` and ``B`` of every difference ``A - B``.

        In the order of :meth:`saltrust.analysis.mixed.cells.Cells.codes`; of the first factor
        alone where differences of differences are made.
        """
        levels = self.crossed[0] if self.crossed else self.levels
        if self.control is None:
            first, second = np.triu_indices(len(levels), 1)
            return first.astype(np.int64), second.astype(np.int64)
        control = levels.index(self.control)
        others = np.setdiff1d(np.arange(len(levels)), [control])
        return others, np.full(len(others), control)

    @property
    def size(self) -> int:
        """How many contrasts it has."""
        levels = len(self.crossed[0] if self.crossed else self.levels)
        count = math.comb(levels, 2) if self.control is None else levels - 1
        return count * math.comb(len(self.crossed[1]), 2) if self.crossed else count

    @property
    def control_place(self) -> int:
        """Which level the control is, counted from one as R does; 0 for all pairs."""
        levels = self.crossed[0] if self.crossed else self.levels
        return 0 if self.control is None else levels.index(self.control) + 1

    @property
    def signed_means(self) -> list[tuple[int, IntArray]]:
        """Signs, and which mean of all groups has them in every contrast."""
        offset, (a, b) = self.group * len(self.levels), self.pairs
        if not self.crossed:
            return [(1, offset + a), (-1, offset + b)]
        width = len(self.crossed[0])
        p, q = np.triu_indices(len(self.crossed[1]), 1)
        return [(sign, (offset + one[None, :] + width * other[:, None]).ravel()) for
                sign, one, other in ((1, a, p), (-1, b, p), (-1, a, q), (1, b, q))]

    def combine(self, means: FloatArray) -> FloatArray:
        """The contrasts of rows or values, shape (means, ...)."""
        return np.asarray(sum(sign * means[places] for sign, places in self.signed_means))

    def count(self, counts: IntArray) -> IntArray:
        """Rows behind every contrast, from those behind every mean."""
        return np.asarray(sum(counts[places] for _, places in self.signed_means))

    @property
    def names(self) -> list[tuple[str, str]]:
        """What ``A`` and ``B`` of every contrast ``A - B`` are called."""
        if not self.crossed:
            return [(self.levels[a], self.levels[b]) for a, b in zip(*self.pairs, strict=True)]
        first, second = self.crossed
        return [(f"({first[a]} - {first[b]}) at {second[p]}",
                 f"({first[a]} - {first[b]}) at {second[q]}")
                for p, q in zip(*np.triu_indices(len(second), 1), strict=True)
                for a, b in zip(*self.pairs, strict=True)]

    @property
    def name(self) -> str:
        """What the family is, and how many contrasts it has."""
        count = self.size
        kind = "all pairs" if self.control is None else f"against {self.control}"
        if self.crossed:
            kind = ("differences of differences" if self.control is None else
                    f"differences of differences against {self.control}")
        within = f" within {self.within}" if self.within else ""
        return f"{kind}{within} ({count} {'contrast' if count == 1 else 'contrasts'})"


@dataclass(frozen=True)
class Request:
    """A model and the comparisons wanted.

    Attributes
    ----------
    formula : Formula
    frame : ModelFrame
    cells : Cells or None
        Whose marginal means are wanted.
    families : tuple of Family
    contrasts : Contrasts
    fitting : Fitting
    confidence_level : float
        Of every interval.
    """

    formula: Formula
    frame: ModelFrame
    cells: Cells | None
    families: tuple[Family, ...]
    contrasts: Contrasts
    fitting: Fitting
    confidence_level: float

    @property
    def over(self) -> str | None:
        """The factor whose levels are compared, where it is one."""
        return self.cells.over[0] if self.cells and len(self.cells.over) == 1 else None


def make_request(table: pd.DataFrame, formula: str, *, over: Factors | None, contrasts: Contrasts,
                 fitting: Fitting, confidence_level: float, where: str) -> Request:
    """Parse the formula, encode the table, and choose the means and their families of contrasts.

    Parameters
    ----------
    table : pandas.DataFrame
        A row per score.
    formula : str
    over : str or sequence of str, optional
        Factors whose marginal means are compared.
    contrasts : Contrasts
    fitting : Fitting
    confidence_level : float
    where : str
        Name of the table in errors.

    Raises
    ------
    DataError
        If no complete row is left, the response or a covariate is not a finite number, or a
        factor has one level only.
    UsageError
        If the formula is wrong or names a column that the table lacks, or the contrasts do not
        belong to its factors.
    """
    parsed = parse(formula)
    compared, within = chosen_factors(over, contrasts.by, parsed.fixed, parsed.text)
    frame = model_frame(table, parsed, categorical=(*compared, *within), where=where)
    cells = wanted_cells(frame, compared, within, contrasts, parsed)
    if contrasts.interaction and cells is not None:
        _refuse_additive(parsed, cells)
    return Request(parsed, frame, cells, families_of(frame, cells, contrasts), contrasts, fitting,
                   confidence_level)


def wanted_cells(frame: ModelFrame, over: tuple[str, ...], by: tuple[str, ...],
                 contrasts: Contrasts, formula: NamesColumns) -> Cells | None:
    """The cells whose means are compared: those named, else of the only factor there is.

    Raises
    ------
    DataError
        If there are too many of them.
    UsageError
        If a comparison is wanted and it is not clear of what.
    """
    chosen = compared_factors(over, by, list(frame.factors), interaction=contrasts.interaction,
                              wanted=contrasts.wanted, formula=formula)
    return cells_of(frame, chosen, by) if chosen else None


def _refuse_additive(formula: Formula, cells: Cells) -> None:
    """Differences of differences are zero where no term has both factors."""
    if not any(set(cells.over) <= set(term) for term in formula.terms):
        raise no_interaction(formula, cells)


def no_interaction(formula: NamesColumns, cells: Cells) -> UsageError:
    """What is said where differences of differences are zero by the formula."""
    one, two = cells.over
    return UsageError(f"{formula.text!r} has no interaction of {one} and {two}, so that all "
                      f"differences of differences are zero; write {one} * {two}")


def families_of(frame: ModelFrame, cells: Cells | None, contrasts: Contrasts,
                ) -> tuple[Family, ...]:
    """The families of contrasts that are asked for, those of every group apart."""
    if cells is None:
        return ()
    compared = frame.factors[cells.over[0]].levels if contrasts.interaction else cells.levels
    control, factor = contrasts.control, cells.over[0] if contrasts.interaction else \
        " and ".join(cells.over)
    if control is not None and control not in compared:
        raise UsageError(f"{factor} has no level {control!r}; {nearest(control, compared)}")
    crossed = tuple(frame.factors[name].levels for name in cells.over) \
        if contrasts.interaction else ()
    names = [", ".join(f"{name} {frame.factors[name].levels[code]}"
                       for name, code in zip(cells.by, codes, strict=True))
             for codes in cells.groups]
    families = tuple(Family(cells.levels, against, adjustment, group, name, crossed)
                     for against, adjustment in _kinds(contrasts)
                     for group, name in enumerate(names))
    for family in families:
        count = family.size * len(names)
        if count > MOST_CONTRASTS:
            raise DataError(f"{factor} has {len(compared):,} levels, of which {count:,} contrasts "
                            f"can be made, more than the {MOST_CONTRASTS:,} that are compared; "
                            "name a --control, another factor by --over, or fewer rows")
    return families


def _kinds(contrasts: Contrasts) -> list[tuple[str | None, ContrastAdjustment]]:
    """The control, if any, and the adjustment of every kind of family.

    Each kind has an adjustment that is for it alone, and takes it where none or the other kind's
    is chosen.
    """
    chosen, control = contrasts.adjustment, contrasts.control
    if contrasts.interaction:
        return [(control, chosen or "sidak")]
    kinds: list[tuple[str | None, ContrastAdjustment]] = []
    if contrasts.posthoc is not None or control is None:
        kinds.append((None, "tukey" if chosen is None or chosen == "dunnett" else chosen))
    if control is not None:
        kinds.append((control, "dunnett" if chosen is None or chosen == "tukey" else chosen))
    if chosen is not None and all(adjustment != chosen for _, adjustment in kinds):
        raise UsageError("--adjust tukey is for all pairs (--posthoc tukey)" if chosen == "tukey"
                         else "--adjust dunnett is for comparisons with one level: name it by "
                         "--control")
    return kinds
