"""Finding and parsing the files of the released CheXlocalize layout.

They may lie in the folder itself or up to three folders below it, as the release has them
(``CheXlocalize/``, ``CheXpert/``).  SPLIT is ``val``, ``valid`` or ``test``::

    gt_segmentations_SPLIT.json   image -> finding -> COCO run-length code (reference)
    gt_annotations_SPLIT.json     image -> img_size, finding -> polygons (reference)
    hb_segmentations_SPLIT.json, hb_annotations_SPLIT.json    the same by benchmark experts
    hb_salient_pt_SPLIT.json      image -> finding -> [[x, y], ...]
    SPLIT.csv or SPLIT_labels.csv labels, one row per image, with a column Path
    SPLIT/patient*/study*/view*.jpg
    EXPLAINER_maps_SPLIT/IMAGE_FINDING_map.pkl
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from saltrust.cache.schema import CHEXLOCALIZE_FINDINGS, FINDING_ALIASES
from saltrust.datasets.files.image_search import counted, files_below, is_radiograph_file
from saltrust.errors import DataError, UsageError
from saltrust.reading import read_text, reading

#: Who annotated, by the beginning of the file name: name in the cubes and role.
READERS = {"gt": ("reference", "reference"), "hb": ("human-benchmark", "benchmark")}

_SPLITS = {"val": "val", "valid": "val", "test": "test"}
_JSON_NAME = re.compile(r"(gt|hb)_(segmentations|annotations|salient_pt)s?_(val|valid|test)\.json")
_CSV_NAME = re.compile(r"(val|valid|test)(_labels)?\.csv")
_MAPS_NAME = re.compile(r"(.+?)_(?:heat)?maps_(val|valid|test)")
_MAP_NAME = re.compile(r"(.+)_([^_]+)_map\.pkl")
_IMAGE_NAME = re.compile(r"(patient\d+)_(study\d+)_(view\d+)_([a-z]+)")
_DEPTH = 3

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HeatmapFile:
    """One heatmap pickle, with what its place and name say."""

    image: str
    finding: str
    explainer: str
    split: str
    path: Path


@dataclass
class ChexlocalizeFiles:
    """What a folder of the released layout holds.

    Attributes
    ----------
    directory : pathlib.Path
    json : dict
        (``gt`` or ``hb``, ``segmentations``, ``annotations`` or ``salient_pt``, split) -> path.
    labels : dict
        Split -> CSV.
    radiographs : dict
        Image -> JPEG.
    radiograph_splits : dict
        Image -> split of the folder its JPEG lies in.
    heatmaps : list of HeatmapFile
    unknown_findings : dict
        Names of findings beyond the ten -> a file that has them; nothing of them is read.
    left_out : list of pathlib.Path
        Files among radiographs and heatmaps that are neither.
    """

    directory: Path
    json: dict[tuple[str, str, str], Path] = field(default_factory=dict)
    labels: dict[str, Path] = field(default_factory=dict)
    radiographs: dict[str, Path] = field(default_factory=dict)
    radiograph_splits: dict[str, str] = field(default_factory=dict)
    heatmaps: list[HeatmapFile] = field(default_factory=list)
    unknown_findings: dict[str, Path] = field(default_factory=dict)
    left_out: list[Path] = field(default_factory=list)


def find_files(directory: str | Path) -> ChexlocalizeFiles:
    """Look through a folder for everything of the released layout.

    Raises
    ------
    UsageError
        If the folder does not exist.
    DataError
        If it has none of the files, or two that play one part.
    """
    root = Path(directory)
    if not root.is_dir():
        raise UsageError(f"there is no folder {root}; give the one that holds "
                         "gt_segmentations_val.json and its like")
    files = ChexlocalizeFiles(root)
    # Links are followed, since big data often lie elsewhere; the depth bounds any loop.
    for folder, subfolders, names in os.walk(root, followlinks=True):
        here = Path(folder)
        subfolders.sort()
        depth = len(here.relative_to(root).parts)
        for name in list(subfolders):
            maps = _MAPS_NAME.fullmatch(name)
            if maps:
                _add_heatmaps(files, here / name, maps[1], _SPLITS[maps[2]])
            elif name in _SPLITS:
                _add_radiographs(files, here / name, _SPLITS[name])
            if maps or name.startswith(("patient", ".")) or depth + 1 >= _DEPTH:
                subfolders.remove(name)
        for name in sorted(names):
            _add_table(files, here / name)
    if not files.json and not files.heatmaps:
        raise DataError(f"{root} holds no CheXlocalize files (gt_segmentations_val.json, "
                        "gt_annotations_val.json, gradcam_maps_val/ or the same for test); check "
                        "the path")
    if files.left_out:
        _log.warning("%s: left out, as their names are neither of radiographs nor of heatmaps, %s",
                     root, counted(files.left_out, root))
    return files


#: Of annotations; those of 668 radiographs have some 10 MB.
MOST_JSON_BYTES = 128 * 2**20
#: What they may take in memory, where two characters can make a list of 64 bytes.
MOST_PARSED_BYTES = 512 * 2**20
#: By the character that tells of it: what an object, a list, an item takes.
_PARSED_BYTES = {"{": 250, "[": 72, ",": 40}


def read_json(path: Path) -> dict[str, dict[str, Any]]:
    """Read image -> finding -> anything; findings get the names of the cubes.

    Raises
    ------
    DataError
        If the file is not such JSON.
    """
    with reading(f"{path} as JSON", "fetch it again"):
        text = read_text(path, MOST_JSON_BYTES)
        if sum(text.count(sign) * size for sign, size in _PARSED_BYTES.items()) > MOST_PARSED_BYTES:
            raise DataError(f"{path} has more lists and numbers than annotations of radiographs "
                            f"have (it would take over {MOST_PARSED_BYTES:,} bytes); fetch it "
                            "again, or leave images out")
        content = json.loads(text)
    if not isinstance(content, dict) or not all(isinstance(item, dict)
                                                for item in content.values()):
        raise DataError(f"{path} does not map images to findings; fetch it again")
    return {image: {canonical_finding(name): value for name, value in item.items()}
            for image, item in content.items()}


def canonical_finding(name: str) -> str:
    """The name of a finding in the cubes.

    Examples
    --------
    >>> canonical_finding("Lung Opacity"), canonical_finding("Edema")
    ('Airspace Opacity', 'Edema')
    """
    return FINDING_ALIASES.get(name, name)


def parse_image(image: str) -> tuple[str, str, str]:
    """Patient, study and projection that an image name states.

    Other names than CheXpert's stand for a patient and a study of their own.

    Examples
    --------
    >>> parse_image("patient64541_study1_view2_lateral")
    ('patient64541', 'patient64541_study1', 'lateral')
    """
    match = _IMAGE_NAME.fullmatch(image)
    if not match:
        return image, image, ""
    return match[1], f"{match[1]}_{match[2]}", match[4]


def image_of_path(path: str) -> str:
    """Name of the image that a CheXpert path means: patient, study and view.

    Examples
    --------
    >>> image_of_path("CheXpert-v1.0/valid/patient64541/study1/view1_frontal.jpg")
    'patient64541_study1_view1_frontal'
    """
    parts = path.replace("\\", "/").split("/")
    return "_".join([*parts[-3:-1], parts[-1].rsplit(".", 1)[0]])


def of_splits(files: Mapping[tuple[str, str, str], Path], source: str, kind: str,
              ) -> dict[str, Path]:
    """The files of one source and kind by split."""
    return {split: path for (who, what, split), path in files.items()
            if who == source and what == kind}


def _add_table(files: ChexlocalizeFiles, path: Path) -> None:
    match = _JSON_NAME.fullmatch(path.name)
    if match:
        key = (match[1], match[2], _SPLITS[match[3]])
        _refuse_second(files.json.get(key), path)
        files.json[key] = path
        return
    match = _CSV_NAME.fullmatch(path.name)
    if match:
        split = _SPLITS[match[1]]
        _refuse_second(files.labels.get(split), path)
        files.labels[split] = path


def _add_heatmaps(files: ChexlocalizeFiles, folder: Path, explainer: str, split: str) -> None:
    known = {(item.image, item.finding, item.explainer): item.path for item in files.heatmaps}
    for path in sorted(files_below(folder)):
        match = _MAP_NAME.fullmatch(path.name)
        if not match:
            files.left_out.append(path)
            continue
        finding = canonical_finding(match[2])
        if finding not in CHEXLOCALIZE_FINDINGS:
            files.unknown_findings.setdefault(finding, path)
            continue
        key = (match[1], finding, explainer)
        _refuse_second(known.get(key), path)
        known[key] = path
        files.heatmaps.append(HeatmapFile(*key, split, path))


def _add_radiographs(files: ChexlocalizeFiles, folder: Path, split: str) -> None:
    for path in sorted(folder.glob("patient*/study*/*")):
        if not path.name.startswith("view") or not is_radiograph_file(path):
            if not path.name.startswith("."):
                files.left_out.append(path)
            continue
        image = image_of_path(path.as_posix())
        _refuse_second(files.radiographs.get(image), path)
        files.radiographs[image] = path
        files.radiograph_splits[image] = split


def _refuse_second(known: Path | None, path: Path) -> None:
    if known is not None:
        raise DataError(f"{known} and {path} play the same part; leave one of them out of the "
                        "folder")
