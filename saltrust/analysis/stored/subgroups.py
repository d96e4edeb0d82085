"""Which group every image is in: ``--by sex,age:40:60,view,site``."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from saltrust.analysis.stored.arrays import labels_of, texts_of, values_of
from saltrust.errors import DataError, UsageError, nearest
from saltrust.reading import shown

#: More groups are no subgroups, and their pairs no family.
MOST_GROUPS = 20
#: Coordinates that are asked for at once.
MOST_COORDINATES = 20
#: Images whose value is missing that are named.
_NAMED = 3
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Grouping:
    """The groups of one coordinate.

    Attributes
    ----------
    by : str
        Name of the coordinate.
    groups : tuple of str
        Those that images are in: by value in alphabetical order, or by cuts in theirs.
    of_image : dict of str to str
        Group of every image that has a value.
    missing : tuple of str
        Images without one, which are in no group.
    """

    by: str
    groups: tuple[str, ...]
    of_image: dict[str, str]
    missing: tuple[str, ...]

    def labels(self, images: Iterable[Any]) -> npt.NDArray[np.object_]:
        """Group of each of these images; empty where it is in none."""
        return np.array([self.of_image.get(str(image), "") for image in images], dtype=object)

    def describe(self) -> dict[str, Any]:
        """What stands of it in the metadata of a result."""
        counts = dict.fromkeys(self.groups, 0)
        for group in self.of_image.values():
            counts[group] += 1
        return {"images": counts, **({"images_without_value": len(self.missing)}
                                     if self.missing else {})}


def groupings(cubes: xr.DataTree, by: str | None) -> list[Grouping]:
    """The groups that a text asks for.

    Parameters
    ----------
    cubes : xarray.DataTree
    by : str or None
        Names of coordinates of images, separated by commas; behind the name of one that is a
        number the cuts between groups, such as ``age:40:60``: below 40, from 40 to below 60, and
        60 or more.  None and nothing ask for none.

    Returns
    -------
    list of Grouping
        One of each coordinate; they are not crossed.

    Raises
    ------
    UsageError
        If the text names no coordinate of images (the nearest is named), a number has no cuts, a
        text has some, or cuts do not rise.
    DataError
        If a coordinate has no value, one group only, or more than :data:`MOST_GROUPS`.

    Examples
    --------
    >>> tree = xr.DataTree(xr.Dataset(coords={"image": ["a", "b"], "age": ("image", [30.0, 70])}))
    >>> groupings(tree, "age:40:60")[0].of_image
    {'a': 'below 40', 'b': '60 or more'}
    """
    if by is None:
        return []
    if not isinstance(by, str):
        raise UsageError(f"by = {shown(by)} must be names of coordinates of images, such as "
                         "'sex,age:40:60'")
    if not by.strip():
        raise UsageError("by is empty; name coordinates of images, such as sex,age:40:60")
    root = cubes.to_dataset()
    images = labels_of(root, "image")
    known = sorted(str(name) for name, array in root.coords.items()
                   if array.dims in {("image",), ()} and name not in {"image", "finding"}
                   and ("image" in root.dims) == (array.dims == ("image",)))
    parts = [part.strip() for part in by.split(",")]
    if len(parts) > MOST_COORDINATES:
        raise UsageError(f"by names {len(parts)} coordinates; {MOST_COORDINATES} at most")
    made: list[Grouping] = []
    for part in parts:
        name, *cuts = part.split(":")
        if name not in known:
            raise UsageError(f"the cubes have no coordinate of images {name!r} to group by; "
                             + (nearest(name, known) if known else "they have none at all"))
        if name in {one.by for one in made}:
            raise UsageError(f"by names {name!r} twice; name it once, with all its cuts")
        made.append(_grouping(root, images, name, cuts))
    return made


def _grouping(root: xr.Dataset, images: Sequence[str], name: str, cuts: Sequence[str]
              ) -> Grouping:
    values = values_of(root[name], ["image"])
    if values.dtype.kind in "iuf":
        numbers = values.astype(np.float64)
        bounds = _cuts(name, cuts, numbers)
        names = _ranges(bounds)
        labels = ["" if math.isnan(number) else names[int(np.searchsorted(bounds, number, "right"))]
                  for number in numbers.tolist()]
    else:
        if cuts:
            raise UsageError(f"{name} of the images is a text, which has no cuts; say {name} alone")
        labels = [text.strip() for text in texts_of(root[name], ["image"])]
        names = sorted(set(labels) - {""})
    groups = tuple(group for group in names if group in set(labels))
    of_image = {image: label for image, label in zip(images, labels, strict=True) if label}
    missing = tuple(image for image, label in zip(images, labels, strict=True) if not label)
    _check(name, groups, cuts)
    if missing:
        more = ", ..." if len(missing) > _NAMED else ""
        _log.warning("%d of %d images have no %s and are in no group: %s%s", len(missing),
                     len(images), name, ", ".join(missing[:_NAMED]), more)
    return Grouping(name, groups, of_image, missing)


def _check(name: str, groups: Sequence[str], cuts: Sequence[str]) -> None:
    if not groups:
        raise DataError(f"no selected image has a value of {name}; group by another coordinate")
    if len(groups) == 1:
        raise DataError(f"all selected images with a {name} are in one group ({groups[0]!r}), so "
                        "there is nothing to compare; "
                        + ("cut elsewhere" if cuts else "select more images")
                        + " or group by another coordinate")
    if len(groups) > MOST_GROUPS:
        raise DataError(f"{name} has {len(groups)} values among the images, and {MOST_GROUPS} "
                        "groups are the most that are compared; group by a coarser coordinate")


def _cuts(name: str, texts: Sequence[str], values: npt.NDArray[np.float64]
          ) -> npt.NDArray[np.float64]:
    """Cuts as numbers that rise."""
    if not texts:
        known = values[np.isfinite(values)]
        example = sorted({float(f"{q:.2g}") for q in np.quantile(known, [1 / 3, 2 / 3])}
                         ) if len(known) else [40.0, 60.0]
        raise UsageError(f"{name} of the images is a number; say where groups are cut, such as "
                         f"{name}:" + ":".join(f"{cut:g}" for cut in example))
    try:
        cuts = np.array([float(text) for text in texts])
    except ValueError:
        raise UsageError(f"the cuts of {name} ({':'.join(texts)}) must be numbers, such as "
                         f"{name}:40:60") from None
    if not np.isfinite(cuts).all() or (np.diff(cuts) <= 0).any():
        raise UsageError(f"the cuts of {name} ({':'.join(texts)}) must be finite and rise, such "
                         f"as {name}:40:60")
    return cuts


def _ranges(cuts: npt.NDArray[np.float64]) -> list[str]:
    """Names of the groups between cuts."""
    texts = [f"{cut:.15g}" for cut in cuts]
    return [f"below {texts[0]}",
            *(f"{low} to below {high}" for low, high in pairwise(texts)), f"{texts[-1]} or more"]
