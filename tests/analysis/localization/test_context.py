"""What makes the numbers mean something: baselines, readers, paired differences, shared cases."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

from saltrust.analysis.inference.bootstrap import mean_interval
from saltrust.analysis.localization.analysis import localization
from saltrust.analysis.localization.contrasts import equivalences, map_differences
from saltrust.analysis.localization.decreases import decrease, on_shared_positives
from saltrust.analysis.localization.hit_baselines import AVERAGE_MASK, CENTER
from saltrust.analysis.localization.summary import AVERAGE, summarize
from saltrust.analysis.options import Resampling, Scoring
from saltrust.errors import DataError, UsageError

Mask = npt.NDArray[np.bool_]
BuildCubes = Callable[..., xr.DataTree]
SIZE = (64, 64)
READERS = {"truth": "reference", "one": "benchmark", "two": "benchmark"}
FEW = Resampling(resamples=50)


def _box(top: int, left: int, height: int, width: int) -> Mask:
    mask = np.zeros(SIZE, dtype=bool)
    mask[top:top + height, left:left + width] = True
    return mask


def _scores(values: dict[str, npt.NDArray[np.float64]], metric: str = "iou") -> pd.DataFrame:
    return pd.DataFrame([
        {"image": f"i{k}", "patient": f"p{k}", "finding": "Edema", "explainer": name,
         "model": "net", "reader": "truth", "iou": np.nan, "hit": np.nan, metric: value}
        for name, column in values.items() for k, value in enumerate(column)])


def test_paired_differences_agree_with_the_paired_t_test() -> None:
    generator = np.random.default_rng(4)
    one = generator.uniform(size=200)
    two = np.clip(one + generator.normal(0.02, 0.1, 200), 0, 1)
    row = map_differences(_scores({"grad": two, "cam": one}), resamples=4000).iloc[0]
    test = stats.ttest_rel(two, one)
    interval = test.confidence_interval()
    assert row["contrast"] == "grad - cam"
    assert row["estimate"] == pytest.approx(np.mean(two - one))
    assert (row["conf_low"], row["conf_high"]) == pytest.approx(interval, abs=0.002)
    assert row["p_value"] == pytest.approx(test.pvalue, abs=0.01)
    assert row["n"] == 200


def test_a_difference_takes_common_images_and_is_adjusted() -> None:
    values = {"a": np.array([0.1, 0.2, np.nan]), "b": np.array([0.3, np.nan, 0.5]),
              "c": np.array([0.2, 0.3, 0.4])}
    differences = map_differences(_scores(values), resamples=200)
    overlap = differences[differences["metric"] == "iou"].set_index("contrast")
    assert overlap.loc["a - b", "n"] == 1
    assert "no interval" in overlap.loc["a - b", "note"]
    assert overlap.loc["a - c", "estimate"] == pytest.approx(-0.1)
    assert (overlap["family"] == "iou, Edema (3 tests)").all()
    hits = differences[differences["metric"] == "hit"]
    assert (hits["note"] == "no image that both have").all()


def test_null_differences_are_seldom_significant() -> None:
    generator = np.random.default_rng(0)
    p_values = [map_differences(_scores({"a": generator.uniform(size=40),
                                         "b": generator.uniform(size=40)}),
                                resamples=200, seed=k).iloc[0]["p_value"] for k in range(100)]
    assert np.mean(np.array(p_values) < 0.05) < 0.14
    assert min(p_values) >= 2 / 201


def test_effect_sizes_are_cohens_d_of_the_differences() -> None:
    generator = np.random.default_rng(9)
    one, two = generator.uniform(size=150), generator.uniform(size=150)
    row = map_differences(_scores({"a": one, "b": two}), resamples=2000).iloc[0]
    d = np.mean(one - two) / np.std(one - two, ddof=1)
    assert row["effect_size"] == pytest.approx(d)
    # Large-sample error of d of paired differences.
    error = np.sqrt(1 / 150 + d**2 / 300)
    assert (row["effect_low"], row["effect_high"]) == pytest.approx(
        (d - 1.96 * error, d + 1.96 * error), abs=0.03)
    equal = map_differences(_scores({"a": one, "b": one - 0.25}), resamples=50).iloc[0]
    assert math.isnan(equal["effect_size"])


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "yes"), (0.045, "no"), (0.2, "no")])
def test_equivalence_is_two_one_sided_tests(shift: float, verdict: str) -> None:
    generator = np.random.default_rng(2)
    one = generator.uniform(0.3, 0.6, 200)
    two = one + shift + generator.normal(0, 0.08, 200)
    (row,) = equivalences(_scores({"a": two, "b": one})[lambda t: t["iou"].notna()], 0.05,
                          resamples=4000).query("metric == 'iou'").to_dict("records")
    difference = two - one
    tost = max(stats.ttest_1samp(difference, -0.05, alternative="greater").pvalue,
               stats.ttest_1samp(difference, 0.05, alternative="less").pvalue)
    assert row["p_value"] == pytest.approx(tost, abs=0.02)
    assert row["equivalent"] == verdict
    interval = stats.ttest_1samp(difference, 0).confidence_interval(0.9)
    assert (row["conf_low"], row["conf_high"]) == pytest.approx(tuple(interval), abs=0.002)
    with pytest.raises(UsageError, match="margin"):
        equivalences(_scores({"a": one, "b": two}), 0.0)


def test_maps_are_compared_with_the_mean_expert_for_equivalence() -> None:
    generator = np.random.default_rng(5)
    table = _scores({"grad": generator.uniform(size=30), "expert": generator.uniform(size=30)})
    other = table[table["explainer"] == "expert"].assign(model="two", iou=0.5)
    equal = equivalences(pd.concat([table, other], ignore_index=True), 0.1, resamples=100)
    row = equal[(equal["contrast"] == "expert - grad") & (equal["metric"] == "iou")].iloc[0]
    iou = {name: table.loc[table["explainer"] == name, "iou"].to_numpy()
           for name in ("grad", "expert")}
    assert row["estimate"] == pytest.approx(np.mean((iou["expert"] + 0.5) / 2 - iou["grad"]))


@pytest.fixture(scope="module")
def study(build_cubes: BuildCubes) -> xr.DataTree:
    """Four patients; the mask of the last lies elsewhere; reader two misses image b."""
    place = {"a": _box(40, 4, 10, 10), "b": _box(40, 4, 10, 10), "c": _box(40, 4, 10, 10),
             "d": _box(28, 28, 10, 10)}
    masks: dict[tuple[str, str, str], Mask] = {}
    for image, mask in place.items():
        masks[image, "Edema", "truth"] = mask
        masks[image, "Edema", "one"] = np.roll(mask, 5, axis=1)
        masks[image, "Edema", "two"] = mask if image != "b" else np.zeros(SIZE, dtype=bool)
    points = {(image, "Edema", "one"): [(np.argwhere(mask)[0] + 0.5).tolist()]
              for image, mask in place.items()}
    return build_cubes(
        masks, readers=READERS, points=points, patients=list("pqrs"),
        heatmaps={(image, "Edema", "oracle", "net"): mask for image, mask in place.items()})


def test_baselines_hit_where_they_must(study: xr.DataTree) -> None:
    result = localization(study, resampling=Resampling(resamples=100))
    rates = result.tables["hit_baselines"].set_index("explainer")
    # The centre is in d alone; the others' average is in a, b and c and never in d.
    assert rates.loc[CENTER, "estimate"] == 0.25
    assert rates.loc[AVERAGE_MASK, "estimate"] == 0.75
    assert rates.loc[CENTER, "chance"] == pytest.approx(100 / 64**2)
    above = result.tables["hit_above_baseline"].set_index("contrast")
    assert above.loc[f"oracle - {CENTER}", "estimate"] == 0.75
    assert above.loc[f"oracle - {AVERAGE_MASK}", "estimate"] == 0.25


def test_without_other_patients_there_is_no_average_mask(build_cubes: BuildCubes) -> None:
    cubes = build_cubes({(image, "Edema", "truth"): _box(28, 28, 10, 10) for image in "ab"},
                        patients=["p", "p"],
                        heatmaps={("a", "Edema", "cam", "net"): np.eye(8)})
    rates = localization(cubes, resampling=FEW).tables["hit_baselines"].set_index("explainer")
    assert math.isnan(rates.loc[AVERAGE_MASK, "estimate"])
    assert rates.loc[AVERAGE_MASK, "note"] != ""
    assert rates.loc[CENTER, "estimate"] == 1


def test_readers_agree_as_their_masks_do(study: xr.DataTree) -> None:
    result = localization(study, resampling=Resampling(resamples=100))
    table = result.tables["agreement"].set_index(["reader_a", "reader_b", "metric"])
    # Shifted by half its width: 50 of 150 pixels are shared.
    assert table.loc[("truth", "one", "iou"), "estimate"] == pytest.approx(1 / 3)
    assert table.loc[("truth", "one", "dice"), "estimate"] == pytest.approx(0.5)
    assert table.loc[("truth", "two", "iou"), "estimate"] == pytest.approx(0.75)
    assert table.loc[("truth", "one", "hit"), "estimate"] == 1
    assert "Wilson" in table.loc[("truth", "one", "hit"), "note"]
    # The point of one lies outside its own shifted mask, inside the mask of two where that is.
    assert table.loc[("one", "two", "hit"), "estimate"] == 1
    assert table.loc[("one", "two", "hit"), "n"] == 3
    share = result.tables["agreement_share"].set_index(["finding", "metric"])
    readers = np.mean([(1 / 3 + 1 + 1 / 3) / 3] * 3 + [(1 / 3 + 0 + 0) / 3])
    assert share.loc[("Edema", "iou"), "readers"] == pytest.approx(readers)
    assert share.loc[("Edema", "iou"), "estimate"] == pytest.approx(100 / readers)
    assert share.loc[(AVERAGE, "iou"), "estimate"] == pytest.approx(100 / readers)


def test_shared_positives_leave_out_what_an_expert_missed(study: xr.DataTree) -> None:
    scores = localization(study, resampling=FEW).tables["scores"]
    shared = on_shared_positives(scores)
    assert set(shared["image"]) == {"a", "c", "d"}
    whole, part = (decrease(table, resamples=50)[0].set_index(["finding", "metric"])
                   for table in (scores, shared))
    assert whole.loc[("Edema", "iou"), "expert"] == pytest.approx((4 / 3 + 3) / 8)
    assert part.loc[("Edema", "iou"), "expert"] == pytest.approx((1 / 3 + 1) / 2)
    pd.testing.assert_frame_equal(
        part, localization(study, resampling=FEW).tables["decrease_shared"].set_index(
            ["finding", "metric"]))


def test_shared_positives_are_positives_under_every_slice(study: xr.DataTree) -> None:
    """Where the reference is empty, a reader who drew something shares no positive with it."""
    scores = localization(study, resampling=FEW).tables["scores"]
    kept = on_shared_positives(scores)
    empty = scores[scores["image"] == "a"].assign(image="nothing there", area_reference=0.0)
    assert (empty["area_predicted"] > 0).all()
    pd.testing.assert_frame_equal(on_shared_positives(pd.concat([scores, empty])), kept)


def test_studies_without_readers_or_second_maps_have_empty_tables(build_cubes: BuildCubes) -> None:
    cubes = build_cubes({("a", "Edema", "truth"): _box(28, 28, 10, 10)},
                        heatmaps={("a", "Edema", "cam", "net"): np.eye(8)})
    tables = localization(cubes, resampling=FEW).tables
    for name in ("differences", "agreement", "agreement_share"):
        assert tables[name].empty


def test_bca_intervals_are_those_of_the_bootstrap(study: xr.DataTree) -> None:
    generator = np.random.default_rng(3)
    table = _scores({"cam": generator.beta(1, 4, 30)})
    row = summarize(table, resamples=500, method="bca").iloc[0]
    expected = mean_interval(table["iou"], resamples=500, method="bca")
    assert (row["conf_low"], row["conf_high"]) == (expected.conf_low, expected.conf_high)
    meta = localization(study, resampling=Resampling(resamples=20, kind="bca")).meta
    assert meta["interval"].startswith("bias-corrected")
    with pytest.raises(UsageError, match="percentile"):
        Resampling(kind="percentil")  # type: ignore[arg-type]


def test_a_code_that_does_not_fit_its_image_is_named(study: xr.DataTree) -> None:
    other = study.copy()
    root = other.to_dataset()
    root = root.assign_coords(native_height=("image", np.array([63, 64, 64, 64], np.int32)))
    other = xr.DataTree.from_dict({"/": root, **{
        f"/{name}": node.to_dataset(inherit=False) for name, node in study.children.items()}})
    with pytest.raises(DataError, match=r"reference/mask_rle of a, Edema, reader truth.*63 x 64"):
        localization(other, scoring=Scoring(resolution="native"), resampling=FEW)


def test_one_reader_can_stand_for_the_expert(study: xr.DataTree) -> None:
    every, one = (localization(study, resampling=FEW, benchmark=name) for name in (None, "one"))
    means = {name: result.tables["decrease"].set_index(["metric", "finding"])["expert"]
             for name, result in (("every", every), ("one", one))}
    summary = every.tables["summary"].set_index(["metric", "model"])["estimate"]
    assert means["one"]["iou", "Edema"] == pytest.approx(summary["iou", "one"])
    assert means["every"]["iou", "Edema"] == pytest.approx(
        (summary["iou", "one"] + summary["iou", "two"]) / 2)
    for result, expected in ((every, means["every"]), (one, means["one"])):
        of_expert = result.tables["expert"].set_index(["metric", "finding"])["estimate"]
        assert of_expert["iou", "Edema"] == pytest.approx(expected["iou", "Edema"])
    assert one.meta["expert"] == "reader one"
    assert one.meta["expert_readers"] == ["one"]
    # Reader two, who drew nothing on one image, has no say any more.
    shared = {name: result.tables["decrease_shared"].query("metric == 'iou'")["n"].iloc[0]
              for name, result in (("every", every), ("one", one))}
    assert shared == {"every": 3, "one": 4}
    pd.testing.assert_frame_equal(every.tables["scores"], one.tables["scores"])
    with pytest.raises(UsageError, match="benchmark reader 'ona'"):
        localization(study, resampling=FEW, benchmark="ona")
