"""Fixtures shared by all tests, and what happens when something they need is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

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
