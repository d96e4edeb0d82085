"""Gaze on a part of a study: any sub-tree, the path of a store, averages of what was left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from saltrust.analysis.gaze.analysis import gaze
from saltrust.analysis.gaze.scores import AVERAGE
from saltrust.analysis.options import GazeComparison, Resampling
from saltrust.analysis.select import select
from saltrust.errors import UsageError
from saltrust.testing import simulate_cubes

FEW = Resampling(resamples=20)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("looked-at") / "study.zarr"
    simulate_cubes(path, patients=9, grid=12, findings=["Cardiomegaly", "Edema"],
                   parts=["gaze", "localizer"], seed=6)
    return path


@pytest.fixture(scope="module")
def cubes(store: Path) -> xr.DataTree:
    return select(store)


def rows_of(table: pd.DataFrame, **labels: str) -> pd.DataFrame:
    for name, label in labels.items():
        table = table[table[name] == label]
    return table.reset_index(drop=True)


def test_a_finding_alone_has_the_rows_of_the_whole(cubes: xr.DataTree) -> None:
    whole = gaze(cubes, resampling=FEW).tables
    for part in (select(cubes, finding=["Edema"]), cubes.sel(finding="Edema")):
        tables = gaze(part, resampling=FEW).tables
        for name in ("scores", "summary", "specificity", "comparisons"):
            pd.testing.assert_frame_equal(tables[name], rows_of(whole[name], finding="Edema"))


def test_an_explainer_alone_has_the_rows_of_the_whole(cubes: xr.DataTree) -> None:
    maps = GazeComparison(source="saliency")
    whole = rows_of(gaze(cubes, comparison=maps, resampling=FEW).tables["scores"],
                    explainer="gradcam")
    for part in (select(cubes, explainer="gradcam"), cubes.sel(explainer="gradcam")):
        scores = gaze(part, comparison=maps, resampling=FEW).tables["scores"]
        pd.testing.assert_frame_equal(rows_of(scores, explainer="gradcam"), whole)
    of_model = gaze(select(cubes, model="densenet-2", explainer="gradcam"), comparison=maps,
                    resampling=FEW).tables["scores"]
    pd.testing.assert_frame_equal(rows_of(of_model, explainer="gradcam"),
                                  rows_of(whole, model="densenet-2"))


def test_a_path_gives_what_the_tree_gives(store: Path, cubes: xr.DataTree) -> None:
    assert gaze(store, resampling=FEW).to_dict() == gaze(cubes, resampling=FEW).to_dict()


def test_the_average_gaze_is_of_the_store_that_was_selected_from(cubes: xr.DataTree) -> None:
    test = select(cubes, split="test")
    result = gaze(test, resampling=FEW)
    splits = cubes["split"].values.astype("U8")
    reader = result.meta["reader"]
    recorded = cubes["reference/gaze_recorded"].sel(reader=reader).values.astype(bool)
    fitted = np.flatnonzero(np.isin(splits, ["train", "val"]) & recorded)
    assert result.meta["average_gaze"] == (
        f"mean over {len(fitted)} images of training and validation")
    seen = cubes["reference/gaze"].sel(reader=reader).values.astype(float)
    mean = seen[fitted].mean(axis=0).ravel()
    rows = rows_of(result.tables["scores"], explainer=AVERAGE)
    assert len(rows)
    for row in rows.itertuples():
        at = cubes["image"].values.tolist().index(row.image)
        assert row.correlation == pytest.approx(np.corrcoef(mean, seen[at].ravel())[0, 1])
    # Named, or selected by the user's indexing, it is the same.
    where = np.flatnonzero(splits == "test")
    for again in (gaze(test, fitted_on=cubes, resampling=FEW),
                  gaze(cubes.isel(image=where), resampling=FEW)):
        assert again.to_dict() == result.to_dict()
    # Nobody can tell without the store.
    alone = test.copy()
    del alone.attrs["source"]
    assert gaze(alone, resampling=FEW).meta["average_gaze"] == (
        "mean over the selected images of other patients")


def test_a_study_of_another_grid_is_refused(cubes: xr.DataTree) -> None:
    other = simulate_cubes(patients=9, grid=13, findings=["Edema"], parts=["gaze"], seed=6)
    with pytest.raises(UsageError, match="13 x 13 pixels, the cubes of 12 x 12"):
        gaze(select(cubes, split="test"), fitted_on=other)


def test_intervals_are_of_the_kind(cubes: xr.DataTree) -> None:
    plain, moved = (gaze(cubes, measures=["nss"], resampling=Resampling(resamples=50, kind=kind))
                    .tables["summary"] for kind in ("percentile", "bca"))  # type: ignore[arg-type]
    np.testing.assert_array_equal(plain["estimate"], moved["estimate"])
    assert (plain["conf_low"] != moved["conf_low"]).any()
