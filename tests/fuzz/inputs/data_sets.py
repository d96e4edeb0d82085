"""Data sets: manifests, challenges, gaze, CheXlocalize, with cells, JSON and pickles spoiled."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from saltrust.datasets.challenges.rsna import rsna
from saltrust.datasets.challenges.siim_acr import siim_acr
from saltrust.datasets.chexlocalize.heatmaps import read_heatmap
from saltrust.datasets.chexlocalize.layout import HeatmapFile, read_json
from saltrust.datasets.egd_cxr.collection import egd_cxr
from saltrust.datasets.files import annotation_codes as codes
from saltrust.datasets.manifest.collection import manifest
from tests.fuzz.mutations import csv_files, flipped, numbers, scalars, spoiled, texts, values

MANIFEST = [["image", "path", "patient", "split", "height", "width", "age", "Edema",
             "boxes:Edema", "Mass", "kaggle_rle:Mass", "points:Mass", "mask:Edema:expert", "gaze"],
            ["a", "a.png", "p", "train", "7", "9", "51", "1", "1 1 3 2", "1", "1 5", "2 2", "",
             "b.png"],
            ["b", "b.png", "q", "test", "7", "9", "", "0", "", "0", "", "", "", ""],
            ["c", "a.png", "q", "val", "7", "9", "48.5", "-1", "", "", "", "", "b.png", ""]]
SIIM = [["ImageId", "EncodedPixels"], ["1.2.3", "-1"], ["1.2.4", "407576 2 1021 7 1015 10"],
        ["1.2.5", "1 3"]]
RSNA = [["patientId", "x", "y", "width", "height", "Target"], ["a", "", "", "", "", "0"],
        ["b", "264.0", "152.0", "213.0", "379.0", "1"],
        ["b", "562.0", "152.0", "256.0", "453.0", "1"]]
SHEET = [["dicom_id", "patient_id", "study_id", "path", "Normal", "CHF", "pneumonia",
          "image_top_pad", "image_bottom_pad", "image_left_pad", "image_right_pad"],
         ["d1", "1", "2", "x", "1", "0", "0", "0", "0", "0", "0"],
         ["d2", "1", "3", "y", "0", "1", "0", "0", "0", "10", "10"]]
FIXATIONS = [["DICOM_ID", "FPOGX", "FPOGY", "FPOGD", "X_ORIGINAL", "Y_ORIGINAL"],
             ["d1", "0.5", "0.5", "0.3", "1200", "1000"],
             ["d1", "0.4", "0.6", "0.2", "900", "1500"],
             ["d2", "0.5", "0.5", "0.1", "100", "100"]]


def _look(collection: Any) -> None:
    """All that a collection has, of every image."""
    for image in collection.index["image"].values.tolist():
        collection.annotations(image)
        if collection.has_radiographs:
            collection.radiograph(image, (16, 16))
        if getattr(collection, "has_gaze", False):
            for heatmap in collection.gaze(image, (16, 16)).values():
                assert np.isfinite(heatmap).all()
            collection.fixations(image)


def _manifest(folder: Path, content: bytes) -> None:
    ramp = np.arange(63, dtype=np.uint8).reshape(7, 9)
    for name, pixels in (("a.png", ramp), ("b.png", 255 * (ramp // 40))):
        Image.fromarray(pixels).save(folder / name)
    (folder / "m.csv").write_bytes(content)
    _look(manifest(folder / "m.csv", covariates=["age"]))


def _siim(folder: Path, content: bytes) -> None:
    (folder / "rle.csv").write_bytes(content)
    _look(siim_acr(folder / "rle.csv"))


def _rsna(folder: Path, content: bytes) -> None:
    (folder / "labels.csv").write_bytes(content)
    _look(rsna(folder / "labels.csv"))


def _gaze(folder: Path, tables: tuple[bytes, bytes]) -> None:
    for name, content in zip(("master_sheet.csv", "fixations.csv"), tables, strict=True):
        (folder / name).write_bytes(content)
    _look(egd_cxr(folder))


_CODE = {"size": [4, 4], "counts": [3, 5, 8]}
_JSON = {"patient1_study1_view1_frontal": {
    "Lung Opacity": _CODE, "Edema": {"size": [4, 4], "counts": [3, 13]}}}


@st.composite
def _json_texts(draw: st.DrawFn) -> bytes:
    text = json.dumps(draw(spoiled(_JSON)), default=str, skipkeys=True) if draw(
        st.booleans()) else json.dumps(_JSON)
    strange = draw(st.sampled_from(("", "", "", "9" * 5000, "[" * 100_000, "{\"a\":" * 50_000,
                                    "NaN", "1e999")))
    if strange:
        text = text.replace("[4, 4]", strange, 1)
    return draw(st.one_of(st.just(text.encode()), flipped(text.encode())))


def _json(folder: Path, content: bytes) -> None:
    (folder / "a.json").write_bytes(content)
    for findings in read_json(folder / "a.json").values():
        for value in findings.values():
            codes.coco_size(value)
            codes.coco_counts(value, 4, 4)


_codes = st.one_of(
    st.tuples(st.just("coco_counts"), st.one_of(texts, spoiled(_CODE), values)),
    st.tuples(st.just("coco_size"), values),
    st.tuples(st.just("polygons_mask"), st.one_of(values, spoiled([[[1, 1], [5, 1.5], [3, 4]]],
                                                                  numbers))),
    st.tuples(st.just("xy_points"), st.one_of(values, st.lists(st.lists(numbers, max_size=3)))),
    st.tuples(st.just("parse_boxes"), texts | st.text("0123456789 .;-e", max_size=30)),
    st.tuples(st.just("parse_points"), texts | st.text("0123456789 .;-e", max_size=30)),
    st.tuples(st.just("kaggle_counts"), texts | st.text("0123456789 -", max_size=30)))


def _code(_folder: Path, value: tuple[str, Any]) -> None:
    name, given = value
    read = getattr(codes, name)
    if name in {"coco_size", "xy_points", "parse_points"}:
        read(given)
    elif name == "kaggle_counts":
        read(given, 7, 9, relative=True)
    else:
        read(given, 7, 9)


_HEATMAP = {"map": np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4), "prob": 0.5,
            "task": "Edema", "cxr_dims": (9, 7)}
_pickles = st.one_of(
    flipped(pickle.dumps(_HEATMAP)), flipped(pickle.dumps(_HEATMAP, 2)),
    st.builds(lambda key, value: pickle.dumps({**_HEATMAP, key: value}),
              st.sampled_from(sorted(_HEATMAP)), scalars | st.tuples(numbers, numbers)),
    st.binary(max_size=100))


def _pickle(folder: Path, content: bytes) -> None:
    path = folder / "patient1_study1_view1_frontal_Edema_map.pkl"
    path.write_bytes(content)
    read_heatmap(HeatmapFile(image="patient1_study1_view1_frontal", finding="Edema",
                             explainer="gradcam", split="val", path=path))


TARGETS = {
    "manifest": (csv_files(MANIFEST), _manifest),
    "siim": (csv_files(SIIM), _siim),
    "rsna": (csv_files(RSNA), _rsna),
    "gaze": (st.tuples(csv_files(SHEET), csv_files(FIXATIONS)), _gaze),
    "json": (_json_texts(), _json),
    "codes": (_codes, _code),
    "pickles": (_pickles, _pickle),
}
