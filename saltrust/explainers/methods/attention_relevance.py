"""Relevance that goes back through attention, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from saltrust.explainers.declaration import explainer
from saltrust.explainers.passes.forward import run_forward
from saltrust.explainers.passes.relevance import Relevance
from saltrust.explainers.passes.visibility import refuse_compiled, warn_of_own_functions


@explainer(rank=17, reading="positive", full_precision=True,
           cost="a backward pass for each finding")
def attnlrp(
    module: nn.Module,
    inputs: Tensor,
    outputs: Sequence[int],
) -> Tensor:
    """AttnLRP: the logit shared among the pixels, backwards through every layer, attention too.

    ``heatmap[y, x] = sum over c of R[c, y, x]``, where ``R`` is the relevance that arrives at the
    inputs when each operation shares its own among its inputs by the rules of
    :mod:`saltrust.explainers.passes.relevance`: epsilon rule with epsilon toward 0 for what is
    linear, identity for activations and the deviation of norms, halves for products (of queries
    and keys, of attention and values), the Taylor rule for softmax.

    The map adds up to the logit but for what constants absorb on the way: biases, class, register
    and position embeddings, and the constant term of the softmax rule.  Of a network without these
    it adds up exactly.

    Parameters
    ----------
    module : torch.nn.Module
        Returns logits of shape (B, K); a vision transformer, or any other network.  Not modified.
    inputs : Tensor, shape (B, C, H, W), floating
        As for ``input_x_gradient``, a value of 0 gets nothing.
    outputs : sequence of int
        Indices of the F logits to explain.

    Returns
    -------
    Tensor, shape (B, F, H, W), dtype of ``inputs``
        Raw and signed, in logits.  Summed over channels.

    Raises
    ------
    DataError
        If a part of the network was compiled by ``torch.jit``, where no rule can act.

    References
    ----------
    Achtibat, Hatefi, Dreyer, Jain, Wiegand, Lapuschkin, Samek 2024, "AttnLRP: attention-aware
    layer-wise relevance propagation for transformers", sections 3.2 and 3.3.
    """
    refuse_compiled(module, "attnlrp")
    with Relevance():
        forward = run_forward(module, inputs)
    warn_of_own_functions(module, forward.logits, "attnlrp")
    return forward.maps(outputs, lambda gradient: (gradient * inputs).sum(dim=1))
