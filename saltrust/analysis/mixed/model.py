"""Linear mixed-effects models: fixed effects, marginal means and their contrasts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy

from saltrust.analysis.inference.estimate import check_confidence_level
from saltrust.analysis.inference.threads import one_blas_thread
from saltrust.analysis.mixed.answer import Answer
from saltrust.analysis.mixed.apa import apa_sentences
from saltrust.analysis.mixed.cells import Factors, cell_notes, describe_cells
from saltrust.analysis.mixed.engines import builtin, pymer4, r
from saltrust.analysis.mixed.formula import Formula, parse
from saltrust.analysis.mixed.frame import INTERCEPT
from saltrust.analysis.mixed.influence import influence
from saltrust.analysis.mixed.likelihood.computation import DENSE_LEVELS
from saltrust.analysis.mixed.lme4.formula import VerbatimFormula, parse_verbatim
from saltrust.analysis.mixed.lme4.model import fit_verbatim
from saltrust.analysis.mixed.options import ADJUSTMENTS, Contrasts, Fitting
from saltrust.analysis.mixed.random_terms import random_tests, variance_intervals
from saltrust.analysis.mixed.request import Request, make_request
from saltrust.analysis.mixed.residuals import residual_tables
from saltrust.analysis.mixed.scores_table import choose_rows, read_scores, require_choosing
from saltrust.analysis.mixed.tables import tables
from saltrust.analysis.mixed.unequal.spreads import level_spreads
from saltrust.analysis.mixed.verification import differences, largest
from saltrust.analysis.result import Result
from saltrust.cache.identity import of_one_store
from saltrust.errors import DataError, UsageError
from saltrust.reading import reading, shown

_log = logging.getLogger(__name__)


@of_one_store
def mixed_model(scores: pd.DataFrame | str | Path, formula: str, *, over: Factors | None = None,
                only: Mapping[str, Any] | None = None, contrasts: Contrasts = Contrasts(),
                fitting: Fitting = Fitting(), confidence_level: float = 0.95) -> Result:
    """Fit a linear mixed model and compare the means of a factor.

    Parameters
    ----------
    scores : pandas.DataFrame or path
        One row per score, with the columns that the formula names.  Rows with a missing value
        in one of them are left out and counted.  A file is CSV: UTF-8, comma-separated, with a
        header, compressed if the suffix says so; empty cells and NA are missing.
    formula : str
        Such as ``auprc ~ explainer + (1|image)``: fixed effects are joined by ``+``; ``a:b`` is
        an interaction and ``a*b`` short for ``a + b + a:b``; ``factor(x)`` makes a column of
        numbers categorical; ``0 +`` drops the intercept.  Random intercepts are ``(1|group)``,
        nested ones ``(1|a/b)``; ``(1 + x|group)`` has random slopes that correlate with the
        intercepts, ``(1 + x||group)`` slopes that do not.  Names that are not plain words stand
        in backticks.  With ``Fitting(engine="pymer4")`` lme4 gets more as it is: ``I()``,
        ``log()``, ``poly()``, ``offset()``.
    over : str or sequence of str, optional
        Factor whose marginal means are compared; of several, the means of all combinations of
        their levels (cells).  By default the formula's only categorical fixed effect beside
        ``Contrasts.by``; where there are several no means are made unless one is named.  It
        is categorical even where its levels look like numbers.  Levels are in order of first
        appearance, and the first is the reference of the coefficients.
    only : mapping of str to collection, optional
        Only rows in which each column holds this value, or one of these; the empty text stands
        for a missing one.  Columns of a file are text.
    contrasts : Contrasts
        Which means are compared (``posthoc``, ``control``), within the levels of which factors
        (``by``), or which differences (``interaction``), the adjustment within a family
        (``adjustment``, ``seed``), and the constant that each is tested against
        (``against_value``).
    fitting : Fitting
        Degrees of freedom (``df``), estimation (``reml``), and the program that computes
        (``engine``, ``verify``), ``family`` of the response and ``weights``, one residual
        variance or one per level (``variance``).
    confidence_level : float
        Of every interval, in (0, 1); joint within a family of contrasts.

    Returns
    -------
    Result
        Tables ``contrasts`` (``contrast`` written ``A - B``), ``means``, ``fixed_effects``,
        ``anova`` (type III tests), ``random_effects`` (``group, variance, sd, n_groups, effect,
        correlation``) and ``fit`` (``n, log_likelihood, reml, singular, engine, ...``), with
        the uniform columns of estimates; ``explained_variance`` (R squared, intraclass
        correlations) and ``apa`` (a sentence on every term and contrast); with several effects
        of one term ``random_correlations`` too, and ``residual_sd`` (``level, sd``) where every
        level has a variance.

    Raises
    ------
    DataError
        If the file cannot be read or the data cannot give the fit: no complete rows, one level,
        a perfect fit, variances that cannot be told apart.
    UsageError
        If the formula or an option is wrong, or the engine is missing.

    References
    ----------
    D. Bates et al. (2015), J. Stat. Softw. 67(1); A. Kuznetsova et al. (2017), J. Stat. Softw.
    82(13); M. G. Kenward and J. H. Roger (1997), Biometrics 53, 983-997; S. R. Searle et al.
    (1980), Am. Stat. 34, 216-221.

    Examples
    --------
    >>> import pandas as pd
    >>> scores = pd.DataFrame({"image": [1, 1, 2, 2, 3, 3],
    ...                        "explainer": ["grad", "xrai"] * 3,
    ...                        "auprc": [0.2, 0.5, 0.1, 0.3, 0.4, 0.5]})
    >>> result = mixed_model(scores, "auprc ~ explainer + (1|image)",
    ...                      fitting=Fitting(engine="builtin"))
    >>> row = result.tables["contrasts"].iloc[0]
    >>> print(f"{row['contrast']}: {row['estimate']:.3f}, p = {row['p_value']:.4f}")
    grad - xrai: -0.200, p = 0.0742
    """
    source: dict[str, Any] = {}
    chosen = {column: [values] if np.ndim(values) == 0 else sorted(values)
              for column, values in (only or {}).items()}
    if isinstance(scores, pd.DataFrame):
        where = "the table"
        require_choosing(chosen, [str(name) for name in scores.columns], where)
        table = choose_rows(scores, chosen, where) if chosen else scores
    else:
        where = source["scores"] = str(scores)
        table = read_scores(scores, read_formula(formula, fitting), chosen, fitting.weights)
    if chosen:
        source["only"] = chosen
    result, warnings = fit_model(table, formula, over=over, contrasts=contrasts, fitting=fitting,
                                 confidence_level=confidence_level, where=where)
    hits = [] if fitting.family == "binomial" else \
        _of_hits(table, read_formula(formula, fitting))
    for warning in [*warnings, *hits]:
        _log.warning("%s", warning)
    meta = {**source, **result.meta, "notes": [*result.meta["notes"], *hits]}
    sentences = {"apa": apa_sentences(result.tables, confidence_level)}
    return Result(meta, {**result.tables, **sentences}, "mixed")


def fit_model(table: pd.DataFrame, formula: str, *, over: Factors | None = None,
              contrasts: Contrasts = Contrasts(), fitting: Fitting = Fitting(),
              confidence_level: float = 0.95, where: str = "the table",
              ) -> tuple[Result, list[str]]:
    """:func:`mixed_model` of a table for other analyses: silent, its warnings are returned.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per score, with the columns that the formula names.
    formula : str
        Such as ``auprc ~ explainer + (1|image)``.
    over : str or sequence of str, optional
        Factors whose marginal means are compared; by default the only one.
    contrasts : Contrasts
        Which means are compared, and how their p-values are adjusted.
    fitting : Fitting
        Degrees of freedom, estimation and engine.
    confidence_level : float
        Of every interval.
    where : str
        What errors call the table.

    Returns
    -------
    result : Result
        The tables and metadata of :func:`mixed_model`; ``meta["notes"]`` says what a reader of
        the estimates must know.
    warnings : list of str
        What a person at the terminal should see: those notes, rows that were left out, and
        another engine than the one asked for.

    Raises
    ------
    DataError
        If the data cannot give the fit.
    UsageError
        If the formula or an option is wrong, or the engine is missing.
    """
    check_confidence_level(confidence_level)
    parsed = read_formula(formula, fitting)
    if isinstance(parsed, VerbatimFormula):
        with reading(where, "check the values of its columns"):
            return fit_verbatim(table, parsed, over=over, contrasts=contrasts, fitting=fitting,
                                confidence_level=confidence_level, where=where)
    with reading(where, "check the values of its columns"):
        request = make_request(table, formula, over=over, contrasts=contrasts, fitting=fitting,
                               confidence_level=confidence_level, where=where)
    with (reading(f"the model {shown(request.formula.text)} of {where}",
                  "check the values of its columns", verb="fitted"), _threads(request)):
        answer, warnings = _answer(request)
        made = tables(request, answer)
        if fitting.inspection.random_tests:
            made["random_tests"] = random_tests(request, answer.deviance)
        if fitting.inspection.profile:
            made["variance_intervals"] = variance_intervals(request)
        if fitting.inspection.influence is not None:
            made["influence"] = influence(request, table, fitting.inspection.influence)
        if fitting.inspection.residuals:
            made |= residual_tables(request, answer)
    notes = _notes(request, answer)
    meta = _meta(request, answer, notes)
    if fitting.verify:
        other = (pymer4 if answer.engine == "builtin" else builtin).answer(request)
        by_engine = {one.engine: tables(request, one) for one in (answer, other)}
        made["verification"] = differences(by_engine["builtin"], by_engine["pymer4"])
        meta["verification"] = largest(made["verification"])
    return Result(meta, made), [*warnings, *_incomplete(request), *notes]


def read_formula(text: str, fitting: Fitting) -> Formula | VerbatimFormula:
    """The formula, of the kind that the engine takes.

    lme4 gets a binomial model, weights, and what the built-in engine refuses, where it is asked
    for by name.
    """
    if fitting.family == "binomial" or fitting.weights is not None:
        return parse_verbatim(text)
    try:
        parsed = parse(text)
        slopes = any(group.slopes for group in parsed.groupings)
        alone = fitting.engine == "pymer4" and not fitting.verify
        return parse_verbatim(text) if slopes and alone else parsed
    except UsageError as error:
        if fitting.engine == "builtin" or fitting.verify:
            raise
        try:
            verbatim = parse_verbatim(text)
        except UsageError as other:
            raise (other if fitting.engine == "pymer4" else error) from None
        if fitting.engine == "pymer4":
            return verbatim
        raise UsageError(f"{error}; or say --engine pymer4, which hands it to lme4 as it is"
                         ) from None


def _threads(request: Request) -> AbstractContextManager[None]:
    """One thread of BLAS, but for dense systems that are large enough to share."""
    others = sum(group.size for group in request.frame.groups[1:])
    return one_blas_thread() if others <= DENSE_LEVELS else nullcontext()


def _answer(request: Request) -> tuple[Answer, list[str]]:
    """The answer of the engine that is wanted, and why it is another's."""
    engine = request.fitting.engine
    if request.fitting.variance == "level":
        return builtin.answer(request), []  # lme4 has none of it
    if engine == "pymer4":
        return pymer4.answer(request), []
    if engine == "auto" and not pymer4.missing_reason(request):
        try:
            return pymer4.answer(request), []
        except DataError as error:
            # Data that cannot be fitted get the same words from the built-in engine.
            return builtin.answer(request), [f"the built-in engine is used: {error}"]
    return builtin.answer(request), []


def _meta(request: Request, answer: Answer, notes: list[str]) -> dict[str, Any]:
    frame, formula = request.frame, request.formula
    versions = (
        r.versions() if answer.engine == "pymer4"
        else {"numpy": np.__version__, "scipy": scipy.__version__})
    incomplete = frame.rows_read - frame.n
    return {
        "formula": formula.text,
        "engine": answer.engine,
        "versions": versions,
        **request.fitting.describe(),
        **describe_cells(request.cells),
        "adjustments": {family.name: ADJUSTMENTS[family.adjustment]
                        for family in request.families},
        **request.contrasts.describe(),
        "confidence_level": request.confidence_level,
        "rows": frame.rows_read,
        "n": frame.n,
        "excluded": {"incomplete rows": incomplete} if incomplete else {},
        "missing": frame.missing,
        "groups": {group.name: group.size for group in frame.groups},
        "notes": [*notes, *answer.notes],
    }


def _notes(request: Request, answer: Answer) -> list[str]:
    notes = []
    frame = request.frame
    if answer.singular:
        variances = [(group, matrix) for group, matrix in
                     zip(frame.groups, answer.covariances, strict=True)]
        zero = [group.name if effect == INTERCEPT else f"{effect} by {group.name}"
                for group, matrix in variances
                for effect, variance in zip(group.effects, np.diag(matrix), strict=True)
                if variance <= 1e-8 * answer.residual_variance]
        notes.append(f"singular fit: the variance of {' and '.join(zero)} is estimated as zero"
                     if zero else "singular fit: random effects are estimated as combinations of "
                     "each other (correlations of 1)")
    if answer.dropped:
        notes.append(f"{len(answer.dropped)} fixed effects are combinations of others and left "
                     f"out: {', '.join(answer.dropped)}")
    notes += [f"the variance of {group.name} rests on {group.size} groups, fewer than the "
              f"{len(answer.names)} fixed effects"
              for group in frame.groups if group.size < len(answer.names)]
    notes += _spread_notes(request, answer)
    if request.cells is not None:
        notes += cell_notes(request.cells, request.formula.terms, list(frame.factors))
    elif len(frame.factors) > 1:
        notes.append("no means are compared, since several factors could be: say --over "
                     + " or --over ".join(frame.factors))
    return notes


def _of_hits(table: pd.DataFrame, formula: Formula | VerbatimFormula) -> list[str]:
    """A warning where a linear model was fitted to a response of 0 and 1."""
    response = formula.columns[0]
    column = table[response]
    values = pd.to_numeric(column.astype(object) if column.dtype == bool else column,
                           errors="coerce")
    if not values.dropna().isin((0, 1)).all():
        return []
    return [f"{response} is 0 or 1 in every row and the model is linear: its estimates are "
            "differences of probabilities; --family binomial fits their log-odds"]


#: Ratio of standard deviations, and level of the test, at which spreads differ to be said.
_UNEQUAL, _TEST_LEVEL = 1.5, 0.01


def _spread_notes(request: Request, answer: Answer) -> list[str]:
    """Whether the levels' residual spreads differ: tested where they are fitted, else seen."""
    levels, over = answer.levels, request.over
    if levels is not None:
        return [f"likelihood-ratio test of equal residual variances of {levels.factor}: "
                f"chi-squared {levels.statistic:.2f} on {levels.df} df, p {levels.p_value:.2g}"]
    if over is None or len(request.frame.groups) == 0:
        return []
    spread = level_spreads(request.frame, over)
    if spread is None or not (spread.p_value < _TEST_LEVEL and spread.ratio > _UNEQUAL):
        return []
    return [f"the spread of the levels of {over} differs ({spread.ratio:.1f}-fold): equal "
            "variances make tests of loud levels too liberal, those of steady ones too "
            "cautious; see --variance level"]


def _incomplete(request: Request) -> list[str]:
    frame = request.frame
    if frame.rows_read == frame.n:
        return []
    columns = ", ".join(f"{name} {count}" for name, count in frame.missing.items())
    return [f"{frame.rows_read - frame.n} of {frame.rows_read} rows are incomplete and left out "
            f"(missing values: {columns})"]
