"""What a reader is tried with: targets, one trial, what came of it.

A module of ``inputs`` has ``TARGETS``: by name, a strategy of Hypothesis and a callable
``(folder, value)`` that writes the value below an empty folder, where it is one of a file, and
reads it as users do.  It may raise SaltrustError and nothing else; a callable that runs a command
checks its exit status and its one sentence itself.  Values are plain: texts, bytes, numbers, and
lists, tuples and dicts of them, so that one that failed can be kept as text.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import resource
import shutil
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import HypothesisWarning
from hypothesis.strategies import SearchStrategy

from saltrust.errors import SaltrustError

HERE = Path(__file__).resolve().parent
INPUTS, KEPT = HERE / "inputs", HERE / "kept"
#: Longest sentence, which shows pieces of what it speaks of and not all.
MOST_CHARACTERS = 5000

Target = tuple[SearchStrategy[Any], Callable[[Path, Any], None]]


class Late(BaseException):
    """An example took too long; no boundary takes it for an error of a file."""


@dataclass(frozen=True)
class Outcome:
    """What came of one example.

    Attributes
    ----------
    kind : str
        ``accepted`` or ``refused``, or what is wrong: ``uncaught``, ``late``, ``memory``,
        ``wordy``.
    seconds : float
    detail : str
        Sentence or traceback.
    """

    kind: str
    seconds: float
    detail: str = ""

    @property
    def wrong(self) -> bool:
        return self.kind not in {"accepted", "refused"}


def all_targets(only: str = "") -> dict[str, Target]:
    """Targets of all modules of inputs whose names contain a text, as ``module.target``."""
    targets: dict[str, Target] = {}
    for path in sorted(INPUTS.glob("*.py")):
        if "." in only and only.partition(".")[0] != path.stem:
            continue
        module = importlib.import_module(f"tests.fuzz.inputs.{path.stem}")
        targets |= {f"{path.stem}.{name}": target for name, target in module.TARGETS.items()}
    return {name: target for name, target in targets.items() if only in name}


def names_of_targets() -> list[str]:
    return list(all_targets())


def try_value(target: Target, value: Any, *, most_seconds: float | None = None) -> Outcome:
    """Read one value in an empty folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="saltrust-fuzz-"))
    start = time.perf_counter()
    try:
        with _alarm(most_seconds), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target[1](folder, value)
        kind, detail = "accepted", ""
    except SaltrustError as error:
        kind, detail = "refused", str(error)
        if any(_is_of_memory(cause) for cause in _causes(error)):
            kind, detail = "memory", _story(error)
        elif len(detail) > MOST_CHARACTERS:
            kind = "wordy"
    except Late as error:
        kind, detail = "late", _story(error)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        kind, detail = ("memory" if _is_of_memory(error) else "uncaught"), _story(error)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Outcome(kind, time.perf_counter() - start, detail)


def try_many(target: Target, examples: int, first_seed: int,
             each: Callable[[Any], Outcome]) -> int:
    """Draw that many examples, in rounds, and hand on each; how many were drawn."""
    drawn = 0

    def one(value: Any) -> None:
        nonlocal drawn
        if drawn < examples:
            drawn += 1
            each(value)

    for number in range(100):
        before = drawn
        rest = max(examples - drawn, 1)
        search = settings(max_examples=rest, database=None, deadline=None, phases=[Phase.generate],
                          suppress_health_check=list(HealthCheck), derandomize=False)
        with warnings.catch_warnings():
            # What is drawn again is described by its strategy, which may name many columns.
            warnings.filterwarnings("ignore", "Generating overly large repr", HypothesisWarning)
            seed(first_seed + 1_000_003 * number)(search(given(target[0])(one)))()
        if drawn >= examples or drawn == before:
            break
    return drawn


def kept_values() -> Iterator[tuple[str, Any]]:
    """Names of targets and the values that once failed them."""
    for path in sorted(KEPT.glob("*/*.txt")):
        yield path.parent.name, read_value(path.read_text(encoding="utf-8"))


def written_value(value: Any) -> str | None:
    """A value as the text that is kept; None where it is not plain."""
    text = repr(value)
    try:
        read_value(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return text


def read_value(text: str) -> Any:
    """What :func:`written_value` wrote; infinities and NaN are not literals."""
    tree = ast.parse(text, mode="eval")

    class Numbers(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.AST:
            return ast.Constant(float(node.id)) if node.id in {"inf", "nan"} else node

    return ast.literal_eval(Numbers().visit(tree))


def keep(name: str, value: Any, folder: Path) -> Path | None:
    """Keep what failed as text; None where it is not plain."""
    text = written_value(value)
    if text is None:
        return None
    path = folder / name / f"{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:12]}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", errors="replace")
    return path


def limit_memory(more: int) -> None:
    """Let this process have so many bytes of addresses beyond what it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


@contextmanager
def _alarm(seconds: float | None) -> Iterator[None]:
    if seconds is None:
        yield
        return

    def ring(*_: object) -> None:
        raise Late(f"more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _is_of_memory(error: BaseException) -> bool:
    """Whether more was asked for than the limit; torch says it by a RuntimeError."""
    return isinstance(error, MemoryError) or "allocate memory" in str(error)


def _story(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))[-6000:]
