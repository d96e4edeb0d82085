"""Maps and scores of localizers in the cubes: what they are, and that a job resumes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from saltrust.cache.inspection import describe
from saltrust.cache.schema import Status
from saltrust.cache.store import open_cubes
from saltrust.errors import DataError, UsageError
from saltrust.generate import localizers
from saltrust.generate.job import generate
from saltrust.models.localizers.trained_localizer import load_localizer
from saltrust.models.preprocessing import to_input
from saltrust.study import LocalizerSpec, Study


@pytest.fixture
def with_localizers(tiny: ModuleType, study: Study, tmp_path: Path) -> Study:
    """Two localizers, one of all findings and one of the last two, maps rounded."""
    first = tiny.save_localizer(tmp_path, "all", tiny.FINDINGS, 1)
    second = tiny.save_localizer(tmp_path, "some", tiny.FINDINGS[1:], 2)
    return replace(study, localizers=(first, replace(second, rounded=True)))


def test_maps_are_those_of_the_network(tiny: ModuleType, collection: Any, with_localizers: Study,
                                       tmp_path: Path) -> None:
    cubes = open_cubes(generate(collection, with_localizers, tmp_path / "a.zarr", progress=False))
    group = cubes["localizer"].to_dataset()
    explained = cubes.coords["split"].values == "test"
    assert group["model"].values.tolist() == ["all", "some"]
    assert group["model_architecture"].values.tolist() == ["tiny_study:TinySegmenter"] * 2
    assert group["model_seed"].values.tolist() == [1, 2]
    pixels = cubes["radiograph/pixels"].values[explained]
    for spec in with_localizers.localizers:
        net = load_localizer(spec, with_localizers, tiny.FINDINGS)
        with torch.no_grad():
            maps = torch.sigmoid(net.module(to_input(pixels, net.preprocessing))).numpy()
        levels = np.round(255 * maps)
        scores = levels.sum(axis=(2, 3)) / 255 / (levels > 0).sum(axis=(2, 3))
        of_localizer = group.sel(model=spec.name, finding=list(spec.findings)).isel(image=explained)
        np.testing.assert_allclose(of_localizer["heatmap"].transpose("image", "finding", "y", "x"),
                                   levels if spec.rounded else maps, rtol=1e-5, atol=0)
        np.testing.assert_allclose(of_localizer["score"].transpose("image", "finding"), scores,
                                   rtol=1e-5)
        assert (of_localizer["status"] == Status.OK).all()
    other = group.sel(model="some", finding=tiny.FINDINGS[0])
    assert (other["status"] == Status.MISSING).all()
    assert np.isnan(other["score"]).all()
    assert np.isnan(other["heatmap"]).all()
    assert (group["status"].values[~explained] == Status.MISSING).all()
    described = describe(cubes)
    assert not described["problems"]
    assert [entry["model"] for entry in described["localizers"]] == ["all", "some"]
    assert [entry["model"] for entry in described["models"]] == ["narrow", "wide"]
    assert cubes.attrs["localizers"]["some"]["findings"] == list(tiny.FINDINGS[1:])


def test_a_study_of_localizers_only(tiny: ModuleType, collection: Any, with_localizers: Study,
                                    tmp_path: Path) -> None:
    alone = replace(with_localizers, models=())
    cubes = open_cubes(generate(collection, alone, tmp_path / "a.zarr", progress=False))
    assert sorted(cubes.children) == ["localizer", "radiograph", "reference"]
    both = open_cubes(generate(collection, with_localizers, tmp_path / "b.zarr", progress=False))
    for name in ("heatmap", "score", "status"):
        np.testing.assert_array_equal(cubes[f"localizer/{name}"], both[f"localizer/{name}"])
    np.testing.assert_array_equal(cubes["radiograph/pixels"], both["radiograph/pixels"])
    np.testing.assert_array_equal(cubes["radiograph/stored"], both["radiograph/stored"])


def test_an_interrupted_job_goes_on_where_it_was(
        collection: Any, with_localizers: Study, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    whole = open_cubes(generate(collection, with_localizers, tmp_path / "a.zarr", progress=False))
    computed: list[tuple[str, tuple[str, ...]]] = []
    original = localizers.localize_batch

    def stop_at_fourth(localizer: Any, loaded: Any, *rest: Any) -> Any:
        computed.append((localizer.name, loaded.images))
        if len(computed) == 4:
            raise DataError("the lights went out")
        return original(localizer, loaded, *rest)

    monkeypatch.setattr(localizers, "localize_batch", stop_at_fourth)
    with pytest.raises(DataError, match="lights"):
        generate(collection, with_localizers, tmp_path / "b.zarr", progress=False)
    for changed in (replace(with_localizers.localizers[0], rounded=True),
                    replace(with_localizers.localizers[0], name="other",
                            checkpoint="runs/all/model.safetensors")):
        other = replace(with_localizers, localizers=(changed, with_localizers.localizers[1]))
        with pytest.raises(UsageError, match=r"begun with another .*(localizer 'all'|localizer/)"):
            generate(collection, other, tmp_path / "b.zarr", resume=True, progress=False)
    generate(collection, with_localizers, tmp_path / "b.zarr", resume=True, progress=False)
    # Of three batches of the first localizer none is repeated but the one that was lost.
    assert computed[4:] == computed[3:4] + [("some", images) for _, images in computed[1:3]]
    resumed = open_cubes(tmp_path / "b.zarr")
    for name in ("heatmap", "score", "status"):
        np.testing.assert_array_equal(resumed[f"localizer/{name}"], whole[f"localizer/{name}"])


@pytest.mark.parametrize(("spec", "error", "message"), [
    (LocalizerSpec("none", "tiny_study:TinySegmenter"), UsageError, "run `saltrust train`"),
    (LocalizerSpec("all", "tiny_study:TinySegmenter", findings=("Edem",)), UsageError,
     "names the finding 'Edem', which the data set does not have; did you mean 'Edema'"),
    (LocalizerSpec("some", "tiny_study:TinySegmenter"), DataError, "does not predict Edema"),
    (LocalizerSpec("all", "unet"), UsageError, "is 'unet' in the study file, but its weights"),
    (LocalizerSpec("wrong", "tiny_study:TinyNetwork", checkpoint="runs/narrow"), UsageError,
     "must return logits of shape"),
])
def test_what_does_not_fit_is_said_before_anything_is_computed(
        collection: Any, with_localizers: Study, tmp_path: Path, spec: LocalizerSpec,
        error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        generate(collection, replace(with_localizers, localizers=(spec,)), tmp_path / "a.zarr",
                 progress=False)
    assert not list(tmp_path.glob("a.zarr*"))
