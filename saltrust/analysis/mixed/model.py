"""Linear mixed-effects models: fixed effects, marginal means and their contrasts."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import scipy

from saltrust.analysis.inference.estimate import check_confidence_level
from saltrust.analysis.mixed.engines import builtin, pymer4_engine
from saltrust.analysis.mixed.formula import Formula, parse
from saltrust.analysis.mixed.frame import ModelFrame, model_frame, read_scores
from saltrust.analysis.mixed.request import (
    ADJUSTMENTS,
    DF_METHODS,
    Adjustment,
    Answer,
    DfMethod,
    Family,
    Request,
)
from saltrust.analysis.mixed.tables import tables
from saltrust.analysis.mixed.verification import differences, largest
from saltrust.analysis.result import Result
from saltrust.errors import DataError, UsageError, nearest

Engine = Literal["auto", "builtin", "pymer4"]
ENGINES: tuple[Engine, ...] = ("auto", "builtin", "pymer4")

_LOGGER = logging.getLogger(__name__)

_DF = {
    "satterthwaite": "Satterthwaite, as lmerTest",
    "kenward-roger": "Kenward-Roger with adjusted covariance, as pbkrtest",
    "asymptotic": "infinite: normal reference distribution, as multcomp for mixed models",
}
_ADJUSTMENT = {
    "tukey": "studentized range",
    "bonferroni": "Bonferroni",
    "holm": "Holm; intervals by Bonferroni",
    "sidak": "Sidak",
    "dunnett": "Dunnett, approximated as emmeans does by default (dunnettx)",
    "single-step": "single-step: the largest statistic under the contrasts' own correlation",
    "none": "none",
}


def mixed_model(
    table: pd.DataFrame, formula: str, *, over: str | None = None,
    posthoc: Literal["tukey"] | None = None, control: str | None = None,
    df: DfMethod = "satterthwaite", adjust: Adjustment | None = None, engine: Engine = "auto",
    verify: bool = False, confidence_level: float = 0.95, reml: bool = True,
    against_value: float = 0.0, seed: int = 0, where: str = "the table",
) -> Result:
    """Fit a linear mixed model with random intercepts and compare the means of a factor.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per score, with the columns that the formula names.  Rows with a missing value
        in one of them are left out and counted.
    formula : str
        Such as ``auprc ~ explainer + (1|image)``; see
        :func:`saltrust.analysis.mixed.formula.parse`.
    over : str, optional
        Factor whose marginal means are compared.  By default the formula's only categorical
        fixed effect, where it has one; with several there are no means unless one is named.
        It is categorical even where its levels look like numbers.  Levels are in order of
        first appearance, and the first is the reference of the coefficients.
    posthoc : "tukey", optional
        Compare all pairs of levels.  This is the default without ``control``.
    control : str, optional
        Level that every other one is compared with.
    df : {"satterthwaite", "kenward-roger", "asymptotic"}
        Degrees of freedom; Kenward-Roger adjusts the standard errors too, and needs REML.
    adjust : {"tukey", "bonferroni", "holm", "sidak", "dunnett", "single-step", "none"}, optional
        Adjustment of p-values and intervals within a family.  By default Tukey's for all pairs
        and Dunnett's against a control, which are for these alone.
    engine : {"auto", "builtin", "pymer4"}
        ``builtin`` needs NumPy and SciPy alone; ``pymer4`` goes through lme4, lmerTest and
        emmeans in R; ``auto`` takes pymer4 where it and the R packages are found, up to 20,000
        rows, beyond which the built-in engine gives the same much sooner.
    verify : bool
        Run both engines, return the chosen one's tables, and a table ``verification`` of the
        largest differences.
    confidence : float
        Of every interval; joint within a family of contrasts.
    reml : bool
        Restricted maximum likelihood; ordinary for comparing likelihoods of models that differ
        in their fixed effects.
    against_value : float
        Constant that the marginal means are tested against.
    seed : int
        Of the sampling that the single-step adjustment of unbalanced pairs needs.
    where : str
        What errors call the table.

    Returns
    -------
    Result
        Tables ``contrasts`` (``contrast`` written ``A - B``), ``means``, ``fixed_effects``,
        ``anova`` (type III tests), ``random_effects`` (``group, variance, sd, n_groups``) and
        ``fit`` (``n, log_likelihood, reml, singular, engine, ...``), with the uniform columns
        of estimates.

    Raises
    ------
    DataError
        If the data cannot give the fit: no complete rows, one level, a perfect fit, variances
        that cannot be told apart.
    UsageError
        If the formula or an option is wrong, or the engine is not there.

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
    >>> result = mixed_model(scores, "auprc ~ explainer + (1|image)", engine="builtin")
    >>> row = result.tables["contrasts"].iloc[0]
    >>> print(f"{row['contrast']}: {row['estimate']:.3f}, p = {row['p_value']:.4f}")
    grad - xrai: -0.200, p = 0.0742
    """
    parsed = parse(formula)
    _check_options(df=df, adjust=adjust, engine=engine, reml=reml, posthoc=posthoc)
    check_confidence_level(confidence_level)
    if over is not None and over not in parsed.fixed:
        raise UsageError(f"{over!r} is no fixed effect of {parsed.text!r}; " + (
            nearest(over, parsed.fixed) if parsed.fixed else "it has an intercept only"))
    frame = model_frame(table, parsed, categorical=() if over is None else (over,), where=where)
    factor = _factor(parsed, frame, over, wanted=posthoc is not None or control is not None)
    families = _families(frame, factor, posthoc=posthoc, control=control, adjust=adjust)
    request = Request(formula=parsed, frame=frame, over=factor, families=families, df=df,
                      level=confidence_level, reml=reml, null=against_value, seed=seed)
    answer = _answer(engine, request)
    made = tables(request, answer)
    meta = _meta(request, answer)
    if verify:
        other = (pymer4_engine if answer.engine == "builtin" else builtin).answer(request)
        by_engine = {found.engine: tables(request, found) for found in (answer, other)}
        made["verification"] = differences(by_engine["builtin"], by_engine["pymer4"])
        meta["verification"] = largest(made["verification"])
    _warn(request, answer)
    return Result(meta, made)


def mixed_model_of_file(path: str | Path, formula: str, *,
                        only: Mapping[str, Collection[str]] | None = None,
                        **options: Any) -> Result:
    """As :func:`mixed_model`, for a CSV file.

    Parameters
    ----------
    path : str or pathlib.Path
        UTF-8, comma-separated, with a header.  Empty cells and NA are missing.
    formula : str
    only : mapping of str to collection of str, optional
        Only rows in which each column holds one of these values.
    **options
        Of :func:`mixed_model`.

    Raises
    ------
    DataError
        If the file cannot be read, and as :func:`mixed_model`.
    UsageError
        As :func:`mixed_model`.
    """
    table = read_scores(path, parse(formula), only)
    result = mixed_model(table, formula, where=str(path), **options)
    chosen = {"only": {name: sorted(values) for name, values in only.items()}} if only else {}
    return Result({"scores": str(path), **chosen, **result.meta}, result.tables)


def _check_options(*, df: str, adjust: str | None, engine: str, reml: bool,
                   posthoc: str | None) -> None:
    for word, known, option in ((df, DF_METHODS, "df"), (adjust, ADJUSTMENTS, "adjust"),
                                (engine, ENGINES, "engine"), (posthoc, ("tukey",), "posthoc")):
        if word is not None and word not in known:
            raise UsageError(f"{option} = {word!r} is not known; {nearest(word, known)}")
    if df == "kenward-roger" and not reml:
        raise UsageError("Kenward-Roger's degrees of freedom are defined for REML; drop --ml or "
                         "take --df satterthwaite")


def _factor(formula: Formula, frame: ModelFrame, over: str | None, *, wanted: bool) -> str | None:
    """The factor whose means are compared."""
    if over is not None:
        return over
    if len(frame.factors) == 1:
        return next(iter(frame.factors))
    if wanted:
        choice = (f"say --over {' or --over '.join(frame.factors)}" if frame.factors else
                  "its fixed effects are all numeric; name one by --over to make it categorical"
                  if formula.fixed else "it has no fixed effect but the intercept")
        raise UsageError(f"{formula.text!r} does not say which factor's levels to compare: "
                         f"{choice}")
    return None


def _families(frame: ModelFrame, factor: str | None, *, posthoc: str | None,
              control: str | None, adjust: Adjustment | None) -> tuple[Family, ...]:
    if factor is None:
        return ()
    levels = frame.factors[factor].levels
    if control is not None and control not in levels:
        raise UsageError(f"{factor} has no level {control!r}; {nearest(control, levels)}")
    families: list[Family] = []
    if posthoc is not None or control is None:
        families.append(Family(levels, None, _own(adjust, "tukey", "dunnett")))
    if control is not None:
        families.append(Family(levels, control, _own(adjust, "dunnett", "tukey")))
    if adjust is not None and all(family.adjustment != adjust for family in families):
        raise UsageError("--adjust tukey is for all pairs (--posthoc tukey)" if adjust == "tukey"
                         else "--adjust dunnett is for comparisons with one level: name it by "
                         "--control")
    return tuple(families)


def _own(adjust: Adjustment | None, own: Adjustment, foreign: Adjustment) -> Adjustment:
    """The adjustment of a family: its own where none is chosen or the other family's."""
    return own if adjust is None or adjust == foreign else adjust


def _answer(engine: Engine, request: Request) -> Answer:
    if engine == "pymer4":
        return pymer4_engine.answer(request)
    if engine == "auto" and not pymer4_engine.missing(request):
        try:
            return pymer4_engine.answer(request)
        except DataError as error:
            # Data that cannot be fitted get the same words from the built-in engine.
            found = builtin.answer(request)
            _LOGGER.warning("the built-in engine is used: %s", error)
            return found
    return builtin.answer(request)


def _meta(request: Request, answer: Answer) -> dict[str, Any]:
    frame, formula = request.frame, request.formula
    versions = (
        pymer4_engine.versions() if answer.engine == "pymer4"
        else {"numpy": np.__version__, "scipy": scipy.__version__})
    incomplete = frame.rows_read - frame.n
    return {
        "formula": formula.text,
        "engine": answer.engine,
        "versions": versions,
        "estimation": "REML" if request.reml else "maximum likelihood",
        "df": _DF[request.df],
        "over": request.over,
        "levels": list(frame.factors[request.over].levels) if request.over else [],
        "adjustments": {family.name: _ADJUSTMENT[family.adjustment]
                        for family in request.families},
        "means_tested_against": request.null,
        "confidence_level": request.level,
        "rows": frame.rows_read,
        "n": frame.n,
        "excluded": {"incomplete rows": incomplete} if incomplete else {},
        "missing": frame.missing,
        "groups": {group.name: group.size for group in frame.groups},
        "seed": request.seed,
        "notes": [*_notes(request, answer), *answer.notes],
    }


def _notes(request: Request, answer: Answer) -> list[str]:
    notes = []
    frame = request.frame
    if answer.singular:
        zero = [group.name for group, variance in zip(frame.groups, answer.variances, strict=True)
                if variance <= 1e-8 * answer.residual_variance]
        notes.append(f"singular fit: the variance of {' and '.join(zero)} is estimated as zero")
    if answer.dropped:
        notes.append(f"{len(answer.dropped)} fixed effects are combinations of others and left "
                     f"out: {', '.join(answer.dropped)}")
    notes += [f"the variance of {group.name} rests on {group.size} groups, fewer than the "
              f"{len(answer.names)} fixed effects"
              for group in frame.groups if group.size < len(answer.names)]
    over = request.over
    if over and any(over in term and len(term) > 1 for term in request.formula.terms):
        notes.append(f"{over} interacts with other effects: its means are averages over them")
    return notes


def _warn(request: Request, answer: Answer) -> None:
    frame = request.frame
    if frame.rows_read > frame.n:
        columns = ", ".join(f"{name} {count}" for name, count in frame.missing.items())
        _LOGGER.warning("%d of %d rows are incomplete and left out (missing values: %s)",
                        frame.rows_read - frame.n, frame.rows_read, columns)
    for note in _notes(request, answer):
        _LOGGER.warning("%s", note)
