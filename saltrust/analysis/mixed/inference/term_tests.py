"""Tests of whole terms (type III), such as whether the explainers differ at all.

As ``anova`` of lmerTest: a term is tested in the presence of all others, and the effects of a
factor that interacts with others are those averaged over their levels with equal weights.
Satterthwaite's denominator df of several effects depend on the basis in which they are
written; the bases here are those of lmerTest (Doolittle's for a single term; SAS' estimable
functions, orthogonalised against the terms that contain the one tested, for several).
"""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
from scipy.special import chdtrc, fdtrc

from saltrust.analysis.mixed.answer import TermTest
from saltrust.analysis.mixed.design import Coding
from saltrust.analysis.mixed.fitted import Fitted, Inference
from saltrust.analysis.mixed.formula import Term
from saltrust.analysis.mixed.frame import FloatArray

_LARGEST_GRID = 200_000
_UNTESTED = "not testable: its effects are combinations of others, or levels have no rows"


def term_tests(fit: Fitted, inference: Inference) -> list[TermTest]:
    """Test every term of the fixed effects.

    Returns
    -------
    list of TermTest
        In the order of the formula's terms; with a note and NaN where the data leave some of a
        term's effects undetermined.
    """
    code = fit.design.coding
    terms = code.formula.terms
    if len(terms) == 1:
        return [_test(fit, inference, code, terms[0], _doolittle(fit))]
    owners = code.term_of_column()
    contained = [bool(_containing(code, term)) for term in terms]
    functions = _estimable_functions(code, fit) if any(contained) else np.eye(len(owners))
    kept = np.isin(np.arange(len(owners)), fit.design.kept)
    tests = []
    for index, term in enumerate(terms):
        if functions is None:
            tests.append(_untested(code, term, "not tested: too many combinations of levels"))
            continue
        rows = functions[(owners == index) & kept]
        # Averages over the levels of other factors need rows in all of them.
        if not len(rows) or (contained[index] and not fit.design.estimable(rows).all()):
            tests.append(_untested(code, term, _UNTESTED))
        else:
            tests.append(_test(fit, inference, code, term, rows))
    return tests


def _label(code: Coding, term: Term) -> str:
    return ":".join(code.formula.label(variable) for variable in term)


def _untested(code: Coding, term: Term, note: str) -> TermTest:
    nan = float("nan")
    return TermTest(_label(code, term), nan, nan, nan, nan, note)


def _test(fit: Fitted, inference: Inference, code: Coding, term: Term, rows: FloatArray,
          ) -> TermTest:
    in_basis = fit.in_basis(rows)
    statistic, numerator, denominator = inference.f_test(
        in_basis, in_basis @ fit.basis_coefficients)
    p_value = (chdtrc(numerator, statistic * numerator) if np.isinf(denominator)
               else fdtrc(numerator, denominator, statistic))
    return TermTest(_label(code, term), statistic, numerator, denominator, float(p_value))


def _doolittle(fit: Fitted) -> FloatArray:
    """Effects of a single term, each adjusted for those before it."""
    design = fit.design
    owners = design.coding.term_of_column()
    rows = np.zeros((design.rank, len(owners)))
    rows[:, design.kept] = design.triangle / np.diag(design.triangle)[:, None]
    result: FloatArray = rows[owners[design.kept] == 0]
    return result


def _containing(code: Coding, term: Term) -> list[int]:
    """Terms with the same covariates and more factors."""
    factors = {name for name in term if name in code.levels}
    covariates = set(term) - factors
    return [index for index, other in enumerate(code.formula.terms)
            if factors < {name for name in other if name in code.levels}
            and covariates == {name for name in other if name not in code.levels}]


def _estimable_functions(code: Coding, fit: Fitted) -> FloatArray | None:
    """A row for every column: the hypothesis that it stands for in the test of its term."""
    # Terms are linear in each covariate: zero and one tell everything of it.
    axes: dict[str, npt.NDArray[np.generic]] = {
        name: np.arange(len(levels)) for name, levels in code.levels.items()}
    axes |= {name: np.array([0.0, 1.0]) for name in fit.frame.covariates}
    size = int(np.prod([len(axis) for axis in axes.values()], dtype=np.int64))
    if size > _LARGEST_GRID:
        return None
    grid = np.array(list(product(*axes.values())))
    values: dict[str, npt.NDArray[np.generic]] = {
        name: grid[:, place].astype(axes[name].dtype) for place, name in enumerate(axes)}
    everything = Coding(code.formula, code.levels, tuple(map(frozenset, code.formula.terms)))
    coded = code.matrix(values, size)
    # Every level's indicator in terms of the coded columns.
    functions = np.linalg.lstsq(coded, everything.matrix(values, size), rcond=None)[0].T
    owners = code.term_of_column()
    terms = code.formula.terms
    for index in sorted(range(len(terms)), key=lambda index: -len(terms[index])):
        others = np.isin(owners, _containing(code, terms[index]))
        if others.any():
            mine = owners == index
            fitted = np.linalg.lstsq(functions[:, others], functions[:, mine], rcond=None)[0]
            functions[:, mine] -= functions[:, others] @ fitted
    names = everything.names()
    chosen = functions[[names.index(name) for name in code.names()]].T
    return np.asarray(chosen, dtype=np.float64)
