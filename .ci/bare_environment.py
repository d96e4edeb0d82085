"""Use an installed saltrust without extras: import, help, an import of data and an analysis."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

STUDY = """
name = "bare"
seed = 3
grid = 64
[data]
kind = "phantom"
patients = 12
size = 64
"""


def run(*arguments: str) -> str:
    """Run the installed command and return its stdout."""
    command = [str(Path(sys.executable).with_name("saltrust")), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} exited {done.returncode}: {done.stderr}")
    return done.stdout


def main() -> None:
    """Fail with a sentence when something that must work bare does not."""
    for name in ("torch", "captum", "rpy2", "dask", "pytest"):
        if importlib.util.find_spec(name):
            sys.exit(f"{name} is installed: this environment is not bare")
    import saltrust

    run("--help")
    with tempfile.TemporaryDirectory() as folder:
        study, cubes = Path(folder, "study.toml"), Path(folder, "study.zarr")
        study.write_text(STUDY)
        run("--quiet", "import", "study", str(study), "-o", str(cubes))
        rows = json.loads(run("--quiet", "analyze", "descriptors", str(cubes), "--format", "json"))
        tree = saltrust.open_cubes(cubes)
        if not rows["tables"]["descriptors"] or "reference" not in tree.children:
            sys.exit("the analysis of phantom cubes gave no rows")
    print(f"saltrust {saltrust.__version__} works bare, with pandas {metadata.version('pandas')}")


if __name__ == "__main__":
    main()
