"""The list of explainers, and the table of it on the page.

    python -m tests.explainers.test_listing

writes the table of docs/explainers.md anew.
"""

from __future__ import annotations

import importlib.util
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from saltrust.explainers import registry
from saltrust.explainers.libraries import grad_cam
from saltrust.explainers.libraries.captum import catalog, composition
from saltrust.explainers.listing import ListedExplainer, list_explainers
from saltrust.explainers.registry import BUILT_IN

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explainers.md"
BEGIN, END = "<!-- table of other libraries -->\n", "<!-- end of the table -->\n"


def as_table(rows: list[ListedExplainer]) -> str:
    lines = ["| name | works | read | cost |", "|---|---|---|---|"]
    lines += [f"| `{row.name}` | {'no: ' + row.reason if row.reason else 'yes'} | {row.reading} "
              f"| {row.cost} |" for row in rows if row.source != "saltrust"]
    return "\n".join(lines) + "\n"


def test_the_table_on_the_page_is_that_of_the_command() -> None:
    text = PAGE.read_text(encoding="utf-8")
    table = text.split(BEGIN)[1].split(END)[0]
    assert table == as_table(list_explainers()), "python -m tests.explainers.test_listing"


def test_all_are_listed_once() -> None:
    rows = list_explainers()
    names = [row.name for row in rows]
    assert len(set(names)) == len(names)
    assert names[:len(BUILT_IN)] == list(BUILT_IN)
    assert all(row.reason or (row.reading and row.cost) for row in rows)
    captums = {name.removeprefix("captum.").partition("(")[0] for name in names
               if name.startswith("captum.")}
    assert captums == set(catalog.CLASSES)


def test_what_is_not_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    for module in (composition, grad_cam):
        monkeypatch.setattr(module, "find_spec", lambda name: (
            None if name in ("captum", "pytorch_grad_cam") else real(name)))
    reasons = {row.name: row.reason for row in list_explainers()}
    assert reasons["captum.Saliency"] == "captum is not installed; pip install captum"
    assert reasons["pytorch_grad_cam.GradCAM"].endswith("pip install grad-cam")
    assert reasons["captum.LLMAttribution"] == "it explains what a language model writes"
    assert reasons["grad"] == ""


def test_an_entry_point_that_does_not_load_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def entries(**_: object) -> EntryPoints:
        return EntryPoints([EntryPoint("broken", "no_such_module:f", registry.ENTRY_POINTS)])

    monkeypatch.setattr(registry, "entry_points", entries)
    row = next(row for row in list_explainers() if row.name == "broken")
    assert row.source == "an installed package"
    assert "could not be loaded from its entry point no_such_module:f" in row.reason


if __name__ == "__main__":
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(before + BEGIN + as_table(list_explainers()) + END + after, encoding="utf-8")
