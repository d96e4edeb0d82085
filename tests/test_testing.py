"""The simulated study: the same for a seed, valid, and of the kind that statistics meet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from saltrust.cache import rle
from saltrust.cache.grid import mask_to_grid
from saltrust.cache.schema import Label, Status
from saltrust.cache.store import open_cubes
from saltrust.cache.validation import validate
from saltrust.errors import UsageError
from saltrust.testing import simulate_cubes

PARTS = ("radiograph", "randomization", "localizer", "gaze")


def simulate(path: Path | None = None, **options: Any) -> xr.DataTree:
    chosen = {"patients": 6, "findings": ("Edema", "Pneumothorax"), "grid": 16,
              "parts": PARTS} | options
    return simulate_cubes(path, **chosen)


def same(first: xr.Dataset, second: xr.Dataset) -> bool:
    """Whether all variables agree to the bit, NaN with NaN."""
    return set(first.variables) == set(second.variables) and all(
        np.array_equal(first[name].values, second[name].values,
                       equal_nan=first[name].dtype.kind == "f") for name in first.variables)


@pytest.fixture(scope="module")
def cubes(tmp_path_factory: pytest.TempPathFactory) -> xr.DataTree:
    return simulate(tmp_path_factory.mktemp("simulated") / "study.zarr")


@pytest.fixture(scope="module")
def study() -> xr.DataTree:
    """Enough images to tell explainers apart."""
    return simulate_cubes(patients=20, parts=())


def test_the_same_seed_gives_the_same_bits(cubes: xr.DataTree) -> None:
    again = simulate()
    assert set(again.children) == set(cubes.children)
    assert same(cubes.to_dataset(), again.to_dataset())
    for name, group in cubes.children.items():
        assert same(group.to_dataset(), again[name].to_dataset()), name
    facts = [{key: value for key, value in tree.attrs.items() if key != "source"}
             for tree in (cubes, again)]
    assert facts[0] == facts[1]


def test_another_seed_gives_another_study(cubes: xr.DataTree) -> None:
    other = simulate(seed=1)
    for name in ("saliency/heatmap", "randomization/heatmap", "localizer/heatmap",
                 "reference/mask", "reference/gaze", "radiograph/pixels",
                 "prediction/probability"):
        assert not np.array_equal(cubes[name].values, other[name].values), name
    assert cubes.attrs["identity"] != other.attrs["identity"]


def test_it_is_a_finished_store_of_the_schema(cubes: xr.DataTree) -> None:
    validate(cubes)
    validate(open_cubes(cubes.attrs["source"]))
    assert cubes.attrs["complete"]
    with pytest.raises(UsageError, match="exists"):
        simulate(Path(cubes.attrs["source"]))


@pytest.mark.parametrize("parts", [(), ("gaze",), ("randomization", "localizer"),
                                   ("gaze", "guidance"), ("faithfulness",),
                                   ("perturbation",)])
def test_a_store_has_the_parts_asked_for(parts: tuple[str, ...], cubes: xr.DataTree) -> None:
    some = simulate(parts=parts)
    validate(some)
    for name in ("radiograph", "randomization"):
        assert (name in some.children) == (name in parts)
    assert ("localizer" in some.children) == bool({"localizer", "guidance"} & set(parts))
    assert ("gaze" in some["reference"].data_vars) == ("gaze" in parts)
    guided = [facts for facts in some.attrs["models"].values() if "guidance" in facts]
    assert bool(guided) == ("guidance" in parts)
    # What is asked for besides changes nothing of the rest.
    assert np.array_equal(some["reference/mask_rle"].values, cubes["reference/mask_rle"].values)
    if "guidance" not in parts:
        assert same(some["saliency"].to_dataset(), cubes["saliency"].to_dataset())


def test_labels_splits_views_and_sizes_are_of_every_kind(cubes: xr.DataTree) -> None:
    labels = cubes["reference/label"].values
    for f in range(labels.shape[1]):
        assert set(labels[:, f].tolist()) == {int(label) for label in Label}
    root = cubes.to_dataset()
    assert set(root["split"].values.tolist()) == {"train", "val", "test"}
    assert {str(view) for view in root["view"].values} == {"frontal", "lateral"}
    assert len(set(root["patient"].values.tolist())) == 6
    studies = root["study"].to_series().value_counts()
    assert set(studies) == {1, 2}
    sizes = {(int(h), int(w)) for h, w in zip(root["native_height"].values,
                                              root["native_width"].values, strict=True)}
    assert len(sizes) == 3
    assert (16, 16) not in sizes


def test_readers_draw_the_same_masks_at_both_sizes(cubes: xr.DataTree) -> None:
    reference, root = cubes["reference"].to_dataset(), cubes.to_dataset()
    assert reference["reader_role"].values.tolist() == ["reference", "benchmark", "benchmark"]
    annotated = reference["annotated"].values
    assert annotated.any(axis=(0, 1)).all()
    assert not annotated.all()
    for i, f, r in np.argwhere(annotated):
        mask = rle.decode(str(reference["mask_rle"].values[i, f, r]),
                          int(root["native_height"][i]), int(root["native_width"][i]))
        assert np.array_equal(mask_to_grid(mask, (16, 16)), reference["mask"].values[i, f, r])
        assert mask.any() == (reference["n_polygons"].values[i, f, r] > 0)
        points = np.isfinite(reference["point_y"].values[i, f, r]).sum()
        assert points == (reference["n_polygons"].values[i, f, r] if r else 0)
    assert not annotated[reference["label"].values == Label.NOT_STATED].any()


def test_some_maps_fail_in_every_way(cubes: xr.DataTree) -> None:
    maps, status = cubes["saliency/heatmap"].values, cubes["saliency/status"].values
    assert set(status.ravel().tolist()) == {int(state) for state in Status}
    assert np.isfinite(maps[status == Status.OK]).all()
    assert np.ptp(maps[status == Status.OK], axis=(-2, -1)).min() > 0
    assert (np.ptp(maps[status == Status.FLAT], axis=(-2, -1)) == 0).all()
    assert np.isnan(maps[status == Status.NONFINITE]).any(axis=(-2, -1)).all()
    assert np.isnan(maps[status == Status.MISSING]).all()
    trained = cubes["randomization/heatmap"].isel(model=0, stage=0, replicate=1).values
    assert np.array_equal(trained, maps[:, :, :, 0], equal_nan=True)


def test_the_good_explainer_localizes_better_than_the_bad_one(study: xr.DataTree) -> None:
    maps, masks = study["saliency/heatmap"].values, study["reference/mask"].values[:, :, 0]
    usable = (study["saliency/status"].values == Status.OK) & masks.any(axis=(-2, -1))[
        :, :, None, None]
    hits = np.zeros(3)
    for e in range(3):
        for i, f, m in np.argwhere(usable[:, :, e]):
            peak = np.unravel_index(maps[i, f, e, m].argmax(), masks.shape[-2:])
            hits[e] += masks[i, f][peak]
        hits[e] /= usable[:, :, e].sum()
    assert hits[0] > hits[1] > hits[2] + 0.1
    assert 0.5 < hits[0] < 1


def test_models_tell_positives_from_negatives(study: xr.DataTree) -> None:
    labels, probability = study["reference/label"].values, study["prediction/probability"].values
    means = [np.nanmean(probability[labels == label], axis=0)
             for label in (Label.POSITIVE, Label.NEGATIVE)]
    assert (means[0] > means[1] + 0.1).all()
    # Not perfectly, or nothing would be left to estimate.
    assert np.nanmin(probability[labels == Label.POSITIVE]) < 0.5


def test_gaze_and_its_fixations_agree() -> None:
    reference = simulate(parts=("gaze",))["reference"].to_dataset()
    recorded, gaze = reference["gaze_recorded"].values, reference["gaze"].values
    assert recorded[:, 0].sum() == 11
    assert 0 < recorded[:, 1].sum() < 11
    assert not recorded[:, 2].any()
    assert (gaze[recorded].max(axis=(-2, -1)) == 1).all()
    fixated = np.isfinite(reference["fixation_y"].values).any(axis=-1)
    assert np.array_equal(fixated[:, 0], recorded[:, 0])
    assert not fixated[:, 1:].any()


@pytest.mark.parametrize(("options", "words"), [
    ({"parts": ("gase",)}, "did you mean 'gaze'"), ({"parts": ("guidance",)}, "add the part"),
    ({"patients": 3}, "fewer than 8 images"), ({"findings": ()}, "at least one name"),
    ({"findings": "Edema"}, "sequence"), ({"grid": 4}, "8 is the least")])
def test_what_cannot_be_simulated_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        simulate(**options)


def test_curves_of_faithful_maps_are_better_than_random_ones() -> None:
    group = simulate(patients=20, parts=("faithfulness",))["faithfulness"].to_dataset()
    area = -group["curve"].integrate("fraction") * xr.DataArray(
        [1, -1, 1, -1], dims="metric", coords={"metric": group["metric"]})
    chance = -group["random"].mean("order").integrate("fraction") * xr.DataArray(
        [1, -1, 1, -1], dims="metric", coords={"metric": group["metric"]})
    gain = (area - chance).mean(("image", "finding", "model"))
    assert (gain.sel(explainer="gradcam") > gain.sel(explainer="guided_backprop")).all()
    assert (gain.sel(explainer="guided_backprop") > 0.03).all()
    assert (abs(gain.sel(explainer="grad")) < 0.01).all()
    # Images of a patient are alike.
    first = group["curve"].isel(fraction=0, finding=0, model=0)
    one = ((area.isel(finding=0, model=0) / first).sel(explainer="gradcam", metric="deletion"))
    pairs = one.values.reshape(-1, 2)[np.isfinite(one.values.reshape(-1, 2)).all(axis=1)]
    assert np.corrcoef(pairs.T)[0, 1] > 0.3


def test_curves_are_missing_where_maps_are(cubes: xr.DataTree) -> None:
    group = simulate(parts=("faithfulness",))["faithfulness"].to_dataset()
    lost = np.isin(group["status"], (Status.MISSING, Status.NONFINITE))
    assert lost.any()
    assert (np.isnan(group["curve"].values).all(axis=(-2, -1)) == lost).all()
