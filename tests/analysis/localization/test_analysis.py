"""Localization of studies: truth recovery, golden values, slices, failures, summaries."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import xarray as xr

from saltrust.analysis.inference.bootstrap import mean_interval
from saltrust.analysis.inference.proportions import wilson_interval
from saltrust.analysis.localization.analysis import localization
from saltrust.analysis.localization.decreases import decrease
from saltrust.analysis.localization.summary import AVERAGE, summarize
from saltrust.analysis.options import Execution, Resampling, Scoring
from saltrust.analysis.result import ESTIMATE_COLUMNS, Result
from saltrust.analysis.scores import scores_table
from saltrust.analysis.scores.scored_maps import score_maps
from saltrust.analysis.scores.scores_table import SCORE_COLUMNS
from saltrust.analysis.select import select
from saltrust.cache.schema import Status
from saltrust.errors import DataError, UsageError

Mask = npt.NDArray[np.bool_]
BuildCubes = Callable[..., xr.DataTree]
SIZE = (40, 50)
READERS = {"truth": "reference", "expert one": "benchmark"}
FEW = Resampling(resamples=50)


def _disk(y: float, x: float, radius: float, size: tuple[int, int] = SIZE) -> Mask:
    rows, columns = np.mgrid[:size[0], :size[1]]
    return np.asarray((rows - y)**2 + (columns - x)**2 <= radius**2)


def _box(top: int, left: int, height: int, width: int, size: tuple[int, int] = SIZE) -> Mask:
    mask = np.zeros(size, dtype=bool)
    mask[top:top + height, left:left + width] = True
    return mask


def _scores(cubes: xr.DataTree, **scoring: Any) -> pd.DataFrame:
    return score_maps(cubes, Scoring(**scoring), Execution()).table


def _row(scores: pd.DataFrame, **labels: str) -> dict[Any, Any]:
    chosen = scores
    for name, value in labels.items():
        chosen = chosen[chosen[name] == value]
    assert len(chosen) == 1
    return chosen.iloc[0].to_dict()


def _same(value: float, expected: float | None) -> bool:
    return math.isnan(value) if expected is None else value == expected


# Truth recovery ------------------------------------------------------------------------------


def _awkward_masks() -> list[Mask]:
    ring = _disk(20, 25, 15) & ~_disk(20, 25, 8)
    specks = np.zeros(SIZE, dtype=bool)
    specks[[3, 9, 30], [4, 40, 12]] = True
    return [_disk(12, 20, 9), ring, specks, np.eye(*SIZE, dtype=bool), _box(0, 0, 40, 3),
            _box(5, 5, 1, 40), _disk(10, 10, 5) | _disk(30, 40, 6)]


def test_masks_as_heatmaps_are_recovered_on_the_grid(build_cubes: BuildCubes) -> None:
    masks = _awkward_masks()
    images = [f"image {k}" for k in range(len(masks))]
    cubes = build_cubes(
        {(image, "Edema", "truth"): mask for image, mask in zip(images, masks, strict=True)},
        heatmaps={(image, "Edema", "oracle", "perfect"): 0.3 * mask - 0.1
                  for image, mask in zip(images, masks, strict=True)}, grid=SIZE)
    result = localization(cubes, scoring=Scoring(resolution="grid"))
    scores = result.tables["scores"]
    assert list(scores.columns) == list(SCORE_COLUMNS)
    assert (scores["iou"] == 1).all()
    assert (scores["hit"] == 1).all()
    assert scores["area_reference"].tolist() == [mask.sum() for mask in masks]
    assert (result.tables["summary"]["estimate"] == 1).all()


def test_scaled_grids_give_the_same_hits(build_cubes: BuildCubes) -> None:
    # A native mask four times the grid, its grid mask as the map: all hits, high overlap.
    mask = _disk(80, 100, 40, (160, 200))
    cubes = build_cubes({("a", "Edema", "truth"): mask},
                        heatmaps={("a", "Edema", "oracle", "m"): _disk(19.6, 24.6, 10)})
    row = _row(_scores(cubes), image="a")
    assert row["hit"] == 1
    assert row["iou"] > 0.93
    assert row["area_reference"] == mask.sum()


# Golden values -------------------------------------------------------------------------------

GOLDEN = "patient64541_study1_view1_frontal"


@pytest.fixture(scope="module")
def golden(shared_data: Path, reference_folder: Path, build_cubes: BuildCubes,
           ) -> tuple[xr.DataTree, dict[str, Any]]:
    import pickle

    from saltrust.cache import rle

    folder = shared_data / "chexlocalize_sample"
    drawn = json.loads((folder / "gt_segmentations_val.json").read_text())[GOLDEN]
    heatmaps = {}
    for finding in drawn:
        path = folder / "gradcam_maps_val" / f"{GOLDEN}_{finding}_map.pkl"
        # Our own sample, so plain unpickling will do here.
        heatmaps[GOLDEN, finding, "gradcam", "ensemble"] = (
            pickle.loads(path.read_bytes())["map"][0, 0].numpy())
    cubes = build_cubes({(GOLDEN, finding, "truth"): rle.decode(code["counts"], *code["size"])
                         for finding, code in drawn.items()}, heatmaps=heatmaps)
    text = (reference_folder / "chexlocalize_patient64541.json").read_text()
    return cubes, {row["finding"]: row for row in json.loads(text)["rows"]}


@pytest.mark.real_data
@pytest.mark.parametrize(("iou_slice", "name"), [
    (None, "iou_otsu_tp_only"), ("both_nonempty", "iou_otsu_tp_only"), ("all", "iou_otsu_all")])
def test_released_values_of_a_real_radiograph(golden: tuple[xr.DataTree, dict[str, Any]],
                                              iou_slice: Any, name: str) -> None:
    cubes, expected = golden
    scores = _scores(cubes, definition="peer", resolution="native", slice=iou_slice)
    assert len(scores) == len(expected) == 10
    for row in scores.to_dict("records"):
        values = expected[row["finding"]]
        assert row["threshold"] == values["otsu_threshold_255"]
        assert (row["peak_y"], row["peak_x"]) == (values["peak_row"], values["peak_col"])
        assert row["n_peak"] == values["n_pixels_at_max"]
        assert row["area_predicted"] == values["area_otsu_px"]
        assert row["area_reference"] == values["gt_area_px"]
        assert _same(row["hit"], values["hit"])
        if values[name] is None:
            assert math.isnan(row["iou"])
        else:
            assert row["iou"] == pytest.approx(values[name], abs=1e-9)


@pytest.mark.real_data
def test_default_differs_by_rounding_only(golden: tuple[xr.DataTree, dict[str, Any]]) -> None:
    cubes, expected = golden
    for row in _scores(cubes).to_dict("records"):
        values = expected[row["finding"]]
        assert row["threshold"] == values["otsu_threshold_255"]
        assert row["area_predicted"] == pytest.approx(values["area_otsu_px"], rel=1e-5)
        assert (row["peak_y"], row["peak_x"]) == (values["peak_row"], values["peak_col"])


# What counts ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(build_cubes: BuildCubes) -> xr.DataTree:
    """Two findings, four images of three patients; everything that can happen to a map."""
    lesion, other = _disk(20, 25, 8), _disk(8, 8, 5)
    nothing = np.zeros(SIZE, dtype=bool)
    maps = {
        ("a", "Edema", "grad", "m"): lesion.astype(float),
        ("a", "Edema", "cam", "m"): other.astype(float),
        ("b", "Edema", "grad", "m"): np.zeros(SIZE),
        ("b", "Edema", "cam", "m"): np.full(SIZE, np.nan),
        ("c", "Edema", "grad", "m"): lesion.astype(float),
        ("c", "Edema", "cam", "m"): lesion.astype(float),
        ("a", "Mass", "grad", "m"): lesion.astype(float),
        ("d", "Mass", "grad", "m"): lesion.astype(float),
        ("d", "Edema", "grad", "m"): lesion.astype(float),
    }
    return build_cubes(
        {("a", "Edema", "truth"): lesion, ("b", "Edema", "truth"): lesion,
         ("c", "Edema", "truth"): nothing, ("a", "Mass", "truth"): nothing,
         ("a", "Edema", "expert one"): _disk(20, 25, 5),
         ("b", "Edema", "expert one"): other, ("c", "Edema", "expert one"): other},
        readers=READERS, heatmaps=maps, images=["a", "b", "c", "d"], findings=["Edema", "Mass"],
        statuses={("b", "Edema", "grad", "m"): Status.FLAT,
                  ("b", "Edema", "cam", "m"): Status.NONFINITE},
        # d: Mass positive and Edema negative by label, neither annotated.
        labels={("d", "Mass"): 1, ("d", "Edema"): 0},
        points={("a", "Edema", "expert one"): [(20.6, 25.2)],
                ("b", "Edema", "expert one"): [(8, 8), (20, 25)]},
        patients=["p1", "p2", "p2", "p3"], splits=["test", "test", "val", "test"], grid=SIZE)


@pytest.mark.parametrize(("labels", "positive", "everything", "both", "hit"), [
    ({"image": "a", "finding": "Edema", "explainer": "grad"}, 1, 1, 1, 1),
    ({"image": "a", "finding": "Edema", "explainer": "cam"}, 0, 0, 0, 0),
    # Flat and non-finite maps on a positive are failures, outside both_nonempty only.
    ({"image": "b", "finding": "Edema", "explainer": "grad"}, 0, 0, None, 0),
    ({"image": "b", "finding": "Edema", "explainer": "cam"}, 0, 0, None, 0),
    # A false positive, annotated empty or negative by label.
    ({"image": "c", "finding": "Edema", "explainer": "grad"}, None, 0, None, None),
    ({"image": "a", "finding": "Mass", "explainer": "grad"}, None, 0, None, None),
    ({"image": "d", "finding": "Edema", "explainer": "grad"}, None, 0, None, None),
    # A positive that nobody annotated is not a negative.
    ({"image": "d", "finding": "Mass", "explainer": "grad"}, None, None, None, None),
    ({"image": "b", "finding": "Edema", "explainer": "expert"}, 0, 0, 0, 0),
    ({"image": "c", "finding": "Edema", "explainer": "expert"}, None, 0, None, None),
])
def test_slices_and_failures(study: xr.DataTree, labels: dict[str, str], positive: float | None,
                             everything: float | None, both: float | None, hit: float | None,
                             ) -> None:
    for iou_slice, expected in (("positive", positive), ("all", everything),
                                ("both_nonempty", both)):
        row = _row(_scores(study, slice=iou_slice), **labels)
        assert _same(row["iou"], expected)
        assert _same(row["hit"], hit)


def test_experts_are_scored_by_mask_and_point(study: xr.DataTree) -> None:
    row = _row(_scores(study), image="a", explainer="expert")
    small, large = _disk(20, 25, 5).sum(), _disk(20, 25, 8).sum()
    assert row["model"] == "expert one"
    assert row["reader"] == "truth"
    assert row["iou"] == small / large
    assert (row["peak_y"], row["peak_x"], row["hit"]) == (20, 25, 1)
    assert math.isnan(row["threshold"])
    assert math.isnan(row["n_peak"])
    # The first point decides; under peer any does, and no point is a miss.
    assert _row(_scores(study), image="b", explainer="expert")["hit"] == 0
    assert _row(_scores(study, definition="peer"), image="b", explainer="expert")["hit"] == 1


def test_an_expert_never_asked_for_points_did_not_miss(build_cubes: BuildCubes) -> None:
    masks = {("a", "Edema", "truth"): _disk(20, 25, 8), ("b", "Edema", "truth"): _disk(20, 25, 8),
             ("a", "Edema", "expert one"): _disk(20, 25, 5),
             ("b", "Edema", "expert one"): _disk(20, 25, 5)}
    for points, hit in (({}, None), ({("a", "Edema", "expert one"): [(20, 25)]}, 0)):
        cubes = build_cubes(masks, readers=READERS, points=points)
        row = _row(_scores(cubes, definition="peer"), image="b", explainer="expert")
        assert _same(row["hit"], hit)


def test_points_find_their_pixel_on_the_grid(build_cubes: BuildCubes) -> None:
    size = (80, 100)
    cubes = build_cubes({("a", "Edema", "truth"): _box(60, 80, 8, 8, size),
                         ("a", "Edema", "expert one"): _box(60, 80, 4, 4, size)},
                        readers=READERS, points={("a", "Edema", "expert one"): [(67.9, 87.9)]},
                        grid=(20, 25))
    for resolution, place in (("native", (67, 87)), ("grid", (16, 21))):
        scores = _scores(cubes, resolution=resolution)
        row = _row(scores, image="a")
        assert (row["peak_y"], row["peak_x"]) == place
        assert row["hit"] == 1


def test_meta_counts_what_was_met(study: xr.DataTree) -> None:
    meta = localization(study, resampling=FEW).meta
    assert meta["resolution"] == "grid"    # image d has maps but no native size
    assert meta["slice"] == "positive"
    assert meta["counts"] == {
        "images": 4, "rows": 12, "maps": 9, "flat": 1, "nonfinite": 1, "missing": 7,
        "tied_peaks": 7, "benchmark_masks": 3, "benchmark_masks_without_point": 1}
    # c: Edema is positive since the expert drew something.
    assert meta["exclusions"] == {"positive label but not annotated": 1,
                                  "positive label but empty reference mask": 1,
                                  "label not negative and not annotated": 2}
    assert meta["hit_chance"] == {"Edema": pytest.approx(_disk(20, 25, 8).mean())}
    peer = localization(study, scoring=Scoring(definition="peer"), resampling=FEW)
    assert peer.meta["slice"] == "both_nonempty"


def test_selection_of_rows(study: xr.DataTree) -> None:
    chosen = _scores(select(study, explainer=["cam"], split="test", finding=["Edema"]))
    assert set(chosen["explainer"]) == {"cam", "expert"}
    assert set(chosen["image"]) == {"a", "b"}
    without = study.copy()
    del without["saliency"]
    assert set(_scores(without)["explainer"]) == {"expert"}
    for labels in ({"explainer": ["gradd"]}, {"model": ["n"]}, {"finding": ["Edemma"]}):
        with pytest.raises(UsageError):
            select(study, **labels)
    for wrong in ({"slice": "positives"}, {"definition": "peeer"}, {"resolution": "nat"}):
        with pytest.raises(UsageError):
            _scores(study, **wrong)


def test_what_cannot_be_scored_is_named(build_cubes: BuildCubes,
                                        caplog: pytest.LogCaptureFixture) -> None:
    lesion = _disk(20, 25, 8)
    heatmaps = {("a", "Edema", "grad", "m"): lesion.astype(float)}
    with pytest.raises(DataError, match="no reference masks"):
        localization(build_cubes({}, heatmaps=heatmaps, images=["a"], findings=["Edema"]))
    with pytest.raises(DataError, match="role reference"):
        localization(build_cubes({("a", "Edema", "expert one"): lesion}, readers=READERS,
                                 heatmaps=heatmaps))
    with pytest.raises(DataError, match=r"no heatmaps.*saltrust generate"):
        localization(build_cubes({("a", "Edema", "truth"): lesion}))
    both = build_cubes({("a", "Edema", "truth"): lesion, ("a", "Edema", "expert one"): lesion},
                       readers=READERS)
    with caplog.at_level(logging.WARNING):
        result = localization(both, resampling=FEW)
    assert "no heatmaps" in caplog.text
    assert set(result.tables["summary"]["explainer"]) == {"expert"}
    assert result.tables["decrease"].empty
    native = build_cubes({("a", "Edema", "truth"): lesion}, images=["a", "b"],
                         heatmaps={("b", "Edema", "grad", "m"): lesion.astype(float)})
    with pytest.raises(DataError, match="native size of image 'b'"):
        localization(native, scoring=Scoring(resolution="native"))


def test_an_empty_slice_keeps_its_rows(build_cubes: BuildCubes) -> None:
    nothing = np.zeros(SIZE, dtype=bool)
    cubes = build_cubes({("a", "Edema", "truth"): nothing},
                        heatmaps={("a", "Edema", "grad", "m"): _disk(20, 25, 8).astype(float)})
    result = localization(cubes, resampling=FEW)
    summary = result.tables["summary"]
    assert summary["estimate"].isna().all()
    assert (summary["n"] == 0).all()
    assert (summary["note"] != "").all()
    assert (result.tables["decrease"]["note"] == "no benchmark reader").all()
    json.dumps(result.to_dict(), allow_nan=False)


def test_one_image_is_read_at_a_time(study: xr.DataTree, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    isel = xr.DataArray.isel

    def watched(self: xr.DataArray, *args: Any, **kwargs: Any) -> xr.DataArray:
        part = isel(self, *args, **kwargs)
        if self.name == "heatmap":
            read.append(part.size)
        return part

    monkeypatch.setattr(xr.DataArray, "isel", watched)
    _scores(study)
    # At most all findings of one image, explainer and model.
    assert max(read) <= 2 * SIZE[0] * SIZE[1]
    assert len(read) == 7


# Several reference readers -------------------------------------------------------------------


def test_every_map_meets_every_reference_reader(build_cubes: BuildCubes) -> None:
    lesion = _disk(20, 25, 8)
    cubes = build_cubes(
        {("a", "Edema", "one"): lesion, ("a", "Edema", "two"): _disk(20, 25, 4),
         ("a", "Edema", "guest"): lesion},
        readers={"one": "reference", "guest": "benchmark", "two": "reference"},
        heatmaps={("a", "Edema", "grad", "m"): lesion.astype(float)})
    scores = _scores(cubes)
    assert scores[["explainer", "reader"]].to_numpy().tolist() == [
        ["grad", "one"], ["grad", "two"], ["expert", "one"], ["expert", "two"]]
    assert _row(scores, explainer="grad", reader="one")["iou"] == 1
    assert _row(scores, explainer="grad", reader="two")["iou"] == (
        _disk(20, 25, 4).sum() / lesion.sum())
    assert scores["patient"].isna().all()


# Summaries -----------------------------------------------------------------------------------


def _made_up(iou: Mapping[str, list[float]], hit: Mapping[str, list[float]] | None = None,
            findings: tuple[str, ...] = ("Edema",), patients: list[str] | None = None,
            ) -> pd.DataFrame:
    """Scores of made-up images: one list of values per explainer, the same for all findings.

    Where hits are not given, an IoU of at least a half is one.
    """
    rows = []
    for finding in findings:
        for explainer, values in iou.items():
            for k, value in enumerate(values):
                rows.append({
                    "image": f"i{k}", "patient": (patients or [f"p{k}" for k in range(99)])[k],
                    "finding": finding, "explainer": explainer,
                    "model": "m" if explainer != "expert" else "reader", "reader": "truth",
                    "iou": value,
                    "hit": hit[explainer][k] if hit else np.round(value + 1e-9)})
    return pd.DataFrame(rows)


def test_summary_has_means_and_uniform_columns() -> None:
    generator = np.random.default_rng(0)
    values = generator.uniform(size=60)
    hits = (generator.uniform(size=60) < 0.4).astype(float)
    summary = summarize(_made_up({"grad": list(values)}, {"grad": list(hits)}), resamples=4000,
                        chance={"Edema": 0.1})
    assert list(summary.columns) == ["finding", "explainer", "model", "metric",
                                     *ESTIMATE_COLUMNS, "chance"]
    overlap, hit = summary.to_dict("records")
    assert overlap["estimate"] == pytest.approx(values.mean())
    assert overlap["n"] == 60
    error = values.std() / math.sqrt(60)
    assert overlap["std_error"] == pytest.approx(error, rel=0.05)
    assert overlap["conf_low"] == pytest.approx(values.mean() - 1.96 * error, abs=0.01)
    assert overlap["conf_high"] == pytest.approx(values.mean() + 1.96 * error, abs=0.01)
    assert math.isnan(overlap["chance"])
    assert (hit["estimate"], hit["chance"]) == (pytest.approx(hits.mean()), 0.1)


def test_hits_without_a_miss_get_wilsons_interval() -> None:
    hit = summarize(_made_up({"grad": [1.0] * 11}), resamples=100).iloc[1]
    assert hit["metric"] == "hit"
    assert (hit["conf_low"], hit["conf_high"]) == pytest.approx(wilson_interval(11, 11))
    assert "Wilson" in hit["note"]


def test_images_of_one_patient_are_drawn_together() -> None:
    generator = np.random.default_rng(1)
    of_patient = np.repeat(generator.uniform(size=12), 5)
    apart = summarize(_made_up({"grad": list(of_patient)}), resamples=2000).iloc[0]
    together = summarize(_made_up({"grad": list(of_patient)},
                                 patients=[f"p{k // 5}" for k in range(60)]),
                         resamples=2000).iloc[0]
    assert together["estimate"] == pytest.approx(apart["estimate"])
    # Five equal images per patient are one observation: the error is sqrt(5) times as large.
    assert together["std_error"] / apart["std_error"] == pytest.approx(math.sqrt(5), rel=0.1)


def test_decrease_is_that_of_the_means_and_shares_resamples() -> None:
    generator = np.random.default_rng(2)
    expert = generator.uniform(0.4, 0.8, 40)
    # Half the expert's IoU in every image: no resample differs from 50%.
    falls, change = decrease(_made_up({"grad": list(expert / 2), "expert": list(expert)},
                                     {"grad": [1.0, 0.0] * 20, "expert": [1.0] * 40}),
                             resamples=500)
    overlap = _row(falls, finding="Edema", metric="iou")
    assert overlap["expert"] == pytest.approx(expert.mean())
    assert overlap["saliency"] == pytest.approx(expert.mean() / 2)
    for name in ("estimate", "conf_low", "conf_high"):
        assert overlap[name] == pytest.approx(50)
    hit = _row(falls, finding="Edema", metric="hit")
    assert hit["estimate"] == 50
    assert 25 < hit["conf_low"] < 45
    assert 55 < hit["conf_high"] < 75
    turned = _row(change, finding="Edema")
    assert turned["estimate"] == pytest.approx(0)
    assert turned["conf_low"] == pytest.approx(50 - hit["conf_high"])
    assert turned["conf_high"] == pytest.approx(50 - hit["conf_low"])


def test_decrease_is_sorted_with_the_average_last() -> None:
    first = _made_up({"grad": [0.1, 0.2], "expert": [0.5, 0.5]}, findings=("Mass",))
    second = _made_up({"grad": [0.6, 0.6], "expert": [0.5, 0.7]}, findings=("Edema",))
    falls, _ = decrease(pd.concat([second, first], ignore_index=True).assign(hit=np.nan),
                        resamples=50)
    overlap = falls[falls["metric"] == "iou"]
    assert overlap["finding"].tolist() == ["Mass", "Edema", AVERAGE]
    assert overlap["estimate"].tolist() == pytest.approx([70, 0, 100 * (1.1 - 0.75) / 1.1])
    assert overlap["n"].tolist() == [2, 2, 4]
    assert falls.loc[falls["metric"] == "hit", "estimate"].isna().all()


def test_decrease_takes_common_images_unless_told_otherwise() -> None:
    table = _made_up({"grad": [0.2, 0.4, float("nan")], "expert": [0.4, float("nan"), 0.8]})
    paired = _row(decrease(table, resamples=50)[0], finding="Edema", metric="iou")
    assert (paired["expert"], paired["saliency"], paired["n"]) == (0.4, 0.2, 1)
    alone = _row(decrease(table, paired=False, resamples=50)[0], finding="Edema", metric="iou")
    assert (alone["expert"], alone["saliency"]) == pytest.approx((0.6, 0.3))
    assert alone["n"] == 2
    hits = _made_up({"grad": [0.2, 0.4, float("nan")], "expert": [0.4, float("nan"), 0.8]},
                   {"grad": [0.0, 1.0, 1.0], "expert": [1.0, 1.0, float("nan")]})
    for paired, expected in ((("hit",), [0.6, 0.3, 1.0, 0.5]), (("iou",), [0.4, 0.2, 1.0, 2 / 3]),
                             (False, [0.6, 0.3, 1.0, 2 / 3])):
        falls = decrease(hits, paired=paired, resamples=50)[0]
        rows = [_row(falls, finding="Edema", metric=metric) for metric in ("iou", "hit")]
        assert [row[name] for row in rows for name in ("expert", "saliency")
                ] == pytest.approx(expected)


def test_means_of_a_decrease_have_intervals_of_their_own_images() -> None:
    generator = np.random.default_rng(4)
    grad, expert = generator.random(30), generator.random(30)
    grad[:5] = np.nan
    falls = decrease(_made_up({"grad": list(grad), "expert": list(expert)}), resamples=400,
                     seed=3)[0]
    expected = mean_interval(expert[5:], resamples=400)
    for finding in ("Edema", AVERAGE):
        row = _row(falls, finding=finding, metric="iou")
        assert row["expert"] == pytest.approx(expected.mean)
        assert (row["expert_low"], row["expert_high"]) == pytest.approx(
            (float(expected.conf_low), float(expected.conf_high)), abs=0.03)
        assert row["saliency_low"] < row["saliency"] < row["saliency_high"]


def test_a_map_that_always_misses_has_no_interval_without_width() -> None:
    falls, change = decrease(_made_up({"grad": [0.1, 0.2, 0.4] * 4, "expert": [0.5, 0.6, 0.5] * 4},
                                     {"grad": [0.0] * 12, "expert": [1.0, 0.0, 1.0] * 4}),
                             resamples=200)
    row = _row(falls, finding="Edema", metric="hit")
    assert row["estimate"] == 100
    assert np.isnan([row["conf_low"], row["conf_high"], row["saliency_low"]]).all()
    assert "all resamples are equal: no interval" in row["note"]
    assert np.isfinite(_row(change, finding="Edema")["conf_low"])


def test_fewer_than_ten_patients_have_no_bootstrap_interval() -> None:
    few = _made_up({"grad": [0.1, 0.2, 0.4] * 3, "expert": [0.5, 0.6, 0.5] * 3},
                   {"grad": [0.0, 1.0, 0.0] * 3, "expert": [1.0, 0.0, 1.0] * 3})
    falls, _ = decrease(few, resamples=200)
    means = summarize(few, resamples=200)
    for row in (_row(falls, finding="Edema", metric="iou"),
                _row(means, finding="Edema", metric="iou", explainer="grad")):
        assert np.isfinite(row["estimate"])
        assert np.isnan([row["conf_low"], row["conf_high"]]).all()
        assert "fewer than 10" in row["note"]
    # Wilson's interval needs no resamples.
    hits = _row(means, finding="Edema", metric="hit", explainer="grad")
    assert 0 < hits["conf_low"] < 1 / 3 < hits["conf_high"] < 1


def test_two_experts_are_averaged_image_by_image() -> None:
    one = _made_up({"grad": [0.2, 0.2], "expert": [0.4, 0.6]})
    two = _made_up({"expert": [0.8, float("nan")]}).assign(model="second")
    row = _row(decrease(pd.concat([one, two], ignore_index=True), resamples=50)[0],
               finding="Edema", metric="iou")
    assert row["expert"] == pytest.approx((0.6 + 0.6) / 2)


def test_an_expert_without_overlap_has_no_decrease() -> None:
    falls, change = decrease(_made_up({"grad": [0.1, 0.2], "expert": [0.0, 0.0]}), resamples=50)
    assert falls["estimate"].isna().all()
    assert (falls["note"] == "the expert's mean is 0").all()
    assert change["estimate"].isna().all()


def test_curves_are_the_same_a_few_at_a_time(study: xr.DataTree,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    expected = localization(study, resampling=FEW).tables["overlap"]
    monkeypatch.setattr(scores_table, "_CURVES", 1)
    curves = localization(study, resampling=FEW).tables["overlap"]
    assert expected["auroc"].notna().sum() == 4
    pd.testing.assert_frame_equal(curves, expected, check_exact=True)


def test_scores_of_one_study_are_summarized_once_per_map(study: xr.DataTree) -> None:
    result = localization(study, resampling=FEW)
    assert list(result.tables) == [
        "summary", "expert", "decrease", "decrease_change", "scores", "overlap", "relevance",
        "decrease_shared", "differences", "hit_baselines", "hit_above_baseline", "agreement",
        "agreement_share"]
    summary = result.tables["summary"]
    assert not summary.duplicated(["finding", "explainer", "model", "metric"]).any()
    row = _row(summary, finding="Edema", explainer="grad", metric="iou")
    assert (row["estimate"], row["n"]) == (0.5, 2)
    expert = _row(summary, finding="Edema", explainer="expert", metric="iou")
    share = _disk(20, 25, 5).sum() / _disk(20, 25, 8).sum()
    assert expert["estimate"] == pytest.approx(share / 2)
    fall = _row(result.tables["decrease"], finding="Edema", explainer="grad", metric="iou")
    assert fall["estimate"] == pytest.approx(100 * (share - 1) / share)
    json.dumps(result.to_dict(), allow_nan=False)


def test_the_same_seed_gives_the_same_result(study: xr.DataTree) -> None:
    first, second, third = (localization(study, resampling=Resampling(resamples=50, seed=seed))
                            for seed in (1, 1, 2))
    assert first.to_dict() == second.to_dict()
    assert first.to_dict() != third.to_dict()
    assert isinstance(first, Result)


def test_people_are_scored_on_the_images_that_maps_are(build_cubes: BuildCubes) -> None:
    """An expert who drew more images than were explained is compared on those alone."""
    lesion = _disk(20, 25, 8)
    masks = {(image, "Edema", reader): lesion if reader == "truth" or image < "d"
             else _box(0, 0, 5, 5) for image in "abcdef" for reader in READERS}
    heatmaps = {(image, "Edema", "grad", "m"): lesion.astype(float) for image in "abc"}
    cubes = build_cubes(masks, heatmaps=heatmaps, readers=READERS)
    everything = localization(cubes, resampling=FEW)
    chosen = localization(select(cubes, image=list("abc")), resampling=FEW)
    for name, table in chosen.tables.items():
        pd.testing.assert_frame_equal(table, everything.tables[name])
    expert = everything["expert"]
    assert set(expert.loc[expert["metric"] == "iou", "n"]) == {3}
    assert everything.meta["exclusions"]["images without a map"] == 3
    assert "images without a map" not in chosen.meta["exclusions"]


def test_relevance_is_averaged_over_positives_and_is_of_maps_alone(study: xr.DataTree) -> None:
    result = localization(study, resampling=FEW)
    columns = ["mass_accuracy", "rank_accuracy", "energy_pointing"]
    scores, means = result["scores"], result["relevance"]
    people = scores["explainer"] == "expert"
    assert scores.loc[people, columns].isna().all(axis=None)
    positive = scores[~people & (scores["area_reference"] > 0)]
    assert positive[columns].notna().all(axis=None)
    # The box holds the mask.
    assert (positive["energy_pointing"] >= positive["mass_accuracy"] - 1e-12).all()
    for row in means.itertuples():
        of_map = positive[(positive["finding"] == row.finding)
                          & (positive["explainer"] == row.explainer)
                          & (positive["model"] == row.model)]
        assert row.n == len(of_map)
        assert np.isclose(row.estimate, of_map[row.metric].mean(), equal_nan=True)
    assert set(means["metric"]) == set(columns)
    assert 0 <= means["estimate"].min() < means["estimate"].max() <= 1


def test_quantus_way_sums_negative_values(study: xr.DataTree) -> None:
    signed = study.copy()
    signed["saliency/heatmap"] = study["saliency/heatmap"] - 0.01
    drawn = {name: localization(signed, resampling=FEW, scoring=Scoring(
        resolution="grid", map="raw", relevance=name))["scores"] for name in ("default", "quantus")}
    ours, theirs = (table["mass_accuracy"].dropna() for table in drawn.values())
    assert (ours.between(0, 1)).all()
    assert not np.allclose(ours, theirs)
    with pytest.raises(UsageError, match="relevance 'peer'"):
        Scoring(relevance="peer")
