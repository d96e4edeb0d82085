"""The tidy table of everything scored gives the regressions and relations that the cubes give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import saltrust
from saltrust.analysis.options import Execution, Resampling, Scoring
from saltrust.analysis.shape.score_frame import score_frame
from saltrust.cache.store import open_cubes
from saltrust.errors import UsageError
from saltrust.testing import simulate_cubes

FEW = Resampling(resamples=30)
KEY = ["image", "finding", "explainer", "model", "reader"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("frame") / "study.zarr"
    simulate_cubes(path, patients=8, grid=16, parts=())
    return path


@pytest.fixture(scope="module")
def frame(store: Path) -> pd.DataFrame:
    return score_frame(open_cubes(store), Scoring(), Execution())


def _as_frame(frame: pd.DataFrame, _: Path) -> Any:
    return frame


def _as_csv(frame: pd.DataFrame, folder: Path) -> Any:
    frame.to_csv(folder / "scores.csv", index=False)
    return folder / "scores.csv"


WAYS = pytest.mark.parametrize("handed_over", [_as_frame, _as_csv])
HandOver = Callable[[pd.DataFrame, Path], Any]


def _same(one: saltrust.Result, two: saltrust.Result, *tables: str) -> None:
    for name in tables:
        assert len(one.tables[name])
        pd.testing.assert_frame_equal(one.tables[name], two.tables[name], rtol=1e-9, atol=1e-12,
                                      check_dtype=False)


def test_the_frame_has_what_the_cubes_have(store: Path, frame: pd.DataFrame) -> None:
    cubes = open_cubes(store)
    assert frame.columns[:2].tolist() == ["image", "patient"]
    assert not frame.duplicated(KEY).any()
    scores = saltrust.localization(cubes, resampling=FEW).tables["scores"]
    pd.testing.assert_frame_equal(frame[list(scores.columns)], scores)
    shapes = saltrust.descriptors(cubes).tables["descriptors"].set_index(
        ["image", "finding", "reader"])
    of_rows = shapes.reindex(pd.MultiIndex.from_frame(frame[["image", "finding", "reader"]]))
    for name in ("n_instances", "area_ratio", "elongation", "irrectangularity"):
        np.testing.assert_array_equal(frame[name], of_rows[name])
    root = cubes.to_dataset()
    for name in ("patient", "split"):
        stated = dict(zip(root["image"].values.tolist(), root[name].values.tolist(), strict=True))
        assert frame[name].tolist() == [stated[image] for image in frame["image"]]
    for row in frame.iloc[::37].to_dict("records"):
        of_row = {"image": row["image"], "finding": row["finding"]}
        assert row["label"] == int(cubes["reference/label"].sel(of_row).item())
        if row["explainer"] == "expert":
            assert np.isnan(row["probability"])
        else:
            probability = cubes["prediction/probability"].sel({**of_row, "model": row["model"]})
            np.testing.assert_array_equal(row["probability"], probability.astype(float).item())


def test_the_accessor_gives_the_frame(store: Path, frame: pd.DataFrame) -> None:
    saltrust_accessor = pytest.importorskip("saltrust.accessor")
    pd.testing.assert_frame_equal(saltrust_accessor.Cubes(open_cubes(store)).scores(), frame)


@WAYS
@pytest.mark.parametrize("scoring", [Scoring(), Scoring(definition="peer")],
                         ids=["default", "peer"])
def test_regressions_of_the_frame(store: Path, tmp_path: Path, handed_over: HandOver,
                                  scoring: Scoring) -> None:
    cubes = open_cubes(store)
    table = handed_over(score_frame(cubes, scoring, Execution()), tmp_path)
    fits: Any = {"fits": ["logit"], "benchmark": "reader-2"}
    for options in ({}, fits):
        of_frame = saltrust.regressions_from_scores(table, scoring=scoring, **options)
        of_cubes = saltrust.regressions(cubes, scoring=scoring, **options)
        _same(of_frame, of_cubes, "estimates", "robust", *(["logit"] if options else []))
        assert of_frame.tables["estimates"]["estimate"].notna().sum() > 100
        assert of_frame.meta["exclusions"] == of_cubes.meta["exclusions"]


@WAYS
@pytest.mark.parametrize(("scoring", "interval"), [
    (Scoring(), None), (Scoring(slice="all"), "bootstrap"), (Scoring(definition="peer"), None)],
    ids=["default", "bootstrap", "peer"])
def test_relations_of_the_frame(store: Path, tmp_path: Path, handed_over: HandOver,
                                scoring: Scoring, interval: Any) -> None:
    cubes = open_cubes(store)
    # Under peer a relation is of all pairs, as the scores of its cubes.
    scored = Scoring(definition="peer", slice="all") if scoring.definition == "peer" else scoring
    table = handed_over(score_frame(cubes, scored, Execution()), tmp_path)
    options: Any = {"resampling": FEW, "interval": interval, "operating_point": 0.4}
    of_frame = saltrust.confidence_from_scores(table, scoring=scoring, **options)
    of_cubes = saltrust.confidence(cubes, scoring=scoring, **options)
    _same(of_frame, of_cubes, "estimates", "robust", "strata")
    assert of_frame.tables["estimates"]["estimate"].notna().sum() > 100
    assert set(of_cubes.tables) - set(of_frame.tables) == {"calibration"}


@pytest.mark.parametrize(("analysis", "other"), [
    (saltrust.regressions, "regressions_from_scores"),
    (saltrust.confidence, "confidence_from_scores")])
def test_a_frame_in_the_place_of_cubes_names_the_function_for_it(
        frame: pd.DataFrame, analysis: Any, other: str) -> None:
    with pytest.raises(UsageError, match=rf"table of scores .* saltrust\.{other} takes one"):
        analysis(frame)


def test_a_part_has_the_rows_of_the_part(store: Path, frame: pd.DataFrame) -> None:
    cubes: xr.DataTree = open_cubes(store)
    for part, rows in (
            (cubes.sel(finding="Edema"), frame["finding"] == "Edema"),
            (cubes.isel(image=0), frame["image"] == frame["image"].iloc[0])):
        table = score_frame(part, Scoring(), Execution())
        expected = frame[rows].reset_index(drop=True)
        assert set(table.columns) == set(expected.columns)
        pd.testing.assert_frame_equal(table[list(expected.columns)], expected)
