"""The pages that redo a paper: their study files are whole, valid, and the paper's own settings."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from saltrust.cli import main
from saltrust.datasets.registry import data_kinds
from saltrust.presets import PRESETS
from saltrust.report.catalog.registry import named_figures
from saltrust.study_file import read_study

DOCS = Path(__file__).resolve().parents[2] / "docs"
FILES = sorted((DOCS / "examples").glob("redo_*.toml"))
#: Of protocols S, A (two releases) and W.
PAGES = {"redo_localization": "localization", "redo_trustworthiness_siim": "trustworthiness",
         "redo_trustworthiness_rsna": "trustworthiness",
         "redo_guided_training": "guided-training"}


def test_every_study_file_has_its_page() -> None:
    assert {path.stem for path in FILES} == set(PAGES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_page_prints_the_file_and_its_command(path: Path) -> None:
    protocol = PAGES[path.stem]
    page = (DOCS / f"redo_{protocol.replace('-', '_')}.md").read_text(encoding="utf-8")
    block = "".join(f"    {line}".rstrip() + "\n" for line in path.read_text().splitlines())
    assert block in page
    assert f"    saltrust protocol {protocol} {path.name} -o " in page
    assert f"](examples/{path.name})" in page


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_models_are_trained_as_published(path: Path) -> None:
    study = read_study(path)
    assert {study.data.kind, study.for_training.data.kind} <= set(data_kinds())
    for entry in study.trained:
        spec = study.training_of(entry)
        preset = PRESETS[spec.preset]
        assert study.overridden(entry) == {}
        assert {key: getattr(spec, key) for key in preset.settings} == dict(preset.settings)
        assert entry.architecture == preset.architecture
        assert bool(preset.initial_weights) == bool(entry.pretrained)


def test_every_way_of_training_with_gaze_is_there() -> None:
    study = read_study(DOCS / "examples" / "redo_guided_training.toml")
    ways = [(model.guidance.loss, model.guidance.rule) for model in study.models]
    assert sorted(ways) == sorted([
        ("classification", "guided_backprop"), ("decoder", "guided_backprop"),
        *((f"set{k}", rule) for k in (1, 2, 3) for rule in ("guided_backprop", "deconvnet"))])


@pytest.mark.parametrize("page", sorted({f"redo_{name.replace('-', '_')}.md"
                                         for name in PAGES.values()}))
def test_every_command_of_the_page_can_be_typed(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8").replace("\\\n", " ")
    typed = re.findall(r"(?:^    |`)(saltrust [^`#\n]+)", text, re.MULTILINE)
    assert len(typed) >= 4
    for line in typed:
        command: click.Command = main
        words = shlex.split(line)[1:]
        while isinstance(command, click.Group):
            name, *words = words
            assert name in command.commands, line
            command = command.commands[name]
        known = {name for parameter in command.params for name in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= known, line
        if line.startswith("saltrust figure"):
            assert words[0] in named_figures(), line
