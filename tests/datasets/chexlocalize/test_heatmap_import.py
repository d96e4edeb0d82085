"""CheXlocalize into cubes: every value where it belongs, resumable, nothing half-written."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saltrust.cache import store
from saltrust.cache.schema import Status
from saltrust.cache.store import partial_path
from saltrust.cache.validation import problems
from saltrust.datasets.chexlocalize import heatmap_import as module
from saltrust.datasets.chexlocalize import heatmaps as chexlocalize_heatmaps
from saltrust.datasets.chexlocalize.heatmap_import import import_chexlocalize
from saltrust.errors import DataError, NothingToDo, UsageError

ONE = "patient00001_study1_view1_frontal"
TWO = "patient00001_study1_view2_lateral"
THREE = "patient00002_study3_view1_frontal"
SHAPE = (20, 30)


def open_cubes(path: Path) -> Any:
    return store.open_cubes(path)


def square(top: int, left: int) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[top:top + 8, left:left + 8] = True
    return mask


@pytest.fixture
def release(layout: Any) -> Any:
    """Three images: all heatmaps of one, some of the second, none of the third."""
    import torch

    layout.segmentations({ONE: {"Edema": square(2, 3)}, TWO: {"Cardiomegaly": square(5, 9)}},
                         "gt_segmentations_test.json")
    layout.segmentations({ONE: {"Edema": square(3, 3)}}, "hb_segmentations_test.json")
    layout.json("hb_salient_pt_test.json", {ONE: {"Edema": [[7, 4], [8, 5]]}})
    layout.labels({ONE: ["Edema"], TWO: ["Cardiomegaly"], THREE: []}, "test_labels.csv", "test")
    layout.radiograph(ONE, SHAPE, "test")
    layout.radiograph(THREE, SHAPE, "test")
    maps = "gradcam_maps_test"
    layout.heatmap(ONE, "Edema", SHAPE, maps, prob=0.25)
    layout.heatmap(ONE, "Cardiomegaly", SHAPE, maps, map=torch.zeros(1, 1, 8, 8), prob=1.0)
    layout.heatmap(TWO, "Edema", SHAPE, maps, prob=0.5,
                   map=torch.tensor([[[[0.0, float("nan")] * 4] * 8]]))
    return layout


def test_every_value_is_where_it_belongs(release: Any, tmp_path: Path,
                                         caplog: pytest.LogCaptureFixture) -> None:
    path = import_chexlocalize(release.root, tmp_path / "cubes.zarr")
    assert path == tmp_path / "cubes.zarr"
    assert not partial_path(path).exists()
    cubes = open_cubes(path)
    assert problems(cubes) == []
    assert cubes["image"].values.tolist() == [ONE, TWO, THREE]
    assert cubes["native_height"].values.tolist() == [20, 20, 20]

    saliency = cubes["saliency"].to_dataset().sel(explainer="gradcam", model="ensemble")
    status = saliency["status"]
    assert status.sel(image=ONE, finding="Edema") == Status.OK
    assert status.sel(image=ONE, finding="Cardiomegaly") == Status.FLAT
    assert status.sel(image=TWO, finding="Edema") == Status.NONFINITE
    assert (status.values == Status.MISSING).sum() == 27
    heatmap = saliency["heatmap"].sel(image=ONE, finding="Edema").values
    np.testing.assert_allclose(heatmap.ravel(), np.linspace(0, 1, 64), atol=1e-6)
    assert saliency["heatmap"].sel(image=ONE, finding="Lung Lesion").isnull().all()

    prediction = cubes["prediction"].to_dataset().sel(model="ensemble", image=ONE)
    assert prediction["probability"].sel(finding="Edema") == 0.25
    assert prediction["logit"].sel(finding="Edema") == pytest.approx(np.log(1 / 3))
    assert prediction["probability"].sel(finding="Cardiomegaly") == 1
    assert np.isnan(prediction["logit"].sel(finding="Cardiomegaly"))
    assert prediction["model_role"] == "ensemble"
    assert prediction["model_architecture"] == "densenet121"

    reference = cubes["reference"].to_dataset()
    assert reference["label"].sel(image=ONE, finding="Edema") == 1
    human = reference.sel(image=ONE, finding="Edema", reader="human-benchmark")
    assert human["point_y"].values.tolist() == [4, 5]
    assert human["point_x"].values.tolist() == [7, 8]
    assert reference["mask"].sel(image=ONE, finding="Edema", reader="reference").any()
    annotated = reference["annotated"]
    assert annotated.sel(reader="reference").sel(image=[ONE, TWO]).all()
    assert annotated.sel(reader="reference", image=THREE).all()  # all labels are negative
    assert not annotated.sel(reader="human-benchmark").sel(image=[TWO, THREE]).any()

    stored = cubes["radiograph/stored"].values
    assert stored.tolist() == [1, 0, 1]
    assert cubes.attrs["data"]["kind"] == "chexlocalize"
    assert "3 of 30 heatmaps" in caplog.text


def test_without_heatmaps_masks_alone_are_stored(layout: Any, tmp_path: Path) -> None:
    layout.segmentations({ONE: {"Edema": square(2, 3)}})
    cubes = open_cubes(import_chexlocalize(layout.root, tmp_path / "cubes.zarr"))
    assert problems(cubes) == []
    assert set(cubes.children) == {"reference"}
    assert cubes["reference/mask"].sizes["y"] == 320


def test_without_annotations_heatmaps_alone_are_stored(layout: Any, tmp_path: Path) -> None:
    layout.heatmap(ONE, "Edema", SHAPE)
    layout.heatmap(ONE, "Edema", SHAPE, "ig_maps_val")
    cubes = open_cubes(import_chexlocalize(layout.root, tmp_path / "cubes.zarr"))
    assert problems(cubes) == []
    assert cubes["saliency/explainer"].values.tolist() == ["gradcam", "ig"]
    assert (cubes["saliency/status"].values == Status.OK).sum() == 2
    assert (cubes["reference/label"].values == -2).all()


def test_an_existing_output_is_kept_unless_told(release: Any, tmp_path: Path) -> None:
    output = tmp_path / "cubes.zarr"
    import_chexlocalize(release.root, output)
    with pytest.raises(UsageError, match="--overwrite"):
        import_chexlocalize(release.root, output)
    with pytest.raises(NothingToDo):
        import_chexlocalize(release.root, output, resume=True)
    release.heatmap(THREE, "Edema", SHAPE, "gradcam_maps_test")
    import_chexlocalize(release.root, output, overwrite=True)
    status = open_cubes(output)["saliency/status"]
    assert (status.values != Status.MISSING).sum() == 4


def test_a_killed_import_is_resumed_without_repeating(release: Any, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    whole = import_chexlocalize(release.root, tmp_path / "whole.zarr")
    output = tmp_path / "cubes.zarr"
    monkeypatch.setattr(module, "_BLOCK", 1)
    read: list[str] = []
    original = chexlocalize_heatmaps.read_heatmaps

    def reading(files: Any) -> Any:
        for heatmap in original(files):
            if heatmap.file.image == TWO and len(read) < 3:
                read.append("killed")
                raise KeyboardInterrupt
            read.append(heatmap.file.image)
            yield heatmap

    monkeypatch.setattr(module, "read_heatmaps", reading)
    with pytest.raises(KeyboardInterrupt):
        import_chexlocalize(release.root, output)
    assert not output.exists()
    with pytest.raises(UsageError, match="--resume"):
        import_chexlocalize(release.root, output)
    import_chexlocalize(release.root, output, resume=True)
    assert read == [ONE, ONE, "killed", TWO]
    first, second = open_cubes(whole), open_cubes(output)
    for group in first.children:
        assert first[group].to_dataset().identical(
            second[group].to_dataset().assign_attrs(first[group].attrs)), group


def test_another_release_does_not_resume(release: Any, tmp_path: Path,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_annotations", killed)
        with pytest.raises(KeyboardInterrupt):
            import_chexlocalize(release.root, tmp_path / "cubes.zarr")
    release.segmentations({ONE: {"Edema": square(0, 0)}, TWO: {"Edema": square(1, 9)}},
                          "gt_segmentations_test.json")
    with pytest.raises(UsageError, match="another data"):
        import_chexlocalize(release.root, tmp_path / "cubes.zarr", resume=True)


@pytest.mark.parametrize("nested", [False, True], ids=["plain", "nested in a storage"])
def test_a_hostile_heatmap_stops_the_import_unrun(release: Any, tmp_path: Path,
                                                  nested: bool) -> None:
    import io

    import torch

    sentinel = tmp_path / "the payload ran"

    class Payload:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(sentinel),)

    class Storage:
        def __reduce__(self) -> Any:
            buffer = io.BytesIO()
            torch.save(Payload(), buffer)
            return torch.storage._load_from_bytes, (buffer.getvalue(),)

    path = release.root / "gradcam_maps_test" / f"{TWO}_Edema_map.pkl"
    path.write_bytes(pickle.dumps({"map": Storage() if nested else Payload(), "prob": 0.5,
                                   "task": "Edema", "cxr_dims": (30, 20)}))
    with pytest.raises(DataError, match=r"Edema_map\.pkl tries to run .*mkdir"):
        import_chexlocalize(release.root, tmp_path / "cubes.zarr")
    assert not sentinel.exists()
    assert not (tmp_path / "cubes.zarr").exists()


def test_heatmaps_that_do_not_belong_together(release: Any, tmp_path: Path) -> None:
    import torch

    other = release.heatmap(TWO, "Cardiomegaly", SHAPE, "gradcam_maps_test",
                            map=torch.zeros(1, 1, 4, 4))
    with pytest.raises(DataError, match=r"Cardiomegaly_map\.pkl.* 4 x 4 .* 8 x 8"):
        import_chexlocalize(release.root, tmp_path / "a.zarr")
    other.unlink()
    other = release.heatmap(TWO, "Cardiomegaly", (20, 31), "gradcam_maps_test")
    with pytest.raises(DataError, match=r"20 x 31 .* 20 x 30"):
        import_chexlocalize(release.root, tmp_path / "b.zarr")
    other.unlink()
    release.heatmap(ONE, "Edema", SHAPE, "ig_maps_test", prob=0.75)
    with pytest.raises(DataError, match="different probabilities"):
        import_chexlocalize(release.root, tmp_path / "c.zarr")
    assert not list(tmp_path.glob("?.zarr"))


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        import_chexlocalize(tmp_path / "none", tmp_path / "cubes.zarr")


@pytest.mark.real_data
def test_the_released_sample(shared_data: Path, tmp_path: Path) -> None:
    sample = shared_data / "chexlocalize_sample"
    cubes = open_cubes(import_chexlocalize(sample, tmp_path / "cubes.zarr"))
    assert problems(cubes) == []
    assert (cubes["saliency/status"].values == Status.OK).all()
    assert cubes["native_height"].values.tolist() == [2320, 2022]
    assert cubes["native_width"].values.tolist() == [2828, 2021]
    image = "patient64541_study1_view1_frontal"
    for finding in cubes["finding"].values.tolist():
        path = sample / "gradcam_maps_val" / f"{image}_{finding}_map.pkl"
        expected = pickle.loads(path.read_bytes())
        at = {"image": image, "finding": finding, "model": "ensemble"}
        heatmap = cubes["saliency"].to_dataset()["heatmap"].sel(explainer="gradcam", **at)
        np.testing.assert_array_equal(heatmap.values, expected["map"][0, 0].numpy())
        prediction = cubes["prediction"].to_dataset().sel(at)
        assert float(prediction["probability"]) == np.float32(expected["prob"])
        logit = np.log(expected["prob"] / (1 - expected["prob"]))
        assert float(prediction["logit"]) == pytest.approx(logit, rel=1e-6)


def test_imported_maps_are_raw_unless_another_reading_is_stated(
        layout: Any, tmp_path: Path) -> None:
    """Whatever their name: what was done with their signs before is not known."""
    layout.segmentations({ONE: {"Edema": square(2, 3)}}, "gt_segmentations_test.json")
    layout.labels({ONE: ["Edema"]}, "test_labels.csv", "test")
    layout.heatmap(ONE, "Edema", SHAPE, "ig_maps_test", prob=0.25)
    layout.heatmap(ONE, "Edema", SHAPE, "grad_maps_test", prob=0.25)
    readings = {}
    for name, options in {"default": {}, "stated": {"reading": "positive"}}.items():
        cubes = open_cubes(import_chexlocalize(layout.root, tmp_path / f"{name}.zarr", **options))
        assert problems(cubes) == []
        readings[name] = dict(zip(cubes["saliency/explainer"].values.tolist(),
                                  cubes["saliency/explainer_reading"].values.tolist(),
                                  strict=True))
    assert readings == {"default": {"grad": "raw", "ig": "raw"},
                        "stated": {"grad": "positive", "ig": "positive"}}
    with pytest.raises(UsageError, match="reading 'signed' is not known"):
        import_chexlocalize(layout.root, tmp_path / "none.zarr", reading="signed")
