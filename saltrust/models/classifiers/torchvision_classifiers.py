"""Classifiers of torchvision, with a head for our findings.

Importing this module imports torchvision; :mod:`saltrust.models.classifiers.registry` does so only
when
one of these is asked for.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from saltrust.models.torchvision_operators import import_torchvision

_models = import_torchvision().models

#: Two rows fewer and the last pooling of InceptionV3 has nothing left to pool.
_INCEPTION_SMALLEST = 75


class _InceptionV3(_models.Inception3):  # type: ignore[misc,name-defined]
    """InceptionV3 of one output, for images of any size.

    The auxiliary head is left out, as in the Keras model of protocol A: it serves training from
    scratch only, and makes the output a pair.  Smaller images than the network can take are
    enlarged, bilinearly, inside the network, so that gradients come back at their own size.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        height, width = inputs.shape[-2:]
        if min(height, width) < _INCEPTION_SMALLEST:
            size = (max(height, _INCEPTION_SMALLEST), max(width, _INCEPTION_SMALLEST))
            inputs = functional.interpolate(inputs, size, mode="bilinear", align_corners=False)
        logits: Tensor = super().forward(inputs)
        return logits


def densenet121(n_outputs: int, **arguments: Any) -> nn.Module:
    """DenseNet-121 (Huang et al., CVPR 2017); protocols S and A."""
    model: nn.Module = _models.densenet121(weights=None, num_classes=n_outputs, **arguments)
    return model


def inception_v3(n_outputs: int, **arguments: Any) -> nn.Module:
    """InceptionV3 (Szegedy et al., CVPR 2016) without its auxiliary head; protocol A."""
    return _InceptionV3(num_classes=n_outputs, aux_logits=False, transform_input=False,
                        **{"init_weights": True, **arguments})


def resnet18(n_outputs: int, **arguments: Any) -> nn.Module:
    """ResNet-18 (He et al., CVPR 2016)."""
    model: nn.Module = _models.resnet18(weights=None, num_classes=n_outputs, **arguments)
    return model


def resnet50(n_outputs: int, **arguments: Any) -> nn.Module:
    """ResNet-50 (He et al., CVPR 2016)."""
    model: nn.Module = _models.resnet50(weights=None, num_classes=n_outputs, **arguments)
    return model


def resnet152(n_outputs: int, **arguments: Any) -> nn.Module:
    """ResNet-152 (He et al., CVPR 2016)."""
    model: nn.Module = _models.resnet152(weights=None, num_classes=n_outputs, **arguments)
    return model


def efficientnet_b0(n_outputs: int, **arguments: Any) -> nn.Module:
    """EfficientNet-B0 (Tan and Le, ICML 2019); the encoder of protocol W."""
    model: nn.Module = _models.efficientnet_b0(weights=None, num_classes=n_outputs, **arguments)
    return model
