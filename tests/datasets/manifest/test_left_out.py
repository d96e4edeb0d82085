"""Bad, missing and withdrawn radiographs of a manifest, on their way into a store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saltrust.cache.reference import import_collection
from saltrust.cache.store import open_cubes, partial_path
from saltrust.choices import OnError
from saltrust.datasets.manifest.collection import manifest
from saltrust.errors import DataError, NothingToDo, UsageError

Make = Callable[..., Path]
GRID = (8, 8)
BAD = (2, 5)


@pytest.fixture
def listed(tmp_path: Path, save_png: Make) -> Path:
    """Eight films with a mask each, two of them damaged."""
    rng = np.random.default_rng(0)
    for i in range(8):
        save_png(tmp_path / f"{i}.png", rng.integers(0, 255, (16, 16), np.uint8))
        mask = np.zeros((16, 16), np.uint8)
        mask[i:i + 4, 2:9] = 255
        save_png(tmp_path / f"mask{i}.png", mask)
    for i in BAD:
        path = tmp_path / f"{i}.png"
        path.write_bytes(path.read_bytes()[:200])
    return write(tmp_path / "m.csv", range(8))


def write(path: Path, rows: Sequence[int], split: str = "split") -> Path:
    path.write_text(f"path,{split},Edema,mask:Edema\n" + "".join(
        f"{i}.png,test,1,mask{i}.png\n" for i in rows))
    return path


def store(listed: Path, *, resume: bool = False, on_error: OnError = "stop") -> Path:
    return import_collection(manifest(listed, on_error=on_error), listed.parent / "out.zarr",
                             grid=GRID, resume=resume, on_error=on_error)


def status(path: Path) -> list[int]:
    return open_cubes(path)["radiograph/status"].values.tolist()


def mend(listed: Path, i: int) -> None:
    Image.fromarray(np.full((16, 16), 10 * i, np.uint8)).save(listed.parent / f"{i}.png")


def test_all_bad_files_are_named_and_mended_ones_are_gone_on_with(listed: Path) -> None:
    with pytest.raises(DataError, match=r"2 of 8 radiographs cannot be read: .*2\.png, .*5\.png;"):
        store(listed)
    for i in BAD:
        mend(listed, i)
    path = store(listed, resume=True)
    assert status(path) == [1] * 8
    assert open_cubes(path)["radiograph/pixels"].values[5].tolist() == [[50] * 8] * 8


def test_skipped_ones_are_tried_again_when_it_is_resumed(listed: Path) -> None:
    path = store(listed, on_error="skip")
    assert status(path) == [1, 1, 3, 1, 1, 3, 1, 1]
    # What was drawn is known all the same.
    assert open_cubes(path)["reference/annotated"].values.all()
    with pytest.raises(NothingToDo):
        store(listed, resume=True, on_error="skip")
    mend(listed, 2)
    assert status(store(listed, resume=True, on_error="skip")) == [1, 1, 1, 1, 1, 3, 1, 1]


def test_rows_that_are_taken_out_do_not_void_the_others(
        listed: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DataError, match="2 of 8"):
        store(listed)
    write(listed, [i for i in range(8) if i not in BAD])
    path = store(listed, resume=True)
    assert "2 images are not in the data set any more (first: 2)" in caplog.text
    assert status(path) == [1, 1, 3, 1, 1, 3, 1, 1]
    annotated = open_cubes(path)["reference/annotated"].values[:, 0, 0]
    assert annotated.tolist() == [i not in BAD for i in range(8)]
    with pytest.raises(NothingToDo):
        store(listed, resume=True)
    # They are put back.
    for i in BAD:
        mend(listed, i)
    path = store(write(listed, range(8)), resume=True)
    assert status(path) == [1] * 8
    assert open_cubes(path)["reference/annotated"].values.all()


def test_other_rows_are_another_data_set(listed: Path) -> None:
    with pytest.raises(DataError, match="2 of 8"):
        store(listed)
    write(listed, range(6))
    listed.write_text(listed.read_text().replace("0.png,test,1", "0.png,test,0"))
    with pytest.raises(UsageError, match="begun with another"):
        store(listed, resume=True)
    assert partial_path(listed.parent / "out.zarr").is_dir()


def test_a_row_without_a_file_is_a_mistake_unless_it_is_skipped(listed: Path) -> None:
    for i in (1, 4):
        (listed.parent / f"{i}.png").unlink()
    with pytest.raises(DataError, match=r"2 of 8 radiographs .* do not exist, the first is .*1\.png"
                                        r", then 4\.png;"):
        store(listed)
    assert status(store(listed, on_error="skip")) == [1, 3, 3, 1, 3, 3, 1, 1]


def test_a_mask_that_cannot_be_read_is_no_annotation(listed: Path, caplog: pytest.LogCaptureFixture
                                                     ) -> None:
    for i in BAD:
        mend(listed, i)
    whole = (listed.parent / "mask3.png").read_bytes()
    (listed.parent / "mask3.png").write_bytes(whole[:60])
    with pytest.raises(DataError, match=r"mask3\.png"):
        store(listed)
    path = store(listed, resume=True, on_error="skip")
    assert "1 of 8 annotations of images cannot be read and are left out: 3" in caplog.text
    assert open_cubes(path)["reference/annotated"].values[:, 0, 0].tolist() == [
        i != 3 for i in range(8)]
    (listed.parent / "mask3.png").write_bytes(whole)
    assert open_cubes(store(listed, resume=True))["reference/annotated"].values.all()


def test_all_files_of_a_finding_are_bad(listed: Path) -> None:
    for i in range(8):
        path = listed.parent / f"{i}.png"
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match="none of the 8 radiographs that show Edema"):
        store(listed, on_error="skip")
