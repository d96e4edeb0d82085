"""From a study file to tables: what is recognised, what is refused, how it goes on."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import xarray as xr
from click.testing import CliRunner, Result

import saltrust
from saltrust.analysis.options import Scoring
from saltrust.analysis.protocols.result import ProtocolResult
from saltrust.cache.writing import StoreWriter
from saltrust.cli import main
from saltrust.cli.protocol import chain
from saltrust.errors import UsageError
from saltrust.testing import simulate_cubes

FINDINGS = ["Cardiomegaly", "Pleural Effusion"]
STUDY: dict[str, Any] = {
    "seed": 3, "explainers": ["gradcam"],
    "data": {"patients": 14, "findings": FINDINGS, "split_fractions": [0.4, 0.3, 0.3]},
    "train": {"epochs": 1, "learning_rate": 1e-3},
    "models": [{"name": "net", "architecture": "phantom_net", "arguments": {"width": 4}}],
}


@pytest.fixture
def write(write_study: Callable[..., Path]) -> Callable[..., Path]:
    return lambda **changes: write_study(**{**STUDY, **changes})


@pytest.fixture(autouse=True)
def short_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    """A protocol that says what it was given; the real ones are tested elsewhere."""
    def protocol(cubes: xr.DataTree, *, scoring: Scoring, **_: Any) -> ProtocolResult:
        table = pd.DataFrame({"explainer": cubes["saliency"]["explainer"].values.tolist(),
                              "cutoff": str(scoring.cutoff)})
        splits = " ".join(sorted(set(cubes["split"].values.tolist())))
        return ProtocolResult({}, {"table1": table}, "protocol-localization",
                              methods_text=f"# Methods\n\nOf {splits}.")

    monkeypatch.setattr(
        "saltrust.analysis.protocols.localization.protocol.protocol_localization", protocol)
    monkeypatch.setattr("saltrust.report.protocols.figures.figures_of", lambda *_: {})


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    def run(source: Path, folder: Path, *options: str, quiet: bool = True) -> Result:
        arguments = [*(["-q"] if quiet else []), "protocol", "localization", str(source), "-o",
                     str(folder), "--resamples", "200", *options]
        monkeypatch.setattr(sys, "argv", ["saltrust", *arguments])
        return CliRunner().invoke(main, arguments, catch_exceptions=False)

    return run


def test_a_study_file_is_told_from_cubes_by_its_content(tmp_path: Path) -> None:
    cubes = tmp_path / "cubes.toml"
    simulate_cubes(cubes, patients=8, parts=(), grid=16)
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", cubes))
    study, binary = tmp_path / "study.zarr", tmp_path / "maps.h5"
    study.write_text("grid = 32\n")
    binary.write_bytes(b"\x89HDF\r\n\x1a\n\0\0")
    assert [chain.is_study_file(path) for path in (
        cubes, packed, packed.rename(tmp_path / "packed.toml"), study, binary,
        tmp_path / "none.toml", tmp_path / "none.zarr")] == [
        False, False, False, True, False, True, False]


def test_a_file_that_cannot_be_read_is_said_in_one_sentence() -> None:
    """Memory of a process is a file to the eye, and every read of its beginning fails."""
    with pytest.raises(UsageError, match=r"/proc/self/mem cannot be read .*give cubes or a study"):
        chain.is_study_file(Path("/proc/self/mem"))


def test_interrupted_in_each_step_it_goes_on_by_the_same_command(
    write: Callable[..., Path], command: Callable[..., Result], tmp_path: Path,
) -> None:
    study, folder = write(), tmp_path / "an out"
    again = (f"go on with `saltrust -q protocol localization {study} -o '{folder}' "
             "--resamples 200`")
    moments = (("saltrust.cli.protocol.chain._generate", 1, signal.SIGTERM,
                f"what is finished stays in {folder}"),
               ("saltrust.cache.writing.StoreWriter.write", 5, signal.SIGINT,
                f"what is finished stays in {folder}/study.zarr.partial"),
               ("saltrust.analysis.localization.thresholds.tune_thresholds", 1, signal.SIGTERM,
                f"models and cubes stay in {folder}"))
    for place, call, number, kept in moments:
        with pytest.MonkeyPatch.context() as patch:
            _strike(patch, place, call, number)
            done = command(study, folder)
        assert done.exit_code == 128 + number, done.stderr
        assert done.stderr.splitlines()[-1] == f"Error: interrupted: {kept}; {again}"
    done = command(study, folder, quiet=False)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.strip() == str(folder / "methods.md")
    assert len(saltrust.open_cubes(folder / "study.zarr").attrs["starts"]) == 2
    assert "training" not in done.stderr
    assert "generating" not in done.stderr
    # A table that is lost is made again, and nothing else.
    assert command(study, folder).stderr.startswith(f"Note: {folder} holds localization of this")
    (folder / "tables/table1.tex").unlink()
    assert command(study, folder).stdout.strip() == str(folder / "methods.md")
    assert (folder / "tables/table1.tex").exists()
    assert len(saltrust.open_cubes(folder / "study.zarr").attrs["starts"]) == 2
    shutil.rmtree(folder / "val.zarr/saliency")
    damaged = command(study, folder)
    assert damaged.exit_code == 1
    assert f"{folder / 'val.zarr'} is damaged" in damaged.stderr


def _strike(patch: pytest.MonkeyPatch, place: str, call: int, number: int) -> None:
    owner, _, name = place.rpartition(".")
    target = StoreWriter if owner.endswith("StoreWriter") else importlib.import_module(owner)
    function, calls = getattr(target, name), []

    def struck(*arguments: Any, **options: Any) -> Any:
        calls.append(name)
        if len(calls) == call:
            os.kill(os.getpid(), number)
        return function(*arguments, **options)

    patch.setattr(target, name, struck)


def test_what_has_changed_is_named_and_only_that_is_made_anew(
    write: Callable[..., Path], command: Callable[..., Result], tmp_path: Path,
) -> None:
    folder = tmp_path / "out"
    first = command(write(), folder)
    assert first.exit_code == 0, first.stderr
    card = tmp_path / "runs/net/model.safetensors"
    trained = card.stat().st_mtime_ns
    # Of another explainer the model does not know.
    changed = command(write(explainers=["grad"]), folder)
    assert changed.exit_code == 2
    assert changed.stderr.splitlines() == [
        f"Error: {folder} was begun with something else: explainers.grad.name was not stated and "
        f'is "grad"; explainers.grad.parameters was not stated and is {{}}; '
        'explainers.grad.reading was not stated and is ""; explainers.gradcam.name was "gradcam" '
        "and is not stated; and 2 more; choose another folder, restore what has changed, or say "
        "--overwrite to make anew what depends on it"]
    anew = command(write(explainers=["grad"]), folder, "--overwrite")
    assert anew.exit_code == 0, anew.stderr
    assert card.stat().st_mtime_ns == trained
    tree = saltrust.open_cubes(folder / "study.zarr")
    assert tree["saliency"]["explainer"].values.tolist() == ["grad"]
    table = pd.read_csv(folder / "tables/table1.csv")
    assert table.values.tolist() == [["grad", str(folder / "thresholds.csv")]]
    options = command(write(explainers=["grad"]), folder, "--slice", "positive")
    assert options.exit_code == 2
    assert 'options.iou_slice was null and is "positive"' in options.stderr
    other = CliRunner().invoke(main, ["-q", "protocol", "trustworthiness",
                                      str(tmp_path / "study.toml"), "-o", str(folder)])
    assert other.exit_code == 2
    assert ("begun with something else: the protocol was localization and is trustworthiness; "
            "choose another folder") in other.stderr
    longer = command(write(explainers=["grad"], train={"epochs": 2, "learning_rate": 1e-3}), folder,
                     "--overwrite")
    assert longer.exit_code == 0, longer.stderr
    assert card.stat().st_mtime_ns != trained
    assert json.loads(card.with_suffix(".json").read_text())["train"]["epochs"] == 2


def test_where_all_splits_are_explained_one_store_does(
    write: Callable[..., Path], command: Callable[..., Result], tmp_path: Path,
) -> None:
    folder = tmp_path / "out"
    done = command(write(generate={"split": "all"}), folder)
    assert done.exit_code == 0, done.stderr
    assert not (folder / "val.zarr").exists()
    methods = (folder / "methods.md").read_text()
    assert "were tuned of the split 'val'" in methods
    assert methods.endswith("Of test.")


def test_without_validation_images_no_cut_off_is_tuned(
    write: Callable[..., Path], command: Callable[..., Result], tmp_path: Path,
) -> None:
    folder = tmp_path / "out"
    done = command(write(generate={"split": "val"}), folder, "--threshold", "0.5", quiet=False)
    assert done.exit_code == 0, done.stderr
    assert "no cut-off is tuned, since [generate] explains the images of split 'val'" in done.stderr
    assert not (folder / "thresholds.csv").exists()
    assert pd.read_csv(folder / "tables/table1.csv")["cutoff"].isna().all()
    written = (folder / "methods.md").read_text()
    assert written.startswith("# Methods\n\nOf ")


def test_what_is_not_of_the_chain_is_left_alone(
    write: Callable[..., Path], command: Callable[..., Result], tmp_path: Path,
) -> None:
    study, folder = write(), tmp_path / "out"
    folder.mkdir()
    (folder / "thesis.tex").write_text("not ours")
    refused = command(study, folder)
    assert refused.exit_code == 2
    assert "is not empty; say --overwrite" in refused.stderr
    (folder / "thesis.tex").unlink()
    for damaged in ("{", "[]", '"' * 9):
        (folder / chain.RECORD).write_text(damaged)
        refused = command(study, folder)
        assert refused.exit_code == 2, damaged
        assert f"{folder / chain.RECORD}" in refused.stderr
        assert refused.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_device_is_for_a_study_file(command: Callable[..., Result], tmp_path: Path) -> None:
    simulate_cubes(tmp_path / "c.zarr", patients=8, parts=(), grid=16)
    done = command(tmp_path / "c.zarr", tmp_path / "out", "--device", "cpu")
    assert done.exit_code == 2
    assert "leave them out where cubes are given" in done.stderr
    assert not (tmp_path / "out").exists()
