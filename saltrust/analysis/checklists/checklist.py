"""A draft of CLAIM 2024 and STARD-AI: what the cubes say, and what authors must state."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import xarray as xr

from saltrust.analysis.checklists.facts import Fact, facts_of
from saltrust.analysis.checklists.items import ITEMS, Item
from saltrust.analysis.planning.declaration import read_plan
from saltrust.analysis.result import Result
from saltrust.analysis.select import as_cubes
from saltrust.cache.identity import of_one_store

AUTHORS = "authors must state"
COLUMNS = ("checklist", "item", "section", "subject", "draft", "authors", "source")


@of_one_store
def reporting_checklist(cubes: xr.DataTree | str | Path, *, plan: str | Path | None = None
                        ) -> Result:
    """Draft a reporting checklist from the cubes.

    Parameters
    ----------
    cubes : xarray.DataTree or path
    plan : path, optional
        Plan whose question, sample size and families are taken too.

    Returns
    -------
    Result
        Table ``checklist``: ``checklist, item, section, subject`` (in words of ours), ``draft``
        (what is known), ``authors`` (what they must state), ``source`` (where the draft stands in
        the cubes or the plan).

    Raises
    ------
    DataError, UsageError
        If the cubes or the plan cannot be read.

    References
    ----------
    A. S. Tejani et al. (2024), Radiol. Artif. Intell. 6(4), e240300 (CLAIM 2024).
    V. Sounderajah et al. (2025), Nat. Med. (STARD-AI).
    """
    tree = as_cubes(cubes)
    facts = facts_of(tree, None if plan is None else read_plan(plan))
    rows = [_row(item, facts) for item in ITEMS]
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype("object")
    counts = {name: {"drafted": int(part["draft"].ne("").sum()), "items": len(part)}
              for name, part in table.groupby("checklist", sort=False)}
    return Result({
        "counts": counts,
        "meaning": "a draft in words of ours, to be checked against the published checklists; "
                   "STARD-AI by subject, its numbers are ours"}, {"checklist": table}, "checklist")


def _row(item: Item, facts: dict[str, Fact]) -> dict[str, str]:
    known = [facts[name] for name in item.facts if name in facts]
    missing = item.missing if known else item.missing or "all of it"
    return {"checklist": item.checklist, "item": item.item, "section": item.section,
            "subject": item.subject, "draft": "; ".join(fact.text for fact in known),
            "authors": f"{AUTHORS}: {missing}" if missing else "check the draft",
            "source": "; ".join(dict.fromkeys(fact.source for fact in known))}
