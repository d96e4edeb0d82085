"""Eye Gaze Data for Chest X-rays: a miniature of the layout, and every kind of mistake in it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

import saltrust
from saltrust.cache.collection import Collection, gaze_source
from saltrust.cache.validation import problems
from saltrust.cli import main
from saltrust.datasets.egd_cxr.collection import READER, EgdCxrCollection, egd_cxr, import_egd_cxr
from saltrust.datasets.files.heatmap_files import read_heatmap
from saltrust.datasets.gaze_maps import GazeSmoothing, fixation_heatmap
from saltrust.datasets.registry import open_collection
from saltrust.errors import DataError, SaltrustError, UsageError
from saltrust.study_file import read_study

Make = Callable[..., Path]
SCREEN_H, SCREEN_W = 1080, 1920
IDS = [f"{k:08x}-ab{k:06x}" for k in range(12)]


class Miniature:
    """Twelve images of ten patients; image k has k fixations within it and some outside."""

    def __init__(self, root: Path, save_dicom: Make) -> None:
        self.root, self.save_dicom = root, save_dicom
        rng = np.random.default_rng(1)
        cases, looks = [], []
        self.sizes = {name: (int(rng.integers(400, 600)) * 2, int(rng.integers(350, 550)) * 2)
                      for name in IDS}
        self.points: dict[str, np.ndarray] = {}
        for k, name in enumerate(IDS):
            height, width = self.sizes[name]
            ratio = min(SCREEN_H / height, SCREEN_W / width)
            shown = int(height * ratio), int(width * ratio)
            top, left = (SCREEN_H - shown[0]) // 2, (SCREEN_W - shown[1]) // 2
            pads = (top, SCREEN_H - shown[0] - top, left, SCREEN_W - shown[1] - left)
            patient = 10_000_000 + (k if k < 10 else 0)
            cases.append({
                "dicom_id": name, "path": f"files/p10/p{patient}/s{500 + k}/{name}.dcm",
                "study_id": 500 + k, "patient_id": patient, "gender": "F",
                "Normal": int(k % 3 == 0), "CHF": int(k % 3 == 1), "pneumonia": int(k % 3 == 2),
                **{f"image_{side}_pad": pad for side, pad in zip(
                    ("top", "bottom", "left", "right"), pads, strict=True)},
                "edema__chx": -1})
            for _ in range(k):
                screen = np.array([top + rng.uniform(0.15, 0.95) * shown[0],
                                   left + rng.uniform(0.15, 0.95) * shown[1]])
                # As the released code maps the screen to the image.
                y = int(height / (SCREEN_H - pads[0] - pads[1]) * (screen[0] - top))
                x = int(width / (SCREEN_W - pads[2] - pads[3]) * (screen[1] - left))
                self.points[name] = np.append(self.points.get(name, np.zeros((0, 2))), [[y, x]],
                                              axis=0)
                looks.append({"SESSION_ID": 1, "DICOM_ID": name, "Time (in secs)": 0.4,
                              "FPOGX": screen[1] / SCREEN_W, "FPOGY": screen[0] / SCREEN_H,
                              "FPOGD": round(float(rng.uniform(0.1, 0.9)), 3),
                              "X_ORIGINAL": x, "Y_ORIGINAL": y})
            # The tracker lost the eye.
            looks.append({"SESSION_ID": 1, "DICOM_ID": name, "FPOGX": 0.01, "FPOGY": 0.5,
                          "FPOGD": 0.2, "X_ORIGINAL": -2, "Y_ORIGINAL": -2})
        self.cases, self.looks = pd.DataFrame(cases), pd.DataFrame(looks)
        self.write()

    def write(self) -> Path:
        self.root.mkdir(parents=True, exist_ok=True)
        self.cases.to_csv(self.root / "master_sheet.csv", index=False)
        self.looks.to_csv(self.root / "fixations.csv", index=False)
        return self.root

    def radiographs(self, folder: Path) -> Path:
        """DICOM files at the paths of the master sheet; size as stated, pixels striped."""
        for name, path in zip(self.cases["dicom_id"], self.cases["path"], strict=True):
            height, width = self.sizes[name]
            pixels = np.zeros((height, width), np.uint8)
            pixels[::2] = 200
            self.save_dicom(folder / path, pixels)
        return folder


@pytest.fixture
def mini(tmp_path: Path, save_dicom: Make) -> Miniature:
    return Miniature(tmp_path / "egd", save_dicom)


def test_classes_patients_and_splits(mini: Miniature) -> None:
    data = egd_cxr(mini.root)
    assert isinstance(data, Collection)
    assert isinstance(data, EgdCxrCollection)
    assert gaze_source(data) is data
    index = data.index
    assert index["image"].values.tolist() == IDS
    assert index["finding"].values.tolist() == ["Normal", "CHF", "Pneumonia"]
    np.testing.assert_array_equal(index["label"].values, np.tile(np.eye(3), (4, 1)))
    assert index["study"].values.tolist() == [str(500 + k) for k in range(12)]
    assert index["reader"].values.tolist() == [READER]
    of = pd.DataFrame({"patient": index["patient"].values, "split": index["split"].values})
    # Ten patients, each in one split: no pair of patient and split beside.
    assert len(of.drop_duplicates()) == 10
    assert of.drop_duplicates("patient")["split"].value_counts().to_dict() == {
        "train": 8, "val": 1, "test": 1}
    assert data.description["patients_in_several_splits"] == 0
    assert data.annotations(IDS[3]) == {}


def test_sizes_without_radiographs_come_from_the_screen(mini: Miniature) -> None:
    data = egd_cxr(mini.root)
    for k, name in enumerate(IDS):
        told = (int(data.index["native_height"][k]), int(data.index["native_width"][k]))
        if k == 0:
            assert told == (0, 0)
        else:
            # Coordinates are cut to whole pixels, so a size is known to a pixel or few.
            np.testing.assert_allclose(told, mini.sizes[name], atol=5)
    assert data.description["native_size"] == {"screen": 11, "unknown": 1}


def test_gaze_is_that_of_the_fixations_within(mini: Miniature, caplog: Any) -> None:
    with caplog.at_level(logging.WARNING):
        data = egd_cxr(mini.root, smoothing=GazeSmoothing("90px", "count"))
    assert "12 of 78 fixations lie outside" not in caplog.text
    assert "fixations lie outside their images and are left out" in caplog.text
    assert data.gaze(IDS[0], (32, 32)) == {}
    assert data.fixations(IDS[0]) == {}
    name = IDS[7]
    seen = data.fixations(name)[READER]
    np.testing.assert_array_equal(np.column_stack([seen.y, seen.x]), mini.points[name])
    rows = mini.looks[(mini.looks["DICOM_ID"] == name) & (mini.looks["X_ORIGINAL"] >= 0)]
    np.testing.assert_allclose(seen.duration, rows["FPOGD"])
    size = (int(data.index["native_height"][7]), int(data.index["native_width"][7]))
    np.testing.assert_array_equal(
        data.gaze(name, (32, 40))[READER],
        fixation_heatmap(seen, size, (32, 40), GazeSmoothing("90px", "count")))
    assert data.description["gaze"]["fixations"] == 66
    assert data.index.attrs["n_fixations"] == 11


def test_radiographs_of_mimic_and_cubes_of_them(mini: Miniature, tmp_path: Path) -> None:
    images = mini.radiographs(tmp_path / "mimic")
    path = import_egd_cxr(mini.root, tmp_path / "e.zarr", images=images, size=24)
    cubes = saltrust.open_cubes(path)
    assert problems(cubes) == []
    for k, name in enumerate(IDS):
        assert (int(cubes["native_height"][k]), int(cubes["native_width"][k])) == mini.sizes[name]
    reference = cubes["reference"].to_dataset().sel(reader=READER)
    assert reference["gaze_recorded"].values.tolist() == [False, *[True] * 11]
    assert np.isnan(reference["gaze"][0].values).all()
    assert reference["gaze"][4].values.max() == 1
    np.testing.assert_array_equal(reference["fixation_x"][4, :4].values, mini.points[IDS[4]][:, 1])
    assert np.isnan(reference["fixation_x"][4, 4:].values).all()
    assert (cubes["radiograph/pixels"].values.mean(axis=(1, 2)) > 50).all()
    assert not cubes["reference/annotated"].values.any()


def test_pictures_named_by_id_that_were_made_smaller(mini: Miniature, tmp_path: Path,
                                                     save_png: Make) -> None:
    for name, (height, width) in mini.sizes.items():
        save_png(tmp_path / "png" / f"{name}.png", np.zeros((height // 8, width // 8), np.uint8))
    data = egd_cxr(mini.root, images=tmp_path / "png")
    name = IDS[9]
    seen = data.fixations(name)[READER]
    expected = (mini.points[name] + 0.5) / np.array(mini.sizes[name]) * np.array(
        [side // 8 for side in mini.sizes[name]]) - 0.5
    np.testing.assert_allclose(np.column_stack([seen.y, seen.x]), expected, atol=0.5)
    assert data.description["gaze"]["images_rescaled"] == 11
    # Without the screen there is no telling, but that nothing fits.
    mini.looks = mini.looks.drop(columns=["FPOGX", "FPOGY"])
    with pytest.raises(DataError, match="past the edges of their radiographs"):
        egd_cxr(mini.write(), images=tmp_path / "png")


@pytest.mark.parametrize("nested", [False, True])
def test_ready_made_heatmaps(mini: Miniature, tmp_path: Path, save_png: Make, nested: bool,
                             ) -> None:
    ramp = np.tile(np.linspace(0, 200, 64), (48, 1)).astype(np.uint8)
    for name in IDS[2:6]:
        save_png(tmp_path / "maps" / (f"{name}/heatmap.png" if nested else f"{name}.png"), ramp)
    save_png(tmp_path / "maps" / (f"{IDS[6]}/heatmap.png" if nested else f"{IDS[6]}.png"), 0 * ramp)
    (mini.root / "fixations.csv").unlink()
    data = egd_cxr(mini.root, heatmaps=tmp_path / "maps")
    np.testing.assert_allclose(data.gaze(IDS[2], (48, 64))[READER], ramp / 200, atol=1e-6)
    assert data.gaze(IDS[2], (12, 16))[READER].shape == (12, 16)
    assert data.gaze(IDS[1], (12, 16)) == {}
    assert data.gaze(IDS[6], (12, 16)) == {}
    assert data.fixations(IDS[2]) == {}
    cubes = saltrust.open_cubes(import_egd_cxr(mini.root, tmp_path / "e.zarr", size=16,
                                               heatmaps=tmp_path / "maps"))
    assert cubes["reference/gaze_recorded"].values.sum() == 4
    assert "fixation_y" not in cubes["reference"].data_vars


def test_heatmaps_and_fixations_together(mini: Miniature, tmp_path: Path, save_png: Make) -> None:
    for name in IDS:
        save_png(tmp_path / "maps" / f"{name}.png", np.eye(40, dtype=np.uint8) * 255)
    data = egd_cxr(mini.root, heatmaps=tmp_path / "maps")
    assert len(data.fixations(IDS[5])[READER]) == 5
    np.testing.assert_array_equal(data.gaze(IDS[5], (40, 40))[READER], np.eye(40))


def test_heatmaps_as_the_released_code_saves_them(tmp_path: Path) -> None:
    values = np.random.default_rng(0).gamma(0.4, size=(30, 20))
    plt.imsave(tmp_path / "viridis.png", values)
    unit = (values - values.min()) / np.ptp(values)
    # The colour map has 256 steps.
    np.testing.assert_allclose(read_heatmap(tmp_path / "viridis.png"), unit, atol=2 / 255)
    plt.imsave(tmp_path / "gray.png", values, cmap="gray")
    np.testing.assert_allclose(read_heatmap(tmp_path / "gray.png"), unit, atol=2 / 255)
    plt.imsave(tmp_path / "jet.png", values, cmap="jet")
    with pytest.raises(DataError, match=r"jet\.png has colours"):
        read_heatmap(tmp_path / "jet.png")


def test_sixteen_bits_and_palettes(tmp_path: Path, save_png: Make) -> None:
    from PIL import Image

    deep = save_png(tmp_path / "deep.png", (np.arange(12).reshape(3, 4) * 5000).astype(np.uint16))
    np.testing.assert_allclose(read_heatmap(deep), np.arange(12).reshape(3, 4) * 5000 / 65535,
                               rtol=1e-6)
    gray = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4) * 20)
    gray.convert("RGB").quantize(16).save(tmp_path / "palette.png")
    np.testing.assert_allclose(read_heatmap(tmp_path / "palette.png"),
                               np.arange(12).reshape(3, 4) * 20 / 255, atol=1e-6)


def test_given_splits(mini: Miniature, tmp_path: Path, caplog: Any) -> None:
    path = tmp_path / "splits.csv"
    path.write_text("dicom_id,split\n" + "".join(
        f"{name},{'test' if k > 9 else 'train'}\n" for k, name in enumerate(IDS[:-1])))
    with caplog.at_level(logging.WARNING):
        data = egd_cxr(mini.root, splits=path)
    assert data.index["split"].values.tolist() == ["train"] * 10 + ["test", "none"]
    # Image 10 is of the patient of image 0.
    assert "1 patients into more than one split" in caplog.text
    assert data.description["patients_in_several_splits"] == 1


def test_a_study_names_the_data_set(mini: Miniature, tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text('[data]\nkind = "egd-cxr"\npath = "egd"\nfindings = ["CHF", "Normal"]\n'
                     'sigma = "5%"\n')
    data = open_collection(read_study(study))
    assert data.index["finding"].values.tolist() == ["CHF", "Normal"]
    assert data.description["gaze"]["sigma"] == "5%"
    assert sorted(set(data.index["split"].values.tolist())) == ["test", "train", "val"]
    other = egd_cxr(mini.root, findings=["CHF", "Normal"])
    assert other.fingerprint != data.fingerprint


def rename(table: str, old: str, new: str) -> Callable[[Miniature], None]:
    return lambda mini: setattr(mini, table, getattr(mini, table).rename(columns={old: new}))


def drop(table: str, *columns: str) -> Callable[[Miniature], None]:
    return lambda mini: setattr(mini, table, getattr(mini, table).drop(columns=list(columns)))


@pytest.mark.parametrize(("spoil", "words"), [
    (lambda m: (m.root / "master_sheet.csv").unlink(), ["master_sheet.csv", "does not exist"]),
    (lambda m: (m.root / "fixations.csv").unlink(), ["fixations.csv", "does not exist"]),
    (rename("looks", "X_ORIGINAL", "X_ORIGNAL"), ["no column 'X_ORIGINAL'", "'X_ORIGNAL'"]),
    # Y_ORIGINAL is nearer, but that is what it says.
    (rename("looks", "X_ORIGINAL", "X_ORIG"), ["no column 'X_ORIGINAL'", "'X_ORIG'"]),
    (rename("looks", "DICOM_ID", "IMAGE"), ["no column 'DICOM_ID'"]),
    (rename("looks", "FPOGD", "FPOGDUR"), ["no column of durations", "'FPOGDUR'", "count"]),
    (rename("cases", "dicom_id", "dicom"), ["'dicom_id'"]),
    (drop("cases", "Normal", "CHF", "pneumonia"), ["none of the class columns"]),
    (lambda m: m.cases.__setitem__("dicom_id", [IDS[0], *IDS[:-1]]), [IDS[0], "row 2", "row 3"]),
    (lambda m: m.cases.__setitem__("CHF", 7), ["row 2", "CHF", "'7'"]),
    (lambda m: m.looks.__setitem__("DICOM_ID", "calibration"), ["none of the DICOM_IDs"]),
    (lambda m: m.looks.__setitem__("Y_ORIGINAL", "left"), ["row 2", "Y_ORIGINAL", "'left'"]),
    (lambda m: m.looks.__setitem__("FPOGD", "inf"), ["row 2", "FPOGD", "'inf'"]),
    (lambda m: m.looks.__setitem__("X_ORIGINAL", "1e300"), ["row 2", "X_ORIGINAL", "'1e300'"]),
    (lambda m: m.cases.__setitem__("image_top_pad", "-1e300"), ["native size of 12 of 12"]),
    (lambda m: m.cases.__setitem__("image_left_pad", "nan"), ["native size of 12 of 12"]),
    (lambda m: m.looks.__setitem__("X_ORIGINAL", 999_999), ["lay on the screen", "89,000,000"]),
    (lambda m: setattr(m, "looks", pd.concat([m.looks[m.looks["DICOM_ID"] == IDS[3]]] * 2501)),
     [IDS[3], "more than 10,000 fixations"]),
    (drop("looks", "FPOGX"), ["native size of 12 of 12", "folder of radiographs"]),
])
def test_mistakes_are_named_in_one_sentence(mini: Miniature, spoil: Callable[[Miniature], Any],
                                            words: list[str]) -> None:
    before = {path.name for path in mini.root.iterdir()}
    spoil(mini)
    if {path.name for path in mini.root.iterdir()} == before:
        mini.write()
    with pytest.raises(SaltrustError) as caught:
        egd_cxr(mini.root)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_unknown_images_and_missing_coordinates_are_counted(mini: Miniature, caplog: Any) -> None:
    mini.looks.loc[:2, "DICOM_ID"] = "calibration"
    mini.looks["X_ORIGINAL"] = mini.looks["X_ORIGINAL"].astype(float)
    mini.looks.loc[[20, 30], "X_ORIGINAL"] = np.nan
    with caplog.at_level(logging.WARNING):
        data = egd_cxr(mini.write())
    assert "3 of 78 rows" in caplog.text
    assert "first: calibration" in caplog.text
    assert "2 of 78 rows" in caplog.text
    assert data.description["gaze"]["rows_of_unknown_images"] == 3
    assert data.description["gaze"]["rows_without_coordinates"] == 2


def test_durations_are_not_needed_to_count(mini: Miniature) -> None:
    drop("looks", "FPOGD")(mini)
    data = egd_cxr(mini.write(), smoothing=GazeSmoothing("150px", "count"))
    assert np.isnan(data.fixations(IDS[3])[READER].duration).all()
    assert data.gaze(IDS[3], (16, 16))[READER].max() == 1


def test_missing_folders_and_files(mini: Miniature, tmp_path: Path, save_png: Make,
                                   caplog: pytest.LogCaptureFixture) -> None:
    for options in ({"images": tmp_path / "no"}, {"heatmaps": tmp_path / "no"}):
        with pytest.raises(UsageError, match="there is no folder"):
            egd_cxr(mini.root, **options)
    with pytest.raises(UsageError, match="there is no folder"):
        egd_cxr(tmp_path / "no")
    save_png(tmp_path / "some" / f"{IDS[1]}.png", np.zeros((9, 9), np.uint8))
    some = egd_cxr(mini.root, images=tmp_path / "some")
    assert "no radiographs of 11 of 12 images" in caplog.text
    assert (some.description["radiographs"], some.index.sizes["image"]) == (1, 12)
    (tmp_path / "some" / f"{IDS[1]}.png").rename(tmp_path / "some" / "strange.png")
    with pytest.raises(DataError, match="none of the 12 images"):
        egd_cxr(mini.root, images=tmp_path / "some")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no heatmaps"):
        egd_cxr(mini.root, heatmaps=tmp_path / "empty")
    save_png(tmp_path / "strange" / "nobody.png", np.zeros((9, 9), np.uint8))
    with pytest.raises(DataError, match=r"none of the 1 heatmaps.*nobody"):
        egd_cxr(mini.root, heatmaps=tmp_path / "strange")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / f"{IDS[1]}.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with pytest.raises(DataError, match=rf"{IDS[1]}\.png"):
        egd_cxr(mini.root, heatmaps=tmp_path / "broken").gaze(IDS[1], (8, 8))


def test_the_command(mini: Miniature, tmp_path: Path) -> None:
    from click.testing import CliRunner

    def run(*arguments: object) -> Any:
        return CliRunner().invoke(main, ["--quiet", "import", "egd-cxr",
                                         *map(str, arguments)], catch_exceptions=False)

    made = run(mini.root, "-o", tmp_path / "e.zarr", "--size", 16, "--sigma", "4%", "--weight",
               "count", "--fractions", "0.5,0.2,0.3")
    assert made.exit_code == 0, made.stderr
    description = saltrust.open_cubes(tmp_path / "e.zarr").attrs["data"]
    assert description["gaze"]["sigma"] == "4%"
    assert json.dumps(description)
    for wrong, word in ((("--sigma", "150"), "'150px'"), (("--fractions", "1,2"), "three numbers"),
                        (("--fractions", "a,b,c"), "three numbers")):
        refused = run(mini.root, "-o", tmp_path / "f.zarr", *wrong)
        assert refused.exit_code == 2
        assert word in refused.stderr
    assert not (tmp_path / "f.zarr").exists()
