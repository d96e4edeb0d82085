"""One forward pass of a batch that all explainers and all findings share.

A network is run once per batch; its logits, the feature maps asked for and the graph back to
them are kept in a :class:`ForwardPass`, from which explainers take vector-Jacobian products.
Weights carry no gradient, so the graph holds no more than the way back to the inputs, or,
where no explainer needs those, from the logits to the feature maps.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from saltrust.errors import DataError
from saltrust.explainers.passes.compiled import compiles
from saltrust.explainers.passes.evaluation import evaluate
from saltrust.explainers.passes.layouts import FeatureLayer


@contextmanager
def recording() -> Iterator[None]:
    """Let graphs be recorded, also under the caller's ``no_grad`` or ``inference_mode``."""
    with (torch.inference_mode(False) if torch.is_inference_mode_enabled() else nullcontext(),
          torch.enable_grad()):
        yield


def outside_inference(values: Tensor) -> Tensor:
    """The same values as a tensor that a graph can hold."""
    return values.clone() if values.is_inference() else values


@contextmanager
def freeze(module: nn.Module) -> Iterator[nn.Module]:
    """Hold a network in evaluation mode with weights that carry no gradient.

    On leaving, also by an exception, every submodule's training mode and every parameter's
    ``requires_grad`` are as they were.

    Meanwhile torch's shortcut through whole blocks of attention, which passes their submodules
    and operations by, is off.
    """
    refuse_inference_tensors(module)
    modes = [(part, part.training) for part in module.modules()]
    flags = [(weight, weight.requires_grad) for weight in module.parameters()]
    shortcut = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        module.eval()
        for weight, _ in flags:
            weight.requires_grad_(False)
        yield module
    finally:
        torch.backends.mha.set_fastpath_enabled(shortcut)
        for weight, flag in flags:
            weight.requires_grad_(flag)
        for part, mode in modes:
            part.training = mode


def refuse_inference_tensors(module: nn.Module) -> None:
    """Refuse a network whose weights cannot be part of a graph.

    Raises
    ------
    DataError
        If a weight was made under ``torch.inference_mode``.
    """
    for name, weight in module.named_parameters():
        if weight.is_inference():
            raise DataError(f"{type(module).__name__} was made under torch.inference_mode, so that "
                            f"nothing can be differentiated through its {name!r}; build and load "
                            "it outside")


@dataclass(frozen=True)
class ForwardPass:
    """What one forward pass left behind.

    Attributes
    ----------
    module : torch.nn.Module
        The network that was run.
    inputs : Tensor, shape (B, C, H, W)
        What it was run on; a leaf that requires a gradient where ``to_inputs`` was asked for.
    logits : Tensor, shape (B, K)
        What it returned.
    features : dict of str to Tensor
        What each layer asked for returned, by dotted name; as a plane (B, channels, h, w)
        where it was asked for as a
        :class:`~saltrust.explainers.passes.layouts.FeatureLayer`.  Operations that later worked
        in place on it (``relu(features, inplace=True)``) worked on a copy.
    kept : dict
        What explainers of this batch computed and others may use (:meth:`compute_once`).
    """

    module: nn.Module
    inputs: Tensor
    logits: Tensor
    features: Mapping[str, Tensor]
    kept: dict[Hashable, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def compute_once(self, key: Hashable, compute: Callable[[], Tensor]) -> Tensor:
        """Compute something that several explainers of the batch need only once.

        Parameters
        ----------
        key : hashable
            Says all that the result depends on besides module and inputs.
        compute : callable
            Its result is kept as long as the pass.
        """
        if key not in self.kept:
            self.kept[key] = compute().detach()
        return self.kept[key]

    def gradient(self, output: int, target: Tensor) -> Tensor:
        """Gradient of one logit, per image, with respect to ``inputs`` or a feature map.

        Parameters
        ----------
        output : int
            Index of the logit.
        target : Tensor, shape (B, ...)
            ``inputs`` or one of ``features``.

        Returns
        -------
        Tensor, shape of ``target``, dtype of ``inputs``
            d logit / d target, signed; zero where the logit does not depend on it.

        Raises
        ------
        DataError
            If no logit at all carries a gradient.
        """
        if not self.logits.requires_grad:
            raise DataError(
                f"the logits of {type(self.module).__name__} carry no gradient; a network that "
                "detaches its features or runs under torch.no_grad cannot be explained by "
                "gradients"
            )
        # Images do not mix in evaluation mode, so the sum's gradient is each image's own.
        with recording():
            total = self.logits[:, output].sum()
        (gradient,) = torch.autograd.grad(total, target, retain_graph=True, allow_unused=True)
        gradient = torch.zeros_like(target) if gradient is None else gradient
        return gradient.to(self.inputs.dtype)

    def maps(self, outputs: Sequence[int], reduce: Callable[[Tensor], Tensor]) -> Tensor:
        """Heatmaps from the gradients of some logits with respect to the inputs.

        Parameters
        ----------
        outputs : sequence of int
            Indices of F logits.
        reduce : callable
            Of a gradient (B, C, H, W); gives maps (B, H, W).  Called in threads
            (:func:`map_threads`).

        Returns
        -------
        Tensor, shape (B, F, H, W)

        Raises
        ------
        DataError
            If no logit carries a gradient.
        """
        return torch.stack(
            map_threads(lambda output: reduce(self.gradient(output, self.inputs)), outputs,
                        self.inputs.device), dim=1)


def map_threads(way_back: Callable[[int], Tensor], outputs: Sequence[int],
                device: torch.device) -> list[Tensor]:
    """Call a function for each finding; on a CPU, in as many threads as torch may use.

    A gradient consists of hundreds of small operations, each of which gains little from a second
    core; the gradients of two findings gain more (on two cores, a quarter to a third of the
    time).  Each result is computed as it would be alone, in a thread of its own.

    Parameters
    ----------
    way_back : callable
        Of the index of a logit.  It may walk a graph that is kept, and must not change it.
    outputs : sequence of int
    device : torch.device
        Of the tensors; the work of a GPU is left in order.

    Returns
    -------
    list of Tensor
        In the order of ``outputs``.

    Examples
    --------
    >>> x = torch.tensor([2.0, 3.0], requires_grad=True)
    >>> y = x ** 2
    >>> map_threads(lambda k: torch.autograd.grad(y[k], x, retain_graph=True)[0], [0, 1], x.device)
    [tensor([4., 0.]), tensor([0., 6.])]
    """
    threads = torch.get_num_threads()
    workers = min(threads, len(outputs))
    # A way back is compiled when it is first taken: not in several threads at once.
    if device.type != "cpu" or workers < 2 or compiles():
        return [way_back(output) for output in outputs]
    recorded = torch.is_grad_enabled()

    def in_thread(output: int) -> Tensor:
        with torch.set_grad_enabled(recorded):
            return way_back(output)

    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads,
                                initargs=(threads // workers,)) as pool:
            return list(pool.map(in_thread, outputs))
    finally:
        # A thread's number is its own, but also what threads to come begin with.
        torch.set_num_threads(threads)


def run_forward(
    module: nn.Module,
    inputs: Tensor,
    *,
    to_inputs: bool = True,
    layers: Sequence[str | FeatureLayer] = (),
) -> ForwardPass:
    """Run a network once and keep what gradients need.

    Parameters
    ----------
    module : torch.nn.Module
        Returns logits of shape (B, K).  Left as it was found.
    inputs : Tensor, shape (B, C, H, W), floating
    to_inputs : bool
        Whether gradients reach back to the inputs.  Where only ``layers`` need gradients,
        False saves the memory and time of everything before them.
    layers : sequence of (str or FeatureLayer)
        Submodules whose output is kept.  Of one that is called several times and given by its
        dotted name, the last call that returned feature maps (B, channels, h, w) of more than one
        place counts, or else the last.  Of one that returns several tensors, the first.

    Raises
    ------
    DataError
        If the network does not return logits of shape (B, K), or a layer is never called or
        returns no tensor.
    """
    with recording():
        inputs = outside_inference(inputs).detach().requires_grad_(to_inputs)
    features: dict[str, Tensor] = {}
    numbers: dict[str, int] = {}

    def begin(_module: nn.Module, _args: Any) -> None:
        # A network may be run again, in another layout.
        features.clear()
        numbers.clear()

    def keep(layer: str | FeatureLayer) -> Any:
        name = layer if isinstance(layer, str) else layer.name

        def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
            number = numbers[name] = numbers.get(name, -1) + 1
            values = tensor_of(output)
            if values is None:
                return None
            if isinstance(layer, str):
                if name in features and is_spatial(features[name]) and not is_spatial(values):
                    return None
                plane = values
            elif number != layer.call:
                return None
            else:
                plane = layer.layout.plane(values)
            if not plane.requires_grad:
                # The graph starts here; nothing before it is kept.
                plane = plane.detach().requires_grad_()
            features[name] = plane
            on = plane if isinstance(layer, str) else layer.layout.values(plane, values)
            # The network goes on with a copy, which it may change in place.
            return with_tensor(output, values, on.clone())

        return hook

    differentiate = to_inputs or bool(layers)
    with (recording(), freeze(module), torch.set_grad_enabled(differentiate),
          ExitStack() as hooks):
        hooks.enter_context(module.register_forward_pre_hook(begin))
        for layer in layers:
            part = module.get_submodule(layer if isinstance(layer, str) else layer.name)
            hooks.enter_context(part.register_forward_hook(keep(layer)))
        logits = evaluate(module, inputs)
    check_logits(module, logits, len(inputs))
    for layer in layers:
        name = layer if isinstance(layer, str) else layer.name
        if name not in features:
            raise DataError(f"layer {name!r} of {type(module).__name__} returned no tensor")
    return ForwardPass(module, inputs, logits, features)


def is_spatial(values: Tensor) -> bool:
    """Whether a tensor has the shape of feature maps of more than one place."""
    return values.ndim == 4 and values.shape[2] * values.shape[3] > 1


def tensor_of(output: Any) -> Tensor | None:
    """The first floating tensor of what a submodule returned; None where it returned none.

    Parameters
    ----------
    output : object
        A tensor, a tuple, a list or a mapping of tensors.
    """
    if isinstance(output, Tensor):
        return output if output.is_floating_point() else None
    if isinstance(output, Mapping):
        output = list(output.values())
    if isinstance(output, (tuple, list)):
        return next((value for value in output
                     if isinstance(value, Tensor) and value.is_floating_point()), None)
    return None


def with_tensor(output: Any, values: Tensor, instead: Tensor) -> Any:
    """What a submodule returned, with another tensor for one of its own.

    Parameters
    ----------
    output : object
        As for :func:`tensor_of`.
    values : Tensor
        One that is in it.
    instead : Tensor
    """
    if isinstance(output, Tensor):
        return instead
    if isinstance(output, Mapping):
        changed = copy.copy(output)
        for key, value in output.items():
            if value is values:
                changed[key] = instead  # type: ignore[index]
        return changed
    items = [instead if value is values else value for value in output]
    if isinstance(output, list):
        return items
    return type(output)(*items) if hasattr(output, "_fields") else tuple(items)


def check_logits(module: nn.Module, logits: Any, n_images: int) -> None:
    """Refuse what is not one row of logits per image.

    Parameters
    ----------
    module : torch.nn.Module
        For the message.
    logits : object
        What it returned.
    n_images : int
        How many it was given.

    Raises
    ------
    DataError
        If ``logits`` is not a floating tensor of shape (n_images, K).
    """
    if isinstance(logits, Tensor) and logits.is_floating_point():
        if logits.ndim == 2 and len(logits) == n_images:
            return
        what = f"a tensor of shape {tuple(logits.shape)}"
    else:
        what = f"a {type(logits).__name__}"
    raise DataError(
        f"{type(module).__name__} returned {what} for {n_images} images; it must return logits "
        f"of shape ({n_images}, findings)"
    )
