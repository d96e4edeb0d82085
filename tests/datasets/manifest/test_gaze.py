"""Gaze heatmaps named by a CSV manifest."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import saltrust
from saltrust.cache.collection import gaze_source
from saltrust.cache.reference import import_collection
from saltrust.cache.validation import problems
from saltrust.datasets.manifest.collection import manifest
from saltrust.errors import DataError

Make = Callable[..., Path]
RAMP = np.tile(np.linspace(0, 120, 16), (12, 1)).astype(np.uint8)


@pytest.fixture
def films(tmp_path: Path, save_png: Make) -> Path:
    for name in ("a", "b", "c"):
        save_png(tmp_path / f"{name}.png", np.zeros((24, 32), np.uint8))
    save_png(tmp_path / "gaze" / "a.png", RAMP)
    save_png(tmp_path / "gaze" / "c.png", 0 * RAMP)
    path = tmp_path / "films.csv"
    path.write_text("path,split,Edema,mask:Edema:expert,gaze,gaze:Dr. Lee\n"
                    "a.png,train,1,,gaze/a.png,gaze/a.png\n"
                    "b.png,test,0,none,,gaze/a.png\n"
                    "c.png,test,0,,gaze/c.png,\n")
    return path


def test_gaze_by_reader(films: Path, caplog: Any) -> None:
    data = manifest(films)
    assert gaze_source(data) is data
    assert data.index["finding"].values.tolist() == ["Edema"]
    assert data.index["reader"].values.tolist() == ["expert", "reference", "Dr. Lee"]
    assert data.index["reader_role"].values.tolist() == ["benchmark", "reference", "reference"]
    seen = data.gaze("a", (12, 16))
    assert list(seen) == ["reference", "Dr. Lee"]
    np.testing.assert_allclose(seen["reference"], RAMP / 120, atol=1e-6)
    assert list(data.gaze("b", (6, 8))) == ["Dr. Lee"]
    with caplog.at_level(logging.WARNING):
        assert data.gaze("c", (12, 16)) == {}
    assert "c.png is black" in caplog.text
    assert data.fixations("a") == {}


def test_cubes_of_it(films: Path, tmp_path: Path) -> None:
    cubes = saltrust.open_cubes(import_collection(manifest(films), tmp_path / "m.zarr",
                                                  grid=(6, 8)))
    assert problems(cubes) == []
    recorded = cubes["reference/gaze_recorded"].to_pandas()
    assert recorded["reference"].tolist() == [True, False, False]
    assert recorded["Dr. Lee"].tolist() == [True, True, False]
    assert not recorded["expert"].any()
    assert "fixation_y" not in cubes["reference"].data_vars
    # Nobody drew a mask but the expert, who saw nothing.
    assert int(cubes["reference/annotated"].sum()) == 1


def test_without_the_column_there_is_no_gaze(films: Path) -> None:
    films.write_text("path,Edema\na.png,1\nb.png,0\n")
    assert gaze_source(manifest(films)) is None


def test_the_heatmap_is_part_of_what_determines_the_data(films: Path, save_png: Make) -> None:
    before = manifest(films).fingerprint
    noise = np.random.default_rng(0).integers(0, 255, RAMP.shape, dtype=np.uint8)
    save_png(films.parent / "gaze" / "a.png", noise)
    assert manifest(films).fingerprint != before


def test_mistakes_are_named(films: Path, save_png: Make) -> None:
    films.write_text("path,Edema,gaze\na.png,1,gaze/no.png\nb.png,0,gaze/a.png\n")
    with pytest.raises(DataError, match=r"1 of 2 gaze heatmaps.*no\.png"):
        manifest(films)
    colors = np.random.default_rng(0).integers(0, 255, (5, 5, 3), dtype=np.uint8)
    save_png(films.parent / "gaze" / "no.png", colors)
    with pytest.raises(DataError, match=r"no\.png has colours"):
        manifest(films).gaze("a", (5, 5))
    (films.parent / "gaze" / "no.png").write_bytes(b"not a PNG")
    with pytest.raises(DataError, match=r"no\.png is not a PNG"):
        manifest(films).gaze("a", (5, 5))
    films.write_text("path,Edema,gase:Edema\na.png,1,x.png\n")
    with pytest.raises(DataError, match="gaze"):
        manifest(films)
