"""Data sets of several files, and imports of them: folders, CheXlocalize, splits, stores."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from saltrust.cache.reference import import_collection
from saltrust.cache.schema import CHEXLOCALIZE_FINDINGS
from saltrust.cache.store import open_cubes
from saltrust.datasets.challenges.siim_acr import siim_acr
from saltrust.datasets.chexlocalize.heatmap_import import import_chexlocalize
from saltrust.datasets.egd_cxr.collection import egd_cxr
from saltrust.datasets.folder.collection import folder as films_of_folder
from saltrust.datasets.manifest.collection import manifest
from saltrust.errors import SaltrustError
from tests.fuzz.inputs.data_sets import FIXATIONS, MANIFEST, SHEET, SIIM
from tests.fuzz.mutations import csv_files, flipped, numbers, scalars, spoiled, texts, values

SPLITS = [["ImageId", "Split"], ["1.2.3.dcm", "train"], ["1.2.4", "val"], ["1.2.5", "test"]]
_GRID = (8, 8)


def _png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


FILM = _png(np.arange(63, dtype=np.uint8).reshape(7, 9))


def _stored(folder: Path, collection: Any) -> None:
    """Import it; what is stored opens, has finite gaze, and its masks are those that were drawn."""
    cubes = open_cubes(import_collection(collection, folder / "out.zarr", grid=_GRID))
    reference = cubes["reference"].to_dataset()
    assert reference["image"].values.tolist() == collection.index["image"].values.tolist()
    if "gaze" in reference:
        gaze = reference["gaze"].where(reference["gaze_recorded"], 0)
        assert np.isfinite(gaze.values).all()


def _write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


# A cell or two of a whole table: most of such imports get far.
_CELLS = st.one_of(texts, numbers.map(lambda number: format(number, "g") if isinstance(
    number, float) else str(number)[:20]), st.text("0123456789 ;.-e", max_size=20),
    st.sampled_from(("9430", "65536", "1e9", "none", "-1", "1 1 3 2;" * 400, "1 63", "a.png",
                     "1 1 1e308 1", "4 4 4 4; 0 0 9 7", "2 2 2 2 2 2", "b.png", "m.csv", ".")))


@st.composite
def _tables(draw: st.DrawFn, valid: list[list[str]]) -> bytes:
    table = [list(row) for row in valid]
    for _ in range(draw(st.integers(0, 3))):
        row = draw(st.sampled_from([0, *[*range(1, len(table))] * 3]))
        column = draw(st.integers(0, len(table[row]) - 1))
        table[row][column] = draw(_CELLS)
    lines = [",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in table]
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def _import_manifest(folder: Path, content: bytes) -> None:
    _write(folder, {"a.png": FILM, "b.png": FILM, "m.csv": content})
    _stored(folder, manifest(folder / "m.csv", covariates=["age"]))


def _import_gaze(folder: Path, tables: tuple[bytes, bytes]) -> None:
    _write(folder, dict(zip(("master_sheet.csv", "fixations.csv"), tables, strict=True)))
    _stored(folder, egd_cxr(folder))


def _splits(folder: Path, content: bytes) -> None:
    _write(folder, {"splits.csv": content,
                    "rle.csv": "\n".join(",".join(row) for row in SIIM).encode()})
    siim_acr(folder / "rle.csv", splits=folder / "splits.csv")


_NAMES = st.one_of(st.sampled_from(("train", "test", "Edema", "a", "b.png", "A.PNG", ".hidden")),
                   texts.filter(lambda text: text.strip("./") and "\0" not in text),
                   st.binary(min_size=1, max_size=6).map(lambda name: name.decode(
                       "utf-8", "surrogateescape").replace("/", "x").replace("\0", "y")))
_PLACES = st.lists(_NAMES, min_size=1, max_size=4).map("/".join).map(lambda name: name.lstrip("/"))
_FOLDERS = st.dictionaries(
    st.one_of(st.sampled_from(("Edema/a.png", "Mass/b.png", "train/Edema/a.png")),
              _PLACES.map(lambda name: name + ".png"), _PLACES),
    st.one_of(st.just(FILM), st.just(FILM), flipped(FILM)), min_size=1, max_size=4)


def _folder(folder: Path, files: dict[str, bytes]) -> None:
    root = folder / "films"
    for name, content in files.items():
        if ".." in Path(name).parts:
            continue
        try:
            _write(root, {name: content})
        except (OSError, UnicodeError):
            continue  # No file system has such a name.
    collection = films_of_folder(root)
    _stored(folder, collection)


_NAME = "patient1_study1_view1_frontal"
_CODE = {"size": [7, 9], "counts": [20, 3, 40]}
_TREE: dict[str, Any] = {
    "gt_segmentations_val.json": {_NAME: {"Edema": _CODE, "Lung Opacity": _CODE}},
    "gt_annotations_val.json": {_NAME: {"img_size": [7, 9], "Edema": [[[1, 1], [5, 1.5], [3, 4]]]}},
    "hb_annotations_val.json": {_NAME: {"img_size": [7, 9], "Edema": [[[1, 1], [5, 2], [3, 4]]]}},
    "hb_salient_pt_val.json": {_NAME: {"Edema": [[2, 3], [4, 4]]}},
}
_LABELS = [["Path", "Frontal/Lateral", "AP/PA", *CHEXLOCALIZE_FINDINGS],
           ["CheXpert/valid/patient1/study1/view1_frontal.jpg", "Frontal", "AP",
            *["1.0", "0.0"] * (len(CHEXLOCALIZE_FINDINGS) // 2)]]
_HEATMAP = {"map": np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4), "prob": 0.5,
            "task": "Edema", "cxr_dims": (9, 7)}


@st.composite
def _releases(draw: st.DrawFn) -> dict[str, bytes]:
    tree = dict(_TREE)
    for name in draw(st.lists(st.sampled_from(sorted(tree)), max_size=2, unique=True)):
        tree[name] = draw(spoiled(tree[name], st.one_of(values, numbers), most=2))
    files = {name: json.dumps(content, default=str, skipkeys=True).encode()
             for name, content in tree.items()}
    files["valid.csv"] = draw(_tables(_LABELS))
    files["valid/patient1/study1/view1_frontal.png"] = FILM
    heatmap = dict(_HEATMAP)
    if draw(st.booleans()):
        heatmap[draw(st.sampled_from(sorted(heatmap)))] = draw(st.one_of(
            scalars, st.tuples(numbers, numbers), st.just(np.full((4, 4), np.nan, np.float32)),
            st.just(np.zeros((1, 1, 2, 0), np.float32))))
    files[f"gradcam_maps_val/{_NAME}_Edema_map.pkl"] = pickle.dumps(heatmap)
    for name in draw(st.lists(st.sampled_from(sorted(files)), max_size=2, unique=True)):
        how = draw(st.sampled_from(("leave out", "flip")))
        content = files.pop(name)
        if how == "flip":
            files[name] = draw(flipped(content))
    return files


def _release(folder: Path, files: dict[str, bytes]) -> None:
    _write(folder / "data", files)
    open_cubes(import_chexlocalize(folder / "data", folder / "out.zarr"))


def _refused_or_whole(read: Any) -> Any:
    """Whatever comes of an import, a store at its place opens."""
    def tried(folder: Path, value: Any) -> None:
        try:
            read(folder, value)
        except SaltrustError:
            assert not (folder / "out.zarr").exists()
            raise

    return tried


TARGETS = {
    "import_manifest": (_tables(MANIFEST), _refused_or_whole(_import_manifest)),
    "import_gaze": (st.tuples(_tables(SHEET), _tables(FIXATIONS)), _refused_or_whole(_import_gaze)),
    "import_folder": (_FOLDERS, _refused_or_whole(_folder)),
    "import_chexlocalize": (_releases(), _refused_or_whole(_release)),
    "splits": (st.one_of(_tables(SPLITS), csv_files(SPLITS)), _splits),
}
