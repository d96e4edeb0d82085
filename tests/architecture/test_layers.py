"""The import rules that keep the analysis layer free of torch and the door light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "torchvision", "captum", "rpy2", "pymer4")


BLOCK = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
"""


def loaded_after(code: str, *, blocked: tuple[str, ...] = ()) -> set[str]:
    """Top-level modules loaded after running ``code`` in a new interpreter."""
    script = (BLOCK.format(blocked=blocked) + code
              + "\nprint(' '.join(sorted({name.split('.')[0] for name in sys.modules})))")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                          check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def modules(package: str) -> list[str]:
    return [".".join(path.relative_to(ROOT).with_suffix("").parts)
            for path in sorted((ROOT / "saltrust" / package).rglob("*.py"))]


def test_import_and_help_are_light() -> None:
    heavy = {*HEAVY, "numpy", "xarray", "zarr", "pandas", "scipy", "matplotlib"}
    assert not loaded_after("import saltrust, saltrust.cli") & heavy


def test_python_m_is_the_command_line() -> None:
    done = subprocess.run([sys.executable, "-m", "saltrust", "--version"], capture_output=True,
                          text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout.split(",")[0]) == (0, "saltrust")


@pytest.mark.parametrize("package", ["cache", "analysis", "datasets", "report", "testing"])
def test_these_layers_never_load_torch_or_r(package: str) -> None:
    code = "\n".join(f"import {name}" for name in modules(package))
    assert not loaded_after(code) & set(HEAVY)


def test_everything_but_generation_imports_where_torch_is_missing() -> None:
    names = [name for package in ("cache", "analysis", "datasets", "report", "testing", "cli")
             for name in modules(package)]
    code = "\n".join(f"import {name}" for name in ["saltrust", "saltrust.study", *names])
    assert "saltrust" in loaded_after(code, blocked=HEAVY)


def test_nobody_imports_the_links_at_the_root() -> None:
    offenders = []
    for path in [*ROOT.glob("saltrust/**/*.py"), *ROOT.glob("tests/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = ([alias.name for alias in node.names] if isinstance(node, ast.Import) else
                     [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level
                     else [])
            offenders += [str(path) for name in names
                          if name.split(".")[0] in {"analysis", "cache"}]
    assert offenders == []


def test_the_links_point_to_the_packages() -> None:
    for name in ("analysis", "cache"):
        assert (ROOT / name).is_symlink()
        assert (ROOT / name).resolve() == ROOT / "saltrust" / name
