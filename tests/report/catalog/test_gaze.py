"""Figures of gaze before any model: which images, what is drawn where, on which scale."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import saltrust
from saltrust.cache.collection import Annotation, Fixations, Radiograph
from saltrust.cache.gaze_maps import GazeSmoothing, fixation_heatmap
from saltrust.cache.reference import import_collection
from saltrust.cli import main
from saltrust.datasets.collection_index import collection_index
from saltrust.errors import DataError, UsageError

#: Seconds that each image was looked at, and how often; 0: no gaze.
SECONDS = (4.0, 9.0, 2.0, 0.0, 6.0, 5.0)
FIXATIONS = (8, 2, 4, 0, 3, 6)
CLASSES = ("Normal", "CHF", "Pneumonia")
NATIVE = (80, 60)


class Read:
    """Six images of three classes in turn; the eye goes down from the top, evenly in time."""

    has_radiographs, has_gaze, fingerprint, description = True, True, "read", {"kind": "read"}

    def __init__(self, *, maps_only: bool = False) -> None:
        self.maps_only = maps_only
        self.names = [f"film {k}" for k in range(6)]
        self.index = collection_index(
            self.names, list(CLASSES), np.tile(np.eye(3, dtype=np.int8), (2, 1)),
            readers={"Dr. A": "reference"}, native_sizes=[NATIVE] * 6)
        self.index.attrs.update(n_points=0, n_boxes=0,
                                n_fixations=0 if maps_only else max(FIXATIONS))

    def radiograph(self, image: str, grid: tuple[int, int]) -> Radiograph:
        return Radiograph(np.full(grid, 120, np.uint8), *NATIVE)

    def annotations(self, image: str) -> dict[tuple[str, str], Annotation]:
        return {}

    def fixations(self, image: str) -> dict[str, Fixations]:
        k = self.names.index(image)
        n = FIXATIONS[k]
        if not n or self.maps_only:
            return {}
        lasted = np.full(n, SECONDS[k] / n)
        return {"Dr. A": Fixations(np.linspace(8, 72, n), np.full(n, 20.0), lasted,
                                   100 + np.cumsum(lasted) - lasted)}

    def gaze(self, image: str, grid: tuple[int, int]) -> dict[str, Any]:
        if not FIXATIONS[self.names.index(image)]:
            return {}
        looked = Read().fixations(image)["Dr. A"]
        return {"Dr. A": fixation_heatmap(looked, NATIVE, grid, GazeSmoothing("5%"))}


@pytest.fixture(scope="module")
def cubes(tmp_path_factory: pytest.TempPathFactory) -> xr.DataTree:
    path = tmp_path_factory.mktemp("gaze") / "g.zarr"
    return saltrust.open_cubes(import_collection(Read(), path, grid=(40, 30)))


def headings(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


def overlay(axes: Axes) -> np.ndarray:
    """Opacity of what lies over the radiograph."""
    assert len(axes.images) == 2
    return np.asarray(axes.images[1].get_array())[..., 3]


@pytest.mark.parametrize(("options", "shown"), [
    ({}, ("film 0", "film 1", "film 5")),
    ({"rank": "worst"}, ("film 0", "film 4", "film 2")),
    ({"by": "fixations"}, ("film 0", "film 4", "film 5"))])
def test_one_image_of_every_class_by_its_rank(cubes: xr.DataTree, options: Any,
                                              shown: Sequence[str]) -> None:
    figure = saltrust.figure(cubes, "gaze", **options)
    expected = [f"{name}\n{image}" for name, image in zip(CLASSES, shown, strict=True)]
    # Film 3, the other normal one, was not looked at.
    assert headings(figure)[::2] == expected
    assert headings(figure)[1::2] == ["gaze"] * 3
    assert {len({axes.get_subplotspec().rowspan.start for axes in figure.axes})} == {1}
    word = {"worst": "fewest"}.get(options.get("rank", ""), "most")
    assert figure.axes[0].get_xlabel() == f"{word} {options.get('by', 'seconds')}"


def test_images_whose_radiographs_are_at_hand_come_first(cubes: xr.DataTree) -> None:
    tree = cubes.copy()
    radiographs = tree["radiograph"].to_dataset()
    tree["radiograph"] = xr.DataTree(radiographs.assign(
        stored=("image", np.array([0, 0, 1, 0, 1, 0], dtype=np.uint8))))
    assert headings(saltrust.figure(tree, "gaze"))[::2] == ["CHF\nfilm 4", "Pneumonia\nfilm 2"]
    tree["radiograph"] = xr.DataTree(radiographs.assign(
        stored=("image", np.zeros(6, dtype=np.uint8))))
    assert headings(saltrust.figure(tree, "gaze"))[2] == "CHF\nfilm 1"


def test_several_images_of_a_class_stand_in_its_line(cubes: xr.DataTree) -> None:
    figure = saltrust.figure(cubes, "gaze", count=2)
    assert headings(figure) == ["Normal\nfilm 0", "gaze", "", "", "CHF\nfilm 1", "gaze",
                                "CHF\nfilm 4", "gaze", "Pneumonia\nfilm 5", "gaze",
                                "Pneumonia\nfilm 2", "gaze"]
    for axes in (figure.axes[1], figure.axes[7], figure.axes[11]):
        assert overlay(axes).max() > 0.5
    assert figure.axes[7].get_xlabel() == "3 fixations\n6.0 s"


def test_gaze_lies_where_it_was_recorded(cubes: xr.DataTree) -> None:
    figure = saltrust.figure(cubes, "gaze", image="film 1")
    ground, gaze = figure.axes
    assert ground.get_title() == "CHF\nfilm 1"
    assert not ground.collections
    # Two fixations at rows 8 and 72 of 80, column 20 of 60.
    circles = np.asarray(gaze.collections[0].get_offsets())
    height, width = gaze.get_ylim()[0], gaze.get_xlim()[1]
    np.testing.assert_allclose(circles, [[20.5 / 60 * width, 8.5 / 80 * height],
                                         [20.5 / 60 * width, 72.5 / 80 * height]])
    rows = overlay(gaze).max(axis=1)
    assert rows[4] == pytest.approx(rows.max())
    assert rows[36] == pytest.approx(rows.max(), rel=0.01)
    assert rows[20] < 0.01


def test_a_film_has_windows_on_one_scale_and_their_times(cubes: xr.DataTree) -> None:
    figure = saltrust.figure(cubes, "gaze-film", image=["film 0", "film 1"])
    assert headings(figure)[:8] == [
        "Normal\nfilm 0", "0.0 to 0.7 s", "0.7 to 1.3 s", "1.3 to 2.0 s", "2.0 to 2.7 s",
        "2.7 to 3.3 s", "3.3 to 4.0 s", "all"]
    places = [int(overlay(axes).max(axis=1).argmax()) for axes in figure.axes[1:7]]
    assert places == sorted(places)
    assert places[0] < 8
    assert places[-1] > 32
    # Two fixations of 4.5 s each fill three windows each.
    strengths = [overlay(axes).max() for axes in figure.axes[9:15]]
    np.testing.assert_allclose(strengths, max(strengths), rtol=0.02)
    assert headings(figure)[15] == "all"
    whole = overlay(figure.axes[15]).max(axis=1)
    assert whole[4] == pytest.approx(whole[36], rel=0.02)


def test_the_longest_window_of_an_image_sets_the_scale() -> None:
    from saltrust.report.catalog.choosing import Case
    from saltrust.report.catalog.gaze import draw_film

    cubes = saltrust.simulate_cubes(patients=6, grid=16, parts=("radiograph", "gaze"))
    image = str(cubes["image"].values[0])
    film = saltrust.temporal_gaze(cubes, frames=4).sel(image=image).values
    figure = draw_film(cubes, [Case(image, "Edema")], "radiologists", frames=4)
    for axes, frame in zip(figure.axes[1:5], film, strict=True):
        np.testing.assert_allclose(overlay(axes), 0.6 * np.sqrt(frame / film.max()), atol=1e-5)


@pytest.mark.parametrize("name", ["gaze", "gaze-film"])
def test_images_without_gaze_are_refused(cubes: xr.DataTree, name: str) -> None:
    with pytest.raises(DataError, match=r"no such gaze of Dr\. A on image 'film 3'"):
        saltrust.figure(cubes, name, image="film 3")
    with pytest.raises(UsageError, match="'film 2'"):
        saltrust.figure(cubes, name, image="film  2")
    with pytest.raises(DataError, match=r"holds no gaze on any|when any fixation began"):
        saltrust.figure(saltrust.select(cubes, image="film 3"), name)


def test_ready_made_heatmaps_have_no_time_and_no_circles(tmp_path: Path) -> None:
    cubes = saltrust.open_cubes(import_collection(Read(maps_only=True), tmp_path / "m.zarr",
                                                  grid=(20, 15)))
    figure = saltrust.figure(cubes, "gaze")
    assert headings(figure)[::2] == ["Normal\nfilm 0", "CHF\nfilm 1", "Pneumonia\nfilm 2"]
    assert not figure.axes[1].collections
    assert figure.axes[0].get_xlabel() == ""
    with pytest.raises(DataError, match=r"holds no seconds of gaze of Dr\. A"):
        saltrust.figure(cubes, "gaze", by="seconds")
    with pytest.raises(DataError, match="holds no fixations"):
        saltrust.figure(cubes, "gaze-film")


def test_the_command_draws_from_an_imported_store(cubes: xr.DataTree, tmp_path: Path) -> None:
    from click.testing import CliRunner

    for name in ("gaze", "gaze-film"):
        made = CliRunner().invoke(main, ["figure", name, str(cubes.attrs["source"]), "-o",
                                         str(tmp_path / f"{name}.svg"), "--finding", "CHF"],
                                  catch_exceptions=False)
        assert made.exit_code == 0, made.stderr
        drawn = (tmp_path / f"{name}.svg").read_text()
        assert "film 1" in drawn or "<image" in drawn
