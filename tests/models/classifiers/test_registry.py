import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from saltrust.errors import UsageError
from saltrust.models.classifiers.registry import ARCHITECTURES, build
from saltrust.models.classifiers.small import PhantomNet
from saltrust.models.contract import preprocessing_of
from saltrust.models.preprocessing import GRAY, IMAGENET, Preprocessing, to_input
from saltrust.models.trial import Expected, try_network
from saltrust.models.user_code import import_attribute, importable_from


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_turns_images_into_one_logit_per_finding(architecture: str) -> None:
    model = build(architecture, 3).eval()
    preprocessing = preprocessing_of(architecture, model)
    pixels = torch.randint(0, 256, (2, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        logits = model(to_input(pixels, preprocessing))
    assert logits.shape == (2, 3)
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("size", [(32, 32), (75, 75), (80, 48), (128, 128)])
def test_inception_takes_images_of_any_size_in_training_too(size: tuple[int, int]) -> None:
    model = build("inception_v3", 2, init_weights=False).train()
    inputs = torch.randn(2, 3, *size, requires_grad=True)
    logits = model(inputs)
    assert isinstance(logits, torch.Tensor)  # Not the pair that an auxiliary head makes of it.
    assert logits.shape == (2, 2)
    (gradient,) = torch.autograd.grad(logits.sum(), inputs)
    assert gradient.shape == inputs.shape
    assert gradient.abs().max() > 0


def test_densenet121_has_the_published_number_of_weights() -> None:
    # 7,978,856 with 1000 outputs; 14 outputs have (1000 - 14) * (1024 + 1) fewer.
    model = build("densenet121", 14)
    assert sum(weight.numel() for weight in model.parameters()) == 7_978_856 - 986 * 1025


def test_arguments_reach_the_factory() -> None:
    widths = [module.out_channels for module in build("phantom_net", 1, width=4).modules()
              if isinstance(module, nn.Conv2d)]
    assert widths[0] == 4
    dense = build("densenet121", 1, drop_rate=0.25)
    assert dense.get_submodule("features.denseblock1.denselayer1").drop_rate == 0.25


@pytest.mark.parametrize(
    ("architecture", "arguments", "words"),
    [
        ("densnet121", {}, "did you mean 'densenet121'?"),
        ("alexnet9000", {}, "package.module:factory"),
        ("phantom_net", {"widht": 3}, "widht"),
        ("resnet18", {"n_outputs": 3}, "n_outputs"),
        ("no_such_module:net", {}, "module 'no_such_module' cannot be imported"),
        ("saltrust.models.classifiers.small:PhantomNit", {}, "did you mean 'PhantomNet'?"),
        ("saltrust.models.classifiers.small:math", {}, "is not a function"),
        ("builtins:dict", {}, "must return a torch.nn.Module, not dict"),
        (":net", {}, "not known"),
    ],
)
def test_what_cannot_be_built_says_why(
    architecture: str, arguments: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError) as error:
        build(architecture, 2, **arguments)
    assert words in str(error.value)
    assert architecture in str(error.value)


def test_a_factory_beside_the_study_file(tmp_path: Path) -> None:
    (tmp_path / "my_nets_for_test.py").write_text(
        "import torch\n"
        "from saltrust.models.preprocessing import Preprocessing\n"
        "def linear(n_outputs, size):\n"
        "    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(size, n_outputs))\n"
        "    net.preprocessing = Preprocessing((0.0,), (1.0,), 1, (-1024.0, 1024.0))\n"
        "    return net\n"
    )
    before = list(sys.path)
    with importable_from(tmp_path):
        model = build("my_nets_for_test:linear", 2, size=64)
    assert sys.path == before
    preprocessing = preprocessing_of("my_nets_for_test:linear", model)
    assert preprocessing.input_range == (-1024.0, 1024.0)
    try_network(model, Expected("my_nets_for_test:linear", preprocessing, (8, 8), 2))
    with pytest.raises(UsageError, match="9 x 9 pixels"):
        try_network(model, Expected("my_nets_for_test:linear", preprocessing, (9, 9), 2))


def test_preprocessing_of_a_foreign_model_is_imagenets() -> None:
    assert preprocessing_of("a.b:c", nn.Flatten()) == IMAGENET
    assert preprocessing_of("phantom_net", PhantomNet(1)) == GRAY


def test_an_output_of_another_shape_is_refused() -> None:
    with pytest.raises(UsageError, match=r"\(batch, 3\), not 2"):
        try_network(PhantomNet(2, width=2), Expected("x", GRAY, (32, 32), 3))


def test_a_trial_leaves_the_model_as_it_was() -> None:
    model = PhantomNet(2, width=2).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    try_network(model, Expected("phantom_net", GRAY, (32, 32), 2))
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_import_attribute_of_a_dotted_module() -> None:
    assert import_attribute("collections.abc:Mapping", "x").__name__ == "Mapping"


def test_phantom_net_pools_between_mean_and_maximum() -> None:
    torch.manual_seed(0)
    model = PhantomNet(1, width=2).double().eval()
    model.classifier.weight.data.fill_(1.0)
    model.classifier.bias.data.zero_()
    inputs = torch.randn(1, 1, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        features = model.features(inputs)
        assert features.shape == (1, 8, 8, 8)
        assert features.min() >= 0
        mean, largest = features.mean((-2, -1)).sum(), features.amax((-2, -1)).sum()
        assert mean < model(inputs).item() < largest
        model.sharpness = 1e-3
        assert model(inputs).item() == pytest.approx(mean.item(), rel=1e-2)
        model.sharpness = 1e5
        assert model(inputs).item() == pytest.approx(largest.item(), rel=1e-2)


def test_a_model_may_state_its_own_contract() -> None:
    assert isinstance(PhantomNet.preprocessing, Preprocessing)
