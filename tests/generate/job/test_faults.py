"""Interrupted, killed, refused: nothing half-written that looks whole, nothing lost."""

from __future__ import annotations

import dataclasses
import errno
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
import zarr

from saltrust.cache.schema import Status
from saltrust.cache.store import open_cubes, partial_path
from saltrust.errors import DataError, NothingToDo, UsageError
from saltrust.explainers.declaration import Explainer
from saltrust.explainers.registry import BUILT_IN
from saltrust.generate.job import generate
from saltrust.models.localizers.trained_localizer import Localizer
from saltrust.study import ExplainerSpec, GenerateSpec, Study


def _arrays(path: Path) -> dict[str, bytes]:
    """Every variable as bytes; texts as their list."""
    contents = {}
    for name, array in zarr.open_group(path, mode="r").members(max_depth=None):
        if isinstance(array, zarr.Array):
            values = np.asarray(array[:])
            text = values.dtype.kind == "T"
            contents[name] = repr(values.tolist()).encode() if text else values.tobytes()
    return contents


def _assert_same(one: Path, other: Path) -> None:
    first, second = _arrays(one), _arrays(other)
    assert first.keys() == second.keys()
    assert "saliency/heatmap" in first
    assert [name for name in first if first[name] != second[name]] == []


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_any_moment_and_resumed_the_cubes_are_the_same(
    seed: int, tmp_path: Path
) -> None:
    script = Path(__file__).parents[1] / "tiny_study.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(seed)], capture_output=True, text=True,
        check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    kills = json.loads(done.stdout)["kills"]
    assert kills >= 3
    # A store that was killed while it was laid out is begun again.
    assert 2 <= len(open_cubes(tmp_path / "killed.zarr").attrs["starts"]) <= kills + 1
    assert not partial_path(tmp_path / "killed.zarr").exists()
    assert list((tmp_path / "killed.zarr").rglob("*.partial")) == []
    _assert_same(tmp_path / "whole.zarr", tmp_path / "killed.zarr")


def test_killed_before_the_first_file_was_whole(
    collection: Any, study: Study, tmp_path: Path
) -> None:
    """Zarr writes every file aside, under this name, and then renames it."""
    path = tmp_path / "out.zarr"
    partial_path(path).mkdir()
    (partial_path(path) / "zarr.1f.partial").write_text("{")
    generate(collection, study, path, resume=True, progress=False)
    assert list(path.rglob("*.partial")) == []
    partial_path(path).mkdir()
    (partial_path(path) / "thesis.tex").write_text("not a store")
    path.rename(tmp_path / "elsewhere.zarr")
    with pytest.raises(UsageError, match="is in the way"):
        generate(collection, study, path, resume=True, progress=False)
    assert (partial_path(path) / "thesis.tex").exists()


class Interruption(BaseException):
    """Stands for Ctrl-C."""


@pytest.fixture
def fail_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, BaseException], None]:
    """Make the n-th write of a map raise."""

    def arrange(count: int, error: BaseException) -> None:
        write = zarr.Array.__setitem__
        written = 0

        def failing(array: Any, selection: Any, value: Any) -> None:
            nonlocal written
            if array.name.endswith("heatmap"):
                written += 1
                if written == count:
                    raise error
            write(array, selection, value)

        monkeypatch.setattr(zarr.Array, "__setitem__", failing)

    return arrange


@pytest.mark.parametrize("count", [1, 8, 31])
def test_interrupted_and_resumed_the_cubes_are_the_same(
    collection: Any, study: Study, tmp_path: Path, count: int,
    fail_at: Callable[[int, BaseException], None], monkeypatch: pytest.MonkeyPatch,
) -> None:
    generate(collection, study, tmp_path / "whole.zarr", progress=False)
    path = tmp_path / "out.zarr"
    fail_at(count, Interruption())
    with pytest.raises(Interruption):
        generate(collection, study, path, progress=False)
    monkeypatch.undo()
    assert not path.exists()
    with pytest.raises(UsageError, match="repeat the command that made it with --resume"):
        open_cubes(path)
    generate(collection, study, path, resume=True, progress=False)
    _assert_same(tmp_path / "whole.zarr", path)


def test_what_is_finished_is_not_computed_again(
    collection: Any, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    fail_at: Callable[[int, BaseException], None],
) -> None:
    path = tmp_path / "out.zarr"
    # 8 images in batches of 3, two explainers: the 9th map is in the second batch.
    fail_at(9, Interruption())
    with pytest.raises(Interruption):
        generate(collection, study, path, progress=False)
    monkeypatch.undo()
    status = np.asarray(zarr.open_group(partial_path(path), mode="r")["saliency/status"])
    assert (status[[0, 1, 3], :, :, 0] != Status.MISSING).all()
    assert (status[[4, 6, 7, 9, 10]] == Status.MISSING).all()
    sizes = []
    plain = BUILT_IN["grad"].function

    def counting(module: Any, inputs: Any, outputs: Any, *, forward: Any = None) -> Any:
        sizes.append(len(inputs))
        return plain(module, inputs, outputs, forward=forward)

    monkeypatch.setitem(BUILT_IN, "grad", dataclasses.replace(BUILT_IN["grad"],
                                                              function=counting))
    generate(collection, study, path, resume=True, progress=False)
    # A probe for each model, then what is left, whole batches with unchanged bounds.
    assert sizes == [1, 1, 3, 2, 3, 3, 2]


def test_a_full_disk(
    collection: Any, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    fail_at: Callable[[int, BaseException], None],
) -> None:
    path = tmp_path / "out.zarr"
    fail_at(7, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(DataError, match=r"disk is full while writing .* with --resume"):
        generate(collection, study, path, progress=False)
    monkeypatch.undo()
    assert not path.exists()
    assert partial_path(path).is_dir()
    with pytest.raises(DataError, match="unfinished"):
        open_cubes(partial_path(path))
    generate(collection, study, path, resume=True, progress=False)
    generate(collection, study, tmp_path / "whole.zarr", progress=False)
    _assert_same(tmp_path / "whole.zarr", path)


def test_an_unreadable_radiograph_is_named_and_nothing_looks_whole(
    collection: Any, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.zarr"
    decode = collection.radiograph

    def broken(image: str, grid: tuple[int, int]) -> Any:
        if image == "image-006":
            raise DataError("films/image-006.png is truncated; fetch it again")
        return decode(image, grid)

    monkeypatch.setattr(collection, "radiograph", broken)
    with pytest.raises(DataError, match=r"films/image-006\.png is truncated"):
        generate(collection, study, path, progress=False)
    assert not path.exists()
    assert partial_path(path).is_dir()
    monkeypatch.undo()
    generate(collection, study, path, resume=True, progress=False)
    generate(collection, study, tmp_path / "whole.zarr", progress=False)
    _assert_same(tmp_path / "whole.zarr", path)


def test_an_existing_output_is_refused_unless_told(
    collection: Any, study: Study, tmp_path: Path
) -> None:
    path = generate(collection, study, tmp_path / "out.zarr", progress=False)
    before = (path / "zarr.json").stat().st_mtime_ns
    with pytest.raises(UsageError, match="--overwrite"):
        generate(collection, study, path, progress=False)
    with pytest.raises(NothingToDo, match="finished already"):
        generate(collection, study, path, resume=True, progress=False)
    assert (path / "zarr.json").stat().st_mtime_ns == before
    generate(collection, study, path, overwrite=True, progress=False)
    assert (path / "zarr.json").stat().st_mtime_ns != before


def _other_checkpoint(study: Study, tiny: ModuleType) -> Study:
    torch.manual_seed(99)
    tiny.save_model(study.folder, "third", tiny.TinyNetwork(3, width=4), arguments={"width": 4})
    (study.folder / "runs" / "narrow").rename(study.folder / "runs" / "old")
    (study.folder / "runs" / "third").rename(study.folder / "runs" / "narrow")
    return study


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda study, _: dataclasses.replace(study, seed=5), "another seed"),
        (lambda study, _: dataclasses.replace(study, grid=32), "another grid"),
        (lambda study, _: dataclasses.replace(study, models=study.models[:1]),
         "another labels, model 'wide'"),
        (lambda study, _: dataclasses.replace(
            study, explainers=(ExplainerSpec("grad"), ExplainerSpec("gradcam", {"layer": "body.0"}
                                                                    ))),
         "set of parameters of explainer 'gradcam'"),
        (lambda study, _: dataclasses.replace(
            study, generate=GenerateSpec("test", 4, "cpu")), "another batch size"),
        (lambda study, _: dataclasses.replace(
            study, generate=GenerateSpec("all", 3, "cpu")), "another split"),
        (_other_checkpoint, "another model 'narrow'"),
    ],
)
def test_another_study_is_not_mixed_in(
    collection: Any, study: Study, tiny: ModuleType, tmp_path: Path, change: Any, named: str,
    fail_at: Callable[[int, BaseException], None],
) -> None:
    fail_at(4, Interruption())
    with pytest.raises(Interruption):
        generate(collection, study, tmp_path / "out.zarr", progress=False)
    with pytest.raises(UsageError, match=named):
        generate(collection, change(study, tiny), tmp_path / "out.zarr", resume=True,
                 progress=False)


def test_other_data_are_not_mixed_in(
    collection: Any, study: Study, tmp_path: Path,
    fail_at: Callable[[int, BaseException], None],
) -> None:
    fail_at(4, Interruption())
    with pytest.raises(Interruption):
        generate(collection, study, tmp_path / "out.zarr", progress=False)
    collection.fingerprint = "others"
    with pytest.raises(UsageError, match="another data set"):
        generate(collection, study, tmp_path / "out.zarr", resume=True, progress=False)


def test_threads_of_the_first_start_are_used_again(
    collection: Any, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    fail_at: Callable[[int, BaseException], None],
) -> None:
    torch.set_num_threads(2)
    fail_at(4, Interruption())
    with pytest.raises(Interruption):
        generate(collection, study, tmp_path / "out.zarr", progress=False)
    monkeypatch.undo()
    torch.set_num_threads(1)
    used = set()
    forward = torch.nn.Linear.forward

    def observing(layer: Any, inputs: Any) -> Any:
        used.add(torch.get_num_threads())
        return forward(layer, inputs)

    monkeypatch.setattr(torch.nn.Linear, "forward", observing)
    path = generate(collection, study, tmp_path / "out.zarr", resume=True, progress=False)
    # One while the plan is made, before the store is opened; two for everything stored.
    assert used == {1, 2}
    assert torch.get_num_threads() == 1
    assert open_cubes(path).attrs["threads"] == 2


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda s: dataclasses.replace(s, models=()), UsageError, r"no \[\[models\]\]"),
        (lambda s: dataclasses.replace(s, explainers=(ExplainerSpec("gradcm"),)), UsageError,
         "did you mean 'gradcam'"),
        (lambda s: dataclasses.replace(s, explainers=(ExplainerSpec("grad", {"steps": 3}),)),
         UsageError, "no parameter 'steps'"),
        (lambda s: dataclasses.replace(s, explainers=(ExplainerSpec("gradcam", {"layer": "bdy"}),)
                                       ), UsageError, "model 'narrow': .*did you mean 'body'"),
        (lambda s: dataclasses.replace(s, generate=GenerateSpec("val", 3, "cpu")), DataError,
         "no image in split 'val'; set `split` of .* to 'test', 'train', 'all'"),
        (lambda s: dataclasses.replace(
            s, models=(dataclasses.replace(s.models[0], name="untrained"),)), UsageError,
         "has no weights"),
        (lambda s: dataclasses.replace(
            s, models=(dataclasses.replace(s.models[0], arguments={"width": 7}),)), DataError,
         "of another shape"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(
    collection: Any, study: Study, tmp_path: Path, change: Any, error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        generate(collection, change(study), tmp_path / "out.zarr", progress=False)
    assert not (tmp_path / "out.zarr").exists()
    assert not partial_path(tmp_path / "out.zarr").exists()


def test_annotations_without_radiographs_cannot_be_explained(
    collection: Any, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(collection), "has_radiographs", False)
    with pytest.raises(DataError, match="no radiographs"):
        generate(collection, study, tmp_path / "out.zarr", progress=False)


def test_a_data_set_without_splits(collection: Any, study: Study, tmp_path: Path) -> None:
    collection.index = collection.index.drop_vars("split")
    with pytest.raises(DataError, match=r"no image in split 'test'; .* to 'all'"):
        generate(collection, study, tmp_path / "out.zarr", progress=False)
    study = dataclasses.replace(study, generate=GenerateSpec("all", 3, "cpu"))
    cubes = open_cubes(generate(collection, study, tmp_path / "out.zarr", progress=False))
    assert isinstance(cubes, xr.DataTree)


def test_a_finding_that_a_model_lacks_is_refused(
    collection: Any, study: Study, tmp_path: Path
) -> None:
    collection.index = collection.index.assign_coords(finding=["Edema", "Fracture", "Mass"])
    with pytest.raises(DataError, match="does not predict Fracture, Mass"):
        generate(collection, study, tmp_path / "out.zarr", progress=False)
    assert not partial_path(tmp_path / "out.zarr").exists()


def test_an_explainer_that_returns_no_heatmaps_is_refused_before_anything_is_written(
    collection: Any, study: Study, tmp_path: Path
) -> None:
    (tmp_path / "own_flat.py").write_text("def flat(m, x, o):\n    return x.sum()\n")
    study = dataclasses.replace(study, explainers=(ExplainerSpec("own_flat:flat"),))
    with pytest.raises(DataError, match=r"'own_flat:flat' returned .* must return a tensor"):
        generate(collection, study, tmp_path / "out.zarr", progress=False)
    assert not partial_path(tmp_path / "out.zarr").exists()


def test_a_batch_that_does_not_fit_is_explained_in_halves(
    collection: Any, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture
) -> None:
    """Also where it is the network of a localizer that runs out of memory."""
    gradient, localized = BUILT_IN["grad"].function, Localizer.localize
    whole = open_cubes(generate(collection, study, tmp_path / "whole.zarr", progress=False))
    together: dict[str, list[int]] = {"explained": [], "localized": []}

    def tight(inputs: Any, what: str) -> None:
        together[what].append(len(inputs))
        if len(inputs) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    def hungry(module: Any, inputs: Any, outputs: Any) -> Any:
        tight(inputs, "explained")
        return gradient(module, inputs, outputs)

    def hungry_localizer(self: Localizer, inputs: Any) -> Any:
        tight(inputs, "localized")
        return localized(self, inputs)

    monkeypatch.setitem(BUILT_IN, "grad", Explainer("grad", hungry, to_inputs=True))
    monkeypatch.setattr(Localizer, "localize", hungry_localizer)
    both = dataclasses.replace(study, localizers=(
        sys.modules["tiny_study"].save_localizer(tmp_path, "segmenter", ("Edema",), 1),))
    halved = open_cubes(generate(collection, both, tmp_path / "halved.zarr", progress=False))
    # Of eight images in batches of three by two models, after the first failure, one at a time.
    assert together["explained"].count(3) == 1
    assert together["localized"].count(3) == 1
    assert "ran out of memory explaining with model 'narrow' and 3 images at once; going on with 1"\
        in caplog.text
    for name in ("saliency/heatmap", "prediction/logit", "saliency/completeness"):
        np.testing.assert_allclose(halved[name], whole[name], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(halved["saliency/status"], whole["saliency/status"])
    np.testing.assert_array_equal(halved["radiograph/pixels"], whole["radiograph/pixels"])
    assert np.isfinite(halved["localizer/score"].sel(finding="Edema")).sum() == 8


def test_too_little_memory_for_one_image_says_the_way_out(
    collection: Any, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hungry(module: Any, inputs: Any, outputs: Any) -> Any:
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setitem(BUILT_IN, "grad", Explainer("grad", hungry))
    # Not in the trial before anything is written.
    monkeypatch.setattr("saltrust.generate.plan._fit",
                        lambda _classifier, explainers, _size: tuple(explainers))
    with pytest.raises(DataError, match=r"memory explaining with model 'narrow' and a single "
                                        r"image; .*smaller `grid`"):
        generate(collection, dataclasses.replace(study, explainers=(ExplainerSpec("grad"),)),
                 tmp_path / "out.zarr", progress=False)
