"""What a generation job will compute, settled and checked before it computes anything."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from saltrust.cache.collection import Collection, with_radiograph
from saltrust.cache.readings import READING
from saltrust.choices import MapReading
from saltrust.errors import DataError, UsageError
from saltrust.explainers.bound import BoundExplainer, describe_parameters
from saltrust.explainers.explain import explain
from saltrust.explainers.passes.precision import check_precision
from saltrust.explainers.registry import resolve
from saltrust.generate.faithfulness.plan import FaithfulnessPlan, plan_faithfulness
from saltrust.generate.perturbation.plan import PerturbationPlan, plan_perturbation
from saltrust.generate.randomization_plan import RandomizationPlan, plan_randomization
from saltrust.models.classifiers.decoding import trained_decoder
from saltrust.models.classifiers.trained_classifier import Classifier, load_classifier
from saltrust.models.localizers.trained_localizer import Localizer, load_localizer
from saltrust.models.preprocessing import to_input
from saltrust.models.user_code import importable_from
from saltrust.study import ModelSpec, Study

Positions = npt.NDArray[np.intp]


@dataclass(frozen=True)
class PlannedModel:
    """A classifier and the explainers as settled for it.

    Attributes
    ----------
    classifier : Classifier
    explainers : tuple of BoundExplainer
        In the order of the cubes, their layers found.
    """

    classifier: Classifier
    explainers: tuple[BoundExplainer, ...]


@dataclass(frozen=True)
class PlannedEnsemble:
    """The mean of several models.

    Attributes
    ----------
    name : str
    members : tuple of PlannedModel
    stored : tuple of (int or None)
        Position in the cubes of each member; None where only the mean is kept.
    """

    name: str
    members: tuple[PlannedModel, ...]
    stored: tuple[int | None, ...]

    @property
    def architecture(self) -> str:
        """The members' architecture; several are joined by a plus sign."""
        return "+".join(dict.fromkeys(item.classifier.architecture for item in self.members))

    @property
    def checkpoint_sha256(self) -> str:
        """SHA-256 of the members' own, as ``sha256sum`` gives for a list of them in lines."""
        lines = "".join(f"{item.classifier.checkpoint_sha256}\n" for item in self.members)
        return hashlib.sha256(lines.encode()).hexdigest()


@dataclass(frozen=True)
class Plan:
    """All that a job needs to know.

    Attributes
    ----------
    study : Study
    images : ndarray of int, shape (n,)
        Positions in the store of the images to explain: those of the split that have a radiograph.
    models : tuple of PlannedModel
        Whose own results are stored, in the order of the cubes.
    ensembles : tuple of PlannedEnsemble
        Stored behind the models.
    device : torch.device
    precision : str
        In which heatmaps are computed.
    randomization : RandomizationPlan or None
        What is made of random networks, where the study asks for it.
    localizers : tuple of Localizer
        Networks that localise, in the order of ``/localizer``: those of the study, then the
        decoders of classifiers that were trained with one.
    faithfulness : FaithfulnessPlan or None
        Which curves of maps are computed, where the study asks for them.
    """

    study: Study
    images: Positions
    models: tuple[PlannedModel, ...]
    device: torch.device
    randomization: RandomizationPlan | None = None
    ensembles: tuple[PlannedEnsemble, ...] = ()
    localizers: tuple[Localizer, ...] = ()
    precision: str = "float32"
    faithfulness: FaithfulnessPlan | None = None

    @property
    def perturbation(self) -> PerturbationPlan | None:
        """Which radiographs are changed, and how, where the study asks for it."""
        return plan_perturbation(self.study, self.images) if self.models else None

    @property
    def has_models(self) -> bool:
        """Whether any classifier is run; a study may have localizers only."""
        return bool(self.models or self.ensembles)

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of every map."""
        return self.study.size

    @property
    def batch_size(self) -> int:
        """Images per forward pass."""
        return self.study.generate.images_at_once

    def batches(self) -> Iterator[Positions]:
        """Positions of the images of each batch, the same at every start.

        A resumed job computes a batch whole or not at all: the last bits of a result depend
        on which images share its batch.
        """
        for start in range(0, len(self.images), self.batch_size):
            yield self.images[start:start + self.batch_size]

    def model_labels(self) -> xr.Dataset:
        """Coordinates of the ``model`` dimension."""
        classifiers = [model.classifier for model in self.models]
        stored: list[Classifier | PlannedEnsemble] = [*classifiers, *self.ensembles]
        return xr.Dataset(coords={
            "model": ("model", [item.name for item in stored]),
            "model_role": ("model", ["member" for _ in classifiers]
                           + ["ensemble" for _ in self.ensembles]),
            "model_architecture": ("model", [item.architecture for item in stored]),
            "model_seed": ("model", [item.seed for item in classifiers]
                           + [-1 for _ in self.ensembles]),
            "model_checkpoint": ("model", [item.checkpoint_sha256 for item in stored]),
        })

    def localizer_labels(self) -> xr.Dataset:
        """Coordinates of the ``model`` dimension of ``/localizer``."""
        return xr.Dataset(coords={
            "model": ("model", [item.name for item in self.localizers]),
            "model_role": ("model", ["member" for _ in self.localizers]),
            "model_architecture": ("model", [item.architecture for item in self.localizers]),
            "model_seed": ("model", [item.seed for item in self.localizers]),
            "model_checkpoint": ("model", [item.checkpoint_sha256 for item in self.localizers]),
        })

    def all_models(self) -> dict[str, PlannedModel]:
        """Every model that is run, stored or only a member, by name."""
        members = [member for ensemble in self.ensembles for member in ensemble.members]
        return {model.classifier.name: model for model in [*self.models, *members]}

    def explainer_parameters(self) -> dict[str, str]:
        """Parameters of each explainer as JSON, in the order of the cubes."""
        if not self.has_models:
            return {}
        return {
            spec.stored_name: describe_parameters(
                {name: model.explainers[position] for name, model in self.all_models().items()})
            for position, spec in enumerate(self.study.explainers)
        }

    def explainer_readings(self) -> dict[str, MapReading]:
        """How the maps of each explainer are read, in the order of the cubes."""
        planned = list(self.all_models().values())
        return {item.name: item.reading for item in planned[0].explainers} if planned else {}

    def explainer_labels(self) -> xr.Dataset | None:
        """Coordinates of the ``explainer`` dimension; None where there are predictions only."""
        parameters = self.explainer_parameters()
        if not parameters:
            return None
        return xr.Dataset(coords={
            "explainer": ("explainer", list(parameters)),
            "explainer_parameters": ("explainer", list(parameters.values())),
            READING: ("explainer", list(self.explainer_readings().values())),
        })


def make_plan(collection: Collection, study: Study, device: torch.device,
              precision: str = "float32") -> Plan:
    """Load and check everything a job rests on.

    Each model explains one finding of a black image by every explainer, so that whatever does
    not fit together is found now.

    Parameters
    ----------
    collection : Collection
    study : Study
    device : torch.device
    precision : {'float32', 'tf32', 'bf16'}

    Raises
    ------
    UsageError
        If the device does not have the precision, or the study declares neither models nor
        localizers, names an explainer, a parameter or a layer that does not exist, a stage of
        randomization that a model does not have, or weights that are not there.
    DataError
        If the data set has no radiographs, or none in the split to explain; if weights belong
        to another architecture or lack a finding; if an explainer does not return heatmaps.
    """
    check_precision(precision, device)
    if not collection.has_radiographs:
        raise DataError("the data set holds annotations but no radiographs, which heatmaps are "
                        "made from; name a data set with images under [data]")
    if not study.models and not study.ensembles and not study.localizers:
        raise UsageError("the study declares no [[models]]; add one with a name and an "
                         "architecture")
    images = select_images(collection, study.generate.split)
    findings = [str(name) for name in collection.index["finding"].values]
    with importable_from(study.folder):
        explainers = [resolve(spec) for spec in study.explainers]
    members = {ensemble.name: study.members(ensemble) for ensemble in study.ensembles}
    loaded = {}
    for spec in [*study.models, *(spec for specs in members.values() for spec in specs)]:
        if spec.name not in loaded:
            classifier = load_classifier(spec, study, findings)
            loaded[spec.name] = PlannedModel(classifier,
                                             _fit(classifier, explainers, study.size))
    stored = _stored_names(study, members)
    models = [loaded[name] for name in stored]
    ensembles = tuple(
        PlannedEnsemble(name, tuple(loaded[spec.name] for spec in specs),
                        tuple(stored.index(spec.name) if spec.name in stored else None
                              for spec in specs))
        for name, specs in members.items())
    randomization = plan_randomization(study, [item.classifier for item in models], images,
                                       collection.index["label"].values)
    plan_perturbation(study, images)
    localizers = [load_localizer(spec, study, findings) for spec in study.localizers]
    decoders = [trained_decoder(item.classifier) for item in models]
    localizers += [item for item in decoders if item is not None]
    plan = Plan(study, images, tuple(models), device, randomization, ensembles,
                tuple(localizers), precision)
    return replace(plan, faithfulness=plan_faithfulness(
        study, plan.explainer_readings(), images, collection.index["label"].values))


def _stored_names(study: Study, members: dict[str, tuple[ModelSpec, ...]]) -> list[str]:
    """Names of the models that are stored for themselves: not those of ensembles alone."""
    averaged = {spec.name for specs in members.values() for spec in specs}
    kept = {spec.name for ensemble in study.ensembles if ensemble.keep_members
            for spec in members[ensemble.name]}
    for name in study.randomization.models:
        if name in averaged - kept:
            raise UsageError(f"model {name!r} of [randomization] is only averaged into an "
                             "ensemble; set keep_members = true there, so that its own maps are "
                             "stored beside the random ones")
    return [name for name in dict.fromkeys(
        [*(model.name for model in study.models), *sorted(kept)])
        if name in kept or name not in averaged]


def select_images(collection: Collection, split: str) -> Positions:
    """Positions of the images of a split, or of ``all``, that have a radiograph.

    Raises
    ------
    DataError
        If there is none.
    """
    index = collection.index
    if split == "all":
        chosen = np.ones(index.sizes["image"], dtype=bool)
    elif "split" in index:
        chosen = index["split"].values == split
    else:
        chosen = np.zeros(index.sizes["image"], dtype=bool)
    if not chosen.any():
        names = sorted(set(map(str, index["split"].values.tolist()))) if "split" in index else []
        raise DataError(f"the data set has no image in split {split!r}; set `split` of [generate] "
                        f"to {', '.join(repr(name) for name in [*names, 'all'])}")
    present = with_radiograph(collection)
    if not (chosen & present).any():
        raise DataError(f"none of the {int(chosen.sum())} images of split {split!r} has a "
                        "radiograph; complete the folder of images, or set another `split` of "
                        "[generate]")
    return np.flatnonzero(chosen & present)


def _fit(classifier: Classifier, explainers: list[BoundExplainer],
         size: tuple[int, int]) -> tuple[BoundExplainer, ...]:
    black = torch.zeros(1, *size, dtype=torch.uint8)
    probe = to_input(black, classifier.preprocessing)
    try:
        fitted = [item.fit(classifier.module, probe) for item in explainers]
        explain(classifier.module, probe, classifier.output_index[:1],
                [item.with_trial_parameters() for item in fitted])
    except (DataError, UsageError) as error:
        raise type(error)(f"model {classifier.name!r}: {error}") from None
    return tuple(fitted)
