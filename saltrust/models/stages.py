"""The natural blocks of a network from the top down: stages of cascading randomization."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from saltrust.cache.stage_names import paper_stages
from saltrust.errors import UsageError, nearest

#: Layers whose state belongs to the layer that they normalise.
NORMALIZATIONS = (_NormBase, nn.LayerNorm, nn.GroupNorm)

#: Networks with fewer blocks at one depth are opened one level deeper.
FEWEST_STAGES = 4


@dataclass(frozen=True)
class Stage:
    """One block of a network.

    Attributes
    ----------
    name : str
        Of its module, e.g. ``Mixed_7c``.
    entries : tuple of str
        Names of its parameters and buffers.
    """

    name: str
    entries: tuple[str, ...]


def natural_stages(module: nn.Module, inputs: Tensor) -> tuple[Stage, ...]:
    """Blocks of a network, the one nearest to the logits first.

    Blocks are the network's children, opened level by level until there are at least four:
    InceptionV3 has its logits, its mixed blocks and the convolutions of its stem, DenseNet its
    dense blocks and transitions, ResNet its four layers, EfficientNet the nine parts of its
    features.  They are in the order in which a forward pass leaves them, whatever the order of
    definition.  A normalisation goes with the layer below it.  What no pass enters (a class
    token, an unused head) goes with the last stage, so that every parameter and every buffer
    is in exactly one stage.

    Parameters
    ----------
    module : torch.nn.Module
        Left as it was found.
    inputs : Tensor, shape (B, C, H, W)
        Anything that the network takes; one small black image will do.

    Raises
    ------
    UsageError
        If the network has no parameters.

    Examples
    --------
    >>> network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
    ...                         nn.Linear(144, 2))
    >>> for stage in natural_stages(network, torch.zeros(1, 1, 8, 8)):
    ...     print(stage.name, len(stage.entries))
    4 2
    0 7
    """
    if not any(True for _ in module.parameters()):
        raise UsageError(f"a {type(module).__name__} has no parameters, so there is nothing to "
                         "randomise")
    units = [""]
    stages: tuple[Stage, ...] = ()
    while len(stages) < FEWEST_STAGES:
        opened = [part for unit in units for part in _open(module, unit)]
        if opened == units:
            break
        units = opened
        stages = _top_down(module, units, inputs)
    return stages


def choose_stages(stages: Sequence[Stage], names: Sequence[str], what: str
                  ) -> tuple[tuple[Stage, ...], ...]:
    """Cumulative stages at which to stop.

    Parameters
    ----------
    stages : sequence of Stage
        All of a network, from the top down.
    names : sequence of str
        Where to stop, in any order; empty: everywhere.  The last stage, with which the network
        is wholly random, is always among them.  Those of InceptionV3 may be called as in
        protocol A (:func:`saltrust.cache.stage_names.paper_stages`).
    what : str
        The network, to begin an error message.

    Returns
    -------
    tuple of tuple of Stage
        For every stop, the stages from the top to there.

    Raises
    ------
    UsageError
        If there is no such stage.
    """
    known = [stage.name for stage in stages]
    ours = {paper: name for name, paper in paper_stages(known).items()}
    for name in names:
        if name not in known and name not in ours:
            raise UsageError(f"{what} has no stage {name!r} of randomization; "
                             f"{nearest(name, [*known, *ours])}")
    named = [name if name in known else ours[name] for name in names]
    wanted = {*named, known[-1]} if names else {*known}
    return tuple(tuple(stages[:position + 1]) for position, name in enumerate(known)
                 if name in wanted)


def _state(module: nn.Module, *, recurse: bool = True) -> list[str]:
    """Names of parameters and buffers, those kept out of checkpoints too."""
    return [name for name, _ in (*module.named_parameters(recurse=recurse),
                                 *module.named_buffers(recurse=recurse))]


def _open(module: nn.Module, unit: str) -> list[str]:
    """The children of a unit that hold state, or the unit where that says nothing more.

    State that a module owns itself becomes units of their own, which are no modules.
    """
    try:
        block = module.get_submodule(unit)
    except AttributeError:
        return [unit]
    prefix = f"{unit}." if unit else ""
    children = [name for name, child in block.named_children() if _state(child)]
    single_leaf = len(children) == 1 and not any(
        True for _ in block.get_submodule(children[0]).children())
    if not children or (single_leaf and unit):
        return [unit]
    return [prefix + name for name in (*_state(block, recurse=False), *children)]


def _top_down(module: nn.Module, units: Sequence[str], inputs: Tensor) -> tuple[Stage, ...]:
    order = _order_of_forward(module, units, inputs)
    uncalled = [unit for unit in units if unit not in order]
    names: list[str] = []
    members: dict[str, list[str]] = {}
    above: list[str] = []
    for unit in reversed(order):
        above.append(unit)
        if not isinstance(module.get_submodule(unit), NORMALIZATIONS):
            names.append(unit)
            members[unit], above = above, []
    if not names:
        return (Stage(units[0], _entries(module, units)),)
    # A normalisation of the inputs themselves has nothing below it.
    members[names[-1]] += [*above, *uncalled]
    return tuple(Stage(name, _entries(module, members[name])) for name in names)


def _entries(module: nn.Module, units: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in _state(module)
                 if any(name == unit or name.startswith(f"{unit}.") for unit in units))


def _order_of_forward(module: nn.Module, units: Sequence[str], inputs: Tensor) -> list[str]:
    """Units that a forward pass enters, by when it leaves them, or a part of them, last."""
    left: dict[str, None] = {}
    hooks = []
    for name, part in module.named_modules():
        unit = next((unit for unit in units if f"{name}.".startswith(f"{unit}.")), None)
        if unit is None:
            continue

        def note(_module: nn.Module, _inputs: object, _output: object, unit: str = unit) -> None:
            left.pop(unit, None)
            left[unit] = None

        hooks.append(part.register_forward_hook(note))
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            module(inputs)
    finally:
        for hook in hooks:
            hook.remove()
        for part, training in modes:
            part.training = training
    return list(left)
