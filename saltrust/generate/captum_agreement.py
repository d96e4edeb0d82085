"""How well heatmaps agree with those that captum makes of the same images."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata
from importlib.util import find_spec
from typing import Any

import numpy as np
from scipy.stats import rankdata

from saltrust.errors import SaltrustError, UsageError
from saltrust.explainers.bound import BoundExplainer
from saltrust.explainers.libraries.captum.counterparts import counterpart, explain_by_captum
from saltrust.generate.agreement import LEAST_CORRELATION, correlations
from saltrust.generate.batches import Resources, explain_batch
from saltrust.generate.network_store import Floats
from saltrust.generate.plan import PlannedModel
from saltrust.generate.radiographs import LoadedBatch
from saltrust.models.preprocessing import to_input

#: Root attribute of a store that holds the agreement, by model.
CAPTUM_AGREEMENT = "captum_agreement"

_log = logging.getLogger(__name__)


def check_comparison(word: str | None) -> None:
    """Refuse to compare with what is not there, before anything is computed.

    Parameters
    ----------
    word : {'captum'}, optional
        What heatmaps are to be compared with.

    Raises
    ------
    UsageError
        If captum is not installed, or the word is another.
    """
    if word not in (None, "captum"):
        raise UsageError(f"heatmaps cannot be compared with {word!r}; say 'captum'")
    if word and find_spec("captum") is None:
        raise UsageError("heatmaps cannot be compared with captum, which is not installed; pip "
                         "install captum")


def compare_with_captum(model: PlannedModel, loaded: LoadedBatch,
                        resources: Resources) -> dict[str, Any]:
    """Explain some images by captum too, in float32, and compare the maps.

    Parameters
    ----------
    model : PlannedModel
        On the device already.
    loaded : LoadedBatch
        A few images.
    resources : Resources

    Returns
    -------
    dict
        ``images``: how many; ``version``: captum's; ``explainers``: by name either ``class`` of
        captum, ``maps`` (how many could be compared), ``pearson_median``, ``pearson_min`` and
        ``spearman_median`` over images and findings (correlations over pixels) and ``agrees``
        (whether both medians reach 0.99), or ``cannot``: why nothing was compared.
    """
    resources = replace(resources, precision="float32")
    explained = explain_batch(model, loaded, resources)
    return {
        "images": len(loaded.images),
        "version": metadata.version("captum"),
        "explainers": {item.name: _comparison(item, maps, model, loaded, resources)
                       for item, maps in zip(model.explainers, explained.heatmaps, strict=True)},
    }


def _comparison(ours: BoundExplainer, maps: Floats, model: PlannedModel, loaded: LoadedBatch,
                resources: Resources) -> dict[str, Any]:
    theirs = counterpart(ours)
    if theirs is None:
        return {"cannot": "captum has no such method"}
    classifier = model.classifier
    inputs = to_input(loaded.pixels, classifier.preprocessing, resources.device)
    try:
        other = explain_by_captum(ours, theirs, classifier.module, inputs, classifier.output_index,
                                  resources.context(loaded, classifier.preprocessing))
    except SaltrustError as error:
        return {"class": theirs.name, "cannot": str(error)}
    compared = other.detach().to("cpu").float().numpy()
    pearson = correlations(maps, compared)
    spearman = correlations(_ranks(maps), _ranks(compared))
    if not len(pearson):
        return {"class": theirs.name, "maps": 0, "cannot": "no map of both has any contrast"}
    medians = {"pearson_median": float(np.median(pearson)),
               "spearman_median": float(np.median(spearman))}
    return {"class": theirs.name, "maps": len(pearson), **medians,
            "pearson_min": float(pearson.min()),
            "agrees": min(medians.values()) >= LEAST_CORRELATION}


def _ranks(maps: Floats) -> Floats:
    """Ranks of the pixels of each map, ties averaged, shape (B, F, H, W); NaN stays."""
    flat = maps.reshape(*maps.shape[:2], -1)
    ranks: Floats = rankdata(flat, axis=-1, nan_policy="propagate").reshape(maps.shape)
    return ranks


def warn_of_captum(model: str, agreement: Mapping[str, Any]) -> None:
    """Name the methods whose maps are not captum's.

    Parameters
    ----------
    model : str
        Its name.
    agreement : mapping
        From :func:`compare_with_captum`.
    """
    for name, summary in agreement["explainers"].items():
        if not summary.get("agrees", True):
            _log.warning("model %r: maps of %r agree with those of %s at a median correlation of "
                         "%.3f (Pearson) and %.3f (ranks) only; captum's hooks miss functions and "
                         "what works in place (docs/explainers.md); if there is none, look into it",
                         model, name, summary["class"], summary["pearson_median"],
                         summary["spearman_median"])
        elif "class" in summary and "cannot" in summary:
            _log.warning("model %r: maps of %r were not compared with %s: %s", model, name,
                         summary["class"], summary["cannot"])
