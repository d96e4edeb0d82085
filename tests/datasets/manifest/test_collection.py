"""CSV manifests: columns, annotations, and every kind of mistake in them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saltrust.cache import rle
from saltrust.cache.collection import Collection
from saltrust.datasets.manifest.collection import manifest
from saltrust.errors import DataError

Make = Callable[..., Path]
SHAPE = (6, 8)
PIXELS = np.arange(48, dtype=np.uint8).reshape(SHAPE)


def square(top: int, left: int, height: int = 2, width: int = 3) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[top:top + height, left:left + width] = True
    return mask


@pytest.fixture
def films(tmp_path: Path, save_png: Make) -> Path:
    """A folder with the radiographs a.png, b.png, c.png and the mask m.png."""
    for name in "abc":
        save_png(tmp_path / f"{name}.png", PIXELS)
    save_png(tmp_path / "m.png", square(1, 2).astype(np.uint8) * 255)
    return tmp_path


def write(folder: Path, *lines: str) -> Path:
    path = folder / "films.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def refuse(path: Path, *words: str, **options: Any) -> None:
    with pytest.raises(DataError) as caught:
        data = manifest(path, **options)
        for image in data.index["image"].values:
            data.annotations(str(image))
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_labels_splits_and_patients(films: Path) -> None:
    path = write(films, "image,path,patient,study,view,split,Edema,Lung Opacity",
                 "one,a.png,p1,s1,AP,train,1,0.0", "two,b.png,p2,s2,PA,valid,-1.0,",
                 "three,c.png,p2,s3,,,0,1.0")
    data = manifest(path)
    assert isinstance(data, Collection)
    index = data.index
    assert index["image"].values.tolist() == ["one", "two", "three"]
    assert index["finding"].values.tolist() == ["Edema", "Lung Opacity"]
    assert index["label"].values.tolist() == [[1, 0], [-1, -2], [0, 1]]
    assert index["split"].values.tolist() == ["train", "val", "none"]
    assert index["patient"].values.tolist() == ["p1", "p2", "p2"]
    assert index["study"].values.tolist() == ["s1", "s2", "s3"]
    assert index["view"].values.tolist() == ["AP", "PA", ""]
    np.testing.assert_array_equal(data.radiograph("two", SHAPE).pixels, PIXELS)
    assert data.annotations("one") == {}


def test_only_paths_and_labels(films: Path) -> None:
    path = write(films, "path,Edema", *[f"{name}.png,{i % 2}" for i, name in enumerate("abc")])
    data = manifest(path, split_fractions=(0.4, 0.3, 0.3), seed=4)
    assert data.index["image"].values.tolist() == ["a", "b", "c"]
    assert data.index["patient"].values.tolist() == ["a", "b", "c"]
    assert Counter(data.index["split"].values.tolist()) == {"train": 1, "val": 1, "test": 1}


def test_the_byte_order_mark_of_a_spreadsheet_is_no_part_of_the_header(films: Path) -> None:
    path = films / "films.csv"
    path.write_bytes(b"\xef\xbb\xbfpath,Edema\r\na.png,1\r\n")
    assert manifest(path).index["image"].values.tolist() == ["a"]


def test_findings_are_chosen_renamed_and_others_ignored(films: Path) -> None:
    path = write(films, "path,Weight,Lung Opacity,Edema", "a.png,73,1,0")
    data = manifest(path, findings=["Edema", "Airspace Opacity"])
    assert data.index["finding"].values.tolist() == ["Edema", "Airspace Opacity"]
    assert data.index["label"].values.tolist() == [[0, 1]]
    refuse(path, "Oedema", "did you mean 'Edema'?", "films.csv", findings=["Oedema"])
    refuse(path, "row 2", "Weight", "'73'", "[data] findings")


ANNOTATION_COLUMNS = "path,Edema,mask:Edema"


def only_mask(path: Path, key: tuple[str, str] = ("Edema", "reference")) -> np.ndarray:
    data = manifest(path)
    (annotation,) = [value for name, value in data.annotations("a").items() if name == key]
    return rle.decode(annotation.mask_rle, *SHAPE)


def test_every_way_to_write_a_mask(films: Path) -> None:
    mask = square(1, 2)
    counts = rle.encode(mask)
    as_json = json.dumps({"size": list(SHAPE), "counts": counts}).replace('"', '""')
    runs = rle.run_lengths(counts)
    starts = np.cumsum(runs)[0::2][:len(runs) // 2] + 1
    absolute = " ".join(f"{s} {n}" for s, n in zip(starts, runs[1::2], strict=True))
    relative = " ".join(f"{s} {n}" for s, n in zip(runs[0::2], runs[1::2], strict=False))
    for column, cell in (("mask", "m.png"), ("mask", counts), ("mask", f'"{as_json}"'),
                         ("kaggle_rle", absolute), ("siim_rle", relative),
                         ("boxes", "2 1 3 2")):
        path = write(films, f"path,Edema,{column}:Edema", f"a.png,1,{cell}")
        np.testing.assert_array_equal(only_mask(path), mask, err_msg=column)


def test_boxes_points_and_readers(films: Path) -> None:
    path = write(films, "path,Edema,boxes:Edema,mask:Edema:expert-1,points:Edema:expert-1,"
                        "mask:Edema:Dr. Lee",
                 "a.png,1,2 1 3 2; 0 0 1 1,m.png,3 2,none")
    data = manifest(path)
    roles = dict(zip(data.index["reader"].values.tolist(),
                     data.index["reader_role"].values.tolist(), strict=True))
    assert roles == {"reference": "reference", "expert-1": "benchmark", "Dr. Lee": "reference"}
    drawn = data.annotations("a")
    reference = drawn["Edema", "reference"]
    assert reference.boxes == ((1.0, 2.0, 3.0, 5.0), (0.0, 0.0, 1.0, 1.0))
    assert reference.n_polygons == 2
    assert rle.area(reference.mask_rle, *SHAPE) == 7
    assert drawn["Edema", "expert-1"].points == ((2.0, 3.0),)
    assert rle.area(drawn["Edema", "expert-1"].mask_rle, *SHAPE) == 6
    assert rle.area(drawn["Edema", "Dr. Lee"].mask_rle, *SHAPE) == 0


def test_a_blank_cell_is_a_negative_only_where_the_reference_label_says_so(films: Path) -> None:
    path = write(films, "image,path,Edema,mask:Edema,mask:Edema:expert-1",
                 "negative,a.png,0,,", "positive,b.png,1,,", "uncertain,c.png,-1,,",
                 "unknown,a.png,,,", "stated,b.png,1,none,-1")
    data = manifest(path)
    assert {image: sorted(reader for _, reader in data.annotations(image))
            for image in data.index["image"].values.tolist()} == {
        "negative": ["reference"], "positive": [], "uncertain": [], "unknown": [],
        "stated": ["expert-1", "reference"]}
    empty = data.annotations("negative")["Edema", "reference"].mask_rle
    assert rle.area(empty, *SHAPE) == 0


def test_annotations_follow_the_alias_and_the_choice_of_findings(films: Path) -> None:
    path = write(films, "path,Lung Opacity,Edema,mask:Lung Opacity,mask:Edema",
                 "a.png,1,0,m.png,")
    data = manifest(path, findings=["Airspace Opacity"])
    assert set(data.annotations("a")) == {("Airspace Opacity", "reference")}


def test_without_radiographs_the_size_is_stated(films: Path) -> None:
    path = write(films, "image,height,width,Edema,kaggle_rle:Edema", "one,6,8,1,1 2", "two,3,3,0,")
    data = manifest(path)
    assert not data.has_radiographs
    assert data.index["native_width"].values.tolist() == [8, 3]
    assert rle.area(data.annotations("one")["Edema", "reference"].mask_rle, 6, 8) == 2
    with pytest.raises(DataError, match="no column 'path'"):
        data.radiograph("one", (4, 4))
    refuse(write(films, "image,Edema,kaggle_rle:Edema", "one,1,1 2"), "no column 'height'")
    refuse(write(films, "image,height,width,Edema", "one,0,8,1"), "row 2", "whole numbers")
    refuse(write(films, "path,height,width,Edema", "a.png,6,9,1"), "6 x 9", "6 x 8", "a.png")


def test_tables_that_cannot_be_read(films: Path) -> None:
    refuse(films / "none.csv", "none.csv", "does not exist")
    (films / "films.csv").write_text("")
    refuse(films / "films.csv", "is empty")
    refuse(write(films, "path,Edema"), "no rows")
    (films / "films.csv").write_bytes("path,Œdème\na.png,1\n".encode("latin-1", "replace"))
    refuse(films / "films.csv", "UTF-8")
    (films / "films.csv").write_bytes(b"path,Edema\n\x80\x81.png,1\n")
    refuse(films / "films.csv", "UTF-8")
    refuse(write(films, "path,Edema", "a.png,1,0"), "films.csv", "line 2")
    refuse(write(films, "path,Edema,Edema", "a.png,1,0"), "'Edema' more than once")
    refuse(write(films, "scan,Edema", "a.png,1"), "'path'", "'scan'")
    refuse(write(films, "path", "a.png"), "no finding columns")
    refuse(films, "cannot be read")


def test_values_that_are_wrong(films: Path) -> None:
    refuse(write(films, "path,Edema", "a.png,1", "b.png,yes"), "row 3", "Edema", "'yes'")
    refuse(write(films, "path,Edema", "a.png,2"), "row 2", "'2'")
    refuse(write(films, "path,split,Edema", "a.png,tets,1"), "row 2", "did you mean 'test'")
    refuse(write(films, "path,Edema", ",1"), "row 2", "path is blank")
    refuse(write(films, "image,path,Edema", "x,a.png,1", "x,b.png,0"), "'x'", "row 2", "row 3")
    refuse(write(films, "path,Edema", "a.png,1", "a.png,0"), "'a'", "unique")


def test_missing_files_are_counted_and_named(films: Path) -> None:
    refuse(write(films, "path,Edema", "a.png,1", "x.png,1", "y.png,1"), "2 of 3", "x.png")
    refuse(write(films, ANNOTATION_COLUMNS, "a.png,1,x.png", "b.png,1,y.png"), "2 masks", "x.png")


def test_masks_that_do_not_fit(films: Path, save_png: Make) -> None:
    save_png(films / "small.png", np.zeros((3, 4), dtype=np.uint8))
    refuse(write(films, ANNOTATION_COLUMNS, "b.png,1,small.png"), "small.png", "3 x 4", "b.png",
           "6 x 8", "row 2")
    code = json.dumps({"size": [3, 4], "counts": "<"}).replace('"', '""')
    refuse(write(films, ANNOTATION_COLUMNS, f'a.png,1,"{code}"'), "3 x 4", "6 x 8", "row 2",
           "mask:Edema")
    refuse(write(films, ANNOTATION_COLUMNS, f"a.png,1,{rle.encode(np.eye(3))}"), "row 2", "48")
    refuse(write(films, "path,Edema,kaggle_rle:Edema", "a.png,1,48 2"), "row 2", "pixel 49")
    refuse(write(films, "path,Edema,boxes:Edema", "a.png,1,5 6 9 9"), "row 2", "outside")
    refuse(write(films, "path,Edema,mask:Edema,points:Edema", "a.png,1,m.png,8 1"), "row 2",
           "outside", "6 x 8")
    refuse(write(films, "path,Edema,mask:Edema,points:Edema", "a.png,1,,3 1"), "points", "no mask")
    save_png(films / "m.jpg", np.zeros(SHAPE, dtype=np.uint8))
    refuse(write(films, ANNOTATION_COLUMNS, "a.png,1,m.jpg"), "m.jpg", "not a PNG")


def test_columns_that_are_wrong(films: Path) -> None:
    refuse(write(films, "path,Edema,msk:Edema", "a.png,1,m.png"), "msk", "did you mean 'mask'")
    refuse(write(films, "path,Edema,mask:Edma", "a.png,1,m.png"), "Edma", "did you mean 'Edema'")
    refuse(write(films, "path,Edema,mask:Edema,siim_rle:Edema", "a.png,1,m.png,"),
           "mask:Edema", "siim_rle:Edema")
    refuse(write(films, "path,Edema,mask:Edema,mask:Edema:reference", "a.png,1,m.png,"),
           "mask:Edema:reference")
    refuse(write(films, "path,Edema,points:Edema", "a.png,1,1 1"), "without a mask")


def test_a_patient_in_two_splits_is_said(films: Path, caplog: pytest.LogCaptureFixture) -> None:
    manifest(write(films, "path,patient,split,Edema", "a.png,p,train,1", "b.png,p,test,1"))
    assert "1 patients into more than one split" in caplog.text


def test_the_fingerprint_follows_labels_and_no_pixels(films: Path, save_png: Make) -> None:
    path = write(films, "path,Edema", "a.png,1", "b.png,0")
    first = manifest(path).fingerprint
    assert manifest(path).fingerprint == first
    assert manifest(write(films, "path,Edema", "a.png,1", "b.png,1")).fingerprint != first
    write(films, "path,Edema", "a.png,1", "b.png,0")
    save_png(films / "b.png", np.zeros((60, 80), dtype=np.uint8))
    # Whoever stores one knows it by its content.
    assert manifest(path).fingerprint == first


@pytest.mark.real_data
def test_real_siim_acr_codes_and_dicom(shared_data: Path, tmp_path: Path) -> None:
    dicom = next((shared_data / "siim_acr").glob("*.dcm"))
    (tmp_path / dicom.name).symlink_to(dicom)
    path = write(tmp_path, "path,Pneumothorax,siim_rle:Pneumothorax",
                 f"{dicom.name},1,557374 2 1015 8 1009 14")
    data = manifest(path)
    image = dicom.name.removesuffix(".dcm")
    assert data.index["image"].values.tolist() == [image]
    mask = rle.decode(data.annotations(image)["Pneumothorax", "reference"].mask_rle, 1024, 1024)
    # 557374 = 544 x 1024 + 318: the first run begins at row 318 of column 544
    assert mask.sum() == 24
    assert mask[318:320, 544].all()
    assert data.index["patient"].values.tolist() != [image]
