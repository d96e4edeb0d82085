"""What localizers minimise."""

from __future__ import annotations

from torch import Tensor

from saltrust.models.torchvision_operators import import_torchvision

# segmentation-models-pytorch imports torchvision, whose operators must be declared by then.
import_torchvision()

from segmentation_models_pytorch import losses  # noqa: E402

#: Stands for pixels of which nothing is known.
UNKNOWN = -1
_FOCAL = losses.FocalLoss("binary", gamma=2.0, ignore_index=UNKNOWN)
_DICE = losses.DiceLoss("multilabel", from_logits=True, ignore_index=UNKNOWN)


def segmentation_loss(logits: Tensor, masks: Tensor, known: Tensor) -> dict[str, Tensor]:
    """Focal loss and Dice loss of segmentation-models-pytorch; their sum is trained on.

    The focal loss (gamma 2, no class weights) is a mean over all known pixels, the Dice loss a
    mean over findings of that of the whole batch, 0 where no mask of the batch has a pixel.

    Parameters
    ----------
    logits : Tensor of float, shape (batch, finding, H, W)
    masks : Tensor of bool, shape (batch, finding, H, W)
    known : Tensor of bool, shape (batch, finding)
        Where masks mean something, at least once in the batch.

    Returns
    -------
    dict of str to Tensor
        ``focal`` and ``dice``, scalars.
    """
    logits = logits.float()  # Sums over pixels overflow in half precision.
    target = masks.to(logits.dtype).masked_fill(~known[..., None, None], UNKNOWN)
    return {"focal": _FOCAL(logits, target), "dice": _DICE(logits, target)}
