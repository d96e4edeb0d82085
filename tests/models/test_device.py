import os
from pathlib import Path

import pytest
import torch

from saltrust.errors import UsageError
from saltrust.models.device import available_cores, choose_device, limit_threads


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_takes_the_best(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool,
                             chosen: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device().type == chosen
    assert choose_device("cpu").type == "cpu"


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UsageError, match=f"{name}.*take one of: auto, cpu"):
        choose_device(name)


def test_an_unknown_device_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'cuda'"):
        choose_device("cudda")


@pytest.mark.parametrize(("files", "cores"), [
    ({}, 8),
    ({"cpu.max": "max 100000"}, 8),
    ({"cpu.max": "200000 100000"}, 2),
    ({"cpu.max": "150000 100000"}, 2),
    ({"cpu.max": "10000 100000"}, 1),
    ({"cpu.max": "6400000 100000"}, 8),
    ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
    ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
    ({"cpu.max": "nonsense"}, 8),
])
def test_a_container_has_the_cores_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cores: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available_cores(tmp_path) == cores


def test_threads_are_limited_and_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        monkeypatch.setattr("saltrust.models.device.available_cores", lambda: 1)
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        with limit_threads() as threads:
            assert threads == torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        with limit_threads() as threads:
            assert threads == 3
    finally:
        torch.set_num_threads(before)
