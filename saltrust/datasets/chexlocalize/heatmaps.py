"""The heatmap pickles of CheXlocalize, read without running them and checked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from saltrust.datasets.chexlocalize.layout import HeatmapFile, canonical_finding
from saltrust.datasets.files.limits import check_pixels
from saltrust.datasets.files.torch_pickle import read_pickle
from saltrust.errors import DataError
from saltrust.reading import reading, shown


@dataclass(frozen=True)
class Heatmap:
    """One released heatmap.

    Attributes
    ----------
    file : HeatmapFile
        Says image, finding, explainer and path.
    pixels : ndarray of float32, shape (y, x)
        On the grid of the model, as stored: not normalised, possibly flat or not finite.
    probability : float
        Of the model ensemble, 0..1.
    native_height, native_width : int
        Of the radiograph, in pixels.
    """

    file: HeatmapFile
    pixels: npt.NDArray[np.float32]
    probability: float
    native_height: int
    native_width: int

    @property
    def logit(self) -> float:
        """Log odds of the probability; NaN at 0 and 1, where they are infinite."""
        p = self.probability
        return math.log(p / (1 - p)) if 0 < p < 1 else math.nan


def read_heatmaps(files: Iterable[HeatmapFile]) -> Iterator[Heatmap]:
    """Read heatmaps one after the other; see :func:`read_heatmap`."""
    for file in files:
        yield read_heatmap(file)


def read_heatmap(file: HeatmapFile) -> Heatmap:
    """Read and check one heatmap pickle.

    The pickle is a dict with ``map``, an array of shape (1, 1, y, x) or (y, x), ``prob``,
    ``task`` and ``cxr_dims``, the (width, height) of the radiograph; more keys are ignored.

    Raises
    ------
    DataError
        If the pickle is not one (see :func:`saltrust.datasets.files.torch_pickle.read_pickle`), a
        key is missing, the map has another shape, the probability lies outside 0..1, or
        ``task`` is not the finding of the file name.
    """
    with reading(str(file.path), "fetch or write it again"):
        return _checked(file, read_pickle(file.path))


def _checked(file: HeatmapFile, content: Any) -> Heatmap:
    if not isinstance(content, dict):
        raise DataError(f"{file.path} holds a {type(content).__name__}, not a dict with 'map', "
                        "'prob', 'task' and 'cxr_dims'; write it in that form")
    missing = [key for key in ("map", "prob", "task", "cxr_dims") if key not in content]
    if missing:
        raise DataError(f"{file.path} lacks {', '.join(map(repr, missing))}; a heatmap pickle "
                        "has 'map', 'prob', 'task' and 'cxr_dims'")
    task = content["task"]
    if not isinstance(task, str) or canonical_finding(task) != file.finding:
        raise DataError(f"{file.path} is named for {file.finding} but its task is {shown(task)}; "
                        "rename the file or correct the task")
    width, height = _dims(file, content["cxr_dims"])
    return Heatmap(file, _map(file, content["map"]), _probability(file, content["prob"]),
                   height, width)


def _map(file: HeatmapFile, value: Any) -> npt.NDArray[np.float32]:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
        raise DataError(f"{file.path}: its map is not an array of numbers; write it as a tensor")
    pixels = value[0, 0] if value.ndim == 4 and value.shape[:2] == (1, 1) else value
    if pixels.ndim != 2 or pixels.size == 0:
        raise DataError(f"{file.path}: its map has the shape {value.shape}, not (1, 1, y, x) or "
                        "(y, x); write it in that form")
    with np.errstate(over="ignore"):  # an overflow to infinity is seen in the status
        return np.ascontiguousarray(pixels, dtype=np.float32)


def _probability(file: HeatmapFile, value: Any) -> float:
    number = value.item() if isinstance(value, np.ndarray) and value.size == 1 else value
    if not isinstance(number, int | float) or not 0 <= number <= 1:
        raise DataError(f"{file.path}: its probability is {shown(number)}, not a number from 0 to "
                        "1; correct it")
    return float(number)


def _dims(file: HeatmapFile, value: Any) -> tuple[int, int]:
    numbers = value.tolist() if isinstance(value, np.ndarray) else value
    if (not isinstance(numbers, tuple | list) or len(numbers) != 2
            or not all(type(number) is int and number > 0 for number in numbers)):
        raise DataError(f"{file.path}: its cxr_dims are {shown(numbers)}, not the (width, height) "
                        "of the radiograph; correct them")
    check_pixels(numbers[1], numbers[0], f"{file.path} (cxr_dims)")
    return numbers[0], numbers[1]
