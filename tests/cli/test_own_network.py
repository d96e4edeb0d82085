"""A network of one's own, from a file of weights to the cubes, as its study declares it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from click.testing import CliRunner, Result
from torch import Tensor, nn

from saltrust.cache.store import open_cubes
from saltrust.cli import main
from saltrust.models.preprocessing import Preprocessing, to_input

NET = """
import torch
from torch import nn

def make(n_outputs, channels=1, tail=None, wrap=None):
    net = nn.Sequential(nn.Conv2d(channels, 4, 3, 2), nn.ReLU(), nn.Conv2d(4, 6, 3, 2), nn.ReLU(),
                        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, n_outputs))
    if tail:
        net.append(getattr(nn, tail)(*([1] if tail == "Softmax" else [])))
    return Wrapped(net, wrap) if wrap else net

class Wrapped(nn.Module):
    def __init__(self, net, wrap):
        super().__init__()
        self.net, self.wrap = net, wrap

    def forward(self, x):
        z = self.net(x)
        if self.wrap == "dict":
            return {"features": x, "mine": z}
        if self.wrap == "tuple":
            return z, x
        if self.wrap == "row":
            return z[:, 0]
        return self.net(nn.functional.dropout(x, 0.5))  # "dropout"
"""
FINDINGS = ["Edema", "Cardiomegaly"]
Make = Callable[..., Path]


def network(n_outputs: int, seed: int = 0, channels: int = 1) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(channels, 4, 3, 2), nn.ReLU(), nn.Conv2d(4, 6, 3, 2),
                         nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, n_outputs))


@pytest.fixture
def make_study(write_study: Callable[..., Path], tmp_path: Path) -> Make:
    """A study of a network of its own, with weights but without a card."""
    def make(module: nn.Module, prefix: str = "", **model: Any) -> Path:
        (tmp_path / "net.py").write_text(NET)
        torch.save({prefix + name: value for name, value in module.state_dict().items()},
                   tmp_path / "weights.pt")
        model.setdefault("input", {"channels": 1, "mean": [0.5], "std": [0.25], "range": [0, 1]})
        entry = {"name": "net", "architecture": "net:make", "checkpoint": "weights.pt", **model}
        return write_study(
            grid=[32, 40], explainers=["grad", "gradcam"],
            data={"findings": FINDINGS, "patients": 8}, generate={"split": "all"},
            models=[{key: value for key, value in entry.items() if value is not None}])

    return make


def run(study: Path, *options: str) -> tuple[Result, xr.DataTree | None]:
    store = study.parent / "cubes.zarr"
    done = CliRunner().invoke(main, [*options, "generate", str(study), "-o", str(store),
                                     "--overwrite"])
    return done, open_cubes(store) if done.exit_code == 0 else None


def generated(study: Path) -> xr.DataTree:
    done, cubes = run(study)
    assert cubes is not None, done.output
    return cubes


def inputs_of(cubes: xr.DataTree) -> Tensor:
    return to_input(cubes["radiograph/pixels"].values, Preprocessing((0.5,), (0.25,), 1))


def stored(cubes: xr.DataTree) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, probabilities and gradient maps of the one model."""
    predicted = cubes["prediction"].ds.isel(model=0)
    return (predicted["logit"].values, predicted["probability"].values,
            cubes["saliency/heatmap"].sel(explainer="grad").values[:, :, 0])


def reference(module: nn.Module, cubes: xr.DataTree, score: Callable[[Tensor], Tensor]
              ) -> tuple[np.ndarray, np.ndarray]:
    """Scores and their gradients at the inputs by autograd alone."""
    inputs = inputs_of(cubes).requires_grad_()
    scores = score(module(inputs))
    maps = [torch.autograd.grad(scores[:, k].sum(), inputs, retain_graph=True)[0].sum(1)
            for k in range(scores.shape[1])]
    return scores.detach().numpy(), torch.stack(maps, 1).numpy()


def test_a_softmax_of_named_classes(make_study: Make) -> None:
    module = network(3)
    study = make_study(module, output={
        "kind": "softmax", "findings": ["Normal", "Cardiomegaly", "Edema"]})
    cubes = generated(study)
    logits, probabilities, maps = stored(cubes)
    with torch.no_grad():
        expected = torch.softmax(module(inputs_of(cubes)).double(), 1)[:, [2, 1]].numpy()
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5)

    def log_odds(z: Tensor) -> Tensor:
        p = torch.softmax(z.double(), 1)[:, [2, 1]]
        return torch.log(p) - torch.log(1 - p)

    scores, gradients = reference(module, cubes, log_odds)
    np.testing.assert_allclose(logits, scores, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(maps, gradients, rtol=1e-3, atol=1e-6 * np.abs(gradients).max())
    facts = cubes.attrs["models"]["net"]
    assert facts["output"]["kind"] == "softmax" and facts["outputs"][0] == "Normal"


def test_a_network_that_ends_in_a_sigmoid(make_study: Make,
                                          caplog: pytest.LogCaptureFixture) -> None:
    module = network(2)
    arguments = {"tail": "Sigmoid"}
    declared = generated(make_study(module, arguments=arguments, output={"kind": "probabilities"}))
    expected = stored(declared)  # The next study takes the place of its cubes.
    raw = generated(make_study(module))
    for left, right in zip(expected, stored(raw), strict=True):
        np.testing.assert_array_equal(left, right)
    twice, _ = run(make_study(module, arguments=arguments))
    assert twice.exit_code == 0
    assert 'set kind = "probabilities"' in twice.output + caplog.text


@pytest.mark.parametrize(("wrap", "select", "n_outputs"), [
    ("dict", None, 2), ("dict", "mine", 2), ("tuple", None, 2), ("tuple", 0, 2), ("row", None, 1)])
def test_what_the_network_wraps_its_logits_in(make_study: Make, wrap: str,
                                              select: str | int | None, n_outputs: int) -> None:
    module = network(n_outputs)
    output = {} if select is None else {"select": select}
    study = make_study(module, "net.", arguments={"wrap": wrap}, output=output)
    text = study.read_text()
    study.write_text(text.replace('["Edema", "Cardiomegaly"]', '["Edema"]')
                     if n_outputs == 1 else text)
    cubes = generated(study)
    scores, gradients = reference(module, cubes, lambda z: z)
    logits, _, maps = stored(cubes)
    np.testing.assert_allclose(logits, scores, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(maps, gradients, rtol=1e-3, atol=1e-6 * np.abs(gradients).max())
    assumed = cubes.attrs["models"]["net"].get("assumed", [])
    assert any("'mine'" in words for words in assumed) == (wrap == "dict" and select is None)


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_of_another_type(make_study: Make, kind: torch.dtype) -> None:
    module = network(2)
    cubes = generated(make_study(module.to(kind)))
    with torch.no_grad():
        expected = module(inputs_of(cubes).to(kind)).float().numpy()
    close = {torch.float64: 1e-6, torch.float16: 1e-2, torch.bfloat16: 1e-1}[kind]
    np.testing.assert_allclose(stored(cubes)[0], expected, atol=close * np.abs(expected).max())
    assert np.isfinite(stored(cubes)[2]).all()


def test_chance_is_refused_or_declared(make_study: Make) -> None:
    module = network(2)
    refused, _ = run(make_study(module, "net.", arguments={"wrap": "dropout"}))
    assert refused.exit_code == 2
    assert "stochastic = true" in refused.output and "Traceback" not in refused.output
    generated(make_study(module, "net.", arguments={"wrap": "dropout"}, stochastic=True))


@pytest.mark.parametrize(("change", "words"), [
    ({"input": {"channels": 3, "mean": [0.5], "std": [0.25]}}, "channels = 1"),
    ({"input": {"channels": 2, "mean": [0.5, 0.5, 0.5], "std": [1, 1, 1]}}, "mean must be 2"),
    ({"input": {"preset": "imagenet"}}, "channels = 1"),
    ({"input": {"preset": "imagnet"}}, "did you mean 'imagenet'"),
    ({"input": {"channels": 1, "range": [1, 0]}}, "black below white"),
    ({"input": {"range": [0, 255]}}, "needs channels"),
    ({"output": {"kind": "sigmoid"}}, "kind = 'sigmoid' is not known"),
    ({"output": {"findings": ["Edema"]}}, "does not predict Cardiomegaly"),
    ({"output": {"kind": "probabilities"}}, "no probabilities"),
    ({"output": {"select": 1.5}}, "of type str or of type int"),
    ({"output": {"select": "logits"}}, "select = 'logits' is none"),
])
def test_what_does_not_fit_is_a_sentence(make_study: Make, change: dict[str, Any],
                                         words: str) -> None:
    done, _ = run(make_study(network(2), **change))
    assert done.exit_code in (1, 2)
    assert words in done.output and "Traceback" not in done.output, done.output


def test_nothing_stated_is_said_and_stored(make_study: Make) -> None:
    done, cubes = run(make_study(network(2, channels=3), input=None, arguments={"channels": 3}))
    assert cubes is not None, done.output
    assumed = cubes.attrs["models"]["net"]["assumed"]
    assert any("ImageNet" in words for words in assumed)
    assert any("has no card" in words for words in assumed)
    assert done.output.count("ImageNet's mean") == 1


def test_two_studies_of_one_process_have_their_own_nets(make_study: Make, tmp_path: Path) -> None:
    study = make_study(network(2))
    generated(study)
    other = tmp_path / "other"
    other.mkdir()
    (other / "net.py").write_text(NET.replace("nn.Conv2d(channels, 4, 3, 2)",
                                              "nn.Conv2d(channels, 4, 5, 2)"))
    torch.manual_seed(1)
    module = nn.Sequential(nn.Conv2d(1, 4, 5, 2), *network(2)[1:])
    torch.save(module.state_dict(), other / "weights.pt")
    (other / "study.toml").write_text(study.read_text())
    cubes = generated(other / "study.toml")
    with torch.no_grad():
        expected = module(inputs_of(cubes)).numpy()
    np.testing.assert_allclose(stored(cubes)[0], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("old", "new", "place"), [
    ("import torch\n", "import torch\n1 / 0\n", "line 3, in <module>"),
    ("    if tail:", "    1 / 0\n    if tail:", "line 8, in make"),
    ("        z = self.net(x)", "        1 / 0", "line 18, in forward"),
])
def test_an_exception_of_the_users_code(make_study: Make, tmp_path: Path, old: str, new: str,
                                        place: str) -> None:
    study = make_study(network(2), "net.", arguments={"wrap": "tuple"})
    (tmp_path / "net.py").write_text(NET.replace(old, new, 1))
    done, _ = run(study)
    assert done.exit_code in (1, 2), done.output
    assert f"ZeroDivisionError: division by zero (net.py, {place})" in done.output
    assert "Traceback" not in done.output
    told, _ = run(study, "--debug")
    assert "Traceback" in told.output + str(told.exc_info)


def test_an_exception_in_an_explainer_and_only_while_maps_are_made(make_study: Make,
                                                                   tmp_path: Path) -> None:
    study = make_study(network(2))
    (tmp_path / "mine.py").write_text(
        "def fails(module, inputs, outputs):\n    return inputs.no_such_thing\n")
    study.write_text(study.read_text().replace('["grad", "gradcam"]', '["mine:fails"]'))
    done, _ = run(study)
    assert done.exit_code == 1
    assert "AttributeError" in done.output and "(mine.py, line 2, in fails)" in done.output
    assert "Traceback" not in done.output


def test_a_network_that_fails_in_the_middle(make_study: Make, tmp_path: Path) -> None:
    study = make_study(network(2), "net.", arguments={"wrap": "tuple"})
    (tmp_path / "net.py").write_text(NET.replace(
        "        z = self.net(x)\n",
        "        self.calls = getattr(self, 'calls', 0) + 1\n"
        "        assert self.calls < 9, 'tired'\n        z = self.net(x)\n"))
    study.write_text(study.read_text().replace("[generate]", "[generate]\nbatch_size = 1"))
    done, _ = run(study)
    assert done.exit_code == 1, done.output
    assert "AssertionError: tired (net.py, line 19, in forward)" in done.output
    assert "Traceback" not in done.output


def test_weights_trained_here_say_what_they_are(make_study: Make, tmp_path: Path) -> None:
    study = make_study(network(3), output={
        "kind": "softmax", "findings": ["Normal", "Cardiomegaly", "Edema"]}, checkpoint=None)
    study.write_text(study.read_text().replace("patients = 8", "patients = 60")
                     + "\n[train]\nepochs = 1\n")
    done = CliRunner().invoke(main, ["-q", "train", str(study)])
    assert done.exit_code == 0, done.output
    declared = study.read_text()
    study.write_text("\n".join(line for line in declared.splitlines()
                               if not line.startswith(("input = ", "output = "))))
    cubes = generated(study)
    assert cubes.attrs["models"]["net"]["output"]["kind"] == "softmax"
    study.write_text(declared.replace('"softmax"', '"logits"'))
    contradicted, _ = run(study)
    assert contradicted.exit_code == 2
    assert "the card of its weights 'softmax'" in contradicted.output


def test_auxiliary_heads_are_left_out_while_training(make_study: Make, tmp_path: Path) -> None:
    study = make_study(network(2), checkpoint=None)
    (tmp_path / "net.py").write_text(NET + """

class Auxiliary(nn.Module):
    def __init__(self, n_outputs):
        super().__init__()
        self.net = make(n_outputs)

    def forward(self, x):
        z = self.net(x)
        return (z, 1e6 * z) if self.training else z
""")
    study.write_text(study.read_text().replace("net:make", "net:Auxiliary").replace(
        "patients = 8", "patients = 60") + "\n[train]\nepochs = 2\n")
    done = CliRunner().invoke(main, ["-q", "train", str(study)])
    assert done.exit_code == 0, done.output
    metrics = (tmp_path / "runs" / "net" / "metrics.csv").read_text().splitlines()
    losses = [float(line.split(",")[metrics[0].split(",").index("train_loss")])
              for line in metrics[1:]]
    assert max(losses) < 1


def test_a_layer_that_is_called_preprocessing_is_none_where_a_card_says_more(
        make_study: Make, tmp_path: Path) -> None:
    study = make_study(network(2), "net.", input=None, arguments={"wrap": "tuple"})
    (tmp_path / "net.py").write_text(NET.replace(
        "        self.net, self.wrap = net, wrap",
        "        self.net, self.wrap, self.preprocessing = net, wrap, nn.Identity()"))
    (tmp_path / "weights.json").write_text(json.dumps(
        {"findings": FINDINGS, "architecture": "net:make",
         "preprocessing": {"mean": [0.5], "std": [0.25], "channels": 1}}))
    cubes = generated(study)
    scores, _ = reference(network(2), cubes, lambda z: z)
    np.testing.assert_allclose(stored(cubes)[0], scores, rtol=1e-4, atol=1e-6)
    (tmp_path / "weights.json").unlink()
    refused, _ = run(study)
    assert refused.exit_code == 1
    assert "what Identity does to gray values cannot be read" in refused.output
    assert "[models.input]" in refused.output
