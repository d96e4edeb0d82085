"""Maps cut by a threshold of their histogram, against the pixels themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from skimage import filters

from saltrust.analysis.options import Execution, Scoring
from saltrust.analysis.pixels.segmentation import quantize
from saltrust.analysis.scores import scan
from saltrust.analysis.scores.scored_maps import score_maps
from saltrust.cache.store import open_cubes
from saltrust.errors import UsageError
from saltrust.testing import simulate_cubes


def _scores(path: Path, threshold: str) -> pd.DataFrame:
    scoring = Scoring(resolution="grid", map="raw", threshold=threshold)
    return score_maps(open_cubes(path), scoring, Execution(), readers=False).table


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cut") / "study.zarr"
    simulate_cubes(path, patients=4, grid=16, parts=())
    _scores(path, "otsu")
    return path


@pytest.mark.parametrize("method", ["yen", "isodata", "li"])
def test_maps_are_cut_by_name_without_another_pass(study: Path, method: str,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    # What is kept of the pixels is enough.
    monkeypatch.setattr(scan, "count_map", None)
    table = _scores(study, method)
    cubes, of_pixels = open_cubes(study), getattr(filters, f"threshold_{method}")
    maps, masks = cubes["saliency/heatmap"].load(), cubes["reference/mask"].load()
    seen = 0
    for row in table[table["threshold"].notna()].to_dict("records"):
        where = {name: row[name] for name in ("image", "finding", "explainer", "model")}
        values = maps.sel(where).values
        levels = quantize(values, values.min(), values.max())
        mask = levels > of_pixels(levels)
        reference = masks.sel(image=row["image"], finding=row["finding"],
                              reader=row["reader"]).values
        assert row["area_predicted"] == mask.sum()
        if not np.isnan(row["iou"]):
            assert row["iou"] == pytest.approx((mask & reference).sum() / (mask | reference).sum())
            seen += 1
    assert seen > 5
    assert not table["threshold"].equals(_scores(study, "otsu")["threshold"])


def test_a_method_that_is_not_known_is_named(study: Path) -> None:
    with pytest.raises(UsageError, match=r"'isodat'.*did you mean 'isodata'.*otsu, yen"):
        _scores(study, "isodat")
