"""Read the real tables of public releases whole, and compare with pandas; exit 1 where they differ.

Run by ``make evidence``.  The wheel of torchxrayvision 1.5.7 holds the tables of CheXpert, NIH
ChestX-ray14, PadChest, VinBigData, RSNA and SIIM-ACR.  Each is opened by its kind in a process of
its own, which says seconds and peak memory; every label, and every box, is compared with what
pandas alone makes of the table, and ten boxes are printed.  CheXpert, PadChest and NIH are also
imported as stores.  The wheel has no radiographs and no sizes: those of VinBigData are made up
here, and boxes do not depend on them.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from promises import SALTRUST, require

from saltrust.cache import rle
from saltrust.cache.collection import Collection
from saltrust.cache.store import open_cubes
from saltrust.datasets.registry import open_collection
from saltrust.study import DataSpec, Study

VERSION = "1.5.7"
CHEXPERT = "chexpert_train.csv.gz"
NIH, NIH_BOXES = "Data_Entry_2017_v2020.csv.gz", "BBox_List_2017.csv.gz"
PADCHEST = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz"
VINBIGDATA = "vinbigdata-train.csv.gz"
RSNA, SIIM = "kaggle_stage_2_train_labels.csv.zip", "siim-pneumothorax-train-rle.csv.gz"
BOXES_SHOWN = 10
#: Of the processor and of memory, for a whole release.
MOST_SECONDS, MOST_GIGABYTES = 60.0, 2.0

Boxes = dict[tuple[str, str, str], list[tuple[float, ...]]]


def tables(folder: Path) -> Path:
    """The folder of the tables: of the package where it is installed, else of its wheel."""
    try:
        installed = importlib.metadata.version("torchxrayvision") == VERSION
    except importlib.metadata.PackageNotFoundError:
        installed = False
    if installed:
        spec = importlib.util.find_spec("torchxrayvision")
        assert spec is not None
        assert spec.origin is not None
        return Path(spec.origin).parent / "data"
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest",
                    str(folder), f"torchxrayvision=={VERSION}"], check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder)
    return folder / "torchxrayvision" / "data"


def same_labels(collection: Collection, expected: pd.DataFrame) -> None:
    """Every label of every image is that of a table with images as rows."""
    label = collection.index["label"]
    require(label["image"].values.tolist() == expected.index.tolist(), "images are the table's")
    for finding in label["finding"].values.tolist():
        require(np.array_equal(label.sel(finding=finding).values, expected[finding].to_numpy()),
                f"labels of {finding} are the table's")


def same_boxes(collection: Collection, expected: Boxes) -> None:
    """Every box of every image is that of the table, and ten are printed."""
    drawn: Boxes = {}
    for image in {image for image, _, _ in expected}:
        for (finding, reader), annotation in collection.annotations(image).items():
            if annotation.boxes:
                drawn[image, finding, reader] = sorted(annotation.boxes)
    require(drawn.keys() == expected.keys(), "boxes are of the images and findings of the table")
    for key, boxes in drawn.items():
        require(np.allclose(boxes, sorted(expected[key]), rtol=0, atol=1e-9), f"boxes of {key}")
    for key in sorted(drawn)[::max(len(drawn) // BOXES_SHOWN, 1)][:BOXES_SHOWN]:
        sys.stdout.write(f"  {' '.join(key)}: y0, x0, y1, x1 "
                         f"{[tuple(round(edge, 1) for edge in box) for box in drawn[key]]}\n")


def chexpert(folder: Path, collection: Collection) -> int:
    frame = pd.read_csv(folder / CHEXPERT)
    findings = frame.columns[5:].tolist()
    parts = frame["Path"].str.split("/", expand=True)
    require(len(frame) == 223_414 and len(findings) == 14, "CheXpert has 223,414 rows, 14 labels")
    frame.index = pd.Index(parts[2] + "_" + parts[3] + "_" + parts[4].str.replace(".jpg", ""))
    same_labels(collection, frame[findings].fillna(0).astype(int))
    index = collection.index
    require(index["patient"].values.tolist() == parts[2].tolist(), "patients are the paths'")
    require(np.array_equal(index["age"].values, frame["Age"].to_numpy(dtype=float)), "ages")
    views = (frame["Frontal/Lateral"].str.lower() + " " + frame["AP/PA"].fillna("")).str.strip()
    require(Counter(index["view"].values.tolist()) == Counter(views), "views")
    require(set(index["split"].values.tolist()) == {"train"}, "all are of the split train")
    return len(frame)


def nih(folder: Path, collection: Collection) -> int:
    frame = pd.read_csv(folder / NIH)
    drawn = pd.read_csv(folder / NIH_BOXES)
    require(len(frame) == 112_120 and len(drawn) == 984, "NIH has 112,120 images, 984 boxes")
    labels = frame["Finding Labels"].str.get_dummies("|")
    labels.index = pd.Index(frame["Image Index"].str.removesuffix(".png"))
    same_labels(collection, labels)
    expected: Boxes = {}
    for image, finding, x, y, width, height in drawn.iloc[:, :6].itertuples(index=False):
        name = "Infiltration" if finding == "Infiltrate" else finding
        expected.setdefault((image.removesuffix(".png"), name, "reference"), []).append(
            (y, x, min(y + height, 1024), min(x + width, 1024)))
    same_boxes(collection, expected)
    require(sum(map(len, expected.values())) == 984, "984 boxes")
    return len(frame) + len(drawn)


def padchest(folder: Path, collection: Collection) -> int:
    frame = pd.read_csv(folder / PADCHEST, usecols=["ImageID", "Labels", "PatientID"], dtype=str)
    require(len(frame) == 160_861, "PadChest has 160,861 rows")
    lists = [{" ".join(label.split()) for label in ast.literal_eval(text)} - {""}
             if isinstance(text, str) else set() for text in frame["Labels"]]
    counts = Counter(label for labels in lists for label in labels)
    label = collection.index["label"]
    require(sorted(counts) == label["finding"].values.tolist(), "every label is a finding")
    require(collection.index["image"].values.tolist()
            == frame["ImageID"].str.removesuffix(".png").tolist(), "images are the table's")
    values, findings = label.values, label["finding"].values
    require((values == 1).sum(axis=0).tolist() == [counts[name] for name in findings.tolist()],
            "every label is of as many images as in the table")
    for row, labels in zip(values, lists, strict=True):
        require(set(findings[row == 1].tolist()) == labels, "labels of an image are its list")
        require(set(row.tolist()) <= ({0, 1} if labels else {-2}), "others are negative")
    return len(frame)


def vinbigdata(folder: Path, collection: Collection) -> int:
    frame = pd.read_csv(folder / VINBIGDATA)
    require(len(frame) == 67_914, "VinBigData has 67,914 rows")
    seen = frame[frame["class_name"] != "No finding"]
    votes = seen.drop_duplicates(["image_id", "rad_id", "class_name"]).pivot_table(
        index="image_id", columns="class_name", values="rad_id", aggfunc="count", fill_value=0)
    same_labels(collection, (votes.reindex(frame["image_id"].unique(), fill_value=0) >= 2
                             ).astype(int))
    expected: Boxes = {}
    for row in seen.itertuples(index=False):
        key = (row.image_id, row.class_name, row.rad_id)
        expected.setdefault(key, []).append((row.y_min, row.x_min, row.y_max, row.x_max))
    same_boxes(collection, expected)
    readers = frame.groupby("image_id")["rad_id"].agg(set)
    require(collection.index.sizes["reader"] == 17, "there are 17 readers")
    for image, names in readers.items():
        pairs = collection.annotations(str(image))
        require(len(names) == 3 and len(pairs) == 3 * 14 and {name for _, name in pairs} == names,
                "the three readers of an image are annotated, the others are not")
    return len(frame)


def rsna(folder: Path, collection: Collection) -> int:
    frame = pd.read_csv(folder / RSNA)
    require(frame["patientId"].nunique() == 26_684, "RSNA has 26,684 images")
    same_labels(collection, frame.groupby("patientId", sort=False)["Target"].max().to_frame(
        "Pneumonia"))
    expected: Boxes = {}
    for row in frame[frame["Target"] == 1].itertuples(index=False):
        expected.setdefault((row.patientId, "Pneumonia", "reference"), []).append(
            (row.y, row.x, min(row.y + row.height, 1024), min(row.x + row.width, 1024)))
    same_boxes(collection, expected)
    return len(frame)


def siim(folder: Path, collection: Collection) -> int:
    frame = pd.read_csv(folder / SIIM, skipinitialspace=True)
    require(len(frame) == 12_954, "SIIM-ACR has 12,954 rows")
    positive = frame["EncodedPixels"] != "-1"
    same_labels(collection, positive.groupby(frame["ImageId"], sort=False).max().astype(int)
                .to_frame("Pneumothorax"))
    once = frame[positive & ~frame["ImageId"].duplicated(keep=False)].iloc[::200]
    for image, code in zip(once["ImageId"], once["EncodedPixels"], strict=True):
        runs = np.array(code.split(), dtype=int)
        (annotation,) = collection.annotations(image).values()
        require(rle.area(annotation.mask_rle, 1024, 1024) == runs[1::2].sum(),
                f"the mask of {image} is as large as its runs")
    return len(frame)


CHECKS: dict[str, tuple[str, Callable[[Path, Collection], int]]] = {
    "chexpert": (CHEXPERT, chexpert), "nih-chestxray14": (NIH, nih),
    "padchest": (PADCHEST, padchest), "vinbigdata": (VINBIGDATA, vinbigdata),
    "rsna": (RSNA, rsna), "siim-acr": (SIIM, siim)}


def opened(kind: str, folder: Path, sizes: Path) -> str:
    """Open a release, measure that, and compare it with pandas; a line of the report."""
    table, check = CHECKS[kind]
    data = DataSpec(kind=kind, path=str(folder / table),
                    sizes=str(sizes) if kind == "vinbigdata" else "")
    began = time.process_time()
    collection = open_collection(Study(data=data))
    seconds = time.process_time() - began
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    rows = check(folder, collection)
    require(seconds < MOST_SECONDS and gigabytes < MOST_GIGABYTES,
            f"{kind} opens within {MOST_SECONDS:g} s and {MOST_GIGABYTES:g} GB, but took "
            f"{seconds:.0f} s and {gigabytes:.1f} GB")
    index = collection.index
    return (f"{kind}: {rows:,} rows, {index.sizes['image']:,} images, "
            f"{len(set(index['patient'].values.tolist())):,} patients, "
            f"{index.sizes['finding']} findings, opened in {seconds:.1f} s (processor), "
            f"{gigabytes:.2f} GB; labels and boxes are those of the table\n")


def made_up_sizes(folder: Path, path: Path) -> Path:
    """Height and width that hold all boxes of each image, which the wheel does not say."""
    frame = pd.read_csv(folder / VINBIGDATA)
    far = frame.groupby("image_id")[["y_max", "x_max"]].max().fillna(1).astype(int)
    far.rename(columns={"y_max": "height", "x_max": "width"}).to_csv(path)
    return path


def store(kind: str, folder: Path, scratch: Path) -> str:
    """Import a whole release by the command line; a line of the report."""
    study, cubes = scratch / f"{kind}.toml", scratch / f"{kind}.zarr"
    study.write_text(f'grid = 64\n[data]\nkind = "{kind}"\n'
                     f'path = "{folder / CHECKS[kind][0]}"\n')
    began = time.monotonic()
    with subprocess.Popen([*SALTRUST, "--quiet", "import", "study", study, "-o", cubes]) as job:
        _, status, usage = os.wait4(job.pid, 0)
        job.returncode = os.waitstatus_to_exitcode(status)
    require(job.returncode == 0, f"saltrust import study takes the whole of {kind}")
    labels: Any = open_cubes(cubes)["reference/label"]
    return (f"{kind}: a store of {labels.sizes['image']:,} images and {labels.sizes['finding']} "
            f"findings in {usage.ru_utime + usage.ru_stime:.0f} s (processor; "
            f"{time.monotonic() - began:.0f} s in all), {usage.ru_maxrss / 2**20:.2f} GB, "
            f"{sum(path.stat().st_size for path in cubes.rglob('*') if path.is_file()) / 1e6:.0f} "
            "MB on disk\n")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        folder = tables(scratch)
        sizes = made_up_sizes(folder, scratch / "sizes.csv")
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"),
                                 max_tasks_per_child=1) as pool:
            for kind in CHECKS:
                sys.stdout.write(pool.submit(opened, kind, folder, sizes).result())
                sys.stdout.flush()
        for kind in ("chexpert", "nih-chestxray14", "padchest"):
            sys.stdout.write(store(kind, folder, scratch))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
