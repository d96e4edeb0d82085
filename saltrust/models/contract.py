"""What a network takes and returns: as its study, its card or the network itself states it.

A study counts most, then the card beside the weights, then the attributes ``preprocessing`` and
``output`` of the network, then what is known of the architecture.  What nothing states is assumed
and said.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from saltrust.errors import DataError, SaltrustError, UsageError, nearest
from saltrust.models.answer import Answer
from saltrust.models.classifiers.registry import ARCHITECTURES, Architecture
from saltrust.models.preprocessing import IMAGENET, Preprocessing
from saltrust.models.stated import stated_preprocessing
from saltrust.reading import shown
from saltrust.study import OUTPUT_KINDS, InputSpec, OutputSpec

_NO_INPUT = InputSpec()
_NO_OUTPUT = OutputSpec()
_OUTPUT_KEYS = ("kind", "findings", "select")


def preprocessing_of(architecture: str, module: nn.Module,
                     known: Mapping[str, Architecture] = ARCHITECTURES) -> Preprocessing:
    """The input contract of a network of which neither study nor card say anything."""
    return settle_input(architecture, module, known)[0]


def settle_input(architecture: str, module: nn.Module, known: Mapping[str, Architecture], *,
                 stated: InputSpec = _NO_INPUT, card: Mapping[str, Any] | None = None
                 ) -> tuple[Preprocessing, tuple[str, ...]]:
    """The input contract of a network.

    Parameters
    ----------
    architecture : str
    module : torch.nn.Module
    known : mapping of str to Architecture
        Where the contract of an architecture stands.
    stated : InputSpec
        By the study.
    card : mapping, optional
        Of the weights.

    Returns
    -------
    Preprocessing
    tuple of str
        What was assumed, in words.

    Raises
    ------
    UsageError
        If study and card contradict each other, or what the study states makes no sense.
    DataError
        If what card or network state cannot be read.
    """
    of_card = None
    if card and card.get("preprocessing"):
        try:
            of_card = Preprocessing.from_dict(card["preprocessing"])
        except SaltrustError as error:
            raise DataError(f"`preprocessing` of its card: {error}") from None
    if stated != _NO_INPUT:
        return _of_study(stated, of_card)
    if of_card is not None:
        return of_card, ()
    of_network = stated_preprocessing(module)
    if of_network is not None:
        return of_network, ()
    if architecture in known:
        return known[architecture].preprocessing, ()
    return IMAGENET, (
        "nothing states what it takes; three channels with ImageNet's mean and deviation are "
        "assumed ([models.input] of the study, or an attribute `preprocessing` of the network)",)


def _of_study(stated: InputSpec, of_card: Preprocessing | None
              ) -> tuple[Preprocessing, tuple[str, ...]]:
    content = {key: value for key, value in dataclasses.asdict(stated).items() if value}
    try:
        preprocessing = Preprocessing.from_dict(content)
    except SaltrustError as error:
        raise UsageError(f"[models.input]: {error}") from None
    if of_card is not None and of_card != preprocessing:
        raise UsageError(f"[models.input] states {preprocessing.as_dict()}, and the card of its "
                         f"weights {of_card.as_dict()}, with which they were trained: leave "
                         "[models.input] out, or correct the card")
    assumed = []
    if not stated.preset:
        if not stated.mean:
            assumed.append("no mean and std: values stay as they are")
        if not stated.range:
            assumed.append("no range: black is 0 and white 1")
    return preprocessing, tuple(f"[models.input] states {words}" for words in assumed)


def settle_output(module: nn.Module | None, findings: Sequence[str], *,
                  stated: OutputSpec = _NO_OUTPUT, card: Mapping[str, Any] | None = None
                  ) -> tuple[Answer, tuple[str, ...]]:
    """The output contract of a network.

    Parameters
    ----------
    module : torch.nn.Module or None
        Its attribute ``output``, a mapping of ``kind``, ``findings`` and ``select``, is read where
        nothing else states them; None: not built yet.
    findings : sequence of str
        Of the study: what its outputs are where nothing says otherwise.
    stated : OutputSpec
        By the study.
    card : mapping, optional
        Of the weights: ``output``, and ``findings``.

    Returns
    -------
    Answer
    tuple of str
        Names of the outputs, in order.

    Raises
    ------
    UsageError
        If study and card contradict each other.
    DataError
        If what the network or its card states is not known.
    """
    of_card = _checked((card or {}).get("output"), "the card's `output`")
    if card and card.get("findings"):
        of_card["findings"] = list(card["findings"])
    of_network = _checked(getattr(module, "output", None),
                          f"the attribute `output` of {type(module).__name__}")
    of_study = {key: value for key, value in dataclasses.asdict(stated).items()
                if value not in ("", ())}
    for key, value in of_study.items():
        plain = list(value) if key == "findings" else value
        if key in of_card and of_card[key] != plain:
            raise UsageError(f"[models.output] states {key} = {shown(plain)}, and the card of its "
                             f"weights {shown(of_card[key])}: leave it out, or correct the card")
    merged = {**of_network, **of_card, **of_study}
    select = merged.get("select")
    return (Answer(str(merged.get("kind") or "logits"), None if select == "" else select),
            tuple(str(name) for name in merged.get("findings") or findings))


def _checked(content: Any, what: str) -> dict[str, Any]:
    # Networks may have a layer of that name.
    if not isinstance(content, Mapping):
        return {}
    for key, value in content.items():
        if key not in _OUTPUT_KEYS:
            raise DataError(f"{what} may have {', '.join(_OUTPUT_KEYS)}, not {shown(key)}")
        if key == "kind" and value not in OUTPUT_KINDS:
            raise DataError(f"{what}: kind {shown(value)} is not known; "
                            f"{nearest(str(value), OUTPUT_KINDS)}")
    return dict(content)
