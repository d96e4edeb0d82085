"""Making a damaged store one that can be gone on with: what is broken is marked as missing."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from saltrust.cache.checksums import SEALED
from saltrust.cache.guarded import guarded
from saltrust.cache.ownership import owned
from saltrust.cache.schema import CHECKSUMS, GROUPS, LABELED_DIMS, ROOT, SCORES, Status
from saltrust.cache.store import partial_path
from saltrust.cache.verification import UNFINISHED, Fault
from saltrust.errors import DataError, UsageError

#: Written with radiographs, whose `stored` says that they are there.
_NATIVE = {"native_height", "native_width"}


def repair(path: str | Path, faults: Sequence[Fault]) -> Path:
    """Mark what is broken as missing and rename the store to ``.partial``.

    Broken scores are dropped.  Of maps, whole chunk files are removed and their status set to
    missing, so that whoever resumes the job computes just their batches again.

    Parameters
    ----------
    path : path
    faults : sequence of Fault
        Of :func:`saltrust.cache.verification.verify`.

    Returns
    -------
    pathlib.Path
        The unfinished store; the finished one itself where scores alone were broken.

    Raises
    ------
    DataError
        If something is broken that the job writes when it lays out the store: labels, metadata.
    UsageError
        If an unfinished store lies beside it already, or somebody writes there.
    """
    path = Path(path)
    with owned(path):
        beyond = [fault for fault in faults if _is_beyond_repair(fault)]
        if beyond:
            raise DataError(f"{path} cannot be repaired, since {beyond[0].variable or beyond[0]} "
                            "is written when a store is laid out; repeat the command that made it "
                            "with --overwrite")
        if partial_path(path).exists():
            raise UsageError(f"{partial_path(path)} is in the way; move it away or finish it first")
        for fault in faults:
            if _is_of_scores(fault):
                shutil.rmtree(path / fault.variable, ignore_errors=True)
        of_cubes = [fault for fault in faults if not _is_of_scores(fault)]
        if not of_cubes:
            return path
        with guarded():
            root = zarr.open_group(path, mode="r+")
            # Killed from here on, the checksums name what was broken and what is marked.
            for variable in dict.fromkeys(fault.variable for fault in of_cubes):
                _forget(path, root, variable,
                        [fault for fault in of_cubes if fault.variable == variable])
        return _unfinished(path)


def reopen(path: str | Path) -> Path:
    """Make a finished store an unfinished one that can be resumed, without its kept scores.

    Parameters
    ----------
    path : path
        A store of which something is to be computed again.

    Returns
    -------
    pathlib.Path
        The unfinished store.

    Raises
    ------
    UsageError
        If an unfinished store lies beside it already, or somebody writes there.
    """
    path = Path(path)
    with owned(path):
        if partial_path(path).exists():
            raise UsageError(f"{partial_path(path)} is in the way; move it away or finish it first")
        shutil.rmtree(path / SCORES, ignore_errors=True)
        return _unfinished(path)


def _unfinished(path: Path) -> Path:
    """Take the seal from a store, and its name."""
    with guarded():
        root = zarr.open_group(path, mode="r+")
        shutil.rmtree(path / CHECKSUMS, ignore_errors=True)
        attributes = {key: value for key, value in root.attrs.asdict().items()
                      if key not in (SEALED, "finished")}
        root.attrs.put({**attributes, "complete": False})
    return path.rename(partial_path(path))


def _is_of_scores(fault: Fault) -> bool:
    return fault.variable == SCORES or fault.variable.startswith(f"{SCORES}/")


def _is_beyond_repair(fault: Fault) -> bool:
    """Whether nobody who resumes would write the broken part again."""
    name = fault.variable
    if _is_of_scores(fault) or name.startswith(CHECKSUMS):
        return False
    if fault == UNFINISHED:
        # Killed between the mark and the new name.
        return False
    if not name or name.endswith("zarr.json"):
        return True
    group, _, variable = name.rpartition("/")
    group = group or ROOT.name
    declared = GROUPS.get(group, ROOT)
    return (variable in LABELED_DIMS or group not in GROUPS or variable not in declared
            or (declared is ROOT and variable not in _NATIVE)
            or len(declared[variable].dims) < 1
            or variable.startswith(("reader_", "model_", "explainer_", "replicate_")))


def _forget(path: Path, root: zarr.Group, name: str, faults: Sequence[Fault]) -> None:
    """Remove broken chunks of a variable, and whatever says that they are there."""
    group, _, variable = name.rpartition("/")
    if name.startswith(CHECKSUMS) or UNFINISHED in faults:
        return
    places = [fault.place for fault in faults if fault.place]
    if not places:
        shutil.rmtree(path / name / "c", ignore_errors=True)
    for place in places:
        (path / name / "c" / "/".join(map(str, place))).unlink(missing_ok=True)
    if variable == "heatmap":
        status = np.asarray(_array(root, f"{group}/status")[...])
        for place in places or [()]:
            # A chunk file holds all findings of an image.
            status[tuple(slice(None) if k == 1 else at for k, at in enumerate(
                place[:status.ndim]))] = Status.MISSING
        _array(root, f"{group}/status")[...] = status
    elif group == "radiograph" or name in _NATIVE:
        if "radiograph/stored" not in root:
            # The sizes come with the index of the data set, at the start of every run.
            return
        stored = _array(root, "radiograph/stored")
        for place in places or [()]:
            stored[place[0] if place else slice(None)] = 0
    elif group == "reference":
        stored = _array(root, "reference/stored")
        for place in places or [()]:
            stored[place[0] if place else slice(None)] = 0
    else:
        if group == "prediction":
            # Of a store without maps these say that a batch is done.
            shutil.rmtree(path / "prediction" / "probability" / "c", ignore_errors=True)
        # Predictions and what stands beside maps is written with them, for a thousand images.
        for of in ("saliency", "randomization", "faithfulness", "perturbation", "localizer"):
            if f"{of}/status" in root and (group == of or (group == "prediction"
                                                           and of == "saliency")):
                _array(root, f"{of}/status")[...] = int(Status.MISSING)


def _array(root: zarr.Group, name: str) -> zarr.Array[Any]:
    array = root[name]
    assert isinstance(array, zarr.Array)
    return array
