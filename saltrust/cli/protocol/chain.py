"""A protocol from its study file: train, generate, tune on validation images, in one folder.

Nothing is done twice.  What a step left is recognised by itself: a run folder by the card it
began with, cubes by their identity, tables by the stores they are of.  ``chain.json`` says
which study and options the folder is of, so that a change is named before any step is begun.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saltrust.cli.generation import generate_cubes
from saltrust.cli.output import say
from saltrust.cli.signals import goes_on_when_repeated
from saltrust.cli.threads import wait_passively
from saltrust.cli.training import (
    Launch,
    open_training_data,
    resumed_or_anew,
    splits_of,
    train_models,
)
from saltrust.errors import NothingToDo, UsageError
from saltrust.files import Advice, write_text
from saltrust.printable import printable_json
from saltrust.reading import reading

if TYPE_CHECKING:
    from saltrust.analysis.result import Result
    from saltrust.cache.collection import Collection
    from saltrust.study import Study
    from saltrust.training_settings import TrainedEntry

RECORD, CUBES, VALIDATION, THRESHOLDS = "chain.json", "study.zarr", "val.zarr", "thresholds.csv"

_ADVICE = Advice("repeat the command", "choose another folder", UsageError)
#: What has no say in any number; the device is part of what cubes are compared by themselves.
_FREE_OPTIONS = ("workers", "scheduler", "keep")
_FREE_KEYS = ("generate.device", "runs")
#: Bytes that tell what a file is.
_HEAD = 4096

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What a protocol's command line asks of a study file.

    Attributes
    ----------
    study_file, folder : pathlib.Path
    protocol : str
        Name of the command.
    options : mapping
        Of its tables.
    launch : Launch
        ``overwrite``: whether what was made from something else may be replaced.
    progress : bool
    command_line : str
    """

    study_file: Path
    folder: Path
    protocol: str
    options: Mapping[str, Any]
    launch: Launch
    progress: bool
    command_line: str


def is_study_file(path: Path) -> bool:
    """Whether a path is of a study file and not of cubes, by what is there.

    Cubes are a folder, and what lies in one file is text; where nothing is, the name decides.
    """
    with reading(str(path), "give cubes or a study file that can be read", UsageError):
        if not path.is_file():
            return not path.is_dir() and path.suffix.lower() == ".toml"
        if zipfile.is_zipfile(path):
            return False
        with path.open("rb") as file:
            return b"\0" not in file.read(_HEAD)


def make_cubes(request: Request, *, tunes: bool) -> list[Path]:
    """Bring a study to its cubes: train what is not trained, and generate.

    Parameters
    ----------
    request : Request
    tunes : bool
        Whether cubes of the validation images are wanted too.

    Returns
    -------
    list of pathlib.Path
        Of the images that are analysed, and of those to tune on; the same where the study
        explains all splits, and only the first where there are none to tune on.

    Raises
    ------
    NothingToDo
        If the folder holds all of it, tables too.
    UsageError
        If it is of another study, protocol or options (what differs is named), or holds
        something else.
    DataError
        As the steps do.
    """
    wait_passively()
    from saltrust.study_file import read_study

    study = read_study(request.study_file)
    record = _begin(request, study)
    with goes_on_when_repeated(f"what is finished stays in {request.folder}"):
        explained = _open(request, study)
        _train(request, study, explained)
        stores = [(CUBES, study)]
        if tunes and (validation := _validation(study, explained)) is not None:
            stores.append((VALIDATION, validation) if validation is not study
                          else (CUBES, study))
        paths = [request.folder / name for name, _ in stores]
        for path, (_, part) in zip(paths, stores, strict=True):
            _generate(request, part, explained, path)
    if not request.launch.overwrite and _tables_of(record, request.folder) == _identities(paths):
        raise NothingToDo(f"{request.folder} holds {request.protocol} of this study already, "
                          "tables and all; say --overwrite to make the tables again")
    return paths


def keep_thresholds(folder: Path, tuned: Result) -> Path:
    """Write what was tuned on the validation images beside the cubes; the file."""
    from saltrust.analysis.localization.thresholds import save_thresholds

    path = folder / THRESHOLDS
    save_thresholds(tuned, path)
    return path


def record_tables(folder: Path, stores: Sequence[Path]) -> None:
    """Note that tables of these stores have been written, last of all."""
    record = _read_record(folder) or {}
    files = sorted(path.relative_to(folder).as_posix() for room in ("figures", "results", "tables")
                   for path in (folder / room).glob("*"))
    _write_record(folder, {**record, "tables_of": _identities(stores),
                           "files": ["methods.md", *files]})


def _begin(request: Request, study: Study) -> dict[str, Any]:
    """Compare the folder with what is asked, and note what it is of."""
    from saltrust.analysis.result import plain

    asked: dict[str, Any] = json.loads(json.dumps(plain({
        "protocol": request.protocol, "study": _compared(study.as_dict()),
        "options": {key: str(value) if isinstance(value, Path) else value
                    for key, value in request.options.items() if key not in _FREE_OPTIONS}})))
    before = _read_record(request.folder)
    if before is None:
        folder = request.folder
        if folder.exists() and any(folder.iterdir()) and not request.launch.overwrite:
            raise UsageError(f"{folder} exists and is not empty; say --overwrite to "
                             "replace its files, or choose another folder")
        _write_record(request.folder, asked)
        return asked
    differing = _differences(before, asked)
    if differing and not request.launch.overwrite:
        more = f"; and {len(differing) - 4} more" if len(differing) > 4 else ""
        raise UsageError(f"{request.folder} was begun with something else: "
                         f"{'; '.join(differing[:4])}{more}; choose another folder, restore what "
                         "has changed, or say --overwrite to make anew what depends on it")
    if differing:
        _write_record(request.folder, asked)
        return asked
    return before


def _compared(study: dict[str, Any]) -> dict[str, Any]:
    for key in _FREE_KEYS:
        table, _, name = key.rpartition(".")
        (study[table] if table else study).pop(name)
    return study


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two records, in words, one entry a key."""
    if before.get("protocol") != now.get("protocol"):
        # Whose options are others, too.
        return [f"the protocol was {before.get('protocol')} and is {now.get('protocol')}"]
    old, new = ({key: value for table in ("study", "options")
                 for key, value in _flat(record.get(table), "" if table == "study" else table)}
                for record in (before, now))
    differing = []
    for key in sorted(old.keys() | new.keys()):
        values = [json.dumps(side[key], ensure_ascii=False) if key in side else "not stated"
                  for side in (old, new)]
        if values[0] != values[1]:
            differing.append(f"{key} differs" if max(map(len, values)) > 60
                             else f"{key} was {values[0]} and is {values[1]}")
    return differing


def _flat(value: Any, name: str) -> list[tuple[str, Any]]:
    """Leaves of nested tables with their dotted names; entries of a list by their own name."""
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        value = {str(item.get("name", place)): item for place, item in enumerate(value)}
    if not isinstance(value, dict) or not value:
        return [(name, value)]
    return [leaf for key, item in value.items()
            for leaf in _flat(item, f"{name}.{key}" if name else key)]


def _read_record(folder: Path) -> dict[str, Any] | None:
    path = folder / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read ({error}); remove it and say --overwrite, or "
                         "choose another folder") from None
    if not isinstance(record, dict):
        raise UsageError(f"{path} does not say which study {folder} is of; remove it and say "
                         "--overwrite, or choose another folder")
    return record


def _write_record(folder: Path, record: Mapping[str, Any]) -> None:
    text = printable_json(json.dumps(record, indent=2, ensure_ascii=False))
    write_text(folder / RECORD, text + "\n", _ADVICE)


def _tables_of(record: Mapping[str, Any], folder: Path) -> Any:
    """Of which stores there are tables; None where one may have been lost."""
    files = record.get("files")
    whole = isinstance(files, list) and all((folder / str(name)).is_file() for name in files)
    return record.get("tables_of") if whole else None


def _identities(stores: Sequence[Path]) -> dict[str, str]:
    """What tells the content of each store, and the version whose tables are made of it."""
    from saltrust import __version__
    from saltrust.cache.store import open_cubes

    # Opened, so that a store that has been damaged since is not taken for what it was.
    return {"saltrust": __version__,
            **{path.name: str(open_cubes(path).attrs.get("run_id")) for path in stores}}


def _open(request: Request, study: Study) -> Collection:
    from saltrust.datasets.registry import open_collection

    return open_collection(study, request.launch.on_error)


def _train(request: Request, study: Study, explained: Collection) -> None:
    """Train every entry without a checkpoint that no finished run is there for."""
    entries = [entry for entry in study.trained if not getattr(entry, "checkpoint", "")]
    collection = open_training_data(study, request.launch.on_error, explained)
    split = splits_of(collection)
    if not split.count("train"):
        # Trained elsewhere, on data that this study does not name.
        entries = [entry for entry in entries if not _is_trained(study, entry)]
    if not entries:
        return
    if waiting := [entry.name for entry in entries if not _is_trained(study, entry)]:
        _announce(request, f"training {len(waiting)} of {_count(len(study.trained), 'model')} "
                  f"({', '.join(waiting)}) on {_count(split.count('train'), 'image')}, "
                  f"{split.count('val'):,} to validate")
    train_models(collection, study, [entry.name for entry in entries],
                 dataclasses.replace(request.launch, resume=True), progress=request.progress,
                 tell=partial(_announce, request))


def _is_trained(study: Study, entry: TrainedEntry) -> bool:
    from saltrust.errors import SaltrustError
    from saltrust.models.checkpoint import WEIGHTS_FILE, read_card

    weights = study.run_folder(entry) / WEIGHTS_FILE
    try:
        return weights.exists() and bool((read_card(weights) or {}).get("complete"))
    except SaltrustError:
        return False


def _validation(study: Study, explained: Collection) -> Study | None:
    """The study whose cubes are tuned on; None, and a word on why, where there are none."""
    images = explained.index["image"].values.tolist()
    names = [str(name) for name, split in zip(images, splits_of(explained), strict=False)
             if split == "val"]
    if study.generate.split in ("val", "none", "train"):
        why = f"[generate] explains the images of split {study.generate.split!r}"
    elif not names:
        why = "the data set has no images of split 'val'"
    elif not any(explained.annotations(name) for name in names):
        why = "nobody has annotated an image of split 'val'"
    elif study.generate.split == "all":
        return study
    else:
        # Nothing else than maps and probabilities is tuned on.
        generate = dataclasses.replace(study.generate, split="val")
        return dataclasses.replace(study, generate=generate, localizers=(),
                                   randomization=type(study.randomization)(),
                                   faithfulness=type(study.faithfulness)(),
                                   perturbation=type(study.perturbation)())
    _log.warning("no cut-off is tuned, since %s; --cutoff states one", why)
    return None


def _generate(request: Request, study: Study, collection: Collection, path: Path) -> None:
    from saltrust.generate.job import Overrides

    index, split = collection.index, study.generate.split
    n_images = index.sizes["image"] if split == "all" else splits_of(collection).count(split)
    if not path.exists():
        parts = ((index.sizes["finding"], "finding"), (len(study.explainers), "explainer"),
                 (len(study.models) + len(study.ensembles), "model"),
                 (len(study.localizers), "localizer"))
        _announce(request, f"generating {path}: {_count(n_images, 'image')} of split {split!r}, "
                           f"{', '.join(_count(*part) for part in parts if part[0])}")
    job = partial(generate_cubes, collection, study, path, progress=request.progress,
                  overrides=Overrides(request.launch.device, on_error=request.launch.on_error),
                  command_line=request.command_line)
    try:
        resumed_or_anew(job, overwrite=request.launch.overwrite)
    except NothingToDo:
        return


def _announce(request: Request, text: str) -> None:
    """Say what is begun or done, unless all is to be quiet."""
    if request.progress:
        say(text, err=True)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
