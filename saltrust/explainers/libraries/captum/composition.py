"""Names such as ``captum.NoiseTunnel(captum.Saliency)``, and the parameters that they take."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from saltrust.choices import MapReading
from saltrust.errors import UsageError, nearest
from saltrust.explainers.declaration import COUNT
from saltrust.explainers.libraries.captum.catalog import (
    CLASSES,
    OF_SKLEARN,
    WRAPPERS,
    CaptumClass,
    makes_maps,
)
from saltrust.explainers.methods.xrai.segments import SCALES
from saltrust.explainers.passes.context import LEVELS

PREFIX = "captum."
_FORM = re.compile(r"captum\.(\w+)\s*(?:\((.*)\))?", re.DOTALL)
_EXAMPLE = "captum.NoiseTunnel(captum.Saliency)"

# Handed in by us, or of no use for a map.
_HANDED = frozenset({
    "return_convergence_delta", "show_progress", "verbose", "return_input_shape",
    "attribute_to_layer_input", "attribute_to_neuron_input", "perturbations_per_eval",
    "draw_baseline_from_distrib", "memory_efficient", "attr_dim_summation",
})
_CHOICES: dict[str, tuple[str | int, ...]] = {
    "method": ("gausslegendre", "riemann_left", "riemann_middle", "riemann_right",
               "riemann_trapezoid"),
    "nt_type": ("smoothgrad", "smoothgrad_sq", "vargrad"),
    "interpolate_mode": ("nearest", "area", "bilinear", "bicubic"),
    "baseline": LEVELS,
    "baselines": LEVELS,
    "scale": SCALES,
}
_LIMITS: dict[str, tuple[float, float | str]] = {
    "stdevs": (0, 1000), "eps": (0, 1), "window": COUNT, "stride": (1, "window"),
    "n_steps": (2, 100_000)}
# Values that are as cheap as captum allows.
_TRIAL: dict[str, Any] = {"n_steps": 2, "n_samples": 2, "nt_samples": 1, "window": 100_000,
                          "stride": 100_000, "scale": SCALES[-1]}


@dataclass(frozen=True)
class Composition:
    """A class of captum, within those that wrap it.

    Attributes
    ----------
    name : str
        As written.
    inner : str
        Name of the class that makes maps.
    wrappers : tuple of str
        The classes around it, the outermost first.
    """

    name: str
    inner: str
    wrappers: tuple[str, ...] = ()

    @property
    def known(self) -> CaptumClass:
        """What the catalogue says of the inner class."""
        return CLASSES[self.inner]

    @property
    def attribution(self) -> Any:
        """The inner class itself."""
        return captum_class(self.inner)

    @property
    def reading(self) -> MapReading:
        """What of its maps is segmented and ranked: that of the inner class."""
        return self.known.reading

    @property
    def is_random(self) -> bool:
        """Whether any part draws numbers."""
        return any(CLASSES[name].random for name in (self.inner, *self.wrappers))

    @property
    def needs_layer(self) -> bool:
        """Whether it is given a layer."""
        return "layer" in _signature(self.attribution.__init__)

    @property
    def arguments(self) -> frozenset[str]:
        """What ``attribute`` of the inner class can be given."""
        return frozenset(_signature(self.attribution.attribute))

    @property
    def has_superpixels(self) -> bool:
        """Whether it treats parts of the image as one feature each."""
        return "feature_mask" in self.arguments

    @property
    def takes_distribution(self) -> bool:
        """Whether its baselines are several images that stand for all."""
        return self.inner.endswith(("DeepLiftShap", "GradientShap"))

    @property
    def is_of_places(self) -> bool:
        """Whether its maps have the places of a layer, not those of the image."""
        return self.needs_layer and not self.inner.startswith(("Neuron", "Guided"))

    def of_class(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Those parameters that the inner class is made with."""
        return {key: parameters[key] for key in _plain(self.attribution.__init__)}

    def of_call(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Those parameters that ``attribute`` is given, of wrappers too."""
        methods = [self.attribution, *map(captum_class, self.wrappers)]
        return {key: parameters[key] for item in methods for key in _plain(item.attribute)}

    def defaults(self) -> dict[str, Any]:
        """Every parameter that a study may set, with its default: captum's, but for those that
        stand for images.
        """
        values = _plain(self.attribution.__init__) | _plain(self.attribution.attribute)
        for name in reversed(self.wrappers):
            values |= _plain(captum_class(name).attribute)
        if "baselines" in self.arguments and self.takes_distribution:
            values["baselines"] = ("black", "white")
        elif "baselines" in self.arguments:
            values["baseline"] = ("gray" if self.has_superpixels or self.inner == "Occlusion"
                                  else "black")
        if self.has_superpixels:
            values["scale"] = SCALES[-1] if self.inner == "ShapleyValues" else 250
        if self.inner == "Occlusion":
            values |= {"window": 32, "stride": 16}
        if self.needs_layer:
            values["layer"] = ""
        if self.inner.startswith("Neuron"):
            values["neuron"] = ()
        return values

    def limits(self) -> dict[str, tuple[float, float | str]]:
        """Range of the numbers among them."""
        return {name: _LIMITS.get(name, COUNT) for name, value in self.defaults().items()
                if name in _LIMITS or (type(value) is int and name != "scale")}

    def choices(self) -> dict[str, tuple[str | int, ...]]:
        """Words and numbers that they may be."""
        return {name: _CHOICES[name] for name in self.defaults() if name in _CHOICES}

    def trial(self) -> dict[str, Any]:
        """Values that make it cheap."""
        defaults = self.defaults()
        return {name: value for name, value in _TRIAL.items() if name in defaults}


def compose(name: str) -> Composition:
    """Read the name of a method of captum.

    Parameters
    ----------
    name : str
        ``captum.Saliency``, or ``captum.NoiseTunnel(captum.Saliency)``.

    Raises
    ------
    UsageError
        If captum is not installed, has no such class, or the class makes no map of an image.

    Examples
    --------
    >>> compose("captum.NoiseTunnel(captum.LayerGradCam)").wrappers
    ('NoiseTunnel',)
    """
    if find_spec("captum") is None:
        raise UsageError(f"explainer {name!r}: captum is not installed; pip install captum")
    wrappers: list[str] = []
    rest = name
    while True:
        form = _FORM.fullmatch(rest.strip())
        if form is None:
            raise UsageError(f"explainer {name!r} is not the name of a method of captum; write "
                             f"captum.CLASS or {_EXAMPLE}")
        kind, inside = form[1], form[2]
        _check(name, kind)
        if kind not in WRAPPERS:
            break
        if inside is None:
            raise UsageError(f"explainer {name!r}: {kind} wraps another method; write "
                             f"captum.{kind}(captum.Saliency)")
        if kind in wrappers:
            raise UsageError(f"explainer {name!r}: {kind} within {kind} adds the same noise twice; "
                             f"write it once, with more `nt_samples`")
        wrappers.append(kind)
        rest = inside
    if inside is not None:
        raise UsageError(f"explainer {name!r}: {kind} wraps no other method; write captum.{kind}, "
                         f"or wrap it: captum.{WRAPPERS[0]}(captum.{kind})")
    if wrappers and not _can_be_wrapped(kind):
        raise UsageError(f"explainer {name!r}: captum's {wrappers[-1]} cannot call {kind}; take "
                         f"captum.{kind} alone")
    return Composition(name, kind, tuple(wrappers))


def _check(name: str, kind: str) -> None:
    reason = why_not(kind)
    if reason:
        raise UsageError(f"explainer {name!r}: {reason}")


def why_not(kind: str) -> str:
    """Why a class of captum cannot be asked for here; empty where it can.

    Parameters
    ----------
    kind : str
        Name of the class.
    """
    if find_spec("captum") is None:
        return "captum is not installed; pip install captum"
    known = CLASSES.get(kind)
    if known is None:
        return f"captum has no method {kind!r}; {nearest(kind, makes_maps())}"
    if known.reason:
        return (f"captum's {kind} makes no map of an image: {known.reason}; `saltrust info "
                "--explainers` lists those that do")
    if not hasattr(importlib.import_module("captum.attr"), kind):
        return (f"captum {metadata.version('captum')} has no {kind}; "
                "pip install --upgrade captum")
    if kind in OF_SKLEARN and find_spec("sklearn") is None:
        return f"captum's {kind} fits its model by scikit-learn; pip install scikit-learn"
    return ""


def _can_be_wrapped(kind: str) -> bool:
    # Wrappers call what captum's log wraps, also with one noisy copy: not what needs two images,
    # nor several baselines for each.
    return (hasattr(captum_class(kind).attribute, "__wrapped__")
            and "Permutation" not in kind and not kind.endswith("DeepLiftShap"))


def captum_class(kind: str) -> Any:
    """A class of ``captum.attr``."""
    return getattr(importlib.import_module("captum.attr"), kind)


def _signature(function: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(function).parameters


def _plain(function: Any) -> dict[str, Any]:
    """Arguments whose defaults are plain values, which a study may set."""
    return {name: item.default for name, item in _signature(function).items()
            if isinstance(item.default, bool | int | float | str) and name not in _HANDED}
