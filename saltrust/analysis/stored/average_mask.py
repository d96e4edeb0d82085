"""The average mask: where a finding usually is, whatever the image shows.

A map that every image shares uses nothing of the image, so an explainer worth its name must
localise better (protocol A's low baseline of utility).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from saltrust.cache.schema import Label
from saltrust.errors import DataError

#: Name of the baseline among the explainers.
AVERAGE_MASK = "average-mask"
#: Splits whose positives make up the average.
FITTED_ON = ("train", "val")
#: Images whose masks are read at a time.
_BLOCK = 128


@dataclass(frozen=True)
class AverageMask:
    """Mean of the masks of one finding.

    Attributes
    ----------
    values : ndarray of float64, shape (y, x)
        Share of the positives whose mask covers the pixel, in [0, 1].
    n : int
        Images that were averaged.
    """

    values: npt.NDArray[np.float64]
    n: int


def average_mask(cubes: xr.DataTree, finding: str, reader: str, *,
                 splits: Sequence[str] = FITTED_ON) -> AverageMask:
    """Average the grid masks of the images of some splits that show the finding.

    Parameters
    ----------
    cubes : xarray.DataTree
        With ``/reference/mask``; annotations are enough.
    finding, reader : str
        Labels of the cubes.
    splits : sequence of str
        By default training and validation, as the protocol has it.

    Returns
    -------
    AverageMask

    Raises
    ------
    DataError
        If the cubes state no splits or no image of these splits has a mask that is not empty.

    Notes
    -----
    An image counts when its label is not negative and its mask is not empty.  Only the order
    of the pixels matters to the areas under the curves, so averaging over all images of the
    splits, positive or not, gives the same scores.
    """
    root = cubes.to_dataset()
    named = " and ".join(splits)
    if "split" not in root.variables:
        raise DataError("the cubes do not state which split an image is in, so there is no "
                        "average mask of training and validation images; import them with "
                        "--splits or leave the baseline out")
    reference = cubes["reference"].to_dataset().sel(finding=finding, reader=reader)
    counts = reference["annotated"].values.astype(bool)
    if "label" in reference:
        counts = counts & (reference["label"].values != Label.NEGATIVE)
    positions = np.flatnonzero(counts & np.isin(root["split"].values.astype("U8"), splits))
    masks = reference["mask"].transpose("image", "y", "x")
    total = np.zeros(masks.shape[1:], dtype=np.int64)
    n = 0
    for start in range(0, len(positions), _BLOCK):
        block = masks.isel(image=positions[start:start + _BLOCK]).values
        n += int(block.any(axis=(1, 2)).sum())
        total += block.sum(axis=0)
    if not n:
        raise DataError(f"no image of the splits {named} has a mask of {finding}, so there is no "
                        "average mask; state the splits or leave the baseline out")
    return AverageMask(total / n, n)
