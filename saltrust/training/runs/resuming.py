"""What a training run needs to go on after it was killed, and whether it is the same run."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from saltrust.errors import DataError, UsageError
from saltrust.files import write_bytes
from saltrust.models.card_fields import check_fields
from saltrust.models.checkpoint import read_weights
from saltrust.models.torch_file import check_claims
from saltrust.reading import reading, shown
from saltrust.training.data.images import LabeledImages
from saltrust.training.runs.run import Run

STATE_FILE = "resume.pt"

_log = logging.getLogger(__name__)

#: What a state is read for before the network takes it up.
_NEEDED: dict[str, type] = {"card": dict, "threads": int, "network": dict, "optimizer": dict,
                            "kept": list, "epoch": int}

#: Entries of a card that may differ between two starts of one run.
_FREE = ("name", "study", "study_fingerprint", "data", "versions", "complete", "pretrained.path",
         "pretrained.matched", "pretrained.left_over",
         "preset_overridden")  # What came of it is in `train`.


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Replace the state of a run in one step; tensors and plain values only.

    Raises
    ------
    DataError
        If it cannot be written; the one before is still there.
    """
    content = io.BytesIO()
    torch.save(dict(state), content)
    write_bytes(folder / STATE_FILE, content.getvalue())


def read_state(folder: Path) -> dict[str, Any] | None:
    """The state that :func:`write_state` left; None where there is none.

    Raises
    ------
    DataError
        If the file is damaged.
    """
    path = folder / STATE_FILE
    with reading(str(path), "say --overwrite to train from the beginning"):
        if not path.exists():
            return None
        # What is in it beside tensors is never run, and what it claims to hold it has to hold.
        check_claims(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict) or not state.keys() >= _NEEDED.keys():
            raise DataError(f"{path} holds no state of a training run; say --overwrite to train "
                            "from the beginning")
        for name, kind in _NEEDED.items():
            if not isinstance(state[name], kind):
                raise DataError(f"{path} is damaged: its {name} is {shown(state[name])}; say "
                                "--overwrite to train from the beginning")
        check_fields(state["card"], f"the card in {path}")
        return state


def require_whole(weights: Path) -> None:
    """Refuse to go on with a checkpoint that cannot be read.

    Raises
    ------
    DataError
        Names the file.
    """
    try:
        read_weights(weights)
    except DataError as error:
        raise DataError(f"{error}; put a whole copy in its place, or say --overwrite to train "
                        "from the beginning") from error


def check_same_run(before: Mapping[str, Any], now: Mapping[str, Any], what: Path) -> None:
    """Refuse to go on with a run that was started from something else.

    Parameters
    ----------
    before, now : mapping
        Cards as a run starts with them: all that its result follows from.
    what : pathlib.Path
        Run folder, for the message.

    Raises
    ------
    UsageError
        Names what differs, and both values where they are short.
    """
    old, new = (_flatten(json.loads(json.dumps(card))) for card in (before, now))
    # A finished card has entries that no run starts with.
    common = {key for key in old if key.partition(".")[0] in now}
    differing = [key for key in sorted(common | new.keys())
                 if not _may_differ(key) and old.get(key) != new.get(key)]
    if differing:
        shown = "; ".join(_difference(key, old.get(key), new.get(key)) for key in differing[:4])
        more = f"; and {len(differing) - 4} more" if len(differing) > 4 else ""
        raise UsageError(f"{what} cannot be resumed, since it was started from something else: "
                         f"{shown}{more}; restore what has changed, or say --overwrite to train "
                         "from the beginning")


def note_images(images: LabeledImages, run: Run) -> None:
    """Note on the card which radiographs a run sees, and say where that has changed since.

    Radiographs that were left out, mended or replaced do not end a run that goes on; from then on
    it sees what is there now.

    Parameters
    ----------
    images : LabeledImages
        Decoded, for all splits.
    run : Run
    """
    facts = {"images_sha256": images.digest(), "images_left_out": list(images.left_out)}
    if run.saved_state is not None:
        before = run.saved_state["card"]
        changes = list(before.get("images_changed_after_epochs", []))
        if before.get("images_sha256", facts["images_sha256"]) != facts["images_sha256"]:
            epoch = run.saved_state["epoch"]
            _log.warning("model %r: radiographs have changed, or others are left out, since epoch "
                         "%d; it goes on with those that are there now, and its card says so",
                         run.name, epoch)
            changes.append(epoch)
        facts |= {"images_changed_after_epochs": changes} if changes else {}
    run.card |= facts


def _may_differ(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in _FREE)


def _flatten(card: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in card.items():
        if isinstance(value, dict) and value:
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _difference(key: str, old: Any, new: Any) -> str:
    shown = [json.dumps(value, ensure_ascii=False) for value in (old, new)]
    if max(map(len, shown)) > 40:
        return f"{key} differs"
    return f"{key} was {shown[0]} and is {shown[1]}"
