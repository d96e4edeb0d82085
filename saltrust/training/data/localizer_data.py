"""Which images a localizer learns from and is judged by, and batches of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from saltrust.errors import DataError
from saltrust.models.localizers.network import BoxTargets
from saltrust.training.data.annotated_images import AnnotatedImages
from saltrust.training.data.augmentation import Variation, draw_variation, move_maps, vary

#: Boxes that are cut down to less, in pixels of the grid, are no targets.
_SMALLEST_BOX = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """Images with what a localizer should say of them.

    Attributes
    ----------
    pixels : Tensor of uint8, shape (batch, H, W)
    masks : Tensor of bool, shape (batch, finding, H, W)
    known : Tensor of bool, shape (batch, finding)
    boxes : list of BoxTargets
    """

    pixels: Tensor
    masks: Tensor
    known: Tensor
    boxes: list[BoxTargets]


@dataclass(frozen=True)
class LocalizerData:
    """Images, masks and boxes of the findings of one localizer.

    Attributes
    ----------
    annotated : AnnotatedImages
    columns : tuple of int
        Its findings, as columns of ``annotated``.
    complete : bool
        Whether it can learn from images of which all findings are known only, as a detector,
        whose loss cannot leave out single findings.
    """

    annotated: AnnotatedImages
    columns: tuple[int, ...]
    complete: bool

    @property
    def findings(self) -> tuple[str, ...]:
        """Names of the findings."""
        return tuple(self.annotated.images.findings[column] for column in self.columns)

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Where it is known which pixels show a finding, shape (N, finding)."""
        return self.annotated.known[:, self.columns]

    @property
    def positive(self) -> npt.NDArray[np.bool_]:
        """Where a pixel shows a finding, shape (N, finding)."""
        return self.annotated.positive[:, self.columns]

    def rows(self, split: str) -> npt.NDArray[np.intp]:
        """Positions of the images of a split that are of use."""
        rows = self.annotated.images.rows(split)
        known = self.known[rows]
        return rows[known.all(axis=1) if self.complete else known.any(axis=1)]

    def sampling_weights(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        """How often images are drawn, so that positives and negatives come alike.

        An image weighs the sum over findings of one over the number of images of its class.
        With one finding, half of what is drawn is positive; with several, each finding draws
        with equal force for the two halves of its own.

        Returns
        -------
        ndarray of float64, shape (len(rows),)
        """
        weights = np.zeros(len(rows))
        for column in range(len(self.columns)):
            known, positive = self.known[rows, column], self.positive[rows, column]
            for members in (known & positive, known & ~positive):
                weights[members] += 1 / max(members.sum(), 1)
        return weights

    def batch(self, rows: npt.NDArray[np.intp], generator: torch.Generator | None = None) -> Batch:
        """Images and their targets, on the CPU; varied at random where a generator is given."""
        images = self.annotated.images
        pixels = torch.from_numpy(images.pixels[rows])
        masks = torch.from_numpy(self.annotated.masks(rows, self.columns))
        boxes = [self._targets(row) for row in rows.tolist()]
        if generator is not None:
            drawn = draw_variation(len(rows), generator, pixels.device)
            size = (pixels.shape[-2], pixels.shape[-1])
            pixels = vary(pixels, drawn.shift, drawn.angle, drawn.contrast)
            masks = move_masks(masks, drawn)
            boxes = [_large_enough(move_boxes(item.boxes, drawn, image, size), item.findings)
                     for image, item in enumerate(boxes)]
        return Batch(pixels, masks, torch.from_numpy(self.known[rows]), boxes)

    def _targets(self, row: int) -> BoxTargets:
        boxes, columns = self.annotated.boxes[row]
        wanted = np.isin(columns, self.columns)
        places = [self.columns.index(column) for column in columns[wanted].tolist()]
        return _large_enough(torch.from_numpy(boxes[wanted]),
                             torch.tensor(places, dtype=torch.int64))


def _large_enough(boxes: Tensor, findings: Tensor) -> BoxTargets:
    kept = ((boxes[:, 2:] - boxes[:, :2]) >= _SMALLEST_BOX).all(dim=1)
    return BoxTargets(boxes[kept], findings[kept])


def move_masks(masks: Tensor, variation: Variation) -> Tensor:
    """Masks of varied images.

    Parameters
    ----------
    masks : Tensor of bool, shape (batch, finding, H, W)
    variation : Variation

    Returns
    -------
    Tensor of bool, shape (batch, finding, H, W)
        In where at least half of a pixel is; the border is repeated, as that of the images.
    """
    return torch.stack([
        move_maps(masks[:, column].float(), variation.shift, variation.angle,
                  outside="border") >= 0.5
        for column in range(masks.shape[1])], dim=1)


def move_boxes(boxes: Tensor, variation: Variation, image: int, size: tuple[int, int]) -> Tensor:
    """Upright boxes around the moved boxes of one image, cut off at its border.

    Parameters
    ----------
    boxes : Tensor of float32, shape (n, 4)
        y0, x0, y1, x1 in pixels.
    variation : Variation
    image : int
        Position in the batch.
    size : (int, int)
        Height and width of the image.

    Returns
    -------
    Tensor of float32, shape (n, 4)
        On the CPU; a box that has left the image has no extent.
    """
    height, width = size
    # Corners turn about the centre of the image, clockwise on the screen, and then move.
    y = boxes[:, [0, 0, 2, 2]] - height / 2
    x = boxes[:, [1, 3, 1, 3]] - width / 2
    angle, (down, right) = variation.angle[image].cpu(), variation.shift[image].cpu()
    cos, sin = torch.cos(angle), torch.sin(angle)
    rows = (sin * x + cos * y + height * (0.5 + down)).clamp(0, height)
    columns = (cos * x - sin * y + width * (0.5 + right)).clamp(0, width)
    return torch.stack([rows.amin(1), columns.amin(1), rows.amax(1), columns.amax(1)], dim=1)


def select_data(annotated: AnnotatedImages, findings: Sequence[str], *, complete: bool,
                name: str) -> LocalizerData:
    """What a localizer of some findings learns from, checked before it starts.

    Parameters
    ----------
    annotated : AnnotatedImages
    findings : sequence of str
    complete : bool
        See :class:`LocalizerData`.
    name : str
        Of the localizer, for messages.

    Raises
    ------
    DataError
        If a finding has no mask in the training images, or too few images of a split are
        annotated.
    """
    columns = tuple(annotated.images.findings.index(finding) for finding in findings)
    data = LocalizerData(annotated, columns, complete)
    train, val = data.rows("train"), data.rows("val")
    without = [finding for column, finding in enumerate(findings)
               if not data.positive[train, column].any()]
    if without:
        others = [finding for finding in findings if finding not in without]
        way_out = (f"set its `findings` to {others}" if others else
                   "give the data set masks or boxes, or change its splits")
        raise DataError(f"localizer {name!r} has no training image with a mask or box of "
                        f"{', '.join(without)}, so it cannot learn where that is; {way_out}")
    for split, rows, least in (("train", train, 2), ("val", val, 1)):
        if len(rows) < least:
            raise DataError(f"localizer {name!r} has {len(rows)} images of split {split!r} of "
                            "which it is known where its findings are; annotate more, or change "
                            "the splits of the data")
    return data


def warn_of_data(data: LocalizerData, name: str) -> None:
    """Say what validation cannot tell, and which images are of no use."""
    train, val = data.rows("train"), data.rows("val")
    unseen = [finding for column, finding in enumerate(data.findings)
              if not data.positive[val, column].any()]
    if unseen:
        _log.warning("localizer %r: no validation image has a mask or box of %s, so nothing tells "
                     "how well that is found", name, ", ".join(unseen))
    left_out = int(data.annotated.images.rows("train").size - train.size)
    if left_out:
        _log.warning("localizer %r: %d training images are left out, because it is not known "
                     "where %s of its findings are in them", name, left_out,
                     "all" if data.complete else "any")
