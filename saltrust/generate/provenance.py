"""What a store records of how it was made, and what must agree for a job to be resumed."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import torch

from saltrust.cache.collection import Collection
from saltrust.cache.readings import BY_NAME
from saltrust.generate.plan import Plan
from saltrust.models.localizers.trained_localizer import Localizer

# scikit-image segments radiographs for XRAI; numpy draws the noise.
_PACKAGES = ("numpy", "xarray", "zarr", "torch", "torchvision", "scikit-image",
             "segmentation-models-pytorch")
#: Libraries of explainers, by how the names of these begin; scikit-learn fits captum's models.
_OF_EXPLAINERS = {"captum.": ("captum", "scikit-learn"), "pytorch_grad_cam.": ("grad-cam",)}


def identity(plan: Plan, collection: Collection) -> dict[str, Any]:
    """Everything that the contents of the cubes follow from, besides labels and grid.

    Two jobs of equal identity give the same cubes, to the last bit on the CPU.  The keys are
    written to be read: the message that refuses to resume names those that differ.
    """
    spec = plan.study.generate
    return {
        # Radiographs are compared one by one, by the content of their files.
        "data set": collection.fingerprint,
        "seed": plan.study.seed,
        "split": spec.split,
        "batch size": plan.batch_size,
        "device": plan.device.type,
        "precision": plan.precision,
        **({"compilation of networks": True} if spec.compile else {}),
        "torch version": metadata.version("torch"),
        **{f"model {name!r}": {key: facts[key] for key in (
            "checkpoint_sha256", "preprocessing", "output") if key in facts}
           for name, facts in _describe_models(plan).items()},
        **{f"ensemble {item.name!r}": [member.classifier.name for member in item.members]
           for item in plan.ensembles},
        **{f"set of parameters of explainer {name!r}": parameters
           for name, parameters in plan.explainer_parameters().items()},
        # Those that their labels do not tell.
        **{f"method of explainer {spec.label!r}": spec.name for spec in plan.study.explainers
           if spec.label and plan.has_models},
        **{f"{package} version": version for package, version in _library_versions(plan).items()},
        # Those that their names do not tell: unfinished stores of earlier versions have none.
        **{f"reading of explainer {name!r}": reading
           for name, reading in plan.explainer_readings().items()
           if reading != BY_NAME.get(name, "raw")},
        **{f"localizer {item.name!r}": {
            "checkpoint_sha256": item.checkpoint_sha256, "findings": list(item.findings),
            "preprocessing": item.preprocessing.as_dict(), "rounded": item.rounded}
           for item in plan.localizers},
        **({"randomization": _digest(plan.randomization.describe())}
           if plan.randomization else {}),
        **({"faithfulness": _digest(plan.faithfulness.describe())}
           if plan.faithfulness else {}),
        **({"perturbation": _digest(plan.perturbation.describe())}
           if plan.perturbation else {}),
    }


def attributes(plan: Plan, collection: Collection, command_line: str) -> dict[str, Any]:
    """Root attributes of the store: plain JSON values.

    Parameters
    ----------
    plan : Plan
    collection : Collection
    command_line : str
    """
    models = _describe_models(plan)
    return {
        "command_line": command_line,
        "study": plan.study.as_dict(),
        "study_fingerprint": plan.study.fingerprint(),
        "data": collection.description,
        "data_fingerprint": collection.fingerprint,
        "models": models,
        **({"ensembles": {item.name: [member.classifier.name for member in item.members]
                          for item in plan.ensembles}} if plan.ensembles else {}),
        **({"localizers": {item.name: _describe_localizer(item) for item in plan.localizers}}
           if plan.localizers else {}),
        **({"faithfulness": plan.faithfulness.facts()} if plan.faithfulness else {}),
        "seeds": {"study": plan.study.seed,
                  "models": {name: facts["seed"] for name, facts in models.items()},
                  **({"localizers": {item.name: item.seed for item in plan.localizers}}
                     if plan.localizers else {}),
                  **({"randomization": list(plan.randomization.seeds)}
                     if plan.randomization else {})},
        "versions": {"python": platform.python_version(), **_versions(_PACKAGES),
                     **_library_versions(plan)},
        "device": plan.device.type,
        "precision": plan.precision,
        **({"compile": True} if plan.study.generate.compile else {}),
        "device_name": _device_name(plan.device),
        "batch_size": plan.batch_size,
        "threads": torch.get_num_threads(),
    }


def _describe_models(plan: Plan) -> dict[str, dict[str, Any]]:
    classifiers = [model.classifier for model in plan.all_models().values()]
    return {
        item.name: {
            "architecture": item.architecture,
            "checkpoint_sha256": item.checkpoint_sha256,
            "seed": item.seed,
            "outputs": list(item.outputs),
            "preprocessing": item.preprocessing.as_dict(),
            **({"output": {"kind": item.answer.kind, "select": item.answer.select}}
               if (item.answer.kind, item.answer.select) != ("logits", None) else {}),
            **({"assumed": list(item.assumed)} if item.assumed else {}),
            # What a classifier was trained with beside labels.
            **({"guidance": item.card["guidance"]} if "guidance" in item.card else {}),
        }
        for item in classifiers
    }


def _describe_localizer(item: Localizer) -> dict[str, Any]:
    return {
        "architecture": item.architecture,
        "checkpoint_sha256": item.checkpoint_sha256,
        "seed": item.seed,
        "findings": list(item.findings),
        "rounded": item.rounded,
        "preprocessing": item.preprocessing.as_dict(),
    }


def _digest(values: Any) -> str:
    """A short text in place of long lists."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def _library_versions(plan: Plan) -> dict[str, str]:
    """Of the libraries whose explainers the study asks for."""
    packages = [package for prefix, names in _OF_EXPLAINERS.items() for package in names
                if any(spec.name.startswith(prefix) for spec in plan.study.explainers)]
    return _versions(packages) if plan.has_models else {}


def _versions(packages: Sequence[str]) -> dict[str, str]:
    versions = {}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
