"""Commands that are killed at random, and pairs of writers that want one store.

    python -m tests.faults.kills --count 200 --seed 1

After every fault the right next command must end with what an undisturbed one gives: nothing
lost, nothing different, no traceback, nothing left behind.  Exits with 1 on any fault.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.faults.launching import Ended, Fault, Running, call, prepare

STUDY = """
name = "faults"
seed = 5
grid = 24
explainers = ["grad", "gradcam"]
[data]
kind = "phantom"
patients = {patients}
size = 40
split_fractions = [0.5, 0.2, 0.3]
[train]
epochs = 3
batch_size = 4
learning_rate = 1e-3
[generate]
split = "test"
batch_size = 2
device = "cpu"
[[models]]
name = "{name}"
architecture = "phantom_net"
seed = {seed}
arguments = {{width = 4}}
"""
STORE, SIGNALS = "w.zarr", (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
#: Root attributes that two runs of one study do not share.
_OF_THE_RUN = {"run_id", "started", "finished", "starts", "command_line", "sealed"}


@dataclass(frozen=True)
class Scenario:
    """A command, what lies there before, and what counts as its result.

    Attributes
    ----------
    arguments : tuple of str
    goes_on : tuple of str
        What is added to the command after a fault, taken in turn.
    before : str, optional
        Folder of the templates that becomes the store.
    result : callable
        Digest of what the command has made in a folder.
    """

    arguments: tuple[str, ...]
    goes_on: tuple[str, ...]
    before: str | None
    result: Callable[[Path], str]


def in_child(function: Callable[[], str]) -> str:
    """What a function returns, called in a forked process."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            text = function()
        except BaseException as error:  # noqa: BLE001 - told to the parent
            text = f"{type(error).__name__}: {error}"
        os.write(writing, text.encode()[:60_000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        text = stream.read().decode()
    os.waitpid(pid, 0)
    return text


def store_digest(path: Path) -> str:
    """Digest of all values and of the attributes that two runs share; kept scores left out."""
    import numpy as np
    import zarr

    from saltrust.cache.store import open_cubes

    open_cubes(path)
    digest = hashlib.sha256()
    root = zarr.open_group(path, mode="r")
    shared = {name: value for name, value in root.attrs.items() if name not in _OF_THE_RUN}
    digest.update(json.dumps(shared, sort_keys=True, default=str).encode())
    for group in ("", *sorted(name for name, _ in root.groups() if name[0] not in "._"
                              and name != "scores")):
        held = root[group] if group else root
        for name in sorted(held.array_keys()):
            values = np.asarray(held[name][...])
            digest.update(f"{group}/{name}{values.shape}".encode())
            digest.update("\0".join(map(str, values.ravel().tolist())).encode()
                          if values.dtype.kind in "OUT" else np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def store_result(folder: Path) -> str:
    return in_child(lambda: store_digest(folder / STORE))


def files_result(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted((folder / "out").rglob("*")):
        if path.is_file():
            # Pages say where the cubes lie.
            content = path.read_bytes().replace(str(folder).encode(), b"")
            digest.update(path.name.encode() + content)
    return digest.hexdigest()


def weights_result(folder: Path) -> str:
    return in_child(lambda: weights_digest(folder / "runs" / "new"))


def weights_digest(run: Path) -> str:
    """Digest of weights and metrics; the card says after which epochs a run was resumed."""
    from saltrust.models.checkpoint import read_weights

    card = json.loads((run / "model.json").read_text())
    rows = [line.rpartition(",")[0] for line in (run / "metrics.csv").read_text().splitlines()]
    digest = hashlib.sha256(repr((card["complete"], rows)).encode())
    for name, tensor in sorted(read_weights(run / "model.safetensors").items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


_ANALYZE = ("--quiet", "analyze", "localization", STORE, "--resamples", "20", "-o", "out")
RESUMED = ("--quiet", "generate", "new.toml", "-o", STORE, "--resume")
SCENARIOS: dict[str, Scenario] = {
    "import": Scenario(("--quiet", "import", "study", "new.toml", "-o", STORE),
                       ("--resume", "--overwrite"), None, store_result),
    "reimport": Scenario(("--quiet", "import", "study", "new.toml", "-o", STORE, "--overwrite"),
                         ("--resume", "--overwrite"), "old.zarr", store_result),
    "generate": Scenario(("--quiet", "generate", "new.toml", "-o", STORE),
                         ("--resume", "--overwrite"), None, store_result),
    "overwrite": Scenario(("--quiet", "generate", "new.toml", "-o", STORE, "--overwrite"),
                          ("--resume", "--overwrite"), "old.zarr", store_result),
    "analyze": Scenario(_ANALYZE, ("--overwrite",), "fresh.zarr", files_result),
    "workers": Scenario((*_ANALYZE, "--workers", "2"), ("--overwrite",), "fresh.zarr",
                        files_result),
    "report": Scenario(("--quiet", "report", STORE, "-o", "out/page.html"), ("--overwrite",),
                       "fresh.zarr", files_result),
    "repair": Scenario(("--quiet", "verify", STORE, "--repair"), ("--repair",), "broken.zarr",
                       store_result),
    "train": Scenario(("--quiet", "train", "new.toml", "--model", "new"),
                      ("--resume", "--overwrite"), None, weights_result),
}


#: Without models: templates are made, and commands run, within seconds.
LIGHT = ("import", "reimport")


class Proof:
    """Templates, undisturbed results, and what went wrong so far."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random = folder, random.Random(seed)
        self.templates = folder / "templates"
        self.counts: Counter[tuple[str, str]] = Counter()
        self.faults: list[str] = []
        self._numbers = itertools.count()
        self.expected: dict[str, tuple[str, Ended, set[str]]] = {}

    def make_templates(self, *, models: bool) -> None:
        """Trained models, and stores of both, of different patients."""
        self.templates.mkdir(parents=True)
        (self.templates / "runs").mkdir()
        for seed, name in enumerate(("new", "old")):
            (self.templates / f"{name}.toml").write_text(
                STUDY.format(name=name, seed=seed, patients=(14 if models else 5) + seed))
            if models:
                _require(call(("--quiet", "train", f"{name}.toml"), self.templates))
            command = ("generate",) if models else ("import", "study")
            _require(call(("--quiet", *command, f"{name}.toml", "-o", f"{name}.zarr"),
                          self.templates))
        shutil.copytree(self.templates / "new.zarr", self.templates / "fresh.zarr")
        if models:
            broken = shutil.copytree(self.templates / "new.zarr", self.templates / "broken.zarr")
            shutil.rmtree(Path(broken) / "prediction" / "logit" / "c")
            chunk = sorted(file for file in (Path(broken) / "saliency" / "heatmap").rglob("c/**/0")
                           if file.is_file())[1]
            chunk.write_bytes(chunk.read_bytes()[:-3])

    def trial_folder(self, scenario: str, before: str | None) -> Path:
        """A folder with what the command finds."""
        folder = self.folder / f"{scenario}-{next(self._numbers)}"
        folder.mkdir()
        for name in ("new.toml", "old.toml"):
            shutil.copy(self.templates / name, folder)
        if scenario != "train":
            shutil.copytree(self.templates / "runs", folder / "runs")
        if before is not None:
            shutil.copytree(self.templates / before, folder / STORE)
        return folder

    def measure(self, names: Sequence[str]) -> None:
        """What undisturbed commands give, how long they take and how often they write."""
        for name in names:
            scenario = SCENARIOS[name]
            folder = self.trial_folder(name, scenario.before)
            ended = call(scenario.arguments, folder)
            if name == "repair":
                # It says that something was wrong, and the job that is resumed makes it good.
                ended = replace(ended, status=0 if ended.status == 1 else ended.status)
                _require(call(RESUMED, folder))
            _require(ended)
            self.expected[name] = scenario.result(folder), ended, listing(folder)
            shutil.rmtree(folder)

    def strike(self, name: str, goes_on: str) -> None:
        """One fault, the next command, and all that must hold after it."""
        scenario = SCENARIOS[name]
        expected, undisturbed, names = self.expected[name]
        number = self.random.choice(SIGNALS)
        fault = (Fault(number, before_write=self.random.randint(1, max(undisturbed.writes, 1)))
                 if self.random.random() < 0.6 else
                 Fault(number, after=self.random.uniform(0, undisturbed.seconds)))
        folder = self.trial_folder(name, scenario.before)
        running = Running(scenario.arguments, folder, fault)
        struck = running.wait()
        what = f"{name}: {fault}, then {goes_on}"
        self.counts[name, signal.Signals(number).name] += 1
        whole = int(name == "repair")
        self._check(what, struck,
                    {whole, -9} if number == signal.SIGKILL else {whole, 128 + number})
        if survivors := running.survivors():
            self.faults.append(f"{what}: processes {survivors} live on")
        if scenario.before == "old.zarr" and (state := store_result(folder)) not in (
                expected, self.expected["old"][0]):
            self.faults.append(f"{what}: neither the old nor the new store is whole ({state})")
        command = [word for word in scenario.arguments if word != "--overwrite"]
        if name == "repair":
            if (folder / STORE).exists():
                self._check(what, call(command, folder), {1})
            command, goes_on = list(RESUMED[:-1]), RESUMED[-1]
        ended = call((*command, goes_on), folder)
        if scenario.before == "old.zarr" and "begun with another" in ended.text:
            # Nothing had begun: the old store is there, of another study, and that is told.
            ended = call((*command, "--overwrite"), folder)
        self._check(what, ended, {0})
        result = scenario.result(folder) if ended.status == 0 else "none"
        if result != expected:
            self.faults.append(f"{what}: another result ({result})")
        if (left := listing(folder)) != names:
            self.faults.append(f"{what}: left behind {sorted(left ^ names)}")
        shutil.rmtree(folder)

    def _check(self, what: str, ended: Ended, statuses: set[int]) -> None:
        if ended.status not in statuses:
            self.faults.append(f"{what}: status {ended.status} ({ended.text[-400:]})")
        if "Traceback" in ended.text:
            self.faults.append(f"{what}: a traceback ({ended.text[-1500:]})")
        if ended.text.count("Error:") > 1:
            self.faults.append(f"{what}: more than one sentence ({ended.text[-400:]})")

    def pair(self, first: tuple[str, str], second: tuple[str, str]) -> None:
        """Two writers of one store: the second is refused, or comes after the first."""
        what = f"{' '.join(first)} beside {' '.join(second)}"
        folder = self.trial_folder("pair", "old.zarr" if first[1] == "--overwrite" else None)
        commands = {"generate": ("--quiet", "generate", "new.toml", "-o", STORE),
                    "import": ("--quiet", "import", "study", "new.toml", "-o", STORE)}
        if first[1] == "--resume":
            # Something to go on with.
            call(commands[first[0]], folder, Fault(signal.SIGKILL, before_write=int(
                self.expected[first[0]][1].writes * 0.6)))
        one = Running((*commands[first[0]], *filter(None, first[1:])), folder, slowly=0.01)
        lock = folder / f"{STORE}.partial.lock"
        until = time.monotonic() + 30
        while time.monotonic() < until and f'"process": {one.pid}' not in _text(lock):
            time.sleep(0.002)
        time.sleep(self.random.uniform(0, 0.3))
        two = call((*commands[second[0]], *filter(None, second[1:])), folder)
        ended = one.wait()
        self.counts["pairs", "two writers"] += 1
        self._check(what, ended, {0})
        if two.status != 2 or f"is being written by process {one.pid} on" not in two.text:
            self.faults.append(f"{what}: the second was not refused ({two.status}: {two.text})")
        result = store_result(folder)
        if result != self.expected[first[0]][0]:
            self.faults.append(f"{what}: the store is not that of the first ({result})")
        if (left := listing(folder)) != self.expected[first[0]][2]:
            self.faults.append(f"{what}: left behind {sorted(left)}")
        shutil.rmtree(folder)


def listing(folder: Path) -> set[str]:
    """Names in a folder, and files anywhere below that are not whole."""
    below = {str(path.relative_to(folder)) for path in folder.rglob("*")
             if path.name.startswith(".") or path.suffix in {".partial", ".tmp", ".lock"}}
    return {path.name for path in folder.iterdir()} | below


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _require(ended: Ended) -> Ended:
    if ended.status != 0:
        raise SystemExit(f"an undisturbed command failed: {ended.text}")
    return ended


def _table(proof: Proof) -> None:
    columns = list(dict.fromkeys(column for _, column in proof.counts))
    print(f"{'':<12}" + "".join(f"{column:>12}" for column in columns))
    for row in dict.fromkeys(row for row, _ in proof.counts):
        print(f"{row:<12}" + "".join(f"{proof.counts[row, column]:>12}" for column in columns))
    print(f"{sum(proof.counts.values())} trials, {len(proof.faults)} faults")
    for fault in proof.faults:
        print("FAULT", fault)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=list(SCENARIOS), choices=list(SCENARIOS))
    parser.add_argument("--pairs", type=int, default=36, help="most of the 36 pairs of writers")
    options = parser.parse_args(arguments)
    models = not set(options.only) <= set(LIGHT)
    prepare(models=models)
    writers = ("generate", "import") if models else ("import",)
    with tempfile.TemporaryDirectory(prefix="saltrust-faults-") as folder:
        proof = Proof(Path(folder), options.seed)
        proof.make_templates(models=models)
        proof.expected["old"] = (in_child(
            lambda: store_digest(proof.templates / "old.zarr")), Ended(0, "", 0, 0), set())
        proof.measure(list(dict.fromkeys((*options.only, *writers))))
        turns: dict[str, Any] = {name: itertools.cycle(SCENARIOS[name].goes_on)
                                 for name in options.only}
        for number in range(options.count):
            name = options.only[number % len(options.only)]
            proof.strike(name, next(turns[name]))
        kinds = list(itertools.product(writers, ("", "--resume", "--overwrite")))
        pairs = list(itertools.product(kinds, kinds))
        for first, second in proof.random.sample(pairs, min(options.pairs, len(pairs))):
            proof.pair(first, second)
    _table(proof)
    return 1 if proof.faults else 0


if __name__ == "__main__":
    sys.exit(main())
