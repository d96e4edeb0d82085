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

from saltrust.analysis.stored.arrays import dataset_of, labels_of, read_at, values_of
from saltrust.analysis.stored.whole_study import FITTED_ON
from saltrust.cache.schema import Label
from saltrust.errors import DataError

#: Name of the baseline among the explainers.
AVERAGE_MASK = "average-mask"
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
    images : frozenset of str
        Images of the splits that were annotated and not labelled negative: those averaged, and
        those whose mask is empty.
    """

    values: npt.NDArray[np.float64]
    n: int
    images: frozenset[str]


def average_mask(study: xr.DataTree, finding: str, reader: str, *,
                 splits: Sequence[str] = FITTED_ON) -> AverageMask:
    """Average the grid masks of the images of some splits that show the finding.

    Parameters
    ----------
    study : xarray.DataTree
        With ``/reference/mask``; annotations are enough.
    finding, reader : str
        Labels of the study.
    splits : sequence of str
        By default training and validation, as the protocol has it.

    Returns
    -------
    AverageMask

    Raises
    ------
    DataError
        If the study states no splits or no image of these splits has a mask that is not empty.

    Notes
    -----
    An image counts when its label is not negative and its mask is not empty.  Only the order
    of the pixels matters to the areas under the curves, so averaging over all images of the
    splits, positive or not, gives the same scores.
    """
    root, reference = study.to_dataset(), dataset_of(study, "reference")
    named = " and ".join(splits)
    if "split" not in root.variables:
        raise DataError("the cubes do not state which split an image is in, so there is no "
                        "average mask of training and validation images; import them with "
                        "--splits or leave the baseline out")
    if (reference is None or not {"mask", "annotated"} <= set(reference.variables)
            or finding not in labels_of(reference, "finding")
            or reader not in labels_of(reference, "reader")):
        raise DataError(f"the study that the average mask is of has no masks of {finding} by "
                        f"{reader}; name one that has as fitted_on, or leave the baseline out")
    names = labels_of(reference, "image")
    f = labels_of(reference, "finding").index(finding)
    r = labels_of(reference, "reader").index(reader)
    counts = values_of(reference["annotated"], ("image", "finding", "reader"))[:, f, r].astype(bool)
    if "label" in reference:
        counts &= values_of(reference["label"], ("image", "finding"))[:, f] != Label.NEGATIVE
    counts &= np.isin(values_of(root["split"], ("image",)).astype("U8"), splits)
    positions = np.flatnonzero(counts)
    total = np.zeros((reference.sizes["y"], reference.sizes["x"]), dtype=np.int64)
    n = 0
    for start in range(0, len(positions), _BLOCK):
        block = read_at(reference["mask"], ("image", "y", "x"),
                        image=positions[start:start + _BLOCK], finding=f, reader=r)
        n += int(block.any(axis=(1, 2)).sum())
        total += block.sum(axis=0)
    if not n:
        raise DataError(f"no image of the splits {named} has a mask of {finding}, so there is no "
                        "average mask; state the splits, name a study that has such images as "
                        "fitted_on, or leave the baseline out")
    return AverageMask(total / n, n, frozenset(names[k] for k in positions))
