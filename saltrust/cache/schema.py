"""The one declaration of everything a cube store may hold.

Validation, creation, ``saltrust info`` and the documentation all read it.  Each
variable has a name, named dimensions, a dtype, units, a meaning and a valid range.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum

from saltrust.choices import MapReading, words

#: Raised only where a store written by this version would be misread by an older one; groups and
#: variables that are merely new need no bump, since older versions warn of them and go on.
#: 1: the first.  2: images may have covariates.
SCHEMA_VERSION = 2

#: The ten findings of CheXlocalize, in the order of protocol S.
CHEXLOCALIZE_FINDINGS = (
    "Airspace Opacity",
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Enlarged Cardiomediastinum",
    "Lung Lesion",
    "Pleural Effusion",
    "Pneumothorax",
    "Support Devices",
)

#: Names that mean the same finding; the key is what other data sets write.
FINDING_ALIASES = {"Lung Opacity": "Airspace Opacity"}


class Status(IntEnum):
    """What became of one map."""

    MISSING = 0
    OK = 1
    FLAT = 2
    NONFINITE = 3


class RadiographStatus(IntEnum):
    """What became of one radiograph."""

    MISSING = 0
    OK = 1
    DOUBTFUL = 2
    LEFT_OUT = 3


class Label(IntEnum):
    """Image-level label of one finding."""

    POSITIVE = 1
    NEGATIVE = 0
    UNCERTAIN = -1
    NOT_STATED = -2


SPLITS = ("train", "val", "test", "none")
READER_ROLES = ("reference", "benchmark")
MODEL_ROLES = ("member", "ensemble")
#: Curves of ``/faithfulness``.
FAITHFULNESS_METRICS = ("deletion", "insertion", "morf", "lerf")
#: Changes of radiographs of ``/perturbation``.
PERTURBATIONS = ("noise", "blur", "contrast", "shift", "jpeg")


@dataclass(frozen=True)
class Variable:
    """One variable of the cubes.

    Attributes
    ----------
    name : str
    dims : tuple of str
        Dimension names in storage order.
    dtype : str
        NumPy dtype name, or ``"string"`` for variable-length text.
    meaning : str
        One sentence for people.
    units : str
        ``"1"`` for dimensionless numbers.
    valid_range : tuple of float or None
        Inclusive bounds of finite values.
    fill : float, int, bool or str
        What an element holds before it is written.
    flags : tuple of (int, str)
        Meanings of coded values.
    choices : tuple of str
        The only texts allowed, when not empty.
    required : bool
        Whether the group is invalid without it.
    """

    name: str
    dims: tuple[str, ...]
    dtype: str
    meaning: str
    units: str = "1"
    valid_range: tuple[float, float] | None = None
    fill: float | int | bool | str = ""
    flags: tuple[tuple[int, str], ...] = ()
    choices: tuple[str, ...] = ()
    required: bool = False

    @property
    def is_map(self) -> bool:
        """Whether the variable has pixels, so that its chunk is one map."""
        return self.dims[-2:] == ("y", "x")


@dataclass(frozen=True)
class Group:
    """One concept of the study: a group of the store."""

    name: str
    meaning: str
    variables: tuple[Variable, ...]

    def __getitem__(self, name: str) -> Variable:
        for variable in self.variables:
            if variable.name == name:
                return variable
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return any(variable.name == name for variable in self.variables)


_NAN = float("nan")
_LABEL_FLAGS = tuple((int(label), label.name.lower()) for label in Label)
_STORED_FLAGS = ((0, "no"), (1, "yes"))
_RADIOGRAPH_FLAGS = tuple((int(status), status.name.lower()) for status in RadiographStatus)
_STATUS_FLAGS = tuple((int(status), status.name.lower()) for status in Status)


def _status(dims: tuple[str, ...]) -> Variable:
    return Variable("status", dims, "uint8",
                    "What became of the map; written after the map itself.", valid_range=(0, 3),
                    fill=int(Status.MISSING), flags=_STATUS_FLAGS, required=True)


_MODEL_COORDS = (
    Variable("model", ("model",), "string", "Name of the model.", required=True),
    Variable("model_role", ("model",), "string", "Member or ensemble.", choices=MODEL_ROLES),
    Variable("model_architecture", ("model",), "string", "Registry name or module:factory."),
    Variable("model_seed", ("model",), "int64", "Training seed; -1 unknown.", fill=-1),
    Variable("model_checkpoint", ("model",), "string", "SHA-256 of the weights; empty: none."),
)
_EXPLAINER_COORDS = (
    Variable("explainer", ("explainer",), "string", "Saliency method.", required=True),
    Variable("explainer_parameters", ("explainer",), "string", "Its parameters, as JSON."),
    Variable("explainer_reading", ("explainer",), "string",
             "What of its maps is segmented and ranked, unless another reading is asked for.",
             choices=words(MapReading)),
)
_READER_COORDS = (
    Variable("reader", ("reader",), "string", "Who annotated.", required=True),
    Variable("reader_role", ("reader",), "string", "Reference standard or benchmark expert.",
             choices=READER_ROLES, required=True),
)

ROOT = Group(
    "/",
    "Labels that every group shares.",
    (
        Variable("image", ("image",), "string", "Identifier of the radiograph.", required=True),
        Variable("finding", ("finding",), "string", "Name of the finding.", required=True),
        Variable("patient", ("image",), "string", "Patient the image is of."),
        Variable("study", ("image",), "string", "Examination the image belongs to."),
        Variable("view", ("image",), "string", "Projection, e.g. frontal PA."),
        Variable("split", ("image",), "string", "Part of the data set.", choices=SPLITS),
        Variable("native_height", ("image",), "int32", "Rows as acquired; 0 unknown.", "pixel",
                 (0, 1e5), 0),
        Variable("native_width", ("image",), "int32", "Columns as acquired; 0 unknown.", "pixel",
                 (0, 1e5), 0),
    ),
)

RADIOGRAPH = Group(
    "radiograph",
    "The images as the model saw them.",
    (
        Variable("pixels", ("image", "y", "x"), "uint8", "Gray values on the grid, 255 is white.",
                 valid_range=(0, 255), fill=0, required=True),
        Variable("stored", ("image",), "uint8", "1 where the pixels have been written.",
                 valid_range=(0, 1), fill=0, flags=_STORED_FLAGS, required=True),
        Variable("status", ("image",), "uint8",
                 "What became of the radiograph: not asked for or not there, as its header says, "
                 "in doubt, or left out because it cannot be read.",
                 valid_range=(0, 3), fill=int(RadiographStatus.MISSING), flags=_RADIOGRAPH_FLAGS),
        Variable("remark", ("image",), "string",
                 "Why the radiograph is in doubt or left out; blank otherwise."),
        Variable("source", ("image",), "string",
                 "SHA-256 of the file that the pixels are of; blank: of no file."),
    ),
)

REFERENCE = Group(
    "reference",
    "What people said: labels, masks, boxes, points, gaze.",
    (
        *_READER_COORDS,
        Variable("label", ("image", "finding"), "int8",
                 "1 positive, 0 negative, -1 uncertain, -2 not stated.",
                 valid_range=(-2, 1), fill=int(Label.NOT_STATED), flags=_LABEL_FLAGS,
                 required=True),
        Variable("annotated", ("image", "finding", "reader"), "bool",
                 "Whether this reader drew, or stated there is nothing to draw.", fill=False),
        Variable("mask", ("image", "finding", "reader", "y", "x"), "bool",
                 "Annotation on the grid.", fill=False),
        Variable("mask_rle", ("image", "finding", "reader"), "string",
                 "Annotation at native size: counts of the compressed COCO run-length code."),
        Variable("n_polygons", ("image", "finding", "reader"), "int32",
                 "Contours the reader drew; -1 unknown.", valid_range=(-1, 1e6), fill=-1),
        Variable("box", ("image", "finding", "reader", "instance", "corner"), "float32",
                 "Bounding boxes as y0, x0, y1, x1 in native pixels; NaN pads.", "pixel",
                 fill=_NAN),
        Variable("point_y", ("image", "finding", "reader", "instance"), "float32",
                 "Row of the most representative point in native pixels; NaN pads.", "pixel",
                 fill=_NAN),
        Variable("point_x", ("image", "finding", "reader", "instance"), "float32",
                 "Column of the most representative point in native pixels; NaN pads.", "pixel",
                 fill=_NAN),
        Variable("gaze", ("image", "reader", "y", "x"), "float32",
                 "Static gaze heatmap on the grid, maximum 1; NaN where there is no gaze.",
                 valid_range=(0, 1), fill=_NAN),
        Variable("gaze_recorded", ("image", "reader"), "bool",
                 "Whether there is gaze of this reader on the image.", fill=False),
        Variable("fixation_y", ("image", "reader", "fixation"), "float32",
                 "Row of a fixation in native pixels, in order of time; NaN pads.", "pixel",
                 fill=_NAN),
        Variable("fixation_x", ("image", "reader", "fixation"), "float32",
                 "Column of a fixation in native pixels; NaN pads.", "pixel", fill=_NAN),
        Variable("fixation_duration", ("image", "reader", "fixation"), "float32",
                 "How long the fixation lasted; NaN unknown.", "s", (0, 1e5), _NAN),
        Variable("fixation_onset", ("image", "reader", "fixation"), "float32",
                 "When the fixation began, since the recording did; NaN unknown.", "s", (0, 1e6),
                 _NAN),
        Variable("stored", ("image",), "uint8", "1 where the annotations have been written.",
                 valid_range=(0, 1), fill=0, flags=_STORED_FLAGS),
    ),
)

PREDICTION = Group(
    "prediction",
    "What the models said of each image.",
    (
        *_MODEL_COORDS,
        Variable("logit", ("image", "finding", "model"), "float32", "Pre-sigmoid output.",
                 fill=_NAN),
        Variable("probability", ("image", "finding", "model"), "float32",
                 "Predicted probability; NaN not computed.", valid_range=(0, 1), fill=_NAN,
                 required=True),
    ),
)

SALIENCY = Group(
    "saliency",
    "Heatmaps of trained models: raw, signed where the explainer is, not normalised.",
    (
        *_EXPLAINER_COORDS,
        *_MODEL_COORDS,
        Variable("heatmap", ("image", "finding", "explainer", "model", "y", "x"), "float32",
                 "Attribution per pixel of the grid.", fill=_NAN, required=True),
        _status(("image", "finding", "explainer", "model")),
        Variable("completeness", ("image", "finding", "explainer", "model"), "float32",
                 "Sum of the map minus the change of the logit from the explainer's baseline; "
                 "NaN where the explainer promises no such sum.", "logit", fill=_NAN),
    ),
)

RANDOMIZATION = Group(
    "randomization",
    "Heatmaps while the weights are randomised from the top layer down; stage 0 is trained.",
    (
        *_EXPLAINER_COORDS,
        *_MODEL_COORDS,
        Variable("replicate", ("replicate",), "int64", "Number of the repetition.", fill=-1,
                 required=True),
        Variable("replicate_seed", ("replicate",), "int64", "Seed of the random weights.",
                 fill=-1),
        Variable("stage", ("stage",), "string", "Layer randomised last; 'trained' first.",
                 required=True),
        Variable("heatmap",
                 ("image", "finding", "explainer", "model", "replicate", "stage", "y", "x"),
                 "float32", "Attribution per pixel of the grid.", fill=_NAN, required=True),
        _status(("image", "finding", "explainer", "model", "replicate", "stage")),
        Variable("probability", ("image", "finding", "model", "replicate", "stage"), "float32",
                 "Predicted probability at that stage.", valid_range=(0, 1), fill=_NAN),
    ),
)

_CURVE = ("metric", "fraction")
_OF_MAPS = ("image", "finding", "explainer", "model")

FAITHFULNESS = Group(
    "faithfulness",
    "Predictions while what a map calls relevant is removed from the image, or inserted.",
    (
        *_EXPLAINER_COORDS,
        *_MODEL_COORDS,
        Variable("metric", ("metric",), "string",
                 "What is done in which order: deletion or insertion of the most relevant pixels; "
                 "removal and imputation of the most (morf) or least (lerf) relevant squares.",
                 choices=FAITHFULNESS_METRICS, required=True),
        Variable("fraction", ("fraction",), "float64",
                 "Nominal fraction of the image that is removed or inserted, both ends included.",
                 valid_range=(0, 1), fill=_NAN, required=True),
        Variable("order", ("order",), "int64", "Number of the random order.", fill=-1,
                 required=True),
        Variable("curve", (*_OF_MAPS, *_CURVE), "float32",
                 "Predicted probability of the finding after that fraction; NaN not computed.",
                 valid_range=(0, 1), fill=_NAN, required=True),
        Variable("removed", ("image", *_CURVE), "float32",
                 "True fraction of the pixels that are removed; of insertion, that are still "
                 "hidden, which is 1 minus the fraction inserted.", valid_range=(0, 1), fill=_NAN,
                 required=True),
        Variable("random", ("image", "finding", "model", "metric", "order", "fraction"), "float32",
                 "The same probability where the order is random, one for all explainers.",
                 valid_range=(0, 1), fill=_NAN, required=True),
        Variable("infidelity", _OF_MAPS, "float32",
                 "Normalised infidelity of the map; NaN not asked for.", fill=_NAN),
        Variable("sensitivity", _OF_MAPS, "float32",
                 "Largest relative change of the map under small changes of the image; NaN not "
                 "asked for.", fill=_NAN),
        _status(_OF_MAPS),
    ),
)

PERTURBATION = Group(
    "perturbation",
    "Predictions and changes of maps while radiographs are changed by degrees.",
    (
        *_EXPLAINER_COORDS,
        *_MODEL_COORDS,
        Variable("perturbation", ("perturbation",), "string", "How radiographs are changed.",
                 choices=PERTURBATIONS, required=True),
        Variable("level", ("level",), "int64", "Degree of the change, 1 the weakest.", fill=-1,
                 required=True),
        Variable("amount", ("perturbation", "level"), "float64",
                 "Noise: standard deviation over the range of gray; blur: sigma over the shorter "
                 "side; contrast: part of the distance from the mean that is lost; shift: over "
                 "the side; JPEG: 100 less its quality.", fill=_NAN),
        Variable("probability", ("image", "finding", "model", "perturbation", "level"), "float32",
                 "Predicted probability of the changed radiograph.", valid_range=(0, 1),
                 fill=_NAN, required=True),
        Variable("map_change",
                 ("image", "finding", "explainer", "model", "perturbation", "level"), "float32",
                 "1 - SSIM of the map and that of the changed radiograph, a shift undone; NaN "
                 "where either is flat or not finite.", valid_range=(0, 2), fill=_NAN,
                 required=True),
        _status(_OF_MAPS),
    ),
)

LOCALIZER = Group(
    "localizer",
    "Heatmaps of models trained to localise, and of the average mask.",
    (
        *_MODEL_COORDS,
        Variable("heatmap", ("image", "finding", "model", "y", "x"), "float32",
                 "Score per pixel of the grid.", fill=_NAN, required=True),
        _status(("image", "finding", "model")),
        Variable("score", ("image", "finding", "model"), "float32",
                 "Score of the whole image, by which localizers tell positives from negatives; "
                 "NaN not computed.", valid_range=(0, 1), fill=_NAN),
    ),
)

GROUPS: dict[str, Group] = {
    group.name: group
    for group in (ROOT, RADIOGRAPH, REFERENCE, PREDICTION, SALIENCY, RANDOMIZATION,
                  FAITHFULNESS, PERTURBATION, LOCALIZER)
}

#: Dimensions with a coordinate variable of the same name.
LABELED_DIMS = ("image", "finding", "reader", "explainer", "model", "replicate", "stage", "metric",
                "fraction", "order", "perturbation", "level")

#: Where analyses keep what they found; its groups are named by topic and key, not declared here.
SCORES = "scores"
#: Where a finished store says what it is made of (:mod:`saltrust.cache.checksums`).
CHECKSUMS = "checksums"


def covariate(name: str, *, text: bool) -> Variable:
    """The declaration of a covariate: any further coordinate of images, number or text.

    Parameters
    ----------
    name : str
        As the data set calls it, e.g. ``age``; see :func:`covariate_fault`.
    text : bool
        Whether its values are text; else they are float64.

    Returns
    -------
    Variable
    """
    if text:
        return Variable(name, ("image",), "string", "Covariate of the image; blank unknown.")
    return Variable(name, ("image",), "float64", "Covariate of the image; NaN unknown.", fill=_NAN)


def covariate_fault(name: str, findings: Collection[str] = ()) -> str:
    """Why a covariate cannot have a name.

    Parameters
    ----------
    name : str
    findings : collection of str
        Findings of the study, which are names of their own.

    Returns
    -------
    str
        The end of a sentence that begins with the name; empty where it can.

    Examples
    --------
    >>> covariate_fault("age"), covariate_fault("view")
    ('', 'has a meaning of its own in the cubes')
    """
    if name in findings:
        return "is a finding of the study"
    if name in _NAMES:
        return "has a meaning of its own in the cubes"
    if not name.strip(".") or "/" in name or name.startswith("__"):
        return "cannot be the name of a variable of the cubes"
    return ""


#: Every name that means something in some group, where a covariate of this name would hide it.
_NAMES = frozenset({
    *GROUPS, SCORES, CHECKSUMS,
    *(name for group in GROUPS.values() for variable in group.variables
      for name in (variable.name, *variable.dims))})
