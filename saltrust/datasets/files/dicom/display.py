"""From stored values to gray: modality transformation, VOI transformation, and what stands in.

Rules are tried in the order of :func:`display`; the first that keeps the pixels apart
(:func:`~saltrust.datasets.files.dicom.levels.fault_of`) is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from saltrust.datasets.files.dicom.elements import decimals, text, whole
from saltrust.datasets.files.dicom.levels import (
    DOUBTED_SATURATED,
    LEAST_LEVELS,
    Convert,
    Levels,
    fault_of,
    saturated,
)
from saltrust.datasets.files.dicom.tables import tables_of
from saltrust.datasets.files.gray_scale import stretch, window

if TYPE_CHECKING:
    from pydicom import Dataset

Modality = Callable[[npt.NDArray[Any]], npt.NDArray[np.float64]]
#: Middle part of the pixels that is stretched where a few outliers would take all levels.
_MIDDLE = (0.005, 0.995)


@dataclass(frozen=True)
class _Rule:
    """What makes gray of modality values, or why one that is stated cannot (``broken``)."""

    name: str
    convert: Convert
    doubt: str = ""
    broken: str = ""


def display(dataset: Dataset, levels: Levels) -> tuple[Convert, list[str]]:
    """The gray of stored values, for any part of them, and what is doubtful about it.

    In this order, each where the one before is not there, is broken or misses the pixels:

    1. *Modality*: the modality LUT; rescale slope and intercept; the values as they are.
    2. *VOI*: each VOI LUT, each window (``LINEAR``, ``LINEAR_EXACT``, ``SIGMOID``); the full range
       of at most 8 stored bits; minimum to maximum; the middle 99 percent of the pixels.

    What is empty counts as not there and raises no doubt; what is broken or misses the pixels does.
    """
    with np.errstate(all="ignore"):
        modality, doubts, is_table = _modality(dataset, levels)
        values = modality(levels.values)
        rule, gray, missed = _chosen(_rules(dataset, values, levels, modality, is_table), values,
                                     levels)
    if missed:
        doubts.append(f"{missed[0]}; {rule.name} is taken instead")
    if rule.doubt:
        doubts.append(rule.doubt)
    if isinstance(rule.convert, _Windowed) and (
            share := saturated(gray, levels)) > DOUBTED_SATURATED:
        doubts.append(f"{rule.name} makes {share:.0%} of the pixels black or white")

    def convert(part: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        with np.errstate(all="ignore"):
            return rule.convert(modality(part))

    return convert, doubts


def _chosen(rules: list[_Rule], values: npt.NDArray[np.float64], levels: Levels,
            ) -> tuple[_Rule, npt.NDArray[np.uint8], list[str]]:
    """The first rule that keeps the pixels apart, else the one that does best; what missed them."""
    missed, tried = [], []
    for rule in rules:
        if rule.broken:
            missed.append(rule.broken)
            continue
        gray = rule.convert(values)
        fault = fault_of(gray, levels)
        if not fault:
            return rule, gray, missed
        missed.append(f"{rule.name} {fault}")
        tried.append((len(np.unique(gray)), rule, gray))
    _, rule, gray = max(tried, key=lambda each: each[0])
    return rule, gray, missed if rule.name not in missed[0] else []


def _modality(dataset: Dataset, levels: Levels) -> tuple[Modality, list[str], bool]:
    """The modality transformation, what is doubtful about it, and whether it is a table."""
    doubts = []
    for table in tables_of(dataset, "ModalityLUTSequence", levels.values)[:1]:
        if isinstance(table, str):
            doubts.append(f"{table}, so it is not used")
            continue
        fault = _modality_fault(table(levels.values), levels)
        if not fault:
            return table, [table.doubt] if table.doubt else [], True
        doubts.append(f"its modality LUT {fault}, so it is not used")
    stated = [decimals(dataset, f"Rescale{name}")[:1] for name in ("Slope", "Intercept")]
    slope, intercept = (part[0] if part else neutral
                        for part, neutral in zip(stated, (1.0, 0.0), strict=True))

    def rescaled(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        return np.asarray(values.astype(np.float64) * slope + intercept)

    def unchanged(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        return np.asarray(values, dtype=np.float64)

    if not any(stated):
        return unchanged, doubts, False
    fault = _modality_fault(rescaled(levels.values), levels)
    if fault:
        doubts.append(f"its rescale slope {slope:g} with intercept {intercept:g} {fault}, so they "
                      "are not used")
        return unchanged, doubts, False
    return rescaled, doubts, False


def _modality_fault(values: npt.NDArray[np.float64], levels: Levels) -> str:
    if not np.isfinite(values).all():
        return "makes values infinite or no numbers"
    left = len(np.unique(values))
    if left < 2 <= levels.most or left < LEAST_LEVELS * levels.most:
        return f"leaves {left} of {len(levels.values)} values"
    return ""


def _rules(dataset: Dataset, values: npt.NDArray[np.float64], levels: Levels, modality: Modality,
           is_table: bool) -> list[_Rule]:
    """What makes gray of modality values, in the order of trying."""
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    whole_range = _Stretched(low, high)
    rules = [_Rule("its VOI LUT", whole_range, broken=table) if isinstance(table, str)
             else _Rule("its VOI LUT", table.gray, table.doubt or table.doubt_of_white)
             for table in tables_of(dataset, "VOILUTSequence", np.sort(values))]
    rules += _windows(dataset)
    bits = whole(dataset, "BitsStored")
    if bits is not None and bits <= 8 and levels.values.dtype.kind in "iu" and not is_table:
        signed = levels.values.dtype.kind == "i"
        ends = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1])
        if not len(levels.values) or (ends[0] <= levels.values[0]
                                      and levels.values[-1] <= ends[1]):
            rules.append(_Rule(f"the range of its {bits} bits",
                               _Stretched(*sorted(modality(ends).tolist()))))
    rules.append(_Rule("the range from its minimum to its maximum", whole_range))
    rules.append(_Rule("the range of the middle 99 percent of its pixels",
                       _Stretched(*_middle(values, levels))))
    return rules


@dataclass(frozen=True)
class _Stretched:
    low: float
    high: float

    def __call__(self, values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        return stretch(values, self.low, self.high)


@dataclass(frozen=True)
class _Windowed:
    center: float
    width: float
    function: str

    def __call__(self, values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        return stretch(window(values.astype(np.float64), self.center, self.width, self.function),
                       0, 1)


def _windows(dataset: Dataset) -> list[_Rule]:
    centers, widths = (decimals(dataset, f"Window{name}") for name in ("Center", "Width"))
    function = text(dataset, "VOILUTFunction") or "LINEAR"
    known = function in {"LINEAR", "LINEAR_EXACT", "SIGMOID"}
    unknown = "" if known else f"its window function {function!r} is unknown and taken for LINEAR"
    function = function if known else "LINEAR"
    rules = []
    for center, width in _pairs(centers, widths):
        name = f"its window (center {_shown(center)}, width {_shown(width)})"
        usable = bool(np.isfinite([center, width]).all()) and width > 0
        rules.append(_Rule(name, _Windowed(center, width, function), unknown,
                           broken="" if usable else f"{name} is none"))
        if usable and function == "LINEAR" and width < 2:
            # Meant for values rescaled to about 0..1, where LINEAR, which takes 1 off, has no use.
            rules.append(_Rule(f"{name} as LINEAR_EXACT",
                               _Windowed(center, width, "LINEAR_EXACT")))
    return rules


def _pairs(centers: list[float], widths: list[float]) -> Iterator[tuple[float, float]]:
    for number in range(max(len(centers), len(widths))):
        yield (centers[number] if number < len(centers) else np.nan,
               widths[number] if number < len(widths) else np.nan)


def _shown(number: float) -> str:
    return "unknown" if np.isnan(number) else f"{number:g}"


def _middle(values: npt.NDArray[np.float64], levels: Levels) -> tuple[float, float]:
    if not len(values):
        return 0.0, 0.0
    order = np.argsort(values, kind="stable")
    share = np.cumsum(levels.counts[order]) / levels.counts.sum()
    low, high = (float(values[order[min(int(np.searchsorted(share, part)), len(order) - 1)]])
                 for part in _MIDDLE)
    return low, high
