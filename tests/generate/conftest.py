from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from saltrust.study import Study


@pytest.fixture(scope="session")
def tiny() -> ModuleType:
    """The module with the tiny collection, networks and study."""
    path = Path(__file__).with_name("tiny_study.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Under this name the models of the study find their network.
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def collection(tiny: ModuleType) -> Any:
    return tiny.NoisyCollection()


@pytest.fixture
def study(tiny: ModuleType, tmp_path: Path) -> Study:
    written: Study = tiny.write_study(tmp_path)
    return written


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        yield
    torch.set_num_threads(threads)
