"""Image-level performance of models, by image and by examination."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.special import expit, logit
from scipy.stats import norm, t
from sklearn.metrics import roc_auc_score

from saltrust.analysis.classification.analysis import classification
from saltrust.analysis.classification.auc_rows import MACRO
from saltrust.analysis.inference.area_interval import EffectiveSizes, score_interval
from saltrust.analysis.inference.auc_covariance import auc_covariance, exchange_parts
from saltrust.analysis.inference.sign_flips import sign_flip_test
from saltrust.analysis.options import Resampling
from saltrust.analysis.select import select
from saltrust.cache.schema import Label
from saltrust.errors import DataError, UsageError

FINDINGS = ["Edema", "Pneumothorax"]
MODELS = ["good", "fair", "coin"]


def cubes(n: int = 120, seed: int = 0, *, study: bool = True) -> xr.DataTree:
    """Two views of each examination; three models of known order."""
    generator = np.random.default_rng(seed)
    label = np.repeat((generator.random((n // 2, 2)) < 0.5).astype(np.int8), 2, axis=0)
    shift = np.array([2.0, 1.0, 0.0])
    logit = label[..., None] * shift + generator.normal(size=(n, 2, 3))
    label[:2, 0] = Label.UNCERTAIN
    label[2:4, 0] = Label.NOT_STATED
    probability = (1 / (1 + np.exp(-logit))).astype(np.float32)
    probability[4, 0, 1] = np.nan
    coords = {"image": [f"image-{i:03d}" for i in range(n)], "finding": FINDINGS,
              "patient": ("image", [f"patient-{i // 4}" for i in range(n)])}
    if study:
        coords["study"] = ("image", [f"study{i // 2 % 2}" for i in range(n)])
    return xr.DataTree.from_dict({
        "/": xr.Dataset(coords=coords),
        "/reference": xr.Dataset({"label": (("image", "finding"), label)}),
        "/prediction": xr.Dataset({"probability": (("image", "finding", "model"), probability)},
                                  coords={"model": MODELS})})


def row(table: pd.DataFrame, **wanted: object) -> pd.Series:
    for name, value in wanted.items():
        table = table[table[name] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_images_and_what_is_left_out() -> None:
    tree = cubes()
    result = classification(tree, interval="delong")
    assert result.meta["exclusions"] == {"label uncertain": 2, "label not stated": 2,
                                         "not predicted by every model": 1}
    label = tree["reference/label"].values[5:, 0]
    scores = tree["prediction/probability"].values[5:, 0]
    patients = tree["patient"].values[5:]
    areas = auc_covariance(label, scores, patients)
    edema = row(result.tables["auc"], finding="Edema", model="fair")
    assert edema["estimate"] == pytest.approx(roc_auc_score(label, scores[:, 1]))
    error = np.sqrt(areas.covariance[1, 1])
    assert edema["std_error"] == pytest.approx(error)
    assert edema["conf_high"] - edema["estimate"] == pytest.approx(norm.ppf(0.975) * error)
    assert (edema["n"], edema["n_positive"], edema["patients"]) == (115, label.sum(), 29)
    pair = row(result.tables["comparisons"], finding="Edema", model_a="good", model_b="coin")
    variance = areas.covariance[0, 0] + areas.covariance[2, 2] - 2 * areas.covariance[0, 2]
    z = (areas.auc[0] - areas.auc[2]) / np.sqrt(variance)
    assert pair["statistic"] == pytest.approx(z)
    assert pair["p_value"] == pytest.approx(2 * norm.sf(abs(z)))
    assert pair["p_adjusted"] == pytest.approx(min(1, 3 * pair["p_value"]))
    macro = row(result.tables["auc"], finding=MACRO, model="good")
    single = result.tables["auc"].query("model == 'good' and finding != @MACRO")["estimate"]
    assert macro["estimate"] == pytest.approx(single.mean())
    assert macro["conf_low"] < macro["estimate"] < macro["conf_high"]


def test_by_default_areas_are_of_patients_and_pairs_are_exchanged() -> None:
    tree = cubes()
    result = classification(tree)
    label, scores = tree["reference/label"].values[5:, 0], tree["prediction/probability"].values
    patients = tree["patient"].values
    clustered, plain = (auc_covariance(label, scores[5:, 0], *of)
                        for of in ((patients[5:],), ()))
    edema = row(result.tables["auc"], finding="Edema", model="fair")
    ratio = clustered.covariance[1, 1] / plain.covariance[1, 1]
    low, high = score_interval(clustered.auc[1], EffectiveSizes(
        (label == 1).sum() / ratio, (label == 0).sum() / ratio, clustered.df[1]))
    assert (edema["conf_low"], edema["conf_high"]) == pytest.approx((low, high))
    assert edema["std_error"] == pytest.approx(np.sqrt(clustered.covariance[1, 1]))
    pair = row(result.tables["comparisons"], finding="Edema", model_a="good", model_b="coin")
    parts = exchange_parts(label, scores[5:, 0, 0], scores[5:, 0, 2], patients[5:])
    assert pair["estimate"] == pytest.approx(parts.sum())
    assert pair["p_value"] == pytest.approx(sign_flip_test(parts).p_value)
    # The mean over findings: the jackknife, by hand.
    known = [np.isin(tree["reference/label"].values[:, f], (0, 1))
             & np.isfinite(scores[:, f]).all(axis=-1) for f in (0, 1)]
    left = [np.mean([roc_auc_score(tree["reference/label"].values[kept, f], scores[kept, f, 0])
                     for f in (0, 1) for kept in [known[f] & (patients != name)]])
            for name in dict.fromkeys(patients)]
    macro = row(result.tables["auc"], finding=MACRO, model="good")
    error = np.sqrt((len(left) - 1) ** 2 / len(left)) * np.std(left, ddof=1)
    assert macro["std_error"] == pytest.approx(error)
    assert macro["df"] == len(left) - 1
    # Its bounds are symmetric in log-odds.
    odds = logit(left)
    half = t.ppf(0.975, len(left) - 1) * (len(odds) - 1) / np.sqrt(len(odds)) * np.std(odds, ddof=1)
    center = logit(macro["estimate"])
    assert (macro["conf_low"], macro["conf_high"]) == pytest.approx(
        (expit(center - half), expit(center + half)))


def test_perfect_separation_of_few_patients_has_a_width() -> None:
    tree = cubes(16)
    label = tree["reference/label"].values
    label[:] = np.repeat([[1], [0], [1], [0]], 4, axis=0)
    tree["prediction/probability"].values[..., 0] = np.where(label == 1, 0.9, 0.1)
    area = row(classification(tree).tables["auc"], finding="Edema", model="good")
    assert (area["estimate"], area["conf_high"]) == (1, 1)
    # Two positive and two negative patients, of four images each.
    assert area["conf_low"] == pytest.approx(score_interval(1.0, EffectiveSizes(2, 2))[0])
    assert area["conf_low"] < 0.5 < 1


def test_an_examination_has_the_largest_probability_of_its_views() -> None:
    tree = cubes()
    result = classification(tree, level="study")
    cases = result.tables["cases"].query("finding == 'Pneumothorax' and model == 'good'")
    probability = tree["prediction/probability"].sel(finding="Pneumothorax", model="good").values
    largest = probability.reshape(-1, 2).max(axis=1)
    np.testing.assert_array_equal(cases["probability"].to_numpy(), largest.astype(np.float64))
    label = tree["reference/label"].sel(finding="Pneumothorax").values[::2]
    assert row(result.tables["auc"], finding="Pneumothorax", model="good")["estimate"] \
        == pytest.approx(roc_auc_score(label, largest))
    assert cases["case"].tolist()[:3] == ["patient-0/study0", "patient-0/study1",
                                          "patient-1/study0"]
    # One view that a model did not predict leaves the examination out.
    assert result.meta["exclusions"]["not predicted by every model"] == 1
    with pytest.raises(DataError, match="no coordinate study"):
        classification(cubes(study=False), level="study")


def test_bootstrap_agrees_with_delong_and_finds_the_better_model() -> None:
    tree = cubes(400)
    plain, drawn = (classification(tree, interval=interval, resampling=Resampling(resamples=2000))
                    for interval in ("delong", "bootstrap"))
    one, two = (row(result.tables["auc"], finding="Edema", model="good")
                for result in (plain, drawn))
    assert one["estimate"] == two["estimate"]
    assert two["std_error"] == pytest.approx(one["std_error"], rel=0.1)
    for result in (plain, drawn):
        better = row(result.tables["comparisons"], finding=MACRO, model_a="good",
                     model_b="coin")
        assert better["estimate"] > 0.3
        assert better["p_adjusted"] < 0.01
    assert row(plain.tables["auc"], finding="Edema", model="coin")["p_value"] > 0.01


def test_protocol_w_is_the_median_of_thirty_samples() -> None:
    result = classification(cubes(400), interval="protocol-w")
    area = row(result.tables["auc"], finding="Edema", model="good")
    assert area["conf_low"] < area["estimate"] < area["conf_high"]
    assert np.isnan(area["p_value"])
    assert "as the paper" in area["note"]
    # Samples of under 60 cases are far wider than what 400 images say.
    plain = row(classification(cubes(400)).tables["auc"], finding="Edema", model="good")
    assert area["std_error"] > 1.8 * plain["std_error"]


def test_protocol_w_has_no_interval_of_fewer_cases_than_its_samples() -> None:
    """Each sample would be all cases, and an interval without width says a wrong thing."""
    result = classification(cubes(50), interval="protocol-w")
    for finding, n in (("Edema", 45), ("Pneumothorax", 50), (MACRO, 50)):
        area = row(result.tables["auc"], finding=finding, model="good")
        plain = row(classification(cubes(50)).tables["auc"], finding=finding, model="good")
        assert area["estimate"] == plain["estimate"]
        assert np.isnan(area["conf_low"])
        assert f"55 cases or more, and there are {n}" in area["note"]


def test_one_class_only_and_bad_options() -> None:
    tree = cubes()
    tree["reference/label"].values[:, 1] = 1
    result = classification(tree)
    single = row(result.tables["auc"], finding="Pneumothorax", model="good")
    assert np.isnan(single["estimate"])
    assert single["note"] == "no negative case"
    macro = row(result.tables["auc"], finding=MACRO, model="good")
    assert "without Pneumothorax" in macro["note"]
    assert macro["estimate"] == row(result.tables["auc"], finding="Edema",
                                    model="good")["estimate"]
    with pytest.raises(UsageError, match="bootstrap"):
        classification(tree, interval="bootstra")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="'fair'"):
        classification(select(tree, model="fairr"))
    tree["prediction/probability"].values[:] = np.nan
    with pytest.raises(DataError, match="no case with a label and a prediction"):
        classification(tree)
    with pytest.raises(DataError, match="no predictions"):
        classification(xr.DataTree.from_dict({"/": tree.to_dataset(),
                                              "/reference": tree["reference"].to_dataset()}))


def test_a_single_model_has_no_pairs() -> None:
    result = classification(select(cubes(), model="good", finding="Edema"))
    assert list(result.tables) == ["auc", "calibration", "cases"]
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["tables"]["auc"]


@pytest.mark.parametrize("n", [2, 4])
def test_hardly_any_case_gives_a_note(n: int) -> None:
    tree = cubes(12).isel(image=slice(4, 4 + n))
    result = classification(select(tree, finding="Pneumothorax"),
                            resampling=Resampling(resamples=50))
    for area in result.tables["auc"].itertuples():
        assert np.isfinite(area.conf_low) or area.note
