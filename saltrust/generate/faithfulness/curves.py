"""Curves of one image: every map, every metric, no picture predicted twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from saltrust.cache.schema import Status
from saltrust.generate.faithfulness.ordering import (
    means_of_squares,
    random_ranks,
    ranks_of,
    read,
)
from saltrust.generate.faithfulness.perturbation import IMPUTED, Subject
from saltrust.generate.faithfulness.plan import FaithfulnessPlan

Floats = npt.NDArray[np.float32]
#: From planes (n, y, x) to probabilities (n, finding).
Predict = Callable[[Tensor], Tensor]
#: Orders whose pictures are made at once: what they take does not grow with their number.
_AT_ONCE = 64


@dataclass(frozen=True)
class ImageCurves:
    """What is stored of one image.

    Attributes
    ----------
    curve : ndarray of float32, shape (finding, explainer, metric, fraction)
        NaN where there is no finite map, or none was asked for.
    removed : ndarray of float32, shape (metric, fraction)
    random : ndarray of float32, shape (finding, metric, order, fraction)
    """

    curve: Floats
    removed: Floats
    random: Floats


def image_curves(predict: Predict, subject: Subject, maps: Floats,
                 status: npt.NDArray[np.uint8], image: str, plan: FaithfulnessPlan) -> ImageCurves:
    """Curves of all usable maps of an image, and of random orders.

    Parameters
    ----------
    predict : callable
    subject : Subject
    maps : ndarray of float32, shape (finding, explainer, y, x)
        Raw.
    status : ndarray of uint8, shape (finding, explainer)
        Of the maps; missing where no curve is asked for.
    image : str
        Whose name random numbers follow from.
    plan : FaithfulnessPlan

    Returns
    -------
    ImageCurves
    """
    usable = (status == Status.OK) | (status == Status.FLAT)
    scores = read(np.where(usable[..., None, None], maps, 0), list(plan.readings.values()))
    # Of a flat map rounding alone would tell pixels apart.
    scores[status == Status.FLAT] = 0
    orders, which = _unique_orders(scores[usable])
    order_of = np.zeros(status.shape, dtype=np.intp)
    order_of[usable] = which
    n_findings = len(status)
    curve = np.full((*status.shape, len(plan.curves), len(plan.fractions)), np.nan, np.float32)
    random = np.full((n_findings, len(plan.curves), plan.spec.orders, len(plan.fractions)),
                     np.nan, np.float32)
    removed = np.array([[subject.removed(metric, fraction) for fraction in plan.fractions]
                        for metric in plan.curves], dtype=np.float32)
    device = subject.gray.device
    planes = torch.from_numpy(orders).to(device)
    ends: dict[bytes, Tensor] = {}
    for m, metric in enumerate(plan.curves):
        values = means_of_squares(planes, plan.squares) if metric in IMPUTED else planes
        ranks = ranks_of(values, plan.seed, image) if len(values) else values.long()
        # A random order is one from either end: `lerf` has the pictures of `morf`.
        is_known = metric == "lerf" and "morf" in plan.curves
        every = ranks.view(-1, *subject.parts(metric))
        if not is_known:
            orders_at_random = random_ranks(subject.parts(metric), plan.spec.orders, plan.seed,
                                            image).to(device)
            if metric == "lerf":
                orders_at_random = orders_at_random[0].numel() - 1 - orders_at_random
            every = torch.cat([every, orders_at_random])
        points = _points(predict, subject, metric, every, plan.fractions, ends)
        for finding, explainer in np.argwhere(usable).tolist():
            curve[finding, explainer, m] = points[order_of[finding, explainer], :, finding]
        random[:, m] = random[:, plan.curves.index("morf")] if is_known else np.moveaxis(
            points[len(ranks):], 2, 0)
    return ImageCurves(curve, removed, random)


def _unique_orders(scores: Floats) -> tuple[Floats, npt.NDArray[np.intp]]:
    """Maps without those that are the same as another, and which one each is."""
    first: dict[bytes, int] = {}
    which = np.array([first.setdefault(plane.tobytes(), len(first)) for plane in scores],
                     dtype=np.intp)
    kept = np.unique(which, return_index=True)[1] if len(which) else which
    return scores[kept], which


def _points(predict: Predict, subject: Subject, metric: str, ranks: Tensor,
            fractions: npt.NDArray[np.float64], ends: dict[bytes, Tensor]) -> Floats:
    """Probabilities along the curves of orders, shape (order, fraction, finding)."""
    n = len(ranks)
    columns = []
    for fraction in fractions.tolist():
        count = subject.count(metric, fraction)
        if count in (0, ranks[0].numel()):
            # Nothing is removed, or all of it: one picture for all orders, and metrics.
            picture = subject.changed(metric, ranks[:1], torch.tensor([count]).to(ranks))
            key = picture.cpu().numpy().tobytes()
            if key not in ends:
                ends[key] = predict(picture)
            columns.append(ends[key].expand(n, -1))
            continue
        columns.append(torch.cat([
            predict(subject.changed(metric, part, torch.full((len(part),), count).to(ranks)))
            for part in torch.split(ranks, _AT_ONCE)]))
    return np.asarray(torch.stack(columns, dim=1).cpu().numpy(), dtype=np.float32)
