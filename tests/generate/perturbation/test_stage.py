"""``[perturbation]``, from the study to the cubes, interrupted or not."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from saltrust.cache.schema import Status
from saltrust.cache.store import open_cubes
from saltrust.cache.validation import problems
from saltrust.errors import UsageError
from saltrust.generate.job import generate
from saltrust.generate.perturbation import stage
from saltrust.generate.perturbation.kinds import perturb
from saltrust.generation_settings import PerturbationSpec
from saltrust.models.classifiers.trained_classifier import load_classifier
from saltrust.models.preprocessing import to_input
from saltrust.study import Study
from saltrust.study_file import read_study


@pytest.fixture
def perturbed(study: Study) -> Study:
    return dataclasses.replace(study, seed=3, perturbation=PerturbationSpec(
        ("contrast", "shift"), levels=2, images=3))


def test_predictions_and_changes_of_maps(
        collection: Any, perturbed: Study, tmp_path: Path, tiny: ModuleType) -> None:
    cubes = open_cubes(generate(collection, perturbed, tmp_path / "a.zarr", progress=False))
    assert problems(cubes) == []
    group = cubes["perturbation"].to_dataset()
    status = group["status"].transpose("image", ...).values
    chosen = np.flatnonzero((status != Status.MISSING).any(axis=(1, 2, 3)))
    assert len(chosen) == 3
    assert {str(cubes.coords["split"].values[k]) for k in chosen} == {"test"}
    np.testing.assert_allclose(group["amount"].values, [[0.3, 0.6], [0.03, 0.06]])
    changed = group["map_change"].isel(image=chosen)
    assert np.isfinite(changed.where(group["status"].isel(image=chosen) == 1, 0)).all()
    assert (changed.min(), changed.max()) >= (0, 0)
    # By hand: the prediction of the changed radiograph.
    at = int(chosen[0])
    pixels = cubes["radiograph/pixels"].values[at]
    model = next(iter(perturbed.models))
    classifier = load_classifier(model, perturbed, list(tiny.FINDINGS))
    plane = perturb(pixels, "contrast", 0.6, 3, str(cubes["image"].values[at]))
    logits = classifier.module(to_input(plane[None], classifier.preprocessing))
    expected = logits.sigmoid()[0, list(classifier.output_index)].detach().numpy()
    np.testing.assert_allclose(group["probability"].sel(perturbation="contrast", level=2)
                               .isel(image=at, model=0).values, expected, atol=1e-5)


def test_a_killed_job_goes_on_with_the_same_values(
        collection: Any, perturbed: Study, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    whole = open_cubes(generate(collection, perturbed, tmp_path / "a.zarr", progress=False))
    explain, calls = stage.explain_batch, []

    def failing(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return explain(*arguments)

    monkeypatch.setattr(stage, "explain_batch", failing)
    with pytest.raises(KeyboardInterrupt):
        generate(collection, perturbed, tmp_path / "b.zarr", progress=False)
    again = open_cubes(generate(collection, perturbed, tmp_path / "b.zarr", progress=False,
                                resume=True))
    for name in ("probability", "map_change", "status"):
        np.testing.assert_array_equal(again[f"perturbation/{name}"].values,
                                      whole[f"perturbation/{name}"].values)


def test_what_cannot_be_perturbed_is_said(collection: Any, perturbed: Study, tmp_path: Path
                                          ) -> None:
    many = dataclasses.replace(perturbed, perturbation=PerturbationSpec(("blur",), images=99))
    with pytest.raises(UsageError, match=r"images = 99 of \[perturbation\] is more than the"):
        generate(collection, many, tmp_path / "m.zarr", progress=False)
    for text, says in (("", "names no kind; set kinds to some of noise"),
                       ('kinds = ["blur", "blur"]', "names the kind 'blur' twice"),
                       ('kinds = ["blure"]', "blure")):
        file = tmp_path / "study.toml"
        file.write_text(f'[data]\nkind = "phantom"\n[[models]]\nname = "m"\narchitecture = '
                        f'"phantom_net"\n[perturbation]\n{text}\n')
        with pytest.raises(UsageError, match=says):
            read_study(file)
