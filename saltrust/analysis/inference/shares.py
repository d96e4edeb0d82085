"""What regressions of shares take: one finite regressor and responses in 0..1."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from saltrust.analysis.inference.resampling import cluster_codes
from saltrust.errors import DataError

FloatArray = npt.NDArray[np.float64]


def checked_shares(x: npt.ArrayLike, y: npt.ArrayLike, clusters: npt.ArrayLike, what: str
                   ) -> tuple[FloatArray, FloatArray, npt.NDArray[np.int64], int]:
    """The rows of a regression of a share on one regressor.

    Parameters
    ----------
    x, y : array_like of float, shape (n,)
    clusters : array_like, shape (n,)
        Patient of each row; a row without a label is its own.
    what : str
        What errors call the model.

    Returns
    -------
    x, y : ndarray of float64, shape (n,)
    codes : ndarray of int64, shape (n,)
        Number of the patient of each row.
    count : int
        Number of patients.

    Raises
    ------
    DataError
        If a number is not finite, shapes differ, or y lies outside 0..1.

    Examples
    --------
    >>> checked_shares([1, 2], [0, 0.5], ["a", "a"], "a logit")[3]
    1
    """
    regressor, response = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    codes, count = cluster_codes(clusters)
    if (regressor.ndim != 1 or regressor.shape != response.shape
            or not np.isfinite([regressor, response]).all()):
        raise DataError("a regression needs one finite regressor per response; leave incomplete "
                        "rows out")
    if len(codes) != len(response):
        raise DataError(f"{len(codes)} cluster labels were given for {len(response)} rows; "
                        "every row needs one")
    if ((response < 0) | (response > 1)).any():
        raise DataError(f"{what} needs responses in 0..1")
    return regressor, response, codes, count
