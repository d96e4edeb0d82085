"""The R engine: lme4 and lmerTest through pymer4, marginal means by emmeans.

pymer4 0.8 fits the model; what it hands on is rounded or lacks Kenward-Roger, so that all
numbers are read from the R object it keeps.  pymer4 0.9 is another program with other R
packages, which Debian lacks, and is not supported.  rpy2 works in the main thread only.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import shutil
import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from importlib import metadata
from typing import Any

import numpy as np
import pandas as pd

from saltrust.analysis.mixed.design import coding
from saltrust.analysis.mixed.fitted import fit
from saltrust.analysis.mixed.formula import Formula, Grouping
from saltrust.analysis.mixed.frame import FloatArray
from saltrust.analysis.mixed.request import Answer, Estimates, Family, Request, TermTest
from saltrust.errors import DataError, UsageError

R_PACKAGES = ("lme4", "lmerTest", "emmeans", "pbkrtest")

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
function(model, over, df, limit, level, null) {
  means <- emmeans::emmeans(model, over, lmer.df = df, lmerTest.limit = limit,
                            pbkrtest.limit = limit)
  rows <- summary(means, infer = c(TRUE, TRUE), level = level, null = null)
  list(means = means, estimate = predict(means), se = rows$SE, df = rows$df,
       statistic = rows[[grep("ratio$", names(rows))]], p = rows$p.value,
       low = rows[[grep("LCL$|^lower", names(rows))]],
       high = rows[[grep("UCL$|^upper", names(rows))]])
}
"""
_R_CONTRASTS = """
function(means, control, adjust, level, seed) {
  set.seed(seed)
  made <- if (control == 0) emmeans::contrast(means, "pairwise") else
    emmeans::contrast(means, "trt.vs.ctrl", ref = control)
  rows <- summary(made, infer = c(TRUE, TRUE), level = level, adjust = adjust)
  list(estimate = rows$estimate, se = rows$SE, df = rows$df,
       statistic = rows[[grep("ratio$", names(rows))]], adjusted = rows$p.value,
       p = summary(made, infer = c(FALSE, TRUE), adjust = "none")$p.value,
       low = rows[[grep("LCL$|^lower", names(rows))]],
       high = rows[[grep("UCL$|^upper", names(rows))]])
}
"""


def missing(request: Request) -> str:
    """Why ``auto`` does not take this engine: a phrase, empty where it does.

    Looking is cheap unless everything but R's packages is there.
    """
    if request.frame.n > AUTO_ROWS:
        return f"there are more than {AUTO_ROWS} rows"
    return _missing_here()


def answer(request: Request) -> Answer:
    """Fit the model by lme4 and compare the means by emmeans.

    Raises
    ------
    UsageError
        If pymer4, R or one of the R packages is missing, or this is no main thread.
    DataError
        If the data cannot give the fit, or R says so.
    """
    if reason := _missing_here():
        raise UsageError(f"the engine pymer4 cannot be used: {reason}; take --engine builtin, "
                         "which gives the same results without R")
    # Data that cannot be fitted get the same words from both engines.
    fit(request.frame, request.formula, reml=request.reml)
    with _quiet_r():
        try:
            return _Session(request).answer()
        except Exception as error:  # noqa: BLE001 - R and pymer4 raise whatever they like
            reason = " ".join(str(error).split())[:300]
            raise DataError(f"R could not fit {request.formula.text!r} ({reason}); take --engine "
                            "builtin") from None


def versions() -> dict[str, str]:
    """Versions of what computes."""
    with _quiet_r():
        from rpy2 import robjects

        found = {name: str(robjects.r(f"as.character(packageVersion('{name}'))")[0])
                 for name in R_PACKAGES}
        found["R"] = str(robjects.r("as.character(getRversion())")[0])
    return {"pymer4": metadata.version("pymer4"), "rpy2": metadata.version("rpy2"), **found}


def _missing_here() -> str:
    if threading.current_thread() is not threading.main_thread():
        return "R runs in the main thread only"
    return _missing_installed()


@cache
def _missing_installed() -> str:
    for name in ("pymer4", "rpy2"):
        if not _importable(name):
            return f"{name} is not installed (pip install 'saltrust[r]')"
    version = metadata.version("pymer4")
    if not version.startswith("0.8."):
        return f"pymer4 {version} is not supported, 0.8 is"
    if int(pd.__version__.split(".", maxsplit=1)[0]) >= 3:
        return f"pymer4 {version} does not work with pandas {pd.__version__}; it needs pandas 2"
    if shutil.which("R") is None and not os.environ.get("R_HOME"):
        return "R is not installed"
    try:
        with _quiet_r():
            from rpy2 import robjects

            lacking = [name for name in R_PACKAGES
                       if not robjects.r(f'nzchar(system.file(package = "{name}"))')[0]]
    except Exception as error:  # noqa: BLE001 - whatever a broken R raises, it is not usable
        return f"R does not start ({' '.join(str(error).split())[:200]})"
    return f"R lacks {', '.join(lacking)}" if lacking else ""


def _importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False


@contextlib.contextmanager
def _quiet_r() -> Iterator[None]:
    """Keep what R, rpy2 and pymer4 print and warn away."""
    with (warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()),
          _same_library_path()):
        warnings.simplefilter("ignore")
        from rpy2.rinterface_lib import callbacks

        names = ("consolewrite_print", "consolewrite_warnerror")
        kept = {name: getattr(callbacks, name) for name in names}
        for name in names:
            setattr(callbacks, name, _discard)
        from rpy2 import robjects

        # R keeps warnings, and prints them when the process ends.
        before = robjects.r("options(warn = -1)$warn")[0]
        try:
            yield
        finally:
            robjects.r(f"options(warn = {before})")
            for name, function in kept.items():
                setattr(callbacks, name, function)


@contextlib.contextmanager
def _same_library_path() -> Iterator[None]:
    """Take back what rpy2 adds to ``LD_LIBRARY_PATH`` when it starts R.

    It comes too late for this process, but processes started from it would look for
    libraries, Python's own among them, where R keeps its own.
    """
    name = "LD_LIBRARY_PATH"
    before = os.environ.get(name)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before


def _discard(text: str) -> None:
    """Take what R wants to print and do nothing."""


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
        model.fit(REML=request.reml, summarize=False, verbose=False, no_warnings=True,
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
        found = self.robjects.r(function)(self.model, *arguments)
        return {name: found.rx2(name) for name in found.names}

    def answer(self) -> Answer:
        """Everything that is asked, from R."""
        request = self.request
        found = self._call(_R_FIT)
        variance = dict(zip(found["group"], found["variance"], strict=True))
        names, dropped, fixed = self._fixed()
        means, contrasts = None, []
        if request.over is not None:
            means, reference = self._means(request.over)
            contrasts = [self._contrasts(reference, family) for family in request.families]
        notes = ["single-step p-values of R are Monte Carlo estimates"] if any(
            family.adjustment == "single-step" for family in request.families) else []
        return Answer(
            engine="pymer4", names=names, dropped=dropped, fixed=fixed,
            variances=np.array([variance[f"g{number}"]
                                for number in range(len(request.frame.groups))]),
            residual_variance=float(variance["Residual"]), deviance=float(found["deviance"][0]),
            singular=bool(found["singular"][0]), terms=self._terms(), means=means,
            contrasts=tuple(contrasts), notes=notes)

    def _fixed(self) -> tuple[list[str], list[str], Estimates]:
        found = self._call(_R_FIXED, _DDF[self.request.df], self.request.level)
        shown = self._column_names()
        kept = list(found["names"])
        estimate, error = _array(found["estimate"]), _array(found["se"])
        df = self._df(_array(found["df"]))
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
        numbered = {self.renamed[name]: tuple(_level_names(len(own)))
                    for name, own in levels.items()}
        return dict(zip(coding(renamed, numbered).names(), coding(formula, levels).names(),
                        strict=True))

    def _tested(self, estimate: FloatArray, error: FloatArray, df: FloatArray) -> Estimates:
        stats = self.robjects.packages.importr("stats")
        vector = self.robjects.FloatVector
        statistic = estimate / error
        p_value = 2 * _array(stats.pt(vector(-np.abs(statistic)), vector(df)))
        width = _array(stats.qt((1 + self.request.level) / 2, vector(df))) * error
        return Estimates(estimate=estimate, std_error=error, df=df, statistic=statistic,
                         p_value=p_value, p_adjusted=np.full(len(estimate), np.nan),
                         conf_low=estimate - width, conf_high=estimate + width)

    def _df(self, df: FloatArray) -> FloatArray:
        return np.full(len(df), np.inf) if self.request.df == "asymptotic" else df

    def _terms(self) -> list[TermTest]:
        formula = self.request.formula
        if not formula.terms:
            return []
        found = self._call(_R_TERMS, _DDF[self.request.df])
        shown = {":".join(self.renamed[name] for name in term):
                 ":".join(formula.label(name) for name in term) for term in formula.terms}
        stats = self.robjects.packages.importr("stats")
        tests = []
        for index, name in enumerate(found["term"]):
            numerator, statistic = found["numerator"][index], found["statistic"][index]
            denominator, p_value = found["denominator"][index], found["p"][index]
            if self.request.df == "asymptotic":
                denominator = float("inf")
                p_value = stats.pchisq(statistic * numerator, numerator, lower_tail=False)[0]
            tests.append(TermTest(shown[name], statistic, numerator, denominator, p_value))
        return tests

    def _means(self, over: str) -> tuple[Estimates, Any]:
        request = self.request
        found = self._call(_R_MEANS, self.renamed[over], request.df, request.frame.n + 1,
                           request.level, request.null)
        return replace(_estimates(found),
                       p_adjusted=np.full(len(found["p"]), np.nan)), found["means"]

    def _contrasts(self, means: Any, family: Family) -> Estimates:
        control = 0 if family.control is None else family.levels.index(family.control) + 1
        found = self.robjects.r(_R_CONTRASTS)(means, control, _ADJUST[family.adjustment],
                                              self.request.level, self.request.seed)
        return _estimates({name: found.rx2(name) for name in found.names})


def _level_names(size: int) -> pd.Index[str]:
    return pd.Index([f"l{index}" for index in range(size)])


def _estimates(found: dict[str, Any]) -> Estimates:
    p_value = _array(found["p"])
    return Estimates(
        estimate=_array(found["estimate"]), std_error=_array(found["se"]),
        df=_array(found["df"]), statistic=_array(found["statistic"]), p_value=p_value,
        p_adjusted=_array(found["adjusted"]) if "adjusted" in found else p_value,
        conf_low=_array(found["low"]), conf_high=_array(found["high"]))


def _array(values: Any) -> FloatArray:
    return np.asarray(list(values), dtype=np.float64)
