"""In which order, and how often, training images are seen."""

from __future__ import annotations

import torch
from torch import Tensor

from saltrust.errors import DataError


def balanced_order(positive: Tensor, generator: torch.Generator) -> Tensor:
    """An epoch in which half of the images are positive, whatever their share is.

    Each class is gone through in random order; one that is over is begun again in another
    order, so that no image comes twice before all others of its class have come once.

    Parameters
    ----------
    positive : Tensor of bool, shape (N,)
    generator : torch.Generator

    Returns
    -------
    Tensor of int64, shape (N,)
        Positions; N // 2 of them are positive.

    Raises
    ------
    DataError
        If there is no positive or no negative image.

    Examples
    --------
    >>> positive = torch.tensor([True, False, False, False, False, False])
    >>> order = balanced_order(positive, torch.Generator().manual_seed(0))
    >>> int((order == 0).sum()), order[positive[order].logical_not()].unique().numel()
    (3, 3)
    """
    n = len(positive)
    parts = []
    for wanted, members in ((n // 2, positive.nonzero()[:, 0]),
                            (n - n // 2, positive.logical_not().nonzero()[:, 0])):
        if not len(members):
            kind = "negative" if bool(positive.any()) else "positive"
            raise DataError(f"balanced = true needs positive and negative training images, and "
                            f"there is no {kind} one; leave it out")
        rounds = -(-wanted // len(members))
        orders = [members[torch.randperm(len(members), generator=generator)]
                  for _ in range(rounds)]
        parts.append(torch.cat(orders)[:wanted])
    both = torch.cat(parts)
    return both[torch.randperm(n, generator=generator)]
