"""The largest probability of the views of an examination, in cut-offs, confidence and areas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import saltrust
from saltrust import Resampling, Scoring
from saltrust.analysis.classification.predictions import aucs_of_models
from saltrust.analysis.inference.auc import roc_auc
from saltrust.analysis.protocols.localization.protocol import protocol_localization
from saltrust.analysis.scores import scan
from saltrust.analysis.stored.contents import probabilities
from saltrust.analysis.stored.examinations import at_level, examinations_of
from saltrust.errors import DataError, UsageError

FEW = Resampling(resamples=20)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("views") / "s.zarr"
    saltrust.simulate_cubes(path, patients=14, grid=16, findings=("Edema", "Pneumothorax"), seed=5)
    return path


@pytest.fixture(scope="module")
def expected(store: Path) -> pd.DataFrame:
    """Probabilities with the largest of each examination beside, by pandas."""
    cubes = saltrust.open_cubes(store)
    table = probabilities(cubes, "nothing is known")
    root = cubes.to_dataset()
    known = pd.DataFrame({name: [str(value) for value in root[name].values] for name in
                          ("image", "patient", "study")})
    table = table.merge(known, on="image")
    table["largest"] = table.groupby(["patient", "study", "finding", "model"])[
        "probability"].transform("max")
    return table


def test_every_view_has_the_largest_probability_of_its_examination(
        store: Path, expected: pd.DataFrame) -> None:
    cubes = saltrust.open_cubes(store)
    assert (expected["largest"] > expected["probability"]).sum() > 10
    made = probabilities(at_level(cubes, "study"), "nothing is known")
    both = made.merge(expected, on=["image", "finding", "model"])
    assert len(both) == len(expected)
    assert both["probability_x"].to_numpy() == pytest.approx(both["largest"].to_numpy())
    # Once more changes nothing, and neither do the cubes themselves.
    again = probabilities(at_level(at_level(cubes, "study"), "study"), "nothing is known")
    pd.testing.assert_frame_equal(again, made)
    assert at_level(cubes, "image") is cubes
    names, members = examinations_of(cubes)
    assert sorted(i for images in members for i in images) == list(range(cubes.sizes["image"]))
    assert len(names) == len(expected.groupby(["patient", "study"]))


def test_a_view_without_a_probability_gets_none_and_takes_none_away(store: Path) -> None:
    cubes = saltrust.open_cubes(store).copy(deep=False)
    node = cubes["prediction"]
    values = node["probability"].load().astype("float64").copy(deep=True)
    _, members = examinations_of(cubes)
    pair = next(images for images in members if len(images) > 1)
    values.loc[{"image": cubes["image"].values[pair[0]]}] = np.nan
    node.dataset = node.to_dataset(inherit=False).assign(probability=values)
    made = at_level(cubes, "study")["prediction/probability"].isel(image=pair)
    assert np.isnan(made[0]).all()
    assert np.isfinite(made[1:]).all()


def test_cutoffs_are_tuned_and_applied_to_examinations(store: Path, expected: pd.DataFrame,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    cubes = saltrust.select(store, model="densenet-1", explainer="gradcam")
    cut = 0.4
    scoring = Scoring(cutoff=cut, slice="all", level="study")
    made = saltrust.localization(cubes, scoring=scoring, resampling=FEW)
    plain = saltrust.localization(cubes, scoring=Scoring(slice="all"), resampling=FEW)
    maps = made["scores"][made["scores"]["explainer"] == "gradcam"]
    whole = plain["scores"][plain["scores"]["explainer"] == "gradcam"]
    rows = maps.merge(whole, on=["image", "finding", "model", "reader"]).merge(
        expected, on=["image", "finding", "model"])
    above = rows["largest"] > np.float32(cut)
    assert 0 < above.sum() < len(rows)
    assert (rows["area_predicted_x"] == rows["area_predicted_y"].where(above, 0)).all()
    # Views that only their examination brings above the cut-off are there.
    assert (above & (rows["probability"] <= cut) & (rows["area_predicted_x"] > 0)).any()
    assert made.meta["level"] == "study"
    assert "largest of the views" in made.methods()

    # Maps that were passed over once are not passed over again.
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a map was read again")

    monkeypatch.setattr(scan._Scanner, "scan", refused)
    curve = saltrust.tune_thresholds(cubes, scoring=Scoring(level="study"),
                                     cutoffs=[cut])["cutoff_curve"]
    for finding in ("Edema", "Pneumothorax"):
        of_finding = rows[rows["finding"] == finding]
        assert curve.loc[curve["finding"] == finding, "miou"].item() == pytest.approx(
            of_finding["iou_x"].mean())


def test_confidence_is_of_examinations(store: Path, expected: pd.DataFrame) -> None:
    cubes = saltrust.select(store, model="densenet-1", explainer="gradcam", finding="Edema")
    made = saltrust.confidence(cubes, scoring=Scoring(level="study"), resampling=FEW)
    scores = saltrust.localization(cubes, resampling=FEW)["scores"]
    rows = scores[scores["explainer"] == "gradcam"].merge(
        expected, on=["image", "finding", "model"]).dropna(subset="iou")
    slope = np.polyfit(rows["largest"], rows["iou"], 1)[0]
    estimated = made["estimates"].query("finding == 'Edema' and scheme == 'iou' and "
                                          "term == 'probability'")["estimate"].item()
    assert estimated == pytest.approx(slope)
    areas = made["calibration"].query("term == 'auc'")
    cases = saltrust.classification(cubes, level="study", resampling=FEW)["auc"]
    assert areas["estimate"].item() == pytest.approx(cases["estimate"].iloc[0])
    assert areas["n"].item() == cases["n"].iloc[0]


def test_the_protocol_s_areas_are_of_examinations(store: Path, expected: pd.DataFrame) -> None:
    cubes = saltrust.select(store, model="densenet-1", explainer="gradcam")
    areas = aucs_of_models(cubes, level="study", resamples=20)
    assert areas is not None
    labels = cubes["reference/label"].to_pandas()
    # Examinations of which every view has a prediction, as `classification` has it.
    views = cubes.to_dataset()["study"].to_series().astype(str).value_counts()
    for finding in ("Edema", "Pneumothorax"):
        of_finding = expected[(expected["model"] == "densenet-1")
                              & (expected["finding"] == finding)]
        of_finding = of_finding.assign(label=labels[finding].loc[of_finding["image"]].to_numpy())
        of_finding["uncertain"] = of_finding["label"] == -1
        cases = of_finding.groupby("study").agg({"label": ["max", "size"], "uncertain": "max",
                                                 "largest": "first"})
        cases = cases[cases["label", "size"] == views.loc[cases.index]]
        cases = cases[(cases["label", "max"] == 1)
                      | ((cases["label", "max"] == 0) & ~cases["uncertain", "max"])]
        assert len(cases) > 10
        row = areas[areas["finding"] == finding]
        assert row["estimate"].item() == pytest.approx(
            roc_auc(cases["label", "max"].to_numpy(), cases["largest", "first"].to_numpy()))
        assert row["n_positive"].item() == (cases["label", "max"] == 1).sum()
    made = protocol_localization(cubes, scoring=Scoring(level="study", resolution="grid"),
                                 resampling=FEW)
    assert made["auc"]["positive"].tolist() == areas["n_positive"].tolist()
    assert "cases are examinations" in made.captions["auc"][1]
    assert made.meta["level"] == "study"


def test_cubes_without_examinations_say_so(store: Path) -> None:
    cubes = saltrust.open_cubes(store)
    bare = xr.DataTree.from_dict({
        path: node.to_dataset(inherit=False).drop_vars("study", errors="ignore")
        for path, node in ((node.path, node) for node in cubes.subtree)})
    with pytest.raises(DataError, match="take --level image"):
        saltrust.tune_thresholds(bare, scoring=Scoring(level="study"))
    with pytest.raises(DataError, match="take --level image"):
        aucs_of_models(bare, level="study")
    with pytest.raises(UsageError, match="level 'exam'"):
        Scoring(level="exam")  # type: ignore[arg-type]
