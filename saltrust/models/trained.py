"""Trained networks of a study, whatever their kind: found, read, and checked to fit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from saltrust.errors import DataError, SaltrustError, UsageError
from saltrust.models.answer import Answer
from saltrust.models.checkpoint import WEIGHTS_FILE, read_card, read_weights, sha256_of
from saltrust.models.classifiers.libraries.registry import located, published_findings
from saltrust.models.classifiers.registry import Architecture
from saltrust.models.classifiers.three_class import CLASSES
from saltrust.models.contract import settle_input, settle_output
from saltrust.models.output_names import output_index
from saltrust.models.preprocessing import Preprocessing
from saltrust.models.stated import stated_preprocessing
from saltrust.models.trial import Expected
from saltrust.models.user_code import importable_from
from saltrust.models.weights import fit_weights
from saltrust.study import LocalizerSpec, ModelSpec, OutputSpec, Study

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
        ``check(module, expected)``, which has the network answer as it is to from then on and
        returns what was assumed; raises UsageError.
    """

    build: Callable[..., nn.Module]
    known: Mapping[str, Architecture]
    check: Callable[[nn.Module, Expected], tuple[str, ...]]


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
    answer : Answer
        What the network returned before it was made to return logits.
    assumed : tuple of str
        What nothing states of its input and output and was taken for granted.
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
    answer: Answer = Answer()
    assumed: tuple[str, ...] = ()


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
    chosen by the names in the study's ``[models.output]``, on its card, of the library it comes
    from, or in its own attribute ``output``, with the aliases of
    :func:`saltrust.models.output_names.common_name`.  Where none of these says, they must be
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
        If there are no weights yet, the study contradicts the card, or the trial of the network
        (:func:`saltrust.models.trial.try_network`) fails.
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
    has_card, card = card is not None, dict(card or {})
    if has_card:
        _check_findings(card, path)
    stated = spec.output if isinstance(spec, ModelSpec) else OutputSpec()
    architecture = _architecture(spec, card)
    source = located(architecture, study.folder)
    three_class = _is_three_class(card, path)
    try:
        published = None if has_card or stated.findings else published_findings(source, tensors)
        known = {**card, "findings": published} if published else card
        _, outputs = settle_output(None, findings, stated=stated, card=known)
        n_outputs = len(outputs) * (len(CLASSES) if three_class else 1)
        with importable_from(study.folder):
            module = family.build(source, n_outputs, **{**card.get("arguments", {}),
                                                        **spec.arguments})
        answer, outputs = settle_output(module, findings, stated=stated, card=known)
        preprocessing, assumed = settle_input(architecture, module, family.known,
                                              stated=spec.input, card=card)
    except SaltrustError as error:
        raise type(error)(f"model {spec.name!r} ({path}): {error}") from error.__cause__
    if published:
        assumed = (*assumed, f"{path.name} has no card; its outputs are taken to be those that "
                             f"{architecture} publishes (`findings` of [models.output])")
    elif not has_card and not stated.findings and outputs == tuple(findings):
        assumed = (*assumed, f"{path.name} has no card; its outputs are taken to be the findings "
                             "of the study, in their order (`findings` of [models.output])")
    columns = output_index(outputs, findings, f"model {spec.name!r} ({path})")
    fit_weights(module, tensors, path, f"architecture {architecture!r} with {n_outputs} outputs")
    if "preprocessing" in card:
        _check_range(preprocessing, module, path)
    answer = replace(answer, three_class=three_class)
    assumed += family.check(module, Expected(
        architecture, preprocessing, study.size, len(outputs), answer,
        isinstance(spec, ModelSpec) and spec.stochastic))
    for words in assumed:
        _log.warning("model %r: %s", spec.name, words)
    _warn(spec, study, card, path)
    return Trained(spec.name, module.eval().requires_grad_(False), tuple(findings), columns,
                   outputs, preprocessing, architecture, int(card.get("seed", -1)), sha256, card,
                   answer, assumed)


def _check_findings(card: Mapping[str, Any], path: Path) -> None:
    names = card.get("findings")
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise DataError(f"card of {path} must have `findings`, the names of the model's outputs "
                        "in order")


def _check_range(carded: Preprocessing, module: nn.Module, path: Path) -> None:
    """Refuse a card whose black and white lie outside what the network itself states to take."""
    try:
        stated = stated_preprocessing(module)
    except DataError:  # It may be a layer of that name, and the card says what is to be known.
        return
    if stated is None:
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
    trained_at = card.get("grid", study.size)
    if isinstance(trained_at, int):
        trained_at = (trained_at, trained_at)
    if tuple(trained_at) != study.size:
        _log.warning("model %r was trained at a grid of %s and is used at %s", spec.name,
                     _size(trained_at), _size(study.size))


def _size(size: Sequence[int]) -> str:
    height, width = size
    return str(height) if height == width else f"{height} x {width}"
