"""The R engine: lme4 and lmerTest through pymer4, marginal means by emmeans.

pymer4 0.8 fits the model; what it hands on is rounded or lacks Kenward-Roger, so that all
numbers are read from the R object it keeps.  pymer4 0.9 is another program with other R
packages, which Debian lacks, and is not supported.  rpy2 works in the main thread only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pandas as pd

from saltrust.analysis.mixed.adjustment.simultaneous import adjust
from saltrust.analysis.mixed.answer import Answer, Estimates, TermTest
from saltrust.analysis.mixed.cells import Cells
from saltrust.analysis.mixed.design import coding
from saltrust.analysis.mixed.engines import r
from saltrust.analysis.mixed.fitted import fit
from saltrust.analysis.mixed.formula import Formula, Grouping
from saltrust.analysis.mixed.frame import FloatArray
from saltrust.analysis.mixed.request import Family, Request
from saltrust.errors import DataError, UsageError

#: Beyond, ``auto`` takes the built-in engine, which gives the same in a fraction of the time.
AUTO_ROWS = 20_000

# lme4's default optimiser leaves a relative error of 1e-6 in the variances.
_CONTROL = "optimizer='bobyqa', optCtrl=list(rhoend=1e-8)"

_DDF = {"satterthwaite": "Satterthwaite", "kenward-roger": "Kenward-Roger",
        "asymptotic": "Satterthwaite"}
_ADJUST = {"tukey": "tukey", "bonferroni": "bonferroni", "holm": "holm", "sidak": "sidak",
           "dunnett": "dunnettx", "single-step": "mvt", "none": "none"}

_R_FIXED = """
function(model, ddf, level) {
  rows <- summary(model, ddf = ddf)$coefficients
  df <- if (ncol(rows) == 5) rows[, 3] else rep(Inf, nrow(rows))
  list(names = rownames(rows), estimate = rows[, 1], se = rows[, 2], df = df)
}
"""
_R_FIT = """
function(model) {
  parts <- as.data.frame(lme4::VarCorr(model))
  list(group = parts$grp, variance = parts$vcov, singular = lme4::isSingular(model, tol = 1e-4),
       deviance = -2 * as.numeric(logLik(model)))
}
"""
_R_TERMS = """
function(model, ddf) {
  rows <- anova(model, type = 3, ddf = ddf)
  list(term = rownames(rows), statistic = rows[["F value"]], numerator = rows[["NumDF"]],
       denominator = rows[["DenDF"]], p = rows[["Pr(>F)"]])
}
"""
_R_MEANS = """
function(model, over, within, df, limit, level, null) {
  means <- emmeans::emmeans(model, over, at = within, lmer.df = df, lmerTest.limit = limit,
                            pbkrtest.limit = limit)
  rows <- summary(means, infer = c(TRUE, TRUE), level = level, null = null)
  list(means = means, estimate = predict(means), se = rows$SE, df = rows$df,
       statistic = rows[[grep("ratio$", names(rows))]], p = rows$p.value,
       low = rows[[grep("LCL$|^lower", names(rows))]],
       high = rows[[grep("UCL$|^upper", names(rows))]])
}
"""
# R's tails of the studentized range and of Dunnett's approximation are differences from one.
_SMALL_P = 1e-6


def missing_reason(request: Request) -> str:
    """Why ``auto`` does not take this engine: a phrase, empty where it does.

    Looking is cheap unless everything but R's packages is there.
    """
    if request.frame.n > AUTO_ROWS:
        return f"there are more than {AUTO_ROWS} rows"
    if any(group.columns is not None for group in request.frame.groups):
        return "the formula has random slopes"
    return r.missing_reason()


def answer(request: Request) -> Answer:
    """Fit the model by lme4 and compare the means by emmeans.

    Raises
    ------
    UsageError
        If pymer4, R or one of the R packages is missing, or this is no main thread.
    DataError
        If the data cannot give the fit, or R says so.
    """
    if reason := r.missing_reason():
        raise UsageError(f"the engine pymer4 cannot be used: {reason}; take --engine builtin, "
                         "which gives the same results without R")
    if any(group.columns is not None for group in request.frame.groups):
        raise UsageError(f"the engine pymer4 is not handed the random slopes of "
                         f"{request.formula.text!r}; take --engine builtin")
    # Data that cannot be fitted get the same words from both engines.
    fit(request.frame, request.formula, reml=request.fitting.reml)
    with r.quiet():
        try:
            return _Session(request).answer()
        except Exception as error:  # noqa: BLE001 - R and pymer4 raise whatever they like
            reason = " ".join(str(error).split())[:300]
            raise DataError(f"R could not fit {request.formula.text!r} ({reason}); take --engine "
                            "builtin") from None


class _Session:
    """One model in R, under names of columns and levels that no formula can misread."""

    def __init__(self, request: Request) -> None:
        from pymer4.models import Lmer
        from rpy2 import robjects

        self.request = request
        self.robjects = robjects
        self.renamed = {name: f"v{number}" for number, name in enumerate(request.formula.fixed)}
        # pymer4 replaces its own callbacks for what R prints when it is told to be silent.
        model = Lmer(self._formula_text(), data=self._table())
        model.fit(REML=request.fitting.reml, summarize=False, verbose=False, no_warnings=True,
                  control=_CONTROL)
        self.model = model.model_obj

    def _formula_text(self) -> str:
        formula, frame = self.request.formula, self.request.frame
        terms = [":".join(self.renamed[name] for name in term) for term in formula.terms]
        groups = [f"(1|g{number})" for number in range(len(frame.groups))]
        return "y ~ " + " + ".join(["1" if formula.intercept else "0", *terms, *groups])

    def _table(self) -> pd.DataFrame:
        frame = self.request.frame
        columns: dict[str, Any] = {"y": frame.response}
        for name, factor in frame.factors.items():
            columns[self.renamed[name]] = pd.Categorical.from_codes(
                factor.codes, categories=_level_names(len(factor.levels)))
        for name, values in frame.covariates.items():
            columns[self.renamed[name]] = values
        for number, group in enumerate(frame.groups):
            columns[f"g{number}"] = pd.Categorical.from_codes(
                group.codes, categories=_level_names(group.size))
        return pd.DataFrame(columns)

    def _call(self, function: str, *arguments: Any) -> dict[str, Any]:
        return _by_name(self.robjects.r(function)(self.model, *arguments))

    def answer(self) -> Answer:
        """Everything that is asked, from R."""
        request = self.request
        fitted = self._call(_R_FIT)
        variance = dict(zip(fitted["group"], fitted["variance"], strict=True))
        names, dropped, fixed = self._fixed()
        means, contrasts = None, []
        if request.cells is not None:
            groups = [self._means(request.cells, group)
                      for group in range(len(request.cells.groups))]
            means = _joined([estimates for estimates, _ in groups])
            contrasts = [self._contrasts(groups[family.group][1], family)
                         for family in request.families]
        notes = ["single-step p-values of R are Monte Carlo estimates"] if any(
            family.adjustment == "single-step" for family in request.families) else []
        return Answer(
            engine="pymer4", names=names, dropped=dropped, fixed=fixed,
            covariances=tuple(np.array([[variance[f"g{number}"]]])
                              for number in range(len(request.frame.groups))),
            residual_variance=float(variance["Residual"]), deviance=float(fitted["deviance"][0]),
            singular=bool(fitted["singular"][0]), terms=self._terms(), means=means,
            contrasts=tuple(contrasts), notes=notes)

    def _fixed(self) -> tuple[list[str], list[str], Estimates]:
        rows = self._call(_R_FIXED, _DDF[self.request.fitting.df], self.request.confidence_level)
        shown = self._column_names()
        kept = list(rows["names"])
        estimate, error = _array(rows["estimate"]), _array(rows["se"])
        df = self._df(_array(rows["df"]))
        return ([shown[name] for name in kept],
                [label for name, label in shown.items() if name not in kept],
                self._tested(estimate, error, df))

    def _column_names(self) -> dict[str, str]:
        """Names of all columns by their names in R."""
        formula, frame = self.request.formula, self.request.frame
        levels = {name: factor.levels for name, factor in frame.factors.items()}
        renamed = Formula(
            "", "y", formula.intercept,
            tuple(tuple(self.renamed[name] for name in term) for term in formula.terms),
            frozenset(), tuple(Grouping(group.name, ()) for group in frame.groups))
        numbered = {self.renamed[name]: tuple(_level_names(len(its_levels)))
                    for name, its_levels in levels.items()}
        return dict(zip(coding(renamed, numbered).names(), coding(formula, levels).names(),
                        strict=True))

    def _tested(self, estimate: FloatArray, error: FloatArray, df: FloatArray) -> Estimates:
        stats = self.robjects.packages.importr("stats")
        vector = self.robjects.FloatVector
        statistic = estimate / error
        p_value = 2 * _array(stats.pt(vector(-np.abs(statistic)), vector(df)))
        width = _array(stats.qt((1 + self.request.confidence_level) / 2, vector(df))) * error
        return Estimates(estimate=estimate, std_error=error, df=df, statistic=statistic,
                         p_value=p_value, p_adjusted=np.full(len(estimate), np.nan),
                         conf_low=estimate - width, conf_high=estimate + width)

    def _df(self, df: FloatArray) -> FloatArray:
        return np.full(len(df), np.inf) if self.request.fitting.df == "asymptotic" else df

    def _terms(self) -> list[TermTest]:
        formula = self.request.formula
        if not formula.terms:
            return []
        rows = self._call(_R_TERMS, _DDF[self.request.fitting.df])
        shown = {":".join(self.renamed[name] for name in term):
                 ":".join(formula.label(name) for name in term) for term in formula.terms}
        stats = self.robjects.packages.importr("stats")
        tests = []
        for index, name in enumerate(rows["term"]):
            numerator, statistic = rows["numerator"][index], rows["statistic"][index]
            denominator, p_value = rows["denominator"][index], rows["p"][index]
            if self.request.fitting.df == "asymptotic":
                denominator = float("inf")
                p_value = stats.pchisq(statistic * numerator, numerator, lower_tail=False)[0]
            tests.append(TermTest(shown[name], statistic, numerator, denominator, p_value))
        return tests

    def _means(self, cells: Cells, group: int) -> tuple[Estimates, Any]:
        request, vector = self.request, self.robjects.StrVector
        over = vector([self.renamed[name] for name in cells.over])
        within = self.robjects.ListVector({
            self.renamed[name]: vector([f"l{code}"])
            for name, code in zip(cells.by, cells.groups[group], strict=True)})
        rows = self._call(_R_MEANS, over, within, request.fitting.df, request.frame.n + 1,
                           request.confidence_level, request.contrasts.against_value)
        return replace(_estimates(rows),
                       p_adjusted=np.full(len(rows["p"]), np.nan)), rows["means"]

    def _contrasts(self, means: Any, family: Family) -> Estimates:
        rows = _by_name(self.robjects.r(r.CONTRASTS)(
            means, family.control_place, bool(family.crossed), _ADJUST[family.adjustment],
            self.request.confidence_level, self.request.contrasts.seed))
        return _with_small_p(_estimates(rows), family, _array(rows["covariance"]), self.request)


def _with_small_p(made: Estimates, family: Family, covariance: FloatArray, request: Request,
                  ) -> Estimates:
    """Adjusted p-values too small for a difference from one, computed from t and df."""
    if not (made.p_adjusted < _SMALL_P).any():
        return made
    size, known = len(made.p_value), ~np.isnan(made.statistic)
    values, vectors = np.linalg.eigh(covariance.reshape(size, size)[np.ix_(known, known)])
    root = np.zeros((size, len(values)))
    root[known] = vectors * np.sqrt(values.clip(min=0.0))
    exact, _, _ = adjust(family, made.statistic, made.df, root,
                         request.confidence_level, seed=request.contrasts.seed)
    return replace(made, p_adjusted=np.where(made.p_adjusted < _SMALL_P, exact, made.p_adjusted))


def _joined(parts: Sequence[Estimates]) -> Estimates:
    """Estimates of several groups, one after another."""
    return Estimates(*(np.concatenate([getattr(part, field.name) for part in parts])
                       for field in fields(Estimates)))


def _by_name(values: Any) -> dict[str, Any]:
    """A list of R by its names."""
    return {name: values.rx2(name) for name in values.names}


def _level_names(size: int) -> pd.Index[str]:
    return pd.Index([f"l{index}" for index in range(size)])


def _estimates(rows: dict[str, Any]) -> Estimates:
    p_value = _array(rows["p"])
    return Estimates(
        estimate=_array(rows["estimate"]), std_error=_array(rows["se"]),
        df=_array(rows["df"]), statistic=_array(rows["statistic"]), p_value=p_value,
        p_adjusted=_array(rows["adjusted"]) if "adjusted" in rows else p_value,
        conf_low=_array(rows["low"]), conf_high=_array(rows["high"]))


def _array(values: Any) -> FloatArray:
    made = np.asarray(list(values), dtype=np.float64)
    made[np.isnan(made)] = np.nan  # R's NA is a NaN that warns where it is computed with
    return made
