"""Tests that are about a GPU, and may be rehearsed without one.

    pytest -m cuda tests/cuda                            on a machine with a CUDA device
    SALTRUST_TEST_DEVICE=cpu pytest -m cuda tests/cuda   the same code on the CPU

What is compared with the CPU is then compared with itself: a rehearsal finds what is wrong with
the tests and with the way, not with the numbers.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

TESTS = Path(__file__).resolve().parents[1]
DEVICE = os.environ.get("SALTRUST_TEST_DEVICE", "cuda")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave these tests out unless they are asked for."""
    if "cuda" in (config.option.markexpr or ""):
        return
    left_out = [item for item in items if item.get_closest_marker("cuda")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("cuda")]


def _module(path: Path) -> ModuleType:
    if path.stem not in sys.modules:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        # Under this name the models of a study find their network.
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
    return sys.modules[path.stem]


@pytest.fixture(scope="session")
def device() -> torch.device:
    """Where the tests compute: `cuda`, or what `SALTRUST_TEST_DEVICE` says."""
    if DEVICE == "cuda" and not torch.cuda.is_available():
        pytest.fail("torch sees no CUDA device; SALTRUST_TEST_DEVICE=cpu rehearses these tests "
                    "without one", pytrace=False)
    return torch.device(DEVICE)


@pytest.fixture(scope="session")
def tiny() -> ModuleType:
    """The module with the tiny collection, networks and study of `tests/generate`."""
    return _module(TESTS / "generate" / "tiny_study.py")


@pytest.fixture(scope="session")
def squares() -> Any:
    """Collections whose labels can be read off the images, as `tests/training` has them."""
    path = TESTS / "training" / "conftest.py"
    spec = importlib.util.spec_from_file_location("training_squares", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["training_squares"] = module
    spec.loader.exec_module(module)
    return module.Squares


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """Seeds and threads; memory that a test has left is given back."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        yield
    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
