"""All files that come with pydicom look as pydicom's functions make them, but for those listed."""

from __future__ import annotations

import importlib
import logging
import warnings
from pathlib import Path

import numpy as np
import pytest

from saltrust.datasets.files.dicom_pixels import is_dicom, read_gray
from saltrust.errors import DataError

ROOT = Path(__file__).resolve().parents[4]


def test_gray_is_that_of_pydicom(monkeypatch: pytest.MonkeyPatch,
                                 caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.syspath_prepend(ROOT / "evidence")
    evidence = importlib.import_module("radiographs")
    caplog.set_level(logging.CRITICAL, "pydicom")
    compared, otherwise = 0, set()
    for path in sorted(path for path in evidence.FILES.rglob("*") if path.is_file()):
        # pydicom warns of what the files are there for.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not is_dicom(path):
                continue
            try:
                gray, _ = read_gray(path)
            except DataError:
                continue
            difference = np.abs(np.rint(evidence.reference(path)) - gray).max()
        compared += 1
        if difference > evidence.PYDICOM:
            otherwise.add((path.relative_to(evidence.FILES).as_posix(), "pydicom"))
    assert compared >= 60
    assert otherwise == {key for key in evidence.OTHERWISE if key[1] == "pydicom"}
