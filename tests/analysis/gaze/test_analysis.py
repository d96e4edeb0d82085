"""Agreement with gaze from cubes: who looks where people look, and what chance gives."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from scipy import stats

import saltrust
from saltrust.analysis.gaze.analysis import gaze
from saltrust.analysis.gaze.maps import select_maps
from saltrust.analysis.gaze.scores import AVERAGE, CENTER, MEASURES, SWAPPED
from saltrust.analysis.options import GazeComparison, Resampling
from saltrust.analysis.result import ESTIMATE_COLUMNS, Result
from saltrust.analysis.select import select
from saltrust.cache.gaze_maps import GazeSmoothing
from saltrust.cache.reference import fixation_count, instance_counts, write_annotations
from saltrust.cache.schema import Label, Status
from saltrust.cache.writing import create_store
from saltrust.datasets.phantom.collection import phantom
from saltrust.errors import DataError, UsageError
from tests.sealing import seal_again

GRID = 24
FEW = Resampling(resamples=20)
MODELS = xr.Dataset(coords={"model": ["net", "other"], "model_role": ("model", ["member"] * 2)})
EXPLAINERS = xr.Dataset(coords={"explainer": ["oracle", "noise"],
                                "explainer_parameters": ("explainer", ["{}", "{}"])})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms with gaze; `oracle` of `net` is the gaze and some noise, of `other` more noise."""
    data = phantom(patients=16, size=64, seed=0, findings=["Edema", "Lung Lesion"],
                   split_fractions=(0, 0, 1), gaze=GazeSmoothing())
    n_points, n_boxes = instance_counts(data)
    writer = create_store(
        tmp_path_factory.mktemp("gaze") / "g.zarr", index=data.index, grid=(GRID, GRID),
        groups=("reference", "saliency", "localizer"), models=MODELS, explainers=EXPLAINERS,
        n_points=n_points, n_boxes=n_boxes, n_fixations=fixation_count(data))
    write_annotations(writer, data)
    rng = np.random.default_rng(0)
    for i, name in enumerate(data.index["image"].values):
        seen = data.gaze(str(name), (GRID, GRID))["reference"]
        for f in range(2):
            for m, noise in enumerate((0.1, 1.0)):
                for e, values in enumerate((seen, 0 * seen)):
                    writer.write("saliency/heatmap", (i, f, e, m),
                                 values + noise * rng.normal(size=seen.shape))
            writer.write("localizer/heatmap", (i, f, 0), seen)
    n = data.index.sizes["image"]
    writer.write("saliency/status", slice(None), np.full((n, 2, 2, 2), int(Status.OK)))
    status = np.zeros((n, 2, 2), np.uint8)
    status[:, :, 0] = Status.OK
    writer.write("localizer/status", slice(None), status)
    return writer.finish()


@pytest.fixture(scope="module")
def result(store: Path) -> Result:
    return gaze(store, resampling=Resampling(resamples=300, seed=4))


def row(table: pd.DataFrame, **wanted: Any) -> pd.Series:
    for name, value in wanted.items():
        table = table[table[name] == value]
    assert len(table) == 1, table
    return table.iloc[0]


def test_tables_have_the_uniform_columns(result: Result) -> None:
    assert list(result.tables) == ["summary", "specificity", "comparisons", "scores"]
    for name in ("summary", "specificity", "comparisons"):
        assert set(ESTIMATE_COLUMNS) <= set(result.tables[name].columns)
        assert set(result.tables[name]["term"]) == set(
            SWAPPED if name == "specificity" else MEASURES)
    assert set(result.tables["summary"]["finding"]) == {"Edema", "Lung Lesion", "all"}
    assert result.meta["fixated"] == "pixels that hold a fixation"


def test_only_findings_that_the_image_shows_are_compared(result: Result, store: Path) -> None:
    labels = saltrust.open_cubes(store)["reference/label"].to_pandas()
    scores = result.tables["scores"]
    pairs = {(image, finding) for image in labels.index for finding in labels.columns
             if labels.loc[image, finding] == Label.POSITIVE}
    assert set(zip(scores["image"], scores["finding"], strict=True)) == pairs
    everything = gaze(store, comparison=GazeComparison(images="all"), resampling=FEW,
                      measures=["nss"]).tables
    assert len(everything["scores"]) == 7 * labels.size
    # One map per pair of explainer and model, one localizer, two baselines.
    assert len(scores) == 7 * len(pairs)


def test_a_map_of_the_gaze_agrees_and_noise_does_not(result: Result) -> None:
    summary = result.tables["summary"]
    for measure, chance, best in (("correlation", 0, 1), ("auc_judd", 0.5, 1), ("nss", 0, 9)):
        oracle = row(summary, finding="all", explainer="oracle", model="net", term=measure)
        noise = row(summary, finding="all", explainer="noise", model="net", term=measure)
        perfect = row(summary, finding="all", explainer="localizer", term=measure)
        assert noise["conf_low"] - 0.1 < chance < noise["conf_high"] + 0.1
        assert oracle["conf_low"] > noise["conf_high"]
        assert oracle["estimate"] < perfect["estimate"] <= best
    exact = row(summary, finding="all", explainer="localizer", term="correlation")
    assert exact["estimate"] == pytest.approx(1)
    assert row(summary, finding="all", explainer="localizer", term="kl")[
        "estimate"] == pytest.approx(0, abs=1e-6)


def test_gaze_is_central_so_the_baselines_agree_but_are_not_specific(result: Result) -> None:
    summary, specific = result.tables["summary"], result.tables["specificity"]
    for name in (CENTER, AVERAGE):
        central = row(summary, finding="all", explainer=name, term="auc_judd")
        assert central["estimate"] > 0.6
        assert central["model"] == ""
    prior = row(specific, finding="all", explainer=CENTER, term="correlation")
    assert abs(prior["estimate"]) < 0.1
    # Others look at the centre too.
    shuffled = row(summary, finding="all", explainer=CENTER, term="auc_shuffled")
    assert shuffled["estimate"] < row(summary, finding="all", explainer=CENTER,
                                      term="auc_judd")["estimate"] - 0.08
    # The average is of these very images: it knows the gaze on others better than on its own.
    circular = row(summary, finding="all", explainer=AVERAGE, term="auc_shuffled")
    assert circular["n"] == 0
    assert circular["note"] == "made of the gaze it would be compared with"
    assert AVERAGE not in set(specific["explainer"])
    exact = row(specific, finding="all", explainer="localizer", term="correlation")
    assert exact["conf_low"] > 0.2
    assert exact["p_value"] < 0.05


def test_the_summary_is_the_mean_of_the_scores(result: Result) -> None:
    scores, summary = result.tables["scores"], result.tables["summary"]
    part = scores[(scores["finding"] == "Edema") & (scores["explainer"] == "oracle")
                  & (scores["model"] == "other")]
    for measure in MEASURES:
        estimate = row(summary, finding="Edema", explainer="oracle", model="other", term=measure)
        assert estimate["estimate"] == pytest.approx(part[measure].mean(), abs=1e-12)
        assert estimate["sd"] == pytest.approx(part[measure].std(), abs=1e-12)
        assert estimate["n"] == len(part)
        assert estimate["patients"] == part["patient"].nunique()
        if estimate["patients"] < 10:
            assert np.isnan(estimate["conf_low"])
            assert "no bootstrap interval" in estimate["note"]
        else:
            assert estimate["conf_low"] <= estimate["estimate"] <= estimate["conf_high"]
        if measure in SWAPPED:
            assert estimate["other"] == pytest.approx(part[f"{measure}_other"].mean())


def test_pairs_are_compared_on_the_same_images(result: Result) -> None:
    comparisons, scores = result.tables["comparisons"], result.tables["scores"]
    estimate = row(comparisons, finding="all", compared="models", within="oracle", term="nss")
    assert (estimate["a"], estimate["b"]) == ("net", "other")
    wide = scores[scores["explainer"] == "oracle"].pivot_table(
        index=["image", "finding"], columns="model", values="nss")
    assert estimate["estimate"] == pytest.approx((wide["net"] - wide["other"]).mean())
    assert estimate["n"] == len(wide)
    assert estimate["p_value"] < 0.05
    within = comparisons[(comparisons["compared"] == "explainers")
                         & (comparisons["finding"] == "Edema") & (comparisons["term"] == "kl")]
    # oracle, noise, localizer of net with two baselines; the baselines not with each other.
    assert (within["within"] == "net").sum() == 9
    assert (within["within"] == "other").sum() == 5
    planned = within[within["within"] == "net"]
    np.testing.assert_allclose(planned["p_adjusted"], np.minimum(1, 9 * planned["p_value"]))
    assert planned["family"].iloc[0] == "Edema, explainers of net, kl (9 tests)"


def test_scores_are_those_of_the_pixels(result: Result, store: Path) -> None:
    cubes = saltrust.open_cubes(store)
    scores = result.tables["scores"]
    one = scores[(scores["explainer"] == "oracle") & (scores["model"] == "net")].iloc[3]
    at = {"image": one["image"], "finding": one["finding"]}
    heatmap = cubes["saliency/heatmap"].sel(**at, explainer="oracle", model="net").values
    reference = cubes["reference"].to_dataset().sel(image=one["image"], reader="reference")
    assert one["correlation"] == pytest.approx(stats.pearsonr(
        heatmap.ravel(), reference["gaze"].values.ravel()).statistic, abs=1e-6)
    y, x = (reference[name].values for name in ("fixation_y", "fixation_x"))
    hits = {(int((a + 0.5) * GRID / 64), int((b + 0.5) * GRID / 64))
            for a, b in zip(y, x, strict=True) if np.isfinite(a)}
    z = stats.zscore(heatmap.astype(float), axis=None)
    assert one["nss"] == pytest.approx(np.mean([z[place] for place in hits]), abs=1e-6)


def test_flat_and_non_finite_maps_are_counted_and_never_missing(store: Path, tmp_path: Path,
                                                                ) -> None:
    path = tmp_path / "broken.zarr"
    shutil.copytree(store, path)
    labels = saltrust.open_cubes(path)["reference/label"].values
    positive = np.argwhere(labels[:, 0] == Label.POSITIVE)[:, 0]
    root = zarr.open_group(path, mode="r+")
    root["saliency/status"][positive[0], 0, 0, 0] = int(Status.FLAT)
    root["saliency/status"][positive[1], 0, 0, 0] = int(Status.NONFINITE)
    # Its status speaks too well of this one.
    root["saliency/heatmap"][positive[2], 0, 0, 0] = 2.5
    seal_again(path)
    cubes = saltrust.open_cubes(path)
    edema = select(cubes, finding="Edema")
    result = gaze(edema, resampling=FEW)
    assert result.meta["counts"]["flat"] == 2
    assert result.meta["counts"]["nonfinite"] == 1
    scores = result.tables["scores"]
    failed = scores[scores["failed"]]
    assert len(failed) == 3
    assert not scores.query("explainer != @AVERAGE")[list(MEASURES)].isna().any().any()
    assert failed["correlation"].tolist() == [0, 0, 0]
    assert failed["auc_judd"].tolist() == failed["auc_shuffled"].tolist() == [0.5] * 3
    assert row(result.tables["summary"], explainer="oracle", model="net",
               term="nss")["failed"] == 3
    dropped = gaze(edema, comparison=GazeComparison(failures="drop"), resampling=FEW)
    assert dropped.meta["exclusions"]["an explainer's map is flat or not finite"] == 3
    assert set(dropped.tables["summary"].query("n > 0")["n"]) == {len(positive) - 3}


def test_absolute_and_positive_maps(store: Path, tmp_path: Path) -> None:
    cubes = saltrust.open_cubes(store).load()
    tables = {form: gaze(select(cubes, explainer="noise", model="net"),
                         comparison=GazeComparison(reading=form), resampling=FEW,
                         measures=["correlation"]).tables["scores"]
              for form in ("raw", "absolute", "positive")}
    one = tables["raw"].query("explainer == 'noise'").iloc[0]
    heatmap = cubes["saliency/heatmap"].sel(
        image=one["image"], finding=one["finding"], explainer="noise", model="net").values
    seen = cubes["reference/gaze"].sel(image=one["image"], reader="reference").values
    for form, values in (("raw", heatmap), ("absolute", np.abs(heatmap)),
                         ("positive", heatmap.clip(min=0))):
        assert tables[form].query("explainer == 'noise'").iloc[0][
            "correlation"] == pytest.approx(np.corrcoef(values.ravel(), seen.ravel())[0, 1],
                                            abs=1e-6)


def test_sources_are_chosen(store: Path) -> None:
    def sources(**options: Any) -> set[str]:
        tree, source = select_maps(saltrust.open_cubes(store), **options)
        scores = gaze(tree, comparison=GazeComparison(source=source), resampling=FEW,
                      measures=["nss"]).tables["scores"]
        return set(scores["explainer"] + " " + scores["model"]) - {f"{CENTER} ", f"{AVERAGE} "}

    of_net = {"oracle net", "noise net"}
    assert sources(source="localizer") == {"localizer net"}
    assert sources(source="saliency") == of_net | {"oracle other", "noise other"}
    assert sources(explainers=["localizer"]) == {"localizer net"}
    assert sources(explainers=["oracle"]) == {"oracle net", "oracle other"}
    assert sources(explainers=["oracle", "localizer"], models=["net"]) == {
        "oracle net", "localizer net"}
    # A localizer is no baseline of the other model here.
    assert sources(models=["other"]) == {"oracle other", "noise other"}
    assert sources(models=["net"]) == {*of_net, "localizer net"}
    with pytest.raises(UsageError, match="source saliency"):
        sources(source="saliency", explainers=["localizer"])


def test_without_fixations_the_heatmap_says_what_is_fixated(store: Path) -> None:
    cubes = saltrust.open_cubes(store).load()
    cubes["reference"] = cubes["reference"].to_dataset().drop_vars(
        ["fixation_y", "fixation_x", "fixation_duration"])
    result = gaze(cubes, comparison=GazeComparison(source="localizer", threshold=0.4),
                  resampling=FEW)
    assert result.meta["fixated"] == "pixels whose gaze is at least 0.4 of its maximum"
    scores = result.tables["scores"].query("source == 'localizer'")
    # The map is the gaze, so everything above the threshold ranks first.
    assert (scores["auc_judd"] == 1).all()


def test_one_patient_alone_has_no_other_gaze(store: Path) -> None:
    cubes = saltrust.open_cubes(store).load()
    cubes["patient"].values[:] = "same"
    result = gaze(cubes, resampling=FEW)
    assert "specificity" not in result.tables
    assert AVERAGE not in set(result.tables["scores"]["explainer"])
    assert result.meta["exclusions"]["images without another patient's gaze beside"] > 0
    summary = result.tables["summary"]
    assert summary.query("term == 'auc_shuffled'")["note"].eq("no rows").all()
    assert summary.query("term == 'nss'")["note"].str.contains("1 patient").all()


def test_the_average_gaze_is_of_other_splits_where_these_are_not_selected(store: Path) -> None:
    cubes = saltrust.open_cubes(store).load()
    splits = np.array(["test"] * cubes.sizes["image"], dtype=object)
    patients = np.array([str(name) for name in cubes["patient"].values])
    first = list(dict.fromkeys(patients))[:9]
    splits[np.isin(patients, first)] = "train"
    # One image of a training patient is in the test split all the same.
    leaked = np.flatnonzero(patients == first[0])[0]
    splits[leaked] = "test"
    cubes["split"].values[:] = splits
    result = gaze(select(cubes, split="test"), fitted_on=cubes, resampling=FEW,
                  comparison=GazeComparison(source="localizer", images="all"))
    train = np.flatnonzero(splits == "train")
    assert result.meta["average_gaze"] == (
        f"mean over {len(train)} images of training and validation")
    seen = cubes["reference/gaze"].sel(reader="reference").values.astype(float)
    rows = result.tables["scores"].query("explainer == @AVERAGE").set_index("image")
    for k in np.flatnonzero(splits == "test"):
        mean = seen[[i for i in train if patients[i] != patients[k]]].mean(axis=0)
        agreement = rows.loc[str(cubes["image"].values[k]), "correlation"].iloc[0]
        assert agreement == pytest.approx(np.corrcoef(mean.ravel(), seen[k].ravel())[0, 1],
                                          abs=1e-9)
    assert not rows["auc_shuffled"].isna().any()
    specific = result.tables["specificity"]
    assert abs(row(specific, finding="all", explainer=AVERAGE, term="correlation")[
        "estimate"]) < 0.15
    with_training = gaze(cubes, comparison=GazeComparison(source="localizer"),
                         resampling=FEW)
    assert with_training.meta["average_gaze"] == "mean over the selected images of other patients"


def test_the_same_seed_gives_the_same_numbers(store: Path) -> None:
    cubes = select(store, explainer="oracle")
    one, two, other = (gaze(cubes, resampling=Resampling(resamples=30, seed=seed)).to_dict()
                       for seed in (1, 1, 2))
    assert one == two
    assert one["tables"]["scores"] != other["tables"]["scores"]


@pytest.mark.parametrize(("options", "words"), [
    ({"reading": "signed"}, "reading"),
    ({"source": "decoder"}, "source"),
    ({"images": "some"}, "images"),
    ({"failures": "keep"}, "failures"),
    ({"threshold": 0.0}, "gaze threshold"),
    ({"others": 0}, "others"),
])
def test_wrong_options_say_what_is_wrong(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        GazeComparison(**options)


def test_wrong_names_say_what_is_wrong(store: Path) -> None:
    with pytest.raises(UsageError, match="auc_judd"):
        gaze(store, measures=["auc"])
    with pytest.raises(UsageError, match="did you mean 'holm'"):
        gaze(store, adjustment="hom")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="gradcam"):
        select_maps(saltrust.open_cubes(store), explainers=["gradcam"])
    with pytest.raises(UsageError, match="'net'"):
        select_maps(saltrust.open_cubes(store), models=["nett"])


def test_cubes_without_gaze_maps_or_labels_are_refused(store: Path) -> None:
    cubes = saltrust.open_cubes(store).load()
    blind = cubes.copy()
    blind["reference"] = blind["reference"].to_dataset().drop_vars(["gaze"])
    with pytest.raises(DataError, match="holds no gaze"):
        gaze(blind)
    unseen = cubes.copy(deep=True)
    unseen["reference/gaze_recorded"].values[:] = False
    with pytest.raises(DataError, match="no gaze on any selected image"):
        gaze(unseen)
    mapless = cubes.drop_nodes(["saliency", "localizer"])
    with pytest.raises(DataError, match="no heatmaps to compare"):
        gaze(mapless)
    healthy = cubes.copy(deep=True)
    healthy["reference/label"].values[:] = 0
    with pytest.raises(DataError, match="of a finding that it shows"):
        gaze(healthy)
    damaged = cubes.copy(deep=True)
    damaged["reference/gaze"].values[:] = np.nan
    with pytest.raises(DataError, match="flat, negative or not finite"):
        gaze(damaged)
