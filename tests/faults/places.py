"""Places that cannot be written to: full, without inodes, read-only, forbidden.

    python -m tests.faults.places --seed 1

Every command must end with one sentence and no traceback, leave nothing that looks whole, and
work again when there is room.  Needs the right to mount; without it, says so and tries nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.faults.kills import SCENARIOS, STORE, STUDY
from tests.faults.launching import Ended, call, prepare

#: Somebody who is not root, for whom permissions count.
_NOBODY = 65534

#: Commands that write into a folder `place`, with what they need before; by name.
COMMANDS: dict[str, tuple[str, ...]] = {
    "import": ("import", "study", "new.toml", "-o", f"place/{STORE}"),
    "generate": ("generate", "new.toml", "-o", f"place/{STORE}"),
    "train": ("train", "place.toml"),
    "analyze": ("analyze", "localization", STORE, "--resamples", "20", "-o", "place/out"),
    "protocol": ("protocol", "localization", STORE, "--resamples", "20", "-o", "place/out"),
    "report": ("report", STORE, "-o", "place/page.html"),
    "export": ("export", "scores", STORE, "-o", "place/scores.csv"),
}


@contextlib.contextmanager
def mounted(place: Path, options: str, *, then: str = "") -> Iterator[None]:
    """A small file system of its own at a place."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True)
    try:
        if then:
            subprocess.run(["mount", "-o", then, str(place)], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


@contextlib.contextmanager
def forbidden(place: Path) -> Iterator[None]:
    place.chmod(0o500)
    try:
        yield
    finally:
        place.chmod(0o700)


PLACES: dict[str, Callable[[Path], contextlib.AbstractContextManager[None]]] = {
    "full at once": lambda place: mounted(place, "size=4k"),
    "full soon": lambda place: mounted(place, "size=160k"),
    "full late": lambda place: mounted(place, "size=400k"),
    "no inodes": lambda place: mounted(place, "nr_inodes=2"),
    "few inodes": lambda place: mounted(place, "nr_inodes=40"),
    "read-only": lambda place: mounted(place, "size=1m", then="remount,ro"),
    "forbidden": forbidden,
}


def can_mount() -> bool:
    """Whether this process may mount, which containers mostly may not."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        try:
            with mounted(Path(folder), "size=4k"):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


def judge(ended: Ended, place: Path) -> str:
    """What is wrong with how a command ended; nothing where all is right."""
    if "Traceback" in ended.text:
        return f"a traceback: {ended.text[-1500:]}"
    if ended.status not in (0, 1, 2):
        return f"status {ended.status}: {ended.text[-300:]}"
    if ended.status and ended.text.count("Error:") != 1:
        return f"not one sentence: {ended.text[-500:]}"
    if ended.status and (place / STORE).exists():
        return "a store that looks whole"
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the study")
    parser.add_argument("--only", nargs="*", default=list(COMMANDS), choices=list(COMMANDS))
    options = parser.parse_args(arguments)
    mounts = can_mount()
    if not mounts:
        print("nothing can be mounted here: only the forbidden place is tried")
    prepare(models=True)
    faults, tried = [], 0
    with tempfile.TemporaryDirectory(prefix="saltrust-places-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        text = STUDY.format(name="new", seed=options.seed, patients=14)
        (folder / "new.toml").write_text(text)
        (folder / "place.toml").write_text('runs = "place/runs"\n' + text)
        for words in (("train", "new.toml"), SCENARIOS["generate"].arguments[1:]):
            if (ended := call(("--quiet", *words), folder)).status:
                raise SystemExit(f"an undisturbed command failed: {ended.text}")
        for kind, make in PLACES.items():
            if not mounts and kind != "forbidden":
                continue
            for command in options.only:
                place = folder / "place"
                place.mkdir()
                with make(place):
                    ended = call(("--quiet", *COMMANDS[command]), folder,
                                 user=_NOBODY if kind == "forbidden" else None)
                    wrong = judge(ended, place)
                    left = [item.name for item in place.rglob("*") if item.suffix == ".tmp"]
                tried += 1
                sentence = ended.text.strip().splitlines()[-1:] or ["done"]
                print(f"{kind:<13} {command:<9} {ended.status}  {sentence[0][:150]}")
                if wrong or left:
                    faults.append(f"{command} where it is {kind}: {wrong} {left or ''}")
                shutil.rmtree(place)
    print(f"{tried} tried, {len(faults)} faults")
    for fault in faults:
        print("FAULT", fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
