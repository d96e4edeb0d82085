"""Networks with three outputs per finding: negative, positive, uncertain.

The policy U-MultiClass of Irvin et al. (AAAI 2019, section "Uncertainty Approaches"): an
uncertain label is a class of its own while training, and is dropped when asked for a
probability.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

#: In the order of a network's outputs, finding by finding.
CLASSES = ("negative", "positive", "uncertain")


def contrast(outputs: Tensor) -> Tensor:
    r"""One logit per finding, from three outputs.

    .. math:: z_{positive} - z_{negative}

    Its sigmoid is the softmax over positive and negative, uncertain left out.

    Parameters
    ----------
    outputs : Tensor, shape (batch, 3 * findings)
        Of each finding negative, positive, uncertain.

    Returns
    -------
    Tensor, shape (batch, findings)

    Examples
    --------
    >>> import torch
    >>> contrast(torch.tensor([[1.0, 3.0, 9.0, 0.5, 0.0, -2.0]])).tolist()
    [[2.0, -0.5]]
    """
    classes = outputs.reshape(len(outputs), outputs.shape[1] // len(CLASSES), len(CLASSES))
    return classes[..., 1] - classes[..., 0]


def answer_with_contrast(module: nn.Module) -> None:
    """Let a network of three outputs per finding return :func:`contrast` of them.

    Whoever calls it from now on, a copy of it included, sees one logit per finding, which is
    what explainers then explain; its layers keep their names.
    """
    module.register_forward_hook(_hook)


def _hook(_module: nn.Module, _inputs: Any, outputs: Tensor) -> Tensor:
    return contrast(outputs)
