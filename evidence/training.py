"""Recompute what docs/training.md promises of training classifiers; exit 1 where it is untrue.

Run by ``make evidence``; everything goes through the command line, on the CPU.  Seeds, Ctrl-C,
kill -9 and the thirty checkpoints of protocol S are tried on phantoms; with real radiographs
beside the checkout, the study that docs/training.md prints is run on them.
"""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import signal
import subprocess
import tempfile
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from promises import SALTRUST, require, run, tables
from safetensors.torch import load_file

import saltrust

ROOT = Path(__file__).resolve().parents[1]
RADIOGRAPHS = ROOT.parent / "shared" / "data" / "radiographs"

FINDINGS = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")

STUDY = f"""\
name = "training"
seed = 3
grid = 64
explainers = ["gradcam"]

[data]
kind = "phantom"
patients = 200
size = 64
findings = {list(FINDINGS)}
split_fractions = [0.5, 0.25, 0.25]

[train]
batch_size = 4
learning_rate = 2e-3

[[models]]
name = "net"
architecture = "phantom_net"
"""
ENSEMBLE = """
[[ensembles]]
name = "ensemble"
architecture = "phantom_net"
checkpoints = ["runs/net/checkpoints/*.safetensors"]
"""


def write_study(folder: Path, text: str = STUDY) -> Path:
    """A study file in a folder of its own."""
    folder.mkdir()
    study = folder / "study.toml"
    study.write_text(text)
    return study


def weights(study: Path, name: str = "net") -> dict[str, torch.Tensor]:
    """The best checkpoint of a run."""
    return load_file(study.parent / "runs" / name / "model.safetensors")


def card(study: Path, name: str = "net") -> dict[str, Any]:
    """What a run says of itself."""
    facts: dict[str, Any] = json.loads(
        (study.parent / "runs" / name / "model.json").read_text())
    return facts


def rows(study: Path) -> list[dict[str, str]]:
    """The metrics of a run without the seconds; none before the first validation."""
    path = study.parent / "runs" / "net" / "metrics.csv"
    if not path.exists():
        return []
    with path.open() as stream:
        return [{key: value for key, value in row.items() if key != "seconds"}
                for row in csv.DictReader(stream)]


def differing(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> int:
    """How many tensors of two networks are not equal to the last bit."""
    require(one.keys() == other.keys(), "two runs of one study have different layers")
    return sum(not torch.equal(one[name], other[name]) for name in one)


def seeds_decide(folder: Path) -> str:
    """One seed twice gives the same bits; two seeds do not."""
    studies = [write_study(folder / name) for name in ("once", "again")]
    for study in studies:
        run("-q", "train", study, "--replicates", 2)
    first, again = studies
    for name in ("net", "net-2"):
        require(differing(weights(first, name), weights(again, name)) == 0,
                f"{name} trained twice from one seed is not the same")
    apart = differing(weights(first, "net"), weights(first, "net-2"))
    total = len(weights(first))
    learned = sum(name.endswith(("weight", "bias")) for name in weights(first))
    require(apart >= learned, f"only {apart} of {total} tensors differ between two seeds")
    seeds = [card(first, name)["seed"] for name in ("net", "net-2")]
    return (f"{total} tensors equal to the last bit, twice; seeds {seeds[0]} and {seeds[1]} "
            f"differ in {apart}")


def thirty_checkpoints(folder: Path) -> str:
    """``--preset saporta``: the ten best of each of three epochs become one model."""
    study = write_study(folder / "thirty", STUDY + ENSEMBLE)
    run("-q", "train", study, "--preset", "saporta")
    settings, metrics = card(study)["train"], rows(study)
    require(tuple(settings["selection_findings"]) == FINDINGS and settings["keep"] == 10,
            "the preset does not keep ten by the mean AUC of the five findings")
    files = sorted((study.parent / "runs/net/checkpoints").glob("*.safetensors"))
    require(len(files) == 30, f"{len(files)} checkpoints are kept, not 30")
    for epoch in ("1", "2", "3"):
        of_epoch = [row for row in metrics if row["epoch"] == epoch]
        score = {row["step"]: sum(float(row[f"val_auc {name}"]) for name in FINDINGS)
                 for row in of_epoch}
        stored = {json.loads(path.with_suffix(".json").read_text())["step"] for path in files
                  if path.name.startswith(f"epoch{epoch}")}
        worst = min(score[str(step)] for step in stored)
        passed_over = [value for step, value in score.items() if int(step) not in stored]
        require(len(of_epoch) == 20 and len(stored) == 10 and max(passed_over) <= worst + 1e-9,
                f"epoch {epoch} does not keep the ten best of {len(of_epoch)}")
    cubes = study.with_name("study.zarr")
    run("-q", "generate", study, "-o", cubes)
    tree = saltrust.open_cubes(cubes)
    models = tree["prediction/probability"]["model"]
    require(models.values.tolist() == ["net", "ensemble"], "the ensemble is not stored")
    auc = auc_of(cubes)
    return (f"20 checkpoints an epoch, 30 kept; macro AUC on {auc['net'][3]} test images: best "
            f"checkpoint {shown(auc['net'])}, mean of 30 {shown(auc['ensemble'])}")


def auc_of(cubes: Path) -> dict[str, tuple[float, float, float, int]]:
    """Macro AUC of every model, its interval and the number of images."""
    table = tables("classification", cubes, "--split", "test")["auc"]
    return {row["model"]: (row["estimate"], row["conf_low"], row["conf_high"], row["n"])
            for row in table if row["finding"] == "macro average"}


def shown(auc: tuple[float, float, float, int]) -> str:
    """An estimate with its interval."""
    return f"{auc[0]:.3f} [{auc[1]:.3f}, {auc[2]:.3f}]"


def long_study(folder: Path, epochs: int) -> Path:
    """A run that is still going when it is cut short."""
    return write_study(folder, STUDY.replace(
        "[train]", f"[train]\nepochs = {epochs}\npatience = {epochs}"))


def cut_short(study: Path, number: signal.Signals) -> subprocess.Popen[str]:
    """Train, and send a signal in the epoch after the fifth."""
    process = subprocess.Popen([*SALTRUST, "train", str(study)], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        while len(rows(study)) < 5:
            require(process.poll() is None, "a run that was to be cut short ended by itself")
            time.sleep(0.02)
        process.send_signal(number)
        process.wait(timeout=600)
    finally:
        process.kill()
    return process


def control_c(folder: Path) -> str:
    """Ctrl-C leaves a checkpoint that ``saltrust generate`` takes."""
    study = long_study(folder / "interrupted", 1000)
    process = cut_short(study, signal.SIGINT)
    message = process.stderr.read() if process.stderr else ""
    require(process.returncode not in (0, -signal.SIGINT) and "Traceback" not in message,
            f"Ctrl-C ended in status {process.returncode}: {message}")
    require("is kept" in message and "--resume" in message,
            f"Ctrl-C does not say what is left: {message}")
    facts = card(study)
    require(facts["complete"] is False and facts["best_epoch"] >= 1, "the card is not of a best")
    cubes = study.with_name("study.zarr")
    warned = run("generate", study, "-o", cubes).stderr
    require("cut short" in warned, f"generate does not warn of an unfinished run: {warned}")
    auc = auc_of(cubes)["net"]
    return (f"after {len(rows(study))} epochs status {process.returncode}, "
            f"best of epoch {facts['best_epoch']}; generated, macro AUC {shown(auc)}")


def kill_and_resume(folder: Path) -> str:
    """Killed with -9 and resumed, a run has the weights of an undisturbed run, to the last bit."""
    undisturbed = long_study(folder / "undisturbed", 12)
    run("-q", "train", undisturbed)
    killed = long_study(folder / "killed", 12)
    process = cut_short(killed, signal.SIGKILL)
    require(process.returncode == -signal.SIGKILL, "the run was over before it was killed")
    left = len(rows(killed))
    run("-q", "train", killed, "--resume")
    require(differing(weights(undisturbed), weights(killed)) == 0,
            "a killed run that went on has other weights")
    require(rows(undisturbed) == rows(killed), "a killed run that went on has other metrics")
    after = card(killed)["resumed_after_epochs"]
    require(after != [] and after[0] < 12, "the run did not go on from an epoch")
    run("train", killed, "--resume")
    return f"killed with {left} epochs in metrics.csv, resumed after {after}; same bits"


def progress_and_folder(folder: Path) -> str:
    """A terminal sees loss, AUC and time left; the folder has all that a reader needs."""
    study = long_study(folder / "watched", 4)
    terminal, end = pty.openpty()
    termios.tcsetwinsize(end, (24, 120))
    process = subprocess.Popen([*SALTRUST, "train", str(study)], stderr=end,
                               stdout=subprocess.DEVNULL)
    os.close(end)
    text = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # The other end is closed.
            break
        if not piece:
            break
        text += piece
    os.close(terminal)
    require(process.wait() == 0, "training before a terminal failed")
    lines = re.split(r"[\r\n]+", text.decode(errors="replace"))
    line = next((line for line in lines if re.search(
        r"net:.*\d+/\d+ \[\d\d:\d\d<\d\d:\d\d.*epoch \d, loss \d\.\d+, val AUC 0\.\d+", line)), "")
    require(bool(line), f"no line with loss, AUC and time left, only: {text[-300:]!r}")
    run_folder = study.parent / "runs/net"
    names = {path.name for path in run_folder.iterdir()}
    wanted = {"config.json", "metrics.csv", "model.safetensors", "model.json", "environment.json"}
    require(names == wanted, f"the run folder holds {sorted(names)}")
    require({"train_loss", "val_loss", "val_auc", "learning_rate"} <= rows(study)[0].keys(),
            "metrics.csv lacks a column")
    environment = json.loads((run_folder / "environment.json").read_text())
    require({"versions", "platform", "device", "threads"} <= environment.keys(),
            "environment.json lacks an entry")
    print(f"  {re.sub(chr(27) + r'[^m]*[mA]', '', line).strip()}")
    return ", ".join(sorted(names))


def real_radiographs(folder: Path) -> str:
    """The study that docs/training.md prints, on 100 + 100 radiographs."""
    lines = (ROOT / "docs" / "training.md").read_text().splitlines()
    start = lines.index("    # radiographs.toml")
    text = []
    for line in lines[start:]:
        if line and not line.startswith("    "):
            break
        text.append(line[4:])
    study = write_study(folder / "real", "\n".join(text).replace('"radiographs"  #',
                                                                 f'"{RADIOGRAPHS}"  #'))
    run("-q", "train", study)
    cubes = study.with_name("study.zarr")
    run("-q", "generate", study, "-o", cubes)
    print("\n".join(f"  {line}" for line in run(
        "analyze", "classification", cubes, "--split", "test").stdout.splitlines()[2:7]))
    auc = auc_of(cubes)["densenet"]
    require(auc[1] > 0.5, f"the interval of the AUC holds 0.5: {shown(auc)}")
    return f"macro AUC of {auc[3]} held-out radiographs {shown(auc)}"


def main() -> None:
    """Check every promise and print what was found."""
    # What a shell starts in the background ignores Ctrl-C, and so would all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    checks: list[Callable[[Path], str]] = [
        seeds_decide, thirty_checkpoints, control_c, kill_and_resume, progress_and_folder]
    if RADIOGRAPHS.is_dir():
        checks.append(real_radiographs)
    else:
        print(f"real_radiographs: not run, there is no {RADIOGRAPHS}")
    with tempfile.TemporaryDirectory() as folder:
        for check in checks:
            print(f"{check.__name__}: {check(Path(folder))}", flush=True)


if __name__ == "__main__":
    main()
