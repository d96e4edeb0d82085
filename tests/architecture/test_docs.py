"""The pages name what is there: paths, modules, public names, and each other."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

#: Of the repository, from its root; what ends in `/` or in a letter is a folder.
_PATH = re.compile(r"(?<![\w/.])(?:saltrust|tests|evidence|benchmarks|docs|Rscripts)/[\w./*-]*\w")
_DOTTED = re.compile(r"(?<![\w/.-])saltrust(?:\.[A-Za-z_]\w*)+")
_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def page_lines() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
            yield f"{page.relative_to(ROOT)}:{number}", line


def is_importable(name: str) -> bool:
    """Whether a dotted name is a module, or what stands in one: imported, or declared by name."""
    module, attributes = name, list[str]()
    while module != "saltrust" and not _is_module(module):
        module, _, attribute = module.rpartition(".")
        attributes.insert(0, attribute)
    if not attributes:
        return True
    value = importlib.import_module(module)
    for attribute in attributes:
        if not hasattr(value, attribute):
            return False
        value = getattr(value, attribute)
    return True


def _is_module(name: str) -> bool:
    place = ROOT.joinpath(*name.split("."))
    return place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()


def test_every_path_on_the_pages_exists() -> None:
    missing = [f"{place} names {path}" for place, line in page_lines()
               for path in _PATH.findall(line) if not list(ROOT.glob(path))]
    assert missing == []


def test_every_link_between_the_pages_leads_somewhere() -> None:
    missing = [f"{place} links {target}" for place, line in page_lines()
               for target in _LINK.findall(line)
               if not (ROOT / place.split(":", maxsplit=1)[0]).parent.joinpath(target).exists()]
    assert missing == []


def test_every_name_of_the_package_on_the_pages_is_there() -> None:
    missing = [f"{place} names {name}" for place, line in page_lines()
               for name in _DOTTED.findall(line)
               if not is_importable(name)]
    assert missing == []


@pytest.mark.parametrize(("name", "expected"), [
    ("saltrust.open_cubes", True), ("saltrust.cache.schema", True),
    ("saltrust.analysis.select.select", True), ("saltrust.no_such_analysis", False),
    ("saltrust.cache.no_such_module", False)])
def test_a_name_that_is_not_there_is_seen(name: str, expected: bool) -> None:
    assert is_importable(name) is expected
