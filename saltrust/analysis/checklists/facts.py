"""What cubes and a plan say of a study, each fact with the place where it stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from saltrust.analysis.planning.declaration import PlanFile
from saltrust.analysis.stored.arrays import dataset_of, labels_of, texts_of
from saltrust.analysis.stored.images import StudyImages, images_of
from saltrust.cache.inspection import describe
from saltrust.cache.schema import Label, Status

#: Covariates of images that say who the patients are.
_DEMOGRAPHIC = ("age", "sex", "site", "race", "ethnicity")
_COORDINATES = {"image", "finding", "patient", "study", "view", "split", "native_height",
                "native_width"}
#: Characters of a fact.
_MOST = 400


class Fact(NamedTuple):
    """One thing that is known.

    Attributes
    ----------
    text : str
    source : str
        Group, coordinate or attribute of the store, or key of the plan.
    """

    text: str
    source: str


def facts_of(cubes: xr.DataTree, plan: PlanFile | None = None) -> dict[str, Fact]:
    """Everything that is known, by the names of :mod:`saltrust.analysis.checklists.items`.

    Parameters
    ----------
    cubes : xarray.DataTree
    plan : PlanFile, optional

    Returns
    -------
    dict of str to Fact
        What is not known is left out.
    """
    images = images_of(cubes)
    description = describe(cubes)
    made: dict[str, Fact | None] = {
        **_of_images(cubes, images), **_of_labels(images), **_of_reference(cubes),
        **_of_maps(cubes), **_of_attributes(cubes, description)}
    if plan is not None:
        made |= _of_plan(plan)
    return {name: Fact(_short(fact.text), fact.source) for name, fact in made.items()
            if fact is not None and fact.text}


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MOST else text[:_MOST - 4] + " ..."


def _counted(values: Sequence[str], empty: str = "not stated") -> str:
    counts = Counter(value or empty for value in values)
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _of_images(cubes: xr.DataTree, images: StudyImages) -> dict[str, Fact | None]:
    root = cubes.to_dataset()
    made: dict[str, Fact | None] = {"images": Fact(
        f"{len(images.names)} images of {len(set(images.patients))} patients", "/image, /patient")}
    if images.splits:
        members: dict[str, list[str]] = {}
        for patient, split in zip(images.patients, images.splits, strict=True):
            members.setdefault(split or "none", []).append(patient)
        parts = {split: f"{split}: {len(its)} images of {len(set(its))} patients"
                 for split, its in members.items()}
        made["splits"] = Fact("; ".join(parts.values()), "/split")
        if len(members) > 1:
            made["disjoint"] = Fact(_disjoint(images), "/split, /patient")
        if "test" in parts:
            made["test_size"] = Fact(parts["test"], "/split")
    if "view" in root.variables:
        made["views"] = Fact(_counted(texts_of(root["view"], ["image"])), "/view")
    covariates = [str(name) for name, array in root.coords.items()
                  if str(name) not in _COORDINATES and array.dims == ("image",)]
    if covariates:
        made["covariates"] = Fact(f"known of images: {', '.join(covariates)}; groups are compared "
                                  "with --by", ", ".join(f"/{name}" for name in covariates))
    people = [name for name in covariates if name.lower() in _DEMOGRAPHIC]
    if people:
        made["demographics"] = Fact("; ".join(_summary(root[name], name, images)
                                              for name in people),
                                    ", ".join(f"/{name}" for name in people))
    return made


def _disjoint(images: StudyImages) -> str:
    owned: dict[str, set[str]] = {}
    for patient, split in zip(images.patients, images.splits, strict=True):
        owned.setdefault(patient, set()).add(split)
    shared = sum(len(splits) > 1 for splits in owned.values())
    return ("no patient is in two partitions" if not shared else
            f"{shared} patient{'s are' if shared > 1 else ' is'} in more than one partition")


def _summary(array: xr.DataArray, name: str, images: StudyImages) -> str:
    """Of patients, each with the value of the first image."""
    first = {patient: k for k, patient in reversed(list(enumerate(images.patients)))}
    values = array.values[sorted(first.values())]
    if array.dtype.kind in "iuf":
        known = values[np.isfinite(values.astype(np.float64))].astype(np.float64)
        if not len(known):
            return ""
        low, middle, high = np.quantile(known, [0.25, 0.5, 0.75])
        return f"{name}: median {middle:g} (quartiles {low:g}, {high:g}) of {len(known)} patients"
    return f"{name}: {_counted([str(value) for value in values])} patients"


def _of_labels(images: StudyImages) -> dict[str, Fact | None]:
    made: dict[str, Fact | None] = {"findings": Fact(", ".join(images.findings), "/finding")}
    if images.labels is None:
        return made
    test = np.array([split == "test" for split in images.splits], dtype=bool)
    chosen = images.labels[test] if test.any() else images.labels
    counts = [f"{finding} {int((labels == Label.POSITIVE).sum())} of "
              f"{int(np.isin(labels, (Label.POSITIVE, Label.NEGATIVE)).sum())}"
              for finding, labels in zip(images.findings, chosen.T, strict=True)]
    made["prevalence"] = Fact(f"positive images{' of the test set' if test.any() else ''}: "
                              + ", ".join(counts), "/reference/label")
    missing = int((images.labels == Label.NOT_STATED).sum())
    uncertain = int((images.labels == Label.UNCERTAIN).sum())
    made["labels_missing"] = Fact(f"{missing} labels not stated and {uncertain} uncertain, of "
                                  f"{images.labels.size}; analyses leave both out",
                                  "/reference/label")
    return made


def _of_reference(cubes: xr.DataTree) -> dict[str, Fact | None]:
    reference = dataset_of(cubes, "reference")
    if reference is None or "reader" not in reference.dims:
        return {}
    readers = labels_of(reference, "reader")
    roles = ([str(role) for role in reference["reader_role"].values.ravel()]
             if "reader_role" in reference.coords else ["" for _ in readers])
    of_role = {role: [name for name, its in zip(readers, roles, strict=True) if its == role]
               for role in dict.fromkeys(roles)}
    made: dict[str, Fact | None] = {"readers": Fact("; ".join(
        f"{role or 'role not stated'}: {', '.join(names)}" for role, names in of_role.items()),
        "/reference/reader")}
    if "reference" in of_role:
        made["reference"] = Fact("masks of " + ", ".join(of_role["reference"]),
                                 "/reference/mask_rle")
    if "benchmark" in of_role:
        made["benchmark"] = Fact(f"{len(of_role['benchmark'])} readers annotated beside the "
                                 "reference", "/reference/reader_role")
    if "annotated" in reference:
        count = int(reference["annotated"].values.sum())
        made["annotations"] = Fact(f"{count} annotations of image, finding and reader",
                                   "/reference/annotated")
    return made


def _of_maps(cubes: xr.DataTree) -> dict[str, Fact | None]:
    made: dict[str, Fact | None] = {}
    saliency = dataset_of(cubes, "saliency")
    if saliency is not None and "status" in saliency:
        made["explainers"] = Fact(", ".join(labels_of(saliency, "explainer")),
                                  "/saliency/explainer")
        if "explainer_reading" in saliency.coords:
            made["readings"] = Fact("read as " + ", ".join(
                f"{name} {reading}" for name, reading in zip(
                    labels_of(saliency, "explainer"),
                    (str(one) for one in saliency["explainer_reading"].values.ravel()),
                    strict=True)), "/saliency/explainer_reading")
        status = saliency["status"].values
        failed = int(np.isin(status, (Status.FLAT, Status.NONFINITE)).sum())
        made["maps_failed"] = Fact(f"{failed} of {status.size} maps are flat or not finite; a "
                                   "positive's counts as a miss", "/saliency/status")
        missing = int((status == Status.MISSING).sum())
        made["maps_missing"] = Fact(f"{missing} of {status.size} maps were not made",
                                    "/saliency/status")
    randomized = dataset_of(cubes, "randomization")
    if randomized is not None and "stage" in randomized.dims:
        made["randomization"] = Fact(f"cascading randomization in {randomized.sizes['stage']} "
                                     "stages", "/randomization")
    return made


def _of_attributes(cubes: xr.DataTree, description: Mapping[str, Any]
                   ) -> dict[str, Fact | None]:
    attributes = cubes.attrs
    models = attributes.get("models")
    models = models if isinstance(models, Mapping) else {}
    study = attributes.get("study")
    train = study.get("train") if isinstance(study, Mapping) else None
    train = train if isinstance(train, Mapping) else {}
    grid = description.get("grid")
    software = {"saltrust": attributes.get("saltrust_version"),
                **{name: attributes.get(name) for name in ("versions", "device_name")}}
    made: dict[str, Fact | None] = {
        "grid": Fact(f"maps at {' x '.join(map(str, grid))} pixels", "/saliency") if grid
        else None,
        "software": Fact(_flat({name: value for name, value in software.items() if value}),
                         "attributes saltrust_version, versions, device_name"),
        "training": Fact(_flat(train), "attribute study, train"),
        "ensembles": _attribute(attributes, "ensembles"),
        "data": _attribute(attributes, "data"),
        "statistics": Fact("saltrust: estimates clustered by patient; `methods.md` of the protocol "
                           "has every definition", "saltrust"),
        "left_out": Fact(_flat(description.get("left_out") or {}), "attribute data, left_out"),
    }
    for name, key in (("architectures", "architecture"), ("checkpoints", "checkpoint_sha256"),
                      ("preprocessing", "preprocessing"), ("replicates", "seed")):
        made[name] = Fact("; ".join(f"{model}: {_flat(card[key])}" for model, card in models.items()
                                    if isinstance(card, Mapping) and key in card),
                          f"attribute models, {key}")
    return made


def _attribute(attributes: Mapping[Any, Any], name: str) -> Fact | None:
    return Fact(_flat(attributes[name]), f"attribute {name}") if attributes.get(name) else None


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_flat(one)}" if len(value) > 1 else _flat(one)
                         for key, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_flat, value))
    return str(value)


def _of_plan(file: PlanFile) -> dict[str, Fact | None]:
    plan = file.plan
    primary, size = plan.primary, plan.sample_size
    texts: dict[str, tuple[str, str]] = {
        "question": (plan.question, "question"), "hypothesis": (plan.hypothesis, "hypothesis"),
        "claim": (f"to show {primary.claim}", "primary.claim"),
        "primary": (f"{primary.analysis}, table {primary.table}: {_flat(primary.row)}",
                    "primary"),
        "secondary": ("; ".join(f"{one.analysis}, {one.table}" for one in plan.secondary),
                      "secondary"),
        "families": (f"adjusted by {plan.families.adjustment}, level {primary.alpha:g}",
                     "families, primary.alpha"),
        "exclusions": ("; ".join(plan.exclusions.rules), "exclusions.rules"),
        "sample_size": (f"{size.patients} patients: {size.justification}" if size.patients else "",
                        "sample_size"),
        "selection": (_flat([*plan.data.findings, *filter(None, [plan.data.split])]), "data"),
        "frozen": (f"plan frozen on {plan.frozen.date}; data seen: {plan.frozen.data_seen}"
                   if plan.frozen.date else "", "frozen"),
        "plan": (f"plan frozen on {plan.frozen.date}, {plan.frozen.content}"
                 if plan.frozen.date else "plan, not frozen", "frozen")}
    return {name: Fact(text, f"plan, {key}") for name, (text, key) in texts.items()}


