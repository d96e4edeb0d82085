"""What a training run leaves behind, and when a folder may be used for one."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from saltrust.cache.collection import Collection
from saltrust.cache.ownership import take
from saltrust.errors import DataError, UsageError
from saltrust.files import Advice, remove_leftovers, write_text, writing_error
from saltrust.models.checkpoint import WEIGHTS_FILE, card_path, read_card
from saltrust.study import Study
from saltrust.training.runs.kept_checkpoints import CHECKPOINTS_FOLDER
from saltrust.training.runs.resuming import STATE_FILE

LOCK_FILE = ".lock"
METRICS_FILE = "metrics.csv"
CONFIG_FILE = "config.json"
ENVIRONMENT_FILE = "environment.json"

_PACKAGES = ("saltrust", "torch", "torchvision", "safetensors", "numpy", "xarray",
             "segmentation-models-pytorch")


def check_run_folder(folder: Path, *, overwrite: bool, resume: bool) -> None:
    """Refuse a folder that holds a run, unless it was said what becomes of it.

    Parameters
    ----------
    folder : pathlib.Path
    overwrite, resume : bool
        What was said.

    Raises
    ------
    UsageError
        If ``folder`` is a file; or if ``overwrite`` was not said and it holds weights of which it
        is not known whether they are complete, and no state that ``resume`` could go on from; or,
        without ``resume``, those of a complete run or an unfinished run.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"run folder {folder} is a file; move it, or change `runs` of the study")
    if overwrite:
        return
    weights, unfinished = folder / WEIGHTS_FILE, (folder / STATE_FILE).exists()
    if weights.exists():
        try:
            card = read_card(weights)
        except DataError:
            card = None
        complete = card.get("complete") if card is not None else None
        unknown = complete is None and not (unfinished and resume)
        if unknown or (complete and not resume):
            leave = "" if resume else "--resume to leave it and train the others, "
            raise UsageError(f"run folder {folder} already holds a trained model: say {leave}"
                             "--overwrite to train it again, or change the name of the model or "
                             "`runs`")
    if unfinished and not resume:
        raise UsageError(f"run folder {folder} holds an unfinished run: say --resume to go on with "
                         "it or --overwrite to train from the beginning")


@contextlib.contextmanager
def own_run_folder(folder: Path) -> Iterator[None]:
    """Be the only one who trains into a folder; it is made where it does not exist.

    Raises
    ------
    UsageError
        If another process does; the sentence names it.
    DataError
        If the folder cannot be made.
    """
    made = [one for one in (folder, folder.parent) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise writing_error(error, folder, Advice(
            "repeat the command", "change `runs` of the study or its permissions")) from error
    owner = take(folder / LOCK_FILE, f"run folder {folder}", "change `runs` of the study")
    try:
        yield
    finally:
        owner.release()
        # Nothing may have come of it.
        with contextlib.suppress(OSError):
            for one in made:
                one.rmdir()


def start_run(folder: Path, study: Study, device: torch.device) -> None:
    """Empty a run folder of an earlier run and write what the new one starts from.

    Parameters
    ----------
    folder : pathlib.Path
    study : Study
        Kept as ``config.json``.
    device : torch.device
        Described in ``environment.json``.

    Raises
    ------
    DataError
        If the folder cannot be written.
    """
    weights = folder / WEIGHTS_FILE
    earlier = [folder / STATE_FILE, card_path(weights), weights,
               *(folder / name for name in (METRICS_FILE, CONFIG_FILE, ENVIRONMENT_FILE))]
    try:
        for path in earlier:
            path.unlink(missing_ok=True)
        remove_unfinished(folder)
    except OSError as error:
        raise DataError(f"run folder {folder} cannot be emptied: {error}") from error
    _write_json(folder / CONFIG_FILE, study.as_dict())
    _write_json(folder / ENVIRONMENT_FILE, environment(device))


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed process was writing."""
    for name in (STATE_FILE, WEIGHTS_FILE, card_path(Path(WEIGHTS_FILE)).name, METRICS_FILE,
                 CONFIG_FILE, ENVIRONMENT_FILE):
        remove_leftovers(folder, name)
    remove_leftovers(folder / CHECKPOINTS_FOLDER, "epoch*")


def labels_digest(collection: Collection) -> str:
    """SHA-256 of which images there are, of whom, in which split, with which labels."""
    index = collection.index
    content = [index[name].values.astype(str).tolist()
               for name in ("image", "finding", "split", "patient") if name in index.coords]
    content.append(index["label"].transpose("image", "finding").values.tolist())
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_text(path, text)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a model depends on."""
    by_package = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            by_package[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return by_package


def environment(device: torch.device) -> dict[str, Any]:
    """Machine, device and number of threads: what a repetition would have to match."""
    name = platform.processor() or platform.machine()
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    return {
        "versions": versions(),
        "platform": platform.platform(),
        "device": device.type,
        "device_name": name,
        "threads": torch.get_num_threads(),
        "cpu_count": os.cpu_count(),
    }


def write_metrics(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the table of epochs; None becomes an empty cell."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / METRICS_FILE, text.getvalue())
