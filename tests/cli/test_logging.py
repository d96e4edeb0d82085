"""Warnings go to stderr while a command runs, and nothing of it stays behind."""

from __future__ import annotations

import logging
from pathlib import Path


def test_the_logger_is_left_as_it_was(run, tmp_path: Path) -> None:
    logger = logging.getLogger("saltrust")
    before = (list(logger.handlers), logger.level, logger.propagate)
    run("info", tmp_path / "none.zarr")
    run("--quiet", "info", tmp_path / "none.zarr")
    assert (list(logger.handlers), logger.level, logger.propagate) == before
