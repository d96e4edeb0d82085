"""Names, parameters, a user's own methods."""

from __future__ import annotations

import functools
import inspect
import json
import pkgutil
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from saltrust.errors import DataError, UsageError
from saltrust.explainers import methods, registry
from saltrust.explainers.bound import describe_parameters
from saltrust.explainers.declaration import declared_explainer, explainer
from saltrust.explainers.explain import explain
from saltrust.explainers.passes.forward import run_forward
from saltrust.explainers.registry import (
    BUILT_IN,
    discover_explainers,
    explainer_names,
    resolve,
)
from saltrust.study import ExplainerSpec

OWN = """
from saltrust.explainers.declaration import Explainer, explainer

def brightness(model, x, targets, gain: float = 2.0, *, signs=(1, -1)):
    return gain * x.mean(dim=1, keepdim=True).expand(-1, len(targets), -1, -1)

def needs_sigma(model, x, targets, sigma):
    return x

def open_ended(model, x, targets, **anything):
    assert anything == {"a": 1}
    return x[:, :len(targets)]

def wrong_shape(model, x, targets):
    return x.sum()

def failing(model, x, targets):
    return x[:, 17]

def two(model, x):
    return x

def of_pass(module, inputs, outputs, *, where="", forward):
    return forward.gradient(0, forward.features[where]).mean() + inputs[:, :len(outputs)]

declared = Explainer("whatever", of_pass, layers=("where",))

@explainer(layers=("where",))
def decorated(module, inputs, outputs, *, where="", forward):
    return of_pass(module, inputs, outputs, where=where, forward=forward)

number = 3
"""


@pytest.fixture
def users_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"own_maps_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return name


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_methods_state_formula_and_source(name: str) -> None:
    text = inspect.getdoc(BUILT_IN[name].function) or ""
    for part in ("heatmap", "Parameters\n---", "Returns\n---", "References\n---", "(B, F, H, W)"):
        assert part in text
    assert BUILT_IN[name].summary.endswith(".")
    assert set(BUILT_IN[name].layers) <= set(BUILT_IN[name].defaults)


def test_every_method_of_the_package_is_registered() -> None:
    methods_of_package = {
        name
        for item in pkgutil.walk_packages(methods.__path__, f"{methods.__name__}.")
        for name, function in inspect.getmembers(import_module(item.name), inspect.isfunction)
        if function.__module__ == item.name and not name.startswith("_")
        and list(inspect.signature(function).parameters)[:3] == ["module", "inputs", "outputs"]
    }
    assert methods_of_package == set(BUILT_IN)
    ranks = [item.rank for item in BUILT_IN.values()]
    assert ranks == list(range(1, len(BUILT_IN) + 1))


def test_a_module_in_the_folder_of_methods_is_all_that_a_new_method_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "brightness.py").write_text("""
from saltrust.explainers.declaration import explainer
from saltrust.explainers.methods.gradient import grad

@explainer(limits={"gain": (0, 10)})
def brightness(module, inputs, outputs, gain: float = 2.0):
    return gain * inputs.mean(dim=1, keepdim=True).expand(-1, len(outputs), -1, -1)
""")
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    everything = discover_explainers(methods)
    del sys.modules["saltrust.explainers.methods.brightness"], methods.brightness
    # What a module imports from another is not declared twice; without a rank it comes last.
    assert list(everything) == [*BUILT_IN, "brightness"]
    monkeypatch.setattr(registry, "BUILT_IN", everything)
    assert resolve(ExplainerSpec("brightness")).parameters == {"gain": 2.0}
    with pytest.raises(UsageError, match=r"gain must lie in 0 to 10, not 11\.0"):
        resolve(ExplainerSpec("brightness", {"gain": 11}))


def test_a_wrapper_declares_what_its_function_does() -> None:
    @explainer(to_inputs=True)
    def plain(module: Any, inputs: Any, outputs: Any) -> Any:
        """Maps."""

    @functools.wraps(plain)
    def wrapper(module: Any, inputs: Any, outputs: Any) -> Any:
        """Maps, wrapped."""

    declared = declared_explainer(wrapper)
    assert declared is not None
    assert (declared.name, declared.function, declared.to_inputs) == ("plain", wrapper, True)
    assert declared_explainer(test_parameters_are_complete_and_plain) is None


def test_parameters_are_complete_and_plain() -> None:
    bound = resolve(ExplainerSpec("gradcam"))
    assert bound.parameters == {"layer": ""}
    assert resolve(ExplainerSpec("gradcam", {"layer": "x"})).parameters == {"layer": "x"}
    assert resolve(ExplainerSpec("grad")).parameters == {}


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("gradcm", {}, "no explainer 'gradcm'; did you mean 'gradcam'?"),
        ("zzz", {}, "known are: grad, smoothgrad, ig"),
        ("grad", {"layer": "x"}, "'grad' has no parameter 'layer'; it has none"),
        ("gradcam", {"layr": "x"}, "did you mean 'layer'?"),
        ("gradcam", {"layer": 3}, "layer must be of type str, not 3"),
        ("gradcam", {"forward": "x"}, "no parameter 'forward'"),
        ("no_such_module_here:f", {}, "'no_such_module_here' cannot be imported"),
    ],
)
def test_wrong_choices_are_refused(name: str, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        resolve(ExplainerSpec(name, parameters))
    assert message in str(raised.value)


def test_a_function_of_ones_own(users_module: str, network: nn.Module, images: Tensor) -> None:
    bound = resolve(ExplainerSpec(f"{users_module}:brightness", {"gain": 3}))
    assert bound.name == f"{users_module}:brightness"
    assert json.loads(json.dumps(bound.parameters)) == {"gain": 3.0, "signs": [1, -1]}
    explanation = explain(network, images, [2, 1], [bound])
    expected = 3 * images.mean(dim=1, keepdim=True).expand(-1, 2, -1, -1)
    torch.testing.assert_close(explanation.heatmaps[bound.name], expected)


@pytest.mark.parametrize("attribute", ["declared", "decorated"])
def test_a_method_of_ones_own_may_share_the_pass(
    users_module: str, attribute: str, network: nn.Module, images: Tensor
) -> None:
    bound = resolve(ExplainerSpec(f"{users_module}:{attribute}")).fit(network, images[:1])
    assert bound.parameters == {"where": "block"}
    maps = explain(network, images, [0], [bound]).heatmaps[f"{users_module}:{attribute}"]
    forward = run_forward(network, images, layers=("block",))
    shift = forward.gradient(0, forward.features["block"]).mean()
    torch.testing.assert_close(maps, shift + images[:, :1])


@pytest.mark.parametrize(
    ("attribute", "parameters", "message"),
    [
        ("brightnes", {}, "did you mean 'brightness'?"),
        ("brightness", {"gian": 1.0}, "no parameter 'gian'; did you mean 'gain'?"),
        ("brightness", {"gain": True}, "gain must be of type float, not True"),
        ("brightness", {"gain": float("nan")}, "is not a plain value"),
        ("needs_sigma", {}, "needs the parameter 'sigma'"),
        ("open_ended", {"a": {1, 2}}, "is not a plain value"),
        ("two", {}, "must be a function of (module, inputs, outputs"),
        ("number", {}, "is not a function but int"),
    ],
)
def test_wrong_choices_of_ones_own_are_refused(
    users_module: str, attribute: str, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as raised:
        resolve(ExplainerSpec(f"{users_module}:{attribute}", parameters))
    assert message in str(raised.value)


def test_any_parameter_reaches_an_open_ended_function(
    users_module: str, network: nn.Module, images: Tensor
) -> None:
    bound = resolve(ExplainerSpec(f"{users_module}:open_ended", {"a": 1}))
    assert explain(network, images, [0], [bound]).heatmaps[bound.name].shape == (3, 1, 16, 20)


def test_another_shape_is_refused(users_module: str, network: nn.Module, images: Tensor) -> None:
    bound = resolve(ExplainerSpec(f"{users_module}:wrong_shape"))
    with pytest.raises(DataError, match=r"must return a tensor of shape \(3, 2, 16, 20\)"):
        explain(network, images, [0, 1], [bound])


def test_an_error_in_a_function_of_ones_own_is_put_in_a_sentence(
    users_module: str, network: nn.Module, images: Tensor
) -> None:
    bound = resolve(ExplainerSpec(f"{users_module}:failing"))
    with pytest.raises(DataError, match=f"explainer '{users_module}:failing' failed with "
                                        "IndexError: "):
        explain(network, images, [0], [bound])


def test_entry_points(
    users_module: str, network: nn.Module, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def installed(group: str) -> EntryPoints:
        entries = [("bright", "brightness"), ("lost", "no_such"), ("grad", "brightness")]
        return EntryPoints([EntryPoint(name, f"{users_module}:{value}", group)
                            for name, value in entries])

    monkeypatch.setattr(registry, "entry_points", installed)
    assert explainer_names() == [*BUILT_IN, "bright", "lost"]
    bound = resolve(ExplainerSpec("bright", {"gain": 1.0}))
    maps = explain(network, images, [0], [bound]).heatmaps["bright"]
    torch.testing.assert_close(maps, images.mean(dim=1, keepdim=True))
    # What comes with the package keeps its name.
    assert resolve(ExplainerSpec("grad")).explainer is BUILT_IN["grad"]
    with pytest.raises(UsageError, match="could not be loaded from its entry point"):
        resolve(ExplainerSpec("lost"))
    with pytest.raises(UsageError, match="did you mean 'bright'"):
        resolve(ExplainerSpec("brigth"))


def test_a_wrong_layer_names_the_explainer(network: nn.Module, images: Tensor) -> None:
    bound = resolve(ExplainerSpec("gradcam", {"layer": "blocks"}))
    with pytest.raises(UsageError, match=r"explainer 'gradcam': .*did you mean 'block'"):
        bound.fit(network, images[:1])


def test_parameters_are_described_once_or_by_model(
    make_network: Callable[..., nn.Module], images: Tensor
) -> None:
    bound = resolve(ExplainerSpec("gradcam"))
    one = bound.fit(make_network(), images[:1])
    other = resolve(ExplainerSpec("gradcam", {"layer": "first"}))
    assert json.loads(describe_parameters({"a": one, "b": one})) == {"layer": "block"}
    assert json.loads(describe_parameters({"a": one, "b": other})) == {
        "layer": {"a": "block", "b": "first"}
    }
    assert describe_parameters({"a": resolve(ExplainerSpec("grad"))}) == "{}"


def test_an_explainer_can_be_called_alone(network: nn.Module, images: Tensor) -> None:
    gradcam = BUILT_IN["gradcam"]
    torch.testing.assert_close(
        gradcam(network, images, [1], layer="block"),
        explain(network, images, [1], [resolve(ExplainerSpec("gradcam"))]).heatmaps["gradcam"],
    )
