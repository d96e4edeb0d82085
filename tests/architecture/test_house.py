"""The plan of the house: rooms for kinds, modules of one subject, tests where their subject is."""

from __future__ import annotations

import ast
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "saltrust").rglob("*.py"))

MOST_LINES_OF_A_MODULE, MOST_LINES_OF_A_FUNCTION = 450, 100
#: A module below this, with a single importer, has no subject of its own.
FEWEST_LINES = 60
#: Folders of tests that are of no package.
TESTS_OF_ALL = {"architecture", "calibration", "cuda", "faults", "fuzz", "golden", "reference"}

#: Small modules with one importer that stay, and why.
STAY_SMALL = {
    "saltrust.cli.analyze.group": "the group that commands are added to",
    **dict.fromkeys((
        "saltrust.cli.demo", "saltrust.cli.report",
    ), "a command, which the command line adds to its group"),
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module_name(path): path for path in MODULES}


def importers() -> dict[str, set[str]]:
    """Modules of saltrust that import each module, for types too."""
    by_module: dict[str, set[str]] = defaultdict(set)
    for name, path in NAMES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                targets = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            else:
                continue
            for target in targets:
                if target in NAMES and target != name:
                    by_module[target].add(name)
    return by_module


def prefixes(names: list[str]) -> dict[str, list[str]]:
    """Names that begin with one word, by the word, where there are at least three."""
    by_word: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_word[name.split("_")[0]].append(name)
    return {word: sorted(of_word) for word, of_word in by_word.items() if len(of_word) >= 3}


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Names and lengths of all functions of a module, decorators left out."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


def length(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_three_siblings_with_one_prefix_are_a_folder() -> None:
    offenders = {}
    for folder in sorted({path.parent for path in MODULES}):
        siblings = [path.stem for path in folder.glob("*.py") if path.stem != "__init__"]
        # A folder beside `localization_a.py` is where it belongs.
        siblings += [path.name for path in folder.iterdir() if (path / "__init__.py").is_file()]
        if shared := prefixes(siblings):
            offenders[str(folder.relative_to(ROOT))] = shared
    assert offenders == {}


def test_small_modules_with_one_importer_are_merged_into_it() -> None:
    imported_by = importers()
    small = {name: imported_by[name] for name, path in NAMES.items()
             if path.name not in {"__init__.py", "__main__.py"} and length(path) < FEWEST_LINES}
    assert {name: next(iter(by)) for name, by in sorted(small.items())
            if len(by) == 1 and name not in STAY_SMALL} == {}
    gone = sorted(set(STAY_SMALL) - set(small))
    assert gone == [], "these are not small any more, or are gone: take them off the list"


def test_modules_have_one_subject() -> None:
    assert {module_name(path): length(path) for path in MODULES
            if length(path) > MOST_LINES_OF_A_MODULE} == {}


def test_functions_fit_a_screen_or_two() -> None:
    assert {f"{module_name(path)}.{name}": lines for path in MODULES
            for name, lines in functions(path) if lines > MOST_LINES_OF_A_FUNCTION} == {}


def test_folders_of_tests_mirror_the_package() -> None:
    tracked = subprocess.run(["git", "ls-files", "tests"], cwd=ROOT, capture_output=True,
                             text=True, check=True).stdout.splitlines()
    folders = {Path(*Path(path).parts[1:-1]) for path in tracked if path.endswith(".py")}
    # Several files may test one module: `tests/generate/job` is of `saltrust/generate/job.py`.
    strays = sorted(str(folder) for folder in folders if folder.parts
                    and folder.parts[0] not in TESTS_OF_ALL
                    and not (ROOT / "saltrust" / folder).is_dir()
                    and not (ROOT / "saltrust" / folder).with_suffix(".py").is_file())
    assert strays == []


def test_every_folder_of_modules_is_a_package() -> None:
    assert [str(path.parent.relative_to(ROOT)) for path in MODULES
            if not (path.parent / "__init__.py").is_file()] == []


def test_no_name_is_a_drawer() -> None:
    drawers = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "tools"}
    assert [name for name in NAMES if name.rpartition(".")[2] in drawers] == []


@pytest.mark.parametrize(("names", "expected"), [
    (["map_a", "map_b", "map"], {"map": ["map", "map_a", "map_b"]}), (["map_a", "map_b"], {}),
    (["a_map", "b_map", "c_map"], {})])
def test_a_shared_prefix_is_seen(names: list[str], expected: dict[str, list[str]]) -> None:
    assert prefixes(names) == expected
