"""Wheels for a machine with a GPU and no network: what it lacks beside torch, in 64 MiB.

    python benchmarks/gpu/wheels.py [--output build/gpu-wheels] [--present FILE] [--python 3.12]

FILE lists packages that are there already, one a line, such as `pip freeze` writes; their versions
do not matter.  Everything of requirements.txt that is not among them is downloaded for that Python
on Linux (x86-64), without what it would pull in, which requirements.txt states itself.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
MOST_BYTES = 64 * 2**20
#: pip matches these exactly.
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_24_x86_64",
             "manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux_2_5_x86_64",
             "manylinux1_x86_64", "any")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("build/gpu-wheels"))
    parser.add_argument("--present", type=Path, default=HERE / "present.txt")
    parser.add_argument("--python", default="3.12")
    arguments = parser.parse_args()
    present = {_name(line) for line in _lines(arguments.present)}
    wanted = [line for line in _lines(HERE / "requirements.txt") if _name(line) not in present]
    shutil.rmtree(arguments.output, ignore_errors=True)
    abi = "cp" + arguments.python.replace(".", "")
    subprocess.run([
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
        "--implementation", "cp", "--python-version", arguments.python,
        *(word for tag in (abi, "abi3", "none") for word in ("--abi", tag)),
        *(word for tag in PLATFORMS for word in ("--platform", tag)),
        "--dest", str(arguments.output), *wanted], check=True)
    wheels = sorted(arguments.output.glob("*.whl"), key=lambda path: -path.stat().st_size)
    for path in wheels:
        print(f"{path.stat().st_size / 2**20:7.2f} MiB  {path.name}")
    total = sum(path.stat().st_size for path in wheels)
    print(f"{total / 2**20:7.2f} MiB  in {len(wheels)} wheels, of 64 that may be carried")
    if total > MOST_BYTES:
        raise SystemExit("too large to be carried: name what the machine has already with "
                         "--present (python3 -m pip freeze > FILE there)")


def _lines(path: Path) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]


def _name(line: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", line)[0]).lower()


if __name__ == "__main__":
    main()
