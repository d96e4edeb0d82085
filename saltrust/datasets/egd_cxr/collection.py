"""Eye Gaze Data for Chest X-rays (Karargyris et al. 2021) as a collection, and as cubes.

A folder with ``master_sheet.csv`` (classes normal, CHF and pneumonia of 1,083 radiographs of
MIMIC-CXR) and ``fixations.csv`` (one radiologist's).  Radiographs are optional: DICOM files at the
paths of the master sheet, or any PNG, JPEG or DICOM named by DICOM id.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from saltrust.cache.collection import Annotation, Fixations, Radiograph
from saltrust.cache.reference import import_collection
from saltrust.choices import OnError
from saltrust.datasets.collection_index import choose_findings, collection_index, fingerprint
from saltrust.datasets.egd_cxr.tables import (
    Case,
    FixationTable,
    read_fixations,
    read_master_sheet,
    size_from_screen,
)
from saltrust.datasets.files.dicom_pixels import is_dicom
from saltrust.datasets.files.headers import UNKNOWN_SIZE, native_sizes
from saltrust.datasets.files.heatmap_files import gaze_heatmap
from saltrust.datasets.files.image_ids import find_radiographs, read_splits
from saltrust.datasets.files.limits import check_pixels, of_file, of_image
from saltrust.datasets.files.radiograph_files import native_size, read_radiograph
from saltrust.datasets.gaze_maps import GazeSmoothing, fixation_heatmap, within
from saltrust.datasets.splits import split_by_patient, warn_of_shared_patients
from saltrust.errors import DataError, UsageError

_log = logging.getLogger(__name__)

Size = tuple[int, int]

READER = "radiologist"
#: As the released code, which counts every fixation once.
SIGMA = "150px"
#: Of the patients, as Watanabe et al. 2022.
SPLIT_FRACTIONS = (0.8, 0.1, 0.1)


@dataclass(frozen=True, eq=False)
class EgdCxrCollection:
    """See :class:`saltrust.cache.collection.Collection`; made by :func:`egd_cxr`.

    Nobody outlined anything: there are labels and gaze, and no annotations.
    """

    index: xr.Dataset
    fingerprint: str
    description: dict[str, Any]
    has_radiographs: bool
    smoothing: GazeSmoothing
    looks: Mapping[str, Fixations] = field(repr=False)
    sizes: Mapping[str, Size] = field(repr=False)
    files: Mapping[str, Path] = field(repr=False)
    heatmaps: Mapping[str, Path] = field(repr=False)

    @of_image("the radiograph")
    def radiograph(self, image: str, grid: Size) -> Radiograph:
        """Decode one radiograph and resample it to ``grid`` = (height, width)."""
        if image not in self.files:
            raise DataError(f"there is no radiograph of {image}; give the folder of images")
        return read_radiograph(self.files[image], grid)

    @of_image("the annotations")
    def annotations(self, image: str) -> Mapping[tuple[str, str], Annotation]:
        """None: the data set has gaze and labels."""
        del image
        return {}

    @property
    def has_gaze(self) -> bool:
        """Whether there is a heatmap or a fixation of any image."""
        return bool(self.heatmaps or self.looks)

    @of_image("the gaze")
    def gaze(self, image: str, grid: Size) -> Mapping[str, npt.NDArray[np.float32]]:
        """Gaze heatmap of the radiologist: ready-made where heatmaps were given."""
        if self.heatmaps:
            path = self.heatmaps.get(image)
            made = None if path is None else gaze_heatmap(path, grid)
        elif image in self.looks:
            made = fixation_heatmap(self.looks[image], self.sizes[image], grid, self.smoothing)
        else:
            made = None
        return {} if made is None else {READER: made}

    @of_image("the fixations")
    def fixations(self, image: str) -> Mapping[str, Fixations]:
        """Fixations of the radiologist within the image."""
        return {READER: self.looks[image]} if image in self.looks else {}


@of_file("correct what the sentence names")
def egd_cxr(directory: str | Path, *, findings: Sequence[str] = (),
            images: str | Path | None = None, heatmaps: str | Path | None = None,
            splits: str | Path | None = None,
            split_fractions: Sequence[float] = SPLIT_FRACTIONS, seed: int = 0,
            smoothing: GazeSmoothing | None = None,
            on_error: OnError = "stop") -> EgdCxrCollection:
    """Take Eye Gaze Data for Chest X-rays as a collection.

    Parameters
    ----------
    directory : path
        With ``master_sheet.csv`` and, unless ``heatmaps`` are given, ``fixations.csv``.
    findings : sequence of str
        Among Normal, CHF and Pneumonia; empty: all.
    images : path, optional
        Folder of the radiographs, such as that of MIMIC-CXR, or of any of them; without it, labels
        and gaze alone.
    heatmaps : path, optional
        Folder with ``ID.png`` or, as the released code leaves them, ``ID/heatmap.png``, in the
        place of heatmaps made of fixations.
    splits : path, optional
        CSV with a column of DICOM ids and a column ``Split``; without it a random split.
    split_fractions : three floats
        Train, val and test by patient of the random split.
    seed : int
        Of the random split.
    smoothing : GazeSmoothing, optional
        How fixations become heatmaps; 150 native pixels, weighted by duration.
    on_error : {'stop', 'skip'}
        Whether radiographs whose headers cannot be read are an error; with ``'skip'`` they are
        met when they are decoded.

    Returns
    -------
    EgdCxrCollection

    Raises
    ------
    UsageError
        If a folder does not exist.
    DataError
        If a table is missing or not as it should be, no image has a radiograph, no id of
        fixations, heatmaps or splits is known, or most fixations lie outside their radiographs.
    """
    smoothing = smoothing or GazeSmoothing(SIGMA)
    root = Path(directory)
    if not root.is_dir():
        raise UsageError(f"there is no folder {root}; give the one with master_sheet.csv and "
                         "fixations.csv")
    cases, classes = read_master_sheet(root / "master_sheet.csv")
    chosen = choose_findings(findings, classes, root / "master_sheet.csv")
    names = list(cases)
    files = _radiographs(images, cases) if images is not None else {}
    maps = _heatmap_files(heatmaps, names) if heatmaps is not None else {}
    table = None
    if not maps or (root / "fixations.csv").exists():
        table = read_fixations(root / "fixations.csv", cases,
                               durations=not maps and smoothing.weight == "duration")
    sizes, origins = _sizes(cases, native_sizes(files, on_error), maps, table)
    looks, counts = _placed(sizes, files, cases, table)
    labels = np.array([[cases[name].labels[classes.index(one)] for one in chosen.values()]
                       for name in names])
    patients = [cases[name].patient or name for name in names]
    split, unknown = _splits(splits, names, patients, labels, split_fractions, seed)
    index = collection_index(
        names, list(chosen), labels, readers={READER: "reference"},
        native_sizes=[sizes[name] for name in names], patient=patients,
        study=[cases[name].study for name in names], split=split)
    index.attrs.update(n_points=0, n_boxes=0,
                       n_fixations=max((len(one) for one in looks.values()), default=0))
    return EgdCxrCollection(
        index=index,
        fingerprint=fingerprint(
            {"labels": labels.tolist(), "images": names, "split": split, "findings": list(chosen),
             "sizes": sizes, "sigma": smoothing.sigma, "weight": smoothing.weight,
             "looks": {name: [one.y.tolist(), one.x.tolist(), one.duration.tolist()]
                       for name, one in looks.items()}},
            {f"heatmap {name}": path for name, path in maps.items()}),
        description={
            "kind": "egd-cxr", "source": str(root), "images": len(names),
            "patients": len(set(patients)), "findings": chosen,
            "gaze": {"reader": READER, "heatmaps": str(heatmaps) if maps else None,
                     **({} if maps else {"sigma": smoothing.sigma, "weight": smoothing.weight}),
                     "images": len(maps or looks), **counts},
            **({"radiographs": len(files)} if images is not None else {}),
            "native_size": dict(origins), "seed": seed,
            "split": str(splits) if splits is not None else "random by patient",
            "split_ids_unknown": unknown,
            "patients_in_several_splits": warn_of_shared_patients(patients, split, str(root))},
        has_radiographs=bool(files), smoothing=smoothing, looks=looks, sizes=sizes, files=files,
        heatmaps=maps)


def import_egd_cxr(directory: str | Path, output: str | Path, *, size: int = 320,
                   overwrite: bool = False, resume: bool = False, on_error: OnError = "stop",
                   progress: bool = False, **options: Any) -> Path:
    """Turn Eye Gaze Data for Chest X-rays into cubes.

    Parameters
    ----------
    directory, **options
        As :func:`egd_cxr`.
    output : path
        Store to write.
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
    return import_collection(egd_cxr(directory, on_error=on_error, **options), output,
                             grid=(size, size), overwrite=overwrite, resume=resume,
                             on_error=on_error, progress=progress)


def _radiographs(directory: str | Path, cases: Mapping[str, Case]) -> dict[str, Path]:
    """Files at the paths of the master sheet, else anywhere below the folder by name."""
    root = Path(directory)
    files: dict[str, Path] = {}
    for name, case in cases.items():
        for start in (root, root / "files") if case.path else ():
            stem = start / case.path
            paths = [stem, *(stem.with_suffix(ending) for ending in (".dcm", ".jpg", ".png"))]
            path = next((path for path in paths if path.is_file()), None)
            if path is not None:
                files[name] = path
                break
    # MIMIC-CXR has hundreds of thousands of files: they are looked through only if need be.
    return find_radiographs(root, list(cases), files)


def _heatmap_files(directory: str | Path, names: Sequence[str]) -> dict[str, Path]:
    root = Path(directory)
    if not root.is_dir():
        raise UsageError(f"there is no folder {root} of heatmaps; correct the path")
    files = {path.stem: path for path in sorted(root.glob("*.png"))}
    files |= {path.parent.name: path for path in sorted(root.glob("*/heatmap.png"))}
    if not files:
        raise DataError(f"{root} holds no heatmaps; they are named ID.png or ID/heatmap.png by "
                        "DICOM id")
    known = {name: files[name] for name in names if name in files}
    strange = sorted({*files} - {*names})
    if not known:
        raise DataError(f"none of the {len(files)} heatmaps in {root} is of an image in the master "
                        f"sheet (the first is {strange[0]}); check the folder")
    if strange:
        _log.warning("%d of %d heatmaps in %s are of images that the master sheet lacks (first: "
                     "%s)", len(strange), len(files), root, strange[0])
    return known


def _sizes(cases: Mapping[str, Case], headers: Mapping[str, Size], maps: Mapping[str, Path],
           table: FixationTable | None) -> tuple[dict[str, Size], Counter[str]]:
    """Native size of every image, and how many are known from what."""
    sizes: dict[str, Size] = {}
    origins: Counter[str] = Counter()
    for name, case in cases.items():
        size, origin = None, "unknown"
        if headers.get(name, UNKNOWN_SIZE) != UNKNOWN_SIZE:
            size, origin = headers[name], "radiograph"
        elif table is not None and name in table.screen:
            size, origin = size_from_screen(case, table.of_image[name],
                                            table.screen[name]), "screen"
            if size is not None:
                check_pixels(*size, f"{name}: where its fixations lay on the screen")
        if size is None and name in maps:
            size, origin = native_size(maps[name]), "heatmap"
        sizes[name] = size or UNKNOWN_SIZE
        origins[origin if size else "unknown"] += 1
    return sizes, origins


def _placed(sizes: Mapping[str, Size], files: Mapping[str, Path], cases: Mapping[str, Case],
            table: FixationTable | None) -> tuple[dict[str, Fixations], dict[str, int]]:
    """Fixations within their images, in pixels of these sizes, and what was left out."""
    if table is None:
        return {}, {}
    looks: dict[str, Fixations] = {}
    outside = beyond = total = unplaced = rescaled = 0
    for name, recorded in table.of_image.items():
        if sizes[name] == UNKNOWN_SIZE:
            unplaced += 1
            continue
        fixations = recorded
        # Coordinates are of the DICOM file: of a picture that was made smaller, they are scaled.
        if name in files and name in table.screen and not is_dicom(files[name]):
            original = size_from_screen(cases[name], recorded, table.screen[name])
            if original is not None and _differ(original, sizes[name]):
                fixations = _scaled(recorded, original, sizes[name])
                rescaled += 1
        kept, dropped = within(fixations, sizes[name])
        total += len(fixations)
        outside += dropped
        # The tracker's losses are negative; what lies past the far edges fits no image.
        beyond += int(((fixations.y >= 0) & (fixations.x >= 0)).sum()) - len(kept)
        if len(kept):
            looks[name] = kept
    if unplaced:
        _say_unplaced(unplaced, len(table.of_image))
    if beyond > total / 2:
        raise DataError(f"{beyond} of {total} fixations lie past the edges of their radiographs, "
                        "so these are not of the original size; give the DICOM files")
    if outside:
        _log.warning("%d of %d fixations lie outside their images and are left out", outside, total)
    return looks, {
        "fixations": total - outside, "fixations_outside": outside,
        "rows_of_unknown_images": table.unknown, "rows_without_coordinates": table.not_numbers,
        "images_of_unknown_size": unplaced, "images_rescaled": rescaled,
        "images_without_gaze": len(sizes) - len(looks)}


def _say_unplaced(unplaced: int, of: int) -> None:
    text = (f"the native size of {unplaced} of {of} images with fixations is unknown (no "
            "radiograph, and no pads or screen coordinates in the tables)")
    if unplaced == of:
        raise DataError(f"{text}; give the folder of radiographs")
    _log.warning("%s, so they count as without gaze", text)


def _differ(one: Size, two: Size) -> bool:
    return any(abs(a - b) > 0.02 * b for a, b in zip(one, two, strict=True))


def _scaled(fixations: Fixations, original: Size, size: Size) -> Fixations:
    y, x = ((values + 0.5) * (new / old) - 0.5 for values, old, new in zip(
        (fixations.y, fixations.x), original, size, strict=True))
    lost = (fixations.y < 0) | (fixations.x < 0)
    return Fixations(np.where(lost, -1.0, y), np.where(lost, -1.0, x), fixations.duration)


def _splits(path: str | Path | None, names: list[str], patients: Sequence[str],
            labels: npt.NDArray[Any], fractions: Sequence[float], seed: int,
            ) -> tuple[list[str], int]:
    if path is None:
        return split_by_patient(patients, labels, fractions, seed), 0
    split_of, unknown = read_splits(path, names)
    return [split_of.get(name, "none") for name in names], unknown
