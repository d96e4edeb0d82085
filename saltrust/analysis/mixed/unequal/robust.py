"""Errors of fixed effects clustered by patient, on a fitted mixed model as the working model.

CR2 with Satterthwaite's degrees of freedom for generalised least squares: the weights and the
working covariance are ``V``, block-diagonal by patient, as clubSandwich has it for ``nlme::lme``.

R. M. Bell and D. F. McCaffrey (2002), Survey Methodology 28, 169-181; J. E. Pustejovsky and
E. Tipton (2018), J. Bus. Econ. Stat. 36, 672-683.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from saltrust.analysis.mixed.frame import FloatArray, IntArray
from saltrust.analysis.mixed.unequal.fitted import UnequalFit

_INDEPENDENT = 1e-9
_ZERO = 1e-10


class ClusterRobust:
    """Inference by CR2; patients are the clusters.

    Parameters
    ----------
    fit : UnequalFit
        Whose groups each lie within one patient (:func:`within_clusters`).
    patients : ndarray of int64, shape (n,)
        Code of the patient of every row of the frame.
    """

    def __init__(self, fit: UnequalFit, patients: IntArray) -> None:
        optimum, likelihood = fit.optimum, fit.likelihood
        p = fit.data.rank
        self.bread = np.asarray(np.linalg.inv(optimum.information), dtype=np.float64)
        values, vectors = np.linalg.eigh(self.bread)
        self.half = (vectors * np.sqrt(values)) @ vectors.T
        variances = (optimum.sds**2)[fit.frame.factors[fit.factor].codes]
        inverse = np.empty_like(likelihood.order)
        inverse[likelihood.order] = np.arange(len(inverse))
        rows = likelihood.rows[inverse]
        residuals = rows @ np.append(-optimum.coefficients, 1.0)
        # Patients whose rows are alike in effects, levels and groups share all matrices.
        order = np.lexsort([fit.design.cell, *(group.codes for group in fit.frame.groups[::-1]),
                            patients])
        ends = np.flatnonzero(np.diff(patients[order], append=-1)) + 1
        scores, self.spread, self.shared = [], [], []
        known: dict[bytes, tuple[FloatArray, FloatArray, FloatArray]] = {}
        for start, end in zip(np.concatenate([[0], ends[:-1]]), ends, strict=True):
            own_rows = order[start:end]
            groups = [_relative(group.codes[own_rows]) for group in fit.frame.groups]
            key = b"".join(part.tobytes() for part in
                           (variances[own_rows], fit.design.cell[own_rows], *groups))
            if key not in known:
                known[key] = self._cluster(rows[own_rows, :p], variances[own_rows], groups,
                                           optimum.ratios)
            loads, spread, shared = known[key]
            scores.append(residuals[own_rows] @ loads)
            self.spread.append(spread)
            self.shared.append(shared)
        self.scores = np.array(scores)
        self.scale = fit.data.scale
        self.clusters = len(scores)
        self.spread_of, self.shared_of = np.stack(self.spread), np.stack(self.shared)

    def _cluster(self, x: FloatArray, variances: FloatArray, groups: list[IntArray],
                 ratios: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """``A V^-1 X M`` of one patient, and what degrees of freedom need of it."""

        def covariance(columns: FloatArray) -> FloatArray:
            result = variances[:, None] * columns
            for codes, ratio in zip(groups, ratios, strict=True):
                sums = np.zeros((int(codes.max()) + 1, columns.shape[1]))
                np.add.at(sums, codes, columns)
                result = result + ratio * sums[codes]
            return result

        # Beyond the smallest space that holds X and is closed under V, the adjustment is one.
        basis = _orthonormal(x)
        added = basis
        while added.shape[1] and basis.shape[1] < len(x):
            image = covariance(added)
            image /= np.linalg.norm(image, axis=0).max()
            for _ in range(2):
                image = image - basis @ (basis.T @ image)
            added = _orthonormal(image)
            basis = np.hstack([basis, added])
        inner = basis.T @ covariance(basis)
        inner = (inner + inner.T) / 2
        effects = basis.T @ x
        root = np.linalg.cholesky(inner).T
        left = root @ (inner - effects @ self.bread @ effects.T) @ root.T
        values, vectors = np.linalg.eigh((left + left.T) / 2)
        kept = values > _ZERO * np.linalg.norm(inner, 2)**2
        factor = np.where(kept, 1 / np.sqrt(np.where(kept, values, 1.0)), 0.0)
        turned = vectors.T @ root
        adjustment = (turned.T * factor) @ turned
        loads = adjustment @ np.linalg.solve(inner, effects @ self.bread)
        return (basis @ loads, loads.T @ inner @ loads, self.half @ effects.T @ loads)

    @property
    def covariance(self) -> FloatArray:
        """Covariance of the basis coefficients, in squared units of the response."""
        result: FloatArray = self.scale**2 * self.scores.T @ self.scores
        return result

    def degrees(self, rows: FloatArray) -> FloatArray:
        """Satterthwaite's degrees of freedom of each row, shape (m,)."""
        made = np.empty(len(rows))
        for place, row in enumerate(rows):
            spread = self.spread_of @ row @ row
            shared = self.shared_of @ row
            lengths = np.einsum("ij,ij->i", shared, shared)
            cross = shared.T @ shared
            squares = spread @ spread - 2 * (spread @ lengths) + np.sum(cross**2)
            with np.errstate(divide="ignore", invalid="ignore"):
                made[place] = (spread - lengths).sum()**2 / squares
        return made


def within_clusters(fit: UnequalFit, patients: IntArray) -> bool:
    """Whether every group of every random intercept is of one patient."""
    for group in fit.frame.groups:
        first = np.empty(group.size, dtype=np.int64)
        first[group.codes] = patients
        if (first[group.codes] != patients).any():
            return False
    return True


def _relative(codes: IntArray) -> IntArray:
    """Groups numbered by first appearance."""
    _, first, which = np.unique(codes, return_index=True, return_inverse=True)
    result: IntArray = np.argsort(np.argsort(first))[which]
    return result


def _orthonormal(matrix: FloatArray) -> npt.NDArray[np.float64]:
    left, size, _ = np.linalg.svd(matrix, full_matrices=False)
    return left[:, size > _INDEPENDENT * max(1.0, float(size.max(initial=0.0)))]
