"""What a generation job writes: every number against direct computation."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from saltrust.cache.rle import decode
from saltrust.cache.schema import Status
from saltrust.cache.store import open_cubes
from saltrust.cache.validation import problems
from saltrust.explainers.methods.class_activation import gradcam
from saltrust.explainers.methods.gradient import grad
from saltrust.generate.job import generate
from saltrust.models.classifiers.registry import build
from saltrust.models.classifiers.trained_classifier import load_classifier
from saltrust.models.preprocessing import to_input
from saltrust.study import ExplainerSpec, GenerateSpec, Study

MAPS = {"grad": grad, "gradcam": gradcam}


def _cubes(collection: Any, study: Study, folder: Path) -> Any:
    return open_cubes(generate(collection, study, folder / "out.zarr", progress=False))


@pytest.fixture
def cubes(collection: Any, study: Study, tmp_path: Path) -> Any:
    path = generate(collection, study, tmp_path / "out.zarr", progress=False,
                    command_line="saltrust generate study.toml")
    assert path == tmp_path / "out.zarr"
    return open_cubes(path)


def test_the_cubes_hold_what_models_and_explainers_give(
    cubes: Any, collection: Any, study: Study
) -> None:
    findings = [str(name) for name in collection.index["finding"].values]
    tested = collection.index["split"].values == "test"
    names = collection.index["image"].values[tested]
    assert len(names) == 8
    pixels = np.stack([collection.radiograph(name, (24, 24)).pixels for name in names])
    stored = cubes["radiograph/pixels"].sel(image=names).values
    np.testing.assert_array_equal(stored, pixels)
    for spec in study.models:
        classifier = load_classifier(spec, study, findings)
        inputs = to_input(pixels, classifier.preprocessing)
        logits = classifier.logits(inputs).numpy()
        chosen = {"image": names, "finding": findings, "model": spec.name}
        for variable, expected in (
            ("logit", logits), ("probability", 1 / (1 + np.exp(-logits.astype(np.float64))))
        ):
            stored = cubes["prediction"][variable].sel(chosen).transpose("image", "finding").values
            assert stored.dtype == np.float32
            np.testing.assert_allclose(stored, expected, rtol=1e-5, atol=1e-6)
        for explainer, function in MAPS.items():
            expected = function(classifier.module, inputs, range(3)).detach().numpy()
            stored = cubes["saliency/heatmap"].sel(chosen | {"explainer": explainer})
            stored = stored.transpose("image", "finding", "y", "x").values
            np.testing.assert_allclose(stored, expected, rtol=1e-4, atol=1e-7)
            assert expected.max() > 0
    assert (cubes["saliency/heatmap"].sel(explainer="grad") < 0).any()


def test_images_of_other_splits_have_labels_and_annotations_only(
    cubes: Any, collection: Any
) -> None:
    trained = collection.index["image"].values[collection.index["split"].values == "train"]
    assert len(trained) == 3
    assert (cubes["saliency/status"].sel(image=trained) == Status.MISSING).all()
    assert cubes["saliency/heatmap"].sel(image=trained).isnull().all()
    assert cubes["prediction/probability"].sel(image=trained).isnull().all()
    assert (cubes["radiograph/stored"].sel(image=trained) == 0).all()
    reference = cubes["reference"].sel(reader="reference", finding="Edema")
    np.testing.assert_array_equal(reference["label"], 1)
    for name in collection.index["image"].values:
        drawn = decode(str(reference["mask_rle"].sel(image=name).values), 40, 50)
        annotation = collection.annotations(name)["Edema", "reference"]
        np.testing.assert_array_equal(drawn, decode(annotation.mask_rle, 40, 50))
    assert not cubes["reference/annotated"].sel(finding="Pneumothorax").any()


def test_all_images_on_request(collection: Any, study: Study, tmp_path: Path) -> None:
    study = dataclasses.replace(study, generate=GenerateSpec("all", 4, "cpu"))
    cubes = _cubes(collection, study, tmp_path)
    assert (cubes["saliency/status"] != Status.MISSING).all()
    assert (cubes["radiograph/stored"] == 1).all()


def test_the_store_is_valid_and_labeled(cubes: Any, study: Study) -> None:
    assert problems(cubes) == []
    saliency = cubes["saliency"].to_dataset()
    assert saliency["explainer"].values.tolist() == ["grad", "gradcam"]
    parameters = [json.loads(text) for text in saliency["explainer_parameters"].values.tolist()]
    assert parameters == [{}, {"layer": "body"}]
    assert saliency["model"].values.tolist() == ["narrow", "wide"]
    assert saliency["model_role"].values.tolist() == ["member", "member"]
    assert saliency["model_architecture"].values.tolist() == ["tiny_study:TinyNetwork"] * 2
    assert saliency["model_seed"].values.tolist() == [0, 1]
    for name, digest in zip(("narrow", "wide"), saliency["model_checkpoint"].values, strict=True):
        card = json.loads((study.folder / "runs" / name / "model.json").read_text())
        assert digest == card["weights_sha256"]


def test_the_store_says_how_it_was_made(cubes: Any, collection: Any, study: Study) -> None:
    attributes = cubes.attrs
    assert attributes["command_line"] == "saltrust generate study.toml"
    assert attributes["study_fingerprint"] == study.fingerprint()
    assert attributes["study"] == json.loads(json.dumps(study.as_dict()))
    assert attributes["data_fingerprint"] == collection.fingerprint
    assert attributes["device"] == "cpu"
    assert attributes["batch_size"] == 3
    assert attributes["threads"] == 1
    assert attributes["versions"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert attributes["seeds"] == {"study": 0, "models": {"narrow": 0, "wide": 1}}
    assert attributes["models"]["wide"]["preprocessing"]["channels"] == 1
    assert len(attributes["starts"]) == 1


def test_layers_that_differ_between_models_are_recorded_by_model(
    collection: Any, study: Study, tiny: ModuleType, tmp_path: Path
) -> None:
    network = build("phantom_net", 3, width=4)
    tiny.save_model(tmp_path, "phantom", network, architecture="phantom_net",
                    arguments={"width": 4})
    other = dataclasses.replace(study.models[0], name="phantom", architecture="phantom_net")
    study = dataclasses.replace(study, models=(study.models[0], other))
    cubes = _cubes(collection, study, tmp_path)
    text = str(cubes["saliency/explainer_parameters"].sel(explainer="gradcam").values)
    assert json.loads(text) == {"layer": {"narrow": "body", "phantom": "features"}}


def test_flat_maps_have_their_status(
    collection: Any, study: Study, tiny: ModuleType, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A head without weights for one finding: its logit does not depend on the image."""
    network = tiny.TinyNetwork(3)
    network.head.weight.data[1] = 0
    tiny.save_model(tmp_path, "deaf", network)
    study = dataclasses.replace(
        study, models=(dataclasses.replace(study.models[0], name="deaf"),))
    with caplog.at_level(logging.WARNING):
        cubes = _cubes(collection, study, tmp_path)
    assert "model 'deaf': of 48 heatmaps 16 flat" in caplog.text
    tested = collection.index["split"].values == "test"
    status = cubes["saliency/status"][tested].isel(model=0)
    assert (status.sel(finding="Pneumothorax") == Status.FLAT).all()
    assert (status.sel(finding=["Edema", "Lung Lesion"], explainer="grad") == Status.OK).all()
    flat = cubes["saliency/heatmap"][tested].sel(finding="Pneumothorax")
    assert (flat == 0).all()


def test_maps_that_are_not_finite_have_their_status(
    collection: Any, study: Study, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "own_broken.py").write_text(
        "def broken(module, inputs, outputs):\n"
        "    maps = inputs[:, :1].repeat(1, len(outputs), 1, 1)\n"
        "    for place, value in enumerate((float('nan'), float('inf'))[:len(outputs)]):\n"
        "        maps[:, place, 3, 4] = value\n"
        "    return maps\n")
    study = dataclasses.replace(
        study, models=study.models[:1],
        explainers=(ExplainerSpec("own_broken:broken"), ExplainerSpec("grad")))
    with caplog.at_level(logging.WARNING):
        cubes = _cubes(collection, study, tmp_path)
    assert "of 48 heatmaps 16 not finite" in caplog.text
    tested = collection.index["split"].values == "test"
    status = cubes["saliency/status"][tested].isel(model=0)
    codes = status.sel(explainer="own_broken:broken").transpose("finding", "image").values
    np.testing.assert_array_equal(codes[:2], Status.NONFINITE)
    np.testing.assert_array_equal(codes[2], Status.OK)
    assert (status.sel(explainer="grad") == Status.OK).all()


def test_a_network_that_emits_nan_is_stored_and_marked(
    collection: Any, study: Study, tiny: ModuleType, tmp_path: Path
) -> None:
    """The square overflows float32 although every weight is finite."""
    network = tiny.TinyNetwork(3)
    network.body[3].weight.data.mul_(1e30)
    tiny.save_model(tmp_path, "loud", network)
    study = dataclasses.replace(
        study, models=(dataclasses.replace(study.models[0], name="loud"),))
    cubes = _cubes(collection, study, tmp_path)
    tested = collection.index["split"].values == "test"
    assert not np.isfinite(cubes["prediction/logit"].values[tested]).any()
    assert (cubes["saliency/status"].values[tested] == Status.NONFINITE).all()


def test_predictions_alone(collection: Any, study: Study, tmp_path: Path) -> None:
    study = dataclasses.replace(study, explainers=())
    cubes = _cubes(collection, study, tmp_path)
    assert "saliency" not in cubes.children
    tested = collection.index["split"].values == "test"
    assert np.isfinite(cubes["prediction/probability"].values[tested]).all()


def test_a_model_with_more_findings_is_asked_by_name(
    collection: Any, study: Study, tiny: ModuleType, tmp_path: Path
) -> None:
    outputs = ["Fracture", "Lung Lesion", "Edema", "Pneumothorax"]
    network = tiny.TinyNetwork(4)
    tiny.save_model(tmp_path, "broad", network, findings=outputs)
    study = dataclasses.replace(
        study, models=(dataclasses.replace(study.models[0], name="broad"),))
    cubes = _cubes(collection, study, tmp_path)
    image = collection.index["image"].values[0]
    inputs = to_input(collection.radiograph(image, (24, 24)).pixels[None], network.preprocessing)
    expected = grad(network, inputs, [2, 3, 1])[0].numpy()
    stored = cubes["saliency/heatmap"].sel(image=image, explainer="grad", model="broad")
    np.testing.assert_allclose(stored.values, expected, rtol=1e-4, atol=1e-7)
    with torch.no_grad():
        logits = network.eval()(inputs)[0, [2, 3, 1]]
    stored = cubes["prediction/logit"].sel(image=image, model="broad").values
    np.testing.assert_allclose(stored, logits, rtol=1e-5)
