"""Every number of every preset: what the papers print, and what they leave to us.

Sources: Saporta et al. 2022, Methods, "Classification network architecture and training
protocol" and "Ensembling"; Arun et al. 2021, Appendix E1, "Model Training".
"""

from pathlib import Path

import pytest

from saltrust.presets import DEFAULT_PRESETS, PRESETS
from saltrust.study import LocalizerSpec, ModelSpec, Study
from saltrust.training_settings import TrainSpec

FIVE = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")

#: Architecture, initial weights, printed settings.
PUBLISHED = {
    "saporta": ("densenet121", "", {
        "epochs": 3, "batch_size": 16, "learning_rate": 1e-4, "keep": 10,
        "selection_findings": FIVE}),
    "arun-inception": ("inception_v3", "ImageNet", {
        "epochs": 20, "learning_rate": 1e-4, "patience": 4}),
    "arun-densenet": ("densenet121", "ImageNet", {
        "epochs": 30, "learning_rate": 7e-5, "patience": 5}),
    "arun-unet": ("unet", "", {
        "epochs": 75, "batch_size": 4, "learning_rate": 1e-4, "patience": 15,
        "plateau_factor": 0.1, "plateau_patience": 3, "balanced": True}),
    "arun-retinanet": ("retinanet", "ImageNet", {"batch_size": 4, "learning_rate": 1e-4}),
    "watanabe": ("efficientnet_unet", "ImageNet", {}),
}

#: Not printed; docs/training.md marks them with an asterisk.
CHOSEN = {
    "saporta": {"patience": 3, "validations_per_epoch": 20},
    "arun-inception": {"batch_size": 16},
    "arun-densenet": {"batch_size": 16},
    "arun-unet": {},
    "arun-retinanet": {"epochs": 75, "patience": 15, "plateau_factor": 0.1,
                       "plateau_patience": 3},
    "watanabe": {"epochs": 35, "batch_size": 32, "learning_rate": 1e-3, "patience": 10},
}


def test_there_are_no_others() -> None:
    assert set(PRESETS) == set(PUBLISHED) == set(CHOSEN)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_number_is_printed_or_said_to_be_ours(name: str) -> None:
    preset, (architecture, initial, printed) = PRESETS[name], PUBLISHED[name]
    assert preset.architecture == architecture
    assert preset.initial_weights == initial
    assert not printed.keys() & CHOSEN[name].keys()
    assert dict(preset.settings) == {**printed, **CHOSEN[name]}


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_a_preset_leaves_open_is_as_the_papers_have_it(name: str) -> None:
    """Adam without decay, no augmentation, float32; the classifiers' rate is fixed."""
    spec = TrainSpec(**PRESETS[name].settings)
    assert (spec.weight_decay, spec.augment, spec.precision) == (0, False, "float32")
    if PRESETS[name].kind in ("classifier", "guided"):
        assert spec.plateau_factor == 1
        assert not spec.balanced


def test_thirty_checkpoints_of_three_epochs_that_patience_does_not_shorten() -> None:
    spec = TrainSpec(**PRESETS["saporta"].settings)
    assert spec.epochs * spec.keep == 30
    assert spec.validations_per_epoch > spec.keep
    assert spec.patience >= spec.epochs


def test_a_preset_reaches_the_entries_of_its_kind() -> None:
    study = Study(models=(ModelSpec("a"),),
                  localizers=(LocalizerSpec("b"), LocalizerSpec("c", "retinanet")))
    for name, preset in PRESETS.items():
        if preset.kind == "guided":
            continue
        chosen = study.with_preset(name)
        (entry,) = (item for item in chosen.trained if item.kind == preset.kind)
        settled = chosen.training_of(entry)
        assert settled.preset == name
        assert {key: getattr(settled, key) for key in preset.settings} == dict(preset.settings)


def test_what_train_states_in_place_of_a_preset_is_known() -> None:
    entry = ModelSpec("a", preset="arun-densenet", train={"patience": 9, "epochs": 2})
    stated = TrainSpec(batch_size=16, learning_rate=1e-3, epochs=4, weight_decay=0.1)
    study = Study(train=stated, models=(entry, ModelSpec("b")), localizers=(LocalizerSpec("c"),),
                  stated=("batch_size", "learning_rate", "epochs", "weight_decay"))
    # What both say alike, the entry says itself or no preset speaks of is no contradiction.
    assert study.overridden(entry) == {"learning_rate": (1e-3, 7e-5)}
    assert study.overridden(study.models[1]) == {}
    assert study.overridden(study.localizers[0]) == {
        "batch_size": (16, 4), "learning_rate": (1e-3, 1e-4), "epochs": (4, 75)}
    for item in study.trained:
        settled = study.training_of(item)
        assert all(getattr(settled, key) == value
                   for key, (value, _) in study.overridden(item).items())


def test_localizers_have_theirs_unasked() -> None:
    assert (DEFAULT_PRESETS["unet"], DEFAULT_PRESETS["retinanet"]) == (
        "arun-unet", "arun-retinanet")


def test_the_documentation_prints_the_same_numbers() -> None:
    text = (Path(__file__).parents[1] / "docs" / "training.md").read_text(encoding="utf-8")
    table: dict[str, dict[str, str]] = {}
    lines = text.splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith("| | `saporta`"))
    names = [cell.strip(" `") for cell in lines[start].split("|")[2:-1]]
    assert names == list(PUBLISHED)
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        first, *cells = (cell.strip() for cell in line.split("|")[1:-1])
        table[first] = dict(zip(names, cells, strict=True))
    for name in names:
        spec = TrainSpec(**PRESETS[name].settings)
        for row, key in (("learning rate", "learning_rate"), ("batch", "batch_size"),
                         ("epochs, at most", "epochs")):
            cell = table[row][name]
            assert float(cell.rstrip("*")) == getattr(spec, key)
            assert cell.endswith("*") is (key in CHOSEN[name])
        patience = table["patience, of"][name].partition(",")[0]
        if patience != "none":
            assert int(patience.rstrip("*")) == spec.patience
            assert patience.endswith("*") is ("patience" in CHOSEN[name])
        assert ("balanced" in table["sampling"][name]) is spec.balanced
        assert (table["starts from"][name].rstrip("*") == "ImageNet") is (
            PRESETS[name].initial_weights == "ImageNet")
    assert all(finding in table["checkpoints"]["saporta"] for finding in FIVE)
