"""What a model, or the mean of several, says of images that were changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from saltrust.errors import DataError
from saltrust.explainers.passes.forward import run_forward
from saltrust.explainers.passes.precision import network_precision
from saltrust.generate.batches import Resources
from saltrust.generate.plan import PlannedModel
from saltrust.models.preprocessing import to_input


@dataclass(frozen=True)
class Predictor:
    """The findings' logits of gray planes.

    Attributes
    ----------
    members : tuple of PlannedModel
        On the device already; of several the mean of their probabilities counts.
    resources : Resources
    """

    members: tuple[PlannedModel, ...]
    resources: Resources

    def inputs(self, member: PlannedModel, planes: Tensor) -> Tensor:
        """What one member takes: planes from black to white, shape (n, channels, y, x)."""
        ends = to_input(np.array([[[0, 255]]], np.uint8), member.classifier.preprocessing,
                        planes.device)
        black, white = ends[..., :1], ends[..., 1:]
        return black + planes[:, None] * (white - black)

    def logits(self, planes: Tensor) -> Tensor:
        """Logits of all findings.

        As many planes go through the network at once as the job's other passes have; where the
        device runs out of memory, half as many.

        Parameters
        ----------
        planes : Tensor of float32, shape (n, y, x)
            0 is black, 1 is white.

        Returns
        -------
        Tensor of float32, shape (n, finding)

        Raises
        ------
        DataError
            If the device has not enough memory for one.
        """
        done: list[Tensor] = []
        passes, start = self.resources.passes, 0
        while start < len(planes):
            # As even as the number of passes allows, so that none has a single image left.
            part = next(passes.slices(len(planes) - start))
            try:
                done.append(self._pass(planes[start:start + part.stop]))
            except torch.cuda.OutOfMemoryError as error:
                if not passes.halve():
                    raise DataError(f"{self.resources.device} ran out of memory predicting one "
                                    f"image with model {self.members[0].classifier.name!r}; take "
                                    "another device") from error
                continue
            start += part.stop
        return torch.cat(done)

    def _pass(self, planes: Tensor) -> Tensor:
        precision = "float32" if self.resources.precision == "bf16" else self.resources.precision
        each: list[Tensor] = []
        with network_precision(precision, planes.device):
            for member in self.members:
                forward = run_forward(member.classifier.module, self.inputs(member, planes),
                                      to_inputs=False)
                each.append(forward.logits[:, list(member.classifier.output_index)].float())
        return each[0] if len(each) == 1 else _of_mean(each)


def _of_mean(logits: Sequence[Tensor]) -> Tensor:
    """Logit of the mean probability, as ensembles have it."""
    every = torch.stack(list(logits)).cpu().double()
    mean = every.sigmoid().mean(dim=0).log() - (-every).sigmoid().mean(dim=0).log()
    return mean.to(logits[0])
