"""Two trainings into one folder: the second is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from saltrust.errors import UsageError
from saltrust.training.runs.run_folder import own_run_folder


def test_a_second_one_is_told_who_the_first_is(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "net"
    with own_run_folder(folder):
        with pytest.raises(UsageError, match=r"run folder .*net is being written by process \d+ on"
                           ), own_run_folder(folder):
            pass
        assert [item.name for item in folder.iterdir()] == [".lock"]
        (folder / "metrics.csv").touch()
    assert [item.name for item in folder.iterdir()] == ["metrics.csv"]


def test_a_folder_of_which_nothing_came_is_not_left(tmp_path: Path) -> None:
    def fail() -> None:
        with own_run_folder(tmp_path / "net"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine").mkdir()
    with own_run_folder(tmp_path / "mine"):
        pass
    assert (tmp_path / "mine").is_dir()


def test_training_owns_its_folder(squares: Any, study: Any) -> None:
    from saltrust.training.tasks.classifier import train

    data, plan = squares(), study(epochs=1)
    model = plan.models[0]
    with own_run_folder(plan.run_folder(model)), \
            pytest.raises(UsageError, match="is being written by process"):
        train(data, plan, model, device="cpu", overwrite=True, progress=False)
    train(data, plan, model, device="cpu", progress=False)
    assert not (plan.run_folder(model) / ".lock").exists()
