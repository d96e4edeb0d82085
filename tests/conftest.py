"""Fixtures shared by all tests, and what happens when something they need is missing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# The same examples in every run: what a search for new ones finds is to be seen where it is sought.
settings.register_profile("seeded", derandomize=True)
settings.load_profile("seeded")

REQUIRE_ALL = os.environ.get("SALTRUST_REQUIRE_ALL") == "1"
R_PACKAGES = ("lme4", "lmerTest", "emmeans", "multcomp", "pbkrtest")


@cache
def _missing_in_r() -> str:
    if shutil.which("Rscript") is None:
        return "R is not installed"
    code = f"for (p in c({', '.join(map(repr, R_PACKAGES))})) loadNamespace(p)"
    done = subprocess.run(["Rscript", "-e", code], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"R lacks one of {', '.join(R_PACKAGES)}"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip R tests without R; where everything is required, that is a failure."""
    if item.get_closest_marker("needs_r") and (missing := _missing_in_r()):
        if REQUIRE_ALL:
            pytest.fail(f"{missing}, and SALTRUST_REQUIRE_ALL=1 allows no skip", pytrace=False)
        pytest.skip(f"{missing}: `make test` installs it when it may (root and apt)")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real radiographs beside the checkout, where there is one."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data set lies only beside the developers' checkout")
    return folder


@pytest.fixture(scope="session")
def reference_folder() -> Path:
    """Golden values from independent sources."""
    return Path(__file__).resolve().parent / "reference"


#: A study of a phantom that is quickly made, with one small network.
_STUDY: dict[str, Any] = {
    "grid": 32,
    "data": {"kind": "phantom", "patients": 12, "size": 48},
    "models": [{"name": "net", "architecture": "phantom_net"}],
}


def _toml_value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_toml_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml_value, value))}]"
    return json.dumps(value)


def _toml_lines(table: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {_toml_value(value)}" for key, value in table.items()]


@pytest.fixture(scope="session")
def study_text() -> Callable[..., str]:
    """Write a study as TOML: ``study_text(seed=5, data={"patients": 9}, models=[...])``.

    What is not said is that of a small phantom with one small network; tables are merged into
    its tables, lists of tables take their place, and None leaves an entry out.
    """
    def write(**entries: Any) -> str:
        study = {**_STUDY, **entries}
        lines: list[str] = []
        for name, value in study.items():
            if value is None:
                continue
            if isinstance(value, Mapping):
                default = _STUDY.get(name, {})
                lines += [f"[{name}]", *_toml_lines({**default, **value})]
            elif isinstance(value, list) and value and isinstance(value[0], Mapping):
                for table in value:
                    lines += [f"[[{name}]]", *_toml_lines(table)]
            else:  # Before all tables, as what follows one belongs to it.
                lines = [*_toml_lines({name: value}), *lines]
        return "\n".join(lines) + "\n"

    return write


@pytest.fixture
def write_study(tmp_path: Path, study_text: Callable[..., str]) -> Callable[..., Path]:
    """Write a study of :func:`study_text` to ``study.toml`` in the test's folder; its path."""
    def write(**entries: Any) -> Path:
        path = tmp_path / "study.toml"
        path.write_text(study_text(**entries))
        return path

    return write
