"""SIIM-ACR and RSNA annotations: union of rows, boxes, splits, classes, what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from saltrust.cache import rle
from saltrust.cache.collection import Collection
from saltrust.cache.schema import RadiographStatus
from saltrust.cache.store import open_cubes
from saltrust.cache.validation import problems
from saltrust.datasets.challenges.rsna import import_rsna, rsna
from saltrust.datasets.challenges.siim_acr import import_siim_acr, siim_acr
from saltrust.errors import DataError, UsageError

Make = Callable[..., Path]
A, B, C = "1.2.276.1", "1.2.276.2", "1.2.276.3"


@pytest.fixture
def codes(tmp_path: Path) -> Path:
    """A has two masks that touch, B none, C one; written as the competition's file is."""
    path = tmp_path / "train-rle.csv"
    path.write_text("ImageId, EncodedPixels\n"
                    f"{A},0 3\n{A},2 4\n{B},-1\n{C},1024 2 1022 2\n")
    return path


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text("patientId,x,y,width,height,Target\n"
                    "p1,100,200,50,60,1\np1,300,200,10,10,1\np2,,,,,0\np3,1000,0,40,30,1\n"
                    "p4,,,,,0\n")
    return path


def splits(folder: Path, *rows: str) -> Path:
    path = folder / "splits.csv"
    path.write_text("\n".join([",Image_ID,Split", *rows]) + "\n")
    return path


def mask_of(collection: Collection, image: str) -> np.ndarray:
    (annotation,) = collection.annotations(image).values()
    return rle.decode(annotation.mask_rle, 1024, 1024)


def test_rows_of_one_image_are_united(codes: Path) -> None:
    data = siim_acr(codes)
    assert isinstance(data, Collection)
    assert data.index["image"].values.tolist() == [A, B, C]
    assert data.index["label"].values.ravel().tolist() == [1, 0, 1]
    first = mask_of(data, A)
    assert first.sum() == 6
    assert first[:6, 0].all()
    assert not mask_of(data, B).any()
    third = mask_of(data, C)
    assert third.sum() == 4
    assert third[0:2, 1].all()
    assert third[0:2, 2].all()
    assert set(data.index["split"].values.tolist()) == {"none"}
    assert not data.has_radiographs


def test_split_ids_match_but_for_a_file_ending(codes: Path, tmp_path: Path,
                                               caplog: pytest.LogCaptureFixture) -> None:
    path = splits(tmp_path, f"0,{A}.png,train", f"1,{C}.dcm,test", "2,1.2.276,val")
    data = siim_acr(codes, splits=path)
    assert data.index["split"].values.tolist() == ["train", "none", "test"]
    assert data.description["split_ids_unknown"] == 1
    assert "1 of 3 ids" in caplog.text
    for rows, words in (((f"0,{A}.gif,train",), "none of the 1 ids"),
                        ((f"0,{A},trian",), "row 2.*did you mean 'train'"),
                        ((f"0,{A},train", f"1,{A}.png,test"), "row 3.*train before")):
        with pytest.raises(DataError, match=words):
            siim_acr(codes, splits=splits(tmp_path, *rows))
    path.write_text(f"name,part\n{A},train\n")
    with pytest.raises(DataError, match="Image_ID"):
        siim_acr(codes, splits=path)


def test_damaged_codes_name_the_row(codes: Path, tmp_path: Path) -> None:
    codes.write_text(f"ImageId,EncodedPixels\n{A},-1\n{B},1048570 9\n")
    with pytest.raises(DataError, match=r"row 3.*1048579"):
        siim_acr(codes)
    codes.write_text(f"Image,EncodedPixels\n{A},-1\n")
    with pytest.raises(DataError, match="ImageId"):
        siim_acr(codes)


def test_siim_acr_with_radiographs_into_cubes(
        codes: Path, tmp_path: Path, save_dicom: Make, caplog: pytest.LogCaptureFixture) -> None:
    pixels = np.tile(np.arange(1024, dtype=np.uint16), (1024, 1))
    for name in (A, B, C):
        save_dicom(tmp_path / "images" / "deep" / f"{name}.dcm", pixels)
    path = import_siim_acr(codes, tmp_path / "cubes.zarr", images=tmp_path / "images", size=64)
    cubes = open_cubes(path)
    assert problems(cubes) == []
    assert cubes["radiograph"].to_dataset()["pixels"].shape == (3, 64, 64)
    assert cubes["reference"].to_dataset()["mask"].sel(image=A).any()
    (tmp_path / "images" / "deep" / f"{C}.dcm").unlink()
    some = siim_acr(codes, images=tmp_path / "images")
    assert f"no radiographs of 1 of 3 images (first: {C})" in caplog.text
    assert (some.description["radiographs"], some.index.sizes["image"]) == (2, 3)
    path = import_siim_acr(codes, tmp_path / "some.zarr", images=tmp_path / "images", size=64)
    status = open_cubes(path)["radiograph/status"]
    assert int(status.sel(image=C)) == RadiographStatus.MISSING
    assert int((status == RadiographStatus.OK).sum()) == 2
    save_dicom(tmp_path / "images" / f"{C}.dcm", pixels[:512])
    with pytest.raises(DataError, match="512 x 1024 pixels"):
        siim_acr(codes, images=tmp_path / "images").radiograph(C, (8, 8))
    with pytest.raises(UsageError, match="there is no folder"):
        siim_acr(codes, images=tmp_path / "none")


def test_boxes_are_kept_and_filled(boxes: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = rsna(boxes)
    assert data.index["image"].values.tolist() == ["p1", "p2", "p3", "p4"]
    assert data.index["label"].values.ravel().tolist() == [1, 0, 1, 0]
    (annotation,) = data.annotations("p1").values()
    assert annotation.boxes == ((200.0, 100.0, 260.0, 150.0), (200.0, 300.0, 210.0, 310.0))
    assert annotation.n_polygons == 2
    mask = mask_of(data, "p1")
    assert mask.sum() == 50 * 60 + 10 * 10
    assert mask[200:260, 100:150].all()
    assert mask_of(data, "p3").sum() == 24 * 30
    assert "1 images" in caplog.text
    assert not mask_of(data, "p2").any()


def test_identical_boxes_count_once(boxes: Path, caplog: pytest.LogCaptureFixture) -> None:
    boxes.write_text("patientId,x,y,width,height,Target\np1,10,20,30,40,1\np1,10.0,20,30,40,1\n"
                     "p1,-3,20,30,40,1\np2,10,20,30,40,1\n")
    data = rsna(boxes)
    assert data.description["repeated_boxes"] == 1
    assert data.description["images_with_clipped_boxes"] == 1
    (annotation,) = data.annotations("p1").values()
    assert annotation.boxes == ((20, 10, 60, 40), (20, 0, 60, 27))
    assert annotation.n_polygons == 2
    assert "1 boxes of" in caplog.text
    assert "by 3 pixels at most" in caplog.text


def test_the_detailed_classes_drop_what_is_not_normal(boxes: Path, tmp_path: Path) -> None:
    classes = tmp_path / "classes.csv"
    classes.write_text("patientId,class\np1,Lung Opacity\np2,No Lung Opacity / Not Normal\n"
                       "p3,Lung Opacity\np4,Normal\n")
    data = rsna(boxes, classes=classes)
    assert data.index["image"].values.tolist() == ["p1", "p3", "p4"]
    assert data.description["images_dropped_by_class"] == 1
    classes.write_text("patientId,class\np1,Lung Opacty\n")
    with pytest.raises(DataError, match="did you mean 'Lung Opacity'"):
        rsna(boxes, classes=classes)


@pytest.mark.parametrize(("rows", "words"), [
    (["p1,1,2,3,4,2"], "row 2.*'2'"), (["p1,1,2,3,4,"], "row 2.*not 0 or 1"),
    (["p1,1,2,3,4,1", "p1,,,,,0"], "row 3.*both positive and negative"),
    (["p1,,,,,1"], "row 2.*no box"), (["p1,1,2,0,4,1"], "no box"),
    (["p1,1024,2,5,4,1"], "outside the image"),
    (["p1,1,2,5,4,1", "p1,-9,2,5,4,1", "p2,1,1024,5,4,1"],
     "2 boxes lie wholly outside the image .*first: row 3, x, y, width, height -9, 2, 5, 4"),
])
def test_boxes_that_are_wrong(boxes: Path, rows: list[str], words: str) -> None:
    boxes.write_text("\n".join(["patientId,x,y,width,height,Target", *rows]) + "\n")
    with pytest.raises(DataError, match=words):
        rsna(boxes)


def test_rsna_into_cubes(boxes: Path, tmp_path: Path) -> None:
    cubes = open_cubes(import_rsna(boxes, tmp_path / "cubes.zarr", size=128,
                                   splits=splits(tmp_path, "0,p1.dcm,train", "1,p3.png,test")))
    assert problems(cubes) == []
    reference = cubes["reference"].to_dataset()
    assert reference["mask"].shape == (4, 1, 1, 128, 128)
    box = reference["box"].sel(image="p1").values[0, 0]
    np.testing.assert_array_equal(box, [[200, 100, 260, 150], [200, 300, 210, 310]])


@pytest.mark.real_data
def test_the_published_counts_of_siim_acr(shared_data: Path) -> None:
    folder = shared_data / "siim_acr"
    data = siim_acr(folder / "train-rle.csv.gz", splits=folder / "splits.csv")
    assert data.description["rows"] == 12_954
    assert data.index.sizes["image"] == 12_047
    part, label = (data.index[name].values.ravel().tolist() for name in ("split", "label"))
    assert sum(label) == 2_669
    assert Counter(part) == {"train": 8_646, "val": 961, "test": 1_068, "none": 1_372}
    positive = Counter(name for name, value in zip(part, label, strict=True) if value)
    assert (positive["train"], positive["val"], positive["test"]) == (1_931, 202, 246)
