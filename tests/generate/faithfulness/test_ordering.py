"""Orders of pixels: the highest first, ties at random but always the same."""

from __future__ import annotations

import numpy as np
import torch

from saltrust.generate.faithfulness.ordering import (
    means_of_squares,
    noise_of,
    random_ranks,
    ranks_of,
    read,
)


def test_the_highest_comes_first() -> None:
    scores = torch.tensor([[[0.1, 0.9], [-2.0, 0.5]]])
    assert ranks_of(scores, 0, "a").tolist() == [[[2, 0], [3, 1]]]


def test_ties_are_broken_at_random_the_same_way_for_all_maps_of_an_image() -> None:
    half = torch.zeros(2, 40, 40)
    half[0, :20] = 1
    half[1, :, :20] = 5
    ranks = ranks_of(half, 7, "image")
    assert torch.equal(ranks, ranks_of(half, 7, "image"))
    for plane, tied in zip(ranks, half == 0, strict=True):
        assert sorted(plane.flatten().tolist()) == list(range(1600))
        assert int(plane[tied].min()) == 800
        # In raster order ranks of what is tied would grow with the row.
        places = torch.nonzero(tied).double()
        for axis in (0, 1):
            assert abs(np.corrcoef(places[:, axis], plane[tied].double())[0, 1]) < 0.1
    # What is tied in both maps is in the same order.
    both = (half == 0).all(dim=0)
    assert torch.equal(ranks[0][both].argsort(), ranks[1][both].argsort())
    for other in (ranks_of(half, 8, "image"), ranks_of(half, 7, "other")):
        assert not torch.equal(other, ranks)


def test_random_orders_differ_and_do_not_depend_on_how_many_there_are() -> None:
    five, two = (random_ranks((6, 5), count, 3, "image") for count in (5, 2))
    assert torch.equal(five[:2], two)
    assert len({tuple(order.flatten().tolist()) for order in five}) == 5
    assert all(sorted(order.flatten().tolist()) == list(range(30)) for order in five)


def test_streams_of_an_image_are_of_its_own() -> None:
    first, again, other = (noise_of(1, name, (8, 8)) for name in ("a", "a", "b"))
    assert np.array_equal(first, again)
    assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.5


def test_absolute_maps_are_read_so_and_evidence_keeps_its_sign() -> None:
    maps = np.array([[[[-3.0, 1.0]], [[-3.0, 1.0]]]], dtype=np.float32)
    assert read(maps, ["absolute", "raw"]).tolist() == [[[[3.0, 1.0]], [[-3.0, 1.0]]]]


def test_squares_have_the_mean_of_their_pixels() -> None:
    planes = torch.arange(24.0).reshape(1, 4, 6)
    expected = planes.numpy().reshape(2, 2, 3, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(means_of_squares(planes, (2, 3))[0], expected)
