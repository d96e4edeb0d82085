"""The criteria on a part of a study: any sub-tree, the path of a store, what was left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from saltrust.analysis.options import Decision
from saltrust.analysis.result import Result
from saltrust.analysis.select import select
from saltrust.analysis.trustworthiness.randomization import randomization
from saltrust.analysis.trustworthiness.repeatability import repeatability, reproducibility
from saltrust.analysis.trustworthiness.utility import utility
from saltrust.errors import UsageError
from saltrust.testing import simulate_cubes

FEW = Decision(resamples=100, alpha=0.3)
FINDINGS = ["Cardiomegaly", "Edema"]
Analysis = Callable[..., Result]
CRITERIA: dict[str, Analysis] = {"utility": utility, "randomization": randomization,
                                 "repeatability": repeatability,
                                 "reproducibility": reproducibility}
pytestmark = pytest.mark.filterwarnings("ignore:Precision loss")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trusted") / "study.zarr"
    simulate_cubes(path, patients=8, grid=12, findings=FINDINGS,
                   parts=["localizer", "randomization"], seed=2)
    return path


@pytest.fixture(scope="module")
def cubes(store: Path) -> xr.DataTree:
    return select(store, explainer=["gradcam", "grad"])


def rows_of(table: pd.DataFrame, **labels: str) -> pd.DataFrame:
    for name, label in labels.items():
        table = table[table[name] == label]
    return table.reset_index(drop=True)


@pytest.mark.parametrize("name", CRITERIA)
def test_a_finding_alone_has_the_rows_of_the_whole(name: str, cubes: xr.DataTree) -> None:
    few = select(cubes, explainer="gradcam")
    whole = CRITERIA[name](few, decision=FEW).tables
    for part in (select(few, finding=["Edema"]), few.sel(finding="Edema")):
        tables = CRITERIA[name](part, decision=FEW).tables
        assert tables.keys() == whole.keys()
        for table in tables:
            expected = rows_of(whole[table], finding="Edema")
            # Holm's correction over all rows of the study is of more rows in the whole.
            pd.testing.assert_frame_equal(
                tables[table].drop(columns="p_study", errors="ignore"),
                expected.drop(columns="p_study", errors="ignore"))


@pytest.mark.parametrize("name", CRITERIA)
def test_an_explainer_alone_has_the_scores_of_the_whole(name: str, cubes: xr.DataTree) -> None:
    edema = select(cubes, finding="Edema")
    whole = rows_of(CRITERIA[name](edema, decision=FEW).tables["scores"], explainer="gradcam")
    for part in (select(edema, explainer="gradcam"), edema.sel(explainer="gradcam")):
        scores = CRITERIA[name](part, decision=FEW).tables["scores"]
        pd.testing.assert_frame_equal(rows_of(scores, explainer="gradcam"), whole)


@pytest.mark.parametrize("name", ["utility", "randomization"])
def test_a_model_alone_has_the_scores_of_the_whole(name: str, cubes: xr.DataTree) -> None:
    edema = select(cubes, finding="Edema", explainer="gradcam")
    whole, alone = (CRITERIA[name](tree, decision=FEW).tables for tree in
                    (edema, select(edema, model="densenet-1")))
    pd.testing.assert_frame_equal(rows_of(alone["scores"], model="densenet-1"),
                                  rows_of(whole["scores"], model="densenet-1"))
    # What each model's maps explain is shown of all, also of those that were not selected.
    pd.testing.assert_frame_equal(alone["models"], whole["models"])
    if name == "utility":
        # Networks that localize are baselines, whatever they are called.
        assert {"unet-1", "unet-2"} <= set(alone["summary"]["explainer"])


@pytest.mark.parametrize("name", CRITERIA)
def test_a_path_gives_what_the_tree_gives(name: str, tmp_path: Path) -> None:
    path = tmp_path / "small.zarr"
    cubes = simulate_cubes(path, patients=8, images_per_patient=1, grid=12, findings=["Edema"],
                           parts=["randomization"], seed=2)
    assert CRITERIA[name](path, decision=FEW).to_dict() \
        == CRITERIA[name](cubes, decision=FEW).to_dict()


def test_one_image_has_scores_without_decisions(cubes: xr.DataTree) -> None:
    labels, mask = cubes["reference/label"].values[:, 1], cubes["reference/mask"].values
    image = int(np.flatnonzero((labels == 1) & mask[:, 1, 0].any(axis=(1, 2)))[0])
    scores = utility(cubes.isel(image=image).sel(finding="Edema"), decision=FEW).tables["scores"]
    assert set(scores["image"]) == {str(cubes["image"].values[image])}


def test_the_average_mask_is_of_the_store_that_was_selected_from(cubes: xr.DataTree) -> None:
    edema = select(cubes, finding="Edema", explainer="gradcam", model="densenet-1")
    test = select(edema, split="test")
    result = utility(test, decision=FEW)
    splits = cubes["split"].values.astype("U8")
    reference = cubes["reference"].to_dataset().sel(finding="Edema", reader="radiologists")
    counted = (np.isin(splits, ["train", "val"]) & reference["annotated"].values.astype(bool)
               & (reference["label"].values != 0) & reference["mask"].any(["y", "x"]).values)
    assert result.meta["average_mask_of"] == {"Edema": counted.sum()}
    where = np.flatnonzero(splits == "test")
    for again in (utility(test, fitted_on=cubes, decision=FEW),
                  utility(edema.isel(image=where), decision=FEW)):
        assert again.to_dict() == result.to_dict()
    other = simulate_cubes(patients=9, grid=9, findings=["Edema"], parts=[], seed=6)
    with pytest.raises(UsageError, match="9 x 9 pixels, the cubes of 12 x 12"):
        utility(test, fitted_on=other)


def test_a_selected_reader_is_the_reference(cubes: xr.DataTree) -> None:
    edema = select(cubes, finding="Edema", reader="radiologists", split="test")
    assert utility(edema, decision=FEW).meta["reference_reader"] == "radiologists"
