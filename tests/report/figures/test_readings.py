"""Pictures show what of a map is scored: its sign, its peak, its contour."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from saltrust.analysis.localization.survey import survey_maps
from saltrust.analysis.options import Resampling
from saltrust.analysis.protocols.study import analyze_study
from saltrust.analysis.result import Result
from saltrust.analysis.stored.readings import read_as
from saltrust.cache.readings import READING
from saltrust.cache.schema import Status
from saltrust.report.figures.pictures import stored_map
from saltrust.report.page import gallery

AT = {"image": "image-02", "finding": "Cardiomegaly", "explainer": "grad", "model": "net"}


@pytest.fixture
def signed(cubes: xr.DataTree) -> xr.DataTree:
    """The largest magnitude of a map of ``grad`` is below zero."""
    changed = cubes.copy(deep=True)
    maps = changed["saliency/heatmap"].copy()
    maps.loc[AT] = np.linspace(-1, 0.5, 32 * 32, dtype=np.float32).reshape(32, 32)
    changed["saliency"]["heatmap"] = maps
    return changed


def _map(cubes: xr.DataTree) -> np.ndarray:
    heatmap = stored_map(cubes, "saliency", **AT)
    assert heatmap is not None
    assert heatmap.status is Status.OK
    return heatmap.values


def test_a_map_is_drawn_as_it_is_scored(signed: xr.DataTree) -> None:
    stored = signed["saliency/heatmap"].sel(AT).values
    np.testing.assert_array_equal(_map(signed), np.abs(stored))
    np.testing.assert_array_equal(_map(read_as(signed, "raw")), stored)
    np.testing.assert_array_equal(_map(read_as(signed, "positive")), np.maximum(stored, 0))
    # The cubes were not touched.
    assert READING not in signed["saliency"].coords


def test_a_map_with_nothing_to_read_is_flat(signed: xr.DataTree) -> None:
    maps = signed["saliency/heatmap"].copy()
    maps.loc[AT] = -1 - np.abs(maps.sel(AT).values)
    signed["saliency"]["heatmap"] = maps
    heatmap = stored_map(read_as(signed, "positive"), "saliency", **AT)
    assert heatmap is not None
    assert heatmap.status is Status.FLAT
    assert np.ptp(heatmap.values) == 0
    seen = survey_maps(read_as(signed, "positive"), model="net")
    assert seen is not None
    of_map = ((seen.maps["image"] == AT["image"]) & (seen.maps["finding"] == AT["finding"])
              & (seen.maps["explainer"] == "grad"))
    assert not of_map.any()


def test_the_survey_segments_what_is_read(signed: xr.DataTree) -> None:
    extents = {}
    for word in ("raw", "absolute"):
        seen = survey_maps(read_as(signed, word), model="net")  # type: ignore[arg-type]
        assert seen is not None
        row = seen.maps[(seen.maps["image"] == AT["image"]) & (seen.maps["explainer"] == "grad")
                        & (seen.maps["finding"] == AT["finding"])].iloc[0]
        extents[word] = row["extent"]
        peak = (0.5 / 32, 0.5 / 32) if word == "absolute" else (31.5 / 32, 31.5 / 32)
        assert (row["peak_y"], row["peak_x"]) == pytest.approx(peak)
    assert extents["raw"] != extents["absolute"]


def test_accessor_draws_other_readings(signed: xr.DataTree) -> None:
    peaks = {}
    for word in ("auto", "raw"):
        axes = signed.saltrust.overlay(AT["image"], AT["finding"], "grad", map=word)
        (line,) = [line for line in axes.lines if line.get_marker() == "+"]
        peaks[word] = float(np.ravel(line.get_ydata())[0])
    assert peaks["auto"] < 1 < 31 < peaks["raw"]
    for word in ("auto", "raw"):
        figure = signed.saltrust.gallery("Cardiomegaly", "grad", map=word, rows=1, columns=2)
        assert len(figure.axes) == 2


def test_contours_of_a_page_are_those_that_were_scored(signed: xr.DataTree) -> None:
    for word in ("auto", "raw"):
        results = analyze_study(signed, map=word,  # type: ignore[arg-type]
                                resampling=Resampling(resamples=20))
        located = results["localization"]
        assert isinstance(located, Result)
        scores = located["scores"]
        for case in gallery.build(read_as(signed, word), scores):  # type: ignore[arg-type]
            for tile in case.tiles[1:]:
                row = scores[(scores["image"] == case.choice.image)
                             & (scores["finding"] == case.choice.finding)
                             & (scores["explainer"] == tile.title)].iloc[0]
                for marker in tile.markers:
                    # On the native grid of 64 x 48, drawn at 32 x 24.
                    assert marker.y * 2 == pytest.approx(row["peak_y"], abs=2.5)
                    assert marker.x * 2 == pytest.approx(row["peak_x"], abs=2.5)
