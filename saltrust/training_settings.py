"""What ``[train]`` of a study file can say, and what counts where a preset differs."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

from saltrust.errors import UsageError
from saltrust.presets import DEFAULT_PRESETS, PRESETS
from saltrust.typed_table import bounded, build

UNCERTAIN_POLICIES = ("ignore", "zeros", "ones", "three-class")
PRECISIONS = ("float32", "tf32", "bf16", "float16")


@dataclass(frozen=True)
class TrainSpec:
    """``[train]``: how every model of the study is trained; of one model, in its ``train``."""

    preset: str = bounded("", choices=("", *PRESETS),
                          help="published settings, for all entries they are made for")
    epochs: int = bounded(3, 1, 10_000, help="most passes over the training images")
    batch_size: int = bounded(16, 1, 65_536)
    learning_rate: float = bounded(1e-4, 1e-12, 10.0)
    weight_decay: float = bounded(0.0, 0.0, 10.0)
    patience: int = bounded(4, 1, 10_000, help="epochs without a better validation score")
    plateau_factor: float = bounded(1.0, 1e-6, 1.0,
                                    help="of the learning rate, where the validation loss stays; "
                                         "1: a fixed rate")
    plateau_patience: int = bounded(3, 0, 10_000,
                                    help="the rate drops after more epochs than this without a "
                                         "lower validation loss")
    validations_per_epoch: int = bounded(1, 1, 10_000, help="evenly spaced")
    keep: int = bounded(0, 0, 10_000,
                        help="best checkpoints of each epoch that are kept beside the best of "
                             "all, for an ensemble")
    selection_findings: tuple[str, ...] = bounded(
        (), help="the mean AUC of these decides what is best; empty: of all")
    balanced: bool = bounded(False, help="as many training images with a finding as without")
    precision: str = bounded("float32", choices=PRECISIONS,
                             help="of the arithmetic; tf32 and float16 on CUDA only")
    uncertain: str = bounded("ignore", choices=UNCERTAIN_POLICIES,
                             help="what an uncertain label counts as")
    augment: bool = bounded(False, help="random shifts, small rotations and contrast")


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


def settle(wide: TrainSpec, stated: Collection[str], entry: TrainedEntry) -> TrainSpec:
    """How one entry is trained; see :meth:`saltrust.study.Study.training_of`.

    Parameters
    ----------
    wide : TrainSpec
        ``[train]`` of the study.
    stated : collection of str
        Its keys that the file states, even if with their default.
    entry : TrainedEntry

    Raises
    ------
    UsageError
        If its preset is for another kind of model, or its ``train`` has an unknown key or value.
    """
    preset = _preset_of(wide, entry)
    published = PRESETS[preset] if preset else None
    if published and published.kind != entry.kind:
        fitting = [name for name, item in PRESETS.items() if item.kind == entry.kind]
        raise UsageError(f"preset {preset!r} of {entry.name!r} is for another kind of model; "
                         f"take one of {', '.join(fitting)}")
    of_entry = build(TrainSpec, entry.train, f"model {entry.name!r}", "train")
    return dataclasses.replace(
        TrainSpec(), **{**(published.settings if published else {}), **_stated(wide, stated),
                        **{key: getattr(of_entry, key) for key in entry.train},
                        "preset": preset})


def overridden(wide: TrainSpec, stated: Collection[str], entry: TrainedEntry
               ) -> dict[str, tuple[Any, Any]]:
    """What ``[train]`` states in place of an entry's preset; parameters as of :func:`settle`.

    Returns
    -------
    dict of str to (object, object)
        By key: what ``[train]`` states, which counts, and what the preset says.
    """
    preset = _preset_of(wide, entry)
    published = PRESETS[preset].settings if preset else {}
    return {key: (value, published[key]) for key, value in _stated(wide, stated).items()
            if key in published and key not in entry.train and value != published[key]}


def _preset_of(wide: TrainSpec, entry: TrainedEntry) -> str:
    """The preset that an entry is trained with; empty: none."""
    of_all = wide.preset
    if of_all and PRESETS[of_all].kind != entry.kind:
        of_all = ""
    return entry.preset or of_all or DEFAULT_PRESETS.get(entry.kind, "")


def _stated(wide: TrainSpec, stated: Collection[str]) -> dict[str, Any]:
    plain = TrainSpec()
    return {item.name: getattr(wide, item.name) for item in dataclasses.fields(plain)
            if item.name in stated or getattr(wide, item.name) != getattr(plain, item.name)}
