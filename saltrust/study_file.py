"""Reading a study file: TOML made into a :class:`saltrust.study.Study`, and what has to hold."""

from __future__ import annotations

import dataclasses
import re
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from saltrust.cache.schema import FAITHFULNESS_METRICS, PERTURBATIONS
from saltrust.errors import UsageError, nearest
from saltrust.generation_settings import RandomizationSpec
from saltrust.reading import MOST_NAME_BYTES, check_path, read_text, reading, reason_of, shown
from saltrust.study import LocalizerSpec, ModelSpec, Study
from saltrust.typed_table import MOST_ENTRIES, build

#: A study of hundreds of models has some 100 kB; tomllib holds a hundred times what it reads.
MOST_BYTES = 4 * 2**20

#: Of the images of one batch: 64 GB in float32 and one channel, before any layer of a network.
MOST_BATCH_VALUES = 2**34

_Entry = TypeVar("_Entry", ModelSpec, LocalizerSpec)


def read_study(path: str | Path, *, replicates: int | None = None) -> Study:
    """Read and check a study file.

    Parameters
    ----------
    path : path
    replicates : int, optional
        Of every entry that states none.

    Returns
    -------
    Study
        An entry with replicates has become as many, each with ``replicates = 1``.

    Raises
    ------
    UsageError
        If the file is missing, is not TOML, has an unknown key (the nearest valid one is
        named), a value of the wrong type, or one out of range.
    """
    path = Path(path)
    with reading(f"study file {path}", "correct it, or take the one that `saltrust demo` writes "
                 "to start from", UsageError):
        try:
            # Letters and accents in one piece, as in tables; paths are looked for in both forms.
            text = unicodedata.normalize("NFC", read_text(path, MOST_BYTES))
            content = tomllib.loads(text)
        except FileNotFoundError:
            raise UsageError(f"study file {path} does not exist: `saltrust demo` writes one to "
                             "start from") from None
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"study file {path} is not valid TOML: {reason_of(error)}"
                             f"{_toml_hint(text, error)}") from None
        return _checked(content, path, replicates)


def _toml_hint(text: str, error: tomllib.TOMLDecodeError) -> str:
    """What the line of an error shows to be the cause, where it is a common one."""
    at = re.search(r"at line (\d+)", str(error))
    lines = text.split("\n")
    line = lines[int(at[1]) - 1] if at and int(at[1]) <= len(lines) else text[-200:]
    if re.search("[\u2018-\u201f\u00ab\u00bb]", line):
        return "; it has the curly quotes of a word processor, take straight ones"
    if re.search(r'"[^"]*\\', line):
        return ("; backslashes mean something between double quotes: write paths with /, or "
                "between single quotes")
    if re.search(r"=\s*(True|False|None|yes|no)\b", line):
        return "; TOML writes true and false in small letters and leaves out what is not set"
    if re.search(r"[\u00a0\u200b\ufeff\u2028]", line):
        return "; it holds a blank of another kind, as comes with copying: type it again"
    if re.search(r"=\s*\d+,\d", line):
        return "; numbers have a decimal point"
    if re.search(r"=\s*[A-Za-z./~]", line):
        return "; texts and paths stand between quotes"
    return ""


def _checked(content: dict[str, Any], path: Path, replicates: int | None) -> Study:
    """The study that a file declares, all that has to hold looked at."""
    # [study] is the natural place for name, seed, grid and runs; it is the top level here.
    head = content.pop("study", {})
    if not isinstance(head, dict):
        raise UsageError(f"{path}: study must be a table, [study]")
    for key in head:
        if key in content:
            raise UsageError(f"{path}: {key} stands both in [study] and outside it; keep one")
    study = build(Study, {**content, **head}, str(path), "")
    study = dataclasses.replace(study, folder=path.resolve().parent,
                                stated=tuple(content.get("train", {})))
    study = dataclasses.replace(
        study, models=_replicated(study.models, replicates, path),
        localizers=_replicated(study.localizers, replicates, path))
    _check_grid(study, path)
    _check_names(study, path)
    _check_paths(study, path)
    _check_localizers(study, path)
    _check_training(study, path)
    _check_batches(study, path)
    _check_ensembles(study, path)
    _check_randomization(study, path)
    _check_faithfulness(study, path, asked="faithfulness" in content)
    _check_perturbation(study, path, asked="perturbation" in content)
    return study


def _replicated(entries: tuple[_Entry, ...], count: int | None,
                path: Path) -> tuple[_Entry, ...]:
    """Write every replicate out, as if the file had named it."""
    asked = sum(entry.replicates if entry.replicates > 1 else count or 1 for entry in entries)
    if asked > MOST_ENTRIES:
        raise UsageError(f"{path}: with its replicates the study asks for {asked:,} models, of "
                         f"which it may have {MOST_ENTRIES:,}; ask for fewer replicates")
    result: list[_Entry] = []
    made: list[_Entry] = []
    for entry in entries:
        copies = entry.replicates if entry.replicates > 1 else count or 1
        if copies > 1 and entry.checkpoint:
            if entry.replicates > 1:
                raise UsageError(f"{path}: {entry.name!r} has both `replicates` and a `checkpoint`,"
                                 " which is of one model; train replicates, or name a model for "
                                 "each checkpoint")
            copies = 1
        result.append(dataclasses.replace(entry, replicates=1))
        for k in range(1, copies):
            made.append(dataclasses.replace(entry, name=f"{entry.name}-{k + 1}",
                                            seed=entry.seed + k, replicates=1))
            result.append(made[-1])
    by_seed: dict[int, list[_Entry]] = {}
    for other in result:
        by_seed.setdefault(other.seed, []).append(other)
    for replicate in made:
        for other in by_seed[replicate.seed]:
            # Those that differ in more than the seed, as in what they are guided by, may share
            # it, so that they can be compared in pairs.
            if other.name != replicate.name and dataclasses.replace(
                    other, name=replicate.name, checkpoint="") == replicate:
                raise UsageError(f"{path}: replicate {replicate.name!r} has seed {replicate.seed}, "
                                 f"as {other.name!r} with the same settings; give their entries "
                                 "seeds that lie further apart")
    return tuple(result)


def _check_grid(study: Study, path: Path) -> None:
    if not isinstance(study.grid, int) and len(study.grid) != 2:
        raise UsageError(f"{path}: grid must be one number, or two for [height, width], not "
                         f"{list(study.grid)}")


def _check_batches(study: Study, path: Path) -> None:
    """Refuse batches that no machine holds before one tries."""
    height, width = study.size
    for where, count in [("[generate]", study.generate.images_at_once),
                         *((f"the training of {entry.name!r}",
                            study.training_of(entry).batch_size) for entry in study.trained)]:
        if count * height * width > MOST_BATCH_VALUES:
            raise UsageError(f"{path}: batch_size = {count} of {where} on a grid of {height} x "
                             f"{width} asks for {count * height * width:,} values at once, more "
                             f"than the {MOST_BATCH_VALUES:,} that a study may; take less")


def _check_names(study: Study, path: Path) -> None:
    for what, names in (
        ("models", [model.name for model in study.models]),
        ("localizers", [localizer.name for localizer in study.localizers]),
        ("ensembles", [ensemble.name for ensemble in study.ensembles]),
        ("explainers", [explainer.stored_name for explainer in study.explainers]),
    ):
        if "" in names:
            raise UsageError(f"{path}: every entry of [[{what}]] needs a name")
        if twice := _repeated(names):
            way = "; give one of them another `label`" if what == "explainers" else ""
            raise UsageError(f"{path}: [[{what}]] names {shown(twice)} twice; names must differ"
                             f"{way}")
    if any(not explainer.name for explainer in study.explainers):
        raise UsageError(f"{path}: every entry of [[explainers]] needs a name")
    trained: tuple[ModelSpec | LocalizerSpec, ...] = (*study.models, *study.localizers)
    for model in trained:
        if Path(model.name).name != model.name or model.name in {".", ".."}:
            raise UsageError(f"{path}: model name {shown(model.name)} must do as a folder name; "
                             "leave out slashes")
        if "\0" in model.name or len(model.name.encode()) > MOST_NAME_BYTES:
            raise UsageError(f"{path}: model name {shown(model.name)} must do as a folder name; "
                             "shorten it and leave out what cannot be printed")
    for table, data in (("data", study.data), ("training_data", study.training_data)):
        fractions = data.split_fractions
        if fractions and (len(fractions) != 3 or abs(sum(fractions) - 1) > 1e-9):
            raise UsageError(f"{path}: split_fractions of [{table}] must be three numbers (train, "
                             f"val, test) that add up to 1, not {list(fractions)}")


def _check_paths(study: Study, path: Path) -> None:
    """Refuse paths that no file system has, before hours of work ask for them."""
    stated = {"runs": study.runs,
              **{f"{key} of [{table}]": getattr(data, key)
                 for table, data in (("data", study.data), ("training_data", study.training_data))
                 for key in ("path", "images", "heatmaps", "splits", "classes")}}
    entries: tuple[ModelSpec | LocalizerSpec, ...] = (*study.models, *study.localizers)
    for entry in entries:
        stated |= {f"checkpoint of {entry.name!r}": entry.checkpoint,
                   f"pretrained of {entry.name!r}": entry.pretrained}
    for what, place in stated.items():
        check_path(place, f"{path}: {what}")


def _repeated(names: Sequence[str]) -> str | None:
    """The first name that stands more than once."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def _check_localizers(study: Study, path: Path) -> None:
    others = {**{item.name: "ensembles" for item in study.ensembles},
              **{item.name: "models" for item in study.models}}
    for localizer in study.localizers:
        what = f"{path}: localizer {localizer.name!r}"
        if localizer.name in others:
            raise UsageError(f"{what} has the name of one of [[{others[localizer.name]}]]; names "
                             "must differ")
        if twice := _repeated(localizer.findings):
            raise UsageError(f"{what} names the finding {shown(twice)} twice")


def _check_training(study: Study, path: Path) -> None:
    try:
        if study.train.preset:
            study.with_preset(study.train.preset)
        for entry in study.trained:
            if "preset" in entry.train:
                raise UsageError(f"`preset` of {entry.name!r} stands beside its `train`, not in it")
            study.training_of(entry)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def _check_ensembles(study: Study, path: Path) -> None:
    models = [model.name for model in study.models]
    for ensemble in study.ensembles:
        what = f"{path}: ensemble {ensemble.name!r}"
        if ensemble.name in models:
            raise UsageError(f"{what} has the name of one of [[models]]; names must differ")
        for name in ensemble.members:
            if name not in models:
                raise UsageError(f"{what} names the member {name!r}, which is not among "
                                 f"[[models]]; {nearest(name, models)}")
        if twice := _repeated(ensemble.members):
            raise UsageError(f"{what} names the member {shown(twice)} twice")
        if bool(ensemble.checkpoints) != bool(ensemble.architecture):
            raise UsageError(f"{what} needs both `checkpoints` and their `architecture`, or "
                             "neither")
        if not ensemble.members and not ensemble.checkpoints:
            raise UsageError(f"{what} has no members; name some of [[models]], or `checkpoints`")


def _check_randomization(study: Study, path: Path) -> None:
    spec = study.randomization
    if not spec.replicates:
        if spec != RandomizationSpec():
            raise UsageError(f"{path}: [randomization] needs replicates, the number of random "
                             "networks made of each model, e.g. replicates = 2")
        return
    if not study.explainers:
        raise UsageError(f"{path}: [randomization] compares heatmaps, but the study has no "
                         "explainers; name some")
    if spec.images and (spec.positives or spec.negatives):
        raise UsageError(f"{path}: [randomization] states `images`, drawn whatever they show, and "
                         "`positives` or `negatives`; leave one of them out")
    for what, names in (("stages", spec.stages), ("models", spec.models)):
        if twice := _repeated(names):
            raise UsageError(f"{path}: {what} of [randomization] names {shown(twice)} twice")
    models = [model.name for model in study.models]
    for name in spec.models:
        if name not in models:
            raise UsageError(f"{path}: models of [randomization] names {name!r}, which is not "
                             f"among [[models]]; {nearest(name, models)}")


def _check_faithfulness(study: Study, path: Path, *, asked: bool) -> None:
    spec, where = study.faithfulness, f"{path}: [faithfulness]"
    if not asked:
        return
    curves = [name for name in spec.metrics if name in FAITHFULNESS_METRICS]
    if not curves:
        raise UsageError(f"{where} names no curve; set metrics to some of "
                         f"{', '.join(FAITHFULNESS_METRICS)}")
    if twice := _repeated(spec.metrics):
        raise UsageError(f"{where} names the metric {shown(twice)} twice; name it once")
    if not study.explainers:
        raise UsageError(f"{where} judges heatmaps, but the study has no explainers; name some")
    words = ("blur", "black", "gray", "white")
    if isinstance(spec.baseline, str):
        if spec.baseline not in words:
            raise UsageError(f"{where}: baseline = {shown(spec.baseline)} is not known; "
                             f"{nearest(spec.baseline, words)}, or a gray level of 0 to 255")
    elif not 0 <= spec.baseline <= 255:
        raise UsageError(f"{where}: baseline = {shown(spec.baseline)} is no gray level; they go "
                         "from 0 (black) to 255 (white)")
    if spec.squares > min(study.size):
        raise UsageError(f"{where}: squares = {spec.squares} is more than the {min(study.size)} "
                         "pixels of the grid's shorter side; take fewer")


def _check_perturbation(study: Study, path: Path, *, asked: bool) -> None:
    if not asked:
        return
    where = f"{path}: [perturbation]"
    if not study.perturbation.kinds:
        raise UsageError(f"{where} names no kind; set kinds to some of {', '.join(PERTURBATIONS)}")
    if twice := _repeated(study.perturbation.kinds):
        raise UsageError(f"{where} names the kind {shown(twice)} twice; name it once")
    if not study.explainers or not study.models:
        raise UsageError(f"{where} changes what models and explainers are shown, but the study "
                         "lacks one of the two; name [[models]] and explainers")
