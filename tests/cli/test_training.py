"""Models trained on one release and explained on another."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saltrust.cli.training import open_training_data, resumed_or_anew
from saltrust.errors import DataError, NothingToDo, UsageError
from saltrust.study_file import read_study

STUDY = """
grid = 32
explainers = ["grad"]
[data]
kind = "manifest"
path = "test.csv"
[training_data]
kind = "manifest"
path = "train.csv"
[train]
epochs = 1
batch_size = 4
[[models]]
name = "net"
architecture = "phantom_net"
arguments = {width = 4}
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for k in range(12):
        Image.fromarray(rng.integers(0, 255, (40, 40), dtype=np.uint8)).save(tmp_path / f"{k}.png")
    head = "path,patient,split,Edema,Pneumonia\n"
    (tmp_path / "train.csv").write_text(head + "".join(
        f"{k}.png,p{k},{'train' if k < 6 else 'val'},{k % 2},{1 - k % 2}\n" for k in range(9)))
    # One finding less than the model knows.
    (tmp_path / "test.csv").write_text("path,patient,split,Edema\n" + "".join(
        f"{k}.png,p{k},{'val' if k < 10 else 'test'},{k % 2}\n" for k in range(8, 12)))
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    return path


def test_models_learn_from_one_and_explain_the_other(run, study: Path) -> None:
    done = run("-q", "train", study)
    assert done.exit_code == 0, done.stderr
    card = json.loads((study.parent / "runs/net/model.json").read_text())
    assert card["n_images"] == {"train": 6, "val": 3, "test": 0}
    assert card["findings"] == ["Edema", "Pneumonia"]
    done = run("-q", "generate", study, "-o", study.with_name("c.zarr"))
    assert done.exit_code == 0, done.stderr
    content = json.loads(run("info", study.with_name("c.zarr"), "--json").stdout)
    assert content["groups"]["saliency"]["complete"]["maps"] == 4


def test_patients_who_train_are_not_tested_on(study: Path) -> None:
    text = (study.parent / "train.csv").read_text()
    (study.parent / "train.csv").write_text(text.replace("p3,train", "p11,train"))
    with pytest.raises(DataError, match=r"patient 'p11' has images in split train of "
                                        r"\[training_data\] and in val or test of \[data\]"):
        open_training_data(read_study(study), "stop")


def test_without_a_second_release_there_is_one(study: Path) -> None:
    study.write_text(STUDY.replace('[training_data]\nkind = "manifest"\npath = "train.csv"\n', ""))
    plain = read_study(study)
    assert plain.for_training is plain
    assert "training_data" not in plain.as_dict()
    assert open_training_data(plain, "stop").index.sizes["image"] == 4


@pytest.mark.parametrize(("text", "words"), [
    ('kind = "manifest"', "but no path"), ('knd = "manifest"', "did you mean 'kind'"),
    ('kind = "manifest"\npath = "none.csv"', "does not exist"),
    ('kind = "folder"\npath = "."\nsplit_fractions = [1.0]', "[training_data] must be three")])
def test_mistakes_in_the_second_are_named(study: Path, run, text: str, words: str) -> None:
    study.write_text(STUDY.replace('kind = "manifest"\npath = "train.csv"', text))
    done = run("train", study)
    assert done.exit_code == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_only_what_overwriting_helps_is_begun_again() -> None:
    calls = []

    def job(error: Exception, **how: bool) -> Path:
        calls.append(how)
        if how.get("resume"):
            raise error
        return Path("anew")

    refused = UsageError("of another study; say --overwrite to start again")
    assert resumed_or_anew(lambda **how: job(refused, **how), overwrite=True) == Path("anew")
    assert calls == [{"resume": True}, {"overwrite": True}]
    for error, overwrite in ((refused, False), (DataError("does not fit in memory"), True),
                             (NothingToDo("trained; say --overwrite"), True)):
        with pytest.raises(type(error)):
            resumed_or_anew(lambda error=error, **how: job(error, **how), overwrite=overwrite)
