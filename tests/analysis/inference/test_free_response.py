"""Figures of merit of marks: by hand, by brute force, and as areas under curves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from saltrust.analysis.inference.auc import roc_auc
from saltrust.analysis.inference.free_response import (
    CURVES,
    FIGURES,
    UNMARKED,
    Figure,
    FreeResponse,
    figure_of_merit,
    left_out_figures,
    operating_points,
)
from saltrust.errors import DataError

NO = UNMARKED


def study(normal: list[list[float]], lesions: list[tuple[list[float], list[float]]]
          ) -> FreeResponse:
    """False marks of normal images; ratings of lesions and false marks of the others."""
    false = [*normal, *(marks for _, marks in lesions)]
    return FreeResponse(
        np.array([max(marks, default=NO) for marks in false]),
        np.array([True] * len(normal) + [False] * len(lesions)),
        np.array([rating for of_image, _ in lesions for rating in of_image], dtype=np.float64),
        np.array([len(normal) + k for k, (of_image, _) in enumerate(lesions) for _ in of_image],
                 dtype=np.int64),
        np.array([mark for marks in false for mark in marks], dtype=np.float64))


#: Ten cases, each with wAFROC, wAFROC1 and AFROC as worked out by hand.
BY_HAND: list[tuple[str, FreeResponse, tuple[float, float, float]]] = [
    ("every lesion above every false mark", study([[1.0], [2.0]], [([3.0], []), ([4.0], [1.0])]),
     (1, 1, 1)),
    ("every lesion below", study([[5.0]], [([3.0], [6.0])]), (0, 0, 0)),
    ("nothing is marked", study([[], []], [([NO, NO], [])]), (0.5, 0.5, 0.5)),
    ("unmarked lesion against a marked normal image", study([[1.0]], [([NO], [])]),
     (0, (0 + 0.5) / 2, 0)),
    ("marked lesion against an unmarked normal image", study([[]], [([1.0], [])]), (1, 1, 1)),
    ("a tie is one half", study([[2.0], [1.0]], [([2.0], [])]),
     ((0.5 + 1) / 2, (0.5 + 1 + 1) / 3, (0.5 + 1) / 2)),
    # Weights: image one has two lesions of 1/2, image two one lesion of 1.
    ("lesions of an image share its weight", study([[2.0]], [([3.0, 1.0], []), ([1.0], [])]),
     ((0.5 * 1 + 0.5 * 0 + 0) / 2, (0.5 + (0.5 + 0.5) + 1 + (0.5 + 0.5) + 1) / 6, 1 / 3)),
    ("only the highest false mark counts", study([[1.0, 4.0, 2.0], [0.5]], [([3.0], [])]),
     (0.5, 2 / 3, 0.5)),
    ("a false mark on an image with a lesion", study([[1.0]], [([2.0], [5.0])]), (1, 0.5, 1)),
    # 4 normal images with 3, -, 1, 2; lesions 2 and none in one image, 3 in another.
    ("all of it together", study([[3.0], [], [1.0], [2.0]], [([2.0, NO], [2.5]), ([3.0], [])]),
     ((0.5 * (0 + 1 + 1 + 0.5) + 0.5 * (0 + 0.5 + 0 + 0) + (0.5 + 1 + 1 + 1)) / 8,
      (0.5 * (0 + 1 + 1 + 0.5 + 0 + 1) + 0.5 * (0.5 + 0.5) + (0.5 + 1 + 1 + 1 + 1 + 1)) / 12,
      ((0 + 1 + 1 + 0.5) + 0.5 + 3.5) / 12)),
]


@pytest.mark.parametrize(("data", "expected"), [case[1:] for case in BY_HAND],
                         ids=[case[0] for case in BY_HAND])
def test_ten_cases_by_hand(data: FreeResponse, expected: tuple[float, float, float]) -> None:
    assert [figure_of_merit(data, figure) for figure in FIGURES] == pytest.approx(expected,
                                                                                  abs=1e-12)


def by_brute_force(data: FreeResponse, figure: Figure, images: np.ndarray | None = None) -> float:
    """The definition, comparison by comparison, of all images or of some."""
    kept = np.arange(len(data.normal)) if images is None else np.flatnonzero(images)
    false = [k for k in kept if data.normal[k] or figure == "wafroc1"]
    won = total = 0.0
    for i in false:
        for rating, image in zip(data.lesion_rating, data.lesion_image, strict=True):
            if image not in kept:
                continue
            weight = 1.0 if figure == "afroc" else 1 / np.sum(data.lesion_image == image)
            x = data.false_rating[i]
            won += weight * (1.0 if rating > x else 0.5 if rating == x else 0.0)
            total += weight
    return won / total if total else float("nan")


def drawn(seed: int) -> tuple[FreeResponse, np.ndarray]:
    """Ratings with many ties and many images without marks, and the patients of the images."""
    generator = np.random.default_rng(seed)

    def marks(most: int) -> list[float]:
        return generator.integers(0, 4, generator.integers(0, most)).astype(float).tolist()

    def ratings() -> list[float]:
        return [float(generator.choice([NO, 1, 2, 3])) for _ in range(generator.integers(1, 4))]

    data = study([marks(4) for _ in range(9)], [(ratings(), marks(3)) for _ in range(7)])
    return data, generator.integers(0, 6, 16)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("figure", FIGURES)
def test_figures_and_what_a_patient_changes_by_brute_force(seed: int, figure: Figure) -> None:
    data, patients = drawn(seed)
    assert figure_of_merit(data, figure) == pytest.approx(by_brute_force(data, figure), abs=1e-12)
    left_out = left_out_figures(data, patients, 7, figure)
    expected = [by_brute_force(data, figure, patients != patient) for patient in range(7)]
    np.testing.assert_allclose(left_out, expected, atol=1e-12)
    # Nobody is the last number.
    assert left_out[6] == pytest.approx(figure_of_merit(data, figure))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("curve", ["afroc", "wafroc", "wafroc1"])
def test_a_figure_of_merit_is_the_area_under_its_curve(seed: int, curve: Any) -> None:
    data, _ = drawn(seed)
    thresholds, across, up = operating_points(data, curve)
    assert np.trapezoid(up, across) == pytest.approx(figure_of_merit(data, curve), abs=1e-12)
    assert (across[0], up[0], across[-1], up[-1]) == (0, 0, 1, 1)
    assert thresholds[0] == np.inf
    assert (np.diff(thresholds[1:-1]) < 0).all()


def test_one_lesion_an_image_and_no_false_marks_beside_it_is_an_roc_curve() -> None:
    generator = np.random.default_rng(4)
    false, lesions = generator.integers(0, 6, 30).astype(float), generator.integers(
        1, 8, 20).astype(float)
    data = study([[x] for x in false], [([y], []) for y in lesions])
    auc = roc_auc([0] * 30 + [1] * 20, [*false, *lesions])
    assert figure_of_merit(data, "wafroc") == pytest.approx(auc, abs=1e-12)
    assert figure_of_merit(data, "afroc") == pytest.approx(auc, abs=1e-12)


def test_froc_counts_all_false_marks_of_all_images() -> None:
    data = study([[1.0, 2.0], []], [([3.0, NO], [2.0]), ([1.0], [])])
    thresholds, across, up = operating_points(data, "froc")
    assert thresholds.tolist() == [np.inf, 3, 2, 1]
    np.testing.assert_allclose(across, [0, 0, 2 / 4, 3 / 4])
    np.testing.assert_allclose(up, [0, 1 / 3, 1 / 3, 2 / 3])


def test_any_increasing_transformation_of_the_ratings_changes_nothing() -> None:
    data, _ = drawn(1)
    moved = replace(data, false_rating=np.exp(data.false_rating), lesion_rating=np.exp(
        data.lesion_rating), false_marks=np.exp(data.false_marks))
    for figure in FIGURES:
        assert figure_of_merit(moved, figure) == figure_of_merit(data, figure)
    assert set(CURVES) == {"froc", *FIGURES}


def test_data_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(DataError, match="needs a lesion"):
        FreeResponse(np.zeros(2), np.array([True, False]), np.zeros(0), np.zeros(0, dtype=int),
                     np.zeros(0))
    with pytest.raises(DataError, match="minus infinity"):
        study([[float("nan")]], [([1.0], [])])
    with pytest.raises(DataError, match="add up to 1"):
        FreeResponse(np.zeros(1), np.array([False]), np.zeros(1), np.zeros(1, dtype=int),
                     np.zeros(0), np.array([0.4]))
    assert np.isnan(figure_of_merit(study([[1.0]], []), "wafroc"))
