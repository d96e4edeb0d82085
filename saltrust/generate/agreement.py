"""How well heatmaps of a reduced precision agree with those of float32."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from saltrust.cache.flatness import is_flat
from saltrust.explainers.passes.compiled import compiling
from saltrust.generate.batches import Resources, explain_batch
from saltrust.generate.network_store import Floats
from saltrust.generate.plan import PlannedModel
from saltrust.generate.radiographs import LoadedBatch

#: Images that are explained twice.
N_IMAGES = 4
#: Median correlation below which the maps of a method are not those of float32 any more.
LEAST_CORRELATION = 0.99

_log = logging.getLogger(__name__)


def measure_agreement(model: PlannedModel, loaded: LoadedBatch,
                      resources: Resources) -> dict[str, Any]:
    """Explain some images in float32, not compiled, and as the job does, and compare.

    Parameters
    ----------
    model : PlannedModel
        On the device already.
    loaded : LoadedBatch
        A few images.
    resources : Resources
        With the precision of the job.

    Returns
    -------
    dict
        ``images``: how many; ``logit_difference``: the largest; ``explainers``: by name
        ``maps`` (how many could be compared), ``correlation_median`` and ``correlation_min``
        over images and findings (Pearson's, over pixels); None where every map is flat.
    """
    with compiling(False):
        exact = explain_batch(model, loaded, replace(resources, precision="float32"))
    reduced = explain_batch(model, loaded, resources)
    return {
        "images": len(loaded.images),
        "logit_difference": float(np.abs(exact.logits - reduced.logits).max()),
        "explainers": {
            item.name: _summary(correlations(exact.heatmaps[position],
                                             reduced.heatmaps[position]))
            for position, item in enumerate(model.explainers)
        },
    }


def correlations(first: Floats, second: Floats) -> np.ndarray:
    """Pearson's correlation over pixels of maps with each other, of those that have one.

    Parameters
    ----------
    first, second : ndarray of float32, shape (B, F, H, W)

    Returns
    -------
    ndarray of float64, shape (n,)
        Without pairs in which a map is flat or not finite.

    Examples
    --------
    >>> maps = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)
    >>> correlations(maps, -maps)
    array([-1., -1.])
    """
    rows = [maps.reshape(-1, maps.shape[2] * maps.shape[3]).astype(np.float64)
            for maps in (first, second)]
    usable = np.logical_and(*(
        np.isfinite(row).all(axis=1) & ~is_flat(row.min(axis=1), row.max(axis=1)) for row in rows))
    x, y = (row[usable] - row[usable].mean(axis=1, keepdims=True) for row in rows)
    scale = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    correlation: np.ndarray = (x * y).sum(axis=1) / scale
    return correlation


def _summary(values: np.ndarray) -> dict[str, Any]:
    return {
        "maps": len(values),
        "correlation_median": float(np.median(values)) if len(values) else None,
        "correlation_min": float(values.min()) if len(values) else None,
    }


def warn_of_disagreement(model: str, precision: str, agreement: Mapping[str, Any]) -> None:
    """Name the methods whose maps this precision changes.

    Parameters
    ----------
    model : str
        Its name.
    precision : str
        Such as ``"bf16"`` or ``"float32, compiled"``.
    agreement : mapping
        From :func:`measure_agreement`.
    """
    for name, summary in agreement["explainers"].items():
        correlation = summary["correlation_median"]
        if correlation is not None and correlation < LEAST_CORRELATION:
            _log.warning("model %r: maps of %r in %s correlate with those in float32 at a median "
                         "of %.3f only (lowest %.3f, %d maps); say --precision float32%s if they "
                         "matter", model, name, precision, correlation,
                         summary["correlation_min"], summary["maps"],
                         " and leave `compile` out" if precision.endswith("compiled") else "")
