"""What cubes must hold for an analysis, and what to say where they do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr

from saltrust.analysis.stored.arrays import dataset_of, labels_of, values_of
from saltrust.cache.schema import SPLITS, Status
from saltrust.errors import DataError, UsageError, nearest


def source(cubes: xr.DataTree) -> str:
    """Where cubes were opened from, for messages."""
    return str(cubes.attrs.get("source", "the tree of cubes"))


def split_of(cubes: xr.DataTree) -> str:
    """The splits of the images of these cubes, in the usual order; "not stated" without any.

    Examples
    --------
    >>> split_of(xr.DataTree(xr.Dataset(coords={"split": ("image", ["val", "train", "val"])})))
    'train, val'
    """
    coordinates = cubes.to_dataset().variables
    present = (set(map(str, np.atleast_1d(coordinates["split"].values))) if "split" in coordinates
               else set())
    return ", ".join(name for name in SPLITS if name in present) or "not stated"


def one_of(name: str, present: Sequence[str], what: str) -> str:
    """``name`` if it is there, else a UsageError with the nearest."""
    if name not in present:
        raise UsageError(f"there is no {what} {name!r}; {nearest(name, present)}")
    return name


def require_scorable(cubes: xr.DataTree, purpose: str, benchmark: str | None = None) -> None:
    """Refuse cubes without reference masks or heatmaps, and an unknown benchmark reader.

    Parameters
    ----------
    cubes : xarray.DataTree
    purpose : str
        What cannot be done without, to end the sentence: "so `purpose`".
    benchmark : str, optional
        Name of a benchmark reader.

    Raises
    ------
    DataError
        Naming the cubes and the group.
    UsageError
        Naming the nearest benchmark reader.
    """
    where = source(cubes)
    reference, saliency = dataset_of(cubes, "reference"), dataset_of(cubes, "saliency")
    _check_masks(reference, where, purpose)
    _check_heatmaps(saliency, where, purpose)
    _check_reader(reference, where, benchmark, "benchmark")


def require_masks(cubes: xr.DataTree, purpose: str) -> None:
    """Refuse cubes in which no reference reader annotated anything.

    Parameters
    ----------
    cubes : xarray.DataTree
    purpose : str
        What cannot be done without, to end the sentence: "so `purpose`".

    Raises
    ------
    DataError
        Naming the cubes and the group.
    """
    _check_masks(dataset_of(cubes, "reference"), source(cubes), purpose)


def _check_masks(reference: xr.Dataset | None, where: str, purpose: str) -> None:
    if reference is not None and {"mask", "mask_rle"} & set(reference.data_vars):
        # Where the flags themselves are missing, reading the annotations says so.
        if "annotated" not in reference:
            return
        drawn = values_of(reference["annotated"], ("image", "finding", "reader"))
        if "reader_role" in reference.coords:
            roles = values_of(reference["reader_role"], ("reader",)).astype(object)
            drawn = drawn[..., roles == "reference"]
        if drawn.any():
            return
    raise DataError(f"{where} has no reference masks (/reference/mask is absent or empty), "
                    f"so {purpose}; give the data set masks and generate the cubes again")


def require_reader(cubes: xr.DataTree, name: str | None,
                   role: Literal["reference", "benchmark"]) -> None:
    """Refuse the name of a reader that the cubes do not have in a role, before anything is read.

    Raises
    ------
    UsageError
        Naming the nearest reader of that role.
    """
    _check_reader(dataset_of(cubes, "reference"), source(cubes), name, role)


def _check_reader(readers: xr.Dataset | None, where: str, name: str | None, role: str) -> None:
    if name is None or readers is None or "reader_role" not in readers.coords:
        return
    roles = values_of(readers["reader_role"], ("reader",)).astype(object)
    present = [reader for reader, its in zip(labels_of(readers, "reader"), roles, strict=True)
               if its == role]
    if name not in present:
        raise UsageError(f"{where} has no {role} reader {name!r}; "
                         + (nearest(name, present) if present else "it has none at all"))


def require_heatmaps(cubes: xr.DataTree, purpose: str) -> None:
    """Refuse cubes without a stored heatmap; as :func:`require_masks`."""
    _check_heatmaps(dataset_of(cubes, "saliency"), source(cubes), purpose)


def _check_heatmaps(saliency: xr.Dataset | None, where: str, purpose: str) -> None:
    if (saliency is not None and {"heatmap", "status"} <= set(saliency.data_vars)
            and (saliency["status"].values != Status.MISSING).any()):
        return
    raise DataError(f"{where} has no heatmaps (/saliency/heatmap is absent or empty), so "
                    f"{purpose}; run `saltrust generate`")


def probabilities(cubes: xr.DataTree, purpose: str) -> pd.DataFrame:
    """Predicted probabilities as rows.

    Parameters
    ----------
    cubes : xarray.DataTree
    purpose : str
        What cannot be done without, to end the sentence: "so `purpose`".

    Returns
    -------
    pandas.DataFrame
        Columns ``image, finding, model, probability``; rows without a probability left out.

    Raises
    ------
    DataError
        If no probability is stored.
    """
    prediction = dataset_of(cubes, "prediction")
    if prediction is not None and "probability" in prediction:
        dims = ("image", "finding", "model")
        values = values_of(prediction["probability"], dims).astype(np.float64)
        known = np.argwhere(np.isfinite(values))
        if len(known):
            names = {dim: np.array(labels_of(prediction, dim), dtype=object) for dim in dims}
            columns = {dim: labels[known[:, axis]]
                       for axis, (dim, labels) in enumerate(names.items())}
            return pd.DataFrame({**columns, "probability": values[np.isfinite(values)]})
    raise DataError(f"{source(cubes)} has no predictions (/prediction/probability is absent or "
                    f"empty), so {purpose}; run `saltrust generate`")


def status_counts(cubes: xr.DataTree) -> pd.DataFrame:
    """How many maps of every explainer and model there are, and what became of them.

    Parameters
    ----------
    cubes : xarray.DataTree

    Returns
    -------
    pandas.DataFrame
        ``explainer, model``, and the numbers ``missing, ok, flat, nonfinite``.
    """
    saliency = dataset_of(cubes, "saliency")
    names = [status.name.lower() for status in Status]
    if saliency is None or "status" not in saliency:
        return pd.DataFrame(columns=["explainer", "model", *names])
    status = values_of(saliency["status"], ("explainer", "model", "image", "finding"))
    return pd.DataFrame([
        {"explainer": explainer, "model": model,
         **{one.name.lower(): int((status[e, m] == one).sum()) for one in Status}}
        for e, explainer in enumerate(labels_of(saliency, "explainer"))
        for m, model in enumerate(labels_of(saliency, "model"))])
