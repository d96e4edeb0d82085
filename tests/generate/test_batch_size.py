"""``batch_size = "auto"``: measured where memory is a limit, recorded, kept."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from saltrust.cache.store import open_cubes
from saltrust.errors import UsageError
from saltrust.explainers.passes.context import PassSize
from saltrust.generate import batch_size
from saltrust.generate.batches import Resources
from saltrust.generate.job import generate
from saltrust.generate.plan import make_plan
from saltrust.models.localizers.trained_localizer import Localizer
from saltrust.study import GenerateSpec, Study
from saltrust.study_file import read_study

CPU = torch.device("cpu")


@pytest.mark.parametrize(("room", "most", "size"), [
    (1000, 256, 256), (100, 256, 64), (8, 256, 8), (7, 256, 4), (0, 256, 1), (1000, 5, 4),
    (1000, 100, 64), (3, 5, 2)])
def test_the_largest_power_of_two_that_fits(room: int, most: int, size: int) -> None:
    tried: list[int] = []

    def fits(n: int) -> bool:
        tried.append(n)
        return n <= room

    assert batch_size.largest_batch(fits, most) == size
    assert len(tried) == len(set(tried))
    assert max(tried, default=1) <= most


def test_it_is_measured_by_what_runs_out_of_memory(
    collection: Any, study: Study, tmp_path: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device with room for 5 images to explain and 2 to localise in, as it were."""
    study = dataclasses.replace(
        study, generate=GenerateSpec("test", "auto", "cpu"),
        localizers=(tiny.save_localizer(tmp_path, "segmenter", ("Edema",), 1),))
    plan = make_plan(collection, study, CPU)
    explained, localized = batch_size.explain, Localizer.localize
    room = {"explain": 5, "localize": 5}

    def limited(what: str, n: int) -> None:
        if n > room[what]:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    def explain(module: Any, inputs: Any, *rest: Any, **options: Any) -> Any:
        limited("explain", len(inputs))
        return explained(module, inputs, *rest, **options)

    def localize(self: Localizer, inputs: Any) -> Any:
        limited("localize", len(inputs))
        return localized(self, inputs)

    monkeypatch.setattr(batch_size, "explain", explain)
    monkeypatch.setattr(Localizer, "localize", localize)
    monkeypatch.setattr(batch_size, "_TAKES_ALL", ())
    settled = []
    for room["localize"] in (5, 2):
        measured = batch_size.settle_batch_size(plan, Resources(CPU, 0, PassSize()),
                                                tmp_path / "out.zarr", resume=False)
        settled.append(measured.batch_size)
        assert measured.study.fingerprint() == study.fingerprint()
    assert settled == [4, 2]


def test_more_images_are_not_bought_with_smaller_passes(
    collection: Any, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two images leave room for passes of four rows, four images for passes of two."""
    plan = make_plan(collection, dataclasses.replace(
        study, generate=GenerateSpec("test", "auto", "cpu")), CPU)
    resources = Resources(CPU, 0, PassSize())

    def explain(_module: Any, inputs: Any, *_rest: Any, context: Any, **_options: Any) -> None:
        while context.passes.rows * len(inputs) > 8:
            if not context.passes.halve():
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(batch_size, "explain", explain)
    monkeypatch.setattr(batch_size, "_TAKES_ALL", ())
    for first, expected in ((8, 8), (2, 2)):
        monkeypatch.setattr(batch_size, "BATCH_ON_CPU", first)
        settled = batch_size.settle_batch_size(plan, resources, tmp_path / "out.zarr",
                                               resume=False)
        assert settled.batch_size == expected
    assert resources.passes.rows == 8


def test_on_a_cpu_it_is_eight_and_resume_keeps_what_was_recorded(
    collection: Any, study: Study, tmp_path: Path
) -> None:
    auto = dataclasses.replace(study, generate=GenerateSpec("test", "auto", "cpu"))
    path = generate(collection, auto, tmp_path / "auto.zarr", progress=False)
    cubes = open_cubes(path)
    assert cubes.attrs["batch_size"] == 8
    assert cubes.attrs["study"]["generate"]["batch_size"] == "auto"
    # Begun elsewhere with another number: gone on with that one, not with this machine's.
    path = generate(collection, study, tmp_path / "three.zarr", progress=False)
    path.rename(tmp_path / "three.zarr.partial")
    path = generate(collection, auto, tmp_path / "three.zarr", resume=True, progress=False)
    assert open_cubes(path).attrs["batch_size"] == 3


@pytest.mark.parametrize(("value", "message"), [
    ('"most"', "generate.batch_size = 'most' is not known"), ("0", "must lie between 1 and"),
    ("2.5", "must be of type int or of type str"), ("true", "must be of type int")])
def test_nothing_else_is_taken(tmp_path: Path, value: str, message: str) -> None:
    path = tmp_path / "study.toml"
    path.write_text(f'name = "a"\n[generate]\nbatch_size = {value}\n')
    with pytest.raises(UsageError, match=message):
        read_study(path)


def test_auto_is_read(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text('name = "a"\n[generate]\nbatch_size = "auto"\ncompile = true\n')
    declared = read_study(path).generate
    assert (declared.batch_size, declared.images_at_once, declared.compile) == ("auto", 8, True)
