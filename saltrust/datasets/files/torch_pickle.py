"""Reading heatmap pickles that nobody vouches for.

A pickle is a program: loading one with :mod:`pickle` runs whatever its author wrote.  The
released heatmaps are pickles of torch tensors, and the function those rely on,
``torch.storage._load_from_bytes``, is itself an unrestricted pickle loader.  The reader here
rebuilds tensors, NumPy numbers and plain values only, as NumPy arrays; any other name ends
the reading before anything is called.
"""

from __future__ import annotations

import collections
import contextlib
import io
import math
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from saltrust.errors import DataError

#: Largest file, and largest array in it, that is read, in bytes; a released heatmap has 1.6 MB.
SIZE_LIMIT = 64 * 2**20

#: Most instructions a pickle may have; a released heatmap has 85.
_OPCODE_LIMIT = 10_000

_PLAIN_DTYPE = re.compile(r"b1|[iu][1248]|f[248]")


def read_pickle(path: str | Path, *, size_limit: int = SIZE_LIMIT) -> Any:
    """Read plain values, NumPy arrays and torch tensors from an untrusted pickle.

    Parameters
    ----------
    path : path
    size_limit : int
        Largest file and largest array that is read, in bytes.

    Returns
    -------
    object
        What was pickled: dicts, lists, tuples, text, numbers; tensors and arrays as ndarray.

    Raises
    ------
    DataError
        If the file is missing, too large, damaged, or asks for anything beyond the above (the
        message names it; nothing of it has run), or if it holds tensors and torch is not
        installed.
    """
    path = Path(path)
    data = _read_bytes(path, size_limit)
    _check_instructions(path, data)
    try:
        return _TensorUnpickler(path, data, size_limit).load()
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 - of damaged bytes anything can be raised
        raise DataError(f"{path} is damaged or not a heatmap pickle "
                        f"({_first_line(error)}); fetch or write it again") from None


def _read_bytes(path: Path, size_limit: int) -> bytes:
    try:
        size = path.stat().st_size
        if size > size_limit:
            raise DataError(f"{path} has {size} bytes, more than the {size_limit} that a heatmap "
                            "pickle may have; check what it holds")
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; check the path") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check the file") from None
    if data[:4] == b"PK\x03\x04":
        raise DataError(f"{path} was written by torch.save, not as a pickle; write the heatmap "
                        "with pickle.dump, as the released ones are")
    return data


def _check_instructions(path: Path, data: bytes) -> None:
    """Walk through the instructions without running them: complete, few, small memo."""
    instructions = 0
    try:
        for opcode, argument, _ in pickletools.genops(data):
            instructions += 1
            # A memo index far beyond the instructions would make the unpickler take gigabytes.
            far = ("PUT" in opcode.name and isinstance(argument, int)
                   and argument > _OPCODE_LIMIT)
            if instructions > _OPCODE_LIMIT or far:
                raise DataError(f"{path} is far longer than a heatmap pickle; check what it holds")
            # Extension codes stand for names that may come from a cache, past find_class.
            if opcode.name.startswith("EXT"):
                raise ValueError("it uses extension codes")
    except (ValueError, IndexError, UnicodeDecodeError, OverflowError, MemoryError) as error:
        raise DataError(f"{path} is truncated or not a pickle ({_first_line(error)}); fetch or "
                        "write it again") from None


class _TensorUnpickler(pickle.Unpickler):
    """An unpickler that resolves a short list of names to its own safe stand-ins.

    Every look-up gives a fresh stand-in, so that a pickle which sets attributes on one leaves
    no trace for the next file.
    """

    def __init__(self, path: Path, data: bytes, size_limit: int) -> None:
        super().__init__(io.BytesIO(data))
        self._path = path
        self._size_limit = size_limit

    def find_class(self, module: str, name: str) -> Any:
        builders: dict[tuple[str, str], Callable[..., Any]] = {
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch.storage", "_load_from_bytes"): self._storage,
            # How bytes are written up to protocol 2.
            ("_codecs", "encode"): _latin1,
            ("__builtin__", "bytes"): lambda: b"",
            ("numpy", "dtype"): _Dtype,
            ("numpy", "ndarray"): _refuse_call,
        }
        for core in ("numpy.core", "numpy._core"):
            builders[f"{core}.multiarray", "_reconstruct"] = self._empty_array
            builders[f"{core}.multiarray", "scalar"] = self._scalar
            builders[f"{core}.numeric", "_frombuffer"] = self._array_from_buffer
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch", "Size"):
            return tuple
        builder = builders.get((module, name))
        if builder is None:
            self._refuse(f"{module}.{name}")
        return lambda *arguments: builder(*arguments)  # noqa: PLW0108 (a fresh object)

    def persistent_load(self, pid: Any) -> NoReturn:  # noqa: ARG002
        raise pickle.UnpicklingError("it refers to data outside the file")

    def _refuse(self, name: str) -> NoReturn:
        raise DataError(f"{self._path} tries to run {name}; a heatmap pickle may only hold "
                        "tensors, arrays and plain values, so do not trust its source")

    def _storage(self, data: bytes) -> npt.NDArray[Any]:
        """Read the storage of a tensor, flat, through torch's own restricted loader."""
        try:
            import torch
        except ImportError:
            raise DataError(f"{self._path} holds torch tensors, and torch is not installed; "
                            "install saltrust[generate] to read it") from None
        if not isinstance(data, bytes):
            raise pickle.UnpicklingError("the data of a tensor are not bytes")
        try:
            with contextlib.suppress(zipfile.BadZipFile), _archive(data) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > self._size_limit:
                    raise pickle.UnpicklingError("it is too large for a heatmap")
            with warnings.catch_warnings():
                # torch comments on what it then refuses; the refusal is said below.
                warnings.simplefilter("ignore")
                storage = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except Exception as error:  # noqa: BLE001 (whatever a hostile file makes torch raise)
            forbidden = re.search(r"GLOBAL ([\w.]+)", str(error))
            if forbidden:
                self._refuse(forbidden[1])
            if "weights_only" in str(error):
                # torch's own words advise to load it unsafely.
                raise pickle.UnpicklingError(
                    "a tensor in it holds more than numbers, which is not loaded") from None
            raise pickle.UnpicklingError(
                f"a tensor in it cannot be read: {_first_line(error)}") from None
        if not isinstance(storage, torch.storage.TypedStorage):
            raise pickle.UnpicklingError("the data of a tensor are not a storage")
        flat = torch.empty(0, dtype=storage.dtype).set_(storage)
        if flat.dtype == torch.bfloat16:
            flat = flat.float()
        values: npt.NDArray[Any] = flat.numpy()
        return values

    def _tensor(self, storage: Any, offset: Any, size: Any, stride: Any,
                *_gradient_bookkeeping: Any) -> npt.NDArray[Any]:
        """Build a tensor's array from its flat storage, checked against the storage's end."""
        if not isinstance(storage, np.ndarray) or storage.ndim != 1:
            raise pickle.UnpicklingError("a tensor has no storage")
        shape, steps = _whole_numbers(size), _whole_numbers(stride)
        (start,) = _whole_numbers((offset,))
        if len(shape) != len(steps):
            raise pickle.UnpicklingError("a tensor's size and stride disagree")
        self._check_size(shape, storage.itemsize)
        if 0 in shape:
            return np.zeros(shape, dtype=storage.dtype)
        last = start + sum((n - 1) * step for n, step in zip(shape, steps, strict=True))
        if last >= storage.size:
            raise pickle.UnpicklingError(
                f"a tensor of size {shape} does not fit its {storage.size} stored values")
        view = np.lib.stride_tricks.as_strided(
            storage[start:], shape, [step * storage.itemsize for step in steps])
        return view.copy()

    def _empty_array(self, _kind: Any, _shape: Any, _code: Any) -> _Array:
        return _Array(self)

    def _array_from_buffer(self, data: Any, dtype: Any, shape: Any, order: Any,
                           ) -> npt.NDArray[Any]:
        return self.array(data, dtype, shape, fortran=order == "F")

    def _scalar(self, dtype: Any, data: Any) -> Any:
        return self.array(data, dtype, (), fortran=False)[()].item()

    def array(self, data: Any, dtype: Any, shape: Any, *, fortran: bool) -> npt.NDArray[Any]:
        """Build an array of numbers from its raw bytes."""
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes | bytearray | memoryview):
            raise pickle.UnpicklingError("an array in it does not hold plain numbers")
        sizes = _whole_numbers(shape)
        self._check_size(sizes, dtype.value.itemsize)
        flat = np.frombuffer(bytes(data), dtype=dtype.value)
        return flat.reshape(sizes, order="F" if fortran else "C").copy()

    def _check_size(self, shape: tuple[int, ...], itemsize: int) -> None:
        if math.prod(shape) * itemsize > self._size_limit:
            raise pickle.UnpicklingError(f"an array of size {shape} is too large for a heatmap")

    def load(self) -> Any:
        return _finished(super().load())


class _Dtype:
    """Stands in for ``numpy.dtype``: plain numbers only, no objects, no fields."""

    __slots__ = ("value",)

    def __init__(self, code: Any, *_flags: Any) -> None:
        if not isinstance(code, str) or not _PLAIN_DTYPE.fullmatch(code):
            raise pickle.UnpicklingError(f"an array in it has the dtype {code!r}, not plain "
                                         "numbers")
        self.value = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        if order not in {"<", ">", "=", "|"} or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("an array in it does not hold plain numbers")
        self.value = self.value.newbyteorder("=" if order == "|" else order)


class _Array:
    """Stands in for an array between its creation and the arrival of its values."""

    __slots__ = ("_unpickler", "values")

    def __init__(self, unpickler: _TensorUnpickler) -> None:
        self._unpickler = unpickler
        self.values: npt.NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        _version, shape, dtype, fortran, data = state
        self.values = self._unpickler.array(data, dtype, shape, fortran=bool(fortran))


def _finished(value: Any) -> Any:
    """Put arrays where their stand-ins are, in the containers a heatmap pickle has."""
    if isinstance(value, _Array):
        if value.values is None:
            raise pickle.UnpicklingError("an array in it has no values")
        return value.values
    if isinstance(value, dict):
        return {key: _finished(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_finished(item) for item in value)
    return value


def _archive(data: bytes) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(data))


def _latin1(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding not in {"latin1", "latin-1"}:
        raise pickle.UnpicklingError("it holds text in an unknown encoding")
    return text.encode("latin-1")


def _refuse_call(*_arguments: Any) -> NoReturn:
    raise pickle.UnpicklingError("it builds an array in an unknown way")


def _whole_numbers(values: Any) -> tuple[int, ...]:
    if not isinstance(values, tuple | list) or not all(
            type(value) is int and value >= 0 for value in values):
        raise pickle.UnpicklingError(f"{values!r} is not a size")
    return tuple(values)


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
