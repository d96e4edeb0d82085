"""Simulated gaze: on the findings, in the lungs, central, and nothing else changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import saltrust
from saltrust.cache.collection import gaze_source
from saltrust.cache.gaze_maps import GazeSmoothing, fixation_heatmap
from saltrust.cache.inspection import describe
from saltrust.cache.layout import variables_with_room
from saltrust.cache.reference import import_collection
from saltrust.cache.schema import Label, Variable
from saltrust.cache.validation import problems
from saltrust.datasets.cubes.collection import stored_cubes
from saltrust.datasets.phantom.collection import PhantomCollection, phantom
from saltrust.datasets.phantom.gaze import MOST_FIXATIONS
from saltrust.datasets.registry import open_collection
from saltrust.errors import DataError
from saltrust.study_file import read_study

SIZE = 96


@pytest.fixture(scope="module")
def looked_at() -> PhantomCollection:
    return phantom(patients=30, size=SIZE, seed=5, gaze=GazeSmoothing())


def names(data: PhantomCollection) -> list[str]:
    return [str(name) for name in data.index["image"].values]


def test_gaze_changes_nothing_else(looked_at: PhantomCollection) -> None:
    plain = phantom(patients=30, size=SIZE, seed=5)
    assert gaze_source(plain) is None
    assert plain.gaze(names(plain)[0], (8, 8)) == {}
    assert plain.index["label"].equals(looked_at.index["label"])
    assert plain.fingerprint != looked_at.fingerprint
    assert looked_at.fingerprint != phantom(
        patients=30, size=SIZE, seed=5, gaze=GazeSmoothing("3%")).fingerprint
    for name in names(plain)[:4]:
        np.testing.assert_array_equal(plain.scene(name).pixels, looked_at.scene(name).pixels)
        assert dict(plain.annotations(name)) == dict(looked_at.annotations(name))


def test_gaze_is_reproducible_and_differs_between_images(looked_at: PhantomCollection) -> None:
    again = phantom(patients=3, size=SIZE, seed=5, gaze=GazeSmoothing())
    first, second = names(again)[:2]
    one, other = looked_at.fixations(first)["reference"], again.fixations(first)["reference"]
    np.testing.assert_array_equal(one.y, other.y)
    np.testing.assert_array_equal(one.duration, other.duration)
    assert not np.array_equal(one.y[:5], again.fixations(second)["reference"].y[:5])


def test_every_image_has_gaze_within_it_sick_or_well(looked_at: PhantomCollection) -> None:
    well = 0
    for name in names(looked_at):
        fixations = looked_at.fixations(name)["reference"]
        assert 5 <= len(fixations) <= MOST_FIXATIONS
        assert (fixations.duration > 0).all()
        for where in (fixations.y, fixations.x):
            assert (where >= -0.5).all()
            assert (where < SIZE - 0.5).all()
        heatmap = looked_at.gaze(name, (40, 40))["reference"]
        np.testing.assert_array_equal(heatmap, fixation_heatmap(
            fixations, (SIZE, SIZE), (40, 40), GazeSmoothing()))
        well += not any(mask.any() for mask in looked_at.scene(name).masks.values())
    assert well >= 1


def test_the_eye_dwells_on_findings_and_searches_the_lungs(looked_at: PhantomCollection) -> None:
    """Gaze inside masks is denser than their share of the lungs would make it."""
    dwelt, share = [], []
    for name in names(looked_at):
        scene = looked_at.scene(name)
        mask = np.any([scene.masks[finding] for finding in (
            "Lung Lesion", "Pneumothorax", "Consolidation")], axis=0)
        if not mask.any():
            continue
        fixations = looked_at.fixations(name)["reference"]
        on = mask[np.rint(fixations.y).astype(int), np.rint(fixations.x).astype(int)]
        dwelt.append(np.average(on, weights=fixations.duration))
        share.append((mask & (scene.anatomy.lung_level > 0)).sum()
                     / (scene.anatomy.lung_level > 0).sum())
    assert len(dwelt) >= 8
    assert np.mean(dwelt) > 2 * np.mean(share)
    healthy = next(name for name in names(looked_at)
                   if not any(mask.any() for mask in looked_at.scene(name).masks.values()))
    fixations = looked_at.fixations(healthy)["reference"]
    lungs = looked_at.scene(healthy).anatomy.lung_level > -0.05
    inside = lungs[np.rint(fixations.y).astype(int), np.rint(fixations.x).astype(int)]
    assert inside.mean() > 0.8


def test_cubes_hold_gaze_and_give_it_back(looked_at: PhantomCollection, tmp_path: Path) -> None:
    data = phantom(patients=4, size=SIZE, seed=5, gaze=GazeSmoothing())
    path = import_collection(data, tmp_path / "g.zarr", grid=(32, 32))
    cubes = saltrust.open_cubes(path)
    assert problems(cubes) == []
    reference = cubes["reference"].to_dataset()
    assert reference["gaze"].dims == ("image", "reader", "y", "x")
    assert reference["gaze"].dtype == np.float32
    recorded = reference["gaze_recorded"].to_pandas()
    assert recorded["reference"].all()
    assert not recorded["expert-1"].any()
    assert np.isnan(reference["gaze"].sel(reader="expert-1").values).all()
    assert describe(cubes)["groups"]["reference"]["complete"]["gaze_maps"] == len(names(data))
    stored = stored_cubes(path)
    assert gaze_source(stored) is stored
    for name in names(data):
        np.testing.assert_array_equal(stored.gaze(name, (32, 32))["reference"],
                                      data.gaze(name, (32, 32))["reference"])
        looks, expected = stored.fixations(name)["reference"], data.fixations(name)["reference"]
        np.testing.assert_allclose(looks.y, expected.y, rtol=1e-6)
        np.testing.assert_allclose(looks.x, expected.x, rtol=1e-6)
        np.testing.assert_allclose(looks.duration, expected.duration, rtol=1e-6)
        np.testing.assert_allclose(looks.onset, expected.onset, rtol=1e-6)
        assert list(stored.fixations(name)) == ["reference"]
        assert stored.gaze(name, (16, 16))["reference"].max() == 1
    with pytest.raises(DataError, match="holds gaze of 32 x 32 pixels"):
        stored.gaze(names(data)[0], (64, 64))
    # A store made of the store is the same again.
    again = saltrust.open_cubes(import_collection(stored, tmp_path / "h.zarr", grid=(32, 32)))
    for name in ("gaze", "fixation_y", "fixation_duration", "fixation_onset", "gaze_recorded"):
        np.testing.assert_array_equal(again["reference"][name].values[..., :8],
                                      reference[name].values[..., :8])


def test_a_fixation_begins_when_the_one_before_ends(looked_at: PhantomCollection) -> None:
    whole = 0
    for name in names(looked_at):
        looks = looked_at.fixations(name)["reference"]
        gaps = looks.onset[1:] - looks.onset[:-1] - looks.duration[:-1]
        # Longer only where a fixation between fell outside the image.
        assert (gaps > -1e-9).all()
        whole += bool(looks.onset[0] == 0 and (gaps < 1e-9).all())
    assert whole > len(names(looked_at)) / 2


def test_a_store_made_before_onsets_were_kept(tmp_path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    def older(*arguments: Any) -> list[Variable]:
        return [variable for variable in variables_with_room(*arguments)
                if variable.name != "fixation_onset"]

    monkeypatch.setattr("saltrust.cache.writing.variables_with_room", older)
    data = phantom(patients=2, size=SIZE, seed=5, gaze=GazeSmoothing())
    path = import_collection(data, tmp_path / "g.zarr", grid=(16, 16))
    cubes = saltrust.open_cubes(path)
    assert "fixation_onset" not in cubes["reference"].data_vars
    assert problems(cubes) == []
    looks = stored_cubes(path).fixations(names(data)[0])["reference"]
    assert len(looks) > 4
    assert np.isfinite(looks.duration).all()
    assert np.isnan(looks.onset).all()


def test_cubes_without_gaze_say_so(tmp_path: Path) -> None:
    path = import_collection(phantom(patients=2, size=SIZE), tmp_path / "p.zarr", grid=(16, 16))
    assert "gaze" not in saltrust.open_cubes(path)["reference"].data_vars
    stored = stored_cubes(path)
    assert gaze_source(stored) is None
    name = str(stored.index["image"].values[0])
    assert stored.gaze(name, (16, 16)) == {}
    assert stored.fixations(name) == {}


def test_a_study_asks_for_gaze(tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text('[data]\nkind = "phantom"\npatients = 3\nsize = 64\ngaze = true\n'
                     'sigma = "8%"\nweight = "count"\n')
    stored = open_collection(read_study(study))
    assert gaze_source(stored) is not None
    assert stored.description["gaze"] == {"simulated": True, "sigma": "8%", "weight": "count"}
    assert (stored.index["label"] == Label.POSITIVE).any()


def test_an_interrupted_import_goes_on_where_it_stopped(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saltrust.cache.reference.CODES_PER_CHUNK", 2)
    data = phantom(patients=5, size=48, seed=5, gaze=GazeSmoothing())
    whole = saltrust.open_cubes(import_collection(data, tmp_path / "w.zarr", grid=(16, 16)))
    asked: list[str] = []
    gaze = PhantomCollection.gaze

    def counted(self: PhantomCollection, image: str, grid: tuple[int, int]) -> object:
        asked.append(image)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return gaze(self, image, grid)

    monkeypatch.setattr(PhantomCollection, "gaze", counted)
    with pytest.raises(KeyboardInterrupt):
        import_collection(data, tmp_path / "r.zarr", grid=(16, 16))
    assert not (tmp_path / "r.zarr").exists()
    resumed = saltrust.open_cubes(import_collection(data, tmp_path / "r.zarr", grid=(16, 16),
                                                    resume=True))
    # The first block was whole, the second is made again.
    assert asked[4:] == names(data)[2:]
    for name in ("gaze", "gaze_recorded", "fixation_y", "fixation_x", "fixation_duration"):
        np.testing.assert_array_equal(resumed["reference"][name].values,
                                      whole["reference"][name].values)
