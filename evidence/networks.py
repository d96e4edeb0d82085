"""Networks of other libraries on real radiographs, by study file; exit 1 where a map is wrong.

Run by ``make evidence``.  Seven networks with random weights explain four radiographs by eight
methods each, as a study file asks for.  Compared with the stored cubes are, computed here from the
network alone: the probability (sigmoid or softmax), the gradient (autograd), integrated gradients
(captum) and Grad-CAM (pytorch-grad-cam, with the transform that brings tokens to a plane).  Without
../shared/data nothing is done, which is said.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from promises import run
from torch import Tensor, nn

from saltrust.cache.schema import Status
from saltrust.cache.store import open_cubes
from saltrust.models.classifiers.registry import build
from saltrust.models.contract import preprocessing_of
from saltrust.models.preprocessing import to_input
from saltrust.models.torchvision_operators import import_torchvision
from saltrust.models.user_code import importable_from

warnings.simplefilter("ignore")  # of the libraries
import_torchvision()
import captum.attr  # noqa: E402
import transformers  # noqa: E402
from pytorch_grad_cam import GradCAM  # noqa: E402
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget  # noqa: E402

RADIOGRAPHS = Path(__file__).parents[2] / "shared" / "data" / "radiographs"
STEPS = 4
EXPLAINERS = f"""[
    "grad", "gradcam", "gradcam_plus_plus", "eigencam", "guided_gradcam",
    {{ name = "smoothgrad", parameters = {{ samples = 2 }} }},
    {{ name = "ig", parameters = {{ steps = {STEPS} }} }},
    {{ name = "occlusion", parameters = {{ window = 64, stride = 64 }} }}]"""
NET = """
from torch import nn
def make(n_outputs):
    return nn.Sequential(nn.Conv2d(3, 16, 5, 4), nn.ReLU(), nn.Conv2d(16, 32, 3, 2), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, n_outputs))
"""


def tokens(module_grid: int, before: int) -> Callable[[Tensor], Tensor]:
    """Tokens after a class token as a plane."""
    def transform(values: Tensor) -> Tensor:
        return values[:, before:].transpose(1, 2).unflatten(2, (module_grid, module_grid))

    return transform


@dataclass(frozen=True)
class Case:
    """One network: its study, and the layer and transform of its Grad-CAM.

    Attributes
    ----------
    layer : str
        Dotted name of the layer that saltrust is to choose.
    transform : callable, optional
        From what it returns to a plane.
    """

    architecture: str
    layer: str
    transform: Callable[[Tensor], Tensor] | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    tables: str = ""
    softmax: bool = False
    select: Callable[[Any], Tensor] = lambda returned: returned


CASES = {
    "vit_tiny": Case("timm:vit_tiny_patch16_224", "blocks.11.norm1", tokens(14, 1)),
    "swin_tiny": Case("timm:swin_tiny_patch4_window7_224", "layers.3.blocks.1.norm1",
                      lambda values: values.permute(0, 3, 1, 2)),
    "convnext_atto": Case("timm:convnext_atto", "norm_pre"),
    "monai_densenet121": Case("monai:DenseNet121", "class_layers.relu"),
    "torchxrayvision_densenet": Case("torchxrayvision:DenseNet", "features"),
    "hf_vit": Case("hf:vit", "vit.layers.3.layernorm_before", tokens(14, 1), softmax=True,
                   select=lambda returned: returned.logits),
    "softmax_net": Case("net:make", "3", softmax=True, tables="""
[models.input]
preset = "imagenet"
[models.output]
kind = "softmax"
findings = ["Pneumothorax", "Pneumonia"]
"""),
}


def write_data(folder: Path) -> None:
    """Two radiographs of each kind, and a manifest of them."""
    rows = ["path,Pneumonia,Pneumothorax"]
    for kind, labels in (("pneumonia", "1,0"), ("pneumothorax", "0,1")):
        rows += [f"{path},{labels}"
                 for path in sorted((RADIOGRAPHS / kind).glob("*.png"))[:2]]
    (folder / "images.csv").write_text("\n".join(rows) + "\n")


def write_case(folder: Path, name: str, case: Case) -> nn.Module:
    """Weights and study of one network, and the network itself."""
    torch.manual_seed(3)
    (folder / "net.py").write_text(NET)
    checkpoint = "weights.pt"
    if case.architecture.startswith("hf:"):
        config = transformers.ViTConfig(
            hidden_size=48, num_hidden_layers=4, num_attention_heads=3, intermediate_size=64,
            id2label={0: "Pneumothorax", 1: "Pneumonia"})
        transformers.ViTForImageClassification(config).save_pretrained(folder / "vit")
        checkpoint = "vit/model.safetensors"
    with importable_from(folder):
        source = case.architecture.replace("hf:", f"hf:{folder}/")
        network = build(source, 2, **case.arguments)
    if not case.architecture.startswith("hf:"):
        torch.save(network.state_dict(), folder / checkpoint)
    else:
        network.load_state_dict(transformers.ViTForImageClassification.from_pretrained(
            folder / "vit").state_dict())
    (folder / "study.toml").write_text(
        f'grid = 224\nexplainers = {EXPLAINERS}\n[data]\nkind = "manifest"\npath = "images.csv"\n'
        f'findings = ["Pneumonia", "Pneumothorax"]\n[generate]\nsplit = "all"\n'
        f'[[models]]\nname = "{name}"\narchitecture = "{case.architecture}"\n'
        f'checkpoint = "{checkpoint}"\n{case.tables}')
    return network.eval()


def scores(case: Case, network: nn.Module, inputs: Tensor) -> Tensor:
    """Logits of Pneumonia and Pneumothorax."""
    returned = case.select(network(inputs))
    if not case.softmax:
        return returned
    shares = returned.double().softmax(1)[:, [1, 0]]
    return (shares.log() - (1 - shares).log()).float()


class Scores(nn.Module):
    """The network with its logits as output, for peers."""

    def __init__(self, case: Case, network: nn.Module) -> None:
        super().__init__()
        self.network, self.case = network, case

    def forward(self, inputs: Tensor) -> Tensor:
        return scores(self.case, self.network, inputs)


def check(name: str, case: Case, folder: Path) -> list[str]:
    """Generate, and say what differs from the peers."""
    network = write_case(folder, name, case)
    run("-q", "generate", str(folder / "study.toml"), "-o", str(folder / "cubes.zarr"),
        "--overwrite")
    cubes = open_cubes(folder / "cubes.zarr")
    preprocessing = preprocessing_of(case.architecture, network)
    inputs = to_input(cubes["radiograph/pixels"].values, preprocessing)
    peer = Scores(case, network)
    maps = cubes["saliency/heatmap"].isel(model=0)
    layer = dict(network.named_modules())[case.layer]
    stated = str(cubes["saliency/explainer_parameters"].sel(explainer="gradcam").values)
    wrong = ([] if f'"{case.layer}"' in stated else
             [f"{name}: Grad-CAM is of {stated}, not of {case.layer}"])
    with torch.no_grad():
        probability = peer(inputs).sigmoid().numpy()
    stored = cubes["prediction/probability"].values[..., 0]
    if not np.allclose(stored, probability, rtol=1e-4, atol=1e-6):
        wrong.append(f"{name}: probabilities differ by {np.abs(stored - probability).max():.2g}")
    status = cubes["saliency/status"].values
    if not np.isin(status, [Status.OK, Status.FLAT]).all():
        wrong.append(f"{name}: maps are missing or not finite")
    least = {"grad": 1.0, "ig": 1.0, "gradcam": 1.0}
    black = to_input(np.zeros((1, 224, 224), np.uint8), preprocessing)
    for finding in range(2):
        leaf = inputs.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(peer(leaf)[:, finding].sum(), leaf)
        integrated = captum.attr.IntegratedGradients(peer).attribute(
            inputs, black, target=finding, n_steps=STEPS, method="riemann_right")
        with GradCAM(peer, [layer], reshape_transform=case.transform) as cam:
            # A rectifier that works in place after the layer would change what the peer keeps.
            copied = layer.register_forward_hook(lambda _layer, _given, returned: returned.clone())
            cams = cam(inputs.clone(), [ClassifierOutputTarget(finding)] * len(inputs))
            copied.remove()
        peers = {"grad": gradient.sum(1).numpy(), "ig": integrated.sum(1).detach().numpy(),
                 "gradcam": cams}
        for method, expected in peers.items():
            stored_maps = maps.sel(explainer=method).values[:, finding]
            for mine, theirs in zip(stored_maps, expected, strict=True):
                if np.ptp(mine) > 0 and np.ptp(theirs) > 0:
                    least[method] = min(least[method],
                                        float(np.corrcoef(mine.ravel(), theirs.ravel())[0, 1]))
    flat = int((status == Status.FLAT).sum())
    print(f"{name:26s} {case.layer:30s} " + "  ".join(
        f"{method} {value:.6f}" for method, value in least.items())
        + f"  {status.size} maps, {flat} flat", flush=True)
    wrong += [f"{name}: {method} correlates with the peer's by {value:.6f} only"
              for method, value in least.items() if not value > 0.999]
    return wrong


def main() -> int:
    if not RADIOGRAPHS.is_dir():
        print(f"no radiographs at {RADIOGRAPHS}: networks of other libraries were not tried")
        return 0
    untrue = []
    for name, case in CASES.items():
        if len(sys.argv) > 1 and name not in sys.argv[1:]:
            continue
        with tempfile.TemporaryDirectory(prefix="saltrust-networks-") as place:
            write_data(Path(place))
            untrue += check(name, case, Path(place))
    for line in untrue:
        print(f"untrue: {line}")
    return int(bool(untrue))


if __name__ == "__main__":
    sys.exit(main())
