"""Every name of ``captum.attr``: whether it makes a map of an image, how that is read, its cost.

What a class can be given follows from its signature
(:mod:`saltrust.explainers.libraries.captum.composition`); here stands what no signature says.
Nothing of captum is imported, so that the list is at hand where captum is not.
"""

from __future__ import annotations

from dataclasses import dataclass

from saltrust.choices import MapReading


@dataclass(frozen=True)
class CaptumClass:
    """What is known of an attribution class of captum.

    Attributes
    ----------
    reading : {"raw", "absolute", "positive"}
        What of its maps is segmented and ranked.
    cost : str
        In a few words.
    random : bool
        Whether it draws numbers: it is then called image by image, finding by finding.
    instead : str
        The explainer of saltrust to take where its hooks fail; empty: there is none.
    reason : str
        Why it makes no map of an image; empty: it does.
    """

    reading: MapReading = "raw"
    cost: str = ""
    random: bool = False
    instead: str = ""
    reason: str = ""


_BACKWARD = "a backward pass for each finding"
_STEPS = "`n_steps` backward passes for each finding"
_SAMPLES = "`n_samples` forward passes for each finding"
_REGIONS = "a forward pass for each superpixel and finding"
_PLACES = "a forward pass for each place of the layer and finding"
_ORDERS = "superpixels x `n_samples` forward passes for each finding"
_ONE_NEURON = "a backward pass"


def _cannot(reason: str) -> CaptumClass:
    return CaptumClass(reason=reason)


_OF_TEXT = _cannot("it explains what a language model writes")
_A_BASE = _cannot("it is a base of other classes and computes nothing itself")

#: By name; what has a reason makes no map of an image.
CLASSES: dict[str, CaptumClass] = {
    "Saliency": CaptumClass("absolute", _BACKWARD, instead="grad"),
    "InputXGradient": CaptumClass("positive", _BACKWARD, instead="input_x_gradient"),
    "IntegratedGradients": CaptumClass("positive", _STEPS, instead="ig"),
    "GradientShap": CaptumClass("positive", "`n_samples` backward passes for each finding",
                                random=True, instead="smooth_ig"),
    "DeepLift": CaptumClass("positive", "a backward pass of two images for each finding",
                            instead="deeplift"),
    "DeepLiftShap": CaptumClass("positive", "`DeepLift` for each baseline", instead="deeplift"),
    "GuidedBackprop": CaptumClass("absolute", _BACKWARD, instead="guided_backprop"),
    "Deconvolution": CaptumClass("absolute", _BACKWARD, instead="deconvnet"),
    "GuidedGradCam": CaptumClass("positive", "two backward passes for each finding",
                                 instead="guided_gradcam"),
    "LRP": CaptumClass("positive", "a backward pass for each finding and three forward passes",
                       instead="deeplift"),
    "Occlusion": CaptumClass("positive", "a forward pass for each window and finding",
                             instead="occlusion"),
    "FeatureAblation": CaptumClass("positive", _REGIONS, instead="occlusion"),
    "FeaturePermutation": CaptumClass("positive", _REGIONS, random=True, instead="occlusion"),
    "Lime": CaptumClass("positive", _SAMPLES, random=True),
    "KernelShap": CaptumClass("positive", _SAMPLES, random=True),
    "ShapleyValueSampling": CaptumClass("positive", _ORDERS, random=True),
    "ShapleyValues": CaptumClass("positive", "a forward pass for every order of the superpixels, "
                                 "of which there may be 8, and each of these"),
    "LayerActivation": CaptumClass("raw", "a forward pass; the same map for all findings"),
    "LayerConductance": CaptumClass("positive", _STEPS, instead="gradcam"),
    "LayerDeepLift": CaptumClass("positive", "a backward pass of two images for each finding",
                                 instead="gradcam"),
    "LayerDeepLiftShap": CaptumClass("positive", "`LayerDeepLift` for each baseline",
                                     instead="gradcam"),
    "LayerFeatureAblation": CaptumClass("positive", _PLACES, instead="occlusion"),
    "LayerFeaturePermutation": CaptumClass("positive", _PLACES, random=True, instead="occlusion"),
    "LayerGradCam": CaptumClass("positive", "a backward pass to the layer for each finding",
                                instead="gradcam"),
    "LayerGradientShap": CaptumClass("positive", "`n_samples` backward passes for each finding",
                                     random=True, instead="gradcam"),
    "LayerGradientXActivation": CaptumClass(
        "positive", "a backward pass to the layer for each finding", instead="gradcam"),
    "LayerIntegratedGradients": CaptumClass("positive", _STEPS, instead="gradcam"),
    "LayerLRP": CaptumClass("positive",
                            "a backward pass for each finding and three forward passes",
                            instead="gradcam"),
    "InternalInfluence": CaptumClass("absolute", _STEPS, instead="gradcam"),
    "NeuronConductance": CaptumClass("positive", _STEPS),
    "NeuronDeconvolution": CaptumClass("absolute", _ONE_NEURON),
    "NeuronDeepLift": CaptumClass("positive", _ONE_NEURON),
    "NeuronDeepLiftShap": CaptumClass("positive", "a backward pass for each baseline"),
    "NeuronFeatureAblation": CaptumClass("positive", "a forward pass for each superpixel"),
    "NeuronGradient": CaptumClass("absolute", _ONE_NEURON),
    "NeuronGradientShap": CaptumClass("positive", "`n_samples` backward passes", random=True),
    "NeuronGuidedBackprop": CaptumClass("absolute", _ONE_NEURON),
    "NeuronIntegratedGradients": CaptumClass("positive", "`n_steps` backward passes"),
    "NoiseTunnel": CaptumClass("raw", "the wrapped method `nt_samples` times", random=True),
    "DataLoaderAttribution": _cannot("it explains a whole data set as one input, not an image"),
    "LimeBase": _cannot("it is given functions of Python; `captum.Lime` is made of it"),
    "LLMAttribution": _OF_TEXT,
    "LLMGradientAttribution": _OF_TEXT,
    "RemoteLLMAttribution": _OF_TEXT,
    "Attribution": _A_BASE,
    "GradientAttribution": _A_BASE,
    "PerturbationAttribution": _A_BASE,
    "LayerAttribution": _A_BASE,
    "NeuronAttribution": _A_BASE,
}

#: What else ``captum.attr`` offers: inputs, providers and results of texts, statistics, figures.
NOT_METHODS = frozenset({
    "ClassSummarizer", "CommonStats", "Count", "ImageMaskInput", "InterpretableEmbeddingBase",
    "InterpretableInput", "LLMAttributionResult", "MSE", "Max", "Mean", "Min", "ProductBaselines",
    "RemoteLLMProvider", "StatValue", "StdDev", "Sum", "Summarizer", "SummarizerSingleTensor",
    "TextTemplateInput", "TextTokenInput", "TokenReferenceBase", "VLLMProvider", "Var",
    "configure_interpretable_embedding_layer", "remove_interpretable_embedding_layer",
    "visualization",
})

#: Classes that wrap another.
WRAPPERS = ("NoiseTunnel",)
#: Classes that fit a linear model, for which captum takes scikit-learn.
OF_SKLEARN = ("Lime", "KernelShap")


def makes_maps() -> list[str]:
    """Names of the classes that make a map of an image."""
    return [name for name, known in CLASSES.items() if not known.reason]
