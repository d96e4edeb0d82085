"""Which saliency methods there are, and how a study's choice becomes a callable.

The methods that come with the package are the functions of the modules in
:mod:`saltrust.explainers.methods` that :func:`~saltrust.explainers.declaration.explainer`
decorates; a module that is added to that folder is all that a new method takes.

A user's method is named ``package.module:function`` in the study, or registered under an entry
point of the group ``saltrust.explainers``.  Either may give a plain function, a decorated one, or
an :class:`~saltrust.explainers.declaration.Explainer`.  Those of captum and pytorch-grad-cam are
named after their classes, ``captum.Saliency``, ``pytorch_grad_cam.GradCAM``
(:mod:`saltrust.explainers.libraries`).
"""

from __future__ import annotations

import inspect
import math
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, cast

from saltrust.choices import MapReading
from saltrust.errors import UsageError, nearest
from saltrust.explainers import methods
from saltrust.explainers.bound import BoundExplainer, bind
from saltrust.explainers.declaration import N_LEADING, Explainer, declared_explainer
from saltrust.explainers.libraries import grad_cam
from saltrust.explainers.libraries.captum import composition
from saltrust.explainers.libraries.captum.attribution import captum_explainer
from saltrust.models.user_code import import_attribute
from saltrust.study import ExplainerSpec

ENTRY_POINTS = "saltrust.explainers"


def discover_explainers(package: ModuleType) -> dict[str, Explainer]:
    """Import every module of a package and collect the methods that it declares.

    Parameters
    ----------
    package : module

    Returns
    -------
    dict of str to Explainer
        By name; by rank, then by name.
    """
    declared = {
        explainer.name: explainer
        for item in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        for explainer in _explainers_of(import_module(item.name))
    }
    return dict(sorted(declared.items(), key=lambda item: (
        math.inf if item[1].rank is None else item[1].rank, item[0])))


def _explainers_of(module: ModuleType) -> Iterator[Explainer]:
    for member in vars(module).values():
        explainer = declared_explainer(member)
        # A module also has the methods that it imports from others.
        if explainer is not None and explainer.function.__module__ == module.__name__:
            yield explainer


#: The methods that come with the package, in the order in which they are listed.
BUILT_IN: dict[str, Explainer] = discover_explainers(methods)

#: How the names of other libraries' methods begin, and what makes explainers of them.
LIBRARIES: dict[str, Callable[[str], Explainer]] = {
    composition.PREFIX: captum_explainer, grad_cam.PREFIX: grad_cam.grad_cam_explainer}


def resolve(spec: ExplainerSpec) -> BoundExplainer:
    """Find the method a study names and bind its parameters.

    Parameters
    ----------
    spec : ExplainerSpec
        ``name`` is built in, of a library, of an entry point, or ``package.module:function``; its
        ``reading`` takes the place of the one that the method declares, its ``label`` that of the
        name in the cubes.

    Raises
    ------
    UsageError
        If there is no such method, it cannot be imported, or a parameter is unknown,
        missing, of another type than its default, or not a plain value.

    Examples
    --------
    >>> resolve(ExplainerSpec("gradcam")).parameters
    {'layer': ''}
    >>> resolve(ExplainerSpec("gradcam", {"layr": "features"}))
    Traceback (most recent call last):
    saltrust.errors.UsageError: explainer 'gradcam' has no parameter 'layr'; did you mean 'layer'?
    """
    explainer = find(spec.name)
    if spec.reading:
        # Checked where it is declared.
        explainer = replace(explainer, reading=cast("MapReading", spec.reading))
    bound = bind(explainer, spec.parameters)
    if spec.label:
        bound = replace(bound, explainer=replace(bound.explainer, name=spec.label))
    return bound


def find(name: str) -> Explainer:
    """Look a saliency method up by the name a study gives it (see :func:`resolve`)."""
    if name in BUILT_IN:
        return BUILT_IN[name]
    for prefix, make in LIBRARIES.items():
        if name.startswith(prefix) and ":" not in name:
            return make(name)
    if ":" in name:
        return _as_explainer(name, import_attribute(name, f"explainer {name!r}"))
    registered = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    if name not in registered:
        raise UsageError(
            f"there is no explainer {name!r}; {nearest(name, [*BUILT_IN, *registered])} "
            "(your own is named package.module:function, captum's captum.CLASS)"
        )
    entry = registered[name]
    try:
        return _as_explainer(name, entry.load())
    except Exception as error:
        raise UsageError(
            f"explainer {name!r} could not be loaded from its entry point {entry.value}: {error}"
        ) from error


def explainer_names() -> list[str]:
    """Names of all methods that are built in or registered by entry points."""
    return list(dict.fromkeys([*BUILT_IN, *sorted(entry_points(group=ENTRY_POINTS).names)]))


def _as_explainer(name: str, given: Any) -> Explainer:
    declared = given if isinstance(given, Explainer) else declared_explainer(given)
    if declared is not None:
        return replace(declared, name=name)
    if not callable(given):
        raise UsageError(f"explainer {name!r} is not a function but of type "
                         f"{type(given).__name__}")
    arguments = inspect.signature(given).parameters.values()
    positional = [item.name for item in arguments
                  if item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD)]
    if len(positional) < N_LEADING:
        raise UsageError(f"explainer {name!r} must be a function of (module, inputs, outputs, "
                         f"**parameters); it takes ({', '.join(positional)})")
    return Explainer(name, given)
