"""R inside this process: whether it and its packages are present, and keeping it quiet."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import shutil
import threading
import warnings
from collections.abc import Iterator
from functools import cache
from importlib import metadata

import pandas as pd

R_PACKAGES = ("lme4", "lmerTest", "emmeans", "pbkrtest")

#: Contrasts of marginal means, or of differences of two factors.
CONTRASTS = """
function(means, control, crossed, adjust, level, seed) {
  set.seed(seed)
  kind <- if (control == 0) "pairwise" else "trt.vs.ctrl"
  made <- if (crossed && control == 0) emmeans::contrast(means, interaction = "pairwise") else
    if (crossed) emmeans::contrast(means, interaction = c(kind, "pairwise"), ref = control) else
    if (control == 0) emmeans::contrast(means, kind) else
    emmeans::contrast(means, kind, ref = control)
  rows <- summary(made, infer = c(TRUE, TRUE), level = level, adjust = adjust)
  list(estimate = rows$estimate, se = rows$SE, df = rows$df,
       statistic = rows[[grep("ratio$", names(rows))]], adjusted = rows$p.value,
       p = summary(made, infer = c(FALSE, TRUE), adjust = "none")$p.value,
       covariance = as.matrix(vcov(made)),
       low = rows[[grep("LCL$|^lower", names(rows))]],
       high = rows[[grep("UCL$|^upper", names(rows))]])
}
"""


def versions() -> dict[str, str]:
    """Versions of what computes."""
    with quiet():
        from rpy2 import robjects

        packages = {name: str(robjects.r(f"as.character(packageVersion('{name}'))")[0])
                    for name in R_PACKAGES}
        packages["R"] = str(robjects.r("as.character(getRversion())")[0])
    return {"pymer4": metadata.version("pymer4"), "rpy2": metadata.version("rpy2"), **packages}


def missing_reason() -> str:
    """Why R and pymer4 cannot be used here: a phrase, empty where they can."""
    if threading.current_thread() is not threading.main_thread():
        return "R runs in the main thread only"
    return _missing_installed()


@cache
def _missing_installed() -> str:
    for name in ("pymer4", "rpy2"):
        if not _importable(name):
            return f"{name} is not installed (pip install 'saltrust[r]')"
    version = metadata.version("pymer4")
    if not version.startswith("0.8."):
        return f"pymer4 {version} is not supported, 0.8 is"
    if int(pd.__version__.split(".", maxsplit=1)[0]) >= 3:
        return f"pymer4 {version} does not work with pandas {pd.__version__}; it needs pandas 2"
    if shutil.which("R") is None and not os.environ.get("R_HOME"):
        return "R is not installed"
    try:
        with quiet():
            from rpy2 import robjects

            lacking = [name for name in R_PACKAGES
                       if not robjects.r(f'nzchar(system.file(package = "{name}"))')[0]]
    except Exception as error:  # noqa: BLE001 - whatever a broken R raises, it is not usable
        return f"R does not start ({' '.join(str(error).split())[:200]})"
    return f"R lacks {', '.join(lacking)}" if lacking else ""


def _importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what R, rpy2 and pymer4 print and warn away."""
    with (warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()),
          _same_library_path()):
        warnings.simplefilter("ignore")
        from rpy2.rinterface_lib import callbacks

        names = ("consolewrite_print", "consolewrite_warnerror")
        kept = {name: getattr(callbacks, name) for name in names}
        for name in names:
            setattr(callbacks, name, _discard)
        from rpy2 import robjects

        # R keeps warnings, and prints them when the process ends.
        before = robjects.r("options(warn = -1)$warn")[0]
        try:
            yield
        finally:
            robjects.r(f"options(warn = {before})")
            for name, function in kept.items():
                setattr(callbacks, name, function)


@contextlib.contextmanager
def _same_library_path() -> Iterator[None]:
    """Take back what rpy2 adds to ``LD_LIBRARY_PATH`` when it starts R.

    It comes too late for this process, but processes started from it would look for
    libraries, Python's own among them, where R keeps its own.
    """
    name = "LD_LIBRARY_PATH"
    before = os.environ.get(name)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before


def _discard(text: str) -> None:
    """Take what R wants to print and do nothing."""
