"""captum within a job: resume, labels, and how well maps agree with its."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from saltrust.cache.inspection import describe
from saltrust.cache.schema import Status
from saltrust.cache.store import open_cubes
from saltrust.errors import DataError, UsageError
from saltrust.generate import captum_agreement, job
from saltrust.generate.captum_agreement import warn_of_captum
from saltrust.generate.job import Overrides, generate
from saltrust.study import ExplainerSpec, Study

CAPTUM = (
    ExplainerSpec("captum.NoiseTunnel(captum.Saliency)", {"nt_samples": 2, "stdevs": 0.2}),
    ExplainerSpec("captum.GradientShap", {"n_samples": 3}, label="shap"),
    ExplainerSpec("captum.LayerGradCam"),
    ExplainerSpec("captum.Saliency", reading="raw"),
)
COMPARED = Overrides(compare="captum")


@pytest.fixture
def by_captum(study: Study) -> Study:
    return dataclasses.replace(study, explainers=CAPTUM, seed=3)


def _heatmaps(path: Path) -> np.ndarray[Any, Any]:
    maps: np.ndarray[Any, Any] = open_cubes(path)["saliency/heatmap"].values
    return maps


def test_a_job_of_captum_resumes_with_the_same_bits(
    collection: Any, by_captum: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = generate(collection, by_captum, tmp_path / "whole.zarr", progress=False)
    cubes = open_cubes(whole)
    group = cubes["saliency"].to_dataset()
    assert group["explainer"].values.tolist() == [
        "captum.NoiseTunnel(captum.Saliency)", "shap", "captum.LayerGradCam",
        "captum.Saliency"]
    assert group["explainer_reading"].values.tolist() == ["absolute", "positive", "positive",
                                                          "raw"]
    assert json.loads(group["explainer_parameters"].values[1])["n_samples"] == 3
    assert "captum" in cubes.attrs["versions"]
    tested = collection.index["split"].values == "test"
    assert (group["status"].values[tested] == Status.OK).any(axis=(0, 1)).all()
    done = 0
    real = job.begin_batch

    def explain_twice(*args: Any) -> Any:
        nonlocal done
        done += 1
        if done > 2:
            raise KeyboardInterrupt
        torch.rand(3)
        return real(*args)

    monkeypatch.setattr(job, "begin_batch", explain_twice)
    with pytest.raises(KeyboardInterrupt):
        generate(collection, by_captum, tmp_path / "cut.zarr", progress=False)
    monkeypatch.undo()
    torch.manual_seed(99)
    resumed = generate(collection, by_captum, tmp_path / "cut.zarr", resume=True, progress=False)
    np.testing.assert_array_equal(_heatmaps(resumed), _heatmaps(whole))


def test_another_method_under_a_label_is_another_job(
    collection: Any, by_captum: Study, tmp_path: Path
) -> None:
    one, other = (dataclasses.replace(by_captum, explainers=(ExplainerSpec(name, label="mine"),))
                  for name in ("captum.GuidedBackprop", "captum.InputXGradient"))
    path = generate(collection, one, tmp_path / "out.zarr", progress=False)
    path.rename(tmp_path / "out.zarr.partial")
    with pytest.raises(UsageError, match="another method of explainer 'mine'"):
        generate(collection, other, tmp_path / "out.zarr", resume=True, progress=False)


def test_what_captum_cannot_is_said_before_anything_is_written(
    collection: Any, study: Study, tmp_path: Path
) -> None:
    # Which neuron cannot be guessed.
    asked = dataclasses.replace(study, explainers=(ExplainerSpec("captum.NeuronGradient"),))
    with pytest.raises(UsageError, match=r"model 'narrow': .*parameter `neuron`"):
        generate(collection, asked, tmp_path / "out.zarr", progress=False)
    assert list(tmp_path.glob("out.zarr*")) == []


@pytest.fixture
def three(study: Study) -> Study:
    return dataclasses.replace(study, explainers=(
        ExplainerSpec("grad"), ExplainerSpec("ig", {"steps": 4}, label="paths"),
        ExplainerSpec("eigencam"), ExplainerSpec("smoothgrad", {"samples": 2})))


def test_agreement_with_captum_is_kept(
    collection: Any, three: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = generate(collection, three, tmp_path / "plain.zarr", progress=False)
    path = generate(collection, three, tmp_path / "out.zarr", overrides=COMPARED, progress=False)
    assert "captum_agreement" not in open_cubes(plain).attrs
    cubes = open_cubes(path)
    agreement = cubes.attrs["captum_agreement"]
    assert sorted(agreement) == ["narrow", "wide"]
    assert agreement["wide"]["images"] == 4
    explainers = agreement["wide"]["explainers"]
    assert explainers["eigencam"] == {"cannot": "captum has no such method"}
    for name, kind in (("grad", "Saliency"), ("paths", "IntegratedGradients"),
                       ("smoothgrad", "Saliency")):
        assert explainers[name]["class"] == f"captum.{kind}"
        assert explainers[name]["maps"] == 12
        assert explainers[name]["pearson_median"] > 0.99
        assert explainers[name]["spearman_median"] > 0.99
        assert explainers[name]["agrees"] is True
    # Maps are the same whether they were compared or not.
    np.testing.assert_array_equal(_heatmaps(path), _heatmaps(plain))
    described = describe(cubes)
    assert described["captum_agreement"] == agreement
    assert described["warnings"] == []
    assert "captum_agreement" not in described["provenance"]

    def never(*_: Any) -> None:
        raise AssertionError

    # It is measured once.
    monkeypatch.setattr(job, "compare_with_captum", never)
    path.rename(tmp_path / "out.zarr.partial")
    generate(collection, three, tmp_path / "out.zarr", overrides=COMPARED, resume=True,
             progress=False)


def test_maps_that_are_not_captums_are_warned_of(
    collection: Any, study: Study, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    guided = dataclasses.replace(study, explainers=(ExplainerSpec("guided_backprop"),
                                                    ExplainerSpec("gradcam")))
    real = captum_agreement.explain_by_captum

    def spoiled(ours: Any, *args: Any) -> Any:
        if ours.name == "gradcam":
            raise DataError("its hooks fail")
        maps = real(ours, *args)
        return maps + maps.std() * torch.rand(maps.shape, generator=torch.manual_seed(0))

    monkeypatch.setattr(captum_agreement, "explain_by_captum", spoiled)
    with caplog.at_level(logging.WARNING):
        path = generate(collection, guided, tmp_path / "out.zarr", overrides=COMPARED,
                        progress=False)
    assert ("maps of 'guided_backprop' agree with those of captum.GuidedBackprop at a median "
            "correlation of 0.") in caplog.text
    assert ("maps of 'gradcam' were not compared with captum.LayerGradCam: its hooks fail"
            in caplog.text)
    cubes = open_cubes(path)
    assert cubes.attrs["captum_agreement"]["wide"]["explainers"]["gradcam"] == {
        "class": "captum.LayerGradCam", "cannot": "its hooks fail"}
    warnings = describe(cubes)["warnings"]
    assert len(warnings) == 2
    assert warnings[0].startswith("maps of 'guided_backprop' by model 'narrow' are not those of "
                                  "captum.GuidedBackprop: median correlation 0.")


def test_agreement_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_captum("net", {"explainers": {
        "grad": {"class": "captum.Saliency", "maps": 3, "pearson_median": 1.0,
                 "pearson_min": 1.0, "spearman_median": 0.995, "agrees": True},
        "xrai": {"cannot": "captum has no such method"}}})
    assert caplog.text == ""


@pytest.mark.parametrize("attribute", [3, "text", {"net": 5}, {"net": {"explainers": [1]}},
                                       {"net": {"explainers": {"grad": 2}}}])
def test_an_attribute_of_somebody_else_is_passed_over(attribute: Any) -> None:
    cubes = xr.DataTree.from_dict({"/": xr.Dataset(attrs={"captum_agreement": attribute})})
    described = describe(cubes)
    assert described["captum_agreement"] == {}
    assert described["warnings"] == []


def test_comparing_with_what_is_not_there_is_refused(
    collection: Any, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="cannot be compared with 'quantus'; say 'captum'"):
        generate(collection, study, tmp_path / "out.zarr", overrides=Overrides(compare="quantus"),
                 progress=False)
    monkeypatch.setattr(captum_agreement, "find_spec", lambda _name: None)
    with pytest.raises(UsageError, match="captum, which is not installed; pip install captum"):
        generate(collection, study, tmp_path / "out.zarr", overrides=COMPARED, progress=False)
    assert list(tmp_path.glob("out.zarr*")) == []
