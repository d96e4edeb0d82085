"""Names of captum's methods: which are taken, how they wrap, what they are given."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from saltrust.errors import UsageError
from saltrust.explainers.libraries.captum import composition
from saltrust.explainers.libraries.captum.attribution import captum_explainer
from saltrust.explainers.libraries.captum.catalog import makes_maps
from saltrust.explainers.registry import resolve
from saltrust.study import ExplainerSpec


@pytest.mark.parametrize(("name", "message"), [
    ("captum.Saliancy", "captum has no method 'Saliancy'; did you mean 'Saliency'"),
    ("captum.LLMAttribution", "LLMAttribution makes no map of an image: it explains what a"),
    ("captum.DataLoaderAttribution", "it explains a whole data set"),
    ("captum.LayerAttribution", "it is a base of other classes"),
    ("captum.NoiseTunnel", r"NoiseTunnel wraps another method; write captum.NoiseTunnel\("),
    ("captum.NoiseTunnel(Saliency)", "is not the name of a method of captum; write captum.CLASS"),
    ("captum.NoiseTunnel(captum.Saliency", "is not the name of a method of captum"),
    ("captum.NoiseTunnel()", "is not the name of a method of captum"),
    ("captum.NoiseTunnel(captum.NoiseTunnel(captum.Saliency))", "adds the same noise twice"),
    ("captum.Saliency(captum.NoiseTunnel)", "Saliency wraps no other method"),
    ("captum.NoiseTunnel(captum.LayerLRP)", "NoiseTunnel cannot call LayerLRP"),
    ("captum.", "is not the name of a method of captum"),
    ("captum.attr.Saliency", "is not the name of a method of captum"),
])
def test_a_name_that_is_none_is_a_sentence(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        resolve(ExplainerSpec(name))
    assert str(error.value).startswith(f"explainer {name!r}")


@pytest.mark.parametrize(("name", "given", "message"), [
    ("captum.KernelShap", {"n_sample": 3}, "has no parameter 'n_sample'; did you mean 'n_samples'"),
    ("captum.KernelShap", {"n_samples": 0}, "n_samples must lie in 1 to 100000"),
    ("captum.KernelShap", {"n_samples": 2.5}, "n_samples must be of type int"),
    ("captum.IntegratedGradients", {"method": "simpson"}, "method must be 'gausslegendre' or"),
    ("captum.IntegratedGradients", {"n_steps": 1}, "n_steps must lie in 2 to 100000"),
    ("captum.IntegratedGradients", {"baseline": "grey"}, "baseline must be 'black' or 'gray'"),
    ("captum.GradientShap", {"baselines": []}, "and at least one"),
    ("captum.NoiseTunnel(captum.Saliency)", {"nt_type": "mean"}, "nt_type must be 'smoothgrad'"),
    ("captum.NoiseTunnel(captum.Saliency)", {"stdevs": -1.0}, "stdevs must lie in 0 to"),
    ("captum.Occlusion", {"stride": 40}, "stride must lie in 1 to 32, the window"),
    ("captum.Lime", {"scale": 300}, r"scale must be 50 or .*, not 300"),
    ("captum.Lime", {"scale": 0}, "scale must be 50 or 100"),
    ("captum.Saliency", {"abs": 1}, "abs must be of type bool"),
])
def test_parameters_are_held_to_what_captum_takes(
    name: str, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        resolve(ExplainerSpec(name, given))


def test_parameters_are_those_of_captum_and_of_wrappers() -> None:
    bound = resolve(ExplainerSpec("captum.NoiseTunnel(captum.IntegratedGradients)",
                                  {"nt_samples": 9, "stdevs": 1}))
    assert bound.parameters == {
        "multiply_by_inputs": True, "n_steps": 50, "method": "gausslegendre", "baseline": "black",
        "nt_type": "smoothgrad", "nt_samples": 9, "stdevs": 1.0}
    assert bound.reading == "positive"


@pytest.mark.parametrize("kind", [kind for kind in makes_maps() if kind != "NoiseTunnel"])
def test_every_class_is_cheap_to_try_and_has_legal_defaults(kind: str) -> None:
    explainer = captum_explainer(f"captum.{kind}")
    explainer.check_values(explainer.defaults)
    explainer.check_values({**explainer.defaults, **explainer.trial})
    assert set(explainer.trial) <= set(explainer.defaults)
    assert explainer.summary == f"captum's {kind}, channels summed."


def test_without_captum_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec

    def without(*names: str) -> None:
        monkeypatch.setattr(composition, "find_spec",
                            lambda name: None if name in names else real(name))

    without("captum")
    with pytest.raises(UsageError, match="captum is not installed; pip install captum"):
        resolve(ExplainerSpec("captum.Saliency"))
    without("sklearn")
    with pytest.raises(UsageError, match="fits its model by scikit-learn; pip install"):
        resolve(ExplainerSpec("captum.Lime"))
    assert resolve(ExplainerSpec("captum.Saliency")).name == "captum.Saliency"


def test_a_label_takes_the_place_of_the_name() -> None:
    bound = resolve(ExplainerSpec("captum.KernelShap", {"n_samples": 200}, label="shap"))
    assert bound.name == "shap"
    assert bound.parameters["n_samples"] == 200
    assert resolve(ExplainerSpec("ig", {"steps": 50}, label="fine")).name == "fine"
