"""Curves from the study file to the cubes: values, resuming, faults, what is left out."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from click.testing import CliRunner

from saltrust.cache.repair import repair
from saltrust.cache.schema import Status
from saltrust.cache.store import open_cubes, partial_path
from saltrust.cache.validation import problems
from saltrust.cache.verification import verify
from saltrust.cli import main
from saltrust.errors import DataError, UsageError
from saltrust.generate.faithfulness import stage
from saltrust.generate.faithfulness.curves import image_curves
from saltrust.generate.faithfulness.perturbation import Subject
from saltrust.generate.job import Overrides, generate
from saltrust.generate.plan import make_plan
from saltrust.generation_settings import FaithfulnessSpec
from saltrust.models.preprocessing import to_input
from saltrust.study import EnsembleSpec, ExplainerSpec, Study
from saltrust.study_file import read_study

CURVES = FaithfulnessSpec(("deletion", "morf", "lerf"), steps=2, squares=6)
ALL = FaithfulnessSpec(("deletion", "insertion", "morf", "lerf", "infidelity", "sensitivity"),
                       steps=4, squares=6)


@pytest.fixture
def collection(tiny: ModuleType) -> Any:
    """Five images, four of them in the test split."""
    return tiny.NoisyCollection(5)


@pytest.fixture
def faithful(study: Study) -> Study:
    return dataclasses.replace(study, faithfulness=CURVES, seed=3, explainers=(
        ExplainerSpec("grad"), ExplainerSpec("gradcam"), ExplainerSpec("input_x_gradient")))


def variables(path: Path) -> dict[str, bytes]:
    return {name: np.asarray(array[:]).tobytes()
            for name, array in zarr.open_group(path / "faithfulness", mode="r").arrays()
            if array.dtype.kind != "T"}


def test_curves_are_those_of_each_map_and_network(
        collection: Any, faithful: Study, tiny: ModuleType, tmp_path: Path) -> None:
    study = dataclasses.replace(faithful, faithfulness=ALL, ensembles=(
        EnsembleSpec("both", members=("narrow", "wide"), keep_members=True),))
    path = generate(collection, study, tmp_path / "a.zarr", progress=False)
    assert verify(path).faults == ()
    cubes = open_cubes(path)
    assert problems(cubes) == []
    group = cubes["faithfulness"].to_dataset()
    assert group["explainer_reading"].values.tolist() == ["absolute", "raw", "raw"]
    assert cubes["saliency/explainer_reading"].values.tolist() == ["absolute", "raw", "positive"]
    assert group["model"].values.tolist() == ["narrow", "wide", "both"]
    assert group["fraction"].values.tolist() == [0, 0.25, 0.5, 0.75, 1]
    facts = cubes.attrs["faithfulness"]
    assert (facts["baseline"], facts["squares"], facts["orders"], facts["seed"]) == (
        "blur", [6, 6], 5, 3)
    assert facts["reading"]["input_x_gradient"] == "raw"
    # Edema alone is positive, on images of the test split.
    done = group["status"] == Status.OK
    test = group["split"] == "test"
    assert bool((done == (test & (group["finding"] == "Edema"))).all())
    assert np.isfinite(group["curve"].values[done.values]).all()
    assert np.isnan(group["curve"].values[~done.values]).all()
    assert np.isfinite(group["random"].sel(image=test)).all()
    for name in ("infidelity", "sensitivity"):
        assert (np.isfinite(group[name]) == done).all()
    # Nothing removed: what is predicted of the image itself, of the ensemble too.
    first = group["curve"].sel(metric="deletion", fraction=0, explainer="grad")
    np.testing.assert_allclose(
        first.sel(image=test, finding="Edema"),
        cubes["prediction/probability"].sel(image=test, finding="Edema"), atol=1e-6)
    _compare_with_network(cubes, study, tiny)


def _compare_with_network(cubes: Any, study: Study, tiny: ModuleType) -> None:
    """One image of one model, predicted here."""
    collection = tiny.NoisyCollection(5)
    plan = make_plan(collection, study, torch.device("cpu"))
    assert plan.faithfulness is not None
    network = plan.models[1].classifier.module
    pixels = collection.radiograph("image-004", (24, 24)).pixels

    def predict(planes: torch.Tensor) -> torch.Tensor:
        black, white = (to_input(torch.full((1, 1, 1), level, dtype=torch.uint8),
                                 network.preprocessing) for level in (0, 255))
        with torch.no_grad():
            return torch.cat([network(black + plane * (white - black)).sigmoid()
                              for plane in planes[:, None, None]])

    subject = Subject.of(pixels, "image-004", plan.faithfulness, torch.device("cpu"))
    saliency = cubes["saliency"].to_dataset().sel(image="image-004", model="wide")
    status = saliency["status"].values.copy()
    status[1:] = Status.MISSING
    expected = image_curves(predict, subject, saliency["heatmap"].values, status, "image-004",
                            plan.faithfulness)
    group = cubes["faithfulness"].to_dataset().sel(image="image-004")
    np.testing.assert_allclose(group["curve"].sel(model="wide"), expected.curve, atol=1e-6)
    np.testing.assert_allclose(group["random"].sel(model="wide"), expected.random, atol=1e-6)
    np.testing.assert_array_equal(group["removed"], expected.removed)


class Killed(Exception):
    """In the place of a kill."""


def test_an_interrupted_job_goes_on_with_the_same_bits(
        collection: Any, faithful: Study, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    whole = generate(collection, faithful, tmp_path / "a.zarr", progress=False)
    computed: list[str] = []
    original = stage.image_curves

    def counted(*args: Any) -> Any:
        computed.append(args[4])
        if len(computed) == 4:
            raise Killed
        return original(*args)

    monkeypatch.setattr(stage, "image_curves", counted)
    with pytest.raises(Killed):
        generate(collection, faithful, tmp_path / "b.zarr", progress=False)
    done = list(computed)
    killed = generate(collection, faithful, tmp_path / "b.zarr", resume=True, progress=False)
    assert variables(killed) == variables(whole)
    # Four images of two models; of the first start a whole batch of three was kept, or was
    # still waiting.
    assert len(computed) - len(done) in (5, 8)
    assert verify(killed).faults == ()


def test_another_setting_does_not_go_on_with_the_same_store(
        collection: Any, faithful: Study, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: Any) -> None:
        raise Killed

    monkeypatch.setattr(stage, "image_curves", killed)
    with pytest.raises(Killed):
        generate(collection, faithful, tmp_path / "a.zarr", progress=False)
    other = dataclasses.replace(faithful, faithfulness=dataclasses.replace(CURVES, baseline=128))
    with pytest.raises(UsageError, match="faithfulness"):
        generate(collection, other, tmp_path / "a.zarr", resume=True, progress=False)


def test_what_is_damaged_is_computed_again(
        collection: Any, faithful: Study, tmp_path: Path) -> None:
    path = generate(collection, faithful, tmp_path / "a.zarr", progress=False)
    before = variables(path)
    chunk = next((path / "faithfulness" / "curve" / "c").rglob("0"))
    while chunk.is_dir():
        chunk = next(chunk.iterdir())
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 255
    chunk.write_bytes(bytes(content))
    faults = verify(path).faults
    assert {fault.variable for fault in faults} == {"faithfulness/curve"}
    repair(path, faults)
    status = zarr.open_group(partial_path(path), mode="r")["faithfulness/status"]
    assert (np.asarray(status[:]) == Status.MISSING).all()
    assert variables(generate(collection, faithful, path, resume=True, progress=False)) == before


def test_radiographs_that_cannot_be_read_have_no_curves(
        tiny: ModuleType, faithful: Study, tmp_path: Path) -> None:
    class Torn(tiny.NoisyCollection):  # type: ignore[name-defined,misc]
        def radiograph(self, image: str, grid: tuple[int, int]) -> Any:
            if image == "image-003":
                raise DataError("image-003 is torn; replace it")
            return super().radiograph(image, grid)

    whole = open_cubes(generate(tiny.NoisyCollection(5), faithful, tmp_path / "a.zarr",
                                progress=False))["faithfulness"].to_dataset()
    torn = open_cubes(generate(Torn(5), faithful, tmp_path / "b.zarr", progress=False,
                               overrides=Overrides(on_error="skip")))["faithfulness"].to_dataset()
    at = int(np.flatnonzero(whole["image"] == "image-003")[0])
    assert (torn["status"][at] == Status.MISSING).all()
    assert np.isnan(torn["curve"][at]).all()
    others = np.arange(whole.sizes["image"]) != at
    np.testing.assert_array_equal(torn["curve"][others], whole["curve"][others])


def test_images_are_drawn_and_all_labels_can_be_asked(
        collection: Any, faithful: Study, tmp_path: Path) -> None:
    some = dataclasses.replace(faithful, faithfulness=FaithfulnessSpec(
        ("deletion",), steps=2, images=2, labels="all"))
    group = open_cubes(generate(collection, some, tmp_path / "a.zarr", progress=False))[
        "faithfulness"].to_dataset()
    stored = (group["status"] != Status.MISSING).values
    assert stored.any(axis=(1, 2, 3)).sum() == 2
    assert stored[stored.any(axis=(1, 2, 3))].all()
    assert group["metric"].values.tolist() == ["deletion"]
    assert np.isnan(group["infidelity"]).all()


@pytest.mark.parametrize(("spec", "message"), [
    (FaithfulnessSpec(("deletion",), images=99), "images = 99 .* than the 4"),
])
def test_what_cannot_be_asked_of_the_data_is_a_sentence(
        collection: Any, study: Study, tmp_path: Path, spec: FaithfulnessSpec,
        message: str) -> None:
    with pytest.raises(UsageError, match=message):
        generate(collection, dataclasses.replace(study, faithfulness=spec), tmp_path / "a.zarr",
                 progress=False)


def test_no_finding_shown_is_a_sentence(collection: Any, faithful: Study, tmp_path: Path) -> None:
    collection.index["label"][:] = 0
    with pytest.raises(UsageError, match='set labels = "all"'):
        generate(collection, faithful, tmp_path / "a.zarr", progress=False)


@pytest.mark.parametrize(("line", "message"), [
    ("steps = 4", "names no curve"),
    ('metrics = ["infidelity"]', "names no curve"),
    ('metrics = ["deletion", "deletion"]', "twice"),
    ('metrics = ["delete"]', "deletion"),
    ('metrics = ["morf"]\nbaseline = "blurr"', "'blur'"),
    ('metrics = ["morf"]\nbaseline = 300', "0 .black. to 255"),
    ('metrics = ["morf"]\nsquares = 100', "100 is more than the 64"),
    ('metrics = ["morf"]\norders = 2', "between 5"),
    ('metrics = ["morf"]\nsteps = 1', "between 2"),
    ('metrics = ["morf"]\norder = 6', "orders"),
])
def test_what_a_study_may_not_say_is_a_sentence(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(f"grid = 64\n[faithfulness]\n{line}\n")
    with pytest.raises(UsageError, match=message):
        read_study(path)


def test_a_study_says_it_and_info_shows_it(
        collection: Any, faithful: Study, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text('grid = 64\n[faithfulness]\nmetrics = ["morf", "lerf"]\nbaseline = 128\n')
    spec = read_study(path).faithfulness
    assert (spec.metrics, spec.baseline, spec.steps) == (("morf", "lerf"), 128, 5)
    assert "faithfulness" in read_study(path).as_dict()
    path.write_text("grid = 64\n")
    # A study that does not ask for it is the one it was.
    assert "faithfulness" not in read_study(path).as_dict()
    small = dataclasses.replace(faithful, faithfulness=dataclasses.replace(CURVES, images=1))
    cubes = generate(collection, small, tmp_path / "a.zarr", progress=False)
    shown = CliRunner().invoke(main, ["info", str(cubes)])
    assert shown.exit_code == 0, shown.output
    assert "/faithfulness" in shown.output
