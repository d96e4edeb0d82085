"""Recompute what is promised of generation on real radiographs; exit 1 where it is untrue.

Run by ``make evidence``.  The radiographs lie beside the checkout; without them there is nothing to
show.  Weights are made here, not trained: what is shown is that maps are made, and how.
"""

from __future__ import annotations

import csv
import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from promises import SALTRUST, require, run, tables
from torch import nn

import saltrust
from saltrust.cache.schema import CHEXLOCALIZE_FINDINGS
from saltrust.models.checkpoint import save
from saltrust.models.classifiers.registry import build
from saltrust.models.contract import preprocessing_of
from saltrust.models.preprocessing import to_input

ROOT = Path(__file__).resolve().parents[1]
RADIOGRAPHS = ROOT.parent / "shared" / "data" / "radiographs"

GRID = 96
#: All that CheXpert's models say; the study asks for ten of them, in another order.
CHEXPERT = ("No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity",
            "Lung Lesion", "Edema", "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax",
            "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices")
EIGHT = ("grad", "smoothgrad", "ig", "smooth_ig", "gradcam", "xrai", "guided_backprop",
         "guided_gradcam")

STUDY = """\
name = "radiographs"
seed = 5
grid = {grid}
explainers = [{explainers}]

[data]
kind = "manifest"
path = "{manifest}"

[generate]
split = "{split}"
batch_size = 3

{models}
"""
MODEL = """
[[models]]
name = "{name}"
architecture = "{architecture}"
checkpoint = "{checkpoint}"
"""


def write_manifest(folder: Path) -> Path:
    """All radiographs, two of each examination; six for maps, the others for long runs."""
    paths = sorted(RADIOGRAPHS.glob("*/*.png"))
    classes = sorted({path.parent.name for path in paths})
    # Of both classes in turn, so that the first six have both.
    by_class = [[path for path in paths if path.parent.name == name] for name in classes]
    mixed = [path for pair in zip(*(group[k::2] for group in by_class for k in (0, 1)),
                                  strict=False) for path in pair]
    manifest = folder / "radiographs.csv"
    with manifest.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "image", "patient", "study", "split", *CHEXLOCALIZE_FINDINGS])
        for number, path in enumerate(mixed):
            label = int(path.parent.name == "pneumothorax")
            # Neighbours in the list share class and examination, as two views would.
            examination = f"study-{number // 2}"
            labels = [label if name == "Pneumothorax" else "" for name in CHEXLOCALIZE_FINDINGS]
            writer.writerow([path, f"{path.parent.name}-{path.stem}", examination, examination,
                             "test" if number < 6 else "val" if number < 38 else "train",
                             *labels])
    return manifest


def write_weights(folder: Path, name: str, architecture: str, outputs: tuple[str, ...],
                  **card: Any) -> Path:
    """Untrained weights whose batch statistics are those of the radiographs."""
    torch.manual_seed(len(name))
    network = build(architecture, len(outputs))
    preprocessing = preprocessing_of(architecture, network)
    generator = np.random.default_rng(0)
    films = torch.from_numpy(generator.integers(0, 256, (4, GRID, GRID), dtype=np.uint8))
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
    network.train()
    with torch.no_grad():
        network(to_input(films, preprocessing))
    path = folder / f"{name}.safetensors"
    save(network, path, {"architecture": architecture, "findings": list(outputs), "seed": 0,
                         "grid": GRID, "arguments": {},
                         "preprocessing": preprocessing.as_dict(), **card})
    return path


def study(folder: Path, name: str, models: list[tuple[str, str, str]], explainers: list[str],
          split: str = "test", more: str = "") -> Path:
    """Write a study file on the manifest."""
    path = folder / f"{name}.toml"
    text = STUDY.format(
        grid=GRID, split=split, manifest="radiographs.csv", explainers=", ".join(explainers),
        models="".join(MODEL.format(name=n, architecture=a, checkpoint=c) for n, a, c in models))
    path.write_text(text + more)
    return path


def eight_explainers(folder: Path) -> str:
    """Eight explainers, ten findings, two models, real radiographs: one command."""
    explainers = [f'"{name}"' if name != "smooth_ig"
                  else '{name = "smooth_ig", parameters = {samples = 2, steps = 5}}'
                  for name in EIGHT]
    declared = study(folder, "eight", [("densenet", "densenet121", "densenet.safetensors"),
                                       ("inception", "inception_v3", "inception.safetensors")],
                     explainers)
    start = time.perf_counter()
    run("generate", declared, "-o", folder / "eight.zarr")
    seconds = time.perf_counter() - start
    cubes = saltrust.open_cubes(folder / "eight.zarr")
    status = cubes["saliency/status"].isel(image=slice(0, 6))
    require(status.sizes["explainer"] == 8, "eight explainers")
    require(status.sizes["finding"] == 10, "ten findings")
    require(status.sizes["model"] == 2, "two models")
    require(bool(status.isin([1, 2]).all()), "every map is made and finite")
    n_flat = int((status == 2).sum())
    maps = cubes["saliency/heatmap"].isel(image=slice(0, 6))
    require(bool(np.isfinite(maps.values).all()), "every map is finite")
    return f"{status.size} maps ({n_flat} flat) by one command in {seconds:.0f} s"


def outputs_by_name(folder: Path) -> str:
    """Of fourteen outputs the study's ten are taken by name, in the study's order."""
    cubes = saltrust.open_cubes(folder / "eight.zarr")
    pixels = cubes["radiograph/pixels"].isel(image=slice(0, 6)).values
    torch.manual_seed(0)
    network = build("densenet121", len(CHEXPERT))
    from saltrust.models.checkpoint import read_weights

    network.load_state_dict(read_weights(folder / "densenet.safetensors"))
    network.eval()
    with torch.no_grad():
        logits = network(to_input(pixels, preprocessing_of("densenet121", network))).numpy()
    names = [{"Airspace Opacity": "Lung Opacity"}.get(str(name), str(name))
             for name in cubes["finding"].values]
    expected = logits[:, [CHEXPERT.index(name) for name in names]]
    stored = cubes["prediction/logit"].isel(image=slice(0, 6)).sel(model="densenet")
    gap = float(np.abs(stored.transpose("image", "finding").values - expected).max())
    require(gap < 1e-4, f"logits belong to their findings (largest difference {gap:.1e})")
    return f"10 of {len(CHEXPERT)} outputs by name, largest difference of a logit {gap:.1e}"


def maxima_over_views(folder: Path) -> str:
    """An examination's probability is the maximum over its views."""
    cubes = saltrust.open_cubes(folder / "eight.zarr")
    told = tables("classification", folder / "eight.zarr", "--level", "study", "--model",
                  "densenet")
    probability = cubes["prediction/probability"].isel(image=slice(0, 6)).sel(
        model="densenet", finding="Pneumothorax").load()
    label = cubes["reference/label"].isel(image=slice(0, 6)).sel(finding="Pneumothorax").load()
    most = probability.groupby(xr.DataArray(
        cubes["study"].values[:6], dims="image", name="study")).max()
    truth = label.groupby(xr.DataArray(
        cubes["study"].values[:6], dims="image", name="study")).max()
    pairs = [(p, n) for p in most.values[truth.values == 1] for n in most.values[truth.values == 0]]
    expected = float(np.mean([(p > n) + 0.5 * (p == n) for p, n in pairs]))
    rows = [row for row in told["auc"]
            if row["finding"] == "Pneumothorax" and row["model"] == "densenet"]
    require(len(rows) == 1 and abs(rows[0]["estimate"] - expected) < 1e-12,
          f"AUC by examination {rows} is that of the maxima, {expected}")
    return f"AUC of {len(most)} examinations from maxima over 6 images: {expected:.3f}"


def kill_and_resume(folder: Path) -> str:
    """Killed in the middle and resumed, a job ends with the same bits."""
    declared = study(folder, "resumed", [("densenet", "densenet121", "densenet.safetensors")],
                     ['"grad"', '"gradcam"',
                      '{name = "smoothgrad", parameters = {samples = 4}}'], "val")
    run("generate", declared, "-o", folder / "whole.zarr")
    output, kills = folder / "killed.zarr", 0
    partial = folder / "killed.zarr.partial"
    moments = random.Random(3)
    while not output.exists():
        before = sum(len(names) for _, _, names in os.walk(partial))
        wanted = before + moments.randint(20, 60)
        job = subprocess.Popen(
            [*SALTRUST, "generate", str(declared), "-o", str(output), "--resume"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while job.poll() is None:
            if kills < 3 and sum(len(names) for _, _, names in os.walk(partial)) >= wanted:
                job.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.02)
        require(job.wait() in (0, -signal.SIGKILL), "the job ends or is killed")
    require(kills == 3, f"three kills in the middle, not {kills}")
    whole, killed = (saltrust.open_cubes(folder / name) for name in ("whole.zarr", "killed.zarr"))
    n_values = 0
    for group in ("radiograph", "reference", "prediction", "saliency"):
        for name in whole[group].data_vars:
            first, second = (np.ascontiguousarray(cubes[group][name].values)
                             for cubes in (whole, killed))
            same = (first.tobytes() == second.tobytes() if first.dtype.kind != "T"
                    else bool((first == second).all()))
            require(same, f"{group}/{name} has the same bits")
            n_values += first.size
    return f"{kills} kills, {n_values:,} values the same to the last bit"


def memory_is_flat(folder: Path) -> str:
    """Twice the images do not take more memory."""
    peaks = []
    for split in ("val", "train"):
        declared = study(folder, f"memory-{split}",
                         [("densenet", "densenet121", "densenet.safetensors")],
                         ['"grad"', '"gradcam"'], split)
        job = subprocess.Popen([*SALTRUST, "generate", str(declared), "-o",
                                str(folder / f"memory-{split}.zarr")],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(job.pid, 0)
        require(status == 0, f"generate on split {split}")
        peaks.append(usage.ru_maxrss / 1024)
    require(peaks[1] < 1.1 * peaks[0], f"peak memory {peaks} MiB stays flat")
    return f"peak memory {peaks[0]:.0f} MiB for 32 images, {peaks[1]:.0f} MiB for 162"


def three_stages(folder: Path) -> str:
    """Cascading randomization in three stages, and what the analysis makes of it."""
    more = ('\n[randomization]\nreplicates = 2\nimages = 6\n'
            'stages = ["classifier", "features.denseblock3"]\n')
    declared = study(folder, "random", [("densenet", "densenet121", "densenet.safetensors")],
                     ['"grad"', '"gradcam"'], "test", more)
    run("generate", declared, "-o", folder / "random.zarr")
    cubes = saltrust.open_cubes(folder / "random.zarr")
    stages = [str(name) for name in cubes["randomization/stage"].values]
    require(len(stages) == 4 and stages[0] == "trained", f"trained and three stages, not {stages}")
    told = tables("randomization", folder / "random.zarr")
    rows = next(rows for rows in told.values() if rows and "stage" in rows[0])
    return f"stages {', '.join(stages)}; {len(rows)} rows of SSIM by stage"


def refused_at_once(folder: Path) -> str:
    """What does not fit is refused with a sentence, before anything is computed or written."""
    write_weights(folder, "few", "densenet121", CHEXPERT[:4])
    write_weights(folder, "range", "phantom_net", CHEXPERT,
                  preprocessing={"mean": [0.5], "std": [0.25], "channels": 1,
                                 "input_range": [0, 255]})
    cases = {
        "layer": (("densenet", "densenet121", "densenet.safetensors"),
                  '{name = "gradcam", parameters = {layer = "features.denseblok4"}}', 2,
                  "has no layer 'features.denseblok4'"),
        "weights": (("other", "resnet18", "densenet.safetensors"), '"grad"', 2,
                    "its weights are of 'densenet121'"),
        "outputs": (("few", "densenet121", "few.safetensors"), '"grad"', 1,
                    "does not predict"),
        "range": (("range", "phantom_net", "range.safetensors"), '"grad"', 1, "input_range"),
    }
    for name, (model, explainer, status, words) in cases.items():
        declared = study(folder, f"wrong-{name}", [model], [explainer])
        start = time.perf_counter()
        done = run("generate", declared, "-o", folder / "wrong.zarr", status=status)
        seconds = time.perf_counter() - start
        require(words in done.stderr and "Traceback" not in done.stderr,
              f"{name}: {done.stderr.strip()!r} says {words!r}")
        require(not (folder / "wrong.zarr.partial").exists(), f"{name}: nothing is written")
        require(seconds < 60, f"{name}: refused after {seconds:.0f} s")
    return f"{len(cases)} refusals: {', '.join(cases)}"


def main() -> None:
    """Run every check in order; each prints what it saw."""
    if not RADIOGRAPHS.is_dir():
        print("no real radiographs beside the checkout: nothing to show")
        return
    os.environ["OMP_WAIT_POLICY"] = "passive"
    steps: tuple[Callable[[Path], str], ...] = (
        eight_explainers, outputs_by_name, maxima_over_views, kill_and_resume, memory_is_flat,
        three_stages, refused_at_once)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_manifest(folder)
        write_weights(folder, "densenet", "densenet121", CHEXPERT)
        write_weights(folder, "inception", "inception_v3", CHEXLOCALIZE_FINDINGS)
        for step in steps:
            print(f"{step.__name__}: {step(folder)}", flush=True)


if __name__ == "__main__":
    main()
