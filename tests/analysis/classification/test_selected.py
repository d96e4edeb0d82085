"""Classification of a part of a study: any sub-tree, and the path of a store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from saltrust.analysis.classification.analysis import classification
from saltrust.analysis.options import Resampling
from saltrust.analysis.select import select
from saltrust.testing import simulate_cubes

FEW = Resampling(resamples=50)
FINDINGS = ["Cardiomegaly", "Edema"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("classified") / "study.zarr"
    simulate_cubes(path, patients=9, grid=8, findings=FINDINGS, parts=[], seed=5)
    return path


@pytest.fixture(scope="module")
def cubes(store: Path) -> xr.DataTree:
    return select(store)


def rows_of(table: pd.DataFrame, **labels: str) -> pd.DataFrame:
    for name, label in labels.items():
        table = table[table[name] == label]
    return table.reset_index(drop=True)


@pytest.mark.parametrize("level", ["image", "study"])
def test_a_finding_alone_has_the_rows_of_the_whole(cubes: xr.DataTree, level: str) -> None:
    whole = classification(cubes, level=level, resampling=FEW)  # type: ignore[arg-type]
    for part in (select(cubes, finding=["Edema"]), cubes.sel(finding="Edema")):
        tables = classification(part, level=level, resampling=FEW).tables  # type: ignore[arg-type]
        for name in ("auc", "comparisons", "cases", "calibration"):
            pd.testing.assert_frame_equal(tables[name], rows_of(whole.tables[name],
                                                                finding="Edema"))


def test_a_model_alone_has_the_rows_of_the_whole(cubes: xr.DataTree) -> None:
    # Of cases that every model predicted, so that both are of the same ones.
    probability = cubes["prediction/probability"]
    known = cubes.isel(image=np.isfinite(probability).all(["finding", "model"]).values.nonzero()[0])
    whole = classification(known, resampling=FEW).tables["auc"]
    for part in (select(known, model="densenet-2"), known.sel(model="densenet-2")):
        alone = classification(part, resampling=FEW)
        pd.testing.assert_frame_equal(alone.tables["auc"], rows_of(whole, model="densenet-2"))
        assert "comparisons" not in alone.tables


def test_a_path_gives_what_the_tree_gives(store: Path, cubes: xr.DataTree) -> None:
    assert classification(store, resampling=FEW).to_dict() \
        == classification(cubes, resampling=FEW).to_dict()


def test_the_split_is_that_of_the_images(cubes: xr.DataTree) -> None:
    splits = {None: "train, val, test", "test": "test", ("val", "test"): "val, test"}
    for split, stated in splits.items():
        labels = list(split) if isinstance(split, tuple) else split
        result = classification(select(cubes, split=labels), resampling=FEW)
        assert result.meta["split"] == stated
    unstated = cubes.copy()
    unstated.dataset = unstated.to_dataset().drop_vars("split")
    assert classification(unstated, resampling=FEW).meta["split"] == "not stated"


def test_one_image_alone_has_no_area(cubes: xr.DataTree) -> None:
    labels = cubes["reference/label"].values
    known = ((labels == 0) | (labels == 1)).all(axis=1).nonzero()[0][0]
    result = classification(cubes.isel(image=int(known)), resampling=FEW)
    assert result.meta["cases"] == 1
    assert result.tables["auc"]["estimate"].isna().all()
    assert (result.tables["auc"]["note"] != "").all()


def test_intervals_of_the_brier_score_are_of_the_kind(cubes: xr.DataTree) -> None:
    plain, moved = (classification(cubes, resampling=Resampling(resamples=50, kind=kind)).tables
                    for kind in ("percentile", "bca"))  # type: ignore[arg-type]
    brier = [tables["calibration"].query("term == 'brier'") for tables in (plain, moved)]
    assert (brier[0]["conf_low"].to_numpy() != brier[1]["conf_low"].to_numpy()).any()
    pd.testing.assert_frame_equal(plain["auc"], moved["auc"])
