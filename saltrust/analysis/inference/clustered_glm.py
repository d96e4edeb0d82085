"""CR2 errors of generalized linear models with the canonical link, such as the logit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from saltrust.analysis.inference.clustered import RobustError
from saltrust.analysis.inference.resampling import cluster_codes
from saltrust.analysis.inference.threads import one_blas_thread
from saltrust.errors import DataError

FloatArray = npt.NDArray[np.float64]

#: Eigenvalues below this part of the largest are a direction that the cluster alone settles.
_SETTLED = 1e-10


@one_blas_thread()
def glm_cr2(design: npt.ArrayLike, variances: npt.ArrayLike, residuals: npt.ArrayLike,
            clusters: npt.ArrayLike, *, column: int = -1, contrast: npt.ArrayLike | None = None
            ) -> RobustError:
    """Bias-reduced clustered error of one coefficient.

    Parameters
    ----------
    design : array_like of float, shape (n, p)
    variances : array_like of float, shape (n,)
        Of the response as the model has it, ``p (1 - p)`` of the logit; above 0.
    residuals : array_like of float, shape (n,)
        Response minus its fitted mean.
    clusters : array_like, shape (n,)
        Patient of each row; a row without a label is its own cluster.
    column : int
        Which coefficient; the last by default.
    contrast : array_like of float, shape (p,), optional
        Weights of a sum of coefficients in its place.

    Returns
    -------
    RobustError
        ``std_error``, ``df`` (Satterthwaite's) and ``clusters`` alone: the test is the caller's.
        NaN with fewer than two clusters.

    Raises
    ------
    DataError
        If there is not one label per row.

    Notes
    -----
    With V the variances, U = VX and M = inv(U'inv(V)U), the adjustment of cluster c is
    ``D' B^-1/2 D``, D = V_c^1/2 and B = D (V_c - U_c M U_c') D', as package clubSandwich has it.

    References
    ----------
    J. E. Pustejovsky and E. Tipton (2018), J. Bus. Econ. Stat. 36, 672-683.
    """
    x, v, e = (np.asarray(values, dtype=np.float64) for values in (design, variances, residuals))
    codes, count = cluster_codes(clusters)
    if len(codes) != len(x):
        raise DataError(f"{len(codes)} cluster labels were given for {len(x)} rows; "
                        "every row needs one")
    if count < 2:
        return RobustError(clusters=count)
    scaled = v[:, None] * x
    bread = np.linalg.inv(x.T @ scaled)
    order = np.argsort(codes, kind="stable")
    parts = np.split(order, np.searchsorted(codes[order], np.arange(1, count)))
    sums, alone = np.zeros(count), np.zeros(count)
    shared = np.zeros((count, x.shape[1]))
    weights = bread[column] if contrast is None else np.asarray(contrast, np.float64) @ bread
    for c, rows in enumerate(parts):
        root = np.sqrt(v[rows])
        inner = (np.diag(v[rows]) - scaled[rows] @ bread @ scaled[rows].T)
        values, axes = np.linalg.eigh(root[:, None] * inner * root)
        free = values > _SETTLED * max(float(values.max()), _SETTLED)
        power = np.where(free, 1 / np.sqrt(np.where(free, values, 1.0)), 0.0)
        adjusted = root[:, None] * ((axes * power) @ axes.T) * root
        load = weights @ x[rows].T @ adjusted
        sums[c] = load @ e[rows]
        alone[c] = load**2 @ v[rows]
        shared[c] = load @ scaled[rows]
    variance = float(sums @ sums)
    if variance <= 0:
        return RobustError(clusters=count)
    # (sum of the diagonal of P)^2 / sum of P^2 with P = diag(alone) - S M S', never formed.
    lengths = np.einsum("ci,ij,cj->c", shared, bread, shared)
    crossed = bread @ (shared.T @ shared)
    squares = float((alone**2).sum() - 2 * (alone * lengths).sum() + np.trace(crossed @ crossed))
    df = float((alone - lengths).sum() ** 2 / squares)
    return RobustError(std_error=float(np.sqrt(variance)), df=df, clusters=count)


@one_blas_thread()
def mancl_derouen(design: npt.ArrayLike, variances: npt.ArrayLike, residuals: npt.ArrayLike,
                  clusters: npt.ArrayLike, *, contrast: npt.ArrayLike) -> RobustError:
    """Error of a sum of coefficients of estimating equations with independence within clusters.

    Parameters
    ----------
    design, variances, residuals, clusters
        As :func:`glm_cr2`.
    contrast : array_like of float, shape (p,)
        Weights of the coefficients.

    Returns
    -------
    RobustError
        ``std_error``, ``df`` = G - p for G clusters, and ``clusters`` alone; NaN where G is not
        above p, or one cluster alone settles a coefficient.

    Raises
    ------
    DataError
        If there is not one label per row.

    References
    ----------
    L. A. Mancl and T. A. DeRouen (2001), Biometrics 57, 126-134.
    """
    x, v, e = (np.asarray(values, dtype=np.float64) for values in (design, variances, residuals))
    codes, count = cluster_codes(clusters)
    if len(codes) != len(x):
        raise DataError(f"{len(codes)} cluster labels were given for {len(x)} rows; "
                        "every row needs one")
    df = count - x.shape[1]
    if df < 1:
        return RobustError(clusters=count)
    changes = cluster_changes(x, v, e, codes, count, np.asarray(contrast, dtype=np.float64))
    variance = float(changes @ changes)
    if not variance > 0:
        return RobustError(clusters=count)
    return RobustError(std_error=float(np.sqrt(variance)), df=float(df), clusters=count)


def cluster_changes(design: FloatArray, variances: FloatArray, residuals: FloatArray,
                    codes: npt.NDArray[np.int64], count: int, contrast: FloatArray) -> FloatArray:
    """How a sum of coefficients changes, to first order, without each cluster.

    Parameters
    ----------
    design : ndarray of float64, shape (n, p)
    variances, residuals : ndarray of float64, shape (n,)
    codes : ndarray of int64, shape (n,)
        Number of the cluster of each row.
    count : int
    contrast : ndarray of float64, shape (p,)

    Returns
    -------
    ndarray of float64, shape (count,)
        0 for a cluster without rows; NaN for one that alone settles a coefficient.
    """
    scaled = variances[:, None] * design
    bread = np.linalg.inv(design.T @ scaled)
    weights = contrast @ bread
    changes = np.zeros(count)
    for c in np.unique(codes):
        rows = codes == c
        # X'(I - H)^-1 e with H = V X M X' of the cluster is (I - X'V X M)^-1 X'e: p by p.
        left = np.eye(design.shape[1]) - design[rows].T @ scaled[rows] @ bread
        changes[c] = (np.nan if np.linalg.cond(left) > 1 / _SETTLED else
                      weights @ np.linalg.solve(left, design[rows].T @ residuals[rows]))
    return changes
