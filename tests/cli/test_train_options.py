"""``saltrust train`` with its options, as a user would say them."""

import json
from pathlib import Path

import numpy as np
import pytest

import saltrust

STUDY = """
grid = 32
explainers = ["grad"]
[data]
kind = "phantom"
patients = 24
size = 32
split_fractions = [0.5, 0.25, 0.25]
[train]
epochs = 2
batch_size = 6
learning_rate = 1e-3
[[models]]
name = "net"
architecture = "phantom_net"
arguments = {width = 4}
"""


def card(folder: Path, name: str) -> dict[str, object]:
    return json.loads((folder / "runs" / name / "model.json").read_text())


def test_replicates_are_trained_stored_and_compared_without_editing(run, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(STUDY + "replicates = 2\n")
    trained = run("-q", "train", path)
    assert trained.exit_code == 0, trained.stderr
    assert [line.partition(":")[0] for line in trained.stdout.splitlines()] == ["net", "net-2"]
    assert (card(tmp_path, "net")["seed"], card(tmp_path, "net-2")["seed"]) == (0, 1)
    assert card(tmp_path, "net")["weights_sha256"] != card(tmp_path, "net-2")["weights_sha256"]
    cubes = tmp_path / "c.zarr"
    assert run("-q", "generate", path, "-o", cubes).exit_code == 0
    analysed = run("-q", "analyze", "repeatability", cubes, "--format", "json")
    assert analysed.exit_code == 0, analysed.stderr
    text = analysed.stdout
    assert "net-2" in text

    again = run("train", path, "--resume")
    assert again.exit_code == 0
    assert again.stdout == ""
    assert "'net' is trained already" in again.stderr
    assert "'net-2' is trained already" in again.stderr
    # One more: the two that are there are left as they are.
    path.write_text(STUDY)
    more = run("-q", "train", path, "--resume", "--replicates", 3)
    assert more.exit_code == 0, more.stderr
    assert [line.partition(":")[0] for line in more.stdout.splitlines()] == ["net-3"]


def test_a_preset_and_its_checkpoints_make_an_ensemble(run, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(STUDY.replace("epochs = 2", "epochs = 1\nvalidations_per_epoch = 2\nkeep = 2")
                    + """
[[ensembles]]
name = "thirty"
architecture = "phantom_net"
checkpoints = ["runs/net/checkpoints/*.safetensors"]
keep_members = true
""")
    trained = run("train", path, "--preset", "saporta")
    assert trained.exit_code == 0, trained.stderr
    assert "published for architecture 'densenet121', not 'phantom_net'" in trained.stderr
    (line,) = (line for line in trained.stderr.splitlines() if "[train]" in line)
    assert line == (
        "WARNING: model 'net': [train] counts more than preset 'saporta' and states epochs = 1 "
        "(preset: 3), batch_size = 6 (preset: 16), learning_rate = 0.001 (preset: 0.0001), "
        "validations_per_epoch = 2 (preset: 20), keep = 2 (preset: 10); leave it out of [train] to "
        "train as published, or state it in `train` of the model if it is meant")
    assert card(tmp_path, "net")["preset_overridden"]["keep"] == {"train": 2, "preset": 10}
    settings = card(tmp_path, "net")["train"]
    assert (settings["preset"], settings["epochs"], settings["keep"]) == ("saporta", 1, 2)
    assert settings["selection_findings"][0] == "Atelectasis"
    cubes = tmp_path / "c.zarr"
    generated = run("-q", "generate", path, "-o", cubes)
    assert generated.exit_code == 0, generated.stderr
    tree = saltrust.open_cubes(cubes)
    test = tree["split"].values == "test"
    probability = tree["prediction/probability"].isel(image=np.flatnonzero(test))
    members = probability.sel(model=["thirty/1", "thirty/2"])
    assert float(members.std("model").max()) > 0
    np.testing.assert_allclose(probability.sel(model="thirty"), members.mean("model"), rtol=1e-5)


@pytest.mark.parametrize(("arguments", "words"), [
    (["--preset", "saportta"], "did you mean 'saporta'"),
    (["--preset", "arun-retinanet"], "for a retinanet, and the study has none, only: net"),
    (["--resume", "--overwrite"], "contradict"),
    (["--model", "net-2"], "no model 'net-2'; did you mean 'net'"),
])
def test_what_does_not_fit_is_refused(run, tmp_path: Path, arguments: list[str],
                                      words: str) -> None:
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    result = run("train", path, *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert not (tmp_path / "runs").exists()


def test_a_model_that_is_trained_stops_the_others_before_they_start(run, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(STUDY + '[[models]]\nname = "last"\narchitecture = "phantom_net"\nseed = 9\n')
    (tmp_path / "runs" / "last").mkdir(parents=True)
    (tmp_path / "runs" / "last" / "model.safetensors").write_bytes(b"of somebody else")
    result = run("train", path)
    assert result.exit_code == 2
    assert "runs/last already holds a trained model: say --resume to leave it" in result.stderr
    assert not (tmp_path / "runs" / "net").exists()
    assert run("-q", "train", path, "--model", "net").exit_code == 0


def test_the_help_names_every_preset(run) -> None:
    text = run("train", "--help").stdout
    for name in ("saporta", "arun-inception", "arun-densenet", "arun-unet", "arun-retinanet",
                 "watanabe"):
        assert f"  {name} " in text
