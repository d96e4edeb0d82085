"""Shape descriptors of every annotated mask of a study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from tqdm import tqdm

from saltrust.analysis.pixels.scoring import MaskPixels
from saltrust.analysis.pixels.shape import ShapeDescriptors, check_definition, describe_shape
from saltrust.analysis.result import Result
from saltrust.analysis.stored.annotations import Annotations, read_annotations
from saltrust.choices import Definition, Resolution
from saltrust.errors import DataError, UsageError

Property = Callable[[npt.NDArray[np.bool_]], float]

#: Columns of the table, before those of ``extra``.
COLUMNS = ("image", "finding", "reader", *ShapeDescriptors._fields)

_MEANINGS = {
    "default": "8-connected components; dominant instance by outer-contour length, its rectangle "
               "on pixel corners, its filled pixels; area of the whole mask",
    "peer": "annotated contours, else contours with those of holes; dominant contour by points, "
            "rectangle through pixel centres, polygon area; area of the whole mask",
}


def descriptors(cubes: xr.DataTree, *, resolution: Resolution | None = None,
                definition: Definition = "default", split: str | None = None,
                findings: Sequence[str] | None = None, extra: Sequence[Property] = (),
                progress: bool = False) -> Result:
    """Number of instances, area ratio, elongation and irrectangularity of every mask.

    Parameters
    ----------
    cubes : xarray.DataTree
        As :func:`saltrust.open_cubes` gives.
    resolution : {"native", "grid"}, optional
        By default native where native masks are stored and every native size is known.
    definition : {"default", "peer"}
        See :func:`saltrust.analysis.pixels.shape.describe_shape`.
    split : {"train", "val", "test", "none"}, optional
        Only images of this split.
    findings : sequence of str, optional
        Only these.
    extra : sequence of callable
        Further properties: functions of a mask (ndarray of bool, shape (height, width), not
        empty) that return a number; each gives a column of the function's name.
    progress : bool
        Show a bar on stderr.

    Returns
    -------
    Result
        Table ``descriptors``: one row per image x finding x reader that is annotated, empty
        masks included: ``image, finding, reader, n_instances, area_ratio, elongation,
        irrectangularity`` and those of ``extra``.  What has no value is NaN and counted in
        ``meta["undefined"]``.

    Raises
    ------
    DataError
        If the cubes hold no masks, or none of what was selected is annotated.
    UsageError
        If an option or a name is not known, or a property does not return a number.

    Examples
    --------
    >>> from saltrust import open_cubes
    >>> def rows_touched(mask):
    ...     return mask.any(axis=1).sum()
    >>> descriptors(open_cubes("study.zarr"), extra=[rows_touched])    # doctest: +SKIP
    """
    check_definition(definition)
    names = _names(extra)
    annotations = read_annotations(cubes, resolution=resolution, split=split, findings=findings)
    if not annotations.annotated.any():
        raise DataError("no reader annotated any of the selected images and findings; choose "
                        "another split or finding")
    rows: list[tuple[Any, ...]] = []
    undefined: Counter[str] = Counter()
    for image in tqdm(range(len(annotations.images)), desc="descriptors", unit="image",
                      disable=None if progress else True):
        for finding, reader in np.argwhere(annotations.annotated[image]).tolist():
            row = _row(annotations, image, finding, reader, definition)
            pixels = annotations.pixels(image, finding, reader) if extra else None
            rows.append((*row, *(_value(function, pixels) for function in extra)))
            undefined.update(_why_undefined(row))
    table = pd.DataFrame(rows, columns=[*COLUMNS, *names])
    numbers = dict.fromkeys((*COLUMNS[4:], *names), "float64")
    meta = {
        "resolution": annotations.resolution, "definition": definition,
        "meaning": _MEANINGS[definition], "split": split, "masks": len(table),
        "empty_masks": int((table["n_instances"] == 0).sum()),
        "images": int(table["image"].nunique()), "undefined": dict(undefined),
    }
    return Result(meta, {"descriptors": table.astype({"n_instances": "int64", **numbers})})


def _row(annotations: Annotations, image: int, finding: int, reader: int,
         definition: Definition) -> tuple[Any, ...]:
    runs = annotations.runs(image, finding, reader)
    polygons = int(annotations.n_polygons[image, finding, reader])
    shape = ShapeDescriptors(0, 0.0, float("nan"), float("nan"))
    if runs.area:
        # Where a shape lies makes no difference to it, and most of an image is empty.
        shape = describe_shape(runs.cropped(), definition, polygons)
        shape = shape._replace(area_ratio=runs.area / (runs.height * runs.width))
    return (annotations.images[image], annotations.findings[finding],
            annotations.readers[reader], *shape)


def _why_undefined(row: tuple[Any, ...]) -> list[str]:
    _, _, _, n_instances, area_ratio, elongation, _ = row
    if area_ratio == 0:
        return ["empty mask: no shape"]
    reasons = []
    if np.isnan(elongation):
        reasons.append("rectangle through pixel centres has no width: no elongation")
    if n_instances == 0:
        reasons.append("mask without an annotated contour: 0 instances")
    return reasons


def _value(function: Property, pixels: MaskPixels | None) -> float:
    if pixels is None or pixels.mask is None:
        return float("nan")
    value = function(pixels.mask)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise UsageError(f"the property {function.__name__} must return a number, not "
                         f"{type(value).__name__}") from None


def _names(extra: Sequence[Property]) -> list[str]:
    names: list[str] = []
    for function in extra:
        name = getattr(function, "__name__", "")
        if not name.isidentifier():
            raise UsageError("a property needs a name for its column; define it with def")
        if name in (*COLUMNS, *names):
            raise UsageError(f"the property {name} has the name of another column; rename it")
        names.append(name)
    return names
