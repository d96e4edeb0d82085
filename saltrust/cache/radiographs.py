"""Radiographs on their way into a store: decoded, left out, recorded by their file's content."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from saltrust.cache.bad_files import BadFiles
from saltrust.cache.collection import (
    Collection,
    DigestSource,
    Radiograph,
    radiograph_files,
)
from saltrust.cache.schema import Label, RadiographStatus, Status
from saltrust.cache.writing import StoreWriter
from saltrust.errors import DataError

#: Radiographs that are written together, for what stands beside their pixels is small.
_AT_ONCE = 16
_GROUPS_WITH_STATUS = ("saliency", "randomization", "faithfulness", "perturbation",
                       "localizer")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Decoded:
    """What became of one radiograph.

    Attributes
    ----------
    radiograph : Radiograph or None
        None where it cannot be read.
    remark : str
        Why it is in doubt or cannot be read; blank otherwise.
    source : str
        SHA-256 of its file; blank where it is of no file.
    """

    radiograph: Radiograph | None
    remark: str = ""
    source: str = ""

    @property
    def status(self) -> RadiographStatus:
        """As the store has it."""
        if self.radiograph is None:
            return RadiographStatus.LEFT_OUT
        return RadiographStatus.DOUBTFUL if self.remark else RadiographStatus.OK


def decode(collection: Collection, image: str, grid: tuple[int, int], bad: BadFiles) -> Decoded:
    """Decode one radiograph; what goes wrong with it is collected.

    Parameters
    ----------
    collection : Collection
    image : str
    grid : (int, int)
        Height and width.
    bad : BadFiles
    """
    with bad.collecting(image):
        source = content_digest(collection, image)
        radiograph = collection.radiograph(image, grid)
        return Decoded(radiograph, radiograph.doubt, source)
    return Decoded(None, bad.reasons[image])


def content_digest(collection: Collection, image: str) -> str:
    """SHA-256 of the file of a radiograph, or what its collection has in the place of that.

    Blank where it is of no file, or that is not there.
    """
    if isinstance(collection, DigestSource):
        return collection.radiograph_digest(image)
    path = radiograph_files(collection).get(image)
    try:
        # Pipes and the like would be waited for.
        if path is None or not Path(path).is_file():
            return ""
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        # Whoever decodes it says what is wrong.
        return ""


def store_radiographs(writer: StoreWriter, decoded: Mapping[int, Decoded]) -> None:
    """Write radiographs, and what became of those that cannot be read, by position.

    That pixels are there is written last.
    """
    if not decoded:
        return
    with writer.writing():
        readable = {at: item.radiograph for at, item in decoded.items()
                    if item.radiograph is not None}
        for at, radiograph in readable.items():
            writer.array("radiograph/pixels")[at] = radiograph.pixels
        _set(writer, "native_height", {at: item.native_height for at, item in readable.items()})
        _set(writer, "native_width", {at: item.native_width for at, item in readable.items()})
        if has_status(writer):
            _set(writer, "radiograph/remark", {at: item.remark for at, item in decoded.items()})
            _set(writer, "radiograph/source", {at: item.source for at, item in decoded.items()})
            _set(writer, "radiograph/status",
                 {at: int(item.status) for at, item in decoded.items()})
        _set(writer, "radiograph/stored", dict.fromkeys(readable, 1))


def has_status(writer: StoreWriter) -> bool:
    """Whether a store says what became of each radiograph; one of an earlier version does not."""
    return "radiograph" in writer.root and "radiograph/status" in writer.root


def left_out(writer: StoreWriter) -> npt.NDArray[np.bool_]:
    """Whether each radiograph of a store was left out because it cannot be read."""
    if not has_status(writer):
        return np.zeros(len(writer.labels("image")), dtype=bool)
    return np.asarray(writer.array("radiograph/status")[:]) == RadiographStatus.LEFT_OUT


def write_radiographs(writer: StoreWriter, collection: Collection, images: Sequence[str], *,
                      bad: BadFiles | None = None, progress: bool = False) -> None:
    """Write the grid pixels of the given images; done images are passed over.

    Parameters
    ----------
    writer : StoreWriter
    collection : Collection
    images : sequence of str
    bad : BadFiles, optional
        Takes up radiographs that cannot be read, for the caller to settle; without it they are
        an error here, once all of them are known.
    progress : bool
    """
    asked = bad or BadFiles()
    position = {image: at for at, image in enumerate(writer.labels("image"))}
    stored = np.asarray(writer.array("radiograph/stored")[:]).astype(bool)
    _, height, width = writer.array("radiograph/pixels").shape
    missing = [image for image in images if not stored[position[image]]]
    with tqdm(total=len(images), initial=len(images) - len(missing), desc="radiographs",
              unit="image", disable=None if progress else True) as bar:
        for start in range(0, len(missing), _AT_ONCE):
            block = missing[start:start + _AT_ONCE]
            decoded = {position[image]: decode(collection, image, (height, width), asked)
                       for image in block}
            if asked.on_error == "stop":
                decoded = {at: item for at, item in decoded.items() if item.radiograph is not None}
            store_radiographs(writer, decoded)
            bar.update(len(block))
    if bad is None:
        asked.settle(len(images), "radiographs", labels_of(collection, asked))


def labels_of(collection: Collection, bad: BadFiles) -> dict[str, str]:
    """Files of images that cannot be read, as sentences name them."""
    files = radiograph_files(collection)
    return {image: str(files[image]) for image in bad.reasons if image in files}


def forget_changed(writer: StoreWriter, collection: Collection, *,
                   progress: bool = False) -> list[str]:
    """Mark as missing what is stored of radiographs whose files have another content now.

    Their pixels, annotations and all their maps are computed again then.  A file that is gone is
    no other content.

    Returns
    -------
    list of str
        The images.
    """
    if not has_status(writer):
        return []
    names = writer.labels("image")
    changed = changed_files(collection, names, np.asarray(writer.array("radiograph/source")[:]),
                            progress=progress)
    if not changed:
        return []
    forget(writer, changed, RadiographStatus.MISSING)
    images = [names[position] for position in changed]
    _log.warning("%d radiographs have another content than when they were stored (first: %s); "
                 "their maps are computed again", len(images), images[0])
    return images


def forget(writer: StoreWriter, positions: Sequence[int], status: RadiographStatus,
           remark: str = "") -> None:
    """Mark as missing all that is stored of some images but their labels.

    Parameters
    ----------
    writer : StoreWriter
    positions : sequence of int
    status : RadiographStatus
        What becomes of their radiographs.
    remark : str
        Why.
    """
    at = np.array(positions)
    with writer.writing():
        for group in _GROUPS_WITH_STATUS:
            if group in writer.root:
                of_maps = np.asarray(writer.array(f"{group}/status")[:])
                of_maps[at] = Status.MISSING
                writer.array(f"{group}/status")[:] = of_maps
        if "prediction" in writer.root:
            # Of a store without maps these say what is done.
            probability = np.asarray(writer.array("prediction/probability")[:])
            probability[at] = np.nan
            writer.array("prediction/probability")[:] = probability
        if "reference/mask" in writer.root:
            # Written again only where there is a pixel.
            for position in positions:
                writer.array("reference/mask")[position] = False
        _set(writer, "reference/stored", dict.fromkeys(positions, 0))
        if has_status(writer):
            _set(writer, "radiograph/remark", dict.fromkeys(positions, remark))
            _set(writer, "radiograph/status", dict.fromkeys(positions, int(status)))
        if "radiograph" in writer.root:
            # Last but one: a job that is killed before finds the file changed again.
            _set(writer, "radiograph/stored", dict.fromkeys(positions, 0))
        if has_status(writer):
            _set(writer, "radiograph/source", dict.fromkeys(positions, ""))


def changed_files(collection: Collection, names: Sequence[str], sources: npt.NDArray[np.object_],
                  *, progress: bool = False) -> list[int]:
    """Positions of images whose file is not the one that was stored.

    Parameters
    ----------
    collection : Collection
    names : sequence of str
        Of the images of a store.
    sources : ndarray of text, shape (image,)
        Digests of their files when they were stored.
    progress : bool
    """
    known = [at for at, source in enumerate(sources.tolist()) if source]
    present = set(collection.index["image"].values.tolist())
    changed = []
    for at in tqdm(known, desc="comparing files", unit="image",
                   disable=None if progress else True):
        if names[at] not in present:
            continue
        digest = content_digest(collection, names[at])
        if digest and digest != str(sources[at]):
            changed.append(at)
    return changed


def settle_classes(collection: Collection, bad: BadFiles, images: Sequence[str]) -> None:
    """Refuse to leave out all of some images that show a finding.

    Of a job that is to stop, whoever settles what is bad names all of it.

    Raises
    ------
    DataError
        Names the finding.
    """
    names = [str(name) for name in collection.index["image"].values]
    lost = np.array([name in bad.reasons for name in names], dtype=bool)
    if bad.on_error == "stop" or not lost.any():
        return
    asked = np.isin(names, list(images))
    labels = collection.index["label"].transpose("image", "finding").values
    for finding, column in zip(collection.index["finding"].values, labels.T, strict=True):
        positive = (column == Label.POSITIVE) & asked
        if positive.any() and lost[positive].all():
            first = names[int(np.flatnonzero(positive)[0])]
            raise DataError(f"none of the {int(positive.sum())} radiographs that show {finding} "
                            "can be read, so that it would vanish from the study; replace them, "
                            "or name the other findings under [data]; the first: "
                            f"{bad.reasons[first]}")


def _set(writer: StoreWriter, name: str, values: Mapping[int, object]) -> None:
    """Write single values of a variable of images."""
    if not values:
        return
    array = writer.array(name)
    text = array.dtype.kind == "T"
    array.set_orthogonal_selection(
        (np.array(list(values)),),
        np.array(list(values.values()), dtype=np.dtypes.StringDType() if text else array.dtype))
