"""Cascading randomization, from the study file to the cubes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from click.testing import CliRunner

from saltrust.cache.schema import Status
from saltrust.cache.store import open_cubes, partial_path
from saltrust.cache.validation import problems
from saltrust.cli import main
from saltrust.errors import UsageError
from saltrust.generate import randomization_plan
from saltrust.generate.job import generate
from saltrust.generation_settings import RandomizationSpec
from saltrust.models.checkpoint import save
from saltrust.models.classifiers.small import PhantomNet
from saltrust.models.preprocessing import to_input
from saltrust.models.random_weights import randomize_weights
from saltrust.models.stages import natural_stages
from saltrust.study import Study
from saltrust.study_file import read_study

STAGES = ["trained", "head", "body.3", "body.0"]


@pytest.fixture
def random_study(study: Study) -> Study:
    return dataclasses.replace(study, randomization=RandomizationSpec(replicates=2, images=4),
                               seed=3)


def variables(path: Path) -> dict[str, bytes]:
    contents = {}
    for name, array in zarr.open_group(path, mode="r").members(max_depth=None):
        if isinstance(array, zarr.Array):
            values = np.asarray(array[:])
            contents[name] = (repr(values.tolist()).encode() if values.dtype.kind == "T"
                              else values.tobytes())
    return contents


def test_every_stage_of_every_replicate(
    collection: Any, random_study: Study, tiny: ModuleType, tmp_path: Path
) -> None:
    cubes = open_cubes(generate(collection, random_study, tmp_path / "a.zarr", progress=False))
    assert problems(cubes) == []
    group = cubes["randomization"].to_dataset()
    assert group["stage"].values.tolist() == STAGES
    assert group["model"].values.tolist() == ["narrow", "wide"]
    seeds = group["replicate_seed"].values.tolist()
    assert len(set(seeds)) == 2
    assert cubes.attrs["seeds"]["randomization"] == seeds
    stored = (group["status"] != Status.MISSING).transpose("image", "replicate", "stage", ...)
    chosen = np.flatnonzero(stored.values.any(axis=(1, 2, 3, 4, 5)))
    assert len(chosen) == 4
    assert {str(cubes.coords["split"].values[i]) for i in chosen} == {"test"}
    of_chosen = stored.values[chosen]
    # The trained model's maps are kept once.
    assert of_chosen[:, 0].all()
    assert not of_chosen[:, 1, 0].any()
    assert of_chosen[:, 1, 1:].all()
    saliency = cubes["saliency"].to_dataset()
    np.testing.assert_array_equal(
        group["heatmap"].isel(image=chosen, replicate=0, stage=0).values,
        saliency["heatmap"].isel(image=chosen).values)
    np.testing.assert_array_equal(
        group["probability"].isel(image=chosen, replicate=0, stage=0).values,
        cubes["prediction/probability"].isel(image=chosen).values)


def test_probabilities_and_maps_are_those_of_the_random_networks(
    collection: Any, random_study: Study, tiny: ModuleType, tmp_path: Path
) -> None:
    """Against networks made here, one image and one gradient at a time."""
    path = generate(collection, random_study, tmp_path / "a.zarr", progress=False)
    group = open_cubes(path)["randomization"].to_dataset()
    network = tiny.TinyNetwork(3, width=8).eval().requires_grad_(False)
    network.load_state_dict(
        {name: torch.from_numpy(np.array(values)) for name, values in _weights(
            tmp_path / "runs" / "wide" / "model.safetensors").items()})
    black = to_input(torch.zeros(1, 24, 24, dtype=torch.uint8), network.preprocessing)
    stages = natural_stages(network, black)
    image = int(np.flatnonzero((group["status"].isel(stage=1) != 0).any(
        ["finding", "explainer", "model", "replicate"]).values)[0])
    pixels = collection.radiograph(str(group["image"].values[image]), (24, 24)).pixels
    for replicate, seed in enumerate(group["replicate_seed"].values.tolist()):
        for stage in (1, 2, 3):
            fresh = randomize_weights(network, stages[:stage], seed, "wide")
            inputs = to_input(pixels[None], network.preprocessing).requires_grad_()
            logits = fresh(inputs)
            where = {"image": image, "model": 1, "replicate": replicate, "stage": stage}
            np.testing.assert_allclose(group["probability"].isel(where).values,
                                       logits.sigmoid()[0].detach(), rtol=1e-5)
            (gradient,) = torch.autograd.grad(logits[0, 2], inputs)
            stored = group["heatmap"].isel(where).sel(finding="Lung Lesion", explainer="grad")
            np.testing.assert_allclose(np.abs(stored.values), gradient[0, 0].abs(), rtol=1e-3,
                                       atol=1e-6 * float(gradient.abs().max()))


def _weights(path: Path) -> Any:
    from safetensors.numpy import load_file

    return load_file(path)


def test_replicates_and_models_differ_and_seeds_repeat(
    collection: Any, random_study: Study, tmp_path: Path
) -> None:
    first, again, other = (
        open_cubes(generate(collection, dataclasses.replace(random_study, seed=seed),
                            tmp_path / f"{name}.zarr", progress=False)
                   )["randomization"].to_dataset()
        for name, seed in (("first", 3), ("again", 3), ("other", 4)))
    maps = first["heatmap"].isel(stage=slice(1, None)).values
    np.testing.assert_array_equal(maps, again["heatmap"].isel(stage=slice(1, None)).values)
    finite = maps[np.isfinite(maps).all(axis=(1, 2, 3, 4, 5, 6, 7))]
    assert len(finite) == 4
    assert not np.allclose(finite[..., 0, :, :, :], finite[..., 1, :, :, :])
    assert not np.array_equal(first["replicate_seed"].values, other["replicate_seed"].values)


@pytest.mark.parametrize("count", [33, 50, 69, 110])
def test_interrupted_anywhere_and_resumed_the_cubes_are_the_same(
    collection: Any, random_study: Study, tmp_path: Path, count: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The trained models write 32 maps, then 16 are copied, then 96 are random."""
    generate(collection, random_study, tmp_path / "whole.zarr", progress=False)
    write, written = zarr.Array.__setitem__, 0

    def failing(array: Any, selection: Any, value: Any) -> None:
        nonlocal written
        if array.name.endswith("heatmap"):
            written += 1
            if written == count:
                raise KeyboardInterrupt
        write(array, selection, value)

    monkeypatch.setattr(zarr.Array, "__setitem__", failing)
    path = tmp_path / "out.zarr"
    with pytest.raises(KeyboardInterrupt):
        generate(collection, random_study, path, progress=False)
    monkeypatch.undo()
    assert not path.exists()
    changed = dataclasses.replace(random_study, randomization=RandomizationSpec(replicates=3))
    with pytest.raises(UsageError, match=r"begun with another .*randomization"):
        generate(collection, changed, path, resume=True, progress=False)
    generate(collection, random_study, path, resume=True, progress=False)
    first, second = variables(tmp_path / "whole.zarr"), variables(path)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_chosen_stages_models_and_the_last_stage(
    collection: Any, study: Study, tmp_path: Path
) -> None:
    spec = RandomizationSpec(1, stages=("head",), models=("wide",))
    few = open_cubes(generate(collection, dataclasses.replace(study, randomization=spec),
                              tmp_path / "few.zarr", progress=False))
    group = few["randomization"].to_dataset()
    assert group["stage"].values.tolist() == ["trained", "head", "body.0"]
    assert group["model"].values.tolist() == ["wide"]
    assert few["saliency"].sizes["model"] == 2
    spec = RandomizationSpec(1)
    whole = open_cubes(generate(collection, dataclasses.replace(study, randomization=spec),
                                tmp_path / "whole.zarr", progress=False))
    # The same random weights, whatever else is asked for.
    np.testing.assert_array_equal(
        group["heatmap"].sel(stage="body.0", model="wide").values,
        whole["randomization/heatmap"].sel(stage="body.0", model="wide").values)


@pytest.mark.parametrize(("spec", "message"), [
    (RandomizationSpec(1, stages=("heads",)),
     "model 'narrow' has no stage 'heads' of randomization; did you mean 'head'"),
    (RandomizationSpec(1, positives=900), "positives = 900 .* more than the [0-9]+ positives of"),
    (RandomizationSpec(1, images=9), "images = 9 .* more than the 8 images of split 'test'"),
])
def test_what_cannot_be_randomized_is_refused_before_anything_is_written(
    collection: Any, study: Study, tmp_path: Path, spec: RandomizationSpec, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        generate(collection, dataclasses.replace(study, randomization=spec),
                 tmp_path / "out.zarr", progress=False)
    assert not partial_path(tmp_path / "out.zarr").exists()


def test_models_of_different_stages_do_not_share_a_study(
    collection: Any, study: Study, tiny: ModuleType, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    tiny.save_model(tmp_path, "phantom", PhantomNet(3, width=4), architecture="phantom_net",
                    arguments={"width": 4})
    models = (study.models[0],
              dataclasses.replace(study.models[0], name="phantom", architecture="phantom_net"))
    study = dataclasses.replace(study, models=models, randomization=RandomizationSpec(1))
    with pytest.raises(UsageError, match="'narrow' and 'phantom' have different stages"):
        generate(collection, study, tmp_path / "out.zarr", progress=False)
    assert not partial_path(tmp_path / "out.zarr").exists()


LABELS = np.array([[1, 0], [1, -1], [0, 0], [-2, 0], [0, 0], [0, 1], [-1, 0], [0, 0], [1, 1],
                   [-2, -2]], dtype=np.int8)


@pytest.mark.parametrize("seed", range(4))
def test_positives_and_negatives_are_drawn_as_stated(seed: int) -> None:
    images = np.arange(1, 10)
    study = Study(seed=seed, randomization=RandomizationSpec(2, positives=2, negatives=3))
    drawn = randomization_plan._draw(study, images, LABELS)
    assert drawn.tolist() == sorted(set(drawn.tolist()))
    positive, negative = {1, 5, 8}, {2, 3, 4, 7}
    assert len(positive & set(drawn.tolist())) == 2
    assert len(negative & set(drawn.tolist())) == 3
    # Of whatever they show, the draw is that of 0.1.
    plain = Study(seed=seed, randomization=RandomizationSpec(2, images=4))
    order = np.random.default_rng([seed, 1]).permutation(9)
    assert randomization_plan._draw(plain, images, LABELS).tolist() == sorted(
        images[order[:4]].tolist())
    every = Study(seed=seed, randomization=RandomizationSpec(2))
    assert randomization_plan._draw(every, images, LABELS) is images


def test_a_draw_without_cases_says_which_criterion_loses_them(
    caplog: pytest.LogCaptureFixture
) -> None:
    study = Study(randomization=RandomizationSpec(1, negatives=2))
    randomization_plan._draw(study, np.arange(10), LABELS)
    (message,) = caplog.messages
    assert "2 images" in message
    assert "no positives of 2 of 2 findings" in message
    assert "utility against random weights" in message
    caplog.clear()
    study = Study(randomization=RandomizationSpec(1, positives=4))
    randomization_plan._draw(study, np.arange(10), LABELS)
    # Every positive was drawn; one of them is negative of each other's finding.
    assert caplog.messages == []
    randomization_plan._draw(study, np.arange(10), np.abs(np.sign(LABELS)) * (LABELS > 0))
    assert caplog.messages == []


def test_images_and_positives_exclude_each_other(write_study: Callable[..., Path]) -> None:
    path = write_study(**{**STUDY, "randomization": {"replicates": 1, "images": 3,
                                                     "negatives": 2}})
    with pytest.raises(UsageError, match="`images`, drawn whatever they show"):
        read_study(path)


STUDY: dict[str, Any] = {
    "seed": 5,
    "explainers": ["grad", "gradcam"],
    "data": {"findings": ["Cardiomegaly", "Pleural Effusion"]},
    "generate": {"split": "all", "batch_size": 5},
    "randomization": {"replicates": 2, "stages": ["classifier", "features.3"], "images": 8},
    "models": [{"name": "net", "architecture": "phantom_net", "arguments": {"width": 4}}],
}


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(main, [str(argument) for argument in arguments],
                              catch_exceptions=False)


def test_from_the_study_file_to_the_criterion(
    tmp_path: Path, write_study: Callable[..., Path]
) -> None:
    path, cubes = write_study(**STUDY), tmp_path / "study.zarr"
    torch.manual_seed(1)
    model = PhantomNet(2, width=4)
    save(model, tmp_path / "runs" / "net" / "model.safetensors",
         {"architecture": "phantom_net", "arguments": {"width": 4}, "seed": 1, "grid": 32,
          "findings": ["Cardiomegaly", "Pleural Effusion"]})
    done = invoke("--quiet", "generate", path, "-o", cubes)
    assert done.exit_code == 0, done.stderr
    done = invoke("--quiet", "analyze", "randomization", cubes, "--format", "json",
                  "--resamples", 100)
    assert done.exit_code == 0, done.stderr
    result = json.loads(done.stdout)
    stages = result["tables"]["stages"]
    assert {(row["explainer"], row["replicate"], row["stage"]) for row in stages} == {
        (explainer, replicate, stage) for explainer in ("grad", "gradcam")
        for replicate in ("0", "1") for stage in ("classifier", "features.3", "features.0")}
    assert all(row["n"] == 8 and -1 <= row["ssim_mean"] <= 1 for row in stages)
    last = [row["ssim_mean"] for row in stages
            if row["explainer"] == "grad" and row["stage"] == "features.0"]
    assert max(last) < 0.9
    sizes = {row["condition"]: row["n_positive"] + row["n_negative"]
             for row in result["tables"]["models"] if row["finding"] == "Cardiomegaly"}
    same = "trained, on the randomised images"
    assert set(sizes) == {"trained", same, "randomised"}
    assert sizes["trained"] > sizes[same] == sizes["randomised"]


def test_info_lists_the_stages_of_an_architecture() -> None:
    done = invoke("info", "--model", "phantom_net", "--json")
    assert done.exit_code == 0, done.stderr
    rows = json.loads(done.stdout)["stages"]
    assert [row["stage"] for row in rows] == ["classifier", "features.4", "features.3",
                                              "features.2", "features.0"]
    assert sum(row["parameters"] for row in rows) == sum(
        weight.numel() for weight in PhantomNet(1).parameters())
    text = invoke("info", "--model", "densenet121", "--grid", "64").stdout
    assert "features.denseblock4" in text
    assert "features (plane, 2 x 2, 1024 channels)" in text
    explainers = {row["explainer"]: row for row in json.loads(done.stdout)["explainers"]}
    assert explainers["grad"]["works"]
    (layer,) = explainers["gradcam"]["layers"]
    assert (layer["name"], layer["kind"]) == ("features", "plane")
    assert "no attention" in explainers["attention_rollout"]["reason"]
    assert invoke("info").exit_code == 2
    assert invoke("info", "--model", "densnet121").exit_code == 2


@pytest.mark.parametrize(("table", "message"), [
    ({"stages": ["fc"]}, r"\[randomization\] needs replicates"),
    ({"replicates": 1, "stages": ["fc", "fc"]}, "stages of .* names 'fc' twice"),
    ({"replicates": 1, "models": ["nett"]}, "'nett', which is not among .*did you mean 'net'"),
    ({"replicates": -1}, "replicates = -1 must lie between"),
    ({"replicate": 1}, "did you mean 'replicates'"),
    ({"replicates": 1, "images": "all"}, "images must be of type int"),
])
def test_nonsense_in_the_table_is_refused(
    write_study: Callable[..., Path], table: dict[str, Any], message: str
) -> None:
    path = write_study(randomization=table)
    with pytest.raises(UsageError, match=message):
        read_study(path)


def test_without_explainers_there_is_nothing_to_compare(
    write_study: Callable[..., Path]
) -> None:
    path = write_study(explainers=[], randomization={"replicates": 1})
    with pytest.raises(UsageError, match="no explainers"):
        read_study(path)
