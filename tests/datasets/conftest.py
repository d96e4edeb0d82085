"""Small files of every kind that the readers take, made on the spot."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from saltrust.cache import rle
from saltrust.cache.reference import import_collection
from saltrust.cache.schema import CHEXLOCALIZE_FINDINGS
from saltrust.datasets.manifest.collection import manifest

Make = Callable[..., Path]

PIXELS = np.arange(48 * 64).reshape(48, 64).astype(np.uint8)


@pytest.fixture
def save_png() -> Make:
    """``save_png(path, pixels)``: write an array as PNG, making its folder."""

    def save(path: Path, pixels: npt.ArrayLike) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(pixels)).save(path)
        return path

    return save


@pytest.fixture
def save_dicom() -> Make:
    """``save_dicom(path, pixels or None, **attributes)``: write an uncompressed DICOM file."""

    def save(path: Path, pixels: npt.NDArray[Any] | None, **attributes: Any) -> Path:
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = UID(attributes.pop("TransferSyntaxUID", ExplicitVRLittleEndian))
        meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.1.1")
        meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        dataset.Modality = "DX"
        if pixels is not None:
            bits = pixels.dtype.itemsize * 8
            dataset.Rows, dataset.Columns = pixels.shape[:2]
            dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
            dataset.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
            if pixels.ndim == 3:
                dataset.PlanarConfiguration = 0
            dataset.BitsAllocated = dataset.BitsStored = bits
            dataset.HighBit = bits - 1
            dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
            dataset.PixelData = pixels.tobytes()
            dataset["PixelData"].VR = "OW" if bits > 8 else "OB"
        for name, value in attributes.items():
            setattr(dataset, name, value)
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(path, enforce_file_format=True)
        return path

    return save


class ChexlocalizeWriter:
    """Writes a folder of the released CheXlocalize layout, piece by piece."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def json(self, name: str, content: Mapping[str, Any]) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
        return path

    def segmentations(self, masks: Mapping[str, Mapping[str, npt.NDArray[Any]]],
                      name: str = "gt_segmentations_val.json") -> Path:
        """Masks by image and finding; the findings left out get empty masks."""
        content = {}
        for image, drawn in masks.items():
            shape = next(iter(drawn.values())).shape
            full = {finding: np.zeros(shape, dtype=bool) for finding in CHEXLOCALIZE_FINDINGS}
            full |= dict(drawn)
            content[image] = {finding: {"size": list(shape), "counts": rle.encode(mask)}
                              for finding, mask in full.items()}
        return self.json(name, content)

    def labels(self, rows: Mapping[str, Sequence[str]], name: str = "valid.csv",
               folder: str = "CheXpert-v1.0/valid") -> Path:
        """Positive findings by image; the column of Airspace Opacity is Lung Opacity."""
        columns = ["Lung Opacity" if finding == "Airspace Opacity" else finding
                   for finding in CHEXLOCALIZE_FINDINGS]
        lines = [",".join(["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *columns])]
        for image, positive in rows.items():
            patient, study, view = image.split("_", 2)
            values = [f"{float(finding in positive)}" for finding in CHEXLOCALIZE_FINDINGS]
            lines.append(",".join([f"{folder}/{patient}/{study}/{view}.jpg", "Male", "70",
                                   "Frontal", "AP", *values]))
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
        return path

    def radiograph(self, image: str, shape: tuple[int, int], folder: str = "valid") -> Path:
        patient, study, view = image.split("_", 2)
        path = self.root / folder / patient / study / f"{view}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        ramp = np.linspace(0, 255, shape[0] * shape[1]).reshape(shape).astype(np.uint8)
        Image.fromarray(ramp).save(path, quality=95)
        return path

    def heatmap(self, image: str, finding: str, shape: tuple[int, int],
                folder: str = "gradcam_maps_val", **changes: Any) -> Path:
        """A heatmap pickle like the released ones; ``changes`` replace or (None) drop keys."""
        import torch

        values = torch.linspace(0, 1, 64).reshape(1, 1, 8, 8)
        content: dict[str, Any] = {
            "map": values, "prob": 0.25, "task": finding, "gt": 1,
            "cxr_img": torch.zeros(3, 8, 8), "cxr_dims": (shape[1], shape[0]), **changes}
        path = self.root / folder / f"{image}_{finding}_map.pkl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(
            {key: value for key, value in content.items() if value is not None}, protocol=3))
        return path


@pytest.fixture
def layout(tmp_path: Path) -> ChexlocalizeWriter:
    """An empty folder to be filled with files of the released CheXlocalize layout."""
    return ChexlocalizeWriter(tmp_path / "chexlocalize")


@pytest.fixture
def listed_films(tmp_path: Path, save_png: Make) -> Path:
    """A manifest of two radiographs of 48 x 64 pixels, with masks, points and boxes."""
    for name in ("a", "b"):
        save_png(tmp_path / f"{name}.png", PIXELS)
    mask = np.zeros((48, 64), dtype=np.uint8)
    mask[10:20, 30:50] = 255
    save_png(tmp_path / "m.png", mask)
    path = tmp_path / "films.csv"
    path.write_text(
        "path,patient,split,Edema,Lung Lesion,mask:Edema,mask:Edema:expert,points:Edema:expert,"
        "boxes:Lung Lesion\n"
        "a.png,p1,train,1,0,m.png,m.png,31 12,\n"
        "b.png,p2,test,0,1,,,,5 6 7 8; 20 20 2 2\n")
    return path


@pytest.fixture
def film_store(listed_films: Path) -> Path:
    """The cubes of ``listed_films``, on a grid of 24 x 32."""
    return import_collection(manifest(listed_films), listed_films.parent / "films.zarr",
                             grid=(24, 32))
