"""The study file: one TOML that says which data, models, training and heatmaps a study has.

Declared once, as frozen dataclasses; :mod:`saltrust.study_file` reads them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from saltrust.choices import MapReading, words
from saltrust.errors import UsageError, nearest
from saltrust.generation_settings import FaithfulnessSpec, PerturbationSpec, RandomizationSpec
from saltrust.presets import PRESETS
from saltrust.reading import WINDOWS_PLACE, check_path, existing_path, reading, shown
from saltrust.training_settings import TrainedEntry, TrainSpec, overridden, settle
from saltrust.typed_table import bounded

DEVICES = ("auto", "cuda", "mps", "cpu")
HEATMAP_PRECISIONS = ("float32", "tf32", "bf16")
#: A batch size that is measured, and what it is on a CPU, whose memory is no limit.
AUTO, BATCH_ON_CPU = "auto", 8
INPUT_PRESETS = ("imagenet", "torchxrayvision", "gray")
OUTPUT_KINDS = ("logits", "probabilities", "softmax")


@dataclass(frozen=True)
class DataSpec:
    """``[data]``: where the radiographs, labels and annotations come from.

    Which kinds there are, and which of these keys each takes, the readers of
    :mod:`saltrust.datasets` declare.
    """

    kind: str = bounded("phantom", help="what `path` holds")
    path: str = bounded("", help="folder, CSV or cubes; relative to the study file")
    findings: tuple[str, ...] = bounded((), help="which findings, in this order; empty: all")
    covariates: tuple[str, ...] = bounded(
        (), help="manifest: columns (numbers or text) that become coordinates of the images")
    split_fractions: tuple[float, ...] = bounded(
        (), 0, 1, help="train, val, test by patient, where the data state none; empty: those of "
                      "the kind")
    patients: int = bounded(300, 1, 1_000_000, help="number of patients")
    size: int = bounded(128, 32, 4096, help="native height and width in pixels")
    gaze: bool = bounded(False, help="simulate where the reference reader looks")
    sigma: str = bounded("", help="gaze heatmaps: Gaussian around a fixation, like 150px "
                                  "(native pixels) or 5% (of the longer side)")
    weight: str = bounded("duration", choices=("duration", "count"),
                          help="gaze heatmaps: what a fixation counts")
    images: str = bounded("", help="folder of the radiographs; empty: none, of a release those "
                                   "beside its tables")
    heatmaps: str = bounded("", help="folder of ready-made gaze heatmaps")
    splits: str = bounded("", help="CSV of ids and their split")
    classes: str = bounded("", help="stage_2_detailed_class_info.csv, to leave out what is "
                                    "neither normal nor pneumonia")
    views: tuple[str, ...] = bounded((), help="which projections, such as frontal or frontal PA; "
                                              "empty: all")
    blank: str = bounded("negative", choices=("negative", "unstated"),
                         help="what a blank label counts as")
    labeler: str = bounded("chexpert", choices=("chexpert", "negbio"),
                           help="whose labels of MIMIC-CXR-JPG")
    votes: str = bounded("majority", choices=("majority", "any"),
                         help="readers of an image who make its label positive")
    sizes: str = bounded("", help="CSV of ids, height and width of what was annotated")
    least_images: int = bounded(1, 1, 10_000_000,
                                help="labels of fewer images are left out, unless findings names "
                                     "them")


@dataclass(frozen=True)
class GuidanceSpec:
    """``[models.guidance]``: what a classifier with a decoder learns from gaze (protocol W)."""

    loss: str = bounded("none", choices=("none", "classification", "decoder", "set1", "set2",
                                          "set3"),
                        help="no gaze; decoder against gaze (baseline); map of the classifier "
                             "against gaze; decoder against that map; decoder and map against "
                             "gaze")
    rule: str = bounded("guided_backprop", choices=("guided_backprop", "deconvnet"),
                        help="whose map")
    classification_weight: float = bounded(0.5, 0, 1, help="of the classification loss; the "
                                                           "rest is of the losses of maps")
    map_weight: float = bounded(0.5, 0, 1, help="set3: of the classifier's map; the rest is of "
                                                "the decoder")
    explained: str = bounded("predicted", choices=("predicted", "labelled", "all"),
                             help="classes that the map explains")
    channels: str = bounded("sum", choices=("sum", "largest"),
                            help="how the map's channels become one")
    sign: str = bounded("absolute", choices=("absolute", "positive", "signed"),
                        help="what counts of the map's values")
    smoothing: float = bounded(0.0, 0, 0.5, help="sigma of a Gaussian over the map, as a "
                                                 "fraction of the grid")
    scaling: str = bounded("max", choices=("max", "minmax", "none"),
                           help="how the map is scaled to 0..1; none: it is taken for logits")
    detach: bool = bounded(True, help="set2: the map is a target, and not learned from")
    reader: str = bounded("", help="whose gaze; empty: the mean over readers")


@dataclass(frozen=True)
class InputSpec:
    """``[models.input]``: what a network takes; left out, what it states itself, or assumed."""

    preset: str = bounded("", choices=("", *INPUT_PRESETS), help="known inputs, by name")
    channels: int = bounded(0, 0, 1024, help="the gray value is repeated; 0: as many as `mean`")
    mean: tuple[float, ...] = bounded((), help="per channel, in units of `range`; empty: 0")
    std: tuple[float, ...] = bounded((), help="per channel, in units of `range`; empty: 1")
    range: tuple[float, ...] = bounded((), help="what black and white are before `mean` and "
                                                "`std`, like [0, 255]; empty: [0, 1]")


@dataclass(frozen=True)
class OutputSpec:
    """``[models.output]``: what a network returns; left out, what it states itself, or logits."""

    kind: str = bounded("", choices=("", *OUTPUT_KINDS),
                        help="logits: of a sigmoid per finding; softmax: scores of classes that "
                             "exclude each other; probabilities: after either")
    findings: tuple[str, ...] = bounded((), help="what the outputs are, by position; classes "
                                                 "that are no finding of the data, too")
    select: str | int = bounded("", help="which of several outputs: a key or a position")


@dataclass(frozen=True)
class ModelSpec:
    """``[[models]]``: one classifier."""

    name: str = bounded("", help="name in the cubes and of the run folder")
    architecture: str = bounded("densenet121", help="registry name or package.module:factory")
    checkpoint: str = bounded("", help="weights; empty: the run folder of `saltrust train`")
    seed: int = bounded(0, 0, 2**31 - 1)
    pretrained: str = bounded("", help="path of weights to start training from")
    arguments: dict[str, Any] = bounded({}, help="keywords for the factory")
    preset: str = bounded("", choices=("", *PRESETS), help="published settings of training")
    train: dict[str, Any] = bounded({}, help="settings of [train] for this model alone")
    replicates: int = bounded(1, 1, 1000, help="models that differ in their seed only: NAME, "
                                               "NAME-2, ... with seed, seed + 1, ...")
    stochastic: bool = bounded(False, help="whether it may answer the same image differently")
    input: InputSpec = field(default_factory=InputSpec)
    output: OutputSpec = field(default_factory=OutputSpec)
    guidance: GuidanceSpec = field(default_factory=GuidanceSpec)

    @property
    def kind(self) -> str:
        """How it is trained: with the losses of ``guidance``, or as any classifier."""
        return "classifier" if self.guidance.loss == "none" else "guided"


@dataclass(frozen=True)
class LocalizerSpec:
    """``[[localizers]]``: a network trained on masks or boxes, to compare heatmaps with."""

    name: str = bounded("", help="name in the cubes and of the run folder")
    architecture: str = bounded("unet", help="unet, base_unet, retinanet or package.module:factory")
    checkpoint: str = bounded("", help="weights; empty: the run folder of `saltrust train`")
    seed: int = bounded(0, 0, 2**31 - 1)
    pretrained: str = bounded("", help="path of weights to start training from")
    findings: tuple[str, ...] = bounded((), help="which of the study's; empty: all")
    rounded: bool = bounded(False, help="store maps times 255 and rounded, as protocol A")
    arguments: dict[str, Any] = bounded({}, help="keywords for the factory")
    preset: str = bounded("", choices=("", *PRESETS), help="published settings of training")
    train: dict[str, Any] = bounded({}, help="settings of [train] for this localizer alone")
    replicates: int = bounded(1, 1, 1000, help="as of [[models]]")
    input: InputSpec = field(default_factory=InputSpec)

    @property
    def kind(self) -> str:
        """Whose presets are for it; a network of one's own is trained as a U-Net."""
        return "retinanet" if self.architecture == "retinanet" else "unet"


@dataclass(frozen=True)
class EnsembleSpec:
    """``[[ensembles]]``: the mean of several models, as one model of the cubes."""

    name: str = bounded("", help="name in the cubes")
    members: tuple[str, ...] = bounded((), help="names of [[models]]")
    architecture: str = bounded("", help="of `checkpoints`")
    checkpoints: tuple[str, ...] = bounded(
        (), help="weights of further members; a pattern with * or ? stands for all it matches")
    keep_members: bool = bounded(False, help="store the members' own results as well")
    input: InputSpec = field(default_factory=InputSpec)
    output: OutputSpec = field(default_factory=OutputSpec)


@dataclass(frozen=True)
class ExplainerSpec:
    """``[[explainers]]``: one saliency method and its parameters."""

    name: str = bounded("", help="registry name, captum.CLASS, pytorch_grad_cam.CLASS or "
                                 "package.module:function")
    parameters: dict[str, Any] = bounded({})
    reading: str = bounded("", choices=words(MapReading),
                           help="what of its maps is segmented and ranked; empty: as it declares")
    label: str = bounded("", help="its name in the cubes; empty: `name`")

    @property
    def stored_name(self) -> str:
        """Its name in the cubes."""
        return self.label or self.name


@dataclass(frozen=True)
class GenerateSpec:
    """``[generate]``: what the GPU stage computes."""

    split: str = bounded("test", choices=("train", "val", "test", "none", "all"),
                         help="images that get heatmaps; predictions are made for the same")
    batch_size: int | str = bounded(8, 1, 65_536, choices=(AUTO,),
                                    help="images at once; auto: as many as the device has memory "
                                         "for, measured when the job begins")
    device: str = bounded("auto", choices=DEVICES)
    precision: str = bounded("float32", choices=HEATMAP_PRECISIONS,
                             help="in which heatmaps are computed; predictions: float32 or tf32")
    compile: bool = bounded(False, help="run networks through torch.compile where a method needs "
                                        "many passes")
    measured: int = field(default=BATCH_ON_CPU, metadata={"internal": True})

    @property
    def images_at_once(self) -> int:
        """``batch_size``, or what was measured for it."""
        return self.batch_size if isinstance(self.batch_size, int) else self.measured


@dataclass(frozen=True)
class Study:
    """One study file, read and checked.

    Attributes
    ----------
    folder : pathlib.Path
        Folder of the study file; relative paths in it start here.
    grid : int or (int, int)
        Height and width in pixels of what the models see and of every stored map; one number
        where they are the same.
    runs : str
        Folder for trained models, relative to ``folder``.
    training_data : DataSpec
        What models are trained on where that is another release than the one of ``data``; its
        kind is empty where it is not.
    stated : tuple of str
        Keys that ``[train]`` of the file states, even if with their default.
    """

    name: str = bounded("study")
    seed: int = bounded(0, 0, 2**31 - 1)
    grid: int | tuple[int, ...] = bounded(
        320, 16, 4096, help="height and width the models see: 320, or [height, width]")
    runs: str = bounded("runs", help="folder of trained models")
    data: DataSpec = field(default_factory=DataSpec)
    training_data: DataSpec = field(default_factory=lambda: DataSpec(kind=""))
    train: TrainSpec = field(default_factory=TrainSpec)
    generate: GenerateSpec = field(default_factory=GenerateSpec)
    randomization: RandomizationSpec = field(default_factory=RandomizationSpec)
    faithfulness: FaithfulnessSpec = field(default_factory=FaithfulnessSpec)
    perturbation: PerturbationSpec = field(default_factory=PerturbationSpec)
    models: tuple[ModelSpec, ...] = ()
    localizers: tuple[LocalizerSpec, ...] = ()
    ensembles: tuple[EnsembleSpec, ...] = ()
    explainers: tuple[ExplainerSpec, ...] = (ExplainerSpec("grad"), ExplainerSpec("gradcam"))
    folder: Path = field(default=Path(), metadata={"internal": True})
    stated: tuple[str, ...] = field(default=(), metadata={"internal": True}, compare=False)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels of what the models see.

        Examples
        --------
        >>> Study(grid=320).size, Study(grid=(320, 256)).size
        ((320, 320), (320, 256))
        """
        if isinstance(self.grid, int):
            return self.grid, self.grid
        height, width = self.grid
        return height, width

    def path(self, relative: str) -> Path:
        """A path of the study file, made absolute from its folder."""
        with reading(f"path {shown(relative)} of the study file", "correct it", UsageError):
            check_path(relative, "path of the study file")
            place = existing_path(self.folder, str(Path(relative).expanduser()))
            if WINDOWS_PLACE.match(relative) and not place.exists():
                raise UsageError(f"path {shown(relative)} of the study file is of Windows, where a "
                                 "drive has a letter; write it as it is called on this machine")
            if not relative.isprintable() and not place.exists():
                raise UsageError(f"path {shown(relative)} of the study file holds what cannot be "
                                 "printed: backslashes mean something between double quotes; write "
                                 "it with /, or between single quotes")
            return place.resolve()

    def data_path(self, key: str) -> Path | None:
        """A path that ``[data]`` names under a key, made absolute; None where it names none."""
        text = getattr(self.data, key)
        return self.path(text) if text else None

    def run_folder(self, model: TrainedEntry) -> Path:
        """Where ``saltrust train`` leaves a model: checkpoint, card and metrics."""
        return self.path(self.runs) / model.name

    @property
    def for_training(self) -> Study:
        """The same study with the data that its models are trained on as its data."""
        if not self.training_data.kind:
            return self
        return dataclasses.replace(self, data=self.training_data)

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
            entries = ", ".join(f"{entry.name} ({entry.kind})" for entry in self.trained)
            raise UsageError(f"preset {preset!r} is for a {kind}, and the study has none, only: "
                             f"{entries or 'nothing to train'}")
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
        return settle(self.train, self.stated, entry)

    def overridden(self, entry: TrainedEntry) -> dict[str, tuple[Any, Any]]:
        """Settings of an entry's preset in whose place ``[train]`` states something else.

        Returns
        -------
        dict of str to (object, object)
            By key: what ``[train]`` states, which counts, and what the preset says.

        Examples
        --------
        >>> net = ModelSpec("net", preset="arun-densenet", train={"epochs": 2})
        >>> Study(train=TrainSpec(epochs=9, patience=9), models=(net,)).overridden(net)
        {'patience': (9, 5)}
        """
        return overridden(self.train, self.stated, entry)

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
            matching = [pattern]
            if set(pattern) & set("*?"):
                whole = self.path(pattern)
                with reading(f"checkpoints of ensemble {ensemble.name!r}: {shown(pattern)}",
                             "correct the pattern", UsageError):
                    matching = sorted(map(str, Path(whole.anchor).glob(
                        str(whole.relative_to(whole.anchor)))))
            if not matching:
                raise UsageError(f"checkpoints of ensemble {ensemble.name!r}: {pattern} matches "
                                 f"no file under {self.folder}; correct the pattern")
            paths += [path for path in matching if path not in paths and not path.endswith(".json")]
        width = len(str(len(paths)))
        return (*(named[name] for name in ensemble.members),
                *(ModelSpec(f"{ensemble.name}/{k:0{width}d}", ensemble.architecture, path,
                            input=ensemble.input, output=ensemble.output)
                  for k, path in enumerate(paths, start=1)))

    def as_dict(self) -> dict[str, Any]:
        """The study as plain values, without the folder: what provenance records."""
        content = dataclasses.asdict(self)
        del content["folder"], content["stated"], content["generate"]["measured"]
        if not self.generate.compile:
            del content["generate"]["compile"]
        if not self.training_data.kind:
            del content["training_data"]
        # Studies that do not ask for these are those they were.
        for name, unasked in (("faithfulness", FaithfulnessSpec()),
                              ("perturbation", PerturbationSpec())):
            if getattr(self, name) == unasked:
                del content[name]
        for explainer in content["explainers"]:
            if not explainer["label"]:
                del explainer["label"]
        return content

    def fingerprint(self) -> str:
        """SHA-256 of everything the study file says."""
        text = json.dumps(self.as_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()
