from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from saltrust.errors import DataError
from saltrust.training.data.images import check_splits, read_images


def test_every_used_image_is_decoded_once(squares: Callable[..., Any]) -> None:
    data = squares(train=4, val=3, test=2)
    split = data.index["split"].values.copy()
    split[1] = "none"
    data.set("split", split)
    images = read_images(data, (32, 32), progress=False)
    used = [i for i in range(9) if i != 1]
    assert data.decoded == list(images.names) == [f"image{i:03d}" for i in used]
    assert np.array_equal(images.pixels, data.pixels[used])
    assert np.array_equal(images.labels, data.index["label"].values[used])
    assert images.rows("val").tolist() == [3, 4, 5]
    assert images.findings == ("Left Square", "Right Square")


def test_labels_may_be_stored_finding_first(squares: Callable[..., Any]) -> None:
    data = squares(train=4, val=3, test=2)
    expected = read_images(data, (32, 32), progress=False).labels
    data.index = data.index.transpose("finding", "image")
    assert np.array_equal(read_images(data, (32, 32), progress=False).labels, expected)


@pytest.mark.parametrize(("counts", "words"), [
    ({"train": 0}, "split 'train' has 0 images"),
    ({"train": 1}, "split 'train' has 1 images"),
    ({"val": 0}, "split 'val' has 0 images, too few to stop training by"),
])
def test_too_few_images(
    squares: Callable[..., Any], counts: dict[str, int], words: str
) -> None:
    data = squares(**{"train": 4, "val": 4, "test": 4, **counts})
    with pytest.raises(DataError, match=words):
        read_images(data, (32, 32))
    assert data.decoded == []


def test_no_split_at_all_and_no_radiographs(squares: Callable[..., Any]) -> None:
    data = squares()
    data.index = data.index.drop_vars("split")
    with pytest.raises(DataError, match="states no split"):
        check_splits(data)
    data = squares()
    data.has_radiographs = False
    with pytest.raises(DataError, match="no radiographs"):
        check_splits(data)


def test_a_patient_in_two_splits_is_named(squares: Callable[..., Any]) -> None:
    data = squares(train=4, val=3, test=2)
    patients = data.index["patient"].values.copy()
    patients[8] = patients[0]
    data.set("patient", patients)
    with pytest.raises(DataError, match="'patient000' has images in train and test"):
        check_splits(data)
    patients[4] = patients[1]
    data.set("patient", patients)
    with pytest.raises(DataError, match=r"'patient000' \(and 1 more\)"):
        check_splits(data)


def test_several_images_of_a_patient_in_one_split_are_no_leak(
    squares: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    data = squares(train=4, val=3, test=2)
    patients = data.index["patient"].values.copy()
    patients[1] = patients[0]
    patients[[3, 5, 8]] = ""  # Unknown: three patients for all we know.
    data.set("patient", patients)
    check_splits(data)
    split = data.index["split"].values.copy()
    split[1] = "none"  # Never used, so it cannot leak.
    data.set("split", split)
    check_splits(data)
    assert caplog.text == ""
    data.index = data.index.drop_vars("patient")
    check_splits(data)
    assert "cannot be checked" in caplog.text


def damage(data: Any, *rows: int) -> None:
    """Make radiographs unreadable."""
    decode = data.radiograph
    bad = {f"image{row:03d}" for row in rows}

    def broken(image: str, grid: tuple[int, int]) -> Any:
        if image in bad:
            raise DataError(f"{image}.png is truncated; fetch it again")
        return decode(image, grid)

    data.radiograph = broken


def test_all_bad_radiographs_are_named_or_left_out(
    squares: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    data = squares(train=4, val=3, test=2)
    damage(data, 1, 5)
    with pytest.raises(DataError, match="2 of 9 radiographs cannot be read: image001, image005;"):
        read_images(data, (32, 32), progress=False)
    images = read_images(data, (32, 32), on_error="skip", progress=False)
    assert "2 of 9 radiographs cannot be read and are left out" in caplog.text
    kept = [0, 2, 3, 4, 6, 7, 8]
    assert images.left_out == ("image001", "image005")
    assert images.split.tolist() == ["train"] * 3 + ["val"] * 2 + ["test"] * 2
    assert np.array_equal(images.pixels, data.pixels[kept])
    assert np.array_equal(images.labels, data.index["label"].values[kept])
    assert images.digest() != read_images(squares(train=4, val=3, test=2), (32, 32),
                                          progress=False).digest()
    damage(data, 4, 6)
    with pytest.raises(DataError, match="split 'val' has 0 images"):
        read_images(data, (32, 32), on_error="skip", progress=False)


def test_images_without_a_file_are_not_used(squares: Callable[..., Any]) -> None:
    data = squares(train=4, val=3, test=2)
    data.files = {f"image{row:03d}": None for row in range(1, 8)}
    assert read_images(data, (32, 32), progress=False).names == tuple(data.files)
    data.files = {"image000": None}
    with pytest.raises(DataError, match="split 'train' has 1 images"):
        check_splits(data)
