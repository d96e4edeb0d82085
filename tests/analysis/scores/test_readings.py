"""What of the maps is scored: the same as of maps changed by hand, kept apart, by any workers."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

from saltrust.analysis.localization.analysis import localization
from saltrust.analysis.localization.thresholds import save_thresholds, tune_thresholds
from saltrust.analysis.options import Execution, Resampling, Scoring
from saltrust.analysis.scores import scan
from saltrust.analysis.scores.scored_maps import ScoredMaps, score_maps
from saltrust.analysis.select import select
from saltrust.cache.readings import READING
from saltrust.cache.schema import Status
from saltrust.cache.scores import read_scores, scores_key
from saltrust.cache.store import open_cubes, root_attributes
from saltrust.cache.validation import problems, unknown_contents
from saltrust.errors import DataError, UsageError
from saltrust.testing import simulate_cubes
from tests.sealing import seal_again

FEW = Resampling(resamples=20)
#: What the explainers of a simulated study declare.
DECLARED = {"gradcam": "raw", "guided_backprop": "absolute", "grad": "absolute"}
BY_HAND: dict[str, Any] = {"raw": lambda maps: maps, "absolute": np.abs,
                           "positive": lambda maps: maps.where(~(maps < 0), np.float32(0))}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "study.zarr"
    simulate_cubes(path, patients=5, grid=12, parts=(), findings=("Edema",))
    return path


@pytest.fixture
def store(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "study.zarr"))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every map that is passed over."""
    maps: list[int] = []
    count = scan.count_map

    def watched(*args: Any, **kwargs: Any) -> Any:
        maps.append(1)
        return count(*args, **kwargs)

    monkeypatch.setattr(scan, "count_map", watched)
    return maps


def _scored(cubes: xr.DataTree, *, keep: bool = False, workers: int = 1, **scoring: Any
            ) -> ScoredMaps:
    return score_maps(cubes, Scoring(**scoring), Execution(workers=workers, keep=keep))


def _scores(cubes: xr.DataTree, **options: Any) -> pd.DataFrame:
    return _scored(cubes, **options).table


def _by_hand(path: Path, reading: str) -> xr.DataTree:
    """Cubes in memory whose maps were changed before anything was scored."""
    cubes = open_cubes(path).load().copy()
    cubes["saliency"]["heatmap"] = BY_HAND[reading](cubes["saliency"]["heatmap"])
    del cubes.attrs["source"]
    return cubes


def _usable(cubes: xr.DataTree) -> int:
    return int((cubes["saliency/status"] == Status.OK).sum())


@pytest.mark.parametrize("reading", BY_HAND)
@pytest.mark.parametrize("options", [{}, {"definition": "peer"}, {"resolution": "grid"},
                                     {"threshold": 0.3, "slice": "all"}], ids=str)
def test_a_reading_is_what_the_maps_would_be_by_hand(pristine: Path, reading: str,
                                                     options: dict[str, Any]) -> None:
    scored = _scored(open_cubes(pristine), map=reading, **options)
    by_hand = _scored(_by_hand(pristine, reading), map="raw", **options)
    pd.testing.assert_frame_equal(scored.table, by_hand.table)
    assert scored.scan is not None
    assert by_hand.scan is not None
    for name in ("total", "inside", "outcome", "peak_y", "area"):
        np.testing.assert_array_equal(scored.scan[name], by_hand.scan[name])
    assert scored.meta["map"] == reading
    assert scored.meta["map_readings"] == dict.fromkeys(DECLARED, reading)


def test_by_default_every_explainer_is_read_as_it_declares(pristine: Path) -> None:
    scored = _scored(open_cubes(pristine))
    assert scored.meta["map"] == "auto"
    assert scored.meta["map_readings"] == DECLARED
    tables = {word: _scores(open_cubes(pristine), map=word) for word in BY_HAND}
    for explainer, reading in DECLARED.items():
        rows = scored.table["explainer"] == explainer
        pd.testing.assert_frame_equal(scored.table[rows], tables[reading][rows])
    moved = scored.table["iou"].ne(tables["raw"]["iou"]) & scored.table["iou"].notna()
    assert set(scored.table.loc[moved, "explainer"]) == {"grad", "guided_backprop"}


def test_peer_is_raw_unless_another_reading_is_asked_for(pristine: Path) -> None:
    peer = _scored(open_cubes(pristine), definition="peer")
    assert peer.meta["map"] == "raw"
    assert set(peer.meta["map_readings"].values()) == {"raw"}
    pd.testing.assert_frame_equal(peer.table, _scores(open_cubes(pristine), definition="peer",
                                                      map="raw"))
    other = _scored(open_cubes(pristine), definition="peer", map="absolute")
    assert other.meta["map"] == "absolute"
    assert not other.table["iou"].equals(peer.table["iou"])


def test_an_unknown_reading_is_refused() -> None:
    with pytest.raises(UsageError, match=r"map 'abs' is not known.*absolute"):
        Scoring(map="abs")  # type: ignore[arg-type]


# Kept scores ---------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [("raw", "absolute", "positive", "auto"),
                                   ("auto", "positive", "absolute", "raw")], ids=str)
def test_kept_scores_are_of_one_reading(store: Path, counted: list[int], order: tuple[str, ...]
                                        ) -> None:
    fresh = {word: _scores(open_cubes(store), map=word) for word in order}
    counted.clear()
    for word in order:
        pd.testing.assert_frame_equal(_scores(open_cubes(store), keep=True, map=word),
                                      fresh[word])
    # Every map in three readings, once each: what is declared is one of them.
    assert len(counted) == 3 * _usable(open_cubes(store))
    counted.clear()
    for word in order:
        pd.testing.assert_frame_equal(_scores(open_cubes(store), keep=True, map=word),
                                      fresh[word])
    assert not counted


def test_a_part_adds_to_what_is_kept_of_its_readings(store: Path, counted: list[int]) -> None:
    whole = _scores(open_cubes(store))
    counted.clear()
    for labels in ({"explainer": ["grad", "gradcam"]}, {"model": ["densenet-2"]}, {}):
        part = select(open_cubes(store), **labels)
        mine = whole[np.logical_and.reduce(
            [whole[name].isin(chosen) | (whole["explainer"] == "expert")
             for name, chosen in labels.items()] or [np.full(len(whole), True)])]
        pd.testing.assert_frame_equal(_scores(part, keep=True), mine.reset_index(drop=True))
    assert len(counted) == _usable(open_cubes(store))


def test_what_says_no_reading_is_kept_of_raw_maps(store: Path, counted: list[int]) -> None:
    """It is used for them, and for no others."""
    facts = {"pass": scan.SCAN_VERSION, "resolution": "native", "definition": "default",
             "thresholds": scan.ScanOptions("native", "default").made_from("raw")["thresholds"]}
    raw = _scores(open_cubes(store), keep=True, map="raw")
    kept = read_scores(store, scan.TOPIC, scores_key(root_attributes(str(store)), facts))
    assert kept is not None
    counted.clear()
    auto = _scores(open_cubes(store), keep=True)
    signed = open_cubes(store).sel(explainer=["guided_backprop", "grad"])
    assert len(counted) == _usable(signed)
    assert not auto["iou"].equals(raw["iou"])


def test_damaged_scores_of_one_reading_are_counted_again(store: Path, counted: list[int],
                                                         caplog: pytest.LogCaptureFixture) -> None:
    whole = _scores(open_cubes(store), keep=True)
    facts = scan.ScanOptions("native", "default").made_from("absolute")
    place = store / "scores" / scan.TOPIC / scores_key(root_attributes(str(store)), facts)
    (place / "total" / "c" / "0" / "0").unlink()
    counted.clear()
    with caplog.at_level(logging.WARNING):
        pd.testing.assert_frame_equal(_scores(open_cubes(store), keep=True), whole)
    assert "computed again" in caplog.text
    assert len(counted) == _usable(open_cubes(store).sel(explainer=["guided_backprop", "grad"]))


def test_workers_read_alike(store: Path) -> None:
    alone = _scored(open_cubes(store), map="auto")
    many = _scored(open_cubes(store), map="auto", workers=2, keep=True)
    pd.testing.assert_frame_equal(alone.table, many.table)
    pd.testing.assert_frame_equal(_scores(open_cubes(store), keep=True), alone.table)


# Where the readings come from ----------------------------------------------------------------


def _without_readings(path: Path) -> None:
    """Make the store one that was written before readings were."""
    group = zarr.open_group(path / "saliency", mode="r+")
    names = [name for name in str(group.attrs["coordinates"]).split() if name != READING]
    group.attrs["coordinates"] = " ".join(names)
    shutil.rmtree(path / "saliency" / READING)


def test_a_store_of_an_earlier_version_is_read_by_name(store: Path) -> None:
    whole = _scored(open_cubes(store))
    _without_readings(store)
    seal_again(store)
    cubes = open_cubes(store)
    assert READING not in cubes["saliency"].coords
    assert problems(cubes) == []
    again = _scored(cubes)
    assert again.meta["map_readings"] == DECLARED
    pd.testing.assert_frame_equal(again.table, whole.table)


def test_a_stored_reading_is_valid_and_obeyed(store: Path) -> None:
    cubes = open_cubes(store)
    assert cubes["saliency"].coords[READING].values.tolist() == list(DECLARED.values())
    assert problems(cubes) == []
    assert unknown_contents(cubes) == []
    array = zarr.open_array(store / "saliency" / READING, mode="r+")
    array[:] = np.array(["positive", "raw", ""], dtype=np.dtypes.StringDType())
    seal_again(store)
    expected = {"gradcam": "positive", "guided_backprop": "raw", "grad": "absolute"}
    assert _scored(open_cubes(store)).meta["map_readings"] == expected
    array[:] = np.array(["positive", "rough", ""], dtype=np.dtypes.StringDType())
    seal_again(store)
    with pytest.raises(DataError, match=r"'rough'.*raw"):
        _scores(open_cubes(store))


def test_a_reading_stated_in_memory_is_obeyed_and_kept_apart(store: Path) -> None:
    cubes = open_cubes(store).copy()
    cubes["saliency"].dataset = cubes["saliency"].to_dataset(inherit=False).assign_coords(
        {READING: ("explainer", ["positive", "raw", "absolute"])})
    scores = _scores(cubes, keep=True)
    for explainer, reading in zip(DECLARED, ["positive", "raw", "absolute"], strict=True):
        rows = scores["explainer"] == explainer
        pd.testing.assert_frame_equal(scores[rows], _scores(open_cubes(store), map=reading)[rows])
    pd.testing.assert_frame_equal(_scores(open_cubes(store), keep=True),
                                  _scores(open_cubes(store)))


# Maps that have nothing of what is read ------------------------------------------------------


ODD: dict[str, tuple[Any, dict[str, Status]]] = {
    "all negative": (lambda m: -1 - np.abs(m), {"positive": Status.FLAT}),
    "all zero": (lambda m: m * 0, {"raw": Status.FLAT, "absolute": Status.FLAT,
                                   "positive": Status.FLAT}),
    "constant": (lambda m: m * 0 - 2, {"raw": Status.FLAT, "absolute": Status.FLAT,
                                       "positive": Status.FLAT}),
    "two signs, one magnitude": (lambda m: np.where(m > np.median(m), 3, -3),
                                 {"absolute": Status.FLAT}),
}


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_usable_map_that_is_not_finite_is_an_error(pristine: Path, value: float) -> None:
    cubes = open_cubes(pristine).load().copy()
    del cubes.attrs["source"]
    maps = cubes["saliency/heatmap"]
    place = tuple(np.argwhere(cubes["saliency/status"].values == Status.OK)[0])
    values = maps.values.copy()
    values[(*place, 3, 4)] = value
    cubes["saliency"]["heatmap"] = maps.copy(data=values)
    with pytest.raises(DataError, match=r"the map of image .* has status ok and pixels"):
        _scored(cubes, map="raw", slice="positive")


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("reading", BY_HAND)
def test_maps_without_what_is_read_are_failures(pristine: Path, kind: str, reading: str) -> None:
    """As flat maps are; whatever the status says of the map that is stored."""
    change, outcomes = ODD[kind]
    cubes = open_cubes(pristine).load().copy()
    del cubes.attrs["source"]
    maps = cubes["saliency/heatmap"]
    at = {"image": 0, "finding": 0, "explainer": 2, "model": 0}
    values = maps.values.copy()
    values[0, 0, 2, 0] = change(np.random.default_rng(0).normal(size=maps.shape[-2:]))
    cubes["saliency"]["heatmap"] = maps.copy(data=values)
    status = cubes["saliency/status"].values.copy()
    status[0, 0, 2, 0] = Status.OK
    cubes["saliency"]["status"] = cubes["saliency/status"].copy(data=status)
    scored = _scored(cubes, map=reading, slice="positive")
    assert scored.scan is not None
    labels = {name: str(cubes["saliency"][name].values[k]) if name in ("explainer", "model")
              else str(cubes[name].values[k]) for name, k in at.items()}
    row = np.logical_and.reduce([scored.scan[name].values == label
                                 for name, label in labels.items()])
    assert scored.scan["outcome"].values[row] == outcomes.get(reading, Status.OK)
    table = scored.table[np.logical_and.reduce([scored.table[name] == label
                                                for name, label in labels.items()])]
    assert len(table)
    if reading in outcomes:
        assert set(table["area_predicted"]) == {0.0}
        assert table["threshold"].isna().all()
        assert set(table["hit"].dropna()) <= {0.0}
    assert np.isfinite(scored.table["iou"].dropna()).all()


# Analyses ------------------------------------------------------------------------------------


def test_localization_says_what_it_scored(pristine: Path) -> None:
    result = localization(open_cubes(pristine), resampling=FEW)
    assert result.meta["map_readings"] == DECLARED
    assert ("Of maps were scored: all values (gradcam); the absolute values (guided_backprop, "
            "grad); as their explainers declare.") in result.methods()
    only = localization(select(open_cubes(pristine), explainer="gradcam"),
                        scoring=Scoring(map="positive"), resampling=FEW)
    assert only.meta["map_readings"] == {"gradcam": "positive"}
    assert "Of maps were scored: the positive part (gradcam)." in only.methods()


def test_thresholds_are_tuned_on_what_is_read(pristine: Path) -> None:
    for reading in BY_HAND:
        tuned = tune_thresholds(open_cubes(pristine), scoring=Scoring(map=reading))
        by_hand = tune_thresholds(_by_hand(pristine, reading), scoring=Scoring(map="raw"))
        pd.testing.assert_frame_equal(tuned["thresholds"].drop(columns="map_reading"),
                                      by_hand["thresholds"].drop(columns="map_reading"))
        assert set(tuned["thresholds"]["map_reading"]) == {reading}
    auto = tune_thresholds(open_cubes(pristine))
    assert auto.meta["map_readings"] == DECLARED
    named = auto["thresholds"].set_index("explainer")["map_reading"]
    assert named.groupby(level=0).first().to_dict() == DECLARED


def test_thresholds_of_another_reading_are_warned_of(pristine: Path, tmp_path: Path,
                                                     caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "tuned.csv"
    save_thresholds(tune_thresholds(open_cubes(pristine), scoring=Scoring(map="raw")), path)
    with caplog.at_level(logging.WARNING):
        _scores(open_cubes(pristine), map="raw", threshold=path)
    assert not caplog.text
    with caplog.at_level(logging.WARNING):
        _scores(open_cubes(pristine), threshold=path)
    assert ("table tuned.csv was tuned on maps of grad read as raw, and they are read as absolute "
            "here; tune it again, or say --map raw") in caplog.text
    assert "maps of gradcam" not in caplog.text
