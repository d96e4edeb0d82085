"""Every finding of the phantom has the shape, the place and the look of the real one."""

from __future__ import annotations

import functools
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from saltrust.datasets.phantom.anatomy import Anatomy
from saltrust.datasets.phantom.fields import smooth_noise, smooth_step
from saltrust.datasets.phantom.findings import DRAWERS
from saltrust.datasets.phantom.opacities import Drawing
from saltrust.datasets.phantom.scene import Scene, render

EIGHT = np.ones((3, 3))
SIZE, N = 128, 40


def shape(mask: npt.NDArray[np.bool_]) -> tuple[int, float, float, float]:
    """Instances, area ratio, elongation, irrectangularity of the largest one, by OpenCV."""
    parts, n = ndimage.label(mask, EIGHT)
    largest = 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    rows, columns = np.nonzero(parts == largest)
    corners = np.concatenate([np.column_stack([columns + dx, rows + dy])
                              for dx in (0, 1) for dy in (0, 1)])
    _, sides, _ = cv2.minAreaRect(corners.astype(np.float32))
    return n, mask.mean(), max(sides) / min(sides), 1 - len(rows) / (sides[0] * sides[1])


@functools.cache
def scenes(finding: str) -> tuple[Scene, ...]:
    return tuple(render([finding], size=SIZE, seed=21, patient=patient,
                        view=("frontal PA", "frontal AP")[patient % 2]) for patient in range(N))


@functools.cache
def shapes(finding: str) -> dict[str, npt.NDArray[np.float64]]:
    table = np.array([shape(scene.masks[finding]) for scene in scenes(finding)])
    return dict(zip(("n", "area", "elongation", "irrectangularity"), table.T, strict=True))


def sides_affected(scene: Scene, finding: str) -> set[int]:
    X, _ = scene.anatomy.points
    return {int(side) for side in np.unique(np.sign(X[scene.masks[finding]]))}


def test_effusions_lie_low_and_often_on_both_sides() -> None:
    films = scenes("Pleural Effusion")
    both = [sides_affected(scene, "Pleural Effusion") == {-1, 1} for scene in films]
    assert 0.25 < np.mean(both) < 0.75
    for scene in films:
        rows, _ = np.nonzero(scene.masks["Pleural Effusion"])
        assert rows.mean() / SIZE > 0.5
    assert np.all(shapes("Pleural Effusion")["n"] >= both)
    # A V between chest wall and diaphragm fills little more than half of its rectangle.
    assert shapes("Pleural Effusion")["irrectangularity"].mean() > 0.4


def test_effusions_taper_upwards_along_the_chest_wall() -> None:
    for scene in scenes("Pleural Effusion"):
        mask, anatomy = scene.masks["Pleural Effusion"], scene.anatomy
        rows = np.nonzero(mask.any(axis=1))[0]
        top = mask & (np.arange(SIZE)[:, None] < rows[0] + 3)
        assert anatomy.wall_level[top].mean() < anatomy.wall_level[mask].max() + 1e-9
        assert anatomy.wall_level[top].mean() < 0.06


def test_a_pneumothorax_is_a_rim_on_one_side_unlike_a_heart() -> None:
    rims, hearts = shapes("Pneumothorax"), shapes("Cardiomegaly")
    assert np.median(rims["elongation"]) > 2 * np.median(hearts["elongation"])
    assert np.median(rims["irrectangularity"]) > np.median(hearts["irrectangularity"]) + 0.2
    for scene in scenes("Pneumothorax"):
        assert len(sides_affected(scene, "Pneumothorax")) == 1
        at_wall = scene.anatomy.wall_level[scene.masks["Pneumothorax"]]
        assert np.median(at_wall) < 0.09


def test_hearts_are_one_compact_piece_on_the_left_of_the_midline() -> None:
    hearts = shapes("Cardiomegaly")
    assert np.all(hearts["n"] == 1)
    assert hearts["elongation"].max() < 2.2
    for scene in scenes("Cardiomegaly"):
        X, _ = scene.anatomy.points
        assert X[scene.masks["Cardiomegaly"]].mean() > 0


def test_cardiomegaly_takes_half_of_the_thorax_and_a_normal_heart_does_not() -> None:
    def ratio(scene: Scene) -> float:
        magnified = scene.anatomy.heart_width / (2 * scene.anatomy.body.half_width)
        return float(magnified / scene.anatomy.pose.heart_magnification)

    assert min(ratio(scene) for scene in scenes("Cardiomegaly")) > 0.46
    assert np.mean([ratio(scene) for scene in scenes("Cardiomegaly")]) > 0.52
    assert max(ratio(scene) for scene in scenes("Pneumothorax")) < 0.46


def test_lesions_are_small_round_and_many() -> None:
    lesions = shapes("Lung Lesion")
    assert 1.6 < lesions["n"].mean() < 4
    assert lesions["n"].max() >= 4
    assert lesions["n"].min() == 1
    assert lesions["area"].mean() < 0.012
    assert np.median(lesions["elongation"]) < 1.5


def test_devices_are_the_longest_and_least_rectangular() -> None:
    devices, hearts = shapes("Support Devices"), shapes("Cardiomegaly")
    assert devices["elongation"].mean() > 2 * hearts["elongation"].mean()
    assert devices["elongation"].max() > 8
    assert devices["irrectangularity"].mean() > hearts["irrectangularity"].mean() + 0.25


def test_edema_is_mostly_on_both_sides() -> None:
    both = [sides_affected(scene, "Edema") == {-1, 1} for scene in scenes("Edema")]
    assert 0.6 < np.mean(both) < 1
    assert shapes("Edema")["area"].mean() > 2 * shapes("Consolidation")["area"].mean()


def test_plates_of_atelectasis_lie_across_the_lung() -> None:
    plates = shapes("Atelectasis")
    assert np.median(plates["elongation"]) > 2
    assert plates["n"].max() >= 2
    for scene in scenes("Atelectasis"):
        assert scene.anatomy.lung_level[scene.masks["Atelectasis"]].min() > 0


def test_a_wide_mediastinum_holds_the_heart_and_reaches_the_arch() -> None:
    for scene in scenes("Enlarged Cardiomediastinum"):
        mask = scene.masks["Enlarged Cardiomediastinum"]
        assert not (scene.anatomy.cardiac_silhouette() & ~mask).any()
        tall = np.nonzero(mask.any(axis=1))[0]
        heart = np.nonzero(scene.anatomy.cardiac_silhouette().any(axis=1))[0]
        assert tall[0] < heart[0]


@pytest.mark.parametrize("finding", ["Airspace Opacity", "Atelectasis", "Consolidation", "Edema",
                                     "Lung Lesion", "Pleural Effusion", "Support Devices"])
def test_a_finding_is_seen_where_its_mask_is_and_nowhere_else(finding: str) -> None:
    """Against the same image without it: brighter inside, the same far outside."""
    brighter, elsewhere = [], []
    for scene, patient in zip(scenes(finding), range(N), strict=True):
        without = render(size=SIZE, seed=21, patient=patient,
                         view=("frontal PA", "frontal AP")[patient % 2])
        change = scene.pixels.astype(float) - without.pixels
        mask = scene.masks[finding]
        far = ~ndimage.binary_dilation(mask, EIGHT, iterations=8)
        # The exposure is set on the whole image, so that a finding shifts all of it a little.
        brighter.append((change[mask] - np.median(change[far])).mean())
        elsewhere.append(np.abs(change[far] - np.median(change[far])).mean())
    assert np.mean(brighter) > 6
    assert np.mean(np.array(brighter) > 1) > 0.85
    assert np.mean(elsewhere) < 0.3 * np.mean(brighter)


def test_a_pneumothorax_hides_the_vessels_and_shows_a_pleural_line() -> None:
    lines = []
    for scene, patient in zip(scenes("Pneumothorax"), range(N), strict=True):
        without = render(size=SIZE, seed=21, patient=patient,
                         view=("frontal PA", "frontal AP")[patient % 2])
        change = scene.pixels.astype(float) - without.pixels
        mask = scene.masks["Pneumothorax"]
        lung = ndimage.binary_erosion(scene.anatomy.lung_level > 0.012)
        border = ndimage.binary_dilation(mask, EIGHT) & ~ndimage.binary_erosion(mask, EIGHT)
        inside = ndimage.binary_erosion(mask, EIGHT, iterations=2) & lung
        if inside.any() and (border & lung).any():
            lines.append(np.quantile(change[border & lung], 0.8) - change[inside].mean())
    assert np.mean(np.array(lines) > 0) > 0.9


@pytest.mark.parametrize("finding", ["Consolidation", "Pneumothorax", "Support Devices"])
def test_an_uncertain_finding_is_fainter(finding: str) -> None:
    def contrast(scene: Scene, without: Scene) -> float:
        change = scene.pixels.astype(float) - without.pixels
        return float(np.abs(change[scene.masks[finding]]).mean())

    strong, faint = [], []
    for patient in range(12):
        without = render(size=64, patient=patient)
        strong.append(contrast(render([finding], size=64, patient=patient), without))
        faint.append(contrast(render(faint=[finding], size=64, patient=patient), without))
    assert np.mean(faint) < 0.75 * np.mean(strong)


def test_findings_keep_their_shape_whatever_else_is_there() -> None:
    for patient in range(6):
        alone = render(["Consolidation"], size=64, patient=patient)
        among = render(["Consolidation", "Edema", "Support Devices"], size=64, patient=patient)
        assert np.array_equal(alone.masks["Consolidation"], among.masks["Consolidation"])


def test_a_finding_that_would_leave_no_pixel_is_drawn_as_one(
        monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(anatomy: Anatomy, _rng: np.random.Generator, _strength: float) -> Drawing:
        return Drawing(np.zeros((anatomy.size, anatomy.size), dtype=bool))

    monkeypatch.setitem(DRAWERS, "Lung Lesion", nothing)
    scene = render(["Lung Lesion"], size=48)
    assert scene.masks["Lung Lesion"].sum() == 1
    assert scene.anatomy.lung_level[scene.masks["Lung Lesion"]] > 0


def test_smooth_noise_has_about_unit_variance_and_one_picture_at_every_size() -> None:
    def noise(size: int) -> Any:
        return smooth_noise(np.random.default_rng(3), size, 30)

    assert noise(256).std() == pytest.approx(1, abs=0.1)
    halved = noise(256).reshape(128, 2, 128, 2).mean(axis=(1, 3))
    assert np.abs(halved - noise(128)).max() < 0.2
    assert np.array_equal(noise(64), noise(64))


def test_a_smooth_step_is_a_cubic_from_nought_to_one() -> None:
    level = np.array([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0])
    assert smooth_step(level, 1.0) == pytest.approx([0, 0, 0.15625, 0.5, 0.84375, 1, 1])
