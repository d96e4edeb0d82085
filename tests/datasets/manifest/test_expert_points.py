"""Experts' most representative points by manifest, as docs/manifests.md says."""

from __future__ import annotations

from pathlib import Path

import pytest

import saltrust
from saltrust.cache.reference import import_collection
from saltrust.choices import Definition
from saltrust.datasets.manifest.collection import manifest

#: The truth is rows and columns 10 to 29 of the three positives.
ROWS = ("a,40,50,test,1,10 10 20 20,12 12 20 20,15 15",
        "b,40,50,test,1,10 10 20 20,12 12 20 20,31 31; 15 15",
        "c,40,50,test,1,10 10 20 20,30 30 5 5,32 32", "d,40,50,test,0,,none,")


@pytest.mark.parametrize(("definition", "hits"), [("default", [1, 0, 0]), ("peer", [1, 1, 0])])
def test_an_expert_hits_with_the_point(definition: Definition, hits: list[int],
                                       tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("\n".join([
        "image,height,width,split,Edema,boxes:Edema,boxes:Edema:expert-1,points:Edema:expert-1",
        *ROWS]) + "\n")
    cubes = import_collection(manifest(tmp_path / "m.csv"), tmp_path / "m.zarr", grid=(20, 25))
    result = saltrust.localization(cubes, scoring=saltrust.Scoring(definition=definition))
    scores = result["scores"].set_index("image")
    assert scores["hit"].dropna().tolist() == hits
    assert scores["hit"].dropna().index.tolist() == ["a", "b", "c"]
    expert = result["expert"].set_index("metric")["estimate"]
    assert expert["hit"] == pytest.approx(sum(hits) / 3)
    assert expert["iou"] == pytest.approx(2 * 18**2 / (800 - 18**2) / 3)
