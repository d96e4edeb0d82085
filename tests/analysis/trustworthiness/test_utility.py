"""Utility: known maps, the average mask, failures, and what is said of bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score

from saltrust.analysis.options import Decision
from saltrust.analysis.result import Result
from saltrust.analysis.select import select
from saltrust.analysis.stored.average_mask import average_mask
from saltrust.analysis.trustworthiness.utility import summarize, utility
from saltrust.analysis.trustworthiness.utility_scores import Scored, utility_scores
from saltrust.cache.schema import Status
from saltrust.errors import DataError, UsageError

OPTIONS = Decision(resamples=500)


def scores_on(cubes: xr.DataTree, split: str, **options: Any) -> Scored:
    return utility_scores(select(cubes, split=split), fitted_on=cubes, **options)


def utility_on(cubes: xr.DataTree, split: str, **options: Any) -> Result:
    return utility(select(cubes, split=split), fitted_on=cubes,
                   **{"decision": OPTIONS, **options})


def decision(table: pd.DataFrame, **wanted: str) -> pd.Series:
    for name, value in wanted.items():
        table = table[table[name] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_scores_are_scikit_learns_on_the_stored_maps(build_study) -> None:
    cubes = build_study(positives=4)
    scored = scores_on(cubes, "test").table
    masks = cubes["reference/mask"].isel(finding=0, reader=0)
    maps = cubes["saliency/heatmap"].isel(finding=0)
    checked = 0
    for row in scored.itertuples():
        mask = masks.sel(image=row.image).values.ravel()
        if row.explainer == "average-mask":
            train = cubes.to_dataset()["split"].isin(["train", "val"]).values
            values = masks.values[train].mean(axis=0).ravel()
        else:
            values = maps.sel(image=row.image, explainer=row.explainer,
                              model=row.model).values.ravel()
        precision, recall, _ = precision_recall_curve(mask, values)
        assert row.auprc == pytest.approx(auc(recall, precision), abs=1e-12)
        assert row.average_precision == pytest.approx(average_precision_score(mask, values),
                                                      abs=1e-12)
        assert row.auroc == pytest.approx(roc_auc_score(mask, values), abs=1e-12)
        assert row.lift == pytest.approx(row.average_precision / mask.mean())
        checked += 1
    assert checked == 4 * (3 * 3 + 1)


def test_summary_is_mean_and_sd_over_images(build_study) -> None:
    result = utility_on(build_study(), "test")
    scores, summary = result.tables["scores"], result.tables["summary"]
    row = decision(summary, explainer="oracle", model="dense-2")
    values = scores[(scores["explainer"] == "oracle") & (scores["model"] == "dense-2")]["auprc"]
    assert row["n"] == 24
    assert row["auprc_mean"] == pytest.approx(np.mean(values))
    assert row["auprc_sd"] == pytest.approx(np.std(values, ddof=1))
    aucs = result.tables["models"].set_index("model")["image_auc"]
    assert row["image_auc"] == aucs["dense-2"]
    assert np.isnan(decision(summary, explainer="average-mask")["image_auc"])


def test_the_average_mask_is_of_training_and_validation_positives(build_study) -> None:
    cubes = build_study(fitted=12)
    average = average_mask(cubes, "Opacity", "truth")
    masks = cubes["reference/mask"].values[:12, 0, 0]
    assert average.n == 12
    np.testing.assert_allclose(average.values, masks.mean(axis=0))
    assert average_mask(cubes, "Opacity", "truth", splits=["val"]).n == 4


def test_annotations_alone_give_the_average_masks_scores(build_study) -> None:
    result = utility_on(build_study(saliency=False), "test", baseline="average-mask")
    assert list(result.tables) == ["summary", "scores"]
    assert result.tables["summary"]["explainer"].tolist() == ["average-mask"]
    assert result.meta["average_mask_of"] == {"Opacity": 12}


def test_the_average_mask_is_not_tried_on_its_own_images(
        build_study, caplog: pytest.LogCaptureFixture) -> None:
    cubes = build_study(positives=10, negatives=2, fitted=6)
    result = utility(cubes, decision=OPTIONS)
    chosen = result.tables["summary"].set_index(["explainer", "model"])["n"]
    assert chosen["average-mask", ""] == 10
    assert chosen["oracle", "dense-1"] == 16
    assert result.meta["exclusions"] == {"average mask not tried on images it is made of": 6}
    assert "honest baseline" not in caplog.text
    circular = utility_on(cubes, "train")
    assert decision(circular.tables["summary"], explainer="average-mask")["n"] == 4
    assert "honest baseline" in caplog.text


def test_the_average_mask_is_tried_on_its_own_images_where_there_are_no_others(
        build_study, caplog: pytest.LogCaptureFixture) -> None:
    cubes = build_study(positives=0, negatives=3, fitted=6)
    table = utility_scores(cubes, baseline="average-mask").table
    assert (table["explainer"] == "average-mask").sum() == 6
    assert "honest baseline" in caplog.text


def test_the_oracle_passes_and_noise_does_not(build_study) -> None:
    table = utility_on(build_study(), "test").tables["decisions"]
    for model in ("dense-1", "densenet121: 2 models", "inception"):
        for metric in ("auprc", "average_precision", "auroc"):
            oracle = decision(table, explainer="oracle", model=model, metric=metric)
            noise = decision(table, explainer="noise", model=model, metric=metric)
            assert oracle[["decision", "bootstrap_decision", "wilcoxon_decision"]].tolist() == [
                "pass"] * 3
            assert not oracle["changes"]
            assert oracle["effect_low"] > 0
            assert oracle["conf_low"] > 0
            assert noise["estimate"] < 0
            assert noise["wilcoxon_decision"] == "did not pass"
            assert noise["changes"] == (noise["decision"] == "uncertain")
            if metric == "auroc":
                assert noise["decision"] == "did not pass"
    assert table["family"].str.contains("(3 tests)", regex=False).all()


def test_against_localizers_and_random_weights(build_study) -> None:
    cubes = build_study(localizers=["unet-1"], randomization=True, replicates=2)
    result = utility_on(cubes, "test")
    table = result.tables["decisions"]
    chosen = {"metric": "average_precision", "model": "dense-1"}
    assert decision(table, explainer="oracle", baseline="unet-1", **chosen)["decision"] \
        == "did not pass"
    assert decision(table, explainer="oracle", baseline="randomised model", **chosen)[
        "decision"] == "pass"
    edges = decision(table, explainer="edges", baseline="randomised model", **chosen)
    assert edges["estimate"] == pytest.approx(0, abs=1e-6)
    assert edges["decision"] == "uncertain"
    assert "no mixed model" in edges["note"]
    summary = result.tables["summary"]
    row = decision(summary, explainer="oracle", condition="randomised")
    assert row["n"] == 24
    models = result.tables["models"]
    assert row["image_auc"] == pytest.approx(
        models[models["condition"] == "randomised"]["image_auc"].mean())
    assert decision(summary, explainer="unet-1")["condition"] == "localizer"


def spoil(cubes: xr.DataTree, image: int, explainer: int, kind: str) -> None:
    dataset = cubes["saliency"].to_dataset()
    dataset["heatmap"][image, 0, explainer] = 2.5 if kind == "flat" else np.nan
    dataset["status"][image, 0, explainer] = 2 if kind == "flat" else 3
    cubes["saliency"] = xr.DataTree(dataset)


def test_flat_and_nonfinite_maps_are_failures_that_count(build_study) -> None:
    cubes = build_study(models={"net": "a"})
    spoil(cubes, 14, 0, "flat")
    spoil(cubes, 15, 2, "nonfinite")
    scored = scores_on(cubes, "test")
    failed = scored.table[scored.table["failed"]]
    assert failed["image"].tolist() == ["image-014", "image-015"]
    np.testing.assert_array_equal(failed["average_precision"], failed["prevalence"])
    np.testing.assert_array_equal(failed["auprc"], failed["prevalence"])
    assert (failed["auroc"] == 0.5).all()
    assert (scored.counts["flat"], scored.counts["nonfinite"]) == (1, 1)
    assert summarize(scored.table)["failed"].sum() == 2
    dropped = scores_on(cubes, "test", failures="drop")
    assert dropped.exclusions == {"an explainer's map is flat or not finite": 2}
    assert (dropped.table.groupby(["explainer"]).size() == 22).all()


def test_an_explainer_in_one_model_only(build_study, caplog) -> None:
    cubes = build_study()
    dataset = cubes["saliency"].to_dataset()
    dataset["status"][:, :, 0, 1:] = 0
    dataset["heatmap"][:, :, 0, 1:] = np.nan
    cubes["saliency"] = xr.DataTree(dataset)
    result = utility_on(cubes, "test")
    summary = result.tables["summary"]
    assert summary[summary["explainer"] == "oracle"]["model"].tolist() == ["dense-1"]
    table = result.tables["decisions"]
    assert "oracle" not in table[table["model"] == "inception"]["explainer"].tolist()
    assert result.meta["counts"].get("missing", 0) == 0
    gaps = [record.getMessage() for record in caplog.records
            if "has no map of model" in record.getMessage()]
    assert [gap.split(" among")[0] for gap in gaps] == [
        f"oracle has no map of model {model}" for model in ("dense-2", "inception")]


def test_images_without_positive_pixels_are_counted(build_study) -> None:
    cubes = build_study(models={"net": "a"})
    dataset = cubes["reference"].to_dataset()
    dataset["mask"][20] = False
    dataset["annotated"][21] = False
    cubes["reference"] = xr.DataTree(dataset)
    scored = scores_on(cubes, "test")
    assert scored.exclusions == {"positive label but no positive pixel": 1,
                                 "positive label but not annotated": 1}
    assert scored.counts["positives"] == 22


def test_several_images_of_one_patient(build_study) -> None:
    result = utility_on(select(build_study(per_patient=2), model="dense-1"), "test")
    assert (result.tables["decisions"]["decision"] != "not decided").all()


def test_contrasts_against_a_control(build_study) -> None:
    cubes = build_study(models={"net": "a"})
    tukey, control = (utility_on(cubes, "test", decision=Decision(
        posthoc=kind, resamples=200)).tables["decisions"] for kind in ("tukey", "control"))
    np.testing.assert_allclose(tukey["estimate"], control["estimate"])
    assert (control["p_adjusted"] <= tukey["p_adjusted"] + 1e-12).all()
    assert set(control["adjustment"]) == {"single-step"}


def test_bad_input_says_what_is_wrong(build_study) -> None:
    cubes = build_study(saliency=False)
    with pytest.raises(DataError, match="nothing to score"):
        utility_scores(cubes, baseline="none")
    with pytest.raises(UsageError, match="split"):
        scores_on(cubes, "tset")
    with pytest.raises(UsageError, match="reader 'x'"):
        utility(select(cubes, reader="x"))
    with pytest.raises(UsageError, match="did you mean 'average-mask'"):
        utility(cubes, baseline="average_mask")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="splits train and val"):
        average_mask(build_study(fitted=0), "Opacity", "truth")
    with pytest.raises(UsageError, match="did you mean 'oracle'"):
        utility(select(build_study(positives=1), explainer="oracl"))
    with pytest.raises(DataError, match="not empty"):
        scores_on(build_study(positives=0), "test")
    with pytest.raises(UsageError, match="margin"):
        Decision(margin=0)


def test_random_weights_without_a_positive_are_said(build_study, caplog) -> None:
    cubes = build_study(randomization=True)
    group = cubes["randomization"].to_dataset(inherit=False)
    status = group["status"].values.copy()
    status[cubes["reference/label"].values[:, 0] == 1] = int(Status.MISSING)
    cubes["randomization"] = group.assign(status=(group["status"].dims, status))
    result = utility_on(cubes, "test")
    assert not (result["decisions"]["baseline"] == "randomised model").any()
    assert any("utility is not judged against them" in message for message in caplog.messages)
