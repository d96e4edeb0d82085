"""Small cubes in memory for tests of labelled analyses."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

from saltrust.cache import rle
from saltrust.cache.grid import mask_to_grid

Mask = npt.NDArray[np.bool_]
Drawn = Mapping[tuple[str, str, str], Mask]
BuildCubes = Callable[..., xr.DataTree]


def _reference(images: Sequence[str], findings: Sequence[str], readers: Mapping[str, str],
               masks: Drawn, labels: Mapping[tuple[str, str], int],
               points: Mapping[tuple[str, str, str], Sequence[tuple[float, float]]],
               n_polygons: Mapping[tuple[str, str, str], int], grid: tuple[int, int] | None,
               native: bool) -> xr.Dataset:
    names = list(readers)
    shape = (len(images), len(findings), len(names))
    at = {(i, f, r): (images.index(i), findings.index(f), names.index(r))
          for i in images for f in findings for r in names}
    annotated, polygons = np.zeros(shape, dtype=bool), np.full(shape, -1, dtype=np.int32)
    codes = np.full(shape, "", dtype=np.dtypes.StringDType())
    most = max([1, *map(len, points.values())])
    point = np.full((2, *shape, most), np.nan, dtype=np.float32)
    on_grid = np.zeros((*shape, *(grid or (1, 1))), dtype=bool)
    label = np.full(shape[:2], -2, dtype=np.int8)
    for key, mask in masks.items():
        annotated[at[key]] = True
        codes[at[key]] = rle.encode(mask)
        polygons[at[key]] = n_polygons.get(key, -1)
        on_grid[at[key]] = mask_to_grid(mask, grid) if grid else False
        label[at[key][:2]] = max(label[at[key][:2]], int(mask.any()))
        for k, (y, x) in enumerate(points.get(key, ())):
            point[:, *at[key], k] = y, x
    for (image, finding), value in labels.items():
        label[images.index(image), findings.index(finding)] = value
    dims = ("image", "finding", "reader")
    variables: dict[str, Any] = {
        "label": (dims[:2], label), "annotated": (dims, annotated),
        "n_polygons": (dims, polygons), "point_y": ((*dims, "instance"), point[0]),
        "point_x": ((*dims, "instance"), point[1])}
    if native:
        variables["mask_rle"] = (dims, codes)
    if grid:
        variables["mask"] = ((*dims, "y", "x"), on_grid)
    return xr.Dataset(variables, coords={"reader": names,
                                         "reader_role": ("reader", list(readers.values()))})


@pytest.fixture(scope="session")
def build_cubes() -> BuildCubes:
    """A function that lays out cubes in memory.

    ``masks`` maps (image, finding, reader) to a native mask; what it leaves out is not
    annotated.  ``heatmaps`` maps (image, finding, explainer, model) to a map; ``statuses``
    overrides its status of 1.
    """

    def build(masks: Drawn, *, readers: Mapping[str, str] | None = None,
              heatmaps: Mapping[tuple[str, str, str, str], npt.NDArray[Any]] | None = None,
              statuses: Mapping[tuple[str, str, str, str], int] | None = None,
              labels: Mapping[tuple[str, str], int] | None = None,
              points: Mapping[tuple[str, str, str], Sequence[tuple[float, float]]] | None = None,
              n_polygons: Mapping[tuple[str, str, str], int] | None = None,
              patients: Sequence[str] | None = None, splits: Sequence[str] | None = None,
              images: Sequence[str] | None = None, findings: Sequence[str] | None = None,
              grid: tuple[int, int] | None = None, native: bool = True) -> xr.DataTree:
        heatmaps = heatmaps or {}
        keys = [*masks, *heatmaps]
        images = list(images or dict.fromkeys(key[0] for key in keys))
        findings = list(findings or dict.fromkeys(key[1] for key in keys))
        sizes = {key[0]: mask.shape for key, mask in masks.items()}
        root: dict[str, Any] = {"image": images, "finding": findings}
        for k, name in enumerate(("native_height", "native_width")):
            root[name] = ("image", np.array([sizes.get(i, (0, 0))[k] for i in images], np.int32))
        for name, told in (("patient", patients), ("split", splits)):
            if told is not None:
                root[name] = ("image", list(told))
        nodes = {"/": xr.Dataset(coords=root),
                 "/reference": _reference(images, findings, readers or {"truth": "reference"},
                                          masks, labels or {}, points or {}, n_polygons or {},
                                          grid, native)}
        if heatmaps:
            explainers = list(dict.fromkeys(key[2] for key in heatmaps))
            models = list(dict.fromkeys(key[3] for key in heatmaps))
            shape = (len(images), len(findings), len(explainers), len(models))
            plane = next(iter(heatmaps.values())).shape
            values = np.full((*shape, *plane), np.nan, dtype=np.float32)
            status = np.zeros(shape, dtype=np.uint8)
            for key, heatmap in heatmaps.items():
                place = tuple(names.index(label) for names, label in
                              zip((images, findings, explainers, models), key, strict=True))
                values[place] = heatmap
                status[place] = (statuses or {}).get(key, 1)
            dims = ("image", "finding", "explainer", "model")
            nodes["/saliency"] = xr.Dataset(
                {"heatmap": ((*dims, "y", "x"), values), "status": (dims, status)},
                coords={"explainer": explainers, "model": models})
        return xr.DataTree.from_dict(nodes)

    return build


@pytest.fixture(scope="session")
def small_study(tmp_path_factory: pytest.TempPathFactory) -> xr.DataTree:
    """Twelve images whose shapes are known, as the tests of the report have them."""
    path = Path(__file__).parents[1] / "report" / "conftest.py"
    spec = importlib.util.spec_from_file_location("small_studies", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    tree: xr.DataTree = module.make_cubes(tmp_path_factory.mktemp("study") / "study.zarr")
    return tree
