"""Recompute what is promised of the four criteria of trustworthiness; exit 1 where it is untrue.

Run by ``make evidence``.  SIIM-ACR's annotations and the real radiographs are used where they
lie beside the checkout; the phantoms need nothing.  Every step is a whole command line.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from promises import require, run

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"

CRITERIA = ("utility", "randomization", "repeatability", "reproducibility")

MODELS = """\
[[models]]
name = "densenet-1"
architecture = "densenet121"
seed = 1

[[models]]
name = "densenet-2"
architecture = "densenet121"
seed = 2

[[models]]
name = "resnet"
architecture = "resnet18"
seed = 3

[randomization]
replicates = 2
models = ["densenet-1", "densenet-2"]
images = {images}
stages = ["classifier", "features.denseblock3"]
"""

PHANTOM = """\
name = "phantom"
seed = 1
grid = 64
explainers = ["grad", "gradcam", "guided_backprop"]

[data]
kind = "phantom"
patients = 150
size = 64
findings = ["Cardiomegaly"]
split_fractions = [0.6, 0.1, 0.3]

[train]
epochs = 2
learning_rate = 1e-3

""" + MODELS

#: The classes come from two sources, which the models may tell apart: their AUC says nothing of
#: disease.
RADIOGRAPHS = """\
name = "radiographs"
seed = 1
grid = 96
explainers = ["grad", "gradcam", "guided_backprop"]

[data]
kind = "folder"
path = "{path}"
findings = ["pneumothorax"]

[train]
epochs = 2
learning_rate = 1e-3

""" + MODELS


def analyze(criterion: str, cubes: Path, *options: object) -> dict[str, Any]:
    """Meta and tables of one criterion."""
    done = run("analyze", criterion, cubes, *options, "--format", "json")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def average_mask_of_siim_acr() -> str:
    """One import and one analysis give the average mask's utility on 246 images, in seconds."""
    source = DATA / "siim_acr"
    with tempfile.TemporaryDirectory() as folder:
        cubes = Path(folder, "siim.zarr")
        before, start = os.times(), time.perf_counter()
        run("import", "siim-acr", "--rle", source / "train-rle.csv.gz", "--splits",
            source / "splits.csv", "-o", cubes)
        result = analyze("utility", cubes, "--baseline", "average-mask", "--split", "test")
        wall, after = time.perf_counter() - start, os.times()
        cpu = sum(after[2:4]) - sum(before[2:4])
        united = _check_masks(cubes, source)
    row = result["tables"]["summary"][0]
    require((row["explainer"], row["n"]) == ("average-mask", 246), f"the summary begins {row}")
    require(result["meta"]["average_mask_of"] == {"Pneumothorax": 1931 + 202},
            f"the average mask is of {result['meta']['average_mask_of']}")
    require(result["meta"]["counts"]["negatives"] == 1068 - 246, "the split is not the file's")
    require(min(wall, cpu) < 60, f"import and analysis took {wall:.0f} s ({cpu:.0f} s CPU)")
    return (f"n = 246, AUPRC {row['auprc_mean']:.3f} ({row['auprc_sd']:.3f}), average precision "
            f"{row['average_precision_mean']:.3f}, AUROC {row['auroc_mean']:.3f} "
            f"({row['auroc_sd']:.3f}); {united} images of several rows united; "
            f"{wall:.0f} s wall, {cpu:.0f} s CPU")


def _check_masks(cubes: Path, source: Path) -> int:
    """Compare masks of several rows with a decoder of its own; how many there are."""
    from saltrust.cache import rle
    from saltrust.cache.store import open_cubes

    rows: dict[str, list[str]] = defaultdict(list)
    with gzip.open(source / "train-rle.csv.gz", "rt") as lines:
        for row in csv.reader(lines):
            rows[row[0]].append(row[1].strip())
    several = [image for image, codes in rows.items() if len(codes) > 1]
    stored = open_cubes(cubes)["reference/mask_rle"].isel(finding=0, reader=0)
    for image in several[::25]:
        expected = np.zeros(1024 * 1024, dtype=bool)
        for code in set(rows[image]) - {"-1"}:
            _paint(expected, code)
        mask = rle.decode(str(stored.sel(image=image).values), 1024, 1024)
        require(bool((mask == expected.reshape(1024, 1024).T).all()),
                f"the mask of {image} is not the union of its {len(rows[image])} rows")
    return len(several)


def _paint(pixels: npt.NDArray[np.bool_], code: str) -> None:
    """Runs of Kaggle's relative code, down the columns."""
    place = 0
    numbers = [int(number) for number in code.split()]
    for gap, length in zip(numbers[::2], numbers[1::2], strict=True):
        place += gap
        pixels[place:place + length] = True
        place += length


def phantoms() -> str:
    """Two DenseNets and a ResNet, trained here on phantoms: all four criteria end to end."""
    with tempfile.TemporaryDirectory() as folder:
        cubes = _generate(Path(folder), PHANTOM.format(images=30))
        results = {criterion: analyze(criterion, cubes) for criterion in CRITERIA}
        return _judge(Path(folder), cubes, results, CRITERIA)


def real_radiographs() -> str:
    """Three criteria end to end on 200 radiographs without masks; utility says what it lacks."""
    with tempfile.TemporaryDirectory() as folder:
        cubes = _generate(Path(folder), RADIOGRAPHS.format(path=DATA / "radiographs", images=20))
        error = run("analyze", "utility", cubes, status=1).stderr
        require("mask" in error, f"utility without masks says: {error}")
        results = {criterion: analyze(criterion, cubes) for criterion in CRITERIA[1:]}
        return _judge(Path(folder), cubes, results, CRITERIA[1:])


def _generate(folder: Path, text: str) -> Path:
    """Train and generate; the cubes."""
    study, cubes = folder / "study.toml", folder / "study.zarr"
    study.write_text(text)
    run("train", study)
    run("generate", study, "-o", cubes)
    return cubes


def _judge(folder: Path, cubes: Path, results: dict[str, dict[str, Any]], criteria: Sequence[str]
           ) -> str:
    """Check the criteria and the protocol; the decisions in words."""
    sentences = []
    for criterion, result in results.items():
        tables = result["tables"]
        decided: dict[str, list[str]] = {}
        for row in tables["decisions"]:
            if row.get("metric", "average_precision") == "average_precision":
                known = decided.setdefault(row["explainer"], [])
                known += [row["decision"]] if row["decision"] not in known else []
        require(set(decided) >= {"grad", "gradcam", "guided_backprop"},
                f"{criterion} decides {sorted(decided)} only")
        architectures = {row["model"]: row["architecture"] for row in tables["models"]}
        require(all(row["image_auc"] is not None for row in tables["models"]),
                f"{criterion} shows a model without its AUC")
        for row in tables["summary"] if criterion.startswith("rep") else ():
            same = architectures[row["model_a"]] == architectures[row["model_b"]]
            require(same == (criterion == "repeatability"),
                    f"{criterion} compares {row['model_a']} with {row['model_b']}")
        sentences.append(f"{criterion}: " + ", ".join(
            f"{name} {' / '.join(what)}" for name, what in sorted(decided.items())))
    for row in results["randomization"]["tables"]["stages"]:
        require(-1 <= row["ssim_mean"] <= 1, f"the mean SSIM of {row} is none")
    out = folder / "protocol"
    run("protocol", "trustworthiness", cubes, "-o", out)
    written = {path.stem for path in (out / "tables").glob("*.md")}
    require({"decisions", "models", *criteria[-3:]} <= written, f"tables {sorted(written)}")
    for name in ("*.md", "*.tex", "*.csv", "*.json"):
        require(len(list((out / "tables").glob(name))) == len(written), f"tables/{name}")
    figures = len(list((out / "figures").glob("*.png")))
    require(figures >= 3 and (out / "methods.md").stat().st_size > 1000, "figures or methods")
    return "; ".join(sentences) + f"; {len(written)} tables, {figures} figures"


def main() -> None:
    """Check every promise and print what was found."""
    checks: list[tuple[Callable[[], str], Path | None]] = [
        (average_mask_of_siim_acr, DATA / "siim_acr"), (phantoms, None),
        (real_radiographs, DATA / "radiographs")]
    for check, needed in checks:
        if needed is not None and not needed.is_dir():
            print(f"{check.__name__}: not run, there is no {needed}")
            continue
        start = time.perf_counter()
        outcome = check()
        print(f"{check.__name__}: {outcome} ({time.perf_counter() - start:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
