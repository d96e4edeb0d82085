"""Drafts of reporting checklists."""

from __future__ import annotations

from pathlib import Path

import pytest

import saltrust
from saltrust.analysis.checklists.facts import facts_of
from saltrust.analysis.checklists.items import ITEMS
from saltrust.analysis.planning.declaration import read_plan


@pytest.fixture(scope="module")
def cubes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checklist") / "study.zarr"
    saltrust.simulate_cubes(path, patients=6, grid=16, seed=2, parts=("radiograph",))
    return path


def test_claim_has_its_forty_four_items_and_every_fact_a_maker(cubes: Path) -> None:
    assert [item.item for item in ITEMS if item.checklist == "CLAIM 2024"] == [
        str(k) for k in range(1, 45)]
    named = {fact for item in ITEMS for fact in item.facts}
    plan = saltrust.init_plan(cubes.parent / "facts.toml", overwrite=True)
    unknown = set(facts_of(saltrust.open_cubes(cubes), read_plan(plan))) - named
    assert unknown == set()


def test_drafts_say_where_they_stand_and_the_rest_is_for_authors(cubes: Path) -> None:
    table = saltrust.reporting_checklist(cubes)["checklist"]
    drafted = table["draft"] != ""
    assert drafted.sum() > 25
    assert (table.loc[drafted, "source"] != "").all()
    assert (table.loc[~drafted, "authors"].str.startswith("authors must state")).all()
    rows = table[table["checklist"] == "CLAIM 2024"].set_index("item")
    assert "12 images of 6 patients" in rows.loc["35", "draft"]
    assert rows.loc["20", "draft"] == "no patient is in two partitions"
    assert "radiologists" in rows.loc["16", "draft"]
    assert rows.loc["44", "authors"] == "authors must state: all of it"


def test_a_plan_adds_what_it_states(cubes: Path) -> None:
    path = saltrust.init_plan(cubes.parent / "plan.toml", cubes, overwrite=True)
    path.write_text(path.read_text().replace("patients = 0", "patients = 40").replace(
        'justification = ""', 'justification = "power .8"'))
    table = saltrust.reporting_checklist(cubes, plan=path)["checklist"].set_index("item")
    assert table.loc["21", "draft"].endswith("40 patients: power .8")
    assert "plan, sample_size" in table.loc["21", "source"]
