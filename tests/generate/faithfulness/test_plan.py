"""What is asked for: which images, which findings, within how many forward passes."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from saltrust.generate.faithfulness.plan import findings_within, plan_faithfulness
from saltrust.generation_settings import FaithfulnessSpec
from saltrust.study import Study

READINGS: Any = {"grad": "absolute", "ig": "positive"}
LABELS = np.random.default_rng(0).choice([1, 0, -1, -2], (400, 6), p=[0.4, 0.4, 0.1, 0.1])


def asked(of: Any = LABELS, seed: int = 0, **spec: Any) -> np.ndarray[Any, Any]:
    study = Study(grid=32, seed=seed, faithfulness=FaithfulnessSpec(
        **{"metrics": ("deletion", "insertion"), **spec}))
    images = np.arange(0, len(of), 2)
    plan = plan_faithfulness(study, READINGS, images, of.astype(np.int8))
    assert plan is not None
    assert not plan.asked[1::2].any()
    return plan.asked


def test_positive_findings_or_all() -> None:
    positive = asked(passes=0)
    np.testing.assert_array_equal(positive[::2], LABELS[::2] == 1)
    assert asked(passes=0, labels="all")[::2].all()


def test_images_are_drawn_among_those_that_have_something_to_judge() -> None:
    few = LABELS.copy()
    few[:300] = 0
    drawn = asked(few, images=20, passes=0).any(axis=1)
    assert drawn.sum() == 20
    assert not drawn[:300].any()
    assert not np.array_equal(drawn, asked(few, seed=1, images=20, passes=0).any(axis=1))


def test_findings_are_drawn_by_chance_where_not_all_fit(caplog: pytest.LogCaptureFixture) -> None:
    spec = FaithfulnessSpec(("deletion", "insertion"), passes=80)
    most = findings_within(spec, len(READINGS))
    assert most == (80 - 5 * 2 * 4 - 3) // (2 * 2 * 4) == 2
    kept = asked(passes=80)
    positive = np.zeros_like(kept)
    positive[::2] = LABELS[::2] == 1
    assert not (kept & ~positive).any()
    np.testing.assert_array_equal(kept.sum(axis=1), np.minimum(positive.sum(axis=1), most))
    assert f"{kept.sum()} of {positive.sum()}" in caplog.text
    # No finding is preferred.
    share = kept.sum(axis=0) / positive.sum(axis=0)
    assert np.ptp(share) < 0.25


def test_what_an_image_gets_does_not_change_with_those_that_are_lost() -> None:
    study = Study(grid=32, faithfulness=FaithfulnessSpec(("deletion",), passes=30))
    plans = [plan_faithfulness(study, READINGS, images, LABELS.astype(np.int8))
             for images in (np.arange(400), np.arange(7, 400))]
    assert all(plan is not None for plan in plans)
    whole, fewer = (plan for plan in plans if plan is not None)
    np.testing.assert_array_equal(whole.asked[7:], fewer.asked[7:])
    assert not fewer.asked[:7].any()
    assert whole.describe() == fewer.describe()


def test_one_finding_always_fits_and_shared_random_orders_are_counted_once() -> None:
    assert findings_within(FaithfulnessSpec(("deletion",), passes=1), 50) == 1
    both = FaithfulnessSpec(("morf", "lerf"), passes=203)
    assert findings_within(both, 1) == (203 - 5 * 4 - 3) // 8
    one = dataclasses.replace(both, metrics=("morf",))
    assert findings_within(one, 1) == (203 - 5 * 4 - 3) // 4


def test_nothing_is_asked_without_metrics() -> None:
    assert plan_faithfulness(Study(), READINGS, np.arange(3), LABELS.astype(np.int8)) is None


def test_the_budget_is_what_is_predicted() -> None:
    """As many pictures as are predicted of one image fit into `passes`."""
    import torch

    from saltrust.cache.schema import Status
    from saltrust.generate.faithfulness.curves import image_curves
    from saltrust.generate.faithfulness.perturbation import Subject
    from saltrust.generate.faithfulness.plan import FaithfulnessPlan

    for metrics in (("deletion", "insertion"), ("morf", "lerf"), ("deletion", "lerf")):
        spec = FaithfulnessSpec(metrics, squares=8, labels="all", passes=150)
        most = findings_within(spec, 3)
        plan = FaithfulnessPlan(spec, 0, (16, 16), np.ones((1, 9), dtype=bool),
                                dict.fromkeys("abc", "raw"))
        generator = np.random.default_rng(1)
        maps = generator.normal(size=(9, 3, 16, 16)).astype(np.float32)
        status = np.full((9, 3), int(Status.MISSING), np.uint8)
        status[:most] = Status.OK
        count = 0

        def predict(planes: torch.Tensor) -> torch.Tensor:
            nonlocal count
            count += len(planes)
            return planes.mean(dim=(1, 2))[:, None].expand(-1, 9)

        pixels = generator.integers(0, 255, (16, 16), dtype=np.uint8)
        image_curves(predict, Subject.of(pixels, "a", plan, torch.device("cpu")), maps, status,
                     "a", plan)
        assert 150 - 3 * len(metrics) * 4 - 1 <= count <= 150
