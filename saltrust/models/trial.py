"""The trial of a network, before anything is computed: that it is what its study takes it for.

Three deterministic images go through it, then two of them again in another order and company.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from saltrust.errors import DataError, UsageError
from saltrust.models.answer import (
    Answer,
    as_rows,
    describe_output,
    recorded_activations,
    select_output,
    weight_dtype,
)
from saltrust.models.eval_mode import eval_mode
from saltrust.models.preprocessing import Preprocessing, to_input
from saltrust.models.refusals import refusal

#: What rounding may make of logits when a batch has another size, of the largest logit.
_ROUNDING = {torch.float64: 1e-8, torch.float32: 1e-4, torch.float16: 3e-2, torch.bfloat16: 1e-1}
_SEED = 20_240


@dataclass(frozen=True)
class Trial:
    """What came of a trial.

    Attributes
    ----------
    answer : Answer
        As was asked for, with the output that will be taken.
    assumed : tuple of str
        What nothing states and is taken for granted.
    warnings : tuple of str
        What looks otherwise than stated.
    """

    answer: Answer
    assumed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Expected:
    """What a network is taken for.

    Attributes
    ----------
    architecture : str
        For messages.
    preprocessing : Preprocessing
    size : (int, int)
        Height and width of the images, in pixels.
    n_outputs : int
        Number of its outputs; of networks of three classes per finding, of findings.
    answer : Answer
    stochastic : bool
        Whether it may answer the same image differently.
    """

    architecture: str
    preprocessing: Preprocessing
    size: tuple[int, int]
    n_outputs: int
    answer: Answer = Answer()
    stochastic: bool = False


def try_network(module: nn.Module, expected: Expected) -> Trial:
    """Send a few images through a network and hold what it returns to what is stated of it.

    Parameters
    ----------
    module : torch.nn.Module
        As its factory made it, before :func:`saltrust.models.answer.answer_with_logits`.  Left as
        it was found.
    expected : Expected

    Returns
    -------
    Trial

    Raises
    ------
    UsageError
        If the network cannot take the images (the sentence names the cause: channels, size,
        types of weights, a second input, TorchScript, its own code), returns something else than
        is stated, or answers by chance or by the company of an image and is not
        said to be stochastic.
    """
    what = f"architecture {expected.architecture!r}"
    if isinstance(module, torch.jit.ScriptModule):
        raise UsageError(f"{what} is TorchScript, whose operations cannot be explained; build the "
                         "network in Python and load its state_dict")
    pixels = probe_images(expected.size)
    inputs = to_input(pixels, expected.preprocessing, _device(module)).to(weight_dtype(module))
    with recorded_activations() as activations:
        returned = _call(module, inputs, expected)
    answer, assumed = _settle_output(returned, expected)
    outputs = _rows(returned, answer, len(inputs), expected)
    if not bool(torch.isfinite(outputs).all()):
        return Trial(answer, assumed, (_describe_overflow(module),))
    if not expected.stochastic:
        _check_repeatable(module, inputs, outputs, answer, expected)
    kind = activations.get(id(select_output(returned, answer.select)), ("",))[0]
    _check_kind(outputs, expected)
    if kind or _stays_between_0_and_1(module, inputs, outputs, answer, expected):
        return Trial(answer, assumed, _looks_like_probabilities(outputs, kind, expected))
    return Trial(answer, assumed, _looks_like_log_softmax(outputs, expected))


def probe_images(size: tuple[int, int]) -> np.ndarray:
    """Three gray images of different content: shades with spots, noise, and both.

    Parameters
    ----------
    size : (int, int)
        Height and width.

    Returns
    -------
    ndarray of uint8, shape (3, height, width)
    """
    height, width = size
    generator = np.random.default_rng(_SEED)
    y, x = np.mgrid[0:1:height * 1j, 0:1:width * 1j]
    shades = 255 * np.exp(-((x - 0.3) ** 2 + (y - 0.6) ** 2) / 0.1)
    noise = generator.integers(0, 256, (height, width)).astype(float)
    both = 0.5 * 255 * (x + y) / 2 + 0.5 * noise
    images: np.ndarray = np.stack([shades, noise, both]).astype(np.uint8)
    return images


def _device(module: nn.Module) -> torch.device:
    return next((weight.device for weight in module.parameters()), torch.device("cpu"))


def _call(module: nn.Module, inputs: Tensor, expected: Expected) -> object:
    with eval_mode(module), torch.no_grad():
        try:
            return module(inputs.clone())
        except Exception as error:
            what = (f"architecture {expected.architecture!r} cannot take "
                    f"{inputs.shape[1]}-channel images of {inputs.shape[2]} x {inputs.shape[3]} "
                    "pixels")
            raise UsageError(f"{what}: {refusal(module, inputs, error)}") from error


def _settle_output(returned: object, expected: Expected) -> tuple[Answer, tuple[str, ...]]:
    """The answer with the output that is to be taken, and what was assumed for it."""
    answer = expected.answer
    if isinstance(returned, Tensor) or answer.select is not None:
        return answer, ()
    chosen = select_output(returned)
    for select in _selectors(returned):
        if select_output(returned, select) is chosen:
            return replace(answer, select=None), (
                f"of what it returns, {describe_output(returned)}, the logits are taken to be "
                f"{select!r} (`select` of [models.output])",)
    return answer, ()


def _selectors(returned: object) -> list[str | int]:
    if isinstance(returned, dict):
        return list(returned)
    names = getattr(returned, "__dataclass_fields__", None) or getattr(returned, "_fields", None)
    if names:
        return list(names)
    return list(range(len(returned))) if isinstance(returned, list | tuple) else []


def _rows(returned: object, answer: Answer, n_images: int, expected: Expected) -> Tensor:
    """What is selected, as rows, before it becomes logits."""
    what = f"architecture {expected.architecture!r}"
    n_wanted = expected.n_outputs * (3 if answer.three_class else 1)
    try:
        outputs = as_rows(select_output(returned, answer.select), n_images)
        answer.logits(returned, n_images)
    except DataError as error:
        raise UsageError(f"{what}: {error}") from None
    if outputs.shape[1] != n_wanted:
        raise UsageError(
            f"{what} must return {n_wanted} outputs per image, shape (batch, {n_wanted}), not "
            f"{outputs.shape[1]}: name what its outputs are with `findings` of [models.output], or "
            "build it with as many outputs as the study has findings")
    return outputs


def _describe_overflow(module: nn.Module) -> str:
    broken = [name for name, buffer in module.named_buffers()
              if buffer.is_floating_point() and not bool(torch.isfinite(buffer).all())]
    cause = (f"its buffer {broken[0]!r} holds NaN or infinite values" if broken
             else "its numbers overflow, or it is given what it was not trained for "
                  "([models.input])")
    return (f"it returns NaN or infinite values for a plain image, since {cause}; such maps are "
            "stored and marked")


def _check_repeatable(module: nn.Module, inputs: Tensor, outputs: Tensor, answer: Answer,
                      expected: Expected) -> None:
    """Refuse what the same image is answered with at random, or by the company it is in."""
    order = [2, 0]
    first, second = (_rows(_call(module, inputs[order], expected), answer, len(order), expected)
                     for _ in range(2))
    scale = float(outputs.abs().max())
    kind = weight_dtype(module)
    what = f"architecture {expected.architecture!r}"
    way_out = ("; mend it, or set stochastic = true under [[models]] if its maps are to be made "
               "all the same")
    if float((first - second).abs().max()) > 16 * torch.finfo(kind).eps * scale:
        raise UsageError(f"{what} answers the same images differently each time: "
                         f"{_random_part(module)}{way_out}")
    if float((first - outputs[order]).abs().max()) > _ROUNDING.get(kind, 1e-4) * scale:
        raise UsageError(f"{what} answers an image differently with other images beside it: "
                         f"{_mixing_part(module)}{way_out}")


def _random_part(module: nn.Module) -> str:
    with eval_mode(module):
        active = [name for name, part in module.named_modules()
                  if "drop" in type(part).__name__.lower() and part.training]
    return (f"{active[0]!r} drops values in evaluation mode, too" if active else
            "it draws random numbers, as dropout does that is left on in evaluation mode "
            "(functional.dropout without training=self.training)")


def _mixing_part(module: nn.Module) -> str:
    with eval_mode(module):
        untracked = [name for name, part in module.named_modules()
                     if isinstance(part, _BatchNorm) and (part.running_mean is None
                                                          or part.training)]
    return (f"batch normalization {untracked[0]!r} has no running statistics" if untracked else
            "something in it computes over the batch, as batch normalization does without running "
            "statistics")


def _check_kind(outputs: Tensor, expected: Expected) -> None:
    low, high = float(outputs.min()), float(outputs.max())
    if expected.answer.kind == "probabilities" and not 0 <= low <= high <= 1:
        raise UsageError(
            f"architecture {expected.architecture!r} returns values from {low:.3g} to {high:.3g}, "
            "which are no probabilities as [models.output] states: set kind = \"logits\", or "
            "\"softmax\" for classes that exclude each other")


def _stays_between_0_and_1(module: nn.Module, inputs: Tensor, outputs: Tensor, answer: Answer,
                           expected: Expected) -> bool:
    """Whether outputs lie there for much larger inputs, too: logits do by chance only."""
    for scale in (1, 1000, -1000):
        if scale != 1:
            outputs = _rows(_call(module, scale * inputs, expected), answer, len(inputs), expected)
        if not bool(((outputs >= 0) & (outputs <= 1)).all()):
            return False
    return True


def _looks_like_probabilities(outputs: Tensor, kind: str, expected: Expected) -> tuple[str, ...]:
    """What to say of probabilities that are stated to be something else."""
    answer = expected.answer
    if answer.kind == "probabilities":
        return ()
    if not kind:
        ones = outputs.double().sum(1)
        kind = ("softmax" if outputs.shape[1] > 1 and _close(ones, torch.ones_like(ones))
                else "sigmoid")
    sums = " and sum to 1" if kind == "softmax" else ""
    return (f"its outputs lie between 0 and 1{sums}, as after a {kind}, and are taken for "
            f"{answer.kind}, so that probabilities and maps are those of a second {kind}: if they "
            'are probabilities, set kind = "probabilities" under [models.output]',)


def _looks_like_log_softmax(outputs: Tensor, expected: Expected) -> tuple[str, ...]:
    if expected.answer.kind != "logits" or outputs.shape[1] < 2 or expected.answer.three_class:
        return ()
    total = torch.logsumexp(outputs.double(), 1)
    if not _close(total, torch.zeros_like(total)):
        return ()
    return ("its outputs are logarithms of probabilities that sum to 1, as after a log-softmax, "
            'and are taken for logits of a sigmoid; if so, set kind = "softmax" under '
            "[models.output]",)


def _close(values: Tensor, target: Tensor) -> bool:
    return bool(torch.allclose(values.double(), target.double().to(values.device), atol=1e-3,
                               rtol=0))
