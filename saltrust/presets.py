"""How the models of the published protocols were trained, by name.

What a paper does not say is left to saltrust's defaults, or chosen here and said so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Preset:
    """Published settings of one kind of model.

    Attributes
    ----------
    kind : {'classifier', 'unet', 'retinanet', 'guided'}
        What can be trained so.
    architecture : str
        The one that the paper trained.
    settings : mapping
        Fields of :class:`saltrust.study.TrainSpec`.
    initial_weights : str
        What the paper started from; empty: random weights, or it does not say.
    summary : str
        One line for ``--help``.
    stand_ins : tuple of str
        Other architectures that are trained so without a warning.
    """

    kind: str
    architecture: str
    summary: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    initial_weights: str = ""
    stand_ins: tuple[str, ...] = ()


PRESETS: dict[str, Preset] = {
    # Saporta et al. 2022, Methods, "Classification network architecture and training protocol".
    # Of how many candidates an epoch's ten are the best is not published.
    "saporta": Preset(
        "classifier", "densenet121",
        "DenseNet121, Saporta et al. 2022: 3 epochs, 30 checkpoints",
        {"epochs": 3, "batch_size": 16, "learning_rate": 1e-4, "patience": 3,
         "validations_per_epoch": 20, "keep": 10,
         "selection_findings": ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema",
                                "Pleural Effusion")},
    ),
    # Arun et al. 2021, supplement of the preprint, "Model Training"; batch sizes of the two
    # classifiers are not published.
    "arun-inception": Preset(
        "classifier", "inception_v3",
        "InceptionV3, Arun et al. 2021: to 20 epochs, patience 4",
        {"epochs": 20, "batch_size": 16, "learning_rate": 1e-4, "patience": 4},
        initial_weights="ImageNet",
    ),
    "arun-densenet": Preset(
        "classifier", "densenet121",
        "DenseNet121, Arun et al. 2021: to 30 epochs, patience 5",
        {"epochs": 30, "batch_size": 16, "learning_rate": 7e-5, "patience": 5},
        initial_weights="ImageNet",
    ),
    "arun-unet": Preset(
        "unet", "base_unet",
        "U-Net, Arun et al. 2021: to 75 epochs, patience 15, batches of 4",
        {"epochs": 75, "batch_size": 4, "learning_rate": 1e-4, "patience": 15,
         "plateau_factor": 0.1, "plateau_patience": 3, "balanced": True},
        stand_ins=("unet",),
    ),
    # Epochs, patience and schedule are not published; they are those of the U-Net.
    "arun-retinanet": Preset(
        "retinanet", "retinanet",
        "RetinaNet, Arun et al. 2021: batches of 4",
        {"epochs": 75, "batch_size": 4, "learning_rate": 1e-4, "patience": 15,
         "plateau_factor": 0.1, "plateau_patience": 3},
        initial_weights="ImageNet",
    ),
    # Watanabe et al. 2022 publish neither rate nor batch size nor epochs.  These are of the
    # released training of their baseline (Karargyris et al. 2021), which has a cyclic rate
    # that begins at 0.009 and is halved every four epochs; its default is 0.001.
    "watanabe": Preset(
        "guided", "efficientnet_unet",
        "EfficientNet-b0 U-Net with gaze, Watanabe et al. 2022",
        {"epochs": 35, "batch_size": 32, "learning_rate": 1e-3, "patience": 10},
        initial_weights="ImageNet",
    ),
}

#: The preset of an entry that names none, by kind.
DEFAULT_PRESETS = {"unet": "arun-unet", "retinanet": "arun-retinanet"}
