"""Networks with three outputs per finding: negative, positive, uncertain.

The policy U-MultiClass of Irvin et al. (AAAI 2019, section "Uncertainty Approaches"): an
uncertain label is a class of its own while training, and is dropped when asked for a
probability.
"""

from __future__ import annotations

from torch import Tensor

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
