r"""Noisy linear imputation of ROAD (Rong et al. 2022): what is removed becomes what surrounds it.

Every removed part is the weighted mean of its neighbours, known or removed:

.. math:: \sum_{j \in N(i)} w_{ij} (x_i - x_j) = 0

with weights 1/6 for the four direct neighbours and 1/12 for the four diagonal ones; at the border
only neighbours inside the image count, and the weights are renormalised.  The system of the
removed parts is symmetric and positive definite where any part is known, so that it is solved by
conjugate gradients, many planes at once, and the residual of each is looked at; by the maximum
principle the solution lies within the range of the known parts.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.linalg import spsolve
from torch import Tensor
from torch.nn import functional

#: Weights of direct and of diagonal neighbours.
DIRECT, DIAGONAL = 1 / 6, 1 / 12
#: Largest residual of an equation, in the units of the image.
TOLERANCE = 1e-7
_BETWEEN_CHECKS = 10


def impute(plane: Tensor, removed: Tensor, *, most_steps: int | None = None) -> Tensor:
    """Fill in what is removed from a plane.

    Parameters
    ----------
    plane : Tensor, shape (h, w)
    removed : Tensor of bool, shape (n, h, w)
        Where all of it is removed, it becomes the mean of the plane.
    most_steps : int, optional
        Of conjugate gradients, by default enough for planes of this size; what is not solved
        then is solved directly.

    Returns
    -------
    Tensor of float64, shape (n, h, w)
        Finite, within the range of ``plane``.

    Examples
    --------
    >>> plane = torch.tensor([[0.0, 5.0, 1.0]])
    >>> impute(plane, torch.tensor([[[False, True, False]]])).tolist()
    [[[0.0, 0.5, 1.0]]]
    """
    # Not every device has float64.
    device = plane.device if plane.device.type in ("cpu", "cuda") else torch.device("cpu")
    known, unknown = plane.to(device).double(), removed.to(device)
    start = torch.where(unknown, known.mean(), known)
    some = ~unknown.flatten(1).all(dim=1)
    limit = most_steps if most_steps is not None else 20 * sum(plane.shape) + 100
    solved = start.clone()
    if bool(some.any()):
        part, residual = _conjugate_gradients(start[some], unknown[some], limit)
        solved[some] = part
        for at in torch.nonzero(some)[~(residual <= TOLERANCE)].flatten().tolist():
            solved[at] = _solve_directly(known, unknown[at])
    solved = torch.where(unknown, solved.clamp(known.min(), known.max()), known)
    return solved.to(plane.device) if device == plane.device else solved.float().to(plane.device)


def _neighbors(planes: Tensor) -> Tensor:
    """Weighted sum over the neighbours of every part."""
    kernel = torch.tensor([[DIAGONAL, DIRECT, DIAGONAL], [DIRECT, 0, DIRECT],
                           [DIAGONAL, DIRECT, DIAGONAL]], dtype=planes.dtype,
                          device=planes.device)
    return functional.conv2d(planes[:, None], kernel[None, None], padding=1)[:, 0]


def _conjugate_gradients(start: Tensor, unknown: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """Solutions, and the largest residual of each, by steps that every plane takes alone."""
    weights = _neighbors(torch.ones_like(start[:1]))
    inside = unknown.double()

    def dot(first: Tensor, second: Tensor) -> Tensor:
        return (first * second).sum(dim=(1, 2), keepdim=True)

    def residual_of(planes: Tensor) -> Tensor:
        return inside * (_neighbors(planes) - weights * planes)

    values, rest = start.clone(), residual_of(start)
    scaled = rest / weights
    direction, size = scaled, dot(rest, scaled)
    for step in range(limit):
        if step % _BETWEEN_CHECKS == 0 and bool((rest.abs().amax() <= TOLERANCE / 10).all()):
            break
        image = inside * (weights * direction - _neighbors(direction))
        along = dot(direction, image)
        length = torch.where(along > 0, size / along, 0)
        values = values + length * direction
        rest = rest - length * image
        scaled = rest / weights
        before, size = size, dot(rest, scaled)
        direction = scaled + torch.where(before > 0, size / before, 0) * direction
    # What was carried along differs from the residual by rounding; this one is looked at.
    return values, residual_of(values).abs().amax(dim=(1, 2))


def _solve_directly(known: Tensor, unknown: Tensor) -> Tensor:
    """The same equations by elimination, for one plane."""
    plane, inside = known.cpu().numpy().copy(), unknown.cpu().numpy()
    number = np.full(plane.shape, -1)
    number[inside] = np.arange(inside.sum())
    height, width = plane.shape
    rows, columns, entries, right = [], [], [], np.zeros(inside.sum())
    for y, x in np.argwhere(inside).tolist():
        total = 0.0
        for dy, dx in ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)):
            if not (0 <= y + dy < height and 0 <= x + dx < width):
                continue
            weight = DIRECT if dy == 0 or dx == 0 else DIAGONAL
            total += weight
            if inside[y + dy, x + dx]:
                rows.append(number[y, x])
                columns.append(number[y + dy, x + dx])
                entries.append(-weight)
            else:
                right[number[y, x]] += weight * plane[y + dy, x + dx]
        rows.append(number[y, x])
        columns.append(number[y, x])
        entries.append(total)
    plane[inside] = spsolve(coo_array((entries, (rows, columns))).tocsc(), right)
    return torch.from_numpy(plane).to(known)
