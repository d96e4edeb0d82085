"""What the logit loses when a part of the image is covered."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from saltrust.errors import UsageError
from saltrust.explainers.declaration import COUNT, explainer
from saltrust.explainers.passes.context import LEVELS, BatchContext
from saltrust.explainers.passes.evaluation import evaluate
from saltrust.explainers.passes.forward import ForwardPass, freeze, run_forward
from saltrust.models.transfers import like


@explainer(rank=12, limits={"window": COUNT, "stride": (1, "window")}, choices={"fill": LEVELS},
           trial={"window": 100_000, "stride": 100_000}, full_precision=True,
           reading="positive",
           cost="a forward pass for each window")
def occlusion(
    module: nn.Module,
    inputs: Tensor,
    outputs: Sequence[int],
    *,
    window: int = 32,
    stride: int = 16,
    fill: str = "gray",
    forward: ForwardPass | None = None,
    context: BatchContext | None = None,
) -> Tensor:
    """Occlusion: how much the logit falls when a window over the pixel is covered.

    ``heatmap[y, x] = mean over windows w that cover (y, x) of logit(input) - logit(input with
    w filled)``

    Windows start at multiples of the stride; the last of each row and column ends with the
    image, smaller if need be.  Every pixel is covered at least once.

    Parameters
    ----------
    module : torch.nn.Module
        Returns logits of shape (B, K).
    inputs : Tensor, shape (B, C, H, W), floating
    outputs : sequence of int
        Indices of the F logits to explain.
    window : int
        Side of the square that is covered, in pixels of the grid.
    stride : int
        At most ``window``.
    fill : {'gray', 'black', 'white'}
        Gray level of the cover.
    forward : ForwardPass, optional
        A pass over the same inputs, to share its logits.
    context : BatchContext, optional
        Says what black and white are; without it, the lowest and highest value of each
        channel.

    Returns
    -------
    Tensor, shape (B, F, H, W), dtype of ``inputs``
        Signed, in logits: positive where covering the place lowers the logit.  All channels
        are covered together.

    Raises
    ------
    UsageError
        If the stride exceeds the window, so that pixels would never be covered.

    References
    ----------
    Zeiler, Fergus 2014, "Visualizing and understanding convolutional networks", section 4.2: a
    gray square.
    """
    if stride > window:
        raise UsageError(f"occlusion: a stride of {stride} leaves pixels between windows of "
                         f"{window} uncovered; make it at most the window")
    context = BatchContext.of(inputs) if context is None else context
    if forward is None:
        forward = run_forward(module, inputs, to_inputs=False)
    n_images, _, height, width = inputs.shape
    rows, columns = _starts(height, window, stride), _starts(width, window, stride)
    corners = [(y, x) for y in rows for x in columns]
    cover = context.level(fill, inputs).expand(n_images, -1, height, width)
    chosen = list(outputs)
    drops = inputs.new_empty(n_images, len(chosen), len(corners))
    logits = forward.logits.detach()[:, chosen]
    with freeze(module), torch.no_grad():
        for image in range(n_images):
            drops[image] = logits[image, :, None] - _covered_logits(
                module, inputs[image], cover[image], corners, window, context)[:, chosen].T
    return _spread(drops.view(n_images, len(chosen), len(rows), len(columns)), window, stride,
                   (height, width))


def _starts(length: int, window: int, stride: int) -> list[int]:
    n_windows = 1 + max(0, -(-(length - window) // stride))
    return [stride * number for number in range(n_windows)]


def _covered_logits(module: nn.Module, image: Tensor, cover: Tensor,
                    corners: Sequence[tuple[int, int]], window: int,
                    context: BatchContext) -> Tensor:
    """Logits (windows, K) of one image (C, H, W) with each window covered."""
    logits = []
    done = 0
    while done < len(corners):
        part = corners[done:done + context.passes.rows]
        try:
            covered = image.repeat(len(part), 1, 1, 1)
            for row, (y, x) in enumerate(part):
                place = (slice(None), slice(y, y + window), slice(x, x + window))
                covered[row][place] = cover[place]
            logits.append(evaluate(module, covered))
        except torch.cuda.OutOfMemoryError:
            if not context.passes.halve():
                raise
            continue
        done += len(part)
    return torch.cat(logits)


def _spread(drops: Tensor, window: int, stride: int, size: tuple[int, int]) -> Tensor:
    """Mean over the windows (B, F, rows, columns) that cover each pixel, shape (B, F, H, W)."""
    rows, columns = drops.shape[2:]
    height, width = size
    # Along one axis: which windows cover which pixel.
    vertical, horizontal = (
        like(_covers(n_windows, window, stride, length), drops)
        for n_windows, length in ((rows, height), (columns, width)))
    total = torch.einsum("yi,bfij,xj->bfyx", vertical, drops, horizontal)
    return total / torch.outer(vertical.sum(dim=1), horizontal.sum(dim=1))


def _covers(n_windows: int, window: int, stride: int, length: int) -> Tensor:
    pixel = torch.arange(length).view(-1, 1)
    start = stride * torch.arange(n_windows)
    return (pixel >= start) & (pixel < start + window)
