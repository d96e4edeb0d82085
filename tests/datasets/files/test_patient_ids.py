"""Ids that are nobody's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from saltrust.datasets.files.patient_ids import distinct_patients
from saltrust.datasets.files.radiograph_files import stated_patients


@pytest.mark.parametrize("word", ["ANONYMOUS", "Anonymized", "anonymisiert", "anon^patient",
                                  "DE-IDENTIFIED", "Unknown", "XXXX", "x", "-", "N/A", "nan", "",
                                  "000000", "removed", "Patient ID", "test", "匿名"])
def test_what_several_share_and_nobody_is_called(word: str, caplog: pytest.LogCaptureFixture,
                                                 ) -> None:
    images = ["a", "b", "c", "d"]
    assert distinct_patients(["p7", word, word, "p7"], images, "m.csv") == ["p7", "b", "c", "p7"]
    assert "m.csv: the patient of 2 of 4 images is not known" in caplog.text
    assert "column 'patient'" in caplog.text


@pytest.mark.parametrize("ids", [
    ["p1", "p1", "p2"], ["anon17", "anon17", "anon18"], ["0", "0", "1"], ["00", "00", "01"],
    ["Xavier", "Xavier", "b"], ["unknown", "b", "c"], ["Test-3", "Test-3", "b"],
])
def test_what_is_somebody_stays(ids: list[str], caplog: pytest.LogCaptureFixture) -> None:
    assert distinct_patients(ids, list("xyz"), "m.csv") == ids
    assert caplog.text == ""


def test_who_is_alone_has_the_name_of_nobody_else() -> None:
    # Images may be numbered as patients are.
    assert distinct_patients(["2", "", "3"], ["1", "2", "4"], "m.csv") == [
        "2", "2 (not stated)", "3"]


def test_files_of_which_part_is_anonymous(tmp_path: Path, save_dicom: Callable[..., Path],
                                          caplog: pytest.LogCaptureFixture) -> None:
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    ids = ["ANONYMOUS", "A1", "ANONYMOUS", "A1", ""]
    paths = [save_dicom(tmp_path / f"{k}.dcm", pixels, PatientID=name)
             for k, name in enumerate(ids)]
    images = [path.stem for path in paths]
    assert stated_patients(images, paths) == ["0", "A1", "2", "A1", "4"]
    assert "3 of 5 images" in caplog.text
