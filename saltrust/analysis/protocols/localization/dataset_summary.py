"""The data set that a study is of, with all its splits (Supplementary Table 2 of protocol S)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from saltrust.analysis.stored.arrays import labels_of, texts_of
from saltrust.analysis.stored.images import images_of
from saltrust.cache.schema import SPLITS, Label

#: What stands in the column ``split`` for all of them together.
ALL_SPLITS = "all"
_LABELS = {Label.POSITIVE: "positive", Label.NEGATIVE: "negative",
           Label.UNCERTAIN: "uncertain", Label.NOT_STATED: "not stated"}


def dataset_splits(study: xr.DataTree) -> pd.DataFrame:
    """Images, patients, examinations and views of every split.

    Parameters
    ----------
    study : xarray.DataTree
        With all images of the data set, those without maps too.

    Returns
    -------
    pandas.DataFrame
        ``split, images``, then where the study says so ``patients``, ``studies`` and the number
        of images of every view (``not stated`` where it is not known of some).  Splits in the
        usual order, then all together where there are several.
    """
    texts = _texts(study)
    views = [name or "not stated" for name in texts.get("view", ())]
    rows = []
    for split, chosen in _splits(study):
        row: dict[str, object] = {"split": split, "images": int(chosen.sum())}
        at = np.flatnonzero(chosen).tolist()
        patients = texts.get("patient")
        if patients:
            # Who is not known is somebody for each image.
            row["patients"] = len({patients[i] or i for i in at})
        if "study" in texts:
            # "study1" is of one patient only.
            row["studies"] = len({(patients[i] if patients else "", texts["study"][i])
                                  if texts["study"][i] else i for i in at})
        if views:
            counts = Counter(views[i] for i in at)
            row |= {f"view {name}": counts[name] for name in sorted(set(views))}
        rows.append(row)
    return pd.DataFrame(rows)


def dataset_labels(study: xr.DataTree) -> pd.DataFrame:
    """How many images of every split have which label of every finding.

    Parameters
    ----------
    study : xarray.DataTree
        As of :func:`dataset_splits`.

    Returns
    -------
    pandas.DataFrame
        ``split, finding``, numbers of images ``positive, negative, uncertain, not stated``, and
        ``positive (%)`` of those that are positive or negative; no rows where the study holds no
        labels.
    """
    images = images_of(study)
    rows = []
    if images.labels is not None:
        for split, chosen in _splits(study):
            for f, finding in enumerate(images.findings):
                counts = {name: int((images.labels[chosen, f] == code).sum())
                          for code, name in _LABELS.items()}
                known = counts["positive"] + counts["negative"]
                rows.append({"split": split, "finding": finding, **counts, "positive (%)":
                             100 * counts["positive"] / known if known else np.nan})
    return pd.DataFrame(rows, columns=["split", "finding", *_LABELS.values(), "positive (%)"])


def _texts(study: xr.DataTree) -> dict[str, list[str]]:
    """Coordinates of the images that are stated of any of them."""
    root = study.to_dataset()
    texts = {name: texts_of(root[name], ["image"]) for name in ("patient", "study", "view")
             if name in root.variables}
    return {name: values for name, values in texts.items() if any(values)}


def _splits(study: xr.DataTree) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """Name and images of every split that has any, then of all."""
    root = study.to_dataset()
    count = len(labels_of(root, "image"))
    names = (texts_of(root["split"], ["image"]) if "split" in root.variables else [""] * count)
    split = np.array([name or "none" for name in names], dtype=object)
    present = [name for name in SPLITS if (split == name).any()]
    for name in present:
        yield ("not stated" if name == "none" else name), split == name
    if len(present) > 1:
        yield ALL_SPLITS, np.ones(count, dtype=bool)
