"""Absurd claims and hostile files: one sentence, before anything is set aside for them."""

from __future__ import annotations

import gzip
import json
import logging
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from saltrust.cache import reference
from saltrust.cache.reference import import_collection
from saltrust.datasets.chexlocalize.layout import read_json
from saltrust.datasets.collection_index import collection_index
from saltrust.datasets.files import limits
from saltrust.datasets.files.annotation_codes import coco_size, polygons_mask, xy_points
from saltrust.datasets.files.csv_tables import read_csv
from saltrust.datasets.files.dicom_pixels import is_dicom, native_size
from saltrust.datasets.files.limits import check_pixels
from saltrust.datasets.files.radiograph_files import read_gray, read_radiograph
from saltrust.datasets.folder.collection import folder
from saltrust.datasets.manifest.collection import manifest
from saltrust.errors import DataError
from tests.datasets.conftest import Make

RAMP = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)


def test_a_deflated_bomb_is_refused_while_it_is_inflated(
        save_dicom: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_dicom(tmp_path / "a.dcm", RAMP, TransferSyntaxUID=DeflatedExplicitVRLittleEndian)
    assert read_gray(path).max() == 255
    content = path.read_bytes()
    # As if the deflated part went on for ever.
    start = 144 + int.from_bytes(content[140:144], "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = packer.compress(bytes(2 * 10**7)) + packer.flush()
    path.write_bytes(content[:start] + bomb)
    monkeypatch.setattr("saltrust.datasets.files.dicom.reading.MOST_DICOM_BYTES", 10**7)
    with pytest.raises(DataError, match=r"a\.dcm of [\d,]+ bytes is deflated and becomes more"):
        read_gray(path)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_a_header_without_end_is_refused(save_dicom: Make, tmp_path: Path, syntax: str,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_dicom(tmp_path / "a.dcm", RAMP, TransferSyntaxUID=syntax)
    monkeypatch.setattr("saltrust.datasets.files.dicom.reading.MOST_DICOM_READS", 100)
    assert native_size(path) == (64, 64)
    assert read_gray(path).max() == 255
    dataset = dcmread(path)
    for number in range(100):
        dataset.add_new(0x00090010 + number, "LO", "x")
    dataset.save_as(path)
    for read in (native_size, read_gray):
        with pytest.raises(DataError, match=r"a\.dcm has more elements than 100 reads give"):
            read(path)


def test_a_radiograph_of_one_gray_value_is_said(save_dicom: Make, tmp_path: Path, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        read_radiograph(save_dicom(tmp_path / "a.dcm", np.full((8, 8), 7, np.uint16)), (8, 8))
    assert "one gray value everywhere" in caplog.text


@pytest.mark.parametrize("element", [
    {"Rows": 65535, "Columns": 65535}, {"Rows": 0}])
def test_sizes_that_a_header_claims(save_dicom: Make, tmp_path: Path, element: dict[str, int]
                                    ) -> None:
    path = save_dicom(tmp_path / "a.dcm", RAMP, **element)
    for read in (native_size, read_gray):
        with pytest.raises(DataError, match=r"a\.dcm states"):
            read(path)


def test_sizes_that_a_table_claims(tmp_path: Path) -> None:
    for size in ("100000", "9" * 400):
        (tmp_path / "m.csv").write_text("image,height,width,Edema,boxes:Edema\n"
                                        f"a,{size},{size},1,1 1 2 2\n")
        with pytest.raises(DataError, match=r"m\.csv, row 2"):
            manifest(tmp_path / "m.csv")
    check_pixels(5000, 6000, "a film")
    with pytest.raises(DataError, match=r"more than the 89,000,000"):
        check_pixels(100_000, 100_000, "a film")


@pytest.mark.parametrize("text", [
    '{"a": {"Edema": ' + "9" * 5000 + "}}", '{"a": ' * 100_000, "[" * 100_000, "\x00", "{}x"])
def test_json_that_breaks_its_parser(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"a\.json"):
        read_json(path)


def test_codes_and_polygons_that_nobody_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"1 and|100,000,000|more than"):
        coco_size({"size": [10**8, 10**8], "counts": ""})
    with pytest.raises(DataError, match=r"finite|list of"):
        xy_points([[10**400, 1]])
    with pytest.raises(DataError, match="pixels from the image"):
        polygons_mask([[[1e300, 1], [1, 1], [2, 2]]], 7, 9)
    monkeypatch.setattr("saltrust.datasets.files.annotation_codes.MOST_CORNERS", 3)
    with pytest.raises(DataError, match="4 corners, more than 3"):
        polygons_mask([[[1, 1]] * 4], 7, 9)


def test_polygons_that_would_take_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saltrust.datasets.files.annotation_codes.MOST_SCANNING", 7 * 4.1)
    # Four corners over seven rows; what lies above and below the image costs nothing.
    tall = [[0, -1e6], [9, -1e6], [9, 1e6], [0, 1e6]]
    assert polygons_mask([tall], 7, 9).all()
    with pytest.raises(DataError, match=r"2 polygons with 8 corners would take minutes"):
        polygons_mask([tall, tall[::-1]], 7, 9)


@pytest.mark.parametrize("name", ["a" * 300 + ".png", "b\x00.png", "c/" * 3000])
def test_names_that_no_file_system_has(tmp_path: Path, name: str) -> None:
    path = Path(f"{tmp_path}/{name}")
    with pytest.raises(DataError, match="path"):
        read_radiograph(path, (8, 8))
    assert not is_dicom(path)
    (tmp_path / "m.csv").write_text(f"image,path,Edema\na,{name},1\n")
    with pytest.raises(DataError, match=r"path|CSV"):
        manifest(tmp_path / "m.csv")


def test_tables_that_inflate_or_have_a_million_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a,b\n" * 2**23, 9))
    with pytest.raises(DataError, match=r"a\.csv\.gz of [\d,]+ bytes becomes more than"):
        read_csv(tmp_path / "a.csv.gz")
    (tmp_path / "b.csv").write_bytes(b"a," * 10**6 + b"\n1\n")
    with pytest.raises(DataError, match=r"b\.csv has [\d,]+ columns"):
        read_csv(tmp_path / "b.csv")


@pytest.mark.parametrize("name", ["a\0b", "\udcff.png"])
def test_texts_that_are_no_names(name: str) -> None:
    with pytest.raises(DataError, match=r"the image name .* rename it"):
        collection_index([name, "b"], ["Edema"], np.zeros((2, 1)))
    with pytest.raises(DataError, match="the view "):
        collection_index(["a", "b"], ["Edema"], np.zeros((2, 1)), view=["AP", name])


@pytest.mark.parametrize(("images", "findings"), [(["a", " "], ["Edema"]), (["a", "b"], [""])])
def test_what_has_no_name(images: list[str], findings: list[str]) -> None:
    with pytest.raises(DataError, match=r"number [12] of the (image name|finding)s is blank"):
        collection_index(images, findings, np.zeros((2, 1)), view=["", ""])


def test_one_long_name_does_not_widen_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_NAME_BYTES", 4 * 100 * 50)
    limits.check_names(["a" * 50] * 100, "image name")
    with pytest.raises(DataError, match="of 51 characters is too long for one of 100"):
        limits.check_names(["b"] * 99 + ["a" * 51], "image name")


def test_a_file_name_that_is_no_text_is_named(tmp_path: Path, save_png: Make) -> None:
    save_png(Path(os.fsdecode(bytes(tmp_path) + b"/Edema/\xff.png")), RAMP.astype(np.uint8))
    with pytest.raises(DataError, match=r"Edema/.udcff"):
        folder(tmp_path)


@pytest.mark.parametrize("cells", [("2 2;" * 501, "1 1 3 3"), ("2 2", "1 1 3 3;" * 501)])
def test_more_points_or_boxes_than_anybody_draws(tmp_path: Path, cells: tuple[str, str]) -> None:
    (tmp_path / "m.csv").write_text("image,height,width,Edema,points:Edema,boxes:Edema\n"
                                    f"a,9,9,1,{cells[0]},{cells[1]}\n")
    with pytest.raises(DataError, match=r"m\.csv, row 2.*there are 50[01] (points|boxes)"):
        manifest(tmp_path / "m.csv").annotations("a")


def test_more_findings_and_readers_than_memory(tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.csv").write_text("image,height,width,Edema,boxes:Edema:x,boxes:Edema:y\n"
                                    "a,9,9,1,1 1 3 3,\n")
    drawn = manifest(tmp_path / "m.csv")
    need = 2 * (16 * 16 + 64 * (32 + 16))
    monkeypatch.setattr(reference, "MOST_BLOCK_BYTES", need - 1)
    with pytest.raises(DataError, match=rf"1 findings by 2 readers .* 16 x 16 .*{need:,}"):
        import_collection(drawn, tmp_path / "a.zarr", grid=(16, 16))
    monkeypatch.setattr(reference, "MOST_BLOCK_BYTES", need)
    assert import_collection(drawn, tmp_path / "b.zarr", grid=(16, 16)).exists()


def test_lists_that_take_more_memory_than_text(tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.json").write_text('{"a": {"Edema": [' + "[]," * 99 + "[]]}}")
    assert len(read_json(tmp_path / "a.json")["a"]["Edema"]) == 100
    monkeypatch.setattr("saltrust.datasets.chexlocalize.layout.MOST_PARSED_BYTES", 10_000)
    with pytest.raises(DataError, match=r"a\.json has more lists"):
        read_json(tmp_path / "a.json")


def test_whatever_a_reader_raises_names_its_file_and_its_image() -> None:
    @limits.of_file("leave it out")
    def read(path: Path) -> None:
        raise struct_error

    struct_error = RecursionError("maximum recursion depth exceeded")
    with pytest.raises(DataError, match=r"film\.png cannot be read .it is nested too deeply"):
        read(Path("film.png"))

    class Films:
        @limits.of_image("the radiograph")
        def radiograph(self, image: str) -> None:
            json.loads("{")

    with pytest.raises(DataError, match="the radiograph of image 'a' cannot be read"):
        Films().radiograph("a")
