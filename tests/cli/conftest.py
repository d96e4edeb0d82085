"""A small phantom study, run once through the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from saltrust.cli import main

STUDY = """
name = "tiny"
seed = 5
grid = 64
explainers = ["grad", "gradcam"]

[data]
kind = "phantom"
patients = 40
size = 96
split_fractions = [0.5, 0.2, 0.3]

[train]
epochs = 1
learning_rate = 1e-3

[[models]]
name = "net"
architecture = "phantom_net"
arguments = {width = 8}
"""

Run = Callable[..., Result]


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments],
                              catch_exceptions=False)


@pytest.fixture(scope="session")
def run() -> Run:
    """Run a command; the result has exit_code, stdout and stderr."""
    return invoke


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Study file with a trained model beside it."""
    path = tmp_path_factory.mktemp("tiny") / "study.toml"
    path.write_text(STUDY)
    result = invoke("--quiet", "train", path)
    assert result.exit_code == 0, result.stderr
    return path


@pytest.fixture(scope="session")
def cubes(study: Path) -> Path:
    """The generated cubes of the study."""
    path = study.parent / "study.zarr"
    result = invoke("--quiet", "generate", study, "-o", path)
    assert result.exit_code == 0, result.stderr
    return path
