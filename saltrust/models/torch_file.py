"""Tensors out of files of ``torch.save``, whatever a training script put beside them.

Such a file is a pickle, and a pickle names the functions and classes it wants called.  Torch's
own reader for files that nobody vouches for calls none but those that make tensors.  Training
scripts also leave settings, paths and numbers: what is on the list here is replaced by a
placeholder, so that the tensors can be read and still nothing that the file names is imported or
called.  Any other name ends the reading with a sentence.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import pickletools
import re
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, cast

import torch

from saltrust.errors import DataError, SaltrustError
from saltrust.reading import reason_of

#: torch.save does not compress; who packs a file anew gains little, as weights are noise.
MOST_INFLATION = 20

#: What is nothing but a record of settings, an address or a number, by its name in the file.
_HARMLESS = re.compile(r"""
    argparse\.Namespace | types\.SimpleNamespace
    | collections\.(defaultdict|deque|UserDict) | copyreg\._reconstructor | _codecs\.encode
    | builtins\.(bool|bytes|complex|dict|float|frozenset|int|list|object|range|set|slice|str|tuple)
    | (pathlib|datetime|enum|uuid|decimal|fractions|typing)\..+
    | numpy\.(dtype|ndarray|bool|bool_|(u?int|float|complex)\d+|str_|bytes_|longlong|dtypes\.\w+
              |(_?core\.)?(multiarray|numeric)\.(scalar|_reconstruct|_frombuffer)
              |random\.(_pickle|_mt19937|_pcg64|_philox|_sfc64|bit_generator)\.\w+)
    | torch\.torch_version\.TorchVersion | packaging\.version\.Version
    | (omegaconf|ml_collections|yacs|addict|easydict|mmengine\.config|fvcore\.common\.config)\..+
    | (pytorch_lightning|lightning|lightning_fabric|lightning_utilities|torchmetrics)\..+
    | transformers\.(training_args|trainer_utils)\..+
""", re.VERBOSE)

#: Modules of torch whose classes are parts of networks, so that a file that names them holds one.
_NETWORK_PARTS = re.compile(r"torch\.nn\.modules\.|torch\.nn\.parallel\.|torch\.fx\.")

#: The name that torch's reader stumbled over.
_REFUSED = re.compile(r"GLOBAL ([\w.]+)")

#: How files begin that are often given for weights, and what to do about it.
_OTHER_FORMATS = (
    (b"version https://git-lfs", "is a pointer of Git LFS, not the weights themselves: fetch them "
                                 "with `git lfs pull`"),
    (b"\x89HDF", "is an HDF5 file, as Keras writes it: convert the network to torch and save its "
                 "state dict"),
    (b"<!DOCTYPE", "is a page of the web, not the file that it offers: fetch the file itself"),
)


class _Placeholder:
    """Stands for what a file holds beside tensors."""

    def __new__(cls, *_arguments: Any, **_keywords: Any) -> Any:
        return super().__new__(cls)

    def __init__(self, *_arguments: Any, **_keywords: Any) -> None:
        return

    def __setstate__(self, _state: Any) -> None:
        return


class _MappingPlaceholder:
    """Stands for a mapping of a kind of its own; torch's reader fills only those it knows."""

    def __new__(cls, *_arguments: Any, **_keywords: Any) -> Any:
        return OrderedDict()


class _ListPlaceholder:
    """Stands for a list of a kind of its own."""

    def __new__(cls, *_arguments: Any, **_keywords: Any) -> Any:
        return []


def read_torch_file(path: Path) -> Any:
    """Read what ``torch.save`` wrote: tensors and plain values.

    Parameters
    ----------
    path : pathlib.Path
        An existing file.

    Returns
    -------
    object
        Tensors are on the CPU; settings, paths and NumPy numbers are placeholders.

    Raises
    ------
    DataError
        If it is damaged, of another format, or names functions or classes that are not known to
        be harmless; nothing of it has run.
    """
    with reading_weights(path):
        _check_format(path)
        check_claims(path)
        return _read(path)


def _read(path: Path) -> Any:
    names = _names(path)
    placeholders: list[Any] = [(_placeholder(name), name) for name in names
                               if _HARMLESS.fullmatch(name)]
    try:
        with (warnings.catch_warnings(),
              torch.serialization.safe_globals(placeholders)):
            # A pickle protocol that torch does not expect either loads or fails by itself.
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if refused := _REFUSED.search(str(error)):
            raise DataError(_refusal(path, names, refused[1])) from error
        raise DataError(f"weights {path} are no file of torch weights, or damaged; fetch them "
                        "again") from error


@contextlib.contextmanager
def reading_weights(path: Path) -> Iterator[None]:
    """Turn every exception of a block that reads weights into one sentence.

    Raises
    ------
    SaltrustError
        Those of the block as they are; all others as a DataError.
    """
    try:
        yield
    except SaltrustError:
        raise
    except PermissionError as error:
        raise DataError(f"weights {path} cannot be read ({reason_of(error)}); check who may read "
                        "them") from error
    except Exception as error:
        raise DataError(f"weights {path} cannot be read, the file may be truncated: "
                        f"{reason_of(error)}; fetch or train them again") from error


def check_claims(path: Path) -> None:
    """Refuse a file that says of itself that it holds much more than it does."""
    size = path.stat().st_size
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            claimed = sum(entry.file_size for entry in archive.infolist())
        most = MOST_INFLATION * size + 2**20
    else:
        with path.open("rb") as stream:
            claimed = max(_claimed_elements(_Bounded(stream, size)), default=0)
        most = size
    if claimed > most:
        raise _FalseClaim(f"its {size:,} bytes would become {claimed:,}, more than the {most:,} "
                          "that such a file may hold")


class _FalseClaim(Exception):
    """What a file says of itself cannot be; whoever reads it says which file, and the way out."""


class _Bounded:
    """A file that refuses to read beyond its end, for which a reader would set memory aside."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self.stream, self.size = stream, size

    def read(self, count: int = -1) -> bytes:
        rest = self.size - self.stream.tell()
        if count > rest:
            raise _FalseClaim(f"{count:,} more bytes are announced where {rest:,} are left")
        return self.stream.read(count)

    def readline(self) -> bytes:
        return self.stream.readline()


def _claimed_elements(stream: _Bounded) -> Iterator[int]:
    """How many elements, each of a byte at least, the storages of a file of old have."""
    numbers: list[int] = []
    # What else cannot be read, torch's reader says.
    with contextlib.suppress(ValueError, IndexError, KeyError, EOFError, UnicodeError):
        # A number, a version, the machine, the object, and the names of its storages.
        for _ in range(5):
            for opcode, argument, _place in pickletools.genops(cast(IO[bytes], stream)):
                if opcode.name == "MARK":  # Where the description of a storage begins.
                    numbers = []
                elif opcode.name == "BINPERSID":
                    yield max(numbers, default=0)
                elif isinstance(argument, int) and opcode.name.startswith(("BININT", "LONG")):
                    numbers.append(argument)


def check_beginning(path: Path) -> None:
    """Refuse a file whose first bytes say that it is something else than weights.

    Raises
    ------
    DataError
        Says what it is and what to do.
    """
    with path.open("rb") as stream:
        beginning = stream.read(64)
    for begins, what in _OTHER_FORMATS:
        if beginning.startswith(begins):
            raise DataError(f"weights {path}: the file {what}")


def _check_format(path: Path) -> None:
    check_beginning(path)
    if path.suffix == ".onnx":
        raise DataError(f"weights {path}: the file is an ONNX graph, whose layers explainers "
                        "cannot reach: save the state dict of the torch network it was made of")
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # noqa: BLE001
        return  # Torch's reader says what is wrong with it.
    parts = [name.partition("/")[2] for name in names]
    if "constants.pkl" in parts or any(part.startswith("code/") for part in parts):
        raise DataError(f"weights {path}: the file is a TorchScript archive, whose layers "
                        "explainers cannot reach: save its tensors with "
                        "torch.save(torch.jit.load(path).state_dict(), other) and name the "
                        "architecture they are of")
    if "data.pkl" not in parts and "archive_format" not in parts:
        raise DataError(f"weights {path}: the file is an archive of another kind (it holds "
                        f"{', '.join(names[:3]) or 'nothing'}), not weights as torch.save writes "
                        "them: save the state dict of the torch network")
    if any(part.startswith("models/") or part == "archive_format" for part in parts):
        raise DataError(f"weights {path}: the file is a program of torch.export, whose layers "
                        "explainers cannot reach: save its tensors with "
                        "torch.save(torch.export.load(path).state_dict, other) and name the "
                        "architecture they are of")


def _names(path: Path) -> set[str]:
    """All functions and classes that a file names, as torch's reader calls them."""
    names: set[str] = set()
    # What cannot be read here, torch's reader finds too, and says so.
    with contextlib.suppress(Exception):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for record in archive.namelist():
                    if record.endswith("data.pkl"):
                        _add_names(names, io.BytesIO(archive.read(record)))
        else:
            # Before torch 1.6: a number, a version, the machine, and the object, a pickle each.
            with path.open("rb") as stream:
                for _ in range(4):
                    _add_names(names, stream)
    return names


def _add_names(names: set[str], stream: IO[bytes]) -> None:
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            # Pickles of the protocol that torch writes have the names of Python 2.
            module, name = NAME_MAPPING.get((module, name),
                                            (IMPORT_MAPPING.get(module, module), name))
            names.add(f"{module}.{name}")


def _placeholder(name: str) -> type:
    if name.endswith(("dict", "Dict", "CfgNode", "Config")):
        return _MappingPlaceholder
    return _ListPlaceholder if name.endswith(("deque", "List")) else _Placeholder


def _refusal(path: Path, names: Iterable[str], refused: str) -> str:
    parts = [name for name in names if _NETWORK_PARTS.match(name)]
    if parts:
        return (f"weights {path} hold a whole network ({refused}) rather than its tensors, and to "
                "open it would run code that the file names: where you trust it, save its tensors "
                "with torch.save(torch.load(path, weights_only=False).state_dict(), other) and "
                "name the architecture they are of")
    return (f"weights {path} hold more than tensors and plain values ({refused}), which could run "
            "code: save the tensors again by themselves with "
            "torch.save(model.state_dict(), ...)")
