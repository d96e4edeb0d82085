"""Curves of one image against loops over pixels, and against Quantus and pytorch-grad-cam."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from saltrust.cache.schema import Status
from saltrust.generate.faithfulness.curves import ImageCurves, image_curves
from saltrust.generate.faithfulness.ordering import random_ranks, ranks_of
from saltrust.generate.faithfulness.perturbation import Subject
from saltrust.generate.faithfulness.plan import FaithfulnessPlan, squares_of
from saltrust.generation_settings import FaithfulnessSpec

ALL = ("deletion", "insertion", "morf", "lerf")
REFERENCE = Path(__file__).parents[2] / "reference" / "faithfulness" / "curves.json"


def plan_of(grid: int, **changes: Any) -> FaithfulnessPlan:
    spec = FaithfulnessSpec(**{"metrics": ALL, "squares": grid, "labels": "all", **changes})
    return FaithfulnessPlan(spec, 0, (grid, grid), np.ones((1, 2), dtype=bool),
                            {"a": "raw", "b": "absolute"})


def smooth(pictures: Tensor) -> Tensor:
    """Two findings that look at weighted brightness; rows of (n, y, x)."""
    n, height, width = pictures.shape
    weights = torch.linspace(-1, 1, height * width).reshape(height, width)
    total = torch.stack([(pictures * weights).mean(dim=(1, 2)) * 6,
                         (pictures ** 2 * weights.T).mean(dim=(1, 2)) * 9], dim=1)
    assert total.shape == (n, 2)
    return total.sigmoid()


def example(grid: int, seed: int = 0) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    generator = np.random.default_rng(seed)
    return (generator.integers(0, 256, (grid, grid), dtype=np.uint8),
            generator.normal(size=(2, 2, grid, grid)).astype(np.float32))


def computed(pixels: npt.NDArray[np.uint8], maps: npt.NDArray[np.float32],
             plan: FaithfulnessPlan, status: npt.NDArray[np.uint8] | None = None,
             predict: Any = smooth) -> ImageCurves:
    status = np.full(maps.shape[:2], int(Status.OK), np.uint8) if status is None else status
    subject = Subject.of(pixels, "image", plan, torch.device("cpu"))
    return image_curves(predict, subject, maps, status, "image", plan)


def test_deletion_and_insertion_by_loops_over_pixels() -> None:
    pixels, maps = example(12)
    plan = plan_of(12, metrics=("deletion", "insertion"), steps=6)
    curves = computed(pixels, maps, plan)
    gray = pixels / 255
    blurred = gaussian_filter(gray, 0.022 * 12, mode="nearest")
    for finding in range(2):
        for explainer in range(2):
            scores = maps[finding, explainer] if explainer == 0 else abs(maps[finding, explainer])
            order = np.argsort(-scores, axis=None)
            for k, fraction in enumerate(np.arange(7) / 6):
                picture, revealed = gray.copy(), blurred.copy()
                for at in order[:round(fraction * 144)]:
                    picture.flat[at] = blurred.flat[at]
                    revealed.flat[at] = gray.flat[at]
                for metric, changed in enumerate((picture, revealed)):
                    expected = smooth(torch.from_numpy(changed[None]))[0, finding]
                    got = curves.curve[finding, explainer, metric, k]
                    assert abs(float(got) - float(expected)) < 1e-6
    np.testing.assert_allclose(curves.removed[0], np.arange(7) / 6, atol=0.004)
    np.testing.assert_allclose(curves.removed[1], 1 - curves.removed[0], atol=1e-7)


@pytest.mark.parametrize(("baseline", "level"), [("black", 0), ("gray", 0.5), ("white", 1),
                                                 (51, 0.2)])
def test_removed_pixels_take_the_stated_level(baseline: str | int, level: float) -> None:
    pixels, _ = example(8)
    plan = plan_of(8, baseline=baseline)
    subject = Subject.of(pixels, "image", plan, torch.device("cpu"))
    ranks = random_ranks((8, 8), 1, 0, "image")
    picture = subject.changed("deletion", ranks, torch.tensor([40]))[0]
    assert torch.allclose(picture[ranks[0] < 40], torch.tensor(float(level)))
    assert torch.equal(picture[ranks[0] >= 40], subject.gray[ranks[0] >= 40])


def test_both_ends_are_in_whatever_the_map() -> None:
    pixels, maps = example(8)
    curves = computed(pixels, maps, plan_of(8, squares=4)).curve
    first, last = curves[..., 0], curves[..., -1]
    original = smooth(torch.from_numpy(pixels / 255).float()[None])[0].numpy()
    for metric in (0, 2, 3):
        np.testing.assert_allclose(first[:, :, metric], np.tile(original[:, None], 2), atol=1e-6)
    np.testing.assert_allclose(last[:, :, 1], np.tile(original[:, None], 2), atol=1e-6)
    np.testing.assert_array_equal(last[:, :, 0], first[:, :, 1])
    assert (last[:, :1, 2] == last[:, :, 3]).all()


def test_morf_and_lerf_remove_squares_from_either_end_and_fill_them_in_range() -> None:
    pixels, maps = example(12)
    plan = plan_of(12, squares=4)
    subject = Subject.of(pixels, "image", plan, torch.device("cpu"))
    means = torch.from_numpy(maps[0, :1]).reshape(1, 4, 3, 4, 3).mean(dim=(2, 4))
    ranks = ranks_of(means, 0, "image")
    pictures = {metric: subject.changed(metric, ranks, torch.tensor([5]))[0]
                for metric in ("morf", "lerf")}
    order = means.flatten().argsort(descending=True).tolist()
    for metric, removed in (("morf", order[:5]), ("lerf", order[-5:])):
        changed = (pictures[metric] != subject.gray).reshape(4, 3, 4, 3).any(dim=3).any(dim=1)
        assert sorted(torch.nonzero(changed.flatten()).flatten().tolist()) == sorted(removed)
        assert subject.gray.min() <= pictures[metric].min()
        assert pictures[metric].max() <= subject.gray.max()
    assert subject.removed("morf", 0.3) == 5 / 16


def test_noise_does_not_leave_the_range_of_the_image() -> None:
    pixels = np.full((12, 12), 200, np.uint8)
    pixels[0, 0] = 0
    subject = Subject.of(pixels, "image", plan_of(12, squares=4), torch.device("cpu"))
    picture = subject.changed("morf", random_ranks((4, 4), 1, 0, "image"), torch.tensor([12]))
    assert float(picture.min()) >= 0
    assert float(picture.max()) == float(subject.gray.max())
    # Noise is there all the same, below.
    assert len(picture.unique()) > 20


def test_random_orders_are_shared_and_lerf_has_those_of_morf() -> None:
    pixels, maps = example(8)
    one, other = (computed(pixels, values, plan_of(8)).random for values in (maps, -maps))
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(one[:, 2], one[:, 3])
    assert one.shape == (2, 4, 5, 6)
    alone = computed(pixels, maps, plan_of(8, metrics=("lerf",))).random
    np.testing.assert_array_equal(alone[:, 0], one[:, 3])


def test_maps_that_are_no_maps_have_no_curve_and_flat_ones_a_random_order() -> None:
    pixels, maps = example(8)
    maps[0, 1, 2, 2], maps[1, 0] = np.nan, 0.5
    maps[1, 0] += np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32) * 1e-8
    status = np.array([[Status.OK, Status.NONFINITE], [Status.FLAT, Status.MISSING]], np.uint8)
    curves = computed(pixels, maps, plan_of(8), status)
    assert np.isnan(curves.curve).all(axis=(2, 3)).tolist() == [[False, True], [False, True]]
    maps[1, 0] = 3
    again = computed(pixels, maps, plan_of(8), status)
    np.testing.assert_array_equal(curves.curve[1, 0], again.curve[1, 0])


def test_no_picture_is_predicted_twice() -> None:
    pixels, maps = example(8)
    maps[1] = maps[0]
    seen: list[bytes] = []

    def predict(pictures: Tensor) -> Tensor:
        seen.extend(picture.numpy().tobytes() for picture in pictures)
        return smooth(pictures)

    computed(pixels, maps, plan_of(8, metrics=("deletion", "insertion"), steps=4), None, predict)
    # Two maps and five random orders at three places of two curves, and two ends.
    assert len(seen) == len(set(seen)) == 7 * 3 * 2 + 2


def test_a_map_of_what_the_network_sees_beats_chance_in_every_metric_and_edges_do_not() -> None:
    """The network looks at one bright disc; its map is the disc and noise."""
    generator = np.random.default_rng(5)
    gains = []
    for number in range(10):
        gray = gaussian_filter(generator.random((24, 24)), 2)
        gray = 0.2 + 0.3 * (gray - gray.min()) / np.ptp(gray)
        y, x = generator.integers(6, 18, 2)
        disc = np.hypot(*(np.indices((24, 24)) - np.array([y, x])[:, None, None])) < 4
        pixels = (255 * (gray + 0.4 * disc)).astype(np.uint8)
        edges = np.hypot(*np.gradient(gaussian_filter(generator.random((24, 24)), 2)))
        maps = np.stack([disc + 0.3 * generator.normal(size=(24, 24)), edges])[None]

        def predict(pictures: Tensor, disc: npt.NDArray[np.bool_] = disc) -> Tensor:
            inside = torch.from_numpy(disc)
            contrast = pictures[:, inside].mean(dim=1) - pictures[:, ~inside].mean(dim=1)
            return (20 * (contrast - 0.2)).sigmoid()[:, None]

        plan = dataclasses.replace(plan_of(24, squares=12, baseline=77),
                                   seed=number, readings={"a": "raw", "b": "raw"})
        curves = computed(pixels, maps.astype(np.float32), plan, predict=predict)
        areas = [np.trapezoid(values, plan.fractions) for values in (
            curves.curve[0, 0], curves.curve[0, 1], curves.random[0].mean(axis=1))]
        # Deletion and morf are to fall early, insertion to rise early, lerf to stay.
        better = np.array([-1, 1, -1, 1])
        gains.append([better * (areas[0] - areas[2]), better * (areas[1] - areas[2])])
    mask, edge = np.moveaxis(np.array(gains), 1, 0)
    # A sign test: ten of ten have p = .002, eight .11.
    assert (mask > 0).all(axis=0).all()
    assert ((edge > 0).sum(axis=0) <= 8).all()


@pytest.mark.parametrize(("wanted", "size", "expected"), [
    (32, (320, 320), (32, 32)), (10, (64, 32), (16, 8)), (16, (17, 17), (17, 17)),
    (5, (24, 24), (6, 6))])
def test_squares_are_equal(wanted: int, size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert squares_of(wanted, size) == expected


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(REFERENCE.read_text(encoding="utf-8"))
    return content


def test_imputed_images_are_those_of_quantus_and_pytorch_grad_cam(reference: dict[str, Any]
                                                                  ) -> None:
    pixels = np.array(reference["pixels"], np.uint8)
    grid = len(pixels)
    subject = dataclasses.replace(
        Subject.of(pixels, "image", plan_of(grid), torch.device("cpu")),
        noise=torch.zeros(grid, grid))
    ranks = ranks_of(torch.tensor([reference["map"]]), 0, "image")
    for metric, by_peer in reference["imputed"].items():
        for peer, by_count in by_peer.items():
            for count, expected in by_count.items():
                picture = subject.changed(metric, ranks, torch.tensor([int(count)]))[0]
                np.testing.assert_allclose(picture.numpy(), expected, atol=1e-4,
                                           err_msg=f"{metric} {peer} {count}")


def test_curves_are_those_of_quantus_and_of_rise(reference: dict[str, Any]) -> None:
    pixels = np.array(reference["pixels"], np.uint8)
    weights = torch.tensor(reference["weights"])

    def predict(pictures: Tensor) -> Tensor:
        return (pictures.flatten(1) @ weights.T).sigmoid()

    maps = np.tile(np.array(reference["map"], np.float32), (2, 1, 1, 1))
    for name, baseline in (("deletion", "black"), ("insertion", "black")):
        plan = dataclasses.replace(
            plan_of(len(pixels), metrics=(name,), baseline=baseline, steps=reference["steps"]),
            readings={"a": "raw"})
        curve = computed(pixels, maps, plan, predict=predict).curve[:, 0, 0]
        for peer, expected in reference["curves"][name].items():
            # Quantus leaves out the end at which nothing is removed.
            np.testing.assert_allclose(curve[:, -len(expected[0]):], expected, atol=1e-4,
                                       err_msg=f"{name} {peer}")
