"""A simulated study, and one of which everything but annotations is gone."""

from __future__ import annotations

from pathlib import Path

import pytest
import xarray as xr

from saltrust.analysis.select import select
from saltrust.testing import simulate_cubes


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("figures") / "study.zarr"
    simulate_cubes(place, patients=10, images_per_patient=1, grid=16,
                   findings=["Edema", "Nodule"], seed=3)
    return place


@pytest.fixture(scope="session")
def study(path: Path) -> xr.DataTree:
    return select(path)


@pytest.fixture(scope="session")
def test_split(study: xr.DataTree) -> xr.DataTree:
    return select(study, split="test")
