"""How the arrays of a group lie on disk: which there are, their chunks, shards and codecs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from saltrust.cache.schema import LABELED_DIMS, ROOT, Group, Variable

#: Images per chunk of variables without pixels.
IMAGES_PER_CHUNK = 1024
#: Images per chunk of run-length codes, which are long texts.
CODES_PER_CHUNK = 64
#: Of a chunk without pixels: boxes of 17 readers, up to 28 each, would be chunks of 100 MB.
_MOST_CHUNK_BYTES = 16 * 2**20

_STRING = np.dtypes.StringDType()


def variables_with_room(group: Group, n_points: int, n_boxes: int, n_fixations: int | None,
                        ) -> list[Variable]:
    """The variables of a group for which a study has something to hold.

    Parameters
    ----------
    group : Group
    n_points, n_boxes : int
        Longest lists of one annotation.
    n_fixations : int or None
        Most fixations of one image and reader; None: the data have no gaze, 0: heatmaps only.

    Returns
    -------
    list of Variable
    """
    left_out = set()
    if n_fixations is None:
        left_out |= {"gaze", "gaze_recorded"}
    if not n_fixations:
        left_out |= {"fixation_y", "fixation_x", "fixation_duration", "fixation_onset"}
    if not n_points:
        left_out |= {"point_y", "point_x"}
    if not n_boxes:
        left_out |= {"box"}
    return [variable for variable in group.variables if variable.name not in left_out]


def create_group(group: zarr.Group, declaration: Group, sizes: Mapping[str, int],
                 coords: Mapping[str, npt.NDArray[Any]], variables: Sequence[Variable]) -> None:
    """Create the arrays of a group: labels filled, the rest with its fill value.

    Parameters
    ----------
    group : zarr.Group
        Empty.
    declaration : Group
        The group of the schema.
    sizes : mapping
        Size of the dimensions without labels.
    coords : mapping
        Values of labels, and of what is known of them, by name.
    variables : sequence of Variable
        Those with a dimension of which neither is known are left out.
    """
    attached = []
    sizes = {**sizes, **{name: len(values) for name, values in coords.items()
                         if name in LABELED_DIMS}}
    for variable in variables:
        if any(dim not in sizes for dim in variable.dims):
            continue
        given = coords.get(variable.name) if len(variable.dims) == 1 else None
        is_label = variable.name in LABELED_DIMS
        if declaration is ROOT and given is None and not variable.name.startswith("native_"):
            continue
        array = _create_array(group, variable, sizes)
        if given is not None:
            dtype = _STRING if variable.dtype == "string" else variable.dtype
            array[:] = np.asarray(given).astype(dtype)
        if not is_label and (declaration is ROOT or variable.name.startswith(
                ("reader_", "model_", "explainer_", "replicate_"))):
            attached.append(variable.name)
    if declaration is not ROOT:
        # Every group carries the labels it shares, so that it can also be opened alone.
        for dim in ("image", "finding"):
            if any(dim in variable.dims for variable in variables):
                _add_text(group, dim, (str(label) for label in coords[dim]))
    if attached:
        # The attribute is split at spaces; reading finds a covariate with one all the same.
        group.attrs["coordinates"] = " ".join(name for name in attached if " " not in name)


def _create_array(group: zarr.Group, variable: Variable, sizes: Mapping[str, int],
                  ) -> zarr.Array[Any]:
    shape = tuple(sizes[dim] for dim in variable.dims)
    chunks, shards = _chunks_and_shards(variable, shape)
    attributes: dict[str, Any] = {"long_name": variable.meaning}
    if variable.dtype != "string":
        attributes["units"] = variable.units
    if variable.flags:
        attributes["flag_values"] = [value for value, _ in variable.flags]
        attributes["flag_meanings"] = " ".join(meaning for _, meaning in variable.flags)
    text = variable.dtype == "string"
    return group.create_array(
        variable.name,
        shape=shape,
        dtype=_STRING if text else variable.dtype,
        chunks=chunks,
        shards=shards,
        fill_value=variable.fill,
        compressors=[ZstdCodec() if text else _compressor(variable), Crc32cCodec()],
        dimension_names=list(variable.dims),
        attributes=attributes,
    )


def _compressor(variable: Variable) -> BloscCodec:
    size = np.dtype(variable.dtype).itemsize
    return BloscCodec(cname="zstd", clevel=1, shuffle="shuffle" if size > 1 else "bitshuffle",
                      typesize=size)


def _chunks_and_shards(variable: Variable, shape: tuple[int, ...]
                       ) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Chunk and shard shapes: a chunk is one map, a shard all findings of one image."""
    if not variable.is_map:
        images = CODES_PER_CHUNK if variable.name == "mask_rle" else IMAGES_PER_CHUNK
        if variable.dims[0] == "image" and variable.dtype != "string":
            of_image = math.prod(shape[1:]) * np.dtype(variable.dtype).itemsize
            images = images if images * of_image <= _MOST_CHUNK_BYTES else CODES_PER_CHUNK
        chunks = tuple(
            max(1, min(size, images)) if dim == "image" else max(1, size)
            for dim, size in zip(variable.dims, shape, strict=True))
        return chunks, None
    chunks = tuple(max(1, size) if dim in {"y", "x"} else 1
                   for dim, size in zip(variable.dims, shape, strict=True))
    whole = {"finding", "reader", "y", "x"} if "finding" in variable.dims else {"y", "x"}
    shards = tuple(max(1, size) if dim in whole else 1
                   for dim, size in zip(variable.dims, shape, strict=True))
    return chunks, shards if shards != chunks else None


def _add_text(group: zarr.Group, name: str, values: Iterable[str]) -> None:
    """Create the labels of a dimension: variable-length text."""
    data = np.array(list(values), dtype=_STRING)
    array = group.create_array(
        name, shape=data.shape, dtype=_STRING, chunks=(max(len(data), 1),), fill_value="",
        compressors=[ZstdCodec(), Crc32cCodec()], dimension_names=[name])
    if len(data):
        array[:] = data
