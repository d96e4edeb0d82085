"""How many images a job explains at once, where the study leaves it to the device's memory."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from saltrust.cache.store import partial_path, root_attributes
from saltrust.explainers.explain import explain
from saltrust.explainers.passes.context import PassSize
from saltrust.generate.batches import Resources
from saltrust.generate.plan import Plan, PlannedModel
from saltrust.generate.radiographs import LoadedBatch
from saltrust.models.localizers.trained_localizer import Localizer
from saltrust.models.preprocessing import to_input
from saltrust.study import AUTO, BATCH_ON_CPU

#: No more than this, whatever the memory: a GPU is busy long before.
MOST = 256

#: Devices whose memory is that of the machine, which lends of its disk.
_TAKES_ALL = ("cpu",)

_log = logging.getLogger(__name__)


def settle_batch_size(plan: Plan, resources: Resources, output: Path, *, resume: bool) -> Plan:
    """The plan with a number for ``batch_size = "auto"``.

    A store that is gone on with keeps the number that it was begun with.  On a CPU it is 8, so that
    results do not depend on the machine's memory; on other devices the largest of 1, 2, 4 and so
    on up to 256 with which all models explain (with one sample where a method takes many) and
    localise in black images.

    Parameters
    ----------
    plan : Plan
    resources : Resources
    output : pathlib.Path
        The store; an unfinished one lies beside it.
    resume : bool
    """
    if plan.study.generate.batch_size != AUTO:
        return plan
    size = _recorded(output) if resume else None
    if size is None:
        size = _measured(plan, resources)
    generate = replace(plan.study.generate, measured=size)
    return replace(plan, study=replace(plan.study, generate=generate))


def largest_batch(fits: Callable[[int], bool], most: int) -> int:
    """The largest power of two that fits, not above ``most``; 1 where nothing does.

    Parameters
    ----------
    fits : callable
        Whether so many images fit; of a size that does, smaller ones do too.
    most : int

    Examples
    --------
    >>> largest_batch(lambda size: size <= 40, 256), largest_batch(lambda size: True, 100)
    (32, 64)
    """
    size = min(BATCH_ON_CPU, 1 << (max(most, 1).bit_length() - 1))
    while size > 1 and not fits(size):
        size //= 2
        most = size
    while 2 * size <= most and fits(2 * size):
        size *= 2
    return size


def _recorded(output: Path) -> int | None:
    for path in (partial_path(output), output):
        if path.exists():
            size = root_attributes(path).get("batch_size")
            return size if isinstance(size, int) else None
    return None


def _measured(plan: Plan, resources: Resources) -> int:
    if plan.device.type in _TAKES_ALL:
        return BATCH_ON_CPU
    most = min(MOST, len(plan.images))
    for model in plan.all_models().values():
        explained = functools.partial(_explain, model, plan, resources)
        most = _largest_on(model.classifier.module, plan, explained, most)
    for localizer in plan.localizers:
        most = _largest_on(localizer.module, plan, functools.partial(_localize, localizer, plan),
                           most)
    _log.info('batch_size = "auto": %d images at once on %s', most, plan.device)
    return most


def _largest_on(module: torch.nn.Module, plan: Plan, attempt: Callable[[int], int],
                most: int) -> int:
    rows: list[int] = []

    def fits(n: int) -> bool:
        try:
            rows.append(attempt(n))
        except torch.cuda.OutOfMemoryError:
            rows.append(0)
        if plan.device.type == "cuda":
            torch.cuda.empty_cache()
        # More images are not worth smaller passes than the fewest images were explained in.
        return 0 < rows[-1] >= max(rows)

    module.to(plan.device)
    try:
        return largest_batch(fits, most)
    finally:
        module.to("cpu")


def _black(plan: Plan, n: int) -> LoadedBatch:
    names = tuple(f"black {number}" for number in range(n))
    return LoadedBatch(names, np.zeros((n, *plan.grid), np.uint8), {})


def _explain(model: PlannedModel, plan: Plan, resources: Resources, n: int) -> int:
    """Rows of a pass with which n images were explained."""
    classifier, black = model.classifier, _black(plan, n)
    # Halved on the way, passes of the job itself would stay so.
    tried = replace(resources, passes=PassSize.on(plan.device))
    inputs = to_input(black.pixels, classifier.preprocessing, plan.device)
    explain(classifier.module, inputs, classifier.output_index,
            [item.with_trial_parameters() for item in model.explainers],
            context=tried.context(black, classifier.preprocessing), precision=tried.precision)
    return tried.passes.rows


def _localize(localizer: Localizer, plan: Plan, n: int) -> int:
    localizer.localize(to_input(_black(plan, n).pixels, localizer.preprocessing, plan.device))
    return 1
