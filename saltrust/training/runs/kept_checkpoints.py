"""The best checkpoints of every epoch, kept for an ensemble."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from saltrust.errors import DataError
from saltrust.models.checkpoint import card_path, read_card, replace_card, save
from saltrust.training.runs.resuming import require_whole

CHECKPOINTS_FOLDER = "checkpoints"


def keep_best(
    network: nn.Module, folder: Path, kept: Sequence[Mapping[str, Any]],
    candidate: Mapping[str, Any], limit: int, card: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Save a checkpoint if it is among the best of its epoch, in place of the worst of those.

    Parameters
    ----------
    network : torch.nn.Module
    folder : pathlib.Path
        Run folder; files go to ``checkpoints`` in it.
    kept : sequence of mapping
        What is kept so far, of all epochs.
    candidate : mapping
        ``file``, ``epoch``, ``step``, ``score`` and ``loss``; of equal scores the lower loss is
        better, of equal losses the earlier checkpoint.
    limit : int
        How many are kept of an epoch.
    card : mapping
        For the checkpoint.

    Returns
    -------
    list of dict
        What is kept now.
    """
    mine = [item for item in kept if item["epoch"] == candidate["epoch"]]
    ranked = sorted([*mine, candidate], key=lambda item: (-item["score"], item["loss"]))
    best = ranked[:limit]
    if candidate not in best:
        return [dict(item) for item in kept]
    save(network, folder / CHECKPOINTS_FOLDER / candidate["file"], card)
    for item in ranked[limit:]:
        _remove(folder / CHECKPOINTS_FOLDER / item["file"])
    others = [item for item in kept if item["epoch"] != candidate["epoch"]]
    return [dict(item) for item in (*others, *sorted(best, key=lambda item: item["step"]))]


def remove_others(folder: Path, kept: Sequence[Mapping[str, Any]]) -> None:
    """Remove checkpoints of an epoch that was not finished, or of an earlier run."""
    names = {item["file"] for item in kept}
    for path in (folder / CHECKPOINTS_FOLDER).glob("epoch*.safetensors"):
        if path.name not in names:
            _remove(path)


def require_kept(folder: Path, kept: Sequence[Mapping[str, Any]]) -> None:
    """Refuse to go on with a run whose checkpoints somebody took away.

    Raises
    ------
    DataError
        Names the first that is gone, or is damaged.
    """
    for item in kept:
        weights = folder / CHECKPOINTS_FOLDER / item["file"]
        if not (weights.exists() and card_path(weights).exists()):
            raise DataError(f"{weights} or its card is gone, a checkpoint that the run kept; put "
                            "it back, or say --overwrite to train from the beginning")
        require_whole(weights)


def complete_cards(folder: Path, kept: Sequence[Mapping[str, Any]]) -> None:
    """Say in the cards of the kept checkpoints that their run has ended as it should."""
    for item in kept:
        weights = folder / CHECKPOINTS_FOLDER / item["file"]
        # Not the file beside the weights: a power cut may have left the one of an earlier try.
        replace_card(weights, {**(read_card(weights) or {}), "complete": True})


def _remove(weights: Path) -> None:
    weights.unlink(missing_ok=True)
    card_path(weights).unlink(missing_ok=True)
