"""Every variable of generated stores damaged, repaired and gone on with: the bits of before.

    python -m tests.faults.repairs [--seed 1]

A file of every variable is lost, cut or has a bit turned, one variable at a time, in a store with
all groups and in one of predictions alone.  `verify` names it, `repair` marks it as missing, and
the job that is resumed gives what the store held; what is written when a store is laid out is
refused in a sentence, and the store stays where it is.  Exits with 1 on any fault.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from saltrust.cache.repair import repair
from saltrust.cache.store import partial_path
from saltrust.cache.verification import verify
from saltrust.errors import DataError, SaltrustError
from saltrust.generation_settings import RandomizationSpec
from tests.faults.damage import everything, flipped, lost, same

TINY = Path(__file__).parents[1] / "generate" / "tiny_study.py"


def tiny_study() -> ModuleType:
    """The module with the tiny study, under the name by which its models find their network."""
    if TINY.stem not in sys.modules:
        spec = importlib.util.spec_from_file_location(TINY.stem, TINY)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[TINY.stem] = module
        spec.loader.exec_module(module)
    return sys.modules[TINY.stem]


def studies(folder: Path) -> dict[str, Any]:
    """A study of every group, and one of predictions alone."""
    tiny = tiny_study()
    plain = tiny.write_study(folder)
    localizer = tiny.save_localizer(folder, "all", tiny.FINDINGS, 7)
    return {"whole": replace(plain, localizers=(localizer,),
                             randomization=RandomizationSpec(replicates=1)),
            "predictions": replace(plain, explainers=())}


def variables(store: Path) -> dict[str, list[Path]]:
    """Chunk files of every variable that has any."""
    files: dict[str, list[Path]] = {}
    for file in sorted(store.rglob("c/**/*")):
        name = str(file.relative_to(store)).partition("/c/")[0]
        if file.is_file() and not name.startswith("checksums"):
            files.setdefault(name, []).append(file)
    return files


def run(seed: int, folder: Path, *, kinds: Sequence[str] = ("whole", "predictions"),
        only: Sequence[str] = ()) -> Counter[str]:
    """Damage, repair and resume.

    Parameters
    ----------
    seed : int
    folder : Path
        Empty; stores are made here.
    kinds : sequence of str
        Of stores.
    only : sequence of str
        Variables; by default all.

    Returns
    -------
    Counter
        What happened, and ``faults``.
    """
    from saltrust.generate.job import generate

    generator = np.random.default_rng(seed)
    collection = tiny_study().NoisyCollection(5)
    counts: Counter[str] = Counter()
    for kind, study in studies(folder).items():
        if kind not in kinds:
            continue
        pristine, path = folder / f"{kind}.whole.zarr", folder / f"{kind}.zarr"
        generate(collection, study, pristine, progress=False)
        expected = everything(pristine)
        files = variables(pristine)
        for name in only or sorted(files):
            shutil.copytree(pristine, path)
            at = path / generator.choice([str(f.relative_to(pristine)) for f in files[name]])
            (lost if generator.random() < 0.5 else flipped)(generator, at)
            what = f"{kind}: {at.relative_to(path)}"
            try:
                named = verify(path).faults
                ended = "not named"
                if any(name in fault.variable for fault in named):
                    repair(path, named)
                    generate(collection, study, path, resume=True, progress=False)
                    ended = "as before" if same(everything(path), expected) else "another result"
                    ended = ended if not verify(path).faults else "faults after it"
            except DataError as error:
                ended = ("refused" if "cannot be repaired" in str(error) and path.exists()
                         else f"error {error}")
            except SaltrustError as error:
                ended = f"error {error}"
            except Exception as error:  # noqa: BLE001 - that is what is looked for
                ended = f"traceback {type(error).__name__}: {error}"
            counts[ended if ended in {"as before", "refused"} else "faults"] += 1
            if ended not in {"as before", "refused"}:
                print(f"{what}: {ended}")
            shutil.rmtree(path, ignore_errors=True)
            shutil.rmtree(partial_path(path), ignore_errors=True)
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="saltrust-repairs-") as folder:
        counts = run(arguments.seed, Path(folder))
    for what in ("as before", "refused", "faults"):
        print(f"{what:12s} {counts[what]:4d}")
    return int(bool(counts["faults"]))


if __name__ == "__main__":
    sys.exit(main())
