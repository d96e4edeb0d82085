"""Check that a wheel holds the whole package, its licence, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path


def main(wheel: str) -> None:
    """Compare the wheel's files with what git tracks under ``saltrust``."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    held = {name for name in names if ".dist-info/" not in name}
    tracked = subprocess.run(["git", "ls-files", "saltrust"], capture_output=True, text=True,
                             check=True).stdout.split()
    wanted = {name for name in tracked if Path(name).is_file()}
    missing, extra = sorted(wanted - held), sorted(held - wanted)
    if missing or extra:
        sys.exit(f"{wheel}: missing {missing}, not of the package {extra}")
    if not any(name.endswith(".dist-info/licenses/LICENSE") for name in names):
        sys.exit(f"{wheel} holds no LICENSE; pyproject.toml names it under license-files")
    print(f"{Path(wheel).name}: {len(held)} files, the package, its licence, nothing else")


if __name__ == "__main__":
    main(sys.argv[1])
