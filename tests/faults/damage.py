"""Bits flipped and files lost in a store of every group: nothing changes unseen, all is named.

    python -m tests.faults.damage [--flips 1000] [--losses 110] [--seed 1]

Every fault is one of its own, on a store that is whole but for it.  A reader, which opens the
cubes and reads all of them as xarray gives them, may give the same values or raise one of our
sentences; anything else counts: other values (silent), another exception (traceback).  `verify`
has to name what a reader does not take as it was; a flip that changes no value and no sentence,
such as in the white space of a document, may go unnamed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from saltrust.analysis.localization.analysis import localization
from saltrust.analysis.options import Resampling
from saltrust.cache.store import open_cubes
from saltrust.cache.verification import verify
from saltrust.errors import SaltrustError
from saltrust.testing import simulate_cubes

Values = dict[str, np.ndarray]


def everything(path: Path) -> Values:
    """All values of a store, read as a user would."""
    cubes = open_cubes(path)
    return {f"{node.path}/{name}": np.asarray(array.values)
            for node in cubes.subtree for name, array in node.to_dataset().variables.items()}


def same(one: Values, other: Values) -> bool:
    """Whether two stores hold the same."""
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and np.array_equal(
            one[name], other[name], equal_nan=one[name].dtype.kind == "f") for name in one)


def outcome(path: Path, expected: Values) -> str:
    """What a reader meets."""
    try:
        seen = everything(path)
    except SaltrustError:
        return "refused"
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        return f"traceback {type(error).__name__}"
    return "same" if same(seen, expected) else "silent"


def is_named(path: Path) -> str:
    """Whether `verify` says that something is wrong."""
    try:
        return "named" if verify(path).faults else "unnamed"
    except SaltrustError:
        return "named"
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        return f"verify: {type(error).__name__}"


def flipped(generator: np.random.Generator, path: Path) -> None:
    """Turn one bit of a file."""
    content = bytearray(path.read_bytes())
    content[generator.integers(len(content))] ^= 1 << int(generator.integers(8))
    path.write_bytes(content)


def lost(generator: np.random.Generator, path: Path) -> None:
    """Delete a file, or cut it."""
    content = path.read_bytes()
    if generator.random() < 0.5 or not content:
        path.unlink()
    else:
        path.write_bytes(content[:generator.integers(len(content))])


def run(flips: int, losses: int, seed: int, *, parts: tuple[str, ...] = (
        "radiograph", "randomization", "localizer", "gaze"), verified: int = 1) -> Counter[str]:
    """Damage a simulated store again and again.

    Parameters
    ----------
    flips, losses : int
    seed : int
    parts : tuple of str
        Of the store.
    verified : int
        Every so manyth fault is shown to `verify` too.

    Returns
    -------
    Counter
        Faults by what was done, what a reader met and what `verify` said.
    """
    generator = np.random.default_rng(seed)
    folder = Path(tempfile.mkdtemp(prefix="saltrust-damage-"))
    counts: Counter[str] = Counter()
    try:
        path = folder / "study.zarr"
        simulate_cubes(path, patients=4, images_per_patient=2, grid=16,
                       findings=["Edema", "Mass"], seed=seed, parts=parts)
        localization(path, resampling=Resampling(resamples=20))
        expected = everything(path)
        files = sorted(file for file in path.rglob("*") if file.is_file())
        kinds: dict[str, list[Path]] = {}
        for file in files:
            # Every variable as often as any other, be its files one or a thousand.
            kinds.setdefault(str(file.relative_to(path)).partition("/c/")[0], []).append(file)
        names = sorted(kinds)
        for k in range(flips + losses):
            name = names[k % len(names)] if k >= flips else names[generator.integers(len(names))]
            file = kinds[name][generator.integers(len(kinds[name]))]
            content, how = file.read_bytes(), "flip" if k < flips else "loss"
            (flipped if k < flips else lost)(generator, file)
            seen = outcome(path, expected)
            verdict = is_named(path) if k % verified == 0 else ""
            bad = seen not in {"same", "refused"} or (verdict == "unnamed" and seen == "refused") \
                or verdict.startswith("verify")
            counts[f"{how}: {seen} {verdict}".strip()] += 1
            if bad:
                counts["faults"] += 1
                print(f"{how} in {file.relative_to(path)}: {seen} {verdict}")
            file.write_bytes(content)
        assert same(everything(path), expected)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--losses", type=int, default=110)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    counts = run(arguments.flips, arguments.losses, arguments.seed)
    for what, count in sorted(counts.items()):
        if what != "faults":
            print(f"{what:40s} {count:6d}")
    print(f"{counts['faults']} faults")
    return int(bool(counts["faults"]))


if __name__ == "__main__":
    sys.exit(main())
