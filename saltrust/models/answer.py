r"""From what a network returns to one logit per output, whatever form it has.

Explainers explain logits whose sigmoid is the probability.  A network may return

===============  ==========================================================================
``logits``       of a sigmoid per finding: taken as they are
``softmax``      scores :math:`z` of classes that exclude each other: the logit of class
                 :math:`k` is :math:`z_k - \ln \sum_{j \ne k} e^{z_j}`, whose sigmoid is the
                 softmax
``probabilities``  after a sigmoid or a softmax: :math:`\ln p - \ln(1 - p)`; where the last
                 operation is one of the two, what went into it is used instead, which neither
                 saturates nor rounds
===============  ==========================================================================

and may return it alone or among other things (auxiliary heads, features, a loss).  The conversion
is a hook on the network, so that whoever calls it, a copy of it included, sees logits, and its
layers keep their names.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from saltrust.errors import DataError
from saltrust.models.classifiers.three_class import contrast

Select = str | int
#: By the identity of a tensor that a sigmoid or a softmax made: which, what went in, the tensor.
Activations = dict[int, tuple[str, Tensor, Tensor]]

_ACTIVATIONS = {"sigmoid": "sigmoid", "expit": "sigmoid", "softmax": "softmax"}

#: Under these a network usually keeps what it says of the image, among other things.
_USUAL = ("logits", "logit", "out", "output", "outputs", "prediction", "predictions", "y_hat",
          "probabilities", "probs")


@dataclass(frozen=True)
class Answer:
    """What a network returns.

    Attributes
    ----------
    kind : {"logits", "probabilities", "softmax"}
    select : str or int, optional
        Key, attribute or position of the outputs among what it returns; None: it returns them
        alone, or :func:`select_output` chooses.
    columns : tuple of int, optional
        Which outputs whoever calls the network is to see; None: all.
    three_class : bool
        Whether there are three outputs per finding
        (:mod:`saltrust.models.classifiers.three_class`), of which the contrast is the logit.
    """

    kind: str = "logits"
    select: Select | None = None
    columns: tuple[int, ...] | None = None
    three_class: bool = False

    def logits(self, returned: Any, n_images: int,
               activations: Activations | None = None
               ) -> Tensor:
        """One logit per output.

        Parameters
        ----------
        returned : object
            By the network.
        n_images : int
            How many it was given.
        activations : dict, optional
            Sigmoids and softmaxes that were computed on the way.

        Returns
        -------
        Tensor, shape (n_images, K), at least float32

        Raises
        ------
        DataError
            If what is selected is not there, or no row of numbers per image.
        """
        selected = select_output(returned, self.select)
        outputs = as_rows(selected, n_images)
        if self.kind == "softmax":
            logits = softmax_logits(outputs.float())
        elif self.kind == "probabilities":
            logits = _logits_of_probabilities(outputs, (activations or {}).get(id(selected)))
        else:
            logits = outputs
        if logits.dtype in (torch.float16, torch.bfloat16, torch.float64):
            logits = logits.float()
        if self.three_class:
            logits = contrast(logits)
        return logits if self.columns is None else logits[:, list(self.columns)]


def answer_with_logits(module: nn.Module, answer: Answer) -> None:
    """Let a network return logits, whatever it would return, from now on.

    A network whose weights are not float32 is given its inputs in the type of its weights; its
    logits, and gradients at its inputs, are float32.

    Parameters
    ----------
    module : torch.nn.Module
        Gets two hooks, which its copies share.
    answer : Answer
        What it returns.
    """
    # Recorded where needed only, since a mode costs a little in every operation.
    recorder = _Recorder() if answer.kind == "probabilities" else None
    module.register_forward_pre_hook(_Before(recorder))
    module.register_forward_hook(_After(answer, recorder), always_call=True)


def select_output(returned: Any, select: Select | None = None) -> Any:
    """What a network says of its images, out of all that it returns.

    Parameters
    ----------
    returned : object
        A tensor, or a mapping, a dataclass or a sequence of them.
    select : str or int, optional
        Key, attribute or position.  Without it: a tensor itself; under one of the usual names
        (``logits``, ``out``, ...); else the first tensor of at most two dimensions.

    Raises
    ------
    DataError
        If there is no such thing; what there is is listed.

    Examples
    --------
    >>> logits, features = torch.zeros(2, 3), torch.zeros(2, 8, 4, 4)
    >>> select_output((features, logits)) is logits
    True
    >>> select_output({"features": features, "head": logits}, "head") is logits
    True
    """
    if select is None or select == "":
        return _usual_output(returned)
    try:
        if isinstance(returned, Mapping):
            return returned[select]
        if isinstance(select, int) and not isinstance(returned, Tensor):
            return returned[select]
        if isinstance(select, str) and not isinstance(returned, Tensor):
            return getattr(returned, select)
    except (KeyError, IndexError, AttributeError, TypeError):
        pass
    raise DataError(f"it returns {describe_output(returned)}, of which select = {select!r} is none")


def _usual_output(returned: Any) -> Any:
    if isinstance(returned, Tensor):
        return returned
    for name in _USUAL:
        value = (returned.get(name) if isinstance(returned, Mapping)
                 else getattr(returned, name, None))
        if isinstance(value, Tensor):
            return value
    parts = list(returned.values()) if isinstance(returned, Mapping) else returned
    for value in parts if isinstance(parts, Sequence) else ():
        if isinstance(value, Tensor) and value.is_floating_point() and value.ndim in (1, 2):
            return value
    return returned


def describe_output(returned: Any) -> str:
    """What a network returned, in words, with the keys under which its parts are.

    Examples
    --------
    >>> describe_output({"out": torch.zeros(2, 3), "loss": None})
    "a dict of 'out' (2, 3), 'loss' NoneType"
    """
    if isinstance(returned, Tensor):
        return f"a tensor of shape {tuple(returned.shape)}"
    kind = type(returned).__name__
    if isinstance(returned, Mapping):
        named: list[tuple[Any, Any]] = list(returned.items())
    elif dataclasses.is_dataclass(returned) and not isinstance(returned, type):
        named = [(item.name, getattr(returned, item.name)) for item in dataclasses.fields(returned)]
    elif isinstance(returned, list | tuple):
        named = list(enumerate(returned))
    else:
        return f"a {kind}"
    parts = [f"{key!r} " + (str(tuple(value.shape)) if isinstance(value, Tensor)
                            else type(value).__name__) for key, value in named]
    return f"a {kind} of {', '.join(parts)}" if parts else f"an empty {kind}"


def as_rows(outputs: Any, n_images: int) -> Tensor:
    """Outputs of shape (B,), (B, K) or (B, K, 1, 1) as rows (B, K).

    Raises
    ------
    DataError
        If they are not.
    """
    if isinstance(outputs, Tensor) and outputs.is_floating_point() and outputs.ndim:
        if outputs.ndim == 1 and len(outputs) == n_images:
            return outputs[:, None]
        if (outputs.ndim >= 2 and len(outputs) == n_images
                and outputs.numel() == n_images * outputs.shape[1]):
            return outputs if outputs.ndim == 2 else outputs.flatten(1)
    kind = (f"a tensor of {outputs.dtype}" if isinstance(outputs, Tensor)
            and not outputs.is_floating_point() else describe_output(outputs))
    raise DataError(f"it returned {kind} for {n_images} images and must return one row of numbers "
                    f"per image, shape ({n_images}, outputs); say which part with `select` of "
                    "[models.output]")


def softmax_logits(scores: Tensor) -> Tensor:
    r"""Logit of each class of a softmax: :math:`z_k - \ln \sum_{j \ne k} e^{z_j}`.

    Parameters
    ----------
    scores : Tensor, shape (B, K)
        At least two classes.

    Returns
    -------
    Tensor, shape (B, K)
        Its sigmoid is ``softmax(scores)``.

    Examples
    --------
    >>> softmax_logits(torch.tensor([[1.0, 3.0]])).tolist()
    [[-2.0, 2.0]]
    """
    n_classes = scores.shape[1]
    if n_classes < 2:
        raise DataError("a softmax needs at least two classes, and the network has one output: "
                        'kind = "softmax" of [models.output] cannot be')
    if n_classes == 2:
        return scores - scores.flip(1)
    numbers = torch.arange(n_classes, device=scores.device)
    others = torch.stack([torch.cat([numbers[:k], numbers[k + 1:]]) for k in range(n_classes)])
    return scores - torch.logsumexp(scores[:, others], dim=2)


def _logits_of_probabilities(outputs: Tensor,
                             activation: tuple[str, Tensor, Tensor] | None) -> Tensor:
    if activation is not None:
        kind, values, _ = activation
        rows = as_rows(values, len(outputs))
        if kind == "sigmoid":
            return rows
        if rows.shape[1] > 1:
            return softmax_logits(rows.float())
    # Half a step of float32 below 1, so that certainty is a large number and not infinity.
    within = outputs.float().clamp(torch.finfo(torch.float32).tiny, 1 - 2.0**-24)
    return torch.log(within) - torch.log1p(-within)


@contextmanager
def recorded_activations() -> Iterator[Activations]:
    """Sigmoids and softmaxes of rows, as they are computed for as long as this lasts.

    Yields
    ------
    dict
        Filled at the end.
    """
    recorder = _Recorder()
    activations: Activations = {}
    recorder.begin()
    try:
        yield activations
    finally:
        activations |= recorder.end()


class _Recorder(TorchFunctionMode):
    """Remembers what went into sigmoids and softmaxes of rows, while networks are called."""

    _of_thread = threading.local()

    def __deepcopy__(self, _memo: dict[int, Any]) -> _Recorder:
        return self

    def begin(self) -> None:
        """Record from now on, until :meth:`end`."""
        self._stack.append({})
        self.__enter__()  # type: ignore[no-untyped-call]

    def end(self) -> Activations:
        """What was recorded; the results are kept alive, so that identities stay theirs."""
        if not self._stack:  # What stands before a network failed before recording began.
            return {}
        self.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        return self._stack.pop()

    @property
    def _stack(self) -> list[Activations]:
        stack: list[Activations] = self._of_thread.__dict__.setdefault("records", [])
        return stack

    def __torch_function__(self, func: Callable[..., Any], types: Sequence[type],
                           args: tuple[Any, ...] = (),
                           kwargs: Mapping[str, Any] | None = None) -> Any:
        keywords = dict(kwargs or {})
        name = str(getattr(func, "__name__", ""))
        kind = _ACTIVATIONS.get(name.strip("_"))
        values = None
        # Attention is a softmax, too, of more dimensions: its large tensors are not kept.
        if kind and self._stack and args and isinstance(args[0], Tensor) and args[0].ndim <= 2 and (
                kind == "sigmoid" or _is_over_columns(args, keywords)):
            values = args[0].clone() if name.endswith("_") else args[0]
        result = func(*args, **keywords)
        if kind and values is not None and isinstance(result, Tensor):
            self._stack[-1][id(result)] = (kind, values, result)
        return result


def _is_over_columns(args: Sequence[Any], keywords: Mapping[str, Any]) -> bool:
    dim = keywords.get("dim", args[1] if len(args) > 1 else None)
    return args[0].ndim == 2 and dim in (None, 1, -1)


@dataclass(frozen=True)
class _Before:
    recorder: _Recorder | None

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        kind = weight_dtype(module)
        inputs = tuple(value.to(kind) if isinstance(value, Tensor) and value.is_floating_point()
                       and kind != torch.float32 else value for value in inputs)
        if self.recorder is not None:
            self.recorder.begin()
        return inputs


@dataclass(frozen=True)
class _After:
    answer: Answer
    recorder: _Recorder | None

    def __call__(self, _module: nn.Module, inputs: tuple[Any, ...], returned: Any) -> Any:
        records = None if self.recorder is None else self.recorder.end()
        if returned is None:  # The network failed, and its own exception is on its way.
            return None
        return self.answer.logits(returned, len(inputs[0]), records)


def weight_dtype(module: nn.Module) -> torch.dtype:
    """The floating-point type of a network's weights; float32 where it has none."""
    return next((weight.dtype for weight in module.parameters() if weight.is_floating_point()),
                torch.float32)
