"""Findings of a study and of its data set, whatever system spelled them."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from saltrust.datasets.collection_index import choose_findings
from saltrust.errors import DataError

WORD = "Ödem"
OTHER = unicodedata.normalize("NFD", WORD)


@pytest.mark.parametrize("asked", [WORD, OTHER])
@pytest.mark.parametrize("present", [WORD, OTHER])
def test_accents_may_stand_apart_from_their_letters(asked: str, present: str) -> None:
    assert choose_findings([asked], ["Mass", present], Path("x")) == {asked: present}
    assert choose_findings([], [present], Path("x")) == {WORD: present}


def test_aliases_and_what_is_absent() -> None:
    assert choose_findings(["Airspace Opacity"], ["Lung Opacity"], Path("x")) == {
        "Airspace Opacity": "Lung Opacity"}
    with pytest.raises(DataError, match="did you mean 'Ödem'"):
        choose_findings(["Ödeme"], [OTHER], Path("x"))
