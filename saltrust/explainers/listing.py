"""Which explainers there are, ours and other libraries', and whether they can be used here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from saltrust.errors import UsageError
from saltrust.explainers.libraries import grad_cam
from saltrust.explainers.libraries.captum import catalog, composition
from saltrust.explainers.registry import BUILT_IN, explainer_names, find


@dataclass(frozen=True)
class ListedExplainer:
    """An explainer that a study may name, or one that it may not.

    Attributes
    ----------
    name : str
        As a study writes it.
    source : str
        The package it comes from.
    reason : str
        Why it cannot be used; empty where it can.
    reading : str
        What of its maps is segmented and ranked.
    cost : str
        What a map takes, in a few words.
    """

    name: str
    source: str
    reason: str
    reading: str
    cost: str


def list_explainers() -> list[ListedExplainer]:
    """Every explainer that is known by name: ours, installed ones, captum's, pytorch-grad-cam's.

    Examples
    --------
    >>> [item.name for item in list_explainers() if item.source == "saltrust"][:2]
    ['grad', 'smoothgrad']
    >>> next(item.reason for item in list_explainers() if item.name == "captum.LimeBase")
    'it is given functions of Python; `captum.Lime` is made of it'
    """
    return [*_named(), *_of_captum(), *_of_library(
        grad_cam.PREFIX, grad_cam.COSTS, grad_cam.WITHOUT_MAPS, grad_cam.why_not)]


def _named() -> Iterator[ListedExplainer]:
    """Ours, and those of entry points."""
    for name in explainer_names():
        source = "saltrust" if name in BUILT_IN else "an installed package"
        try:
            explainer = find(name)
        except UsageError as error:
            yield ListedExplainer(name, source, str(error), "", "")
        else:
            yield ListedExplainer(name, source, "", explainer.reading, explainer.cost)


def _of_captum() -> Iterator[ListedExplainer]:
    for kind, known in catalog.CLASSES.items():
        wraps = kind in catalog.WRAPPERS
        name = f"{composition.PREFIX}{kind}" + ("(captum.CLASS)" if wraps else "")
        if known.reason:
            yield ListedExplainer(name, "captum", known.reason, "", "")
        else:
            yield ListedExplainer(name, "captum", composition.why_not(kind),
                                  "as CLASS" if wraps else known.reading, known.cost)


def _of_library(prefix: str, costs: Mapping[str, str], without: Mapping[str, str],
                why_not: Callable[[str], str]) -> Iterator[ListedExplainer]:
    source = prefix.rstrip(".")
    for kind, cost in costs.items():
        yield ListedExplainer(f"{prefix}{kind}", source, why_not(kind), "raw", cost)
    for kind, reason in without.items():
        yield ListedExplainer(f"{prefix}{kind}", source, reason, "", "")
