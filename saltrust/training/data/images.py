"""The radiographs of a collection, decoded once, with labels and splits."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from saltrust.cache.bad_files import BadFiles
from saltrust.cache.collection import Collection, with_radiograph
from saltrust.cache.radiographs import labels_of
from saltrust.choices import OnError
from saltrust.errors import DataError

TRAINING_SPLITS = ("train", "val", "test")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabeledImages:
    """Images of all splits, in memory.

    Attributes
    ----------
    names : tuple of str
        Image labels, N.
    findings : tuple of str
        Finding labels, F.
    split : ndarray of str, shape (N,)
        ``train``, ``val`` or ``test``.
    pixels : ndarray of uint8, shape (N, H, W)
    labels : ndarray of int8, shape (N, F)
        As :class:`saltrust.cache.schema.Label`.
    left_out : tuple of str
        Images whose radiographs cannot be read.
    """

    names: tuple[str, ...]
    findings: tuple[str, ...]
    split: npt.NDArray[np.str_]
    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int8]
    left_out: tuple[str, ...] = ()

    def rows(self, split: str) -> npt.NDArray[np.intp]:
        """Positions of the images of one split."""
        return np.flatnonzero(self.split == split)

    def digest(self) -> str:
        """SHA-256 over names and pixels: another where other images are trained on."""
        content = hashlib.sha256("\0".join(self.names).encode())
        content.update(np.ascontiguousarray(self.pixels).reshape(-1).data)
        return content.hexdigest()


def check_splits(collection: Collection) -> None:
    """Refuse what could not be trained on, before any image is decoded.

    Raises
    ------
    DataError
        If there are no radiographs, no splits, no images to train or to validate on, or a
        patient whose images are in two splits.
    """
    if not collection.has_radiographs:
        raise DataError("the data set has annotations but no radiographs to train on; name their "
                        "folder as `images` under [data], or give a data set that has them")
    index = collection.index
    if "split" not in index.coords:
        raise DataError("the data set states no split; give every image one of train, val, test")
    split = _texts(index["split"].values)
    _check_counts(split[with_radiograph(collection)])
    if "patient" in index.coords:
        _check_leakage(_texts(index["patient"].values), split)
    else:
        _log.warning("the data set names no patients: whether one is both in the training and in "
                     "the test images cannot be checked")


def _check_counts(split: npt.NDArray[np.str_]) -> None:
    for name, least, purpose in (("train", 2, "train on"), ("val", 1, "stop training by")):
        count = int((split == name).sum())
        if count < least:
            raise DataError(f"split {name!r} has {count} images, too few to {purpose}: change the "
                            "splits of the data, or `split_fractions` under [data]")


def _check_leakage(patient: npt.NDArray[np.str_], split: npt.NDArray[np.str_]) -> None:
    used = np.isin(split, TRAINING_SPLITS) & (patient != "")
    pairs = set(zip(patient[used].tolist(), split[used].tolist(), strict=True))
    splits_of: dict[str, list[str]] = {}
    for who, where in sorted(pairs, key=lambda pair: (pair[0], TRAINING_SPLITS.index(pair[1]))):
        splits_of.setdefault(who, []).append(where)
    leaking = {who: where for who, where in splits_of.items() if len(where) > 1}
    if leaking:
        who, where = next(iter(leaking.items()))
        others = f" (and {len(leaking) - 1} more)" if len(leaking) > 1 else ""
        raise DataError(f"patient {who!r}{others} has images in {' and '.join(where)}: keep all "
                        "images of a patient in one split, or the test is not a test")


def read_images(
    collection: Collection, size: tuple[int, int], *, on_error: OnError = "stop",
    progress: bool = True,
) -> LabeledImages:
    """Decode all images that training, validation and test use, as far as they have radiographs.

    Parameters
    ----------
    collection : Collection
    size : (int, int)
        Height and width in pixels.
    on_error : {'stop', 'skip'}
        Whether radiographs that cannot be read are an error, once all of them are known, or are
        left out.
    progress : bool
        Show a bar on stderr.

    Raises
    ------
    DataError
        As :func:`check_splits`; or if a radiograph cannot be decoded, or memory is too small.
    """
    check_splits(collection)
    index = collection.index
    split = _texts(index["split"].values)
    used = np.flatnonzero(np.isin(split, TRAINING_SPLITS) & with_radiograph(collection))
    names = [str(name) for name in index["image"].values[used]]
    bad = BadFiles(on_error)
    pixels = _decode(collection, names, size, bad, progress)
    sentence = bad.settle(len(names), "radiographs", labels_of(collection, bad))
    if sentence:
        _log.warning("%s", sentence)
        rows = np.flatnonzero([name not in bad.reasons for name in names])
        used, pixels, names = used[rows], pixels[rows], [names[row] for row in rows.tolist()]
        _check_counts(split[used])
    return LabeledImages(
        names=tuple(names),
        findings=tuple(str(name) for name in index["finding"].values),
        split=split[used],
        pixels=pixels,
        labels=np.asarray(
            index["label"].transpose("image", "finding").values[used], dtype=np.int8
        ),
        left_out=tuple(bad.reasons),
    )


def _decode(collection: Collection, names: Sequence[str], size: tuple[int, int], bad: BadFiles,
            progress: bool) -> npt.NDArray[np.uint8]:
    try:
        pixels = np.empty((len(names), *size), np.uint8)
    except MemoryError:
        raise DataError(f"{len(names)} images of {size[0]} x {size[1]} pixels do not fit in "
                        "memory; choose a smaller `grid` or fewer images") from None
    bar = tqdm(names, desc="reading radiographs", unit="image", disable=None if progress else True)
    for row, name in enumerate(bar):
        with bad.collecting(name):
            pixels[row] = collection.radiograph(name, size).pixels
    return pixels


def _texts(values: npt.ArrayLike) -> npt.NDArray[np.str_]:
    return np.asarray(values, dtype=object).astype(str)
