"""Radiographs that cannot be read, are mended or replaced: the others are kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import zarr
from PIL import Image

from saltrust.cache.collection import Radiograph
from saltrust.cache.schema import RadiographStatus, Status
from saltrust.cache.store import open_cubes, partial_path
from saltrust.cache.verification import verify
from saltrust.datasets.files.radiograph_files import read_radiograph
from saltrust.errors import DataError, NothingToDo
from saltrust.generate.job import Overrides, generate
from saltrust.generation_settings import RandomizationSpec
from saltrust.study import Study

SKIP = Overrides(on_error="skip")
#: In the second batch of three of the test images 0 1 3, 4 6 7, 9 10.
BAD = "image-006"
MAPS = ("saliency/heatmap", "prediction/probability", "localizer/heatmap",
        "randomization/heatmap", "saliency/status", "randomization/status", "localizer/status")


@pytest.fixture
def films(tiny: ModuleType, tmp_path: Path) -> Any:
    """The collection of noise, with its radiographs in files."""

    class Films(tiny.NoisyCollection):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.files = {}
            self.decoded: list[str] = []
            for name in self.index["image"].values.tolist():
                self.files[name] = tmp_path / f"{name}.png"
                save(self.files[name], super().radiograph(name, (24, 24)).pixels)

        def radiograph(self, image: str, grid: tuple[int, int]) -> Radiograph:
            self.decoded.append(image)
            return read_radiograph(self.files[image], grid)

    return Films()


def save(path: Path, pixels: Any) -> None:
    Image.fromarray(np.asarray(pixels)).save(path)


def cut(path: Path) -> bytes:
    """Damage a file; what it was."""
    whole = path.read_bytes()
    path.write_bytes(whole[:len(whole) // 2])
    return whole


@pytest.fixture
def everything(tiny: ModuleType, study: Study) -> Study:
    return dataclasses.replace(
        study, randomization=RandomizationSpec(replicates=1),
        localizers=(tiny.save_localizer(study.folder, "segmenter", tiny.FINDINGS[:2], 3),))


def values(path: Path, name: str) -> Any:
    return np.asarray(zarr.open_array(path, path=name, mode="r")[...])


def assert_same_but_for(one: Path, other: Path, positions: list[int]) -> None:
    for name in MAPS:
        first, second = values(one, name), values(other, name)
        rest = np.setdiff1d(np.arange(len(first)), positions)
        np.testing.assert_array_equal(first[rest], second[rest], err_msg=name)


def test_a_bad_radiograph_is_left_out_and_the_others_are_as_ever(
        films: Any, everything: Study, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = generate(films, everything, tmp_path / "whole.zarr", progress=False)
    content = cut(films.files[BAD])
    path = generate(films, everything, tmp_path / "out.zarr", overrides=SKIP, progress=False)
    assert f"1 of 8 radiographs cannot be read and are left out: {films.files[BAD]}" in caplog.text
    assert_same_but_for(whole, path, [6])
    for group in ("saliency", "randomization", "localizer"):
        assert (values(path, f"{group}/status")[6] == Status.MISSING).all()
        assert np.isnan(values(path, f"{group}/heatmap")[6]).all()
    assert np.isnan(values(path, "prediction/probability")[6]).all()
    cubes = open_cubes(path)
    assert int(cubes["radiograph/status"][6]) == RadiographStatus.LEFT_OUT
    assert "truncated or damaged" in str(cubes["radiograph/remark"].values[6])
    seen = verify(path)
    assert (seen.faults, seen.left_out) == ((), 1)
    with pytest.raises(NothingToDo):
        generate(films, everything, path, resume=True, overrides=SKIP, progress=False)
    # Mended, the very job goes on from its finished store.
    films.files[BAD].write_bytes(content)
    films.decoded.clear()
    generate(films, everything, path, resume=True, progress=False)
    assert set(films.decoded) == {BAD}
    assert_same_but_for(whole, path, [])
    assert verify(path).left_out == 0


def test_all_bad_radiographs_are_named_at_once(
        films: Any, study: Study, tmp_path: Path) -> None:
    kept = {name: cut(films.files[name]) for name in ("image-001", "image-009")}
    with pytest.raises(DataError, match=r"2 of 8 .*image-001\.png, .*image-009\.png; .*--resume"):
        generate(films, study, tmp_path / "out.zarr", progress=False)
    partial = partial_path(tmp_path / "out.zarr")
    # All others are decoded, once.
    assert values(partial, "radiograph/stored").tolist() == [1, 0, 0, 1, 1, 0, 1, 1, 0, 0, 1]
    for name, content in kept.items():
        films.files[name].write_bytes(content)
    films.decoded.clear()
    path = generate(films, study, tmp_path / "out.zarr", resume=True, progress=False)
    assert sorted(films.decoded) == sorted(kept)
    assert (values(path, "saliency/status")[[0, 1, 3, 4, 6, 7, 9, 10]] == Status.OK).all()


def test_a_replaced_radiograph_is_computed_again(
        films: Any, everything: Study, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = generate(films, everything, tmp_path / "out.zarr", progress=False)
    before = {name: values(path, name) for name in MAPS}
    run = open_cubes(path).attrs["run_id"]
    pixels = np.asarray(Image.open(films.files[BAD]))[::-1]
    save(films.files[BAD], pixels)
    generate(films, everything, path, resume=True, progress=False)
    assert "1 radiographs have another content" in caplog.text
    assert open_cubes(path).attrs["run_id"] == run
    fresh = generate(films, everything, tmp_path / "fresh.zarr", progress=False)
    assert_same_but_for(fresh, path, [])
    assert (values(path, "saliency/heatmap")[6] != before["saliency/heatmap"][6]).any()
    assert (values(path, "randomization/heatmap")[6] != before["randomization/heatmap"][6]).any()
    np.testing.assert_array_equal(values(path, "radiograph/pixels")[6], pixels)


def test_images_without_a_file_are_not_asked_for(
        films: Any, study: Study, tmp_path: Path) -> None:
    content = films.files["image-003"].read_bytes()
    place = films.files.pop("image-003")
    path = generate(films, study, tmp_path / "out.zarr", progress=False)
    assert values(path, "saliency/status")[3].max() == Status.MISSING
    assert values(path, "radiograph/status")[3] == RadiographStatus.MISSING
    with pytest.raises(NothingToDo):
        generate(films, study, path, resume=True, progress=False)
    # It has come meanwhile.
    films.files["image-003"] = place
    place.write_bytes(content)
    generate(films, study, path, resume=True, progress=False)
    assert (values(path, "saliency/status")[3] == Status.OK).all()
    for name in list(films.files):
        if name != "image-002":
            films.files.pop(name)
    with pytest.raises(DataError, match="none of the 8 images of split 'test' has a radiograph"):
        generate(films, study, tmp_path / "none.zarr", progress=False)


@pytest.mark.parametrize("readable", [0, 1])
def test_nothing_is_left(films: Any, study: Study, tmp_path: Path, readable: int) -> None:
    labels = films.index["label"].values.copy()
    labels[:, 0] = 0
    labels[0, 0] = 1
    films.index["label"] = (("image", "finding"), labels)
    for name in list(films.files)[:len(films.files) - readable]:
        cut(films.files[name])
    sentence = "none of the 1 radiographs that show Edema can be read"
    with pytest.raises(DataError, match=sentence):
        generate(films, study, tmp_path / "out.zarr", overrides=SKIP, progress=False)
    assert partial_path(tmp_path / "out.zarr").is_dir()


def test_a_doubtful_radiograph_is_explained_and_marked(
        films: Any, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode: Callable[..., Radiograph] = films.radiograph

    def doubting(image: str, grid: tuple[int, int]) -> Radiograph:
        radiograph = decode(image, grid)
        return dataclasses.replace(radiograph, doubt="its window misses it") if image == BAD \
            else radiograph

    monkeypatch.setattr(films, "radiograph", doubting)
    path = generate(films, study, tmp_path / "out.zarr", progress=False)
    assert values(path, "radiograph/status").tolist() == [1, 1, 0, 1, 1, 0, 2, 1, 0, 1, 1]
    assert str(open_cubes(path)["radiograph/remark"].values[6]) == "its window misses it"
    assert (values(path, "saliency/status")[6] == Status.OK).all()


def test_images_that_are_taken_out_leave_the_others_as_they_are(
        films: Any, everything: Study, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    everything = dataclasses.replace(everything, randomization=RandomizationSpec())
    cut(films.files[BAD])
    with pytest.raises(DataError, match=r"image-006\.png is truncated"):
        generate(films, everything, tmp_path / "out.zarr", progress=False)
    before = values(partial_path(tmp_path / "out.zarr"), "saliency/heatmap")
    rest = films.index["image"].values != BAD
    films.index, films.fingerprint = films.index.isel(image=np.flatnonzero(rest)), "one less"
    films.files.pop(BAD)
    path = generate(films, everything, tmp_path / "out.zarr", resume=True, progress=False)
    assert "1 images are not in the data set any more (first: image-006)" in caplog.text
    status = values(path, "saliency/status")[..., 0]
    assert (status[[0, 1, 3, 4, 7, 9, 10]] == Status.OK).all()
    assert (status[6] == Status.MISSING).all()
    assert values(path, "radiograph/status")[6] == RadiographStatus.LEFT_OUT
    known = ~np.isnan(before)
    np.testing.assert_array_equal(values(path, "saliency/heatmap")[known], before[known])
    assert verify(path).faults == ()
