"""Shape descriptors of every annotated mask of a study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from tqdm import tqdm

from saltrust.analysis.options import Execution, Scoring
from saltrust.analysis.pixels.shape import (
    FittedRectangle,
    ShapeDescriptors,
    describe_shape,
    fitted_rectangle,
)
from saltrust.analysis.result import Result
from saltrust.analysis.scores.kept_rows import IntArray, Topic, Values, keep_rows
from saltrust.analysis.select import as_cubes
from saltrust.analysis.shape.mask_properties import (
    Property,
    named_properties,
    property_columns,
)
from saltrust.analysis.stored.annotations import Annotations, read_annotations
from saltrust.analysis.stored.contents import split_of
from saltrust.cache.identity import of_one_store
from saltrust.cache.scores import ScoreStore, score_store
from saltrust.choices import Definition
from saltrust.errors import DataError

#: Columns of the table, before those of further properties.
COLUMNS = ("image", "finding", "reader", *ShapeDescriptors._fields)


def _content(annotations: Annotations, at: IntArray) -> Values:
    """What tells a mask from others; under ``peer`` its polygons are counted too."""
    return {"mask_digest": annotations.digests[tuple(at.T)],
            "n_polygons": annotations.n_polygons[tuple(at.T)]}


_TOPIC = Topic("descriptors", 1, ("image", "finding", "reader"), _content)

_MEANINGS = {
    "default": "8-connected components; dominant instance by outer-contour length, its rectangle "
               "on pixel corners, its filled pixels; area of the whole mask",
    "peer": "annotated contours, else contours with those of holes; dominant contour by points, "
            "rectangle through pixel centres, polygon area; area of the whole mask",
}


@of_one_store
def descriptors(cubes: xr.DataTree | str | Path, *, scoring: Scoring = Scoring(),
                properties: Sequence[Property | str] = (), execution: Execution = Execution()
                ) -> Result:
    """Number of instances, area ratio, elongation and irrectangularity of every mask.

    Parameters
    ----------
    cubes : xarray.DataTree or path
        The tree that :func:`saltrust.open_cubes` gives, or a part of it.
    scoring : Scoring
        Its resolution and its definition (:func:`saltrust.analysis.pixels.shape.describe_shape`).
    properties : sequence of callable or str
        Further columns: ``"solidity"``, ``"feret_diameter_max"``, ``"perimeter_crofton"`` and
        ``"eccentricity"`` of scikit-image, of the whole mask as one region, lengths in pixels;
        or functions of a mask (ndarray of bool, shape (height, width), not empty) that return a
        number, each of which gives a column of its name.
    execution : Execution
        Progress, and whether descriptors are kept in the store.

    Returns
    -------
    Result
        Table ``descriptors``: one row per image x finding x reader that is annotated, empty
        masks included: ``image, finding, reader, n_instances, area_ratio, elongation,
        irrectangularity`` and those of ``properties``.  What has no value is NaN and counted in
        ``meta["undefined"]``.

    Raises
    ------
    DataError
        If the cubes hold no masks, or none of what was selected is annotated.
    UsageError
        If an option or a name is not known, or a property fails or returns no number.

    Examples
    --------
    >>> import saltrust
    >>> def rows_touched(mask):
    ...     return mask.any(axis=1).sum()
    >>> saltrust.descriptors("study.zarr", properties=[rows_touched])    # doctest: +SKIP
    """
    named = named_properties(properties, COLUMNS)
    tree = as_cubes(cubes)
    annotations = read_annotations(tree, resolution=scoring.resolution)
    if not annotations.annotated.any():
        raise DataError("no reader annotated any of the selected images and findings; choose "
                        "another split or finding")
    store = score_store(tree, keep=execution.keep)
    table = describe_masks(annotations, scoring.definition, store, progress=execution.progress)
    if named:
        columns = property_columns(annotations, named, progress=execution.progress)
        table = table.assign(**columns)
    shapes = table[["n_instances", "area_ratio", "elongation"]].to_numpy(dtype=np.float64)
    undefined = Counter(reason for shape in shapes.tolist() for reason in _why_undefined(*shape))
    meta = {
        "resolution": annotations.resolution, "definition": scoring.definition,
        "meaning": _MEANINGS[scoring.definition], "split": split_of(tree), "masks": len(table),
        "empty_masks": int((table["n_instances"] == 0).sum()),
        "images": int(table["image"].nunique()), "undefined": dict(undefined),
        **({"properties": list(named)} if named else {}),
    }
    return Result(meta, {"descriptors": table}, "descriptors")


def describe_masks(annotations: Annotations, definition: Definition, store: ScoreStore | None, *,
                   progress: bool = False) -> pd.DataFrame:
    """Descriptors of every annotated mask, measured or taken from where they are kept.

    Parameters
    ----------
    annotations : Annotations
    definition : {"default", "peer"}
    store : ScoreStore or None
        Where they are kept.
    progress : bool
        Whether a bar is shown on stderr.

    Returns
    -------
    pandas.DataFrame
        :data:`COLUMNS`, in the order image, finding, reader of the cubes.
    """
    at = np.argwhere(annotations.annotated)
    names = [np.array(labels, dtype=object)[at[:, axis]] for axis, labels in
             enumerate((annotations.images, annotations.findings, annotations.readers))]
    shapes = keep_rows(
        store, _TOPIC, annotations, at, {"definition": definition},
        lambda rows: _measure(annotations, rows, definition, progress=progress))
    table = pd.DataFrame({**dict(zip(COLUMNS[:3], names, strict=True)),
                          **{name: shapes[name] for name in COLUMNS[3:]}})
    return table.astype({"n_instances": "int64"})


@dataclass(frozen=True)
class DrawnShape:
    """A mask with what its descriptors are measured on.

    Attributes
    ----------
    mask : ndarray of bool, shape (height, width)
        At the size at which it is measured.
    shape : ShapeDescriptors
    fitted : FittedRectangle
        In pixels of the mask: the corner of the first pixel is (0, 0).
    """

    mask: npt.NDArray[np.bool_]
    shape: ShapeDescriptors
    fitted: FittedRectangle


def drawn_shape(cubes: xr.DataTree, image: str, finding: str, reader: str) -> DrawnShape:
    """The mask of one reader with its descriptors and the rectangle fitted to it.

    Parameters
    ----------
    cubes : xarray.DataTree
    image, finding, reader : str
        Labels of the cubes.

    Raises
    ------
    DataError
        If the reader drew nothing there.
    """
    annotations = read_annotations(cubes)
    place = (annotations.images.index(image), annotations.findings.index(finding),
             annotations.readers.index(reader))
    mask = annotations.pixels(*place).mask if annotations.annotated[place] else None
    if mask is None:
        raise DataError(f"{reader} drew no {finding} on {image}, so there is no shape to "
                        "describe; choose another image or finding")
    return DrawnShape(mask, describe_shape(mask), fitted_rectangle(mask))


def _measure(annotations: Annotations, at: IntArray, definition: Definition, *,
             progress: bool) -> dict[str, npt.NDArray[np.float64]]:
    """Descriptors of the masks at these positions, image by image."""
    rows: list[ShapeDescriptors] = []
    with tqdm(total=len(np.unique(at[:, 0])), desc="descriptors", unit="image",
              disable=None if progress else True) as bar:
        last = -1
        for image, finding, reader in at.tolist():
            rows.append(_describe(annotations, image, finding, reader, definition))
            bar.update(int(image != last))
            last = image
    values = np.array(rows, dtype=np.float64).reshape(len(rows), len(ShapeDescriptors._fields))
    return dict(zip(ShapeDescriptors._fields, values.T, strict=True))


def _describe(annotations: Annotations, image: int, finding: int, reader: int,
              definition: Definition) -> ShapeDescriptors:
    runs = annotations.runs(image, finding, reader)
    if not runs.area:
        return ShapeDescriptors(0, 0.0, float("nan"), float("nan"))
    # Where a shape lies makes no difference to it, and most of an image is empty.
    shape = describe_shape(runs.cropped(), definition,
                           int(annotations.n_polygons[image, finding, reader]))
    return shape._replace(area_ratio=runs.area / (runs.height * runs.width))


def _why_undefined(n_instances: float, area_ratio: float, elongation: float) -> list[str]:
    if area_ratio == 0:
        return ["empty mask: no shape"]
    reasons = []
    if np.isnan(elongation):
        reasons.append("rectangle through pixel centres has no width: no elongation")
    if n_instances == 0:
        reasons.append("mask without an annotated contour: 0 instances")
    return reasons
