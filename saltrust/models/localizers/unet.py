"""U-Net of segmentation-models-pytorch, for images of any size.

Importing this module imports torchvision and segmentation-models-pytorch;
:mod:`saltrust.models.localizers.registry` does so only when a U-Net is asked for.
"""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from saltrust.errors import DataError, UsageError, nearest
from saltrust.models.preprocessing import GRAY, IMAGENET
from saltrust.models.torchvision_operators import import_torchvision

# segmentation-models-pytorch imports torchvision, whose operators must be declared by then.
import_torchvision()
try:
    import segmentation_models_pytorch as smp
except ImportError as error:
    raise DataError("segmentation-models-pytorch is not installed: install the extra, "
                    f"`pip install saltrust[generate]` ({error})") from error


class UNet(smp.Unet):  # type: ignore[misc]
    """U-Net (Ronneberger et al., MICCAI 2015) that pads what its encoder cannot halve.

    Parameters
    ----------
    n_outputs : int
        Channels of the output, one per finding.
    encoder_name : str
        Of segmentation-models-pytorch.  ``vgg13_bn``, pairs of 3 x 3 convolutions between
        poolings, is the contracting path of the original, with batch normalisation.
    in_channels : {1, 3}
        One gray channel, or three as pretrained encoders take them.
    **arguments
        ``encoder_depth`` and what begins with ``decoder_``, of
        ``segmentation_models_pytorch.Unet``.

    Notes
    -----
    ``forward`` turns inputs of shape (batch, in_channels, H, W) into logits per pixel, shape
    (batch, n_outputs, H, W).  Borders are repeated up to the next multiple of the encoder's
    stride and cut off again.
    """

    def __init__(self, n_outputs: int, encoder_name: str = "vgg13_bn", in_channels: int = 1,
                 **arguments: Any) -> None:
        super().__init__(encoder_name=encoder_name, encoder_weights=None,
                         in_channels=in_channels, classes=n_outputs, **arguments)
        self.preprocessing = GRAY if in_channels == 1 else IMAGENET
        self.stride = 2 ** int(arguments.get("encoder_depth", 5))

    @property
    def pretrainable(self) -> nn.Module:
        """The part that weights of a classifier can start."""
        encoder: nn.Module = self.encoder
        return encoder

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits per pixel."""
        height, width = inputs.shape[-2:]
        padding = (0, -width % self.stride, 0, -height % self.stride)
        if any(padding):
            inputs = functional.pad(inputs, padding, mode="replicate")
        logits: Tensor = super().forward(inputs)
        return logits[..., :height, :width]


def unet(n_outputs: int, **arguments: Any) -> nn.Module:
    """Build a :class:`UNet`.

    Raises
    ------
    UsageError
        If the encoder or an argument is not known, or the number of channels is neither 1 nor
        3.
    """
    # The library takes any keyword and hands it on to encoders, some of which drop it silently.
    named = [name for name in inspect.signature(smp.Unet.__init__).parameters
             if name == "encoder_depth" or name.startswith("decoder_")]
    allowed = ["encoder_name", "in_channels", *named]
    for argument in arguments:
        if argument not in allowed:
            raise UsageError(f"a U-Net does not take the argument {argument!r}; "
                             f"{nearest(argument, allowed)}")
    name = arguments.get("encoder_name", "vgg13_bn")
    known = smp.encoders.get_encoder_names()
    if name not in known and not str(name).startswith("tu-"):
        raise UsageError(f"encoder_name = {name!r} is not known to segmentation-models-pytorch; "
                         f"{nearest(str(name), known)}")
    if arguments.get("in_channels", 1) not in (1, 3):
        raise UsageError("in_channels of a U-Net must be 1 (gray) or 3, not "
                         f"{arguments['in_channels']!r}")
    return UNet(n_outputs, **arguments)
