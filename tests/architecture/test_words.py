"""Names are English words of the field that say what they hold.

Tokens are counted, not sentences: errors, documentation and comments may say what they like.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("saltrust", "tests", "evidence", "benchmarks", ".ci")

#: Names that say nothing of what they hold.
BARE = frozenset({"found", "own", "there", "said"})
#: Identifiers are spelled as in the libraries they stand among; words that users see, such as
#: columns, keys and options, are texts and stay as they are.
BRITISH = re.compile(
    r"analyse(?!s\b|s_|s$)|artefact|behaviour|cancelled|catalogue|categoris|centre|characteris"
    r"|colour|favour|generalis|grey|honour|initialis|labelled|labelling|localis|maximis|minimis"
    r"|modelled|modelling|neighbour|normalis|optimis|organis|parametris|penalis|quantis|randomis"
    r"|recognis|regularis|serialis|standardis|summaris|vectoris|visualis", re.IGNORECASE)
#: Identifiers that are words of users.
USERS_WORDS = frozenset({
    "centre_prior",  # a key of the metadata, declared as the field of a TypedDict
})


def python_files(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def names(source: str) -> Iterator[str]:
    """Every name in a source: tokens, and what stands in the braces of formatted strings."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME:
            yield token.string
    # Before Python 3.12 a formatted string is one token.
    for text in ast.walk(ast.parse(source)):
        if isinstance(text, ast.JoinedStr):
            for node in ast.walk(text):
                if isinstance(node, ast.Name):
                    yield node.id
                elif isinstance(node, ast.Attribute):
                    yield node.attr


@pytest.fixture(scope="module")
def names_by_file() -> dict[str, Counter[str]]:
    return {str(path.relative_to(ROOT)): Counter(names(path.read_text(encoding="utf-8")))
            for path in python_files(*FOLDERS)}


def test_no_name_is_bare(names_by_file: dict[str, Counter[str]]) -> None:
    counts = {file: {name: counter[name] for name in sorted(BARE) if counter[name]}
              for file, counter in names_by_file.items()}
    assert {file: bare for file, bare in counts.items() if bare} == {}


def test_identifiers_are_in_american_spelling(names_by_file: dict[str, Counter[str]]) -> None:
    british = {file: sorted(name for name in counter
                            if BRITISH.search(name) and name not in USERS_WORDS)
               for file, counter in names_by_file.items() if file.startswith("saltrust")}
    assert {file: wrong for file, wrong in british.items() if wrong} == {}


@pytest.mark.parametrize(("source", "expected"), [
    ("found = 1", True), ("row.found", True), ("f(found=1)", True), ("f'{found:.2f}'", True),
    ("def f(own): ...", True), ("x = 'found'  # found", False), ("foundation = 1", False)])
def test_a_bare_name_is_seen(source: str, expected: bool) -> None:
    assert bool(BARE & set(names(source))) is expected


@pytest.mark.parametrize(("name", "expected"), [
    ("normalise_map", True), ("CENTRE_SIGMA", True), ("series_colours", True), ("_analyse", True),
    ("analyses", False), ("of_analyses_made", False), ("normalize", False), ("center", False)])
def test_a_british_name_is_seen(name: str, expected: bool) -> None:
    assert bool(BRITISH.search(name)) is expected
