"""The scan goes by labels: parts of a study, workers, kept scores, cubes changed in memory."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

from saltrust.analysis.localization.analysis import localization
from saltrust.analysis.options import Execution, Resampling, Scoring
from saltrust.analysis.scores import scan
from saltrust.analysis.scores.scored_maps import score_maps
from saltrust.analysis.select import select
from saltrust.cache import rle
from saltrust.cache.schema import Status
from saltrust.cache.scores import read_scores
from saltrust.cache.store import open_cubes
from saltrust.errors import UsageError
from saltrust.testing import simulate_cubes
from tests.sealing import seal_again

#: Two blocks of images, so that two workers have something to do.
PATIENTS = 6
FEW = Resampling(resamples=20)
#: Of one reading, so that one scan is kept; several are the subject of test_readings.
RAW = Scoring(map="raw")
MAP = ["image", "finding", "explainer", "model"]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "study.zarr"
    simulate_cubes(path, patients=PATIENTS, grid=16, parts=())
    return path


@pytest.fixture(scope="module")
def whole(pristine: Path) -> pd.DataFrame:
    """Scores of all maps and people of the store as it is."""
    return _scores(open_cubes(pristine), keep=False)


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


def _scores(cubes: xr.DataTree, *, keep: bool = True) -> pd.DataFrame:
    return score_maps(cubes, RAW, Execution(keep=keep)).table


def _in_memory(cubes: xr.DataTree) -> pd.DataFrame:
    """Scores of what these cubes hold, by a tree that knows of no store."""
    alone = cubes.copy()
    del alone.attrs["source"]
    return _scores(alone)


def _rows(table: pd.DataFrame, **labels: Sequence[str]) -> pd.DataFrame:
    for name, chosen in labels.items():
        table = table[table[name].isin(chosen)]
    return table.reset_index(drop=True)


def _usable(cubes: xr.DataTree) -> int:
    return int((cubes["saliency/status"] == Status.OK).sum())


def _stored(cubes: xr.DataTree) -> int:
    return int((cubes["saliency/status"] != Status.MISSING).sum())


def _kept(store: Path) -> xr.Dataset | None:
    """The one scan that is kept."""
    groups = sorted((store / "scores" / "localization").glob("[!z]*"))
    assert len(groups) < 2
    return read_scores(store, "localization", groups[0].name) if groups else None


def _content(store: Path, *topics: str) -> dict[str, str]:
    """Digest of every file of what is kept, or of some topics of it."""
    return {str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted((store / "scores").joinpath(*topics).rglob("*")) if path.is_file()}


def _of_maps(store: Path) -> dict[str, str]:
    """What is kept of maps; masks, which are kept beside it, are the store's in these tests."""
    return _content(store, "localization")


def _replaced(cubes: xr.DataTree, group: str, **variables: xr.DataArray) -> xr.DataTree:
    """A copy of the tree in which one group has other variables."""
    changed = cubes.copy()
    node = cubes[group].to_dataset(inherit=False)
    changed[group] = xr.DataTree(node.assign(variables))
    return changed


# Parts of a study ----------------------------------------------------------------------------


def test_workers_score_the_maps_of_the_part(store: Path, whole: pd.DataFrame) -> None:
    edema = open_cubes(store).sel(finding=["Edema"])
    result = localization(edema, execution=Execution(workers=2), scoring=RAW, resampling=FEW)
    pd.testing.assert_frame_equal(result.tables["scores"], _rows(whole, finding=["Edema"]))
    kept = _kept(store)
    assert kept is not None
    assert set(kept["finding"].values) == {"Edema"}
    assert kept.sizes["map"] == _stored(edema)


def test_a_part_adds_to_what_is_kept_and_removes_nothing(
        store: Path, whole: pd.DataFrame, counted: list[int]) -> None:
    cubes = open_cubes(store)
    edema, gradcam = cubes.sel(finding=["Edema"]), cubes.sel(explainer=["gradcam"])
    pd.testing.assert_frame_equal(_scores(edema), _rows(whole, finding=["Edema"]))
    assert len(counted) == _usable(edema)
    pd.testing.assert_frame_equal(_scores(gradcam),
                                  _rows(whole, explainer=["gradcam", "expert"]))
    both = _usable(edema) + _usable(gradcam) - _usable(edema.sel(explainer=["gradcam"]))
    assert len(counted) == both
    pd.testing.assert_frame_equal(_scores(cubes), whole)
    assert len(counted) == _usable(cubes)
    full = _kept(store)
    assert full is not None
    assert full.sizes["map"] == _stored(cubes)
    # A part of what is kept leaves the rest where it is, and nothing is counted again.
    for part in (edema, gradcam, cubes.isel(image=[3, 1])):
        _scores(part)
    again = _kept(store)
    assert again is not None
    xr.testing.assert_identical(again, full)
    pd.testing.assert_frame_equal(_scores(open_cubes(store)), whole)
    assert len(counted) == _usable(cubes)


def test_a_part_in_another_order_is_scored_by_label(store: Path, whole: pd.DataFrame) -> None:
    cubes = open_cubes(store)
    turned = cubes.isel(image=slice(None, None, -1), finding=[2, 0])
    key = [*MAP, "reader"]
    expected = _rows(whole, finding=[str(name) for name in cubes["finding"].values[[2, 0]]])
    for _ in range(2):
        scores = _scores(turned)
        assert scores["image"].iloc[0] == str(cubes["image"].values[-1])
        pd.testing.assert_frame_equal(scores.sort_values(key, ignore_index=True),
                                      expected.sort_values(key, ignore_index=True))


PARTS: dict[str, tuple[Callable[[xr.DataTree], xr.DataTree], Callable[..., Any]]] = {
    "one image": (lambda c: c.isel(image=0),
                  lambda t, c: _rows(t, image=[str(c["image"].values[0])])),
    "one finding": (lambda c: c.sel(finding="Edema"), lambda t, c: _rows(t, finding=["Edema"])),
    "one image and finding": (
        lambda c: c.isel(image=1).sel(finding="Cardiomegaly"),
        lambda t, c: _rows(t, image=[str(c["image"].values[1])], finding=["Cardiomegaly"])),
    "one explainer and model": (
        lambda c: c.sel(explainer="grad", model="densenet-2"),
        lambda t, c: t[(t["explainer"] == "expert")
                       | (t["explainer"] == "grad") & (t["model"] == "densenet-2")]),
    "one map of each": (
        lambda c: c.isel(image=0, finding=1, explainer=1, model=0),
        lambda t, c: t[(t["image"] == str(c["image"].values[0]))
                       & (t["finding"] == str(c["finding"].values[1]))
                       & ((t["explainer"] == "expert")
                          | (t["explainer"] == str(c["saliency/explainer"].values[1]))
                          & (t["model"] == str(c["saliency/model"].values[0])))]),
    "the reference": (lambda c: select(c, reader=["radiologists"]),
                      lambda t, c: t[t["explainer"] != "expert"]),
    "the reference alone": (lambda c: c.sel(reader="radiologists"),
                            lambda t, c: t[t["explainer"] != "expert"]),
    "two readers": (lambda c: select(c, reader=["radiologists", "reader-2"]),
                    lambda t, c: t[(t["explainer"] != "expert") | (t["model"] == "reader-2")]),
}


@pytest.mark.parametrize("part", PARTS)
def test_labels_that_were_selected_choose_rows(store: Path, whole: pd.DataFrame,
                                               counted: list[int], part: str) -> None:
    cubes = open_cubes(store)
    take, rows = PARTS[part]
    chosen, expected = take(cubes), rows(whole, cubes).reset_index(drop=True)
    assert len(expected)
    pd.testing.assert_frame_equal(_scores(chosen), expected)
    first = len(counted)
    assert first == _usable(chosen)
    # What the part kept serves the whole, and what the whole keeps serves the part.
    pd.testing.assert_frame_equal(_scores(cubes), whole)
    assert len(counted) == _usable(cubes)
    pd.testing.assert_frame_equal(_scores(take(open_cubes(store))), expected)
    assert len(counted) == _usable(cubes)


@pytest.mark.parametrize("part", ["one finding", "one explainer and model", "two readers"])
def test_a_selected_label_gives_a_whole_result(store: Path, part: str) -> None:
    cubes = open_cubes(store)
    take, _ = PARTS[part]
    result = localization(take(cubes), scoring=RAW, resampling=FEW)
    summary = localization(cubes, scoring=RAW, resampling=FEW).tables["summary"]
    key = ["finding", "explainer", "model", "metric"]
    pair = result.tables["summary"].merge(summary, on=key, how="left", suffixes=("", "_whole"))
    assert len(pair) == len(result.tables["summary"]) > 0
    np.testing.assert_allclose(pair["estimate"], pair["estimate_whole"])
    np.testing.assert_array_equal(pair["n"], pair["n_whole"])


# Cubes that were changed in memory -----------------------------------------------------------


@pytest.mark.parametrize("opened", ["before", "after"])
@pytest.mark.parametrize("anything_kept", [True, False])
def test_negated_maps_have_their_scores_and_are_not_kept(
        store: Path, whole: pd.DataFrame, *, opened: str, anything_kept: bool) -> None:
    cubes = open_cubes(store)
    if anything_kept:
        _scores(open_cubes(store))
    if opened == "after":
        cubes = open_cubes(store)
    before = _of_maps(store)
    assert bool(before) == anything_kept
    negated = cubes.copy()
    negated["saliency"]["heatmap"] = -negated["saliency"]["heatmap"]
    scores = _scores(negated)
    pd.testing.assert_frame_equal(scores, _in_memory(negated))
    # The peak of a negated map is its minimum: hardly any peak stays where it was.
    usable = whole["peak_y"].notna() & (whole["explainer"] != "expert")
    same = (scores["peak_y"] == whole["peak_y"]) & (scores["peak_x"] == whole["peak_x"])
    assert same[usable].mean() < 0.1
    assert _of_maps(store) == before
    pd.testing.assert_frame_equal(_scores(cubes), whole)
    with pytest.raises(UsageError, match="need maps as they lie in a store"):
        score_maps(negated, RAW, Execution(workers=2))


def _turned(dim: str) -> Callable[[xr.DataTree], tuple[xr.DataTree, dict[str, str]]]:
    """Labels of a dimension handed out in reverse."""
    def turn(cubes: xr.DataTree) -> tuple[xr.DataTree, dict[str, str]]:
        return _labeled(cubes, dim, lambda names: names[::-1])
    return turn


def _labeled(cubes: xr.DataTree, dim: str, rename: Callable[[list[str]], list[str]]
              ) -> tuple[xr.DataTree, dict[str, str]]:
    """A tree with other labels, and the old label of each new one."""
    group = "saliency" if dim in ("explainer", "model") else "/"
    names = [str(name) for name in cubes[group][dim].values]
    changed = cubes.copy()
    if group == "/":
        changed = cubes.map_over_datasets(lambda part: part.assign_coords({dim: rename(names)}))
    else:
        changed[group] = xr.DataTree(
            cubes[group].to_dataset(inherit=False).assign_coords({dim: rename(names)}))
    return changed, dict(zip(rename(names), names, strict=True))


RENAMED: dict[str, Callable[[xr.DataTree], tuple[xr.DataTree, dict[str, str]]]] = {
    **{f"{dim} turned": _turned(dim) for dim in MAP},
    "finding renamed": lambda c: _labeled(c, "finding", lambda names: [f"{n}!" for n in names]),
    "image renamed": lambda c: _labeled(c, "image", lambda names: [f"new {n}" for n in names]),
    "explainer renamed": lambda c: _labeled(c, "explainer", lambda names: list("abc")),
}


@pytest.mark.parametrize("change", RENAMED)
@pytest.mark.parametrize("renamed_first", [True, False])
def test_kept_scores_go_by_the_labels_of_the_store(
        store: Path, whole: pd.DataFrame, counted: list[int], *, change: str,
        renamed_first: bool) -> None:
    cubes = open_cubes(store)
    renamed, old = RENAMED[change](cubes)
    dim = change.split(maxsplit=1)[0]
    if not renamed_first:
        _scores(cubes)
    scores = _scores(renamed)
    people = scores["explainer"] == "expert"
    label = scores[dim].map(old)
    back = scores.assign(**{dim: label if dim in ("image", "finding")
                            else label.where(~people, scores[dim])})
    pd.testing.assert_frame_equal(back.astype({dim: "object"}), whole)
    pd.testing.assert_frame_equal(_scores(open_cubes(store)), whole)
    # Nothing was counted twice, and only labels of the store are kept.
    assert len(counted) == _usable(cubes)
    kept = _kept(store)
    assert kept is not None
    saliency = cubes["saliency"].to_dataset()
    assert set(kept[dim].values) == set(saliency[dim].values.astype(object))


def test_a_mask_changed_in_memory_is_scored_anew_and_alone(
        store: Path, whole: pd.DataFrame, counted: list[int]) -> None:
    cubes = open_cubes(store)
    _scores(cubes)
    before = _content(store)
    counted.clear()
    drawn = whole[(whole["explainer"] == "gradcam") & (whole["area_reference"] > 0)].iloc[0]
    place = {"image": drawn["image"], "finding": drawn["finding"], "reader": "radiologists"}
    codes = cubes["reference/mask_rle"].copy(deep=True)
    height, width = (int(cubes[name].sel(image=drawn["image"]).item())
                     for name in ("native_height", "native_width"))
    mask = np.zeros((height, width), dtype=bool)
    mask[2:7, 3:9] = True
    codes.loc[place] = rle.encode(mask)
    changed = _replaced(cubes, "reference", mask_rle=codes)
    scores = _scores(changed)
    here = (scores["image"] == drawn["image"]) & (scores["finding"] == drawn["finding"])
    assert (scores.loc[here, "area_reference"] == 30).all()
    # Maps of this image and finding, and no other, are passed over again.
    maps = cubes["saliency/status"].sel(image=drawn["image"], finding=drawn["finding"])
    assert len(counted) == int((maps == Status.OK).sum()) > 0
    pd.testing.assert_frame_equal(scores[~here], whole[~here])
    pd.testing.assert_frame_equal(scores, _in_memory(changed))
    assert _content(store) == before


@pytest.mark.parametrize("anything_kept", [True, False])
@pytest.mark.parametrize(("in_store", "in_memory"), [
    (Status.OK, Status.FLAT), (Status.OK, Status.NONFINITE), (Status.OK, Status.MISSING),
    (Status.FLAT, Status.OK), (Status.MISSING, Status.OK)])
def test_a_status_changed_in_memory_counts(
        store: Path, whole: pd.DataFrame, in_store: Status, in_memory: Status, *,
        anything_kept: bool) -> None:
    cubes = open_cubes(store)
    usable = np.argwhere(cubes["saliency/status"].values == Status.OK)[5]
    place = tuple(int(at) for at in usable)
    zarr.open_group(store, mode="r+")["saliency/status"][place] = int(in_store)
    seal_again(store)
    cubes = open_cubes(store)
    as_stored = _scores(cubes, keep=anything_kept)
    before = _content(store)
    status = cubes["saliency/status"].copy(deep=True)
    status[place] = in_memory
    changed = _replaced(cubes, "saliency", status=status)
    changed["saliency"]["heatmap"] = cubes["saliency"]["heatmap"]
    scores = _scores(changed, keep=anything_kept)
    pd.testing.assert_frame_equal(scores, _in_memory(changed))
    assert not scores.equals(as_stored)
    if in_memory == Status.OK:
        pd.testing.assert_frame_equal(scores, whole)
    assert _content(store) == before
    pd.testing.assert_frame_equal(_scores(open_cubes(store)), as_stored)


@pytest.mark.parametrize("way", ["loaded", "dask"])
def test_maps_in_memory_or_under_dask_are_scored_afresh(
        store: Path, whole: pd.DataFrame, counted: list[int], way: str) -> None:
    if way == "dask":
        pytest.importorskip("dask")
        cubes = open_cubes(store, chunks={"image": -1})
        assert cubes["saliency/heatmap"].chunks is not None
    else:
        cubes = open_cubes(store).load()
    pd.testing.assert_frame_equal(_scores(cubes), whole)
    assert not _of_maps(store)
    _scores(open_cubes(store))
    before = _of_maps(store)
    counted.clear()
    pd.testing.assert_frame_equal(_scores(cubes), whole)
    pd.testing.assert_frame_equal(_scores(cubes.sel(finding="Edema")),
                                  _rows(whole, finding=["Edema"]))
    assert len(counted) == _usable(cubes) + _usable(cubes.sel(finding="Edema"))
    assert _of_maps(store) == before


def test_masks_that_only_memory_holds_are_scored(store: Path, whole: pd.DataFrame) -> None:
    drawn = open_cubes(store)["reference"].to_dataset(inherit=False).load()
    shutil.rmtree(store / "reference")
    seal_again(store)
    bare = open_cubes(store)
    assert "reference" not in bare.children
    bare["reference"] = xr.DataTree(drawn)
    pd.testing.assert_frame_equal(_scores(bare), whole)
    assert not (store / "scores").exists()
