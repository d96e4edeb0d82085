"""The pieces of the likelihood where a second grouping factor has thousands of levels too.

Images within patients are the common case.  As :class:`~.schur_complement.SchurComplement`, but the
system that is left after the largest factor is kept sparse and factorised by SuperLU.  The
quadratic form and its derivatives are exact, from solves.  The derivatives of the log
determinant would need parts of an inverse: the first come instead from factorising at
``g + i h`` with a tiny ``h``, whose imaginary part is exact to rounding (W. Squire and
G. Trapp (1998), SIAM Rev. 40, 110-112), the second from extrapolated differences of the first.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.linalg import splu

from saltrust.analysis.mixed.frame import FloatArray
from saltrust.analysis.mixed.likelihood.pieces import Pieces
from saltrust.analysis.mixed.likelihood.sufficient import Sufficient

_IMAGINARY = 1e-30
_DIFFERENCE = 2e-2  # relative to the ratio at which a factor weighs as much as the residual


class SparseSchurComplement:
    """Several random intercepts with thousands of levels in more than one."""

    def __init__(self, data: Sufficient) -> None:
        self.data = data
        others = range(1, len(data.groups))
        self.shared = sparse.hstack([data.shared(0, other) for other in others], format="csr")
        ends = np.cumsum([0] + [data.groups[other].size for other in others])
        self.blocks = [slice(start, end) for start, end in pairwise(ends)]
        self.gram_others = sparse.block_array(
            [[sparse.diags(data.counts[one]) if one == two else data.shared(one, two)
              for two in others] for one in others], format="csc")
        self.sums_others = np.vstack(data.sums[1:])
        self.weights = np.array([counts.max() for counts in data.counts])

    def __call__(self, ratios: FloatArray) -> Pieces:
        """Evaluate at ``ratios``, shape (m,)."""
        data, first = self.data, ratios[0]
        shrink = 1 / (1 + first * data.counts[0])
        amount = data.counts[0] * shrink
        system = self._system(ratios)
        spread = self._spread(ratios)
        factor = self._factorize(system, spread)

        def middle(right: FloatArray) -> FloatArray:
            """``K right``."""
            result: FloatArray = spread[:, None] * factor.solve(right)
            return result

        sums, shared = data.sums[0], self.shared
        weighted = shrink[:, None] * sums
        others = self.sums_others - first * (shared.T @ weighted)
        solved = middle(others)
        largest = weighted - shrink[:, None] * (shared @ solved)
        smaller = others - system @ solved
        crossed = shared.T @ (shrink[:, None] * largest)

        m, width = len(ratios), data.rank + 1
        forms = np.empty((m, m, width, width))
        forms[0, 0] = largest.T @ (amount[:, None] * largest) - crossed.T @ middle(crossed)
        for one, block in enumerate(self.blocks, start=1):
            effect = np.zeros_like(smaller)
            effect[block] = smaller[block]
            through = system @ effect
            rest = effect - middle(through)  # (I - K H) W_j
            forms[0, one] = crossed.T @ rest
            forms[one, 0] = forms[0, one].T
            for two, other in enumerate(self.blocks, start=1):
                forms[two, one] = smaller[other].T @ (system @ rest)[other]
        effects = [largest, *(smaller[block] for block in self.blocks)]
        slope, curvature = self._log_det_derivatives(ratios)
        return Pieces(
            log_det=float(np.log1p(first * data.counts[0]).sum()
                          + np.log(np.abs(factor.U.diagonal())).sum()),
            log_det_1=slope, log_det_2=curvature,
            form=data.gram - first * (sums.T @ weighted) - others.T @ solved,
            form_1=np.stack([-(effect.T @ effect) for effect in effects]),
            form_2=forms + forms.swapaxes(2, 3))

    def _system(self, ratios: npt.NDArray[Any]) -> sparse.csc_matrix:
        """``H = Z_2' V_1^-1 Z_2``; complex where the ratios are."""
        weights = ratios[0] / (1 + ratios[0] * self.data.counts[0])
        return (self.gram_others - self.shared.T @ (sparse.diags(weights) @ self.shared)).tocsc()

    def _spread(self, ratios: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.concatenate([np.full(block.stop - block.start, ratio)
                               for block, ratio in zip(self.blocks, ratios[1:], strict=True)])

    def _factorize(self, system: sparse.csc_matrix, spread: npt.NDArray[Any]) -> Any:
        # I + H G is similar to a positive definite matrix and, unlike the symmetric form with
        # the root of G, analytic where a ratio is zero; it needs no pivoting.
        matrix = (sparse.eye(len(spread)) + system @ sparse.diags(spread)).tocsc()
        return splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0,
                    options={"SymmetricMode": True})

    def _log_det_slope(self, ratios: FloatArray, which: int) -> float:
        """First derivative of ``log |V|`` in one ratio, by a complex step."""
        step = _IMAGINARY
        shifted = ratios.astype(np.complex128)
        shifted[which] += 1j * step
        pivots = self._factorize(self._system(shifted), self._spread(shifted)).U.diagonal()
        slope = float((pivots.imag / pivots.real).sum() / step)
        if which == 0:
            slope += float((self.data.counts[0] / (1 + ratios[0] * self.data.counts[0])).sum())
        return slope

    def _log_det_derivatives(self, ratios: FloatArray) -> tuple[FloatArray, FloatArray]:
        m = len(ratios)
        slope = np.array([self._log_det_slope(ratios, which) for which in range(m)])
        curvature = np.empty((m, m))
        for one in range(m):
            for two in range(one, m):
                # Relative steps: a ratio may span orders of magnitude, and zero is allowed.
                step = _DIFFERENCE * (ratios[two] + 1 / self.weights[two])
                curvature[one, two] = curvature[two, one] = self._difference(
                    ratios, one, two, step)
        return slope, curvature

    def _difference(self, ratios: FloatArray, one: int, two: int, step: float) -> float:
        """Richardson's extrapolation of the central difference of a slope."""

        def central(width: float) -> float:
            up, down = ratios.copy(), ratios.copy()
            up[two] += width
            down[two] -= width
            return (self._log_det_slope(up, one) - self._log_det_slope(down, one)) / (2 * width)

        coarse, middle, fine = central(step), central(step / 2), central(step / 4)
        better, best = (4 * middle - coarse) / 3, (4 * fine - middle) / 3
        return (16 * best - better) / 15
