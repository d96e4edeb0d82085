"""What is in a store: labels, models, explainers, completeness, size, provenance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from saltrust.cache.readings import declared_readings
from saltrust.cache.schema import (
    GROUPS,
    LABELED_DIMS,
    SCORES,
    Label,
    RadiographStatus,
    Status,
)
from saltrust.cache.validation import covariate_names, problems, unknown_contents

#: Root attributes that the description gives a place of their own.
_STRUCTURAL = {"saltrust_schema", "complete", "identity", "laid_out", "coordinates", "source",
               "sealed", "captum_agreement"}
#: Radiographs in doubt, and left out, whose remarks are shown.
MOST_REMARKS = 5
_OF_MODEL = ("model_role", "model_architecture", "model_seed", "model_checkpoint")


def describe(cubes: xr.DataTree) -> dict[str, Any]:
    """Describe a store in plain values, ready for JSON.

    Returns
    -------
    dict
        ``path``, ``schema``, ``grid``, ``dims``, ``labels`` (images only counted),
        ``splits``, ``views``, ``covariates`` (names), ``findings`` (label counts), ``readers``,
        ``models``, ``explainers``, ``localizers``, ``radiographs`` (counts by status, and the
        first remarks), ``left_out`` (files of the data set that are no radiographs),
        ``captum_agreement`` (by model, as `saltrust generate --compare captum` leaves it),
        ``groups`` (variables, completeness, bytes on disk), ``size_on_disk``, ``provenance``,
        ``problems`` and ``warnings`` (see :func:`saltrust.cache.validation.problems` and
        :func:`saltrust.cache.validation.unknown_contents`).
    """
    # Cubes that were built in memory take no room on disk.
    path = Path(str(cubes.attrs.get("source", "in memory")))
    groups = {name: _describe_group(cubes[name].to_dataset(), path / name)
              for name in GROUPS if name in cubes.children}
    if (path / SCORES).is_dir():
        # Looked for in the store: kept scores are no part of the cubes.
        groups[SCORES] = {"variables": {}, "complete": {}, "bytes": _bytes(path / SCORES),
                          "topics": sorted(item.name for item in (path / SCORES).iterdir()
                                           if item.is_dir())}
    return {
        "path": str(path),
        "schema": cubes.attrs.get("saltrust_schema"),
        "images": int(cubes.sizes.get("image", 0)),
        "patients": _n_unique(cubes, "patient"),
        "grid": _grid(cubes),
        "splits": _counts(cubes, "split"),
        "views": _counts(cubes, "view"),
        "covariates": covariate_names(cubes),
        "findings": _findings(cubes),
        "readers": _labels_with(cubes, "reference", "reader", ("reader_role",)),
        "models": _labels_with(cubes, ("saliency", "prediction"), "model", _OF_MODEL),
        "explainers": _explainers(cubes),
        "localizers": _labels_with(cubes, "localizer", "model", _OF_MODEL),
        "radiographs": _radiographs(cubes),
        "left_out": _left_out(cubes),
        "captum_agreement": _captum_agreement(cubes),
        "groups": groups,
        "size_on_disk": _bytes(path),
        "provenance": {key: value for key, value in cubes.attrs.items()
                       if key not in _STRUCTURAL},
        "problems": problems(cubes),
        "warnings": [*unknown_contents(cubes), *_disagreements(_captum_agreement(cubes))],
    }


def _describe_group(dataset: xr.Dataset, path: Path) -> dict[str, Any]:
    variables = {
        str(name): {"dims": dict(zip(map(str, array.dims), array.shape, strict=True)),
                    "dtype": str(array.dtype)}
        for name, array in dataset.data_vars.items()
    }
    return {"variables": variables, "complete": _completeness(dataset), "bytes": _bytes(path)}


def _completeness(dataset: xr.Dataset) -> dict[str, int]:
    """How much of a group has been computed."""
    told = next((name for name in ("status", "stored") if name in dataset), "")
    if "pixels" in dataset and told:
        codes = dataset[told].values
        return {"images": int(codes.size),
                **{code.name.lower(): int((codes == code).sum()) for code in RadiographStatus}}
    if "status" in dataset:
        status = dataset["status"].values
        return {"maps": int(status.size),
                **{code.name.lower(): int((status == code).sum()) for code in Status}}
    if "probability" in dataset:
        probability = dataset["probability"].values
        return {"values": int(probability.size), "ok": int(np.isfinite(probability).sum())}
    if "annotated" in dataset:
        counts = {"pairs": int(dataset["annotated"].size),
                  "annotated": int(dataset["annotated"].values.sum())}
        if "gaze_recorded" in dataset:
            counts["gaze_maps"] = int(dataset["gaze_recorded"].values.sum())
        return counts
    return {}


def _radiographs(cubes: xr.DataTree) -> dict[str, Any]:
    """What became of radiographs; empty where the store does not say."""
    if "radiograph" not in cubes.children or "status" not in cubes["radiograph"].data_vars:
        return {}
    group = cubes["radiograph"].to_dataset()
    status = group["status"].values
    names = group["image"].values
    remarks = group["remark"].values if "remark" in group else np.full(len(names), "")
    return {
        "counts": {code.name.lower(): int((status == code).sum()) for code in RadiographStatus},
        "remarks": {code.name.lower(): {
            str(names[at]): str(remarks[at])
            for at in np.flatnonzero(status == code)[:MOST_REMARKS].tolist()}
            for code in (RadiographStatus.DOUBTFUL, RadiographStatus.LEFT_OUT)}}


def _left_out(cubes: xr.DataTree) -> dict[str, Any]:
    data = cubes.attrs.get("data")
    left_out = data.get("left_out") if isinstance(data, dict) else None
    # What a store of somebody else says under this name is passed over.
    if isinstance(left_out, dict) and "first" in left_out and isinstance(
            left_out.get("files"), int) and isinstance(left_out.get("endings"), dict):
        return left_out
    return {}


def _captum_agreement(cubes: xr.DataTree) -> dict[str, dict[str, Any]]:
    """How well the maps of each model agree with captum's; empty where that was not asked for."""
    stored = cubes.attrs.get("captum_agreement")
    # What a store of somebody else says under this name is passed over.
    if not isinstance(stored, dict):
        return {}
    return {str(model): agreement for model, agreement in stored.items()
            if isinstance(agreement, dict) and isinstance(agreement.get("explainers"), dict)
            and all(isinstance(item, dict) for item in agreement["explainers"].values())}


def _disagreements(agreement: dict[str, dict[str, Any]]) -> list[str]:
    return [f"maps of {name!r} by model {model!r} are not those of {summary.get('class')}: median "
            f"correlation {summary.get('pearson_median'):.3f}, of ranks "
            f"{summary.get('spearman_median'):.3f}"
            for model, of_model in agreement.items()
            for name, summary in of_model["explainers"].items()
            if summary.get("agrees") is False
            and all(isinstance(summary.get(f"{kind}_median"), float)
                    for kind in ("pearson", "spearman"))]


def _findings(cubes: xr.DataTree) -> dict[str, dict[str, int]]:
    if "finding" not in cubes.coords:
        return {}
    names = [str(name) for name in cubes.coords["finding"].values]
    if "reference" not in cubes.children or "label" not in cubes["reference"].data_vars:
        return {name: {} for name in names}
    reference = cubes["reference"].to_dataset()
    labels = reference["label"].transpose("finding", "image").values
    return {name: {code.name.lower(): int((row == code).sum()) for code in Label}
            for name, row in zip(names, labels, strict=True)}


def _labels_with(cubes: xr.DataTree, groups: str | tuple[str, ...], dim: str,
                 extra: tuple[str, ...]) -> list[dict[str, Any]]:
    assert dim in LABELED_DIMS
    for name in (groups,) if isinstance(groups, str) else groups:
        if name in cubes.children and dim in cubes[name].coords:
            dataset = cubes[name].to_dataset()
            columns = {dim: dataset[dim].values.tolist()}
            for coord in extra:
                if coord in dataset.coords:
                    columns[coord.removeprefix(f"{dim}_")] = dataset[coord].values.tolist()
            return [dict(zip(columns, row, strict=True))
                    for row in zip(*columns.values(), strict=True)]
    return []


def _explainers(cubes: xr.DataTree) -> list[dict[str, Any]]:
    """Explainers with their parameters, and how their maps are read: stored, or by name."""
    rows = _labels_with(cubes, "saliency", "explainer", ("explainer_parameters",))
    if not rows:
        return rows
    readings = declared_readings(cubes["saliency"].to_dataset())
    return [{**row, "reading": readings[str(row["explainer"])]} for row in rows]


def _grid(cubes: xr.DataTree) -> list[int] | None:
    for node in cubes.children.values():
        if {"y", "x"} <= set(node.sizes):
            return [int(node.sizes["y"]), int(node.sizes["x"])]
    return None


def _counts(cubes: xr.DataTree, name: str) -> dict[str, int]:
    if name not in cubes.coords:
        return {}
    values, counts = np.unique(np.asarray(cubes.coords[name].values, dtype=object).astype(str),
                               return_counts=True)
    return {str(value): int(count) for value, count in zip(values, counts, strict=True)}


def _n_unique(cubes: xr.DataTree, name: str) -> int | None:
    return len(_counts(cubes, name)) if name in cubes.coords else None


def _bytes(path: Path) -> int:
    if not path.is_dir():
        return 0
    return sum(item.stat().st_size for item in path.rglob("*") if item.is_file())
