"""Phantoms laid out as the releases that the three protocols are about, and studies of them.

Also run as a program, to be killed::

    python released_phantoms.py FOLDER

runs protocol S in FOLDER/whole undisturbed and in FOLDER/killed with a kill after training and
one after generation, and prints as JSON what each start left.  Starts are forked, so that none
costs an import.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from saltrust.cache import rle
from saltrust.cache.schema import CHEXLOCALIZE_FINDINGS
from saltrust.datasets.phantom.collection import PhantomCollection, phantom

FINDINGS = ("Cardiomegaly", "Pleural Effusion")
SIZE = 64

S = """
name = "chexplanation"
grid = 32
explainers = ["gradcam"]
[data]
kind = "chexlocalize"
path = "CheXlocalize"
findings = ["Cardiomegaly", "Pleural Effusion"]
[training_data]
kind = "chexpert"
path = "CheXpert-v1.0-small"
[train]
epochs = 1
learning_rate = 1e-3
keep = 1
[[models]]
name = "net"
architecture = "phantom_net"
arguments = {width = 4}
[[models]]
name = "second"
architecture = "phantom_net"
arguments = {width = 4}
seed = 1
[[ensembles]]
name = "ensemble"
members = ["net", "second"]
"""

A = """
name = "trustworthiness"
grid = 32
explainers = ["grad", "gradcam"]
[data]
kind = "siim-acr"
path = "train-rle.csv"
images = "dicom-images-train"
split_fractions = [0.5, 0.2, 0.3]
[train]
epochs = 1
batch_size = 6
learning_rate = 1e-3
[randomization]
replicates = 1
[[models]]
name = "net"
architecture = "phantom_net"
arguments = {width = 4}
replicates = 2
[[models]]
name = "other"
architecture = "phantom_unet"
arguments = {width = 4}
[[localizers]]
name = "unet"
arguments = {encoder_name = "resnet18", encoder_depth = 3, decoder_channels = [16, 8, 8]}
"""

W = """
name = "guided"
grid = 32
explainers = ["guided_backprop"]
[data]
kind = "egd-cxr"
path = "egd-cxr"
images = "mimic-cxr"
split_fractions = [0.5, 0.2, 0.3]
[train]
epochs = 1
learning_rate = 1e-3
[[models]]
name = "baseline"
architecture = "phantom_unet"
arguments = {width = 4}
guidance = {loss = "decoder"}
[[models]]
name = "guided"
architecture = "phantom_unet"
arguments = {width = 4}
guidance = {loss = "set3"}
"""


def localization(root: Path) -> Path:
    """CheXlocalize to tune and test on, CheXpert to train on; the study file."""
    data = phantom(patients=20, size=SIZE, seed=3, split_fractions=(0.4, 0.3, 0.3))
    home = root / "CheXlocalize"
    chexpert = root / "CheXpert-v1.0-small"
    rows: dict[Path, list[dict[str, Any]]] = {}
    masks: dict[tuple[str, str], dict[str, Any]] = {}
    points: dict[str, Any] = {}
    for image in data.index["image"].values.astype(str).tolist():
        one = data.index.sel(image=image)
        split = str(one["split"].values)
        name = image.replace("phantom-", "patient")
        patient, study, view = name.split("_", 2)
        labels = dict(zip(data.index["finding"].values.tolist(), one["label"].values.tolist(),
                          strict=True))
        pixels = Image.fromarray(data.radiograph(image, (SIZE, SIZE)).pixels)
        facts = {"Sex": "Male", "Age": 50, "Frontal/Lateral": "Frontal", "AP/PA": "AP"}
        for folder in ([chexpert / "train"] if split == "train" else [home / "CheXpert" / split]
                       + [chexpert / "valid"] * (split == "val")):
            path = folder / patient / study / f"{view}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels.save(path, quality=95)
            rows.setdefault(folder, []).append({
                "Path": f"CheXpert-v1.0/{folder.name}/{patient}/{study}/{view}.jpg", **facts,
                **{finding: float(label) for finding, label in labels.items()}})
        if split == "train":
            continue
        for (finding, reader), drawn in data.annotations(image).items():
            who = {"reference": "gt", "expert-1": "hb"}.get(reader)
            if who is None or (who == "hb" and split == "val"):
                continue
            masks.setdefault((who, split), {}).setdefault(name, {})[finding] = {
                "size": [SIZE, SIZE], "counts": drawn.mask_rle}
            if who == "hb" and drawn.points:
                y, x = drawn.points[0]
                points.setdefault(name, {})[finding] = [[x, y]]
    empty = {"size": [SIZE, SIZE], "counts": rle.encode(np.zeros((SIZE, SIZE), dtype=bool))}
    for (who, split), drawn in masks.items():
        _json(home / "CheXlocalize" / f"{who}_segmentations_{split}.json",
              {name: dict.fromkeys(CHEXLOCALIZE_FINDINGS, empty) | of
               for name, of in drawn.items()})
    _json(home / "CheXlocalize" / "hb_salient_pt_test.json", points)
    for folder, listed in rows.items():
        table = pd.DataFrame(listed).rename(columns={"Airspace Opacity": "Lung Opacity"})
        if folder.parent == chexpert:
            # What the release labels beside; a blank is a finding that is not mentioned.
            table[["No Finding", "Pneumonia", "Pleural Other", "Fracture"]] = None
            table.to_csv(chexpert / f"{folder.name}.csv", index=False)
        else:
            table.to_csv(folder.with_name(f"{folder.name}_labels.csv"), index=False)
    return _study(root, S)


def trustworthiness(root: Path) -> Path:
    """The masks and DICOM files of SIIM-ACR; the study file."""
    data = phantom(patients=40, size=SIZE, seed=5, findings=["Pneumothorax"])
    positive = data.index["label"].values[:, 0] == 1
    chosen = [*np.flatnonzero(positive)[:12], *np.flatnonzero(~positive)[:12]]
    lines = ["ImageId, EncodedPixels"]
    for image in data.index["image"].values[sorted(chosen)].astype(str).tolist():
        name = f"1.2.276.{image.split('-')[1].replace('_', '.')}"
        _dicom(root / "dicom-images-train" / name / f"{name}.dcm", _radiograph(data, image, 1024))
        mask = data.annotations(image).get(("Pneumothorax", "reference"))
        code = "-1"
        if mask is not None and rle.area(mask.mask_rle, SIZE, SIZE):
            code = _relative_runs(rle.decode(mask.mask_rle, SIZE, SIZE))
        lines.append(f"{name}, {code}")
    (root / "train-rle.csv").write_text("\n".join(lines) + "\n")
    return _study(root, A)


def guided_training(root: Path) -> Path:
    """The tables and DICOM files of Eye Gaze Data for Chest X-rays; the study file."""
    data = phantom(patients=30, size=SIZE, seed=7)
    rng = np.random.default_rng(7)
    cases, looks = [], []
    for k, image in enumerate(data.index["image"].values[:30].astype(str).tolist()):
        name = f"{k:08x}-ab{k:06x}"
        path = f"files/p10/p{10_000_000 + k}/s{500 + k}/{name}.dcm"
        _dicom(root / "mimic-cxr" / path, _radiograph(data, image, SIZE))
        cases.append({"dicom_id": name, "path": path, "study_id": 500 + k,
                      "patient_id": 10_000_000 + k, "Normal": int(k % 3 == 0),
                      "CHF": int(k % 3 == 1), "pneumonia": int(k % 3 == 2)})
        looks += [{"DICOM_ID": name, "FPOGD": 0.4, "X_ORIGINAL": x, "Y_ORIGINAL": y}
                  for y, x in rng.integers(8, SIZE - 8, (5, 2)).tolist()]
    (root / "egd-cxr").mkdir()
    pd.DataFrame(cases).to_csv(root / "egd-cxr" / "master_sheet.csv", index=False)
    pd.DataFrame(looks).to_csv(root / "egd-cxr" / "fixations.csv", index=False)
    return _study(root, W)


def _study(root: Path, text: str) -> Path:
    path = root / "study.toml"
    path.write_text(text)
    return path


def _json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _radiograph(data: PhantomCollection, image: str, size: int) -> np.ndarray:
    pixels = data.radiograph(image, (SIZE, SIZE)).pixels
    return np.kron(pixels, np.ones((size // SIZE, size // SIZE), np.uint8))


def _relative_runs(mask: np.ndarray) -> str:
    """The code of the competition: runs down the columns of 1024 x 1024, starts relative."""
    columns = np.kron(mask, np.ones((1024 // SIZE, 1024 // SIZE), np.uint8)).T.ravel()
    edges = np.flatnonzero(np.diff(np.concatenate([[0], columns, [0]])))
    starts, ends = edges[::2], edges[1::2]
    gaps = starts - np.concatenate([[0], ends[:-1]])
    return " ".join(f"{gap} {length}" for gap, length in zip(gaps, ends - starts, strict=True))


def _dicom(path: Path, pixels: np.ndarray) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(ExplicitVRLittleEndian)
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.1.1")
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.Modality, dataset.PhotometricInterpretation = "DX", "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OB"
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def _run(study: Path) -> None:
    from saltrust.cli import main

    main(["-q", "protocol", "localization", str(study), "-o", str(study.parent / "out"),
          "--resamples", "200"], standalone_mode=False)


def _start(study: Path, hook: Callable[[], None]) -> int:
    """Run the protocol in a child process; the status it ended with, or minus its signal."""
    child = os.fork()
    if child == 0:
        hook()
        try:
            _run(study)
        finally:
            os._exit(0 if sys.exception() is None else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _kill_at(owner: Any, name: str) -> Callable[[], None]:
    """A hook: the process is killed where a function is called."""
    return lambda: setattr(owner, name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))


def main(folder: Path) -> None:
    import torch

    import saltrust.report.protocols.figures
    from saltrust.analysis.localization import thresholds
    from saltrust.analysis.shape import regressions
    from saltrust.cli.protocol import chain

    torch.set_num_threads(1)
    # Figures are drawn from the tables that are compared, and further fits take most of the time.
    saltrust.report.protocols.figures.figures_of = lambda *_: {}
    regressions._FURTHER = {}
    for name in ("whole", "killed"):
        (folder / name).mkdir()
    # Here, so that nothing is imported twice.
    _run(localization(folder / "whole"))
    study = localization(folder / "killed")
    moments = (_kill_at(chain, "_generate"), _kill_at(thresholds, "tune_thresholds"), lambda: None)
    out, weights = study.parent / "out", study.parent / "runs/net/model.safetensors"
    left = []
    for hook in moments:
        status = _start(study, hook)
        stores = sorted(path.name for path in out.glob("*.zarr*"))
        left.append([status, weights.stat().st_mtime_ns, stores, (out / "methods.md").exists()])
    print(json.dumps(left))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
