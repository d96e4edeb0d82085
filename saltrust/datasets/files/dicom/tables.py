"""Lookup tables of DICOM headers (PS3.3 C.11.1 and C.11.2), whole or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from saltrust.datasets.files.gray_scale import stretch

if TYPE_CHECKING:
    from pydicom import Dataset

_WORD = 2**16


@dataclass(frozen=True)
class LookupTable:
    """One table.

    Attributes
    ----------
    entries : ndarray of float64, shape (n,)
    first : int
        The value that the first entry is of; those below have it too, those above the last.
    top : float
        What becomes white where it is a VOI LUT.
    doubt : str
        What its descriptor says otherwise than its entries; empty if nothing.
    doubt_of_white : str
        The same of the largest entry, which matters for a VOI LUT alone.
    """

    entries: npt.NDArray[np.float64]
    first: int
    top: float
    doubt: str
    doubt_of_white: str

    def __call__(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        places = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1)
        return np.asarray(self.entries[places.astype(np.int64)])

    def gray(self, values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """The entries as gray."""
        return stretch(self(values), 0, self.top)


def tables_of(dataset: Dataset, keyword: str, values: npt.NDArray[Any],
              ) -> list[LookupTable | str]:
    """Tables of a sequence, or why one cannot be used for these values, in order.

    An item without descriptor or data counts as not there.

    Parameters
    ----------
    dataset : Dataset
    keyword : str
        ``"ModalityLUTSequence"`` or ``"VOILUTSequence"``.
    values : ndarray, shape (n,)
        All values that are looked up, ascending.
    """
    name = "modality LUT" if keyword.startswith("Modality") else "VOI LUT"
    big = dataset.original_encoding[1] is False
    tables: list[LookupTable | str] = []
    try:
        items = list(dataset.get(keyword) or [])
    except Exception:  # noqa: BLE001 - pydicom raises what it likes on a bad element
        return [f"its {name} cannot be read"]
    for item in items:
        try:
            table = _table(item, values, name, big)
        except Exception as error:  # noqa: BLE001 - an item may be anything
            reason = str(error) if isinstance(error, _UnusableTableError) else "cannot be read"
            tables.append(f"its {name} {reason}")
            continue
        if table is not None:
            tables.append(table)
    return tables


class _UnusableTableError(Exception):
    """What is wrong with a table, as a verb and its object."""


def _table(item: Dataset, values: npt.NDArray[Any], name: str, big: bool) -> LookupTable | None:
    descriptor, data = item.get("LUTDescriptor"), item.get("LUTData")
    if _is_blank(descriptor) or _is_blank(data):
        return None
    if isinstance(descriptor, bytes):
        descriptor = np.frombuffer(descriptor, ">u2" if big else "<u2").tolist()
    number, first, bits = (int(part) for part in list(descriptor)[:3])
    number = number % _WORD or _WORD
    entries, doubt = _entries(data, number, bits, big, f"its {name}")
    first = _in_sign(first, len(entries), values)
    if len(entries) < number:
        if len(values) and values[-1] - first >= len(entries):
            raise _UnusableTableError(f"has {len(entries)} of {number} entries")
        doubt = doubt or f"its {name} has {len(entries)} of {number} entries, which are enough here"
    largest, top, doubt_of_white = float(entries.max()), 2.0**bits - 1 if bits <= 16 else 0.0, ""
    # Of a table that ends early the largest entry may be missing.
    if largest > top or (2 * largest < top and len(entries) == number):
        doubt_of_white = (f"its {name} states {bits} bits and goes to {largest:g}, which is taken "
                          "for white")
        top = largest
    return LookupTable(entries.astype(np.float64), first, top, doubt, doubt_of_white)


def _is_blank(value: Any) -> bool:
    return value is None or (not isinstance(value, int) and len(value) == 0)


def _entries(data: Any, number: int, bits: int, big: bool, name: str,
             ) -> tuple[npt.NDArray[Any], str]:
    """Entries of a table as words, or as bytes where there are two of them in a word."""
    if isinstance(data, bytes):
        words = np.frombuffer(data, ">u2" if big else "<u2", count=len(data) // 2)
    else:
        words = np.asarray(data, dtype=np.int64).reshape(-1) % _WORD
    if len(words) >= number or len(words) != (number + 1) // 2:
        return words[:number], ""
    # The lower half of a word is the first of two.
    packed = words.astype("<u2").view(np.uint8)[:number]
    if bits <= 8:
        return packed, ""
    if _roughness(words) < _roughness(packed):
        return words, ""
    return packed, f"{name} states {bits} bits for entries of 8"


def _roughness(entries: npt.NDArray[Any]) -> float:
    """All steps between neighbors over the whole range; 1 of what only rises or falls."""
    steps = np.abs(np.diff(entries.astype(np.int64))).sum()
    return float(steps / max(int(entries.max()) - int(entries.min()), 1))


def _in_sign(first: int, number: int, values: npt.NDArray[Any]) -> int:
    """The first value in that sign in which the table meets the values that are looked up."""
    if not len(values):
        return first
    for start in (first, first - _WORD if first > 0 else first + _WORD):
        if start <= values[-1] and start + number > values[0]:
            return start
    return first
