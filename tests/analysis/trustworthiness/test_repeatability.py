"""Repeatability and reproducibility on models whose maps agree as much as is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from skimage.metrics import structural_similarity

from saltrust.analysis.options import Decision
from saltrust.analysis.select import select
from saltrust.analysis.trustworthiness.repeatability import repeatability, reproducibility
from saltrust.errors import DataError, UsageError

OPTIONS = Decision(resamples=300)


def one(table: pd.DataFrame, **wanted: object) -> pd.Series:
    for name, value in wanted.items():
        table = table[table[name] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_pairs_follow_the_architectures_and_values_scikit_image(build_study) -> None:
    cubes = build_study(positives=3, negatives=2)
    same = repeatability(select(cubes, split="test"), decision=OPTIONS, ssim="paper")
    other = reproducibility(select(cubes, split="test"), decision=OPTIONS)
    assert set(same.tables["scores"]["model_b"]) == {"dense-2"}
    assert set(zip(other.tables["scores"]["model_a"], other.tables["scores"]["model_b"],
                   strict=True)) == {("dense-1", "inception"), ("dense-2", "inception")}
    maps = cubes["saliency/heatmap"].isel(finding=0)
    for row in same.tables["scores"].itertuples():
        a, b = (maps.sel(image=row.image, explainer=row.explainer, model=model).values
                .astype(np.float64) for model in (row.model_a, row.model_b))
        a, b = ((m - m.min()) / np.ptp(m) for m in (a, b))
        assert row.ssim == pytest.approx(structural_similarity(a, b, data_range=2.0), abs=1e-9)


def test_a_mean_of_models_repeats_none_of_them(build_study) -> None:
    models = {"dense-1": "densenet121", "dense-2": "densenet121", "mean": "densenet121"}
    cubes = build_study(positives=3, negatives=2, models=models)
    saliency = cubes["saliency"].to_dataset()
    cubes["saliency"] = xr.DataTree(saliency.assign_coords(
        model_role=("model", ["member", "member", "ensemble"])))
    scores = repeatability(select(cubes, split="test"), decision=OPTIONS).tables["scores"]
    assert set(zip(scores["model_a"], scores["model_b"], strict=True)) == {("dense-1", "dense-2")}


def test_localizers_constants_and_chance(build_study) -> None:
    cubes = build_study(localizers=["unet-1", "unet-2"])
    result = repeatability(select(cubes, split="test"), decision=OPTIONS)
    summary, table = result.tables["summary"], result.tables["decisions"]
    edges, noise = one(summary, explainer="edges"), one(summary, explainer="noise")
    assert edges["ssim_mean"] == pytest.approx(1)
    assert edges["ssim_corrected"] == pytest.approx(1)
    assert noise["ssim_corrected"] == pytest.approx(0, abs=0.1)
    assert one(summary, explainer="localizer unet")["ssim_mean"] > 0.9
    aucs = result.tables["models"].set_index("model")["image_auc"]
    assert (noise["image_auc_a"], noise["image_auc_b"]) == (aucs["dense-1"], aucs["dense-2"])
    low = one(table, explainer="noise", baseline="0.5", models="dense-1 / dense-2")
    assert low["decision"] == "did not pass"
    assert low["estimate"] == pytest.approx(noise["ssim_mean"] - 0.5)
    high = one(table, explainer="oracle", baseline="localizer unet", models="dense-1 / dense-2")
    assert high["decision"] == "did not pass"
    # The constant is no level: three explainers and one localizer make six pairs.
    assert "6" in high["family"]
    assert one(table, explainer="edges", baseline="0.5", models="dense-1 / dense-2")[
        "decision"] == "pass"


def test_a_constant_of_the_users(build_study) -> None:
    cubes = build_study(explainers=["oracle", "noise"])
    tables = [repeatability(cubes, against_value=value, decision=OPTIONS).tables["decisions"]
              for value in (0.5, 0.0)]
    rows = [one(table, explainer="oracle", baseline=value, models="dense-1 / dense-2")
            for table, value in zip(tables, ("0.5", "0"), strict=True)]
    assert rows[1]["estimate"] - rows[0]["estimate"] == pytest.approx(0.5)
    assert rows[1]["decision"] == "pass"


def shared(mask, image, model, stage, generator):
    """Replicates agree, another architecture does not."""
    common = np.random.default_rng(int(abs(image[0, 0]) * 1e9) + (1 if model == 2 else 0))
    return common.normal(size=mask.shape).cumsum(axis=0) + 0.5 * generator.normal(size=mask.shape)


def test_repeatability_against_reproducibility(build_study) -> None:
    cubes = build_study(explainers={"shared": shared, "noise": lambda *a: a[-1].normal(
        size=a[0].shape)})
    table = repeatability(select(cubes, split="test"), decision=OPTIONS).tables["decisions"]
    row = one(table, explainer="shared", baseline="reproducibility")
    assert row["estimate"] > 0.1
    assert row["wilcoxon_decision"] == "pass"
    back = reproducibility(select(cubes, split="test"), decision=OPTIONS).tables["decisions"]
    assert one(back, explainer="shared", baseline="repeatability")["estimate"] == pytest.approx(
        -row["estimate"])
    assert one(table, explainer="noise", baseline="reproducibility")["decision"] == "uncertain"


def test_an_explainer_in_one_model_only_is_counted_and_not_compared(
        build_study, caplog: pytest.LogCaptureFixture) -> None:
    cubes = build_study(positives=8, negatives=2, fitted=3)
    dataset = cubes["saliency"].to_dataset()
    dataset["status"][:, :, 0, 1:] = 0
    cubes["saliency"] = xr.DataTree(dataset)
    result = repeatability(cubes, decision=OPTIONS)
    assert result.tables["summary"]["explainer"].tolist() == ["edges", "noise"]
    assert result.meta["exclusions"] == {"oracle: maps of dense-1 only": 13}
    assert "oracle: maps of dense-1 only (13): not compared" in caplog.text
    with pytest.raises(DataError, match=r"no explainer has maps of two models .*oracle: maps of "
                                        r"dense-1 only\); generate"):
        repeatability(select(cubes, explainer="oracle"), decision=OPTIONS)


def test_failures_have_no_shared_structure(build_study) -> None:
    cubes = build_study(positives=6)
    dataset = cubes["saliency"].to_dataset()
    dataset["status"][14, 0, 1, 0] = 2
    dataset["heatmap"][14, 0, 1, 0] = 0
    dataset["status"][15, 0, 1, :] = 3
    dataset["heatmap"][15, 0, 1, :] = np.nan
    cubes["saliency"] = xr.DataTree(dataset)
    result = repeatability(select(cubes, split="test"), decision=OPTIONS)
    failed = result.tables["scores"].query("failed")
    assert failed["image"].tolist() == ["image-014", "image-015"]
    assert (failed["ssim"] == 0).all()
    assert result.meta["counts"]["with a flat or non-finite map"] >= 2
    assert one(result.tables["summary"], explainer="edges")["failed"] == 2
    dropped = repeatability(select(cubes, split="test"), failures="drop", decision=OPTIONS)
    assert one(dropped.tables["summary"], explainer="edges")["n"] == 10


def test_only_positive_images_as_the_paper(build_study) -> None:
    result = repeatability(select(build_study(positives=7), split="test"), images="positive",
                           decision=OPTIONS)
    assert set(result.tables["summary"]["n"]) == {7}


def test_models_guided_in_other_ways_are_no_repetition(
        build_study, caplog: pytest.LogCaptureFixture) -> None:
    built = dict.fromkeys(["set1-1", "decoder-1", "decoder-2", "plain", "classification-1"], "unet")
    cubes = build_study(models=built, positives=4)
    cubes.attrs["models"] = {name: {"guidance": {"loss": name.split("-")[0]}}
                             for name in built if name != "plain"}

    def compared(*models: str) -> tuple[set[tuple[str, str]], list[int]]:
        result = repeatability(select(cubes, split="test", model=models or None),
                               decision=OPTIONS)
        scores = result.tables["scores"]
        return (set(zip(scores["model_a"], scores["model_b"], strict=True)),
                list(result.meta["exclusions"].values()))

    assert compared() == ({("decoder-1", "decoder-2"), ("plain", "classification-1")}, [8])
    assert "8 pairs of models of one architecture (first: set1-1 and decoder-1)" in caplog.text
    assert compared("set1-1", "decoder-1") == ({("set1-1", "decoder-1")}, [])
    cubes.attrs["models"] = {name: {"guidance": {"loss": f"set{k}"}}
                             for k, name in enumerate(built)}
    with pytest.raises(DataError, match=r"set1-1 and decoder-1 were not.*--model"):
        repeatability(select(cubes, split="test"), decision=OPTIONS)


def test_decoders_guided_in_other_ways_are_no_baseline(build_study) -> None:
    cubes = build_study(localizers=["unet-1", "unet-2"], positives=4)
    alike = repeatability(select(cubes, split="test"), decision=OPTIONS).tables["summary"]
    assert "localizer unet" in set(alike["explainer"])
    cubes.attrs["models"] = {"unet-1": {"guidance": {"loss": "decoder"}},
                             "unet-2": {"guidance": {"loss": "set2"}}}
    apart = repeatability(select(cubes, split="test"), decision=OPTIONS).tables["summary"]
    assert set(alike["explainer"]) - set(apart["explainer"]) == {"localizer unet"}


def test_bad_input_says_what_is_wrong(build_study) -> None:
    with pytest.raises(DataError, match=r"no two models of one architecture.*net: a"):
        repeatability(build_study(models={"net": "a"}))
    with pytest.raises(DataError, match="no two models of two architectures"):
        reproducibility(build_study(models={"a": "x", "b": "x"}))
    with pytest.raises(DataError, match="architecture of model 'a'"):
        repeatability(build_study(models={"a": "", "b": "x"}))
    with pytest.raises(DataError, match="saltrust generate"):
        repeatability(build_study(saliency=False))
    with pytest.raises(UsageError, match="SSIM"):
        repeatability(build_study(), ssim="sim")
    with pytest.raises(UsageError, match=r"no model .dense-l.; did you mean"):
        repeatability(select(build_study(), model=["dense-l", "dense-2"]))
