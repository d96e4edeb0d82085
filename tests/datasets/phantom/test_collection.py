"""The phantom data set as a collection: reproducible, labelled by its masks, split by patient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saltrust.cache.collection import Annotation, Collection
from saltrust.cache.rle import decode
from saltrust.cache.schema import CHEXLOCALIZE_FINDINGS, Label
from saltrust.datasets.phantom.collection import PhantomCollection, phantom
from saltrust.datasets.phantom.scene import Scene, render
from saltrust.errors import DataError, UsageError


def images_of(data: PhantomCollection) -> list[str]:
    return [str(name) for name in data.index["image"].values]


def same_annotations(first: Mapping[Any, Annotation], second: Mapping[Any, Annotation]) -> bool:
    return dict(first) == dict(second)


def test_the_phantom_is_a_collection_with_a_reference_and_two_experts() -> None:
    data = phantom(patients=3, size=64)
    assert isinstance(data, Collection)
    assert data.has_radiographs
    assert data.index["reader"].values.tolist() == ["reference", "expert-1", "expert-2"]
    assert data.index["reader_role"].values.tolist() == ["reference", "benchmark", "benchmark"]
    assert tuple(data.index["finding"].values) == CHEXLOCALIZE_FINDINGS
    assert data.index["label"].dtype == np.int8
    assert images_of(data)[0] == "phantom-0001_study1_view1_frontal"
    assert len(set(images_of(data))) == data.index.sizes["image"]


def test_the_same_seed_gives_the_same_data_whatever_was_rendered_before() -> None:
    first, second = phantom(patients=6, size=64, seed=4), phantom(patients=6, size=64, seed=4)
    assert first.fingerprint == second.fingerprint
    assert first.index.identical(second.index)
    forwards = {name: first.radiograph(name, (64, 64)).pixels for name in images_of(first)}
    for name in reversed(images_of(second)):
        annotations = second.annotations(name)
        assert np.array_equal(second.radiograph(name, (64, 64)).pixels, forwards[name])
        assert same_annotations(annotations, first.annotations(name))


def test_more_patients_leave_the_first_ones_as_they_were() -> None:
    few, many = phantom(patients=3, size=64), phantom(patients=9, size=64)
    common = images_of(few)
    assert images_of(many)[: len(common)] == common
    assert np.array_equal(many.index["label"].values[: len(common)], few.index["label"].values)
    assert np.array_equal(many.scene(common[-1]).pixels, few.scene(common[-1]).pixels)


def test_another_seed_gives_other_patients() -> None:
    first, second = phantom(patients=30, size=64, seed=0), phantom(patients=30, size=64, seed=1)
    assert first.fingerprint != second.fingerprint
    name = images_of(first)[0]
    assert not np.array_equal(first.scene(name).pixels, second.scene(name).pixels)
    n = min(first.index.sizes["image"], second.index.sizes["image"])
    assert not np.array_equal(first.index["label"].values[:n], second.index["label"].values[:n])


@pytest.mark.parametrize("change", [
    {"patients": 4}, {"size": 65}, {"seed": 1}, {"findings": ["Edema"]},
    {"split_fractions": (0.5, 0.2, 0.3)}])
def test_every_parameter_shows_in_the_fingerprint(change: dict[str, Any]) -> None:
    assert phantom(patients=3, size=64).fingerprint != phantom(
        **({"patients": 3, "size": 64} | change)).fingerprint


@pytest.mark.parametrize("size", [32, 64])
def test_labels_are_positive_exactly_where_the_truth_has_a_mask(size: int) -> None:
    data = phantom(patients=50, size=size, seed=11)
    labels = data.index["label"]
    open_ = []
    for name in images_of(data):
        annotations = data.annotations(name)
        for finding, label in zip(CHEXLOCALIZE_FINDINGS, labels.sel(image=name).values,
                                  strict=True):
            truth = annotations[finding, "reference"]
            drawn = decode(truth.mask_rle, size, size).any()
            assert (truth.n_polygons > 0) == drawn == bool(truth.points)
            if label == Label.UNCERTAIN:
                open_.append(drawn)
            else:
                assert drawn == (label == Label.POSITIVE), (name, finding)
    # Some uncertain findings are there, faintly, and some are not.
    assert 0.15 < np.mean(open_) < 0.85


@settings(deadline=None, max_examples=40)
@given(st.sets(st.sampled_from(CHEXLOCALIZE_FINDINGS)), st.sampled_from(CHEXLOCALIZE_FINDINGS),
       st.sampled_from([32, 50, 64]), st.integers(0, 2**31), st.booleans())
def test_a_scene_shows_what_was_asked_for_and_what_that_implies(
        findings: set[str], faint: str, size: int, seed: int, portable: bool) -> None:
    scene = render(findings, faint=[faint], size=size, seed=seed,
                   view="frontal AP" if portable else "frontal PA")
    asked = findings | {faint}
    expected = set(asked)
    if asked & {"Atelectasis", "Consolidation", "Edema", "Lung Lesion"}:
        expected.add("Airspace Opacity")
    if "Cardiomegaly" in asked:
        expected.add("Enlarged Cardiomediastinum")
    assert {name for name, mask in scene.masks.items() if mask.any()} == expected
    assert scene.pixels.shape == (size, size)
    assert scene.pixels.std() > 10
    for name in asked & {"Atelectasis", "Consolidation", "Edema", "Lung Lesion"}:
        assert not (scene.masks[name] & ~scene.masks["Airspace Opacity"]).any()
    if "Cardiomegaly" in asked:
        heart = scene.masks["Cardiomegaly"]
        assert not (heart & ~scene.masks["Enlarged Cardiomediastinum"]).any()


def test_one_patient_is_never_in_two_splits_and_the_fractions_hold() -> None:
    data = phantom(patients=400, split_fractions=(0.6, 0.15, 0.25))
    patient, split = data.index["patient"].values, data.index["split"].values
    of_patient = {name: set(split[patient == name]) for name in np.unique(patient)}
    assert len(of_patient) == 400
    assert all(len(parts) == 1 for parts in of_patient.values())
    counts = {part: sum(parts == {part} for parts in of_patient.values())
              for part in ("train", "val", "test")}
    assert counts["train"] / 400 == pytest.approx(0.6, abs=0.02)
    assert counts["val"] / 400 == pytest.approx(0.15, abs=0.02)
    assert counts["test"] / 400 == pytest.approx(0.25, abs=0.02)


def test_patients_have_images_views_and_findings_as_patients_do() -> None:
    data = phantom(patients=1500, seed=2)
    index, labels = data.index, data.index["label"].values
    images_per_patient = np.unique(index["patient"].values, return_counts=True)[1]
    assert images_per_patient.min() == 1
    assert 0.15 < (images_per_patient > 1).mean() < 0.5
    assert 0.3 < (index["view"].values == "frontal AP").mean() < 0.7
    rates = (labels == 1).mean(axis=0)
    assert np.all((rates > 0.17) & (rates < 0.52)), dict(
        zip(CHEXLOCALIZE_FINDINGS, rates.round(2), strict=True))
    assert 0.03 < (labels == -1).mean() < 0.10
    assert 0.08 < ((labels != 1).all(axis=1)).mean() < 0.3
    assert 1.5 < (labels == 1).sum(axis=1).mean() < 4
    # Congested hearts are large, and fluid comes with them.
    positive = index["label"] == 1

    def share(finding: str, given: str) -> float:
        has_given = positive.sel(finding=given)
        return float(positive.sel(finding=finding)[has_given].mean()
                     - positive.sel(finding=finding)[~has_given].mean())

    assert share("Cardiomegaly", "Edema") > 0.15
    assert share("Pleural Effusion", "Edema") > 0.05
    assert share("Support Devices", "Pneumothorax") > 0.0


def test_umbrella_labels_follow_what_they_hold() -> None:
    label = phantom(patients=500, seed=3).index["label"]
    held = label.sel(finding=["Atelectasis", "Consolidation", "Edema", "Lung Lesion"])
    umbrella = label.sel(finding="Airspace Opacity").values
    assert (umbrella[(held == 1).any("finding").values] == 1).all()
    assert (held.values[umbrella == 0] == 0).all()
    wide = label.sel(finding="Enlarged Cardiomediastinum").values
    heart = label.sel(finding="Cardiomegaly").values
    assert (wide[heart == 1] == 1).all()
    assert (heart[wide == 0] == 0).all()


def test_images_of_one_study_show_the_same_findings() -> None:
    data = phantom(patients=200, seed=5)
    index = data.index
    studies, counts = np.unique(index["study"].values, return_counts=True)
    assert (counts == 2).sum() > 10
    for study in studies[counts == 2]:
        first, second = index["label"].values[index["study"].values == study]
        assert np.array_equal(first, second)


def test_findings_are_listed_in_the_order_asked_and_change_no_image() -> None:
    everything = phantom(patients=4, size=64)
    some = phantom(patients=4, size=64, findings=["Pneumothorax", "Edema"])
    assert some.index["finding"].values.tolist() == ["Pneumothorax", "Edema"]
    assert np.array_equal(some.index["label"].values,
                          everything.index["label"].sel(finding=["Pneumothorax", "Edema"]).values)
    assert np.array_equal(some.index["split"].values, everything.index["split"].values)
    name = images_of(some)[2]
    assert np.array_equal(some.scene(name).pixels, everything.scene(name).pixels)
    whole = everything.annotations(name)
    assert same_annotations(some.annotations(name), {
        key: value for key, value in whole.items() if key[0] in ("Pneumothorax", "Edema")})


def test_no_findings_means_all_of_them() -> None:
    assert phantom(patients=2, findings=()).index.sizes["finding"] == 10


@pytest.mark.parametrize("size", [64, 128, 256])
def test_a_scene_is_the_same_picture_at_every_size(size: int) -> None:
    coarse = render(["Cardiomegaly", "Pleural Effusion"], size=size, seed=8, patient=3)
    fine = render(["Cardiomegaly", "Pleural Effusion"], size=512, seed=8, patient=3)
    factor = 512 // size

    def shrink(image: Any) -> Any:
        blocks = np.asarray(image, float).reshape(size, factor, size, factor)
        return blocks.mean(axis=(1, 3))

    for name in ("Cardiomegaly", "Pleural Effusion"):
        truth, expected = coarse.masks[name], shrink(fine.masks[name]) > 0.5
        assert (truth & expected).sum() / (truth | expected).sum() > 0.88, name
    assert np.corrcoef(coarse.pixels.ravel(), shrink(fine.pixels).ravel())[0, 1] > 0.95


def test_radiographs_are_resampled_to_the_grid_and_state_their_native_size() -> None:
    data = phantom(patients=1, size=128)
    name = images_of(data)[0]
    native = data.radiograph(name, (128, 128))
    assert (native.native_height, native.native_width) == (128, 128)
    small = data.radiograph(name, (32, 64))
    assert small.pixels.shape == (32, 64)
    assert small.pixels.dtype == np.uint8
    assert (small.native_height, small.native_width) == (128, 128)
    # Every pixel of the small image speaks for all it covers.
    blocks = native.pixels.reshape(32, 4, 64, 2).mean(axis=(1, 3))
    assert np.abs(small.pixels[1:-1, 1:-1] - blocks[1:-1, 1:-1]).mean() < 3
    assert data.index["native_height"].values.tolist() == [128] * data.index.sizes["image"]


def test_a_radiograph_handed_out_cannot_change_the_next_one() -> None:
    data = phantom(patients=1, size=64)
    name = images_of(data)[0]
    first = data.radiograph(name, (64, 64)).pixels
    before = first.copy()
    first[:] = 0
    assert np.array_equal(data.radiograph(name, (64, 64)).pixels, before)


def test_the_two_views_differ_as_projections_do() -> None:
    def mean_heart(view: str) -> float:
        widths = []
        for patient in range(30):
            anatomy = render(view=view, size=48, patient=patient).anatomy
            widths.append(anatomy.heart_width / (2 * anatomy.body.half_width))
        return float(np.mean(widths))

    assert 1.05 < mean_heart("frontal AP") / mean_heart("frontal PA") < 1.15

    def mean_grain(view: str) -> float:
        below = [render(view=view, size=64, patient=patient).pixels[-12:, 16:48].astype(float)
                 for patient in range(30)]
        return float(np.mean([np.abs(np.diff(pixels, 2)).mean() / pixels.mean()
                              for pixels in below]))

    assert mean_grain("frontal AP") > 1.15 * mean_grain("frontal PA")


def test_the_description_is_plain_and_says_what_was_built_in() -> None:
    import json

    description = phantom(patients=3, seed=9).description
    assert json.loads(json.dumps(description)) == description
    assert description["kind"] == "phantom"
    assert description["seed"] == 9
    assert description["built_in_effects"]["iou"]["area_ratio"] == 1


@pytest.mark.parametrize(("arguments", "complaint"), [
    ({"patients": 0}, "at least 1 patient"),
    ({"size": 16}, "at least 32"),
    ({"seed": -1}, "negative"),
    ({"findings": ["Oedema"]}, "did you mean 'Edema'"),
    ({"findings": ["Edema", "Edema"]}, "twice"),
    ({"split_fractions": (0.5, 0.5)}, "three shares"),
    ({"split_fractions": (0.5, 0.2, 0.2)}, "add up"),
    ({"split_fractions": (1.2, -0.1, -0.1)}, "three shares"),
    ({"split_fractions": (float("nan"), 0.5, 0.5)}, "three shares"),
])
def test_bad_arguments_are_named(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        phantom(**arguments)


def test_bad_scenes_are_named() -> None:
    with pytest.raises(UsageError, match="did you mean 'frontal PA'"):
        render(view="frontal pa")
    with pytest.raises(UsageError, match="did you mean 'Edema'"):
        render(["Oedema"])
    with pytest.raises(UsageError, match="at least 32"):
        render(size=8)


def test_an_image_that_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match="phantom-9999"):
        phantom(patients=2).radiograph("phantom-9999_study1_view1_frontal", (64, 64))


def test_a_scene_without_findings_is_healthy() -> None:
    scene: Scene = render(size=64)
    assert not any(mask.any() for mask in scene.masks.values())
    assert set(scene.masks) == set(CHEXLOCALIZE_FINDINGS)
