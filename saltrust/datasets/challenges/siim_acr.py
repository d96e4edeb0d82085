"""SIIM-ACR Pneumothorax Segmentation (Kaggle 2019): masks as relative run-length codes."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from saltrust.cache.collection import Annotation
from saltrust.cache.reference import import_collection
from saltrust.choices import OnError
from saltrust.datasets.challenges.collection import (
    NATIVE_SIZE,
    ChallengeCollection,
    challenge_collection,
)
from saltrust.datasets.files.annotation_codes import kaggle_counts, unite
from saltrust.datasets.files.csv_tables import read_csv
from saltrust.datasets.files.limits import of_file
from saltrust.errors import DataError

FINDING = "Pneumothorax"


@of_file("correct what the sentence names")
def siim_acr(rle_csv: str | Path, *, splits: str | Path | None = None,
             images: str | Path | None = None, **choices: Any) -> ChallengeCollection:
    """Take the annotations of SIIM-ACR Pneumothorax as a collection.

    Parameters
    ----------
    rle_csv : path
        ``train-rle.csv``, also gzipped: ``ImageId`` and ``EncodedPixels``, relative run-length
        codes down the columns of 1024 x 1024 pixels, ``-1`` for none.  The masks of an image
        with several rows are united.
    splits : path, optional
        CSV with a column of ids and a column ``Split``; images that it leaves out, and all
        images without it, get the split ``none``.
    images : path, optional
        Folder with ID.dcm or ID.png of every image; without it, annotations alone.
    **choices
        ``findings``, ``split_fractions`` and ``seed`` of
        :func:`saltrust.datasets.challenges.collection.challenge_collection`.

    Raises
    ------
    DataError
        If a file is missing or a code is damaged (the row is named), or as
        :func:`saltrust.datasets.challenges.collection.challenge_collection` says.
    """
    table = read_csv(rle_csv)
    for column in ("ImageId", "EncodedPixels"):
        table.require(column)
    empty = kaggle_counts("-1", *NATIVE_SIZE, relative=True)
    codes: dict[str, set[str]] = defaultdict(set)
    for number, row in table.rows():
        try:
            code = kaggle_counts(row["EncodedPixels"], *NATIVE_SIZE, relative=True)
        except DataError as error:
            raise DataError(f"{table.path}, row {number}: {error}") from None
        codes[row["ImageId"]].add(code)
    masks = {image: unite(sorted(drawn), *NATIVE_SIZE) if len(drawn) > 1 else next(iter(drawn))
             for image, drawn in codes.items()}
    return challenge_collection(
        {image: int(mask != empty) for image, mask in masks.items()},
        {image: Annotation(mask) for image, mask in masks.items()},
        finding=FINDING, splits=splits, images=images, **choices,
        description={"kind": "siim-acr", "source": str(table.path), "rows": len(table.numbers)})


def import_siim_acr(
    rle_csv: str | Path,
    output: str | Path,
    *,
    splits: str | Path | None = None,
    images: str | Path | None = None,
    size: int = 320,
    overwrite: bool = False,
    resume: bool = False,
    on_error: OnError = "stop",
    progress: bool = False,
) -> Path:
    """Turn the annotations of SIIM-ACR Pneumothorax, and its radiographs, into cubes.

    Parameters
    ----------
    rle_csv, splits, images
        As in :func:`siim_acr`.
    output : path
        Store to write; masks also at native size.
    size : int
        Height and width of the grid in pixels.
    overwrite, resume, progress : bool
    on_error : {'stop', 'skip'}
        As in :func:`saltrust.cache.reference.import_collection`.

    Returns
    -------
    pathlib.Path
        The finished store.
    """
    return import_collection(siim_acr(rle_csv, splits=splits, images=images), output,
                             grid=(size, size), overwrite=overwrite, resume=resume,
                             on_error=on_error, progress=progress)
