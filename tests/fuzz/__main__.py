"""``make fuzz``: many examples per reader, each reader in a process with limits.

``python -m tests.fuzz --examples 10000 --seed 0 [--only NAME]``: exit status 1 where any
example raised what is no sentence, took more than 10 s, or asked for 1 GB more than the process
had.  Values that fail are written to ``tests/fuzz/kept`` (by ``--keep`` elsewhere), which the suite
replays; seeds are printed.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from tests.fuzz import frame

MOST_SECONDS, MOST_BYTES = 10.0, 2**30
#: Code in C hears no alarm; a thread ends the process after so many seconds more.
_GRACE = 20.0


def main() -> int:
    arguments = _arguments()
    if arguments.child:
        return _child(arguments)
    rows, faults = [], 0
    names = [name for name in frame.names_of_targets() if arguments.only in name]
    if not names:
        print(f"no target is called {arguments.only!r}", file=sys.stderr)
        return 2
    print(f"{'target':<44} {'examples':>8} {'accepted':>8} {'refused':>8} {'faults':>7} "
          f"{'slowest':>8} {'peak MB':>8}", flush=True)
    for name in names:
        row = _in_child(name, arguments)
        rows.append(row)
        wrong = sum(count for kind, count in row["kinds"].items()
                    if kind not in {"accepted", "refused"})
        faults += wrong
        print(f"{name:<44} {row['examples']:>8} {row['kinds'].get('accepted', 0):>8} "
              f"{row['kinds'].get('refused', 0):>8} {wrong:>7} {row['slowest']:>7.2f}s "
              f"{row['peak_mb']:>8.0f}", flush=True)
        for story, count in row["stories"].items():
            print(f"  {count} x {story}", flush=True)
    print(f"{len(rows)} targets, {sum(row['examples'] for row in rows)} examples, seed "
          f"{arguments.seed}: {faults} faults")
    return int(faults > 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="targets whose names contain this")
    parser.add_argument("--keep", type=Path, default=frame.KEPT, help="folder for what fails")
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    parser.add_argument("--record", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _in_child(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Try one target in a process; one that dies is a fault, and what it was at is kept."""
    with tempfile.TemporaryDirectory(prefix="saltrust-fuzz-") as folder:
        record = Path(folder) / "record.json"
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz", "--child", name, "--record", str(record),
             "--examples", str(arguments.examples), "--seed", str(arguments.seed),
             "--keep", str(arguments.keep)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, errors="replace", check=False,
            # Each thread may have an arena of its own, and reserves 64 MB of addresses for it.
            env={**os.environ, "TMPDIR": folder, "OMP_NUM_THREADS": "1",
                 "MALLOC_ARENA_MAX": "2"})
        row: dict[str, Any] = {"examples": 0, "kinds": {}, "slowest": 0.0, "peak_mb": 0.0,
                               "stories": {}}
        if record.exists():
            row = json.loads(record.read_text())
        if done.returncode:
            current = record.with_suffix(".current")
            value = (frame.read_value(current.read_text(encoding="utf-8"))
                     if current.exists() else None)
            where = frame.keep(name, value, arguments.keep)
            lines = done.stderr.strip().splitlines()
            start = next((k for k, line in enumerate(lines) if line.startswith(("Time", "Fatal"))),
                         max(len(lines) - 8, 0))
            last = " | ".join(lines[start:start + 8])
            row["kinds"]["died"] = row["kinds"].get("died", 0) + 1
            row["stories"][f"process ended with {done.returncode} at {where}: {last}"] = 1
        return row


def _child(arguments: argparse.Namespace) -> int:
    name = arguments.child
    target = frame.all_targets(name)[name]
    kinds: Counter[str] = Counter()
    stories: Counter[str] = Counter()
    slowest = 0.0
    frame.try_many(target, 3, arguments.seed, lambda value: frame.try_value(target, value))
    before = _peak()
    frame.limit_memory(MOST_BYTES)

    def each(value: Any) -> frame.Outcome:
        nonlocal slowest
        text = frame.written_value(value)
        with contextlib.suppress(OSError, UnicodeError):
            arguments.record.with_suffix(".current").write_text(text or "None", encoding="utf-8")
        faulthandler.dump_traceback_later(MOST_SECONDS + _GRACE, exit=True)
        outcome = frame.try_value(target, value, most_seconds=MOST_SECONDS)
        faulthandler.cancel_dump_traceback_later()
        kinds[outcome.kind] += 1
        slowest = max(slowest, outcome.seconds)
        if outcome.wrong:
            story = f"{outcome.kind}: {_summary(outcome.detail)}"
            stories[story] += 1
            if stories[story] == 1:
                where = frame.keep(name, value, arguments.keep)
                print(f"{name} {where}\n{outcome.detail}", file=sys.stderr)
        if sum(kinds.values()) % 100 == 0 or outcome.wrong:
            _write(arguments.record, kinds, stories, slowest, before)
        return outcome

    frame.try_many(target, arguments.examples, arguments.seed, each)
    _write(arguments.record, kinds, stories, slowest, before)
    return 0


def _summary(story: str) -> str:
    """The innermost line of saltrust and the error itself: faults of one kind look alike."""
    lines = story.strip().splitlines()
    places = [line.strip() for line in lines if "saltrust/" in line and line.strip()[:4] == "File"]
    place = places[-1].split("saltrust/")[-1] if places else ""
    last = re.sub(r"\S*/saltrust-fuzz-[^/\s]*/", "", lines[-1] if lines else "")
    return f"{last[:160]} [{place}]"


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _write(record: Path, kinds: Counter[str], stories: Counter[str], slowest: float,
           before: float) -> None:
    record.write_text(json.dumps({
        "examples": sum(kinds.values()), "kinds": kinds, "slowest": slowest,
        "peak_mb": max(0.0, _peak() - before), "stories": dict(stories.most_common(20))}))


if __name__ == "__main__":
    sys.exit(main())
