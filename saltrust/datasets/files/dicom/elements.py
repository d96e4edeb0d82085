"""Single elements of a DICOM header, as people write them: empty, several, with commas, broken."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pydicom.datadict import tag_for_keyword

if TYPE_CHECKING:
    from pydicom import Dataset

_BINARY = {"FD", "FL", "US", "SS", "UL", "SL", "UV", "SV"}


def decimals(dataset: Dataset, keyword: str) -> list[float]:
    """All numbers of an element; NaN for what is none, an empty list where nothing is stated.

    Read from the text, since pydicom refuses an element for one bad number of several.

    Examples
    --------
    >>> from pydicom import Dataset
    >>> header = Dataset()
    >>> header.WindowCenter = [2048, 1000]
    >>> decimals(header, "WindowCenter"), decimals(header, "WindowWidth")
    ([2048.0, 1000.0], [])
    """
    element = dataset.get_item(keyword)
    value: Any = None if element is None else element.value
    if isinstance(value, bytes):
        value = (_evaluated(dataset, keyword) if getattr(element, "VR", None) in _BINARY
                 else value.decode("latin-1").split("\\"))
    parts = [value] if isinstance(value, str | int | float) or value is None else list(value)
    texts = [str("" if part is None else part).strip(" \0\t\r\n") for part in parts]
    return [] if not any(texts) else [_number(text) for text in texts]


def whole(dataset: Dataset, keyword: str) -> int | None:
    """The first whole number of an element; None where it states none."""
    value = _evaluated(dataset, keyword)
    if isinstance(value, bytes):
        return int.from_bytes(value[:2], "little") if value else None
    if value is not None and not isinstance(value, str | int | float):
        value = next(iter(value), None)
    try:
        return None if value is None or value == "" else int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def text(dataset: Dataset, keyword: str) -> str:
    """An element as upper-case text without blanks around; empty where it states none."""
    value = _evaluated(dataset, keyword)
    return str(value if value is not None else "").strip(" \0").upper()


def state(dataset: Dataset, keyword: str, kind: str, value: Any) -> None:
    """Set an element whatever stands in its place."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    dataset.add_new(tag, kind, value)


def _evaluated(dataset: Dataset, keyword: str) -> Any:
    try:
        return dataset.get(keyword)
    except Exception:  # noqa: BLE001 - pydicom raises what it likes on a bad element
        return None


def _number(text: str) -> float:
    try:
        return float(text.replace(",", ".", 1) if "." not in text else text)
    except ValueError:
        return math.nan
