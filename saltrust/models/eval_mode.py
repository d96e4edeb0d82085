"""Networks in evaluation mode, for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for as long as this lasts; whether gradients flow is the caller's choice.

    Examples
    --------
    >>> net = nn.Dropout()
    >>> with eval_mode(net):
    ...     net.training
    False
    >>> net.training
    True
    """
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)
