"""Marks of maps: scikit-image's where no values tie, one for each plateau, components."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.feature import peak_local_max

from saltrust.analysis.pixels.marks import components, peaks
from saltrust.errors import UsageError


@pytest.mark.parametrize("seed", range(6))
def test_without_ties_peaks_are_those_of_scikit_image(seed: int) -> None:
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(17 + seed, 23))
    for distance in (1, 2, 5, 40):
        made = peaks(values, distance)
        theirs = peak_local_max(values, min_distance=distance, exclude_border=False)
        assert (set(zip(made.rows.tolist(), made.columns.tolist(), strict=True))
                == set(map(tuple, theirs.tolist())))
        assert (np.diff(made.ratings) <= 0).all()


def test_a_plateau_is_marked_once_and_only_if_nothing_beside_it_is_higher() -> None:
    values = np.zeros((7, 12))
    values[1:4, 1:4] = 2.0  # A plateau of its own.
    values[5, 5:9] = 1.0
    values[5, 9] = 3.0  # The plateau before it leads up to this peak.
    made = peaks(values, 1)
    assert list(zip(made.rows, made.columns, made.ratings, strict=True)) == [
        (5, 9, 3.0), (2, 2, 2.0)]


def test_a_ring_is_marked_on_itself_and_equal_peaks_keep_their_distance() -> None:
    ring = np.zeros((9, 9))
    ring[2:7, 2:7] = 1.0
    ring[4, 4] = 0.0
    made = peaks(ring, 1)
    assert len(made.rows) == 1
    assert ring[made.rows[0], made.columns[0]] == 1.0
    twins = np.zeros((1, 9))
    twins[0, [1, 4, 8]] = 5.0
    assert peaks(twins, 3).columns.tolist() == [1, 8]
    assert peaks(twins, 2).columns.tolist() == [1, 4, 8]


def test_a_flat_map_and_its_floor_have_no_peak() -> None:
    assert len(peaks(np.full((4, 4), 7.0)).rows) == 0
    floor = np.zeros((9, 9))
    floor[4, 4] = 1.0
    assert peaks(floor, 1).ratings.tolist() == [1.0]
    with pytest.raises(UsageError, match="at least 1"):
        peaks(floor, 0)


def test_components_are_marked_at_their_highest_pixel() -> None:
    values = np.array([[5.0, 1.0, 0.0, 0.0, 2.0],
                       [0.0, 6.0, 0.0, 0.0, 2.0],
                       [0.0, 0.0, 0.0, 0.0, 0.0]])
    made = components(values, 0.0)
    assert list(zip(made.rows, made.columns, made.ratings, strict=True)) == [
        (1, 1, 6.0), (0, 4, 2.0)]
    # Strictly above half of the range.
    assert components(values, 0.5).ratings.tolist() == [6.0]
    assert components(values - 10.0, 0.5).ratings.tolist() == [-4.0]
    assert len(components(values).rows) >= 1
    assert made.first(1).ratings.tolist() == [6.0]
