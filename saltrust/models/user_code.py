"""Code that a study brings along: imported, kept apart from other studies', and its errors told."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from saltrust.errors import SaltrustError, UsageError, nearest
from saltrust.models.torchvision_operators import (
    declare_missing_operators,
    warn_of_missing_operators,
)

#: Modules that lie beside study files, by folder and name, with what their files held.
_BESIDE_STUDIES: dict[Path, dict[str, tuple[ModuleType, str]]] = {}


@contextlib.contextmanager
def importable_from(folder: Path) -> Iterator[None]:
    """Let modules that lie beside a study file be imported, for as long as this lasts.

    They come last, so that no file in the folder takes the place of an installed package.  Every
    folder has modules of its own: ``net.py`` of one study is not that of another, and a file that
    was edited is imported anew.

    Parameters
    ----------
    folder : pathlib.Path
        Of the study file.
    """
    folder = folder.resolve()
    entry = str(folder)
    for modules in _BESIDE_STUDIES.values():
        for name, (module, _) in modules.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
    known = _BESIDE_STUDIES.get(folder, {})
    before = set(sys.modules)
    if all(_digest(module) == digest for module, digest in known.values()):
        sys.modules.update({name: module for name, (module, _) in known.items()})
    # A file may be younger than what the import system remembers of its folder.
    importlib.invalidate_caches()
    writes = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    sys.path.append(entry)
    try:
        yield
    finally:
        sys.dont_write_bytecode = writes
        with contextlib.suppress(ValueError):
            sys.path.remove(entry)
        _BESIDE_STUDIES[folder] = {
            name: (module, _digest(module)) for name, module in list(sys.modules.items())
            if name not in before and _is_of_study(name, module, folder)}


def _is_of_study(name: str, module: ModuleType, folder: Path) -> bool:
    place = _file_of(module)
    return (place is not None and place.is_relative_to(folder) and not _is_installed(str(place))
            and name.partition(".")[0] != __name__.partition(".")[0])


def _file_of(module: ModuleType) -> Path | None:
    place = getattr(module, "__file__", None)
    return Path(place).resolve() if isinstance(place, str) else None


def _digest(module: ModuleType) -> str:
    place = _file_of(module)
    try:
        return hashlib.sha256(place.read_bytes()).hexdigest() if place else ""
    except OSError:
        return "gone"


def import_attribute(
    reference: str, what: str, known: Mapping[str, Any] | None = None
) -> Callable[..., Any]:
    """Import ``package.module:attribute`` and check that it can be called.

    Parameters
    ----------
    reference : str
    what : str
        What the reference stands for, to begin the error message.
    known : mapping, optional
        Names that would have done as well, for the error message.

    Raises
    ------
    UsageError
        If the reference is no such reference, its module cannot be imported, whatever it raises,
        or what it names is not there.
    """
    module_name, colon, attribute = reference.partition(":")
    if not colon or not module_name or not attribute:
        raise UsageError(f"{what} is not known; {nearest(reference, known or {})}, "
                         "or give your own as package.module:factory")
    # The module may import torchvision, whose operators may not fit this torch.
    declare_missing_operators()
    try:
        module = importlib.import_module(module_name)
        if "torchvision" in sys.modules:
            warn_of_missing_operators()
    except ModuleNotFoundError as error:
        raise UsageError(f"{what}: module {module_name!r} cannot be imported ({error}); install "
                         "it or put it beside the study file") from error
    except SaltrustError:
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(f"{what}: module {module_name!r} cannot be imported: "
                         f"{describe_error(error)}") from error
    factory = getattr(module, attribute, None)
    if factory is None:
        names = [name for name in vars(module) if not name.startswith("_")]
        raise UsageError(f"{what}: module {module_name!r} ({getattr(module, '__file__', None)}) "
                         f"has no attribute {attribute!r}; {nearest(attribute, names)}")
    if not callable(factory):
        raise UsageError(f"{what}: {reference} is not a function but {type(factory).__name__}")
    result: Callable[..., Any] = factory
    return result


def describe_error(error: BaseException) -> str:
    """An exception in one line, with the place in the code that is not a library's.

    Returns
    -------
    str
        ``ZeroDivisionError: division by zero (net.py, line 12, in forward)``.

    Examples
    --------
    >>> try:
    ...     {}["a"]
    ... except KeyError as error:
    ...     describe_error(error).startswith("KeyError: 'a'")
    True
    """
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0]:.500}" if lines else type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        return f"{type(error).__name__}: {error.msg} ({Path(error.filename).name}, " \
               f"line {error.lineno})"
    frame = _frame_outside_libraries(error)
    return text if frame is None else (
        f"{text} ({Path(frame.filename).name}, line {frame.lineno}, in {frame.name})")


def is_of_study(error: BaseException) -> bool:
    """Whether an exception went through code that lies beside a study file."""
    places = {str(_file_of(module)) for modules in _BESIDE_STUDIES.values()
              for module, _ in modules.values()}
    return any(str(Path(frame.filename).resolve()) in places
               for frame in traceback.extract_tb(error.__traceback__))


def _frame_outside_libraries(error: BaseException) -> traceback.FrameSummary | None:
    """The innermost frame of the user's own code, else of a package that is not torch."""
    frames = traceback.extract_tb(error.__traceback__)
    installed = [frame for frame in frames if _is_installed(frame.filename)
                 and "torch" not in Path(frame.filename).parts]
    chosen = [frame for frame in frames if _is_of_user(frame.filename)] or installed
    return chosen[-1] if chosen else None


def is_of_user(error: BaseException) -> bool:
    """Whether an exception went through code that is neither ours nor of an installed package."""
    return any(_is_of_user(frame.filename) for frame in traceback.extract_tb(error.__traceback__))


def _is_of_user(place: str) -> bool:
    return not (_is_installed(place) or place.startswith(("<", _OURS, _STANDARD_LIBRARY)))


_OURS = str(Path(__file__).resolve().parents[1])
_STANDARD_LIBRARY = str(Path(traceback.__file__).parent)


def _is_installed(place: str) -> bool:
    return bool({"site-packages", "dist-packages"} & set(Path(place).parts))
