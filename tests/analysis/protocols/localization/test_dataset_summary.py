"""The data set of a study: counts of every split, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import saltrust
from saltrust import Resampling, Scoring
from saltrust.analysis.protocols.localization.dataset_summary import (
    dataset_labels,
    dataset_splits,
)
from saltrust.analysis.protocols.localization.protocol import protocol_localization


def _study(labels: list[list[int]], **coordinates: list[str]) -> xr.DataTree:
    root = {"image": [f"i{k}" for k in range(len(labels))], "finding": ["Edema", "Mass"],
            **{name: ("image", values) for name, values in coordinates.items()}}
    return xr.DataTree.from_dict({
        "/": xr.Dataset(coords=root),
        "/reference": xr.Dataset({"label": (("image", "finding"), np.array(labels, "i1"))})})


def test_splits_and_labels_are_counted() -> None:
    study = _study([[1, -1], [0, -2], [1, 0], [1, 1], [-1, 0]],
                   split=["train", "train", "train", "test", "test"],
                   patient=["a", "a", "b", "a", ""], study=["1", "1", "1", "2", ""],
                   view=["frontal", "lateral", "frontal", "", "frontal"])
    splits = dataset_splits(study).set_index("split")
    assert splits.index.tolist() == ["train", "test", "all"]
    expected = {"images": [3, 2, 5], "patients": [2, 2, 3], "studies": [2, 2, 4],
                "view frontal": [2, 1, 3], "view lateral": [1, 0, 1],
                "view not stated": [0, 1, 1]}
    assert {name: splits[name].tolist() for name in splits} == expected
    labels = dataset_labels(study).set_index(["split", "finding"])
    assert labels.loc[("train", "Edema")].tolist() == [2, 1, 0, 0, pytest.approx(200 / 3)]
    assert labels.loc[("train", "Mass")].tolist() == [0, 1, 1, 1, 0]
    assert labels.loc[("test", "Edema")].tolist() == [1, 0, 1, 0, 100]
    assert labels.loc[("all", "Mass")].tolist() == [1, 2, 1, 1, pytest.approx(100 / 3)]
    counts = labels[["positive", "negative", "uncertain", "not stated"]].sum(axis=1)
    assert counts.xs("Edema", level="finding").to_dict() == splits["images"].to_dict()


def test_what_is_not_known_has_no_column() -> None:
    study = _study([[0, -2], [0, -2]])
    assert dataset_splits(study).to_dict("list") == {"split": ["not stated"], "images": [2]}
    labels = dataset_labels(study)
    assert labels["split"].tolist() == ["not stated", "not stated"]
    assert np.isnan(labels["positive (%)"].iloc[1])
    bare = xr.DataTree(study.to_dataset())
    assert dataset_labels(bare).empty


def test_the_protocol_counts_splits_that_were_not_selected(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    saltrust.simulate_cubes(path, patients=12, grid=16, findings=("Edema",), seed=3)
    part = saltrust.select(path, split="test", model="densenet-1", explainer="gradcam")
    made = protocol_localization(part, scoring=Scoring(resolution="grid"),
                                 resampling=Resampling(resamples=20))
    root = saltrust.open_cubes(path).to_dataset()
    splits = pd.Series([str(value) for value in root["split"].values])
    counted = made["dataset_splits"].set_index("split")["images"]
    assert len(counted) > 2
    assert counted.drop("all").to_dict() == splits.value_counts().to_dict()
    assert counted["all"] == len(splits)
    assert set(made["dataset_labels"]["split"]) == {*splits, "all"}
    assert made.caption("dataset_labels")[0].startswith("The data set")
