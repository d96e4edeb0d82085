"""Randomization: an edge detector fails, an explainer that follows the weights does not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from sklearn.metrics import roc_auc_score

from saltrust.analysis.options import Decision
from saltrust.analysis.pixels.map_similarity import DifferentImages, draw_pairs
from saltrust.analysis.pixels.ssim import ssim
from saltrust.analysis.select import select
from saltrust.analysis.trustworthiness.map_pairs import ByChance
from saltrust.analysis.trustworthiness.patient_jackknife import contrast
from saltrust.analysis.trustworthiness.randomization import RULES, randomization, rule_judge
from saltrust.errors import DataError, UsageError

OPTIONS = Decision(resamples=400)


def one(table: pd.DataFrame, **wanted: object) -> pd.Series:
    for name, value in wanted.items():
        table = table[table[name] == value]
    assert len(table) == 1
    return table.iloc[0]


def anatomy(mask, image, model, stage, generator):
    """Trained maps share an outline from image to image, randomised ones are noise."""
    y, x = np.mgrid[:40, :40]
    return np.cos(x / 5) * np.cos(y / 6) * (stage == 0) + 0.3 * generator.normal(size=mask.shape)


def test_the_edge_detector_fails_under_every_rule(build_study) -> None:
    cubes = build_study(randomization=True)
    for rule in RULES:
        row = one(randomization(cubes, rule=rule, decision=OPTIONS).tables["decisions"],
                  explainer="edges")
        assert row["decision"] == "did not pass"
        assert row["estimate"] > 0.5
        assert row["p_adjusted"] < 1e-6


def test_the_rules_differ_on_what_is_not_significant(build_study) -> None:
    cubes = build_study(explainers={"anatomy": anatomy, "noise": lambda *a: a[-1].normal(
        size=a[0].shape)}, randomization=True)
    tables = {rule: randomization(cubes, rule=rule, decision=OPTIONS).tables["decisions"]
              for rule in RULES}
    for rule, table in tables.items():
        assert one(table, explainer="anatomy")["decision"] == "pass", rule
    noise = {rule: one(table, explainer="noise") for rule, table in tables.items()}
    assert noise["table"]["decision"] == "uncertain"
    assert noise["text"]["decision"] == "pass"
    assert noise["preprint"]["decision"] == (
        "pass" if noise["preprint"]["estimate"] < 0 else "did not pass")


def test_values_stages_and_baseline(build_study) -> None:
    cubes = build_study(positives=3, negatives=2, fitted=0, stages=4, replicates=2,
                        randomization=True)
    stored = cubes["randomization"].to_dataset()
    # Trained maps that every replicate has of its own, and is compared with.
    stored["heatmap"][:, :, :, :, 1, 0] = stored["heatmap"].values[::-1, :, :, :, 1, 0]
    cubes["randomization"] = xr.DataTree(stored)
    result = randomization(cubes, decision=OPTIONS)
    maps = cubes["randomization/heatmap"].isel(finding=0, model=0).values
    scores = result.tables["scores"]
    assert len(scores) == 5 * 3 * 2 * 3
    explainers = cubes["randomization/explainer"].values.tolist()
    for row in scores.itertuples():
        i, e, r = int(row.image[-3:]), explainers.index(row.explainer), int(row.replicate)
        assert row.ssim == ssim(maps[i, e, r, 0], maps[i, e, r, row.stage_index])
    stages = result.tables["stages"]
    row = one(stages, explainer="oracle", replicate="1", stage="block2")
    of_stage = scores.query(
        "explainer == 'oracle' and replicate == '1' and stage == 'block2'")["ssim"]
    assert (row["n"], row["ssim_mean"], row["ssim_sd"]) == (
        5, pytest.approx(of_stage.mean()), pytest.approx(of_stage.std(ddof=1)))
    pairs = [ssim(maps[i, 0, 0, 0], maps[j, 0, 0, 0]) for i in range(5) for j in range(i)]
    assert row["baseline"] == pytest.approx(np.mean(pairs))
    summary = one(result.tables["summary"], explainer="oracle")
    assert summary["baseline_mean"] == pytest.approx(np.mean(pairs))
    assert (summary["pairs"], summary["baseline_error"], summary["stage"]) == (10, 0, "block1")
    last = scores.query("explainer == 'oracle' and stage == 'block1'")
    assert summary["randomised_mean"] == pytest.approx(last["ssim"].mean())
    assert one(result.tables["decisions"], explainer="oracle")["estimate"] == pytest.approx(
        last["ssim"].mean() - np.mean(pairs))
    assert {"image_auc", "randomised_auc"} <= set(result.tables["summary"])


def test_the_auc_beside_is_of_the_randomised_images(build_study) -> None:
    """Randomised on some of the images: the trained AUC that stands beside is on the same."""
    cubes = build_study(randomization=True, replicates=2)
    aucs = randomization(select(cubes, split="test"), decision=OPTIONS).tables["models"]
    assert set(aucs["condition"]) == {"trained", "randomised"}

    test = np.flatnonzero(cubes["split"].values == "test")
    left_out = test[::3]  # from positives and negatives alike
    stored = cubes["randomization/probability"]
    cubes["randomization/probability"] = stored.where(
        ~stored["image"].isin(cubes["image"].values[left_out]))
    result = randomization(select(cubes, split="test"), decision=OPTIONS)
    aucs = result.tables["models"]
    drawn = np.setdiff1d(test, left_out)
    label = cubes["reference/label"].values[drawn, 0] == 1
    probability = cubes["prediction/probability"].sel(model="dense-1").values[drawn, 0]
    expected = roc_auc_score(label, probability)
    same = one(aucs, model="dense-1", condition="trained, on the randomised images")
    assert same["image_auc"] == pytest.approx(expected)
    for row in aucs[aucs["condition"] != "trained"].itertuples():
        assert (row.n_positive, row.n_negative) == (label.sum(), (~label).sum())
    everywhere = one(aucs, model="dense-1", condition="trained")
    assert everywhere["n_positive"] + everywhere["n_negative"] == len(test)
    assert (result.tables["summary"]["image_auc"] == same["image_auc"]).all()


def test_fifty_pairs_as_the_paper_have_a_monte_carlo_error(build_study) -> None:
    result = randomization(build_study(randomization=True), pairs=50, decision=OPTIONS)
    assert (result.tables["summary"]["pairs"] == 50).all()
    assert (result.tables["summary"]["baseline_error"] > 0).all()
    assert len(result.tables["pairs"]) == 3 * 50


@pytest.mark.parametrize(("patients", "each"), [(12, 1), (12, 3), (40, 1)])
def test_error_rate_and_standard_error_of_the_contrast(patients: int, each: int) -> None:
    """Noise maps whose images add to all their pairs, patients whose images are alike."""
    n, trials = patients * each, 400
    of_image = np.repeat(np.arange(patients), each)
    names = [f"i{k}" for k in range(n)]
    of_name = {name: f"p{k}" for name, k in zip(names, of_image.tolist(), strict=True)}
    generator = np.random.default_rng(patients + each)
    made = []
    for _ in range(trials):
        effect, level = (generator.normal(scale=0.1, size=patients)[of_image]
                         + generator.normal(scale=0.1, size=n) for _ in range(2))
        left, right = draw_pairs(of_image, 300, generator, ordered=False)
        values = 0.4 + effect[left] + effect[right] + generator.normal(scale=0.02, size=len(left))
        baseline = ByChance(names, DifferentImages(left, right, values, len(left)))
        made.append(contrast(pd.DataFrame({"image": names, "ssim": 0.3 + level}), baseline,
                             of_name))
    covered = np.mean([one.conf_low <= -0.1 <= one.conf_high for one in made])
    ratio = np.mean([one.std_error for one in made]) / np.std([one.estimate for one in made])
    assert 0.915 <= covered <= 0.98
    assert 0.9 <= ratio <= 1.15


def test_without_a_patient_are_the_pairs_without_its_images() -> None:
    names, patients = ["a", "b", "c", "d"], {"a": "p", "b": "p", "c": "q", "d": "r"}
    pairs = DifferentImages(np.array([0, 1, 2]), np.array([2, 3, 3]), np.array([0.1, 0.2, 0.6]), 5)
    made = contrast(pd.DataFrame({"image": names, "ssim": [0.5, 0.6, 0.9, 0.2]}),
                    ByChance(names, pairs), patients)
    left = np.array([0.55 - 0.6, 1.3 / 3 - 0.2, 2 / 3 - 0.1])
    assert made.estimate == pytest.approx(0.55 - 0.3)
    assert made.std_error == pytest.approx(np.sqrt(2 / 3 * ((left - left.mean()) ** 2).sum()))
    assert made.df == 2
    alone = contrast(pd.DataFrame({"image": names, "ssim": 0.5}), ByChance(names, pairs),
                     dict.fromkeys(names, "p"))
    assert "fewer than 2 patients" in alone.note


def test_flat_randomised_maps_are_counted(build_study) -> None:
    cubes = build_study(positives=5, negatives=0, fitted=0, randomization=True)
    dataset = cubes["randomization"].to_dataset()
    dataset["status"][2, 0, 0, 0, 0, 2] = 2
    dataset["heatmap"][2, 0, 0, 0, 0, 2] = 0
    cubes["randomization"] = xr.DataTree(dataset)
    result = randomization(cubes, decision=OPTIONS)
    row = one(result.tables["stages"], explainer="oracle", stage="block1")
    assert (row["failed"], row["n"]) == (1, 5)
    assert result.tables["scores"].query("failed")["ssim"].tolist() == [0]
    dropped = randomization(cubes, failures="drop", decision=OPTIONS).tables["stages"]
    assert one(dropped, explainer="oracle", stage="block1")["n"] == 4


def test_a_flat_trained_map_does_not_count_in_favour(build_study) -> None:
    """The edge detector would pass where most of its trained maps are flat and scored as 0."""
    cubes = build_study(positives=10, negatives=0, fitted=0, randomization=True)
    dataset = cubes["randomization"].to_dataset()
    edges = cubes["randomization/explainer"].values.tolist().index("edges")
    dataset["status"][:7, 0, edges, 0, :, 0] = 2
    dataset["heatmap"][:7, 0, edges, 0, :, 0] = 0
    cubes["randomization"] = xr.DataTree(dataset)
    for failures in ("score", "drop"):
        result = randomization(cubes, failures=failures, decision=OPTIONS)
        row = one(result.tables["summary"], explainer="edges")
        assert (row["n"], row["flat_trained"], row["failed"], row["pairs"]) == (3, 7, 0, 3)
        assert row["randomised_mean"] == pytest.approx(1)
        assert one(result.tables["decisions"], explainer="edges")["decision"] == "did not pass"
        assert result.meta["counts"]["flat or non-finite trained maps"] == 7
    assert one(result.tables["summary"], explainer="oracle")["n"] == 10


def test_one_copy_of_the_trained_maps_is_enough(build_study) -> None:
    cubes = build_study(positives=5, replicates=2, randomization=True)
    whole = randomization(cubes, decision=OPTIONS).tables["scores"]
    dataset = cubes["randomization"].to_dataset()
    dataset["status"][:, :, :, :, 1, 0] = 0
    dataset["heatmap"][:, :, :, :, 1, 0] = np.nan
    cubes["randomization"] = xr.DataTree(dataset)
    again = randomization(cubes, decision=OPTIONS).tables["scores"]
    np.testing.assert_allclose(again["ssim"], whole["ssim"])


def test_bad_input_says_what_is_wrong(build_study) -> None:
    with pytest.raises(DataError, match="/randomization/heatmap is absent"):
        randomization(build_study())
    with pytest.raises(UsageError, match="did you mean 'table'"):
        rule_judge("tabel")
    cubes = build_study(positives=1, negatives=0, fitted=0, randomization=True)
    row = randomization(cubes, decision=OPTIONS).tables["decisions"].iloc[0]
    assert row["decision"] == "not decided"
    assert "fewer than 2 patients" in row["note"]
