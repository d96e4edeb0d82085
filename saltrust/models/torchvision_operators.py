"""The one place that imports torchvision.

torchvision declares shape rules for its compiled operators while it is being imported.  Where
the compiled library cannot be loaded (a CUDA build of torchvision beside a CPU build of torch,
as ``pip`` happily installs), those declarations fail, and so does the whole import: ``operator
torchvision::nms does not exist``.  The classifiers need none of the compiled operators, so
their signatures are declared here first, and the import goes through.

What is lost: non-maximum suppression (``torchvision.ops.nms``) and the other compiled
operators, which then raise torchvision's own explanation when called.  Classifiers,
transforms and image models are pure torch and work in full.
"""

from __future__ import annotations

import functools
import importlib
import importlib.machinery
import importlib.util
import logging
import sys
from pathlib import Path
from types import ModuleType

import torch

from saltrust.errors import DataError

#: Operators for which torchvision declares shape rules at import without asking whether
#: the compiled library is there.
_DECLARED_AT_IMPORT = ("nms", "qnms")
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

_log = logging.getLogger(__name__)
#: The torch whose lack of operators nobody has been told of.
_missing: set[str] = set()


@functools.cache
def import_torchvision() -> ModuleType:
    """Import torchvision, whether or not its compiled operators can be loaded.

    Returns
    -------
    module
        ``torchvision``, with ``torchvision.models`` ready.

    Raises
    ------
    DataError
        If torchvision is not installed, or does not fit the installed torch in any other way.
    """
    if not declare_missing_operators():
        raise DataError(
            "torchvision is not installed: install the extra, `pip install saltrust[generate]`"
        )
    warn_of_missing_operators()
    try:
        module = importlib.import_module("torchvision")
        importlib.import_module("torchvision.models")
    except (ImportError, RuntimeError) as error:
        raise DataError(f"torchvision does not fit torch {torch.__version__}: install the pair "
                        f"that belongs together ({error})") from error
    return module


@functools.cache
def declare_missing_operators() -> bool:
    """Have torchvision importable, by anybody, without importing it.

    Returns
    -------
    bool
        Whether torchvision is installed.
    """
    location = importlib.util.find_spec("torchvision")
    if location is None or not location.submodule_search_locations:
        return False
    if "torchvision" in sys.modules or _load_compiled(
            Path(location.submodule_search_locations[0])):
        return True
    for name in _DECLARED_AT_IMPORT:
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f"torchvision::{name}", _SIGNATURE)
    _missing.add(torch.__version__)
    return True


def warn_of_missing_operators() -> None:
    """Say once that operators were missing, where they were declared to be there."""
    while _missing:
        _log.warning("the compiled operators of torchvision do not fit torch %s: lost are its "
                     "non-maximum suppression and its like, which saltrust does not use, but a "
                     "network of your own might", _missing.pop())


def _load_compiled(folder: Path) -> bool:
    # Asking first, rather than repairing a failed import, which would leave torchvision's
    # submodules half imported and some of their declarations made.
    finder = importlib.machinery.FileFinder(
        str(folder),
        (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES),
    )
    library = finder.find_spec("_C")
    if library is None or library.origin is None:
        return False
    try:
        torch.ops.load_library(library.origin)  # type: ignore[no-untyped-call]
    except OSError:
        return False
    return True
