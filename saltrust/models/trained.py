"""Trained networks of a study, whatever their kind: found, read, and checked to fit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from saltrust.errors import DataError, SaltrustError, UsageError
from saltrust.models.checkpoint import WEIGHTS_FILE, read_card, read_weights, sha256_of
from saltrust.models.classifiers.libraries.registry import located, published_findings
from saltrust.models.classifiers.registry import Architecture, importable_from, preprocessing_of
from saltrust.models.classifiers.three_class import CLASSES, answer_with_contrast
from saltrust.models.output_names import output_index
from saltrust.models.preprocessing import Preprocessing
from saltrust.models.weights import fit_weights
from saltrust.study import LocalizerSpec, ModelSpec, Study

#: Of folders that earlier versions of transformers left.
_OTHER_WEIGHTS_FILES = ("pytorch_model.bin",)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Family:
    """How networks of one kind are built and tried.

    Attributes
    ----------
    build : callable
        ``build(architecture, n_outputs, **arguments)``.
    known : mapping
        Architectures by name.
    check : callable
        ``check(architecture, module, preprocessing, grid, n_outputs)``; raises UsageError.
    """

    build: Callable[..., nn.Module]
    known: Mapping[str, Architecture]
    check: Callable[[str, nn.Module, Preprocessing, int, int], None]


@dataclass(frozen=True)
class Trained:
    """A network with its weights, and what its card says.

    Attributes
    ----------
    name : str
        Label of the model in the cubes.
    module : torch.nn.Module
        In evaluation mode, on the CPU, its parameters without gradients; gradients with
        respect to the input flow.
    findings : tuple of str
        What was asked for, in the order of the request.
    output_index : tuple of int
        The output of the module for each of ``findings``.
    outputs : tuple of str
        Names of all outputs of the module.
    preprocessing : Preprocessing
    architecture : str
    seed : int
        It was trained with; -1 unknown.
    checkpoint_sha256 : str
        SHA-256 of the file of weights.
    card : dict
        All that its card says.
    """

    name: str
    module: nn.Module
    findings: tuple[str, ...]
    output_index: tuple[int, ...]
    outputs: tuple[str, ...]
    preprocessing: Preprocessing
    architecture: str
    seed: int
    checkpoint_sha256: str
    card: dict[str, Any] = field(default_factory=dict)


def checkpoint_path(spec: ModelSpec | LocalizerSpec, study: Study) -> Path:
    """The file of weights of a model: the one named, or what ``saltrust train`` left."""
    if not spec.checkpoint:
        return study.run_folder(spec) / WEIGHTS_FILE
    path = study.path(spec.checkpoint)
    if not path.is_dir():
        return path
    return next((path / name for name in (WEIGHTS_FILE, *_OTHER_WEIGHTS_FILES)
                 if (path / name).is_file()), path / WEIGHTS_FILE)


def load_trained(spec: ModelSpec | LocalizerSpec, study: Study, findings: Sequence[str],
                 family: Family) -> Trained:
    """Load one network of a study and check that it fits.

    A network may know more findings than the study asks for, in any order: outputs are
    chosen by the names on its card, or of the library it comes from, with the aliases of
    :func:`saltrust.models.output_names.common_name`.  Other weights without a card must have
    exactly the findings asked for, in their order.

    Parameters
    ----------
    spec : ModelSpec or LocalizerSpec
    study : Study
    findings : sequence of str
    family : Family

    Raises
    ------
    UsageError
        If there are no weights yet, or the study names another architecture than the card.
    DataError
        If weights or card cannot be read, belong to something else, or lack a finding.
    """
    path = checkpoint_path(spec, study)
    if not path.is_file():
        way_out = (f"check `checkpoint` of model {spec.name!r}" if spec.checkpoint
                   else "run `saltrust train` on the study first, or name a `checkpoint`")
        raise UsageError(f"model {spec.name!r} has no weights at {path}: {way_out}")
    sha256 = sha256_of(path)
    card = read_card(path, sha256)
    tensors = read_weights(path)
    architecture = _architecture(spec, card or {})
    source = located(architecture, study.folder)
    published = published_findings(source, tensors) if card is None else None
    if published:
        _log.warning("model %r: %s has no card; its outputs are taken to be those that %s "
                     "publishes", spec.name, path, architecture)
        card = {"findings": published}
    elif card is None:
        _log.warning("model %r: %s has no card; its outputs are taken to be the findings of the "
                     "study, in their order", spec.name, path)
        card = {"findings": list(findings)}
    outputs = _outputs(card, path)
    columns = output_index(outputs, findings, spec.name, path)
    three_class = _is_three_class(card, path)
    n_outputs = len(outputs) * (len(CLASSES) if three_class else 1)
    with importable_from(study.folder):
        module = family.build(source, n_outputs, **{**card.get("arguments", {}),
                                                    **spec.arguments})
    fit_weights(module, tensors, path, f"architecture {architecture!r} with {n_outputs} outputs")
    if three_class:
        answer_with_contrast(module)
    preprocessing = preprocessing_of(architecture, module, family.known)
    if "preprocessing" in card:
        try:
            preprocessing = Preprocessing.from_dict(card["preprocessing"])
        except SaltrustError as error:
            raise DataError(f"card of {path}: {error}") from None
        _check_range(preprocessing, module, path)
    family.check(architecture, module, preprocessing, study.grid, len(outputs))
    _warn(spec, study, card, path)
    return Trained(spec.name, module.eval().requires_grad_(False), tuple(findings), columns,
                   outputs, preprocessing, architecture, int(card.get("seed", -1)), sha256, card)


def _outputs(card: dict[str, Any], path: Path) -> tuple[str, ...]:
    names = card.get("findings")
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise DataError(f"card of {path} must have `findings`, the names of the model's outputs "
                        "in order")
    return tuple(names)


def _check_range(carded: Preprocessing, module: nn.Module, path: Path) -> None:
    """Refuse a card whose black and white lie outside what the network itself states to take."""
    stated = getattr(module, "preprocessing", None)
    if not isinstance(stated, Preprocessing):
        return
    (low, high), (least, most) = carded.input_range, stated.input_range
    if low < least or high > most:
        raise DataError(f"card of {path} gives the model an input_range of {low:g} to {high:g}, "
                        f"outside the {least:g} to {most:g} that {type(module).__name__} states: "
                        "correct `preprocessing` of the card or of the network")


def _is_three_class(card: dict[str, Any], path: Path) -> bool:
    classes = card.get("classes")
    if classes not in (None, list(CLASSES)):
        raise DataError(f"card of {path}: `classes` of each finding must be {list(CLASSES)}, in "
                        f"this order, not {classes}")
    return classes is not None


def _architecture(spec: ModelSpec | LocalizerSpec, card: dict[str, Any]) -> str:
    stated = str(card.get("architecture", spec.architecture))
    if stated != spec.architecture:
        raise UsageError(f"model {spec.name!r} is {spec.architecture!r} in the study file, but "
                         f"its weights are of {stated!r}: correct `architecture`, or train again "
                         "with --overwrite")
    return stated


def _warn(spec: ModelSpec | LocalizerSpec, study: Study, card: dict[str, Any],
          path: Path) -> None:
    if card.get("complete") is False:
        _log.warning("model %r: training was cut short; %s holds its best epoch so far",
                     spec.name, path)
    grid = card.get("grid", study.grid)
    if grid != study.grid:
        _log.warning("model %r was trained at a grid of %s and is used at %s", spec.name, grid,
                     study.grid)
