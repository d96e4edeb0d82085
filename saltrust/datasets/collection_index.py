"""The labelled index of a collection, and a fingerprint of what it was read from."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from saltrust.cache.schema import FINDING_ALIASES
from saltrust.datasets.files.limits import check_names
from saltrust.errors import DataError, nearest


def collection_index(
    images: Sequence[str],
    findings: Sequence[str],
    labels: npt.NDArray[Any],
    *,
    readers: Mapping[str, str] | None = None,
    native_sizes: Sequence[tuple[int, int]] | None = None,
    covariates: Mapping[str, npt.NDArray[Any]] | None = None,
    **of_image: Sequence[str] | None,
) -> xr.Dataset:
    """Put labels and what is known of each image into one Dataset.

    Parameters
    ----------
    images, findings : sequence of str
    labels : array of int, shape (n_images, n_findings)
        Values of :class:`saltrust.cache.schema.Label`.
    readers : mapping, optional
        Role (``reference`` or ``benchmark``) of every reader.
    native_sizes : sequence of (height, width), optional
        In pixels; (0, 0) where unknown.
    covariates : mapping, optional
        Further facts of the images by name: arrays of float64 (NaN unknown) or text (blank
        unknown), shape (n_images,).
    **of_image : sequence of str or None
        ``patient``, ``study``, ``view``, ``split``; left out where None.

    Returns
    -------
    xarray.Dataset
        ``label(image, finding)`` int8 with the coordinates of
        :class:`saltrust.cache.collection.Collection`.

    Raises
    ------
    DataError
        If a text cannot be a name (:func:`saltrust.datasets.files.limits.check_names`).
    """
    coords: dict[str, Any] = {
        "image": _texts(images, "image name", blank=False),
        "finding": _texts(findings, "finding", blank=False),
        "reader": _texts(list(readers or {}), "reader", blank=False),
        "reader_role": ("reader", np.asarray(list((readers or {}).values()), dtype=np.str_)),
    }
    for name, values in of_image.items():
        if values is not None:
            coords[name] = ("image", _texts(values, name))
    for name, stated in (covariates or {}).items():
        listed = stated.tolist()
        coords[name] = ("image", _texts(listed, name) if stated.dtype.kind in "OTU"
                        else np.array(listed, dtype=np.float64))
    if native_sizes is not None:
        sizes = np.asarray(native_sizes, dtype=np.int32).reshape(-1, 2)
        coords["native_height"] = ("image", sizes[:, 0])
        coords["native_width"] = ("image", sizes[:, 1])
    label = np.asarray(labels, dtype=np.int8).reshape(len(images), len(findings))
    return xr.Dataset({"label": (("image", "finding"), label)}, coords=coords)


def _texts(values: Sequence[str], what: str, *, blank: bool = True) -> npt.NDArray[np.str_]:
    texts = [str(value) for value in values]
    check_names(texts, what, blank=blank)
    return np.asarray(texts, dtype=np.str_)


def require_unique(images: Sequence[str], sources: Sequence[Path | str]) -> None:
    """Raise a DataError where two sources give one image name, naming both sources."""
    first: dict[str, Path | str] = {}
    for image, source in zip(images, sources, strict=True):
        if image in first:
            raise DataError(f"the image name {image!r} stands for both {first[image]} and "
                            f"{source}; image names must be unique, rename one")
        first[image] = source


def choose_findings(asked: Sequence[str], present: Sequence[str], source: Path,
                    ) -> dict[str, str]:
    """Match the findings a study asks for with the names that a data set uses.

    Parameters
    ----------
    asked : sequence of str
        Empty: all that are present.
    present : sequence of str
    source : path
        Named in the error.

    Returns
    -------
    dict
        Name in the study -> name in the data set, in the order asked.  They differ only for
        the aliases of :data:`saltrust.cache.schema.FINDING_ALIASES`, and where the data set has
        accents apart from their letters, as folders of macOS do (Unicode's normal form D).

    Raises
    ------
    DataError
        If a finding is absent; the nearest present one is named.
    """
    spelled = {unicodedata.normalize("NFC", name): name for name in present}
    if not asked:
        return spelled
    present = list(spelled)
    chosen = {}
    for finding in asked:
        aliases = [alias for alias, name in FINDING_ALIASES.items() if name == finding]
        names = (unicodedata.normalize("NFC", finding), *aliases)
        match = next((name for name in names if name in spelled), None)
        if match is None and FINDING_ALIASES.get(finding) in present:
            raise DataError(f"{source} calls the finding {finding!r} "
                            f"{FINDING_ALIASES[finding]!r}; ask for it by that name")
        if match is None:
            raise DataError(f"{source} has no finding {finding!r}, which the study asks for; "
                            f"{nearest(finding, present) if present else 'it names none'}")
        if finding in chosen:
            raise DataError(f"the study asks for the finding {finding!r} twice; name it once")
        chosen[finding] = spelled[match]
    return chosen


def fingerprint(content: Any, files: Mapping[str, Path] | None = None) -> str:
    """SHA-256 over plain JSON values, and over the names and sizes of files.

    The pixels are not read: a data set may be hundreds of gigabytes.  A file that changes but
    keeps its name and its size to the byte is not noticed.
    """
    sizes = {name: path.stat().st_size for name, path in (files or {}).items()}
    text = json.dumps([content, sizes], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
