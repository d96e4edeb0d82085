"""The study file: one TOML that says which data, models, training and heatmaps a study has.

Declared once, as frozen dataclasses; the reader below turns TOML into them, refuses keys it
does not know with the nearest valid name, and checks every type and range.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from saltrust.errors import UsageError, nearest
from saltrust.presets import DEFAULT_PRESETS, PRESETS

DATA_KINDS = ("phantom", "folder", "manifest", "chexlocalize", "siim-acr", "rsna", "egd-cxr",
              "cubes")
#: Keys of [data] that mean something for some kinds only.
_KINDS_OF_KEY = {
    "patients": ("phantom",), "size": ("phantom",), "gaze": ("phantom",),
    "sigma": ("phantom", "egd-cxr"), "weight": ("phantom", "egd-cxr"),
    "images": ("siim-acr", "rsna", "egd-cxr"), "splits": ("siim-acr", "rsna", "egd-cxr"),
    "classes": ("rsna",), "heatmaps": ("egd-cxr",),
}
UNCERTAIN_POLICIES = ("ignore", "zeros", "ones", "three-class")
DEVICES = ("auto", "cuda", "mps", "cpu")
PRECISIONS = ("float32", "tf32", "bf16", "float16")
HEATMAP_PRECISIONS = ("float32", "tf32", "bf16")


def _bounded(default: Any, low: float | None = None, high: float | None = None,
             choices: tuple[str, ...] = (), help: str = "") -> Any:
    metadata = {"low": low, "high": high, "choices": choices, "help": help}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class DataSpec:
    """``[data]``: where the radiographs, labels and annotations come from."""

    kind: str = _bounded("phantom", choices=DATA_KINDS, help="what `path` holds")
    path: str = _bounded("", help="folder, CSV or cubes; relative to the study file")
    findings: tuple[str, ...] = _bounded((), help="which findings, in this order; empty: all")
    split_fractions: tuple[float, ...] = _bounded(
        (), 0, 1, help="train, val, test by patient, where the data state none; empty: "
                       "0.7, 0.1, 0.2; of egd-cxr 0.8, 0.1, 0.1; of siim-acr and rsna "
                       "0.81, 0.09, 0.1")
    patients: int = _bounded(300, 1, 1_000_000, help="phantom: number of patients")
    size: int = _bounded(128, 32, 4096, help="phantom: native height and width in pixels")
    gaze: bool = _bounded(False, help="phantom: simulate where the reference reader looks")
    sigma: str = _bounded("", help="gaze heatmaps: Gaussian around a fixation, like 150px "
                                   "(native pixels) or 5% (of the longer side)")
    weight: str = _bounded("duration", choices=("duration", "count"),
                           help="gaze heatmaps: what a fixation counts")
    images: str = _bounded("", help="siim-acr, rsna, egd-cxr: folder of the radiographs; empty: "
                                     "none")
    heatmaps: str = _bounded("", help="egd-cxr: folder of ready-made gaze heatmaps")
    splits: str = _bounded("", help="siim-acr, rsna, egd-cxr: CSV of ids and their split")
    classes: str = _bounded("", help="rsna: stage_2_detailed_class_info.csv, to leave out what is "
                                     "neither normal nor pneumonia")


@dataclass(frozen=True)
class TrainSpec:
    """``[train]``: how every model of the study is trained; of one model, in its ``train``."""

    preset: str = _bounded("", choices=("", *PRESETS),
                           help="published settings, for all entries they are made for")
    epochs: int = _bounded(3, 1, 10_000, help="most passes over the training images")
    batch_size: int = _bounded(16, 1, 65_536)
    learning_rate: float = _bounded(1e-4, 1e-12, 10.0)
    weight_decay: float = _bounded(0.0, 0.0, 10.0)
    patience: int = _bounded(4, 1, 10_000, help="epochs without a better validation score")
    plateau_factor: float = _bounded(1.0, 1e-6, 1.0,
                                     help="of the learning rate, where the validation loss stays; "
                                          "1: a fixed rate")
    plateau_patience: int = _bounded(3, 0, 10_000,
                                     help="the rate drops after more epochs than this without a "
                                          "lower validation loss")
    validations_per_epoch: int = _bounded(1, 1, 10_000, help="evenly spaced")
    keep: int = _bounded(0, 0, 10_000,
                         help="best checkpoints of each epoch that are kept beside the best of "
                              "all, for an ensemble")
    selection_findings: tuple[str, ...] = _bounded(
        (), help="the mean AUC of these decides what is best; empty: of all")
    balanced: bool = _bounded(False, help="as many training images with a finding as without")
    precision: str = _bounded("float32", choices=PRECISIONS,
                              help="of the arithmetic; tf32 and float16 on CUDA only")
    uncertain: str = _bounded("ignore", choices=UNCERTAIN_POLICIES,
                              help="what an uncertain label counts as")
    augment: bool = _bounded(False, help="random shifts, small rotations and contrast")


@dataclass(frozen=True)
class GuidanceSpec:
    """``[models.guidance]``: what a classifier with a decoder learns from gaze (protocol W)."""

    loss: str = _bounded("none", choices=("none", "classification", "decoder", "set1", "set2",
                                           "set3"),
                         help="no gaze; decoder against gaze (baseline); map of the classifier "
                              "against gaze; decoder against that map; decoder and map against "
                              "gaze")
    rule: str = _bounded("guided_backprop", choices=("guided_backprop", "deconvnet"),
                         help="whose map")
    classification_weight: float = _bounded(0.5, 0, 1, help="of the classification loss; the "
                                                            "rest is of the losses of maps")
    map_weight: float = _bounded(0.5, 0, 1, help="set3: of the classifier's map; the rest is of "
                                                 "the decoder")
    explained: str = _bounded("predicted", choices=("predicted", "labelled", "all"),
                              help="classes that the map explains")
    channels: str = _bounded("sum", choices=("sum", "largest"),
                             help="how the map's channels become one")
    sign: str = _bounded("absolute", choices=("absolute", "positive", "signed"),
                         help="what counts of the map's values")
    smoothing: float = _bounded(0.0, 0, 0.5, help="sigma of a Gaussian over the map, as a "
                                                  "fraction of the grid")
    scaling: str = _bounded("max", choices=("max", "minmax", "none"),
                            help="how the map is scaled to 0..1; none: it is taken for logits")
    detach: bool = _bounded(True, help="set2: the map is a target, and not learned from")
    reader: str = _bounded("", help="whose gaze; empty: the mean over readers")


@dataclass(frozen=True)
class ModelSpec:
    """``[[models]]``: one classifier."""

    name: str = _bounded("", help="name in the cubes and of the run folder")
    architecture: str = _bounded("densenet121", help="registry name or package.module:factory")
    checkpoint: str = _bounded("", help="weights; empty: the run folder of `saltrust train`")
    seed: int = _bounded(0, 0, 2**31 - 1)
    pretrained: str = _bounded("", help="path of weights to start training from")
    arguments: dict[str, Any] = _bounded({}, help="keywords for the factory")
    preset: str = _bounded("", choices=("", *PRESETS), help="published settings of training")
    train: dict[str, Any] = _bounded({}, help="settings of [train] for this model alone")
    replicates: int = _bounded(1, 1, 1000, help="models that differ in their seed only: NAME, "
                                                "NAME-2, ... with seed, seed + 1, ...")
    guidance: GuidanceSpec = field(default_factory=GuidanceSpec)

    @property
    def kind(self) -> str:
        """How it is trained: with the losses of ``guidance``, or as any classifier."""
        return "classifier" if self.guidance.loss == "none" else "guided"


class TrainedEntry(Protocol):
    """What every entry of a study that can be trained says; ``kind`` is a preset's."""

    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def preset(self) -> str: ...
    @property
    def train(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class LocalizerSpec:
    """``[[localizers]]``: a network trained on masks or boxes, to compare heatmaps with."""

    name: str = _bounded("", help="name in the cubes and of the run folder")
    architecture: str = _bounded("unet", help="unet, retinanet or package.module:factory")
    checkpoint: str = _bounded("", help="weights; empty: the run folder of `saltrust train`")
    seed: int = _bounded(0, 0, 2**31 - 1)
    pretrained: str = _bounded("", help="path of weights to start training from")
    findings: tuple[str, ...] = _bounded((), help="which of the study's; empty: all")
    rounded: bool = _bounded(False, help="store maps times 255 and rounded, as protocol A")
    arguments: dict[str, Any] = _bounded({}, help="keywords for the factory")
    preset: str = _bounded("", choices=("", *PRESETS), help="published settings of training")
    train: dict[str, Any] = _bounded({}, help="settings of [train] for this localizer alone")
    replicates: int = _bounded(1, 1, 1000, help="as of [[models]]")

    @property
    def kind(self) -> str:
        """Whose presets are for it; a network of one's own is trained as a U-Net."""
        return "retinanet" if self.architecture == "retinanet" else "unet"


@dataclass(frozen=True)
class EnsembleSpec:
    """``[[ensembles]]``: the mean of several models, as one model of the cubes."""

    name: str = _bounded("", help="name in the cubes")
    members: tuple[str, ...] = _bounded((), help="names of [[models]]")
    architecture: str = _bounded("", help="of `checkpoints`")
    checkpoints: tuple[str, ...] = _bounded(
        (), help="weights of further members; a pattern with * or ? stands for all it matches")
    keep_members: bool = _bounded(False, help="store the members' own results as well")


@dataclass(frozen=True)
class ExplainerSpec:
    """``[[explainers]]``: one saliency method and its parameters."""

    name: str = _bounded("", help="registry name or package.module:function")
    parameters: dict[str, Any] = _bounded({})


@dataclass(frozen=True)
class GenerateSpec:
    """``[generate]``: what the GPU stage computes."""

    split: str = _bounded("test", choices=("train", "val", "test", "none", "all"),
                          help="images that get heatmaps; predictions are made for the same")
    batch_size: int = _bounded(8, 1, 65_536)
    device: str = _bounded("auto", choices=DEVICES)
    precision: str = _bounded("float32", choices=HEATMAP_PRECISIONS,
                              help="in which heatmaps are computed; predictions: float32 or tf32")


@dataclass(frozen=True)
class RandomizationSpec:
    """``[randomization]``: maps while weights are randomised cumulatively from the top down."""

    replicates: int = _bounded(0, 0, 1000, help="random networks made of each model; 0: none")
    stages: tuple[str, ...] = _bounded(
        (), help="where to make maps (`saltrust info --model ARCHITECTURE` lists the stages); "
                 "empty: everywhere; the last, wholly random network is always among them")
    models: tuple[str, ...] = _bounded((), help="which models, all of the same stages; empty: all")
    images: int = _bounded(0, 0, 10_000_000,
                           help="how many of the images of [generate], drawn by seed; 0: all")


@dataclass(frozen=True)
class Study:
    """One study file, read and checked.

    Attributes
    ----------
    folder : pathlib.Path
        Folder of the study file; relative paths in it start here.
    grid : int
        Height and width in pixels of what the models see and of every stored map.
    runs : str
        Folder for trained models, relative to ``folder``.
    stated : tuple of str
        Keys that ``[train]`` of the file states, even if with their default.
    """

    name: str = _bounded("study")
    seed: int = _bounded(0, 0, 2**31 - 1)
    grid: int = _bounded(320, 16, 4096, help="height and width the models see")
    runs: str = _bounded("runs", help="folder of trained models")
    data: DataSpec = field(default_factory=DataSpec)
    train: TrainSpec = field(default_factory=TrainSpec)
    generate: GenerateSpec = field(default_factory=GenerateSpec)
    randomization: RandomizationSpec = field(default_factory=RandomizationSpec)
    models: tuple[ModelSpec, ...] = ()
    localizers: tuple[LocalizerSpec, ...] = ()
    ensembles: tuple[EnsembleSpec, ...] = ()
    explainers: tuple[ExplainerSpec, ...] = (ExplainerSpec("grad"), ExplainerSpec("gradcam"))
    folder: Path = field(default=Path(), metadata={"internal": True})
    stated: tuple[str, ...] = field(default=(), metadata={"internal": True}, compare=False)

    def path(self, relative: str) -> Path:
        """A path of the study file, made absolute from its folder."""
        return (self.folder / Path(relative).expanduser()).resolve()

    def run_folder(self, model: TrainedEntry) -> Path:
        """Where ``saltrust train`` leaves a model: checkpoint, card and metrics."""
        return self.path(self.runs) / model.name

    @property
    def trained(self) -> tuple[TrainedEntry, ...]:
        """Every entry that ``saltrust train`` can train, in the order it does."""
        return (*self.models, *self.localizers)

    def with_preset(self, preset: str) -> Study:
        """The same study with a preset for all entries that it is made for.

        Raises
        ------
        UsageError
            If the preset is not known, or the study has no such entry.
        """
        if preset not in PRESETS:
            raise UsageError(f"preset {preset!r} is not known; {nearest(preset, PRESETS)}")
        kind = PRESETS[preset].kind
        if all(entry.kind != kind for entry in self.trained):
            found = ", ".join(f"{entry.name} ({entry.kind})" for entry in self.trained)
            raise UsageError(f"preset {preset!r} is for a {kind}, and the study has none, only: "
                             f"{found or 'nothing to train'}")
        return dataclasses.replace(self, train=dataclasses.replace(self.train, preset=preset))

    def training_of(self, entry: TrainedEntry) -> TrainSpec:
        """How one entry is trained.

        Its own ``train`` counts most, then the keys that ``[train]`` states, then its preset (its
        own; else that of ``[train]``, if made for its kind; else that of its kind), then the
        defaults.

        Raises
        ------
        UsageError
            If its preset is for another kind of model, or its ``train`` has an unknown key or
            value.

        Examples
        --------
        >>> net = ModelSpec("net", preset="arun-densenet", train={"epochs": 2})
        >>> spec = Study(train=TrainSpec(patience=9), models=(net,)).training_of(net)
        >>> spec.epochs, spec.patience, spec.learning_rate
        (2, 9, 7e-05)
        """
        wide = self.train.preset
        if wide and PRESETS[wide].kind != entry.kind:
            wide = ""
        preset = entry.preset or wide or DEFAULT_PRESETS.get(entry.kind, "")
        published = PRESETS[preset] if preset else None
        if published and published.kind != entry.kind:
            fitting = [name for name, item in PRESETS.items() if item.kind == entry.kind]
            raise UsageError(f"preset {preset!r} of {entry.name!r} is for another kind of model; "
                             f"take one of {', '.join(fitting)}")
        plain = TrainSpec()
        stated = {item.name: getattr(self.train, item.name) for item in dataclasses.fields(plain)
                  if item.name in self.stated
                  or getattr(self.train, item.name) != getattr(plain, item.name)}
        own = _build(TrainSpec, entry.train, f"model {entry.name!r}", "train")
        return dataclasses.replace(
            plain, **{**(published.settings if published else {}), **stated,
                      **{key: getattr(own, key) for key in entry.train}, "preset": preset})

    def members(self, ensemble: EnsembleSpec) -> tuple[ModelSpec, ...]:
        """The models an ensemble is the mean of: those it names, then its checkpoints, sorted.

        A checkpoint is named after the ensemble and its place, ``ensemble/01`` and so on.

        Raises
        ------
        UsageError
            If a pattern of ``checkpoints`` matches no file.
        """
        named = {model.name: model for model in self.models}
        paths: list[str] = []
        for pattern in ensemble.checkpoints:
            found = [pattern]
            if set(pattern) & set("*?"):
                whole = self.path(pattern)
                found = sorted(map(str, Path(whole.anchor).glob(
                    str(whole.relative_to(whole.anchor)))))
            if not found:
                raise UsageError(f"checkpoints of ensemble {ensemble.name!r}: {pattern} matches "
                                 f"no file under {self.folder}; correct the pattern")
            paths += [path for path in found if path not in paths and not path.endswith(".json")]
        width = len(str(len(paths)))
        return (*(named[name] for name in ensemble.members),
                *(ModelSpec(f"{ensemble.name}/{k:0{width}d}", ensemble.architecture, path)
                  for k, path in enumerate(paths, start=1)))

    def as_dict(self) -> dict[str, Any]:
        """The study as plain values, without the folder: what provenance records."""
        content = dataclasses.asdict(self)
        del content["folder"], content["stated"]
        return content

    def fingerprint(self) -> str:
        """SHA-256 of everything the study file says."""
        text = json.dumps(self.as_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


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
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"study file {path} does not exist: `saltrust demo` writes one to "
                         "start from") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"study file {path} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"study file {path} is not valid TOML: {error}") from None
    # [study] is the natural place for name, seed, grid and runs; it is the top level here.
    head = content.pop("study", {})
    if not isinstance(head, dict):
        raise UsageError(f"{path}: study must be a table, [study]")
    for key in head:
        if key in content:
            raise UsageError(f"{path}: {key} stands both in [study] and outside it; keep one")
    study = _build(Study, {**content, **head}, str(path), "")
    study = dataclasses.replace(study, folder=path.resolve().parent,
                                stated=tuple(content.get("train", {})))
    study = dataclasses.replace(
        study, models=_replicated(study.models, replicates, path),
        localizers=_replicated(study.localizers, replicates, path))
    _check_data(study.data, path)
    _check_names(study, path)
    _check_localizers(study, path)
    _check_training(study, path)
    _check_ensembles(study, path)
    _check_randomization(study, path)
    return study


_Entry = TypeVar("_Entry", ModelSpec, LocalizerSpec)


def _replicated(entries: tuple[_Entry, ...], count: int | None,
                path: Path) -> tuple[_Entry, ...]:
    """Write every replicate out, as if the file had named it."""
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
    for replicate in made:
        for other in result:
            # Those that differ in more than the seed, as in what they are guided by, may share
            # it, so that they can be compared in pairs.
            if other.name != replicate.name and dataclasses.replace(
                    other, name=replicate.name, checkpoint="") == replicate:
                raise UsageError(f"{path}: replicate {replicate.name!r} has seed {replicate.seed}, "
                                 f"as {other.name!r} with the same settings; give their entries "
                                 "seeds that lie further apart")
    return tuple(result)


def _check_data(data: DataSpec, path: Path) -> None:
    plain = DataSpec()
    for key, kinds in _KINDS_OF_KEY.items():
        if data.kind not in kinds and getattr(data, key) != getattr(plain, key):
            raise UsageError(f"{path}: `{key}` under [data] is for kind = {' or '.join(kinds)} and "
                             f"means nothing for {data.kind!r}; leave it out")


def _check_names(study: Study, path: Path) -> None:
    for what, names in (
        ("models", [model.name for model in study.models]),
        ("localizers", [localizer.name for localizer in study.localizers]),
        ("ensembles", [ensemble.name for ensemble in study.ensembles]),
        ("explainers", [explainer.name for explainer in study.explainers]),
    ):
        if "" in names:
            raise UsageError(f"{path}: every entry of [[{what}]] needs a name")
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"{path}: [[{what}]] names {name!r} twice; names must differ")
    trained: tuple[ModelSpec | LocalizerSpec, ...] = (*study.models, *study.localizers)
    for model in trained:
        if Path(model.name).name != model.name or model.name in {".", ".."}:
            raise UsageError(f"{path}: model name {model.name!r} must do as a folder name; "
                             "leave out slashes")
    fractions = study.data.split_fractions
    if fractions and (len(fractions) != 3 or abs(sum(fractions) - 1) > 1e-9):
        raise UsageError(f"{path}: split_fractions of [data] must be three numbers (train, val, "
                         f"test) that add up to 1, not {list(fractions)}")


def _check_localizers(study: Study, path: Path) -> None:
    others = {**{item.name: "ensembles" for item in study.ensembles},
              **{item.name: "models" for item in study.models}}
    for localizer in study.localizers:
        what = f"{path}: localizer {localizer.name!r}"
        if localizer.name in others:
            raise UsageError(f"{what} has the name of one of [[{others[localizer.name]}]]; names "
                             "must differ")
        for name in localizer.findings:
            if localizer.findings.count(name) > 1:
                raise UsageError(f"{what} names the finding {name!r} twice")


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
            if ensemble.members.count(name) > 1:
                raise UsageError(f"{what} names the member {name!r} twice")
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
    for what, names in (("stages", spec.stages), ("models", spec.models)):
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"{path}: {what} of [randomization] names {name!r} twice")
    models = [model.name for model in study.models]
    for name in spec.models:
        if name not in models:
            raise UsageError(f"{path}: models of [randomization] names {name!r}, which is not "
                             f"among [[models]]; {nearest(name, models)}")


_T = TypeVar("_T")


def _build(cls: type[_T], table: dict[str, Any], path: str, where: str) -> _T:
    fields = {
        item.name: item
        for item in dataclasses.fields(cls)  # type: ignore[arg-type]
        if not item.metadata.get("internal")
    }
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{where}.{key}" if where else key
        if key not in fields:
            raise UsageError(f"{path}: unknown key {name!r}; {nearest(key, fields)}")
        values[key] = _convert(hints[key], value, path, name, fields[key].metadata)
    return cls(**values)


def _convert(hint: Any, value: Any, path: str, name: str,
             metadata: types.MappingProxyType[Any, Any]) -> Any:
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, dict):
            raise UsageError(f"{path}: {name} must be a table, [{name}]")
        return _build(hint, value, path, name)
    if origin is tuple:
        item = typing.get_args(hint)[0]
        if not isinstance(value, list):
            raise UsageError(f"{path}: {name} must be a list, not {value!r}")
        if name == "explainers":
            value = [{"name": entry} if isinstance(entry, str) else entry for entry in value]
        return tuple(_convert(item, entry, path, name, metadata) for entry in value)
    if origin is dict:
        if not isinstance(value, dict):
            raise UsageError(f"{path}: {name} must be a table, not {value!r}")
        return dict(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not hint:
        raise UsageError(f"{path}: {name} must be of type {hint.__name__}, not {value!r}")
    low, high, choices = (metadata.get(key) for key in ("low", "high", "choices"))
    if choices and value not in choices:
        raise UsageError(f"{path}: {name} = {value!r} is not known; "
                         f"{nearest(value, filter(None, choices))}")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # Written so that NaN fails.
    if is_number and low is not None and not low <= value <= high:
        raise UsageError(f"{path}: {name} = {value} must lie between {low} and {high}")
    return value
