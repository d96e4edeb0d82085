"""SIIM-ACR and RSNA as the data of a study: from the competition's files to trained models."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saltrust.datasets.registry import open_collection
from saltrust.errors import DataError
from saltrust.study_file import read_study

IDS = [f"1.2.276.{number}" for number in range(24)]

STUDY = """
grid = 32
[data]
kind = "siim-acr"
path = "train-rle.csv"
images = "images"
split_fractions = [0.5, 0.25, 0.25]
[train]
epochs = 1
batch_size = 6
learning_rate = 1e-3
[[models]]
name = "net"
architecture = "phantom_net"
arguments = {width = 4}
[[localizers]]
name = "unet"
arguments = {encoder_name = "resnet18", encoder_depth = 3, decoder_channels = [16, 8, 8]}
"""


@pytest.fixture
def challenge(tmp_path: Path) -> Path:
    """Every other radiograph has a bright bar, which is its mask."""
    lines = ["ImageId, EncodedPixels"]
    for number, name in enumerate(IDS):
        pixels = np.full((1024, 1024), 40, np.uint8)
        lines.append(f"{name},-1")
        if number % 2:
            first = 100 + 20 * number
            pixels[:, first : first + 200] = 220
            lines[-1] = f"{name},{first * 1024} {200 * 1024}"
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{name}.png")
    (tmp_path / "train-rle.csv").write_text("\n".join(lines) + "\n")
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    return path


def test_a_study_of_siim_acr_trains_classifier_and_localizer(run, challenge: Path) -> None:
    result = run("-q", "train", challenge)
    assert result.exit_code == 0, result.stderr
    for name in ("net", "unet"):
        card = json.loads((challenge.parent / "runs" / name / "model.json").read_text())
        assert card["findings"] == ["Pneumothorax"]
        assert card["n_images"] == {"train": 12, "val": 6, "test": 6}
        assert card["test_auc"]["n_positive"] == {"Pneumothorax": 3}
    cubes = challenge.with_name("c.zarr")
    generated = run("-q", "generate", challenge, "-o", cubes)
    assert generated.exit_code == 0, generated.stderr
    assert run("-q", "analyze", "utility", cubes).exit_code == 0


def test_without_images_there_is_nothing_to_train_on(run, challenge: Path) -> None:
    challenge.write_text(STUDY.replace('images = "images"', ""))
    result = run("train", challenge)
    assert result.exit_code == 1
    assert "name their folder as `images` under [data]" in result.stderr
    assert not (challenge.parent / "runs").exists()


def test_the_seed_draws_the_split_unless_a_file_gives_it(challenge: Path) -> None:
    def parts(text: str) -> list[str]:
        challenge.write_text(text)
        return open_collection(read_study(challenge)).index["split"].values.tolist()

    first, again = parts(STUDY), parts(STUDY)
    assert first == again
    assert parts("seed = 1\n" + STUDY) != first
    published = parts(STUDY.replace("split_fractions = [0.5, 0.25, 0.25]", ""))
    assert [published.count(name) for name in ("train", "val", "test")] == [20, 2, 2]
    (challenge.parent / "splits.csv").write_text(
        f"Image_ID,Split\n{IDS[0]}.dcm,train\n{IDS[1]}.dcm,test\n")
    stated = parts(STUDY.replace("split_fr", 'splits = "splits.csv"\nsplit_fr'))
    assert stated == ["train", "test", *["none"] * 22]


def test_the_finding_is_the_one_of_the_challenge(challenge: Path) -> None:
    challenge.write_text(STUDY.replace("[train]", 'findings = ["Pneumothorx"]\n[train]'))
    with pytest.raises(DataError, match="did you mean 'Pneumothorax'"):
        open_collection(read_study(challenge))


def test_rsna_with_its_detailed_classes(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(
        "patientId,x,y,width,height,Target\np1,100,200,50,60,1\np2,,,,,0\np3,,,,,0\np4,,,,,0\n")
    (tmp_path / "classes.csv").write_text(
        "patientId,class\np1,Lung Opacity\np2,No Lung Opacity / Not Normal\np3,Normal\np4,Normal\n")
    study = tmp_path / "study.toml"
    study.write_text('[data]\nkind = "rsna"\npath = "labels.csv"\nclasses = "classes.csv"\n')
    collection = open_collection(read_study(study))
    assert collection.index["image"].values.tolist() == ["p1", "p3", "p4"]
    assert sorted(collection.index["split"].values.tolist()) == ["test", "train", "val"]
    boxes = collection.annotations("p1")["Pneumonia", "reference"].boxes
    assert boxes == ((200.0, 100.0, 260.0, 150.0),)


@pytest.mark.real_data
def test_the_published_split_of_siim_acr(run, shared_data: Path, tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text(f"""
        [data]
        kind = "siim-acr"
        path = "{shared_data}/siim_acr/train-rle.csv.gz"
        splits = "{shared_data}/siim_acr/splits.csv"
        [[models]]
        name = "inception"
        architecture = "inception_v3"
        preset = "arun-inception"
    """)
    parts = open_collection(read_study(study)).index["split"].values.tolist()
    assert [parts.count(name) for name in ("train", "val", "test")] == [8646, 961, 1068]
    result = run("train", study)
    assert result.exit_code == 1
    assert "`images` under [data]" in result.stderr
