"""Gray values of DICOM radiographs, as a reading room would display them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from saltrust.datasets.files.dicom.bits import excess, values_of
from saltrust.datasets.files.dicom.display import display
from saltrust.datasets.files.dicom.elements import text, whole
from saltrust.datasets.files.dicom.frames import PIXEL_DATA, decode, mended, no_pixels
from saltrust.datasets.files.dicom.levels import converted, fault_of, levels_of
from saltrust.datasets.files.dicom.padding import shown_pixels
from saltrust.datasets.files.dicom.reading import read_dataset
from saltrust.datasets.files.gray_scale import LUMA, stretch
from saltrust.datasets.files.limits import bands, check_pixels, of_file
from saltrust.errors import DataError

if TYPE_CHECKING:
    from pydicom import Dataset

#: Pixels of a colour image whose levels are looked at.
_SAMPLE = 2**20


def is_dicom(path: Path) -> bool:
    """Whether the file is named like DICOM or begins like it (``DICM`` after 128 bytes)."""
    if path.suffix.lower() in {".dcm", ".dicom"}:
        return True
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except (OSError, ValueError):
        return False


@of_file()
def native_size(path: Path) -> tuple[int, int]:
    """Read height and width in pixels from the header.

    Raises
    ------
    DataError
        If the file is missing, is not DICOM, or states no size.
    """
    dataset = read_dataset(path, header_only=True)
    rows, columns = dataset.get("Rows"), dataset.get("Columns")
    if rows is None or columns is None:
        raise DataError(no_pixels(path, dataset))
    check_pixels(int(rows), int(columns), path)
    return int(rows), int(columns)


@of_file()
def patient_id(path: Path) -> str:
    """PatientID of the header; empty where it states none."""
    return str(read_dataset(path, header_only=True).get("PatientID") or "").strip()


@of_file()
def read_gray(path: Path) -> tuple[npt.NDArray[np.uint8], str]:
    """Decode the first frame to gray of 0..255, 255 being white.

    The order is that of the standard (PS3.3 C.11 and PS3.4 N.2): modality transformation, VOI
    transformation, then MONOCHROME1 inverted.  Padding takes no part and becomes black; colour
    becomes luma.  What a header makes of the values is looked at: a rule that misses them gives
    way to the next (:func:`saltrust.datasets.files.dicom.display.display`), which is a doubt.

    Returns
    -------
    ndarray of uint8, shape (height, width)
    str
        Why these may not be the gray values acquired; empty where nothing says so.

    Raises
    ------
    DataError
        If the file is missing or not DICOM, holds no pixels, is truncated, or is compressed in
        a way for which no decoder is installed (the missing plug-in is named); if it states more
        pixels than any radiograph has, or holds no number at all.
    """
    dataset = read_dataset(path)
    if dataset.get("Rows") is not None and dataset.get("Columns") is not None:
        check_pixels(int(dataset.Rows), int(dataset.Columns), path)
    doubts = mended(dataset)
    raw = decode(path, dataset)
    for name in PIXEL_DATA:
        # They are as large as what was decoded.
        dataset.pop(name, None)
    photometric = text(dataset, "PhotometricInterpretation")
    if raw.ndim == 3:
        gray, more = _of_color(raw, whole(dataset, "BitsStored") or raw.dtype.itemsize * 8)
    elif photometric == "PALETTE COLOR":
        gray, more = _of_palette(dataset, raw)
    else:
        gray, more = _of_gray(path, dataset, raw, inverted=photometric == "MONOCHROME1")
    return gray, "; ".join(doubts + more)


def _of_gray(path: Path, dataset: Dataset, raw: npt.NDArray[Any], *, inverted: bool,
             ) -> tuple[npt.NDArray[np.uint8], list[str]]:
    stored = values_of(dataset, raw)
    shown, doubt = shown_pixels(dataset, stored)
    doubts = [doubt, excess(dataset, stored, shown)]
    if stored.dtype.kind == "f" and not np.isfinite(stored).all():
        finite = np.isfinite(stored)
        if not finite.any():
            raise DataError(f"{path} holds no pixel that is a number; fetch it again")
        shown = finite if shown is None else finite & shown
        doubts.append("it holds pixels that are no numbers, which are black")
    levels = levels_of(stored, shown)
    convert, more = display(dataset, levels)
    gray = converted(stored, levels, convert)
    if inverted:
        np.subtract(255, gray, out=gray)
    if shown is not None:
        gray[~shown] = 0
    return gray, [each for each in [*doubts, *more] if each]


def _of_palette(dataset: Dataset, stored: npt.NDArray[Any],
                ) -> tuple[npt.NDArray[np.uint8], list[str]]:
    from pydicom.pixels.processing import apply_color_lut

    levels = levels_of(stored, None)

    def convert(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        colors = apply_color_lut(values.reshape(1, -1), dataset)[..., :3]
        luma: npt.NDArray[np.float64] = colors / float(np.iinfo(colors.dtype).max) @ LUMA
        return stretch(luma, 0, 1).reshape(values.shape)

    try:
        return converted(stored, levels, convert), []
    except Exception:  # noqa: BLE001 - pydicom raises what it likes on a bad palette
        gray = converted(stored, levels, lambda values: stretch(
            values, float(levels.values[0]), float(levels.values[-1])))
        return gray, ["its palette cannot be read, and its entries are taken for gray"]


def _of_color(stored: npt.NDArray[Any], bits: int) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """Luma over the range of the stored bits, or over that of the data where it has no levels."""
    top = 2.0**bits - 1

    def luma(part: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        return np.asarray(part[..., :3] / top @ LUMA)

    step = max(int((stored.shape[0] * stored.shape[1] / _SAMPLE) ** 0.5), 1)
    levels = levels_of(luma(stored[::step, ::step]), None)
    # Colors have more values of luma than gray levels, so 8 bits are not judged by them.
    fault = fault_of(stretch(levels.values, 0, 1), levels) if bits > 8 else ""
    largest = int(stored.max())
    if largest > top or (bits > 8 and 2 * largest < top):
        fault = f"is not that of its values, which go to {largest}"
    ends, doubts = (0.0, 1.0), []
    if fault:
        limits = [(part.min(), part.max()) for part in
                  (luma(stored[rows]) for rows in bands(stored.shape))]
        ends = float(min(low for low, _ in limits)), float(max(high for _, high in limits))
        doubts = [f"the range of its {bits} bits {fault}; the range from its minimum to its "
                  "maximum is taken instead"]
    gray = np.empty(stored.shape[:2], dtype=np.uint8)
    for rows in bands(gray.shape):
        gray[rows] = stretch(luma(stored[rows]), *ends)
    return gray, doubts
