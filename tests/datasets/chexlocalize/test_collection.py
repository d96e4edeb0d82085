"""The released CheXlocalize layout, fabricated small, with everything that may lack or differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saltrust.cache import rle
from saltrust.cache.collection import Collection
from saltrust.cache.schema import CHEXLOCALIZE_FINDINGS
from saltrust.datasets.chexlocalize.collection import chexlocalize
from saltrust.datasets.chexlocalize.heatmaps import read_heatmap, read_heatmaps
from saltrust.datasets.chexlocalize.layout import find_files
from saltrust.errors import DataError, UsageError

ONE = "patient00001_study1_view1_frontal"
TWO = "patient00001_study1_view2_lateral"
THREE = "patient00002_study3_view1_frontal"
SHAPE = (20, 30)
REFERENCE, HUMAN = "reference", "human-benchmark"


def square(top: int, left: int, size: int = 5, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[top:top + size, left:left + size] = True
    return mask


def decoded(annotation: Any, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    return rle.decode(annotation.mask_rle, *shape)


def refuse(directory: Path, *words: str) -> None:
    with pytest.raises(DataError) as caught:
        data = chexlocalize(directory)
        for image in data.index["image"].values:
            data.annotations(str(image))
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_masks_labels_and_names(layout: Any) -> None:
    layout.segmentations({ONE: {"Edema": square(2, 3)}, THREE: {"Airspace Opacity": square(9, 9)}})
    layout.labels({ONE: ["Edema"], THREE: ["Airspace Opacity", "Pneumothorax"]})
    data = chexlocalize(layout.root)
    assert isinstance(data, Collection)
    index = data.index
    assert index["image"].values.tolist() == [ONE, THREE]
    assert tuple(index["finding"].values) == CHEXLOCALIZE_FINDINGS
    assert index["patient"].values.tolist() == ["patient00001", "patient00002"]
    assert index["study"].values.tolist() == ["patient00001_study1", "patient00002_study3"]
    assert index["view"].values.tolist() == ["frontal AP", "frontal AP"]
    assert index["split"].values.tolist() == ["val", "val"]
    assert index["reader_role"].values.tolist() == ["reference"]
    assert index["label"].sel(image=THREE, finding="Airspace Opacity") == 1
    assert index["label"].sel(image=THREE, finding="Pneumothorax") == 1
    assert index["label"].values.sum() == 3
    drawn = data.annotations(ONE)
    assert set(drawn) == {(finding, REFERENCE) for finding in CHEXLOCALIZE_FINDINGS}
    np.testing.assert_array_equal(decoded(drawn["Edema", REFERENCE]), square(2, 3))
    assert not decoded(drawn["Cardiomegaly", REFERENCE]).any()
    assert not data.has_radiographs
    assert {int(index["native_height"][0]), int(index["native_width"][0])} == set(SHAPE)


def test_polygons_are_counted_and_masks_win(layout: Any) -> None:
    layout.segmentations({ONE: {"Edema": square(2, 3)}})
    layout.json("gt_annotations_val.json", {ONE: {
        "img_size": list(SHAPE), "Edema": [[[0, 0], [4, 0], [4, 4]], [[9, 9], [12, 9], [9, 12]]]}})
    drawn = chexlocalize(layout.root).annotations(ONE)
    assert drawn["Edema", REFERENCE].n_polygons == 2
    assert drawn["Edema", REFERENCE].mask_rle == rle.encode(square(2, 3))
    assert drawn["Cardiomegaly", REFERENCE].n_polygons == 0


def test_stray_contours_are_left_out_and_counted(layout: Any,
                                                 caplog: pytest.LogCaptureFixture) -> None:
    square_contour = [[3, 2], [7, 2], [7, 6], [3, 6]]
    layout.json("gt_annotations_val.json", {ONE: {
        "img_size": list(SHAPE),
        "Edema": [[[9, 9]], square_contour, [[5, 5]] * 3, square_contour]}})
    data = chexlocalize(layout.root)
    drawn = data.annotations(ONE)["Edema", REFERENCE]
    assert drawn.n_polygons == 1
    np.testing.assert_array_equal(decoded(drawn), square(2, 3))
    assert data.description["stray_contours"] == 3
    assert "3 contours are of one point or stand twice" in caplog.text


def test_without_polygons_their_number_is_unknown(layout: Any) -> None:
    layout.segmentations({ONE: {"Edema": square(2, 3)}})
    assert {a.n_polygons for a in chexlocalize(layout.root).annotations(ONE).values()} == {-1}


def test_polygons_alone_are_filled(layout: Any) -> None:
    layout.json("gt_annotations_test.json", {ONE: {
        "img_size": list(SHAPE), "Lung Opacity": [[[3, 2], [7, 2], [7, 6], [3, 6]]]}})
    layout.labels({ONE: ["Airspace Opacity", "Edema"]}, "test_labels.csv", "test")
    data = chexlocalize(layout.root)
    drawn = data.annotations(ONE)
    np.testing.assert_array_equal(decoded(drawn["Airspace Opacity", REFERENCE]), square(2, 3))
    assert drawn["Airspace Opacity", REFERENCE].n_polygons == 1
    assert not decoded(drawn["Cardiomegaly", REFERENCE]).any()
    # Positive by its label, but nobody drew it: not annotated, not negative.
    assert ("Edema", REFERENCE) not in drawn
    assert data.index["split"].values.tolist() == ["test"]


def test_benchmark_reader_and_points(layout: Any, caplog: pytest.LogCaptureFixture) -> None:
    layout.segmentations({ONE: {"Edema": square(2, 3)}, THREE: {"Edema": square(4, 4)}},
                         "gt_segmentations_test.json")
    layout.segmentations({ONE: {"Edema": square(3, 3)}}, "hb_segmentations_test.json")
    layout.json("hb_annotations_test.json", {ONE: {
        "img_size": list(SHAPE), "Edema": [[[3, 3], [7, 3], [7, 7], [3, 7]]]}})
    layout.json("hb_salient_pt_test.json", {
        ONE: {"Edema": [[25, 4]], "Lung Opacity": [[1.5, 2.5], [40, -3]]},
        THREE: {"Edema": [[1, 1]]}})
    data = chexlocalize(layout.root)
    assert dict(zip(data.index["reader"].values.tolist(),
                    data.index["reader_role"].values.tolist(), strict=True)) == {
        REFERENCE: "reference", HUMAN: "benchmark"}
    drawn = data.annotations(ONE)
    np.testing.assert_array_equal(decoded(drawn["Edema", HUMAN]), square(3, 3))
    assert drawn["Edema", HUMAN].n_polygons == 1
    # The released hit test reads a point as mask[point[1], point[0]]: x comes first.
    assert drawn["Edema", HUMAN].points == ((4.0, 25.0),)
    assert drawn["Airspace Opacity", HUMAN].points == ((2.5, 1.5), (0.0, 29.0))
    assert drawn["Edema", REFERENCE].points == ()
    assert {reader for _, reader in data.annotations(THREE)} == {REFERENCE}
    assert "1 representative points" in caplog.text


def test_images_that_the_masks_pass_over(layout: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Negative by all labels: empty masks.  Positive but not drawn: not annotated."""
    layout.segmentations({ONE: {"Edema": square(2, 3)}})
    layout.labels({ONE: ["Edema"], TWO: [], THREE: ["Edema"]})
    for image in (ONE, TWO, THREE):
        layout.radiograph(image, SHAPE)
    data = chexlocalize(layout.root)
    assert data.index["image"].values.tolist() == [ONE, TWO, THREE]
    negative = data.annotations(TWO)
    assert set(negative) == {(finding, REFERENCE) for finding in CHEXLOCALIZE_FINDINGS}
    assert not any(decoded(annotation).any() for annotation in negative.values())
    assert {annotation.n_polygons for annotation in negative.values()} == {0}
    assert data.annotations(THREE) == {}
    assert data.description["implied_negative_images"] == 1
    assert "1 of 3 images have no reference masks" in caplog.text


def test_labels_come_from_masks_without_a_csv_row(
        layout: Any, caplog: pytest.LogCaptureFixture) -> None:
    layout.segmentations({ONE: {"Edema": square(2, 3)}, THREE: {"Edema": square(1, 1)}})
    layout.labels({ONE: ["Cardiomegaly"]})
    data = chexlocalize(layout.root, findings=["Edema", "Cardiomegaly"])
    assert data.index["label"].values.tolist() == [[0, 1], [1, 0]]
    assert data.description["labels_from"] == {"csv": 1, "masks": 1, "none": 0}
    assert "1 of 2 images are in no label CSV" in caplog.text


def test_radiographs_are_found_and_decoded(layout: Any, caplog: pytest.LogCaptureFixture) -> None:
    layout.segmentations({ONE: {"Edema": square(2, 3)}, THREE: {"Edema": square(2, 3)}})
    layout.radiograph(ONE, SHAPE, "CheXpert-v1.0/valid")
    data = chexlocalize(layout.root)
    assert data.has_radiographs
    radiograph = data.radiograph(ONE, (10, 10))
    assert radiograph.pixels.shape == (10, 10)
    assert (radiograph.native_height, radiograph.native_width) == SHAPE
    assert "1 of 2 images have no radiograph" in caplog.text
    with pytest.raises(DataError, match=THREE):
        data.radiograph(THREE, (10, 10))


def test_the_layout_of_the_download(layout: Any) -> None:
    """Two folders beside each other, both splits, links as big data often are."""
    layout.segmentations({ONE: {"Edema": square(2, 3)}}, "CheXlocalize/gt_segmentations_val.json")
    layout.segmentations({THREE: {"Edema": square(2, 3)}},
                         "CheXlocalize/gt_segmentations_test.json")
    layout.labels({ONE: ["Edema"]}, "CheXpert/val_labels.csv", "val")
    layout.labels({THREE: ["Edema"], TWO: []}, "CheXpert/test_labels.csv", "test")
    layout.radiograph(ONE, SHAPE, "CheXpert/val")
    layout.radiograph(THREE, SHAPE, "CheXpert/test")
    layout.heatmap(ONE, "Edema", SHAPE, "CheXlocalize/gradcam_maps_val")
    linked = layout.root.parent / "linked"
    linked.mkdir()
    for name in ("CheXlocalize", "CheXpert"):
        (linked / name).symlink_to(layout.root / name)
    for root in (layout.root, linked):
        data = chexlocalize(root)
        assert data.index["split"].values.tolist() == ["val", "test"]
        assert data.description["radiographs"] == 2
        assert data.description["heatmap_files"] == 1
        assert data.description["csv_rows_without_data"] == 1
        assert data.index["label"].sel(finding="Edema").values.tolist() == [1, 1]
    assert chexlocalize(linked).fingerprint == chexlocalize(layout.root).fingerprint


def test_unknown_findings_are_said(layout: Any, caplog: pytest.LogCaptureFixture) -> None:
    layout.segmentations({ONE: {"Edema": square(2, 3), "Fracture": square(1, 1)}})
    layout.heatmap(ONE, "Nodule", SHAPE)
    data = chexlocalize(layout.root)
    assert "'Fracture'" in caplog.text
    assert "'Nodule'" in caplog.text
    assert not data.heatmaps
    with pytest.raises(DataError, match="did you mean 'Edema'"):
        chexlocalize(layout.root, findings=["Oedema"])
    with pytest.raises(DataError, match="'Airspace Opacity'"):
        chexlocalize(layout.root, findings=["Lung Opacity"])


def test_sizes_that_contradict_each_other(layout: Any) -> None:
    layout.segmentations({ONE: {"Edema": square(2, 3)}})
    jpeg = layout.radiograph(ONE, (30, 20))
    refuse(layout.root, ONE, "20 x 30", "30 x 20", str(jpeg))
    jpeg.unlink()
    path = layout.json("gt_annotations_val.json", {ONE: {"img_size": [20, 31]}})
    refuse(layout.root, ONE, "20 x 31", str(path))
    layout.json("gt_annotations_val.json", {ONE: {"Edema": []}})
    refuse(layout.root, ONE, "img_size")


def test_damaged_files(layout: Any) -> None:
    path = layout.segmentations({ONE: {"Edema": square(2, 3)}})
    whole = path.read_text()
    path.write_text(whole[:-20])
    refuse(layout.root, str(path), "JSON")
    path.write_text("[1, 2]")
    refuse(layout.root, str(path), "does not map images")
    layout.json(path.name, {ONE: {"Edema": {"size": [20, 30], "counts": "!!"}}})
    refuse(layout.root, str(path), ONE, "Edema")
    layout.json(path.name, {ONE: {"Edema": {"size": [20, 30], "counts": rle.encode(np.eye(3))}}})
    refuse(layout.root, str(path), ONE, "Edema", "600")
    layout.json(path.name, {ONE: {"Edema": "P"}})
    refuse(layout.root, ONE, "Edema", "size")
    layout.json(path.name, {})
    refuse(layout.root, "name no image")


def test_files_that_play_the_same_part(layout: Any) -> None:
    layout.segmentations({ONE: {"Edema": square(2, 3)}})
    layout.segmentations({ONE: {"Edema": square(2, 3)}}, "copy/gt_segmentations_val.json")
    refuse(layout.root, "copy", "same part")


def test_an_image_in_both_splits(layout: Any) -> None:
    layout.segmentations({ONE: {"Edema": square(2, 3)}})
    layout.segmentations({ONE: {"Edema": square(2, 3)}}, "gt_segmentations_test.json")
    refuse(layout.root, ONE, "both in val and in test")


def test_label_files_that_do_not_fit(layout: Any) -> None:
    layout.segmentations({ONE: {"Edema": square(2, 3)}})
    path = layout.labels({ONE: ["Edema"]})
    good = path.read_text()
    path.write_text(good.replace("Lung Opacity", "Opacity"))
    refuse(layout.root, str(path), "Airspace Opacity")
    path.write_text(good.replace("1.0", "7"))
    refuse(layout.root, str(path), "row 2", "Edema", "'7'")
    path.write_text(good.replace("Path,", "File,"))
    refuse(layout.root, str(path), "'Path'")
    path.write_text(good + good.splitlines()[1] + "\n")
    refuse(layout.root, str(path), "row 3", ONE)


def test_folders_without_any_of_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        chexlocalize(tmp_path / "none")
    refuse(tmp_path, "no CheXlocalize files")


def test_heatmaps_alone_give_images_and_sizes(layout: Any) -> None:
    layout.heatmap(ONE, "Edema", SHAPE)
    layout.heatmap(THREE, "Lung Opacity", (40, 50), "ig_maps_test")
    data = chexlocalize(layout.root)
    assert data.index["image"].values.tolist() == [ONE, THREE]
    assert (data.index["label"].values == -2).all()
    assert data.index.sizes["reader"] == 0
    assert data.annotations(ONE) == {}
    assert data.index["native_height"].values.tolist() == [20, 40]
    assert data.index["native_width"].values.tolist() == [30, 50]
    assert [(item.finding, item.explainer) for item in data.heatmaps] == [
        ("Edema", "gradcam"), ("Airspace Opacity", "ig")]


def test_a_heatmap_is_read_with_all_it_states(layout: Any) -> None:
    layout.heatmap(ONE, "Pleural Effusion", SHAPE, prob=0.75)
    (heatmap,) = read_heatmaps(find_files(layout.root).heatmaps)
    assert heatmap.file.image == ONE
    assert heatmap.file.finding == "Pleural Effusion"
    assert heatmap.pixels.shape == (8, 8)
    assert heatmap.pixels.dtype == np.float32
    np.testing.assert_allclose(heatmap.pixels.ravel(), np.linspace(0, 1, 64), atol=1e-6)
    assert heatmap.probability == 0.75
    assert heatmap.logit == pytest.approx(np.log(3))
    assert (heatmap.native_height, heatmap.native_width) == SHAPE


@pytest.mark.parametrize(("changes", "words"), [
    ({"prob": None}, ["'prob'"]), ({"map": None, "task": None}, ["'map', 'task'"]),
    ({"task": "Cardiomegaly"}, ["Edema", "Cardiomegaly"]), ({"prob": 1.5}, ["1.5", "0 to 1"]),
    ({"prob": float("nan")}, ["nan"]), ({"prob": "high"}, ["'high'"]),
    ({"map": "a picture"}, ["not an array"]), ({"map": np.zeros((2, 3, 4))}, ["(2, 3, 4)"]),
    ({"map": np.zeros((1, 2, 4, 4))}, ["(1, 2, 4, 4)"]), ({"map": np.zeros((0, 4))}, ["(0, 4)"]),
    ({"cxr_dims": (30,)}, ["cxr_dims"]), ({"cxr_dims": (30, -1)}, ["cxr_dims"]),
    ({"cxr_dims": "30 x 20"}, ["cxr_dims"]),
])
def test_heatmaps_that_are_wrong(layout: Any, changes: dict[str, Any], words: list[str]) -> None:
    path = layout.heatmap(ONE, "Edema", SHAPE, **changes)
    (file,) = find_files(layout.root).heatmaps
    with pytest.raises(DataError) as caught:
        read_heatmap(file)
    for word in [str(path), *words]:
        assert word in str(caught.value)


def test_flat_heatmaps_and_other_number_types_are_read(layout: Any) -> None:
    path = layout.heatmap(ONE, "Edema", SHAPE, map=np.full((4, 4), np.nan), prob=np.float32(0.5))
    assert np.isnan(read_heatmap(find_files(layout.root).heatmaps[0]).pixels).all()
    path.write_bytes(b"no pickle")
    with pytest.raises(DataError, match="pickle"):
        read_heatmap(find_files(layout.root).heatmaps[0])


@pytest.mark.real_data
def test_the_released_sample(shared_data: Path, tmp_path: Path) -> None:
    sample = shared_data / "chexlocalize_sample"
    data = chexlocalize(sample)
    image = "patient64541_study1_view1_frontal"
    assert data.index["image"].values.tolist() == [image, "patient64542_study1_view1_frontal"]
    label = data.index["label"].sel(image=image)
    assert set(label["finding"].values[label.values == 1].tolist()) == {
        "Airspace Opacity", "Cardiomegaly", "Enlarged Cardiomediastinum"}
    assert len(data.heatmaps) == 20
    drawn = data.annotations(image)
    assert drawn["Enlarged Cardiomediastinum", REFERENCE].n_polygons == 2
    # Without the released masks, the polygons give the same masks to the pixel.
    for name in ("gt_annotations_val.json", "valid.csv"):
        (tmp_path / name).symlink_to(sample / name)
    filled = chexlocalize(tmp_path)
    for name in data.index["image"].values.tolist():
        expected = {key: (a.mask_rle, a.n_polygons) for key, a in data.annotations(name).items()}
        assert {key: (a.mask_rle, a.n_polygons)
                for key, a in filled.annotations(name).items()} == expected


def test_radiographs_of_any_ending_and_what_is_none(
        layout: Any, caplog: pytest.LogCaptureFixture) -> None:
    layout.segmentations({ONE: {"Edema": square(2, 3)}})
    place = layout.radiograph(ONE, SHAPE)
    place = place.rename(place.with_suffix(".JPG"))
    place.with_name("view1_frontal.txt").write_text("a report")
    data = chexlocalize(layout.root)
    assert list(data.files) == [ONE]
    assert "1 file: 1 .txt" in caplog.text
    place.write_bytes(b"<html>")
    refuse(layout.root, "view1_frontal.JPG", "--on-error skip")
    assert chexlocalize(layout.root, on_error="skip").index["native_height"].values.tolist() == [20]
