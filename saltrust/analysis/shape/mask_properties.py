"""Further columns of the shapes of masks: properties of scikit-image, or functions of a mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from saltrust.analysis.pixels.scoring import MaskPixels
from saltrust.analysis.stored.annotations import Annotations
from saltrust.choices import ShapeProperty, words
from saltrust.errors import SaltrustError, UsageError, nearest
from saltrust.reading import reason_of, shown

Property = Callable[[npt.NDArray[np.bool_]], float]


def region_property(name: ShapeProperty) -> Property:
    """A property of scikit-image's ``regionprops``, of the whole mask as one region.

    Parameters
    ----------
    name : {"solidity", "feret_diameter_max", "perimeter_crofton", "eccentricity"}
        Lengths are in pixels of the size at which masks are measured.

    Returns
    -------
    callable
        A function of a mask that is not empty, with this name.

    Raises
    ------
    UsageError
        If there is no such property.

    Examples
    --------
    >>> region_property("solidity")(np.ones((3, 8), dtype=bool))
    1.0
    """
    if name not in words(ShapeProperty):
        raise UsageError(f"there is no property {shown(name)}; "
                         f"{nearest(shown(name), words(ShapeProperty))} (your own is a function)")

    def measure(mask: npt.NDArray[np.bool_]) -> float:
        from skimage import measure as regions

        regionprops: Any = regions.regionprops
        return float(getattr(regionprops(mask.astype(np.uint8))[0], name))

    measure.__name__ = name
    return measure


def named_properties(given: Sequence[Property | str], taken: Sequence[str]
                     ) -> dict[str, Property]:
    """The properties that were asked for, by the names of their columns.

    Parameters
    ----------
    given : sequence of callable or str
    taken : sequence of str
        Names of columns that there are.

    Raises
    ------
    UsageError
        If one is unknown, has no name, or the name of another column.
    """
    if callable(given) or isinstance(given, str):
        raise UsageError("properties is a list of functions and names; write properties=[...]")
    named: dict[str, Property] = {}
    for one in given:
        function = region_property(one) if isinstance(one, str) else one  # type: ignore[arg-type]
        name = getattr(function, "__name__", "")
        if not callable(function) or not str(name).isidentifier():
            raise UsageError("a property needs a name for its column; define it with def")
        if name in (*taken, *named):
            raise UsageError(f"the property {name} has the name of another column; rename it, or "
                             "leave one of them out")
        named[name] = function
    return named


def property_columns(annotations: Annotations, properties: dict[str, Property], *,
                     progress: bool) -> dict[str, npt.NDArray[np.float64]]:
    """Values of every property, in the order of the annotated masks; NaN of an empty one.

    Raises
    ------
    UsageError
        If a property fails, or does not return a number; naming it and the mask.
    """
    at = np.argwhere(annotations.annotated).tolist()
    values = np.full((len(at), len(properties)), np.nan)
    for k, place in enumerate(tqdm(at, desc="properties", unit="mask",
                                   disable=None if progress else True)):
        image, finding, reader = place
        where = (f"the mask of {annotations.findings[finding]} on {annotations.images[image]} by "
                 f"{annotations.readers[reader]}")
        pixels = annotations.pixels(*place)
        values[k] = [_value(name, function, pixels, where)
                     for name, function in properties.items()]
    return dict(zip(properties, values.T, strict=True))


def _value(name: str, function: Property, pixels: MaskPixels, where: str) -> float:
    if pixels.mask is None:
        return float("nan")
    try:
        # A copy: masks are held, and a function may write into what it is given.
        value: Any = function(pixels.mask.copy())
        if isinstance(value, str | bytes) or np.ndim(value):
            raise UsageError(f"the property {name} must return a number, not "
                             f"{type(value).__name__}, as it does on {where}")
        return float(value)
    except SaltrustError:
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(f"the property {name} fails on {where} ({reason_of(error)}); mend it, or "
                         "leave it out") from error
