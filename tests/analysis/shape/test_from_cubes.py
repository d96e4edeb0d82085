"""Regressions and confidence from cubes: the same as from their tables, and what they refuse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from saltrust.analysis.confidence.analysis import POOLED, WITHIN, confidence, relate
from saltrust.analysis.localization.analysis import localization
from saltrust.analysis.options import Execution, Scoring
from saltrust.analysis.scores.scored_maps import score_maps
from saltrust.analysis.select import select
from saltrust.analysis.shape.descriptors import descriptors
from saltrust.analysis.shape.regressions import regress, regressions
from saltrust.cache import rle
from saltrust.cache.schema import Status
from saltrust.errors import DataError, UsageError

FINDINGS = ["Cardiomegaly", "Edema"]
SIZE = 32


def ellipse(center: tuple[float, float], radii: tuple[float, float]) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE]
    return np.asarray(((y - center[0]) / radii[0]) ** 2 + ((x - center[1]) / radii[1]) ** 2 <= 1)


def text(values: Any) -> np.ndarray:
    """Text as a store gives it."""
    return np.array(values, dtype=np.dtypes.StringDType())


def tree(images: int = 24, seed: int = 0) -> xr.DataTree:
    """Reference ellipses, a shifted benchmark reader, maps that fit large masks better."""
    generator = np.random.default_rng(seed)
    names = [f"image{i}" for i in range(images)]
    shape = (images, len(FINDINGS))
    masks = np.zeros((*shape, 2, SIZE, SIZE), dtype=bool)
    points = np.full((*shape, 2, 1), np.nan)
    heat = np.zeros((*shape, 2, 1, SIZE, SIZE), dtype=np.float32)
    label = generator.integers(0, 2, shape).astype(np.int8)
    y, x = np.mgrid[:SIZE, :SIZE]
    for i, f in np.ndindex(shape):
        center, radii = generator.uniform(12, 20, 2), generator.uniform(3, 11, 2)
        if label[i, f]:
            masks[i, f, 0] = ellipse(tuple(center), tuple(radii))
            masks[i, f, 1] = ellipse(tuple(center + 1), tuple(radii))
            points[i, f, 1] = 16.0
        for e, shift in enumerate((0.0, 5.0)):
            distance = (y - center[0] - shift) ** 2 + (x - center[1]) ** 2
            heat[i, f, e, 0] = np.exp(-distance / 100)
    codes = text([[[rle.encode(masks[i, f, r]) for r in range(2)] for f in range(2)]
                  for i in range(images)])
    area = masks[:, :, 0].mean(axis=(2, 3))
    probability = np.clip(0.3 + area + generator.normal(0, 0.02, shape), 0, 1)
    root = xr.Dataset(coords={
        "image": names, "finding": FINDINGS,
        "patient": ("image", text([f"patient{i // 2}" for i in range(images)])),
        "native_height": ("image", np.full(images, SIZE, np.int32)),
        "native_width": ("image", np.full(images, SIZE, np.int32))})
    both = ("image", "finding")
    reference = xr.Dataset(
        {"label": (both, label),
         "annotated": ((*both, "reader"), np.ones((*shape, 2), dtype=bool)),
         "mask": ((*both, "reader", "y", "x"), masks),
         "mask_rle": ((*both, "reader"), codes),
         "point_y": ((*both, "reader", "instance"), points),
         "point_x": ((*both, "reader", "instance"), points)},
        coords={"reader": ["truth", "expert1"],
                "reader_role": ("reader", text(["reference", "benchmark"]))})
    saliency = xr.Dataset(
        {"heatmap": ((*both, "explainer", "model", "y", "x"), heat),
         "status": ((*both, "explainer", "model"), np.full((*shape, 2, 1), int(Status.OK),
                                                            np.uint8))},
        coords={"explainer": ["gradcam", "grad"], "model": ["m"]})
    prediction = xr.Dataset({"probability": ((*both, "model"),
                                             probability[..., None].astype(np.float32))},
                            coords={"model": ["m"]})
    cubes = xr.DataTree.from_dict({"/": root, "/reference": reference, "/saliency": saliency,
                                   "/prediction": prediction})
    cubes.attrs["source"] = "study.zarr"
    return cubes


def without(cubes: xr.DataTree, group: str) -> xr.DataTree:
    kept = cubes.copy()
    del kept[group]
    return kept


def replaced(cubes: xr.DataTree, group: str, **variables: Any) -> xr.DataTree:
    kept = cubes.copy()
    node: Any = cubes[group]
    kept[group] = xr.DataTree(node.to_dataset(inherit=False).assign(variables))
    return kept


@pytest.mark.parametrize("definition", ["default", "peer"])
@pytest.mark.parametrize("resolution", ["native", "grid"])
def test_cubes_and_their_tables_give_the_same(definition: Any, resolution: Any) -> None:
    cubes = tree()
    scoring = Scoring(definition=definition, resolution=resolution)
    shapes = descriptors(cubes, scoring=scoring).tables["descriptors"]
    result = regressions(cubes, scoring=scoring)
    scores = score_maps(cubes, scoring, Execution()).table
    direct = regress(scores, shapes, scoring=Scoring(definition=definition))
    pd.testing.assert_frame_equal(result.tables["estimates"], direct.tables["estimates"])
    assert len(result.tables["estimates"]) == 48
    assert result.meta["resolution"] == resolution
    assert result.meta["benchmark_readers"] == ["expert1"]
    related = confidence(cubes, scoring=scoring)
    stored = cubes["prediction"].to_dataset()["probability"].to_dataframe().reset_index()
    everything = replace(scoring, slice="all")
    direct = relate(score_maps(cubes, everything, Execution()).table, stored,
                    scoring=Scoring(definition=definition))
    pd.testing.assert_frame_equal(related.tables["estimates"], direct.tables["estimates"])


def test_known_effects_have_their_signs() -> None:
    cubes = tree(60)
    table = regressions(select(cubes, explainer=["gradcam"])).tables["estimates"]
    row = table[(table["scheme"] == "iou") & (table["descriptor"] == "area_ratio")]
    slopes: Any = row.set_index("response")
    # A blob of fixed size fits large ellipses better; so does a mask shifted by one pixel.
    assert slopes.loc["saliency", "p_adjusted"] < 0.001
    assert slopes.loc["saliency", "estimate"] > slopes.loc["expert", "estimate"] > 0
    related = confidence(cubes).tables["estimates"]
    rho = related[(related["term"] == "spearman") & (related["scheme"] == "iou")
                  & (related["finding"] == WITHIN)
                  & (related["explainer"] == "gradcam")].iloc[0]
    assert rho.conf_low > 0


def test_selections_reach_the_scores() -> None:
    cubes = tree()
    part = select(cubes, finding=["Edema"], explainer=["grad"], model=["m"])
    table = confidence(part).tables["estimates"]
    assert set(table["finding"]) == {"Edema", WITHIN, POOLED}
    assert set(table["explainer"]) == {"grad"}
    result = regressions(part)
    positives = int((cubes["reference/label"].sel(finding="Edema") == 1).sum())
    assert set(result.tables["estimates"]["n"]) == {positives}
    with pytest.raises(UsageError, match="finding 'Oedema'"):
        select(cubes, finding=["Oedema"])
    with pytest.raises(UsageError, match="explainer 'gradcm'"):
        select(cubes, explainer=["gradcm"])


@pytest.mark.parametrize("analysis", [regressions, confidence])
def test_what_is_missing_is_named(analysis: Any) -> None:
    cubes = tree(8)
    for lacking in (without(cubes, "reference"),
                    replaced(cubes, "reference", annotated=cubes["reference/annotated"] & False)):
        with pytest.raises(DataError, match=r"study\.zarr has no reference masks \(/reference/mask "
                                            r"is absent or empty\), so "):
            analysis(lacking)
    missing = cubes["saliency/status"] * np.uint8(0)
    for lacking in (without(cubes, "saliency"), replaced(cubes, "saliency", status=missing)):
        with pytest.raises(DataError, match=r"study\.zarr has no heatmaps"):
            analysis(lacking)


def test_a_benchmark_reader_alone_is_no_reference() -> None:
    cubes = tree(8)
    annotated: Any = cubes["reference/annotated"].copy()
    annotated[..., 0] = False
    with pytest.raises(DataError, match="has no reference masks"):
        confidence(replaced(cubes, "reference", annotated=annotated))


def test_confidence_needs_predictions() -> None:
    cubes = tree(8)
    empty = cubes["prediction/probability"] * np.float32(np.nan)
    for lacking in (without(cubes, "prediction"),
                    replaced(cubes, "prediction", probability=empty)):
        with pytest.raises(DataError, match=r"study\.zarr has no predictions"):
            confidence(lacking)


def test_too_few_rows_name_the_cubes_and_the_reason() -> None:
    cubes = tree(1)
    with pytest.raises(DataError, match=r"study\.zarr: none of the 48 regressions"):
        regressions(cubes)
    codes: Any = cubes["reference/mask_rle"].copy()
    codes[...] = rle.encode(np.zeros((SIZE, SIZE), dtype=bool))
    negative = replaced(cubes, "reference", mask_rle=codes)
    with pytest.raises(DataError, match=r"study\.zarr: no relation of probability .* empty "
                                        "reference mask"):
        confidence(negative)


def test_flat_maps_count_as_failures() -> None:
    cubes = tree()
    status: Any = cubes["saliency/status"].copy()
    status[0:6] = int(Status.FLAT)
    heat: Any = cubes["saliency/heatmap"].copy()
    heat[0:6] = 0
    flat = replaced(cubes, "saliency", status=status, heatmap=heat)
    whole, marked = (regressions(c).tables["estimates"] for c in (cubes, flat))
    assert (whole["n"] == marked["n"]).all()
    assert not np.allclose(whole["estimate"], marked["estimate"])


@pytest.mark.parametrize("analysis", [localization, regressions])
def test_readers_who_are_not_there_are_refused_before_maps_are_read(analysis: Any) -> None:
    with pytest.raises(UsageError, match=r"has no benchmark reader .*did you mean 'expert1'"):
        analysis(tree(4), benchmark="expert2")
    with pytest.raises(UsageError, match="no reader 'thruth'; did you mean 'truth'"):
        select(tree(4), reader=["thruth"])
