"""Which model of the cubes was guided by what, and which baseline it is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import xarray as xr

from saltrust.analysis.stored.arrays import dataset_of, labels_of, values_of
from saltrust.analysis.stored.contents import source
from saltrust.errors import DataError, UsageError

#: Losses in the order of the tables, and how these name them.
LOSSES = {"classification": "classification only", "decoder": "baseline: decoder against gaze",
          "set1": "set 1: map against gaze", "set2": "set 2: decoder against map",
          "set3": "set 3: decoder and map against gaze"}
RULES = ("guided_backprop", "deconvnet")


@dataclass(frozen=True)
class Arm:
    """How one model was trained.

    Attributes
    ----------
    model : str
        Name in the cubes.
    loss : str
        One of :data:`LOSSES`.
    rule : str
        Whose map was in the loss; empty where none was.
    seed : int
        It was trained with; -1 unknown.
    baseline : str
        The model trained with the decoder against gaze from the same seed, else the first such
        model; empty where there is none, or this is one.
    """

    model: str
    loss: str
    rule: str
    seed: int
    baseline: str

    @property
    def label(self) -> str:
        """Loss and rule, for a row of a table."""
        return LOSSES[self.loss] + (f", {self.rule}" if self.rule else "")


def without_decoder(arms: Sequence[Arm], arm: Arm) -> str:
    """The model trained for classification only from the same seed, else the first such.

    Parameters
    ----------
    arms : sequence of Arm
    arm : Arm

    Returns
    -------
    str
        Empty where there is none, or this is one.
    """
    plain = [one for one in arms if one.loss == "classification"]
    if not plain or arm.loss == "classification":
        return ""
    return next((one.model for one in plain if one.seed == arm.seed), plain[0].model)


def arms_of(cubes: xr.DataTree, baseline: str | None = None) -> list[Arm]:
    """The models of cubes by how they were trained, in the order of the tables.

    Parameters
    ----------
    cubes : xarray.DataTree
        ``saltrust generate`` records the guidance of every model among the root attributes; a
        model without any was trained for classification only.
    baseline : str, optional
        The model that all others are compared with.

    Returns
    -------
    list of Arm

    Raises
    ------
    UsageError
        If the baseline is not known.
    DataError
        If there are no predictions, or only of models trained without gaze.
    """
    labels = dataset_of(cubes, "prediction")
    if labels is None:
        raise DataError(f"{source(cubes)} has no predictions; run `saltrust generate`")
    names = labels_of(labels, "model")
    recorded: Mapping[str, Any] = cubes.attrs.get("models", {})
    seeds = dict(zip(names, values_of(labels["model_seed"], ["model"]).tolist(), strict=True)) \
        if "model_seed" in labels.coords else {}
    guidance = {name: recorded.get(name, {}).get("guidance", {}) for name in names}
    if baseline is not None and baseline not in names:
        raise UsageError(f"baseline {baseline!r} is not among the models ({', '.join(names)})")
    if not any(guidance.values()) and baseline is None:
        raise DataError(f"{source(cubes)} does not say that any model was trained with gaze; "
                        "declare [models.guidance] in the study, train, and generate the cubes, or "
                        "name the model to compare with as --baseline")
    decoders = [name for name in names if guidance[name].get("loss") == "decoder"]
    of_seed = {int(seeds.get(name, -1)): name for name in reversed(decoders)}
    first = decoders[0] if decoders else ""
    arms = []
    for name in names:
        loss = guidance[name].get("loss", "classification")
        seed = int(seeds.get(name, -1))
        compared_with = baseline or of_seed.get(seed, first)
        alone = name == compared_with or (baseline is None and loss == "decoder")
        rule = guidance[name].get("rule", "") if loss in ("set1", "set2", "set3") else ""
        arms.append(Arm(name, loss, rule, seed, "" if alone else compared_with))
    order = list(LOSSES)
    rules = ("", *RULES)
    return sorted(arms, key=lambda arm: (order.index(arm.loss), rules.index(arm.rule)))
