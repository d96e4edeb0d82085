"""Random splits that keep the images of a patient together."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_log = logging.getLogger(__name__)

SPLIT_ORDER = ("train", "val", "test")
#: Of the patients, where neither the data nor the study say otherwise.
SPLIT_FRACTIONS = (0.7, 0.1, 0.2)

# Keeps these draws apart from others made with the same seed.
_STREAM = 0x5917


def split_by_patient(
    patients: Sequence[str],
    labels: npt.NDArray[Any],
    fractions: Sequence[float],
    seed: int,
) -> list[str]:
    """Draw a split for every image, by patient and stratified by label combination.

    Patients are shuffled within the strata of equal labels and dealt out in turn to the split
    that lags furthest behind its fraction, so every stratum is divided as evenly as whole
    patients allow.  A patient's labels are the largest over the patient's images.  A split
    with a positive fraction is never left empty while there are patients enough.

    Parameters
    ----------
    patients : sequence of str, length n_images
    labels : ndarray of int, shape (n_images, n_findings)
    fractions : three floats
        Parts of the patients for train, val and test; they add up to 1.
    seed : int

    Returns
    -------
    list of str
        ``train``, ``val`` or ``test`` for every image; it does not depend on the order in
        which patients are given.

    Examples
    --------
    >>> first, other, again = split_by_patient(
    ...     ["a", "b", "a"], np.zeros((3, 1)), (0.5, 0.0, 0.5), seed=1)
    >>> first == again, first == other
    (True, False)
    """
    combination: dict[str, tuple[int, ...]] = {}
    for patient, row in zip(patients, np.asarray(labels).astype(int).tolist(), strict=True):
        known = combination.get(patient)
        mine = tuple(row)
        combination[patient] = mine if known is None else tuple(map(max, known, mine))
    strata: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for patient in sorted(combination):
        strata[combination[patient]].append(patient)
    rng = np.random.default_rng([seed, _STREAM])
    keys = sorted(strata)
    dealt = [str(patient) for k in rng.permutation(len(keys))
             for patient in rng.permutation(np.array(strata[keys[k]], dtype=object))]
    counts = np.zeros(len(SPLIT_ORDER))
    chosen: dict[str, int] = {}
    share = np.asarray(fractions, dtype=float)
    for position, patient in enumerate(dealt, start=1):
        # Twelve digits: a tie must not be broken by rounding error.
        behind = np.round(share * position - counts, 12)
        split = int(np.argmax(np.where(share > 0, behind, -np.inf)))
        chosen[patient] = split
        counts[split] += 1
    _fill_empty_splits(chosen, dealt, share, counts)
    return [SPLIT_ORDER[chosen[patient]] for patient in patients]


def _fill_empty_splits(chosen: dict[str, int], dealt: Sequence[str],
                       share: npt.NDArray[np.float64], counts: npt.NDArray[np.float64]) -> None:
    wanted = np.flatnonzero(share > 0)
    if len(dealt) < len(wanted):
        return
    for split in wanted:
        if counts[split] == 0:
            giver = int(np.argmax(counts))
            patient = next(name for name in reversed(dealt) if chosen[name] == giver)
            chosen[patient] = int(split)
            counts[giver] -= 1
            counts[split] += 1


def warn_of_shared_patients(patients: Sequence[str], splits: Sequence[str], source: str) -> int:
    """Log a warning where given splits share patients: scores would be too good.

    Returns
    -------
    int
        Number of patients with images in more than one of train, val and test.
    """
    parts = defaultdict(set)
    for patient, split in zip(patients, splits, strict=True):
        if split != "none":
            parts[patient].add(split)
    shared = sorted(patient for patient, its_splits in parts.items() if len(its_splits) > 1)
    if shared:
        _log.warning("%s puts %d patients into more than one split (first: %s); a model may "
                     "have seen the patients it is tested on", source, len(shared), shared[0])
    return len(shared)
